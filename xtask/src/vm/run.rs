//! QEMU: boots a kernel and an image, and shows what the guest prints.

use super::kernel::Kernel;
use crate::steps;
use anyhow::{Context as _, Result, bail};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// The machine, before it boots.
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) archive: &'a Path,
}

/// The line by which the guest tells how its work ended; `guest/init.sh` prints it.
const ENDED: &str = "guest ended: ";

/// How much longer the guest may live than the host waits, seconds.
const GRACE: u64 = 30;

/// Megabytes of memory: the archive is unpacked into it, and each daemon has tables of its own.
const MEMORY: &str = "2048";

impl Machine<'_> {
    /// Boots, shows what the guest prints, and waits until its work is done. Returns the status with
    /// which that ended and all that was printed.
    pub(super) fn work(&self, seconds: u64) -> Result<(i32, String)> {
        let mut qemu = self.command(&format!("vm_seconds={}", seconds + GRACE));
        qemu.args(["-monitor", "none", "-serial", "stdio"]);
        let line = steps::line(&qemu);
        steps::say(&line);
        qemu.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = Guard(qemu.spawn().with_context(|| format!("cannot run `{line}`"))?);
        let console = child.0.stdout.take().context("QEMU without a console")?;
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let (printed, complete) = show(&chunks(console), deadline, &mut std::io::stdout())?;
        if !complete {
            bail!("the guest was not done within {seconds} s, and was switched off");
        }
        let status = child.0.wait()?;
        match ended(&printed) {
            Some(result) => Ok((result, printed)),
            None => bail!("the guest ended without a result (QEMU: {status})"),
        }
    }

    /// Boots, with the terminal as the guest's console.
    pub(super) fn shell(&self) -> Result<()> {
        let mut qemu = self.command("");
        steps::run(qemu.args(["-serial", "mon:stdio"]))
    }

    fn command(&self, words: &str) -> Command {
        let cpus = thread::available_parallelism().map_or(2, |cpus| cpus.get().clamp(2, 4));
        // Emulated: where KVM is to be had at all, it often runs none but its own kernels. The plainest
        // processor is the one that is emulated fastest.
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "qemu64", "-smp"])
            .arg(cpus.to_string())
            .args(["-m", MEMORY, "-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-no-reboot", "-kernel"])
            .arg(self.kernel.image())
            .arg("-initrd")
            .arg(self.archive)
            .arg("-append")
            .arg(format!("console=ttyS0 quiet panic=-1 oops=panic {words}").trim_end());
        qemu
    }
}

/// QEMU, which does not outlive what waits for it.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only when it has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What comes from a stream, as it comes. Ends with the stream.
fn chunks(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = vec![0; 4096];
        while let Ok(length) = stream.read(&mut buffer) {
            let Some(chunk) = buffer.get(..length).filter(|chunk| !chunk.is_empty()) else { break };
            if send.send(chunk.to_vec()).is_err() {
                break;
            }
        }
    });
    receive
}

/// Prints what comes until it ends; `false` when the deadline came first.
fn show(
    chunks: &Receiver<Vec<u8>>,
    deadline: Instant,
    out: &mut impl Write,
) -> Result<(String, bool)> {
    let mut printed = Vec::new();
    let complete = loop {
        match chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(mut chunk) => {
                // A serial console ends lines as a typewriter does.
                chunk.retain(|byte| *byte != b'\r');
                out.write_all(&chunk)?;
                out.flush()?;
                printed.extend(chunk);
            }
            Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => break false,
        }
    };
    Ok((String::from_utf8_lossy(&printed).into_owned(), complete))
}

/// The status with which the guest's work ended.
fn ended(printed: &str) -> Option<i32> {
    printed.lines().rev().find_map(|line| line.trim().strip_prefix(ENDED)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_the_guests_last_word() {
        assert_eq!(ended("test ok\nguest ended: 1\n[ 9.1] reboot: Power down\n"), Some(1));
        assert_eq!(ended("test ok\n[ 9.1] Kernel panic - not syncing\n"), None);
    }

    #[test]
    fn output_is_read_to_its_end_or_to_the_deadline() {
        let far = Instant::now() + Duration::from_secs(60);
        let mut shown = Vec::new();
        let all = show(&chunks(&b"one\r\ntwo\r\n"[..]), far, &mut shown).unwrap();
        assert_eq!(all, ("one\ntwo\n".to_owned(), true));
        assert_eq!(shown, b"one\ntwo\n");

        let (_open, silent) = mpsc::channel();
        let nothing = show(&silent, Instant::now(), &mut shown).unwrap();
        assert_eq!(nothing, (String::new(), false));
    }
}
