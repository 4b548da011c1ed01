//! `igd-control` in the lab's router.

use crate::lab::{BpfFs, Finished, Lab, Process, wait_until};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long the daemon may take to serve: it verifies and attaches programs, and the emulated machine
/// of `cargo xtask vm` takes a minute to verify them, and longer on a busy host.
const START_TIMEOUT: Duration = Duration::from_secs(300);

/// How long it may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The program to test: `$IGD_CONTROL_BIN`, else the workspace's release build.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("IGD_CONTROL_BIN") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/igd-control"),
    };
    path.canonicalize().with_context(|| {
        let path = path.display();
        format!("{path} is missing: `cargo xtask build` makes it, or set IGD_CONTROL_BIN")
    })
}

/// `igd-control unload` on what daemons of the lab have left.
///
/// # Errors
/// When it cannot be run; how it ends is the caller's to judge.
pub fn unload(lab: &Lab, bpffs: &BpfFs<'_>, arguments: &[&str]) -> Result<Finished> {
    let (pin_dir, socket) = (bpffs.path().join(PIN_DIR), lab.directory().join(SOCKET));
    let (pin_dir, socket) = (pin_dir.to_string_lossy(), socket.to_string_lossy());
    let usual = ["unload", "--pin-dir", &pin_dir, "--control-socket", &socket];
    lab.router.output(&binary()?.to_string_lossy(), &[&usual, arguments].concat())
}

/// The folder for pins in a BPF filesystem of the lab.
pub const PIN_DIR: &str = "igd-control";

/// The control socket's name in the lab's directory.
const SOCKET: &str = "control.sock";

/// How the daemon shall run.
#[derive(Debug)]
pub struct DaemonBuilder<'lab> {
    lab: &'lab Lab,
    binary: Option<PathBuf>,
    lan: Vec<&'lab str>,
    wan: &'lab str,
    pin_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    arguments: Vec<String>,
    carrier: bool,
}

impl<'lab> DaemonBuilder<'lab> {
    /// In the place of the carrier's NAT, on the WAN host, instead of in the router.
    #[must_use]
    pub fn as_carrier(mut self) -> Self {
        (self.lan, self.wan, self.carrier) = (vec!["eth0"], "far0", true);
        self
    }

    /// Another program than [`binary`].
    #[must_use]
    pub fn binary(mut self, path: &Path) -> Self {
        self.binary = Some(path.to_owned());
        self
    }

    /// Maps and programs outlive the daemon, in `bpffs`.
    #[must_use]
    pub fn pinned(mut self, bpffs: &BpfFs<'_>) -> Self {
        self.pin_dir = Some(bpffs.path().join(PIN_DIR));
        self
    }

    /// Keeps mappings in a directory; otherwise they are not kept.
    #[must_use]
    pub fn state(mut self, directory: &Path) -> Self {
        self.state_dir = Some(directory.to_owned());
        self
    }

    /// Serves these LAN interfaces only.
    #[must_use]
    pub fn lan(mut self, interfaces: &[&'lab str]) -> Self {
        self.lan = interfaces.to_vec();
        self
    }

    /// With another interface as the WAN.
    #[must_use]
    pub fn wan(mut self, interface: &'lab str) -> Self {
        self.wan = interface;
        self
    }

    /// With a file of configuration that holds `text`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configured(self, text: &str) -> Result<Self> {
        let file = self.lab.directory().join("igd-control.toml");
        std::fs::write(&file, text)?;
        Ok(self.argument("--config").argument(&file.to_string_lossy()))
    }

