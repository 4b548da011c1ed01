//! Where the daemon keeps its maps and answers its operator.

use super::Finding;
use crate::datapath::pins;
use nix::unistd::{AccessFlags, access};
use std::{
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

/// What is to be known of the pin directory.
#[derive(Clone, Debug)]
pub(super) struct PinDir {
    pub(super) path: PathBuf,
    /// Whether it is, or would be made, on a BPF file system; `None` when that cannot be told.
    pub(super) bpf: Option<bool>,
    /// Maps of other layout versions in it.
    pub(super) others: Vec<String>,
}

impl PinDir {
    /// Looks at `path`.
    pub(super) fn gather(path: &Path) -> Self {
        // It is made when the daemon starts: what counts is where.
        let existing = path.ancestors().find(|ancestor| ancestor.exists());
        let kind = existing.and_then(|existing| nix::sys::statfs::statfs(existing).ok());
        Self {
            path: path.to_owned(),
            bpf: kind.map(|kind| kind.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC),
            others: pins::other_layouts(path),
        }
    }

    /// Judges it.
    pub(super) fn finding(&self) -> Finding {
        let path = self.path.display();
        match self.bpf {
            Some(true) if self.others.is_empty() => {
                Finding::ok("pin directory", format!("{path} is on a BPF file system"))
            }
            Some(true) => Finding::failure(
                "pin directory",
                format!("{path} holds maps of another version: {}", self.others.join(", ")),
            )
            .mend(format!("igd-control unload --pin-dir {path} # ends the sessions there")),
            Some(false) => Finding::failure(
                "pin directory",
                format!("{path} is not on a BPF file system; --no-pin does without"),
            )
            .mend(self.mount()),
            None => Finding::unchecked("pin directory", format!("cannot look at {path}")),
        }
    }

    fn mount(&self) -> String {
        let usual = Path::new("/sys/fs/bpf");
        if self.path.starts_with(usual) {
            return format!("mount -t bpf bpf {}", usual.display());
        }
        let place = self.path.parent().unwrap_or(&self.path).display();
        format!("mkdir -p {place} && mount -t bpf bpf {place}")
    }
}

/// Least room that a store is comfortable with, bytes.
const ROOM: u64 = 16 << 20;

/// Looks whether mappings can be kept in a directory.
pub(super) fn state_dir(path: &Path) -> Finding {
    // It is made when the daemon starts: what counts is where.
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(path);
    let writable = access(existing, AccessFlags::W_OK).map_err(io::Error::from);
    let room = nix::sys::statvfs::statvfs(existing).ok();
    judge_state_dir(path, writable, room.map(|room| room.blocks_available() * room.fragment_size()))
}

/// Judges what was found there.
pub(super) fn judge_state_dir(path: &Path, writable: io::Result<()>, room: Option<u64>) -> Finding {
    const CHECK: &str = "state directory";
    let shown = path.display();
    let lost = "port mappings would not outlive a reboot";
    match (writable, room) {
        (Err(error), _) => Finding::warning(CHECK, format!("{shown}: {error}; {lost}"))
            .mend(format!("mkdir -p {shown} # or another daemon.state-dir")),
        (Ok(()), Some(room)) if room < ROOM => {
            let room = room >> 10;
            Finding::warning(CHECK, format!("{shown} has room for {room} KiB only; {lost}"))
        }
        (Ok(()), _) => Finding::ok(CHECK, format!("{shown} can be written")),
    }
}

/// Asks whether a daemon answers at the control socket.
pub(super) fn control_socket(path: &Path) -> Finding {
    judge_socket(path, UnixStream::connect(path).map(drop))
}

/// Judges what came of connecting to it.
pub(super) fn judge_socket(path: &Path, connected: io::Result<()>) -> Finding {
    let shown = path.display();
    match connected {
        Ok(()) => Finding::failure("daemon", format!("one runs already and answers at {shown}"))
            .mend(
                "systemctl stop igd-control # or end the process that `igd-control status` names",
            ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Finding::unchecked("daemon", format!("{shown} may not be opened"))
        }
        Err(_) => Finding::ok("daemon", format!("none answers at {shown}")),
    }
}
