//! Control points that others have written, and that a machine may lack.

use crate::lab::{Finished, Namespace, Process};
use anyhow::Result;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's Python: another one does not see the modules of its packages.
pub const PYTHON: &str = "/usr/bin/python3";

/// The packages from npm, with their versions.
pub const NPM: [&str; 2] = ["nat-upnp@1.1.1", "@achingbrain/nat-port-mapper@4.0.5"];

/// The package from PyPI, with its version.
pub const PYPI: &str = "async-upnp-client==0.49.0";

/// What is used of gupnp-tools.
const GUPNP_TOOLS: [&str; 2] = ["gssdp-discover", "gupnp-event-dumper"];

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// GUPnP, by GObject introspection.
    Gupnp,
    /// GUPnP's programs that need no display: `gssdp-discover` and `gupnp-event-dumper`.
    GupnpTools,
    /// gupnp-igd's `SimpleIgd`, by GObject introspection.
    GupnpIgd,
    /// libtorrent's Python binding.
    Libtorrent,
    /// Transmission's daemon.
    Transmission,
    /// qBittorrent without a display.
    Qbittorrent,
    /// nat-upnp and nat-port-mapper from npm. The former knows version 1 only.
    Npm,
    /// async-upnp-client from PyPI.
    AsyncUpnp,
    /// MiniUPnP's daemon: a PCP server for a gateway that is itself a client.
    Miniupnpd,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Gupnp,
        Self::GupnpTools,
        Self::GupnpIgd,
        Self::Libtorrent,
        Self::Transmission,
        Self::Qbittorrent,
        Self::Npm,
        Self::AsyncUpnp,
        Self::Miniupnpd,
    ];

    /// The Debian packages that have it, or that it takes.
    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Gupnp => &["gir1.2-gupnp-1.6", "python3-gi"],
            Self::GupnpTools => &["gupnp-tools"],
            Self::GupnpIgd => &["gir1.2-gupnpigd-1.0", "python3-gi"],
            Self::Libtorrent => &["python3-libtorrent"],
            Self::Transmission => &["transmission-daemon"],
            Self::Qbittorrent => &["qbittorrent-nox"],
            Self::AsyncUpnp => &["python3-venv"],
            Self::Miniupnpd => &["miniupnpd", "miniupnpd-nftables"],
            // Debian's npm brings hundreds of packages along: it is used where it is.
            Self::Npm => &[],
        }
    }

    /// What it takes, in words.
    pub fn needs(self) -> String {
        match self {
            Self::Npm => format!("npm, and by it {}", NPM.join(" and ")),
            Self::AsyncUpnp => format!("Python from 3.11 on with venv, and by pip {PYPI}"),
            _ => format!("Debian's {}", self.packages().join(", ")),
        }
    }

    /// Whether this machine has it.
    pub fn is_here(self) -> bool {
        let mut probe = match self {
            Self::Gupnp => python("import gi; gi.require_version('GUPnP', '1.6')"),
            Self::GupnpTools => return GUPNP_TOOLS.iter().all(|tool| is_on_path(tool)),
            Self::GupnpIgd => python("import gi; gi.require_version('GUPnPIgd', '1.0')"),
            Self::Libtorrent => python("import libtorrent"),
            Self::Transmission => version("transmission-daemon"),
            // Asked for its version, it already makes a profile in $HOME.
            Self::Qbittorrent => return is_on_path("qbittorrent-nox"),
            Self::Miniupnpd => return is_on_path("miniupnpd"),
            Self::Npm => return NPM.iter().all(|package| npm_package(package).is_dir()),
            Self::AsyncUpnp => {
                let (name, version) = PYPI.split_once("==").unwrap_or((PYPI, ""));
                let mut python = Command::new(pypi_folder().join("bin/python3"));
                let statement = "import sys, importlib.metadata as metadata; \
                                 sys.exit(metadata.version(sys.argv[1]) != sys.argv[2])";
                python.args(["-c", statement, name, version]);
                python
            }
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
            let _ = writeln!(std::io::stderr(), "NOT RUN: {test}: needs {}", self.needs());
        }
        here
    }
}

/// Where `cargo xtask setup` has npm put its packages.
pub fn npm_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/npm")
}

/// The virtual environment that `cargo xtask setup` has made for the package from PyPI.
pub fn pypi_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/pypi")
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn npm_package(package: &str) -> PathBuf {
    let name = package.rsplit_once('@').map_or(package, |(name, _version)| name);
    npm_folder().join("node_modules").join(name)
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

/// A client from npm in a namespace: its name, what it shall do, and the port.
///
/// # Errors
/// When it cannot be started.
pub fn npm(namespace: &Namespace, words: [&str; 3]) -> Result<Process> {
    let mut command = namespace.command("node");
    command.arg(script("npm.mjs")).arg(npm_folder().canonicalize()?).args(words);
    Process::spawn(&mut command)
}

/// gupnp-igd in a namespace: it maps a port, given as protocol, external port, host, its port and lease,
/// until SIGUSR1 comes.
///
/// # Errors
/// When it cannot be started.
pub fn simple_igd(namespace: &Namespace, words: [&str; 5]) -> Result<Process> {
    let mut command = namespace.command(PYTHON);
    without_network_manager(&mut command).arg(script("simple_igd.py")).args(words);
    Process::spawn(&mut command)
}

/// A program of gupnp-tools in a namespace.
///
/// # Errors
/// When it cannot be started.
pub fn gupnp_tool(namespace: &Namespace, program: &str, arguments: &[&str]) -> Result<Process> {
    let mut command = namespace.command(program);
    Process::spawn(without_network_manager(&mut command).args(arguments))
}

/// The interfaces that a `NetworkManager` knows are not those of the namespace.
fn without_network_manager(command: &mut Command) -> &mut Command {
    command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
}

/// qBittorrent in a namespace, with a profile that holds nothing but its settings: it listens on `port`,
/// UPnP is on, and it has nothing to download, which would delay its end.
///
/// # Errors
/// When the profile cannot be written, or qBittorrent started.
pub fn qbittorrent(namespace: &Namespace, home: &Path, port: u16) -> Result<Process> {
    let settings = home.join("qBittorrent/config");
    std::fs::create_dir_all(&settings)?;
    std::fs::write(
        settings.join("qBittorrent.conf"),
        format!(
            "[LegalNotice]\nAccepted=true\n\
             [Network]\nPortForwardingEnabled=true\n\
             [Preferences]\nWebUI\\Enabled=true\nWebUI\\UseUPnP=false\n\
             WebUI\\Address=127.0.0.1\nConnection\\ResolvePeerCountries=false\n\
             [BitTorrent]\nSession\\Port={port}\nSession\\DHTEnabled=false\n\
             Session\\LSDEnabled=false\nSession\\PeXEnabled=false\n"
        ),
    )?;
    let mut command = namespace.command("qbittorrent-nox");
    command.arg(format!("--profile={}", home.display())).env("HOME", home);
    Process::spawn(&mut command)
}

/// async-upnp-client in a namespace, as a control point of version `1` or `2` of the gateway. It maps
/// `port` for `remote`, waits for SIGUSR1, and deletes the mapping.
///
/// # Errors
/// When it cannot be started.
pub fn async_upnp(namespace: &Namespace, words: [&str; 3]) -> Result<Process> {
    let mut command = namespace.command(pypi_folder().canonicalize()?.join("bin/python3"));
    command.arg(script("async_upnp.py")).args(words);
    Process::spawn(&mut command)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/client").join(name)
}