    /// One more argument of `igd-control run`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts it and waits until it says `ready`.
    ///
    /// # Errors
    /// When it does not; the message holds its log.
    pub fn start(self) -> Result<Daemon<'lab>> {
        let (binary, socket, mut command) = self.command()?;
        self.lab.on_wan().arm();
        let process = Process::spawn(&mut command)?;
        process.wait_for_line(START_TIMEOUT, says_ready)?;
        let pinned = self.pin_dir.is_some();
        Ok(Daemon { lab: self.lab, binary, socket, pinned, process: Some(process) })
    }

    /// Starts it and kills it (SIGKILL) after a time, wherever it is by then.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_and_kill(self, after: Duration) -> Result<()> {
        let (_, _, mut command) = self.command()?;
        let process = Process::spawn(&mut command)?;
        std::thread::sleep(after);
        // It may have refused to start meanwhile.
        let _ = process.signal(Signal::SIGKILL);
        process.finish(STOP_TIMEOUT)?;
        Ok(())
    }

    /// Starts it apart from this process, which it outlives, with its log in a file. Returns the
    /// process id and the file, once it says `ready`.
    ///
    /// # Errors
    /// When it does not; it has been killed then.
    pub fn start_detached(self) -> Result<(u32, PathBuf)> {
        let (_, _, mut command) = self.command()?;
        let log = self.lab.directory().join("igd-control.log");
        let file = File::create(&log)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()?;
        let ready = crate::lab::wait_until("the daemon's start", START_TIMEOUT, || {
            if let Some(status) = child.try_wait()? {
                bail!("the daemon ended ({status}):\n{}", std::fs::read_to_string(&log)?);
            }
            Ok(std::fs::read_to_string(&log)?.lines().any(says_ready))
        });
        if let Err(error) = ready {
            child.kill()?;
            child.wait()?;
            return Err(error);
        }
        Ok((child.id(), log))
    }

    fn command(&self) -> Result<(PathBuf, PathBuf, Command)> {
        let binary = match &self.binary {
            Some(path) => path.clone(),
            None => binary()?,
        };
        let (host, socket) = match self.carrier {
            true => (&self.lab.wan, "carrier.sock"),
            false => (&self.lab.router, SOCKET),
        };
        let socket = self.lab.directory().join(socket);
        let mut command = host.command(&binary);
        command.arg("run");
        for interface in &self.lan {
            command.args(["--lan", interface]);
        }
        command.args(["--wan", self.wan]).arg("--control-socket").arg(&socket);
        match &self.pin_dir {
            Some(directory) => command.arg("--pin-dir").arg(directory),
            None => command.arg("--no-pin"),
        };
        match &self.state_dir {
            Some(directory) => command.arg("--state-dir").arg(directory),
            None => command.arg("--no-state"),
        };
        command.args(&self.arguments);
        Ok((binary, socket, command))
    }
}

fn says_ready(line: &str) -> bool {
    line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "ready")
}

/// The running daemon. Dropped, it is killed.
#[derive(Debug)]
pub struct Daemon<'lab> {
    lab: &'lab Lab,
    binary: PathBuf,
    socket: PathBuf,
    pinned: bool,
    process: Option<Process>,
}

