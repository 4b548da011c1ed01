//! What a check says.

use serde::Serialize;
use std::fmt;

/// How a check came out, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// This machine does not let it be seen.
    Unchecked,
    /// The gateway runs, but something will be slower, lost or confusing.
    Warning,
    /// The gateway cannot run.
    Failure,
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the check.
    pub check: &'static str,
    /// The interface that was looked at, if it was one.
    pub interface: Option<String>,
    /// How it came out.
    pub status: Status,
    /// What was found, and what is wrong with it.
    pub detail: String,
    /// What mends it, to be given to a shell as it stands: what no command can do is a comment there.
    pub command: Option<String>,
}

impl Finding {
    fn new(check: &'static str, status: Status, detail: impl Into<String>) -> Self {
        Self { check, interface: None, status, detail: detail.into(), command: None }
    }

    /// Nothing is wrong.
    pub(super) fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, Status::Ok, detail)
    }

    /// Nobody can tell; `detail` says why.
    pub(super) fn unchecked(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, Status::Unchecked, detail)
    }

    /// Something is wrong that the gateway can live with.
    pub(super) fn warning(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, Status::Warning, detail)
    }

    /// Something is wrong that the gateway cannot live with.
    pub(super) fn failure(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, Status::Failure, detail)
    }

    /// Says about which interface this is.
    pub(super) fn on(self, interface: &str) -> Self {
        Self { interface: Some(interface.to_owned()), ..self }
    }

    /// Says what mends it, as a line for a shell.
    pub(super) fn mend(self, command: impl Into<String>) -> Self {
        Self { command: Some(command.into()), ..self }
    }
}

/// One line, with the command.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.check)?;
        if let Some(interface) = &self.interface {
            write!(f, " ({interface})")?;
        }
        write!(f, ": {}", self.detail)?;
        match &self.command {
            Some(command) => write!(f, "; to mend it: {command}"),
            None => Ok(()),
        }
    }
}
