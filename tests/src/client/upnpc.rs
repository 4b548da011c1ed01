//! `upnpc` of MiniUPnP, the client that most people have.

use crate::lab::{Finished, Namespace};
use anyhow::{Result, bail};

/// `upnpc` in a namespace. With a URL it skips the search, which takes it two seconds each time.
#[derive(Clone, Debug)]
pub struct Upnpc<'ns> {
    namespace: &'ns Namespace,
    url: Option<String>,
}

impl<'ns> Upnpc<'ns> {
    /// One that searches each time.
    pub fn searching(namespace: &'ns Namespace) -> Self {
        Self { namespace, url: None }
    }

    /// One that knows the gateway's description.
    pub fn at(namespace: &'ns Namespace, url: &str) -> Self {
        Self { namespace, url: Some(url.to_owned()) }
    }

    /// Runs it, whatever comes of it. It often exits with 0 when an action has failed: see
    /// [`Self::run`].
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn output(&self, arguments: &[&str]) -> Result<Finished> {
        let url: Vec<&str> = self.url.iter().flat_map(|url| ["-u", url.as_str()]).collect();
        self.namespace.output("upnpc", &[url.as_slice(), arguments].concat())
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    /// When it says that something failed, by its status or in words.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let printed = self.output(arguments)?.success()?;
        let failed = |line: &&str| {
            line.contains("failed with code") || line.starts_with("No IGD UPnP Device found")
        };
        if let Some(line) = printed.lines().find(failed) {
            bail!("upnpc {}: {line}\n{printed}", arguments.join(" "));
        }
        Ok(printed)
    }
}

/// The URL of the description in what a searching `upnpc` printed.
pub fn description_url(printed: &str) -> Option<&str> {
    printed.lines().find_map(|line| line.trim().strip_prefix("desc: "))
}