impl<'lab> Daemon<'lab> {
    /// The daemon on all LAN interfaces of `lab`, with nothing pinned.
    pub fn builder(lab: &'lab Lab) -> DaemonBuilder<'lab> {
        DaemonBuilder {
            lab,
            binary: None,
            lan: lab.lan_interfaces().to_vec(),
            wan: "wan0",
            pin_dir: None,
            state_dir: None,
            arguments: Vec::new(),
            carrier: false,
        }
    }

    /// Starts it like that.
    ///
    /// # Errors
    /// As for [`DaemonBuilder::start`].
    pub fn start(lab: &'lab Lab) -> Result<Self> {
        Self::builder(lab).start()
    }

    /// Asks it on the command line, as `igd-control QUESTION`, for people.
    ///
    /// # Errors
    /// When the command fails.
    pub fn table(&self, question: &str) -> Result<String> {
        self.ask(&[question])
    }

    /// Asks it on the command line, as `igd-control QUESTION --json`.
    ///
    /// # Errors
    /// When the command fails or prints something else than JSON.
    pub fn json(&self, question: &str) -> Result<Value> {
        let text = self.ask(&[question, "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("{question}: not JSON: {text}"))
    }

    /// `igd-control status`.
    ///
    /// # Errors
    /// As for [`Self::json`].
    pub fn status(&self) -> Result<Value> {
        self.json("status")
    }

    /// `igd-control mappings`.
    ///
    /// # Errors
    /// As for [`Self::json`], and when it is not an array.
    pub fn mappings(&self) -> Result<Vec<Value>> {
        self.array("mappings")
    }

    /// `igd-control sessions`.
    ///
    /// # Errors
    /// As for [`Self::json`], and when it is not an array.
    pub fn sessions(&self) -> Result<Vec<Value>> {
        self.array("sessions")
    }

    /// One value of `igd-control counters`.
    ///
    /// # Errors
    /// As for [`Self::json`], and when there is no such counter.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let counters = self.json("counters")?;
        counters.get(name).and_then(Value::as_u64).with_context(|| format!("no counter {name}"))
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::printed).unwrap_or_default()
    }

    /// Waits for a line of its log that `wanted` takes, from the first line on.
    ///
    /// # Errors
    /// When there is none within `timeout`.
    pub fn wait_for_line(
        &self,
        timeout: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let process = self.process.as_ref().context("the daemon has ended")?;
        process.wait_for_line(timeout, wanted)
    }

    /// What `igd-control status` says of the server upstream.
    ///
    /// # Errors
    /// As for [`Self::json`], and when it says nothing of it.
    pub fn upstream(&self) -> Result<String> {
        let status = self.status()?;
        let told = status.get("upstream").and_then(Value::as_str);
        Ok(told.context("the status has nothing of the server upstream")?.to_owned())
    }

    /// Waits until it says these words of the server upstream.
    ///
    /// # Errors
    /// When it does not within `timeout`.
    pub fn wait_for_upstream(&self, timeout: Duration, words: &str) -> Result<()> {
        wait_until(words, timeout, || Ok(self.upstream()?.contains(words)))
    }

    /// Stops it by SIGTERM.
    ///
    /// # Errors
    /// When it does not end in time with status 0.
    pub fn stop(mut self) -> Result<Finished> {
        self.before_end();
        let Some(process) = self.process.take() else { bail!("the daemon has ended") };
        process.signal(Signal::SIGTERM)?;
        let finished = process.finish(STOP_TIMEOUT)?;
        ensure!(
            finished.status.success(),
            "the daemon ended with {} after SIGTERM:\n{}",
            finished.status,
            finished.stderr
        );
        Ok(finished)
    }

    /// Kills it (SIGKILL) and waits until it is gone. The guard on the WAN stays in any case.
    ///
    /// # Errors
    /// When it is not.
    pub fn kill(mut self) -> Result<()> {
        let Some(process) = self.process.take() else { bail!("the daemon has ended") };
        process.signal(Signal::SIGKILL)?;
        process.finish(STOP_TIMEOUT)?;
        Ok(())
    }

    fn array(&self, question: &str) -> Result<Vec<Value>> {
        match self.json(question)? {
            Value::Array(items) => Ok(items),
            other => bail!("{question}: not an array: {other}"),
        }
    }

    /// Runs `igd-control ARGUMENTS` on it, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn command(&self, arguments: &[&str]) -> Result<Finished> {
        let (binary, socket) = (self.binary.to_string_lossy(), self.socket.to_string_lossy());
        let all = [arguments, &["--control-socket", &socket]].concat();
        self.lab.router.output(&binary, &all)
    }

    /// Sends it SIGHUP.
    ///
    /// # Errors
    /// When it has ended.
    pub fn hang_up(&self) -> Result<()> {
        self.process.as_ref().context("the daemon has ended")?.signal(Signal::SIGHUP)
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let binary = self.binary.to_string_lossy();
        let socket = self.socket.to_string_lossy();
        let all = [arguments, &["--control-socket", &socket]].concat();
        self.lab.router.run(&binary, &all)
    }

    /// Without pins the kernel's untranslated routing takes over when the daemon ends, for in the lab
    /// it forwards by itself: nothing that the WAN sees from then on is the daemon's doing.
    fn before_end(&self) {
        if !self.pinned {
            self.lab.on_wan().disarm();
        }
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        self.before_end();
        if self.process.is_some() {
            // Nobody stopped it, so something has failed.
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}
