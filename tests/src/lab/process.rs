//! A process whose output is read as it comes, and which never outlives its guard.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// From which stream a line came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

#[derive(Debug, Default)]
struct Seen {
    lines: Vec<(Stream, String)>,
    /// Streams that have not ended.
    open: usize,
    exited: bool,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// A running child. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    shared: Arc<Shared>,
}

/// How a process ended and what it printed.
#[derive(Debug)]
pub struct Finished {
    what: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// The standard output of a process that succeeded.
    ///
    /// # Errors
    /// When its status is not 0; the message holds all that it printed.
    pub fn success(self) -> Result<String> {
        if !self.status.success() {
            bail!("`{}`: {}\n{}{}", self.what, self.status, self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }
}

impl Process {
    /// Starts `command` with its output captured and nothing to read.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let what = describe(command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{what}`"))?;
        let shared = Arc::new(Shared::default());
        if let Some(stdout) = child.stdout.take() {
            collect(Stream::Out, stdout, Arc::clone(&shared));
        }
        if let Some(stderr) = child.stderr.take() {
            collect(Stream::Err, stderr, Arc::clone(&shared));
        }
        let pid = pid_of(&child);
        let at_exit = Arc::clone(&shared);
        std::thread::spawn(move || {
            // WNOWAIT: the child stays a zombie, and its id taken, until its owner reaps it.
            while let Err(nix::errno::Errno::EINTR) =
                waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
            {}
            at_exit.change(|seen| seen.exited = true);
        });
        Ok(Self { what, child, shared })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of either stream that `wanted` takes, from the first line on.
    ///
    /// # Errors
    /// When the process ends or `timeout` passes before; the message holds all that it printed.
    pub fn wait_for_line(
        &self,
        timeout: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + timeout;
        let mut next = 0;
        let mut seen = self.shared.lock();
        loop {
            for (_, line) in seen.lines.iter().skip(next) {
                if wanted(line) {
                    return Ok(line.clone());
                }
            }
            next = seen.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            // What it said last may come after the news of its end.
            let ended = seen.exited && seen.open == 0;
            if ended || left.is_zero() {
                let why = if ended { "ended" } else { "said nothing of the kind in time" };
                bail!("`{}` {why}; it printed:\n{}", self.what, text(&seen.lines, None));
            }
            seen = self.wait_change(seen, left);
        }
    }

    /// All that it has printed so far, both streams.
    pub fn printed(&self) -> String {
        text(&self.shared.lock().lines, None)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(pid_of(&self.child), signal).with_context(|| format!("{signal} to `{}`", self.what))
    }

    /// Waits until it and its output end.
    ///
    /// # Errors
    /// When they do not within `timeout`; it is killed then.
    pub fn finish(mut self, timeout: Duration) -> Result<Finished> {
        let deadline = Instant::now() + timeout;
        let mut seen = self.shared.lock();
        while !seen.exited || seen.open > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!(
                    "`{}` did not end within {timeout:?}; it printed:\n{}",
                    self.what,
                    text(&seen.lines, None)
                );
            }
            seen = self.wait_change(seen, left);
        }
        drop(seen);
        let status = self.child.wait()?;
        let seen = self.shared.lock();
        Ok(Finished {
            what: self.what.clone(),
            status,
            stdout: text(&seen.lines, Some(Stream::Out)),
            stderr: text(&seen.lines, Some(Stream::Err)),
        })
    }

    fn wait_change<'a>(
        &self,
        seen: MutexGuard<'a, Seen>,
        timeout: Duration,
    ) -> MutexGuard<'a, Seen> {
        let waited = self.shared.changed.wait_timeout(seen, timeout);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the child has been reaped, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// Reads a stream on a thread of its own, which ends with it.
fn collect(stream: Stream, source: impl Read + Send + 'static, shared: Arc<Shared>) {
    shared.change(|seen| seen.open += 1);
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while source.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            shared.change(|seen| seen.lines.push((stream, text)));
            line.clear();
        }
        shared.change(|seen| seen.open -= 1);
    });
}

fn text(lines: &[(Stream, String)], only: Option<Stream>) -> String {
    let mut text = String::new();
    for (stream, line) in lines {
        if only.is_none_or(|only| only == *stream) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

fn describe(command: &Command) -> String {
    let mut what = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        what.push(' ');
        what.push_str(&argument.to_string_lossy());
    }
    what
}
