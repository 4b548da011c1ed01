//! Control points that others have written, and that a machine may lack.

use crate::lab::{Finished, Namespace, Process};
use anyhow::Result;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's Python: another one does not see the modules of its packages.
const PYTHON: &str = "/usr/bin/python3";

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// GUPnP, by GObject introspection.
    Gupnp,
    /// libtorrent's Python binding.
    Libtorrent,
    /// Transmission's daemon.
    Transmission,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gupnp, Self::Libtorrent, Self::Transmission];

    /// The Debian packages that have it.
    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Gupnp => &["gir1.2-gupnp-1.6", "python3-gi"],
            Self::Libtorrent => &["python3-libtorrent"],
            Self::Transmission => &["transmission-daemon"],
        }
    }

    /// Whether this machine has it.
    pub fn is_here(self) -> bool {
        let mut probe = match self {
            Self::Gupnp => python("import gi; gi.require_version('GUPnP', '1.6')"),
            Self::Libtorrent => python("import libtorrent"),
            Self::Transmission => version("transmission-daemon"),
        };
        probe.output().is_ok_and(|output| output.status.success())
    }

    /// Whether a test that needs it can run. When it cannot, says so past the test runner, which would
    /// keep it to itself.
    pub fn lets_run(self) -> bool {
        let here = self.is_here();
        if !here {
            let thread = std::thread::current();
            let test = thread.name().unwrap_or("a test");
            let packages = self.packages().join(", ");
            let _ = writeln!(std::io::stderr(), "NOT RUN: {test}: needs Debian's {packages}");
        }
        here
    }
}

fn python(statement: &str) -> Command {
    let mut command = Command::new(PYTHON);
    command.args(["-c", statement]);
    command
}

fn version(program: &str) -> Command {
    let mut command = Command::new(program);
    command.arg("--version");
    command
}

/// GUPnP in a namespace, on its `eth0`, as a control point of one version of the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Gupnp<'ns> {
    namespace: &'ns Namespace,
    version: &'static str,
}

impl<'ns> Gupnp<'ns> {
    /// For version `1` or `2`.
    pub fn new(namespace: &'ns Namespace, version: &'static str) -> Self {
        Self { namespace, version }
    }

    /// Searches, and tells which device and which services it has found, by their descriptions.
    ///
    /// # Errors
    /// When it finds none.
    pub fn find(&self) -> Result<String> {
        self.run(&["find"])?.success()
    }

    /// Searches and calls an action. What it prints is a line for each argument of the answer, or
    /// `error` and the code.
    ///
    /// # Errors
    /// When it finds no gateway.
    pub fn call(&self, action: &str, arguments: &[&str]) -> Result<String> {
        self.run(&[&["call", action], arguments].concat())?.success()
    }

    /// A process that subscribes and prints `event`, a variable and its value for each that changes.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn watch(&self) -> Result<Process> {
        let mut command = self.namespace.command(PYTHON);
        command.arg(script("gupnp.py")).args([self.version, "watch"]);
        Process::spawn(&mut command)
    }

    fn run(&self, words: &[&str]) -> Result<Finished> {
        let script = script("gupnp.py");
        let script = script.to_string_lossy();
        self.namespace.output(PYTHON, &[&[&*script, self.version], words].concat())
    }
}

/// libtorrent in a namespace: `seed` or `fetch`, with its arguments.
///
/// # Errors
/// When it cannot be started.
pub fn libtorrent(namespace: &Namespace, words: &[&str]) -> Result<Process> {
    let mut command = namespace.command(PYTHON);
    command.arg(script("torrent.py")).args(words);
    Process::spawn(&mut command)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/client").join(name)
}
