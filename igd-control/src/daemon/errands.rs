//! The operator's commands that bring the WAN link up and down.

use super::shared::Shared;
use crate::{config, igd::connection::Errand, mapping::PacketPath, shutdown::Shutdown};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{process::Stdio, sync::Arc, time::Duration};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

/// Runs the commands, one at a time.
#[derive(Debug)]
pub(super) struct Errands {
    up: Vec<String>,
    down: Vec<String>,
    time: Duration,
    wan: String,
}

impl Errands {
    pub(super) fn new(config: &config::Connection, wan: &str) -> Self {
        Self {
            up: config.up_command.clone(),
            down: config.down_command.clone(),
            time: Duration::from_secs(config.command_time.into()),
            wan: wan.to_owned(),
        }
    }

    /// Runs what the connection asks for, until `shutdown`.
    pub(super) async fn run<P: PacketPath + Send + 'static>(
        self,
        shared: Arc<Shared<P>>,
        mut shutdown: Shutdown,
    ) {
        let mut next = None;
        loop {
            let errand = match next.take() {
                Some(errand) => errand,
                None => tokio::select! {
                    () = shutdown.wait() => return,
                    errand = shared.errand() => errand,
                },
            };
            let Some(mut running) = self.start(errand) else {
                if errand != Errand::Stop {
                    shared.errand_ended(errand, false);
                }
                continue;
            };
            tokio::select! {
                () = shutdown.wait() => return,
                well = running.end(self.time) => shared.errand_ended(errand, well),
                newer = shared.errand() => next = Some(newer),
            }
        }
    }

    fn start(&self, errand: Errand) -> Option<Running> {
        let words = match errand {
            Errand::Up => &self.up,
            Errand::Down => &self.down,
            Errand::Stop => return None,
        };
        let (program, arguments) = words.split_first()?;
        tracing::info!(command = words.join(" "), "running");
        // Not through a shell, and in a group of its own, so that all of it can be ended.
        let started = Command::new(program)
            .args(arguments)
            .env("IGD_WAN", &self.wan)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        match started {
            Ok(child) => Some(Running { group: child.id(), child }),
            Err(error) => {
                tracing::warn!(program, "cannot be run: {error}");
                None
            }
        }
    }
}

/// A command at work; ended with all that it has started when dropped before its end.
struct Running {
    child: Child,
    group: Option<u32>,
}

impl Running {
    /// Waits for its end, for `time` at most; tells whether it ended well.
    async fn end(&mut self, time: Duration) -> bool {
        let status = tokio::select! {
            status = self.child.wait() => status,
            () = sleep(time) => {
                tracing::warn!("the command has not ended in time");
                return false;
            }
        };
        // What it leaves running is meant to stay.
        self.group = None;
        match status {
            Ok(status) if status.success() => true,
            Ok(status) => {
                tracing::warn!("the command ended with {status}");
                false
            }
            Err(error) => {
                tracing::warn!("the command's end is not known: {error}");
                false
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = self.group.take().and_then(|group| i32::try_from(group).ok());
        if let Some(group) = group {
            // It may have ended just now.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}
