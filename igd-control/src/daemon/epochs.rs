//! The epoch of PCP and NAT-PMP across restarts.

use crate::{
    pcp::Epoch,
    store::{Clock, Moment},
};
use nat_common::BootTime;
use nat_common::time::NANOS_PER_SEC;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder},
    io,
    net::Ipv4Addr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The file's name in the directory of the daemon's state.
const FILE: &str = "epoch";

/// What is written down.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    /// When.
    moment: Moment,
    /// Nanoseconds of the epoch that had passed then.
    passed: u64,
    /// The external address that there was last.
    address: Option<Ipv4Addr>,
    /// Nanoseconds of the epoch when what PEER had asked for was over at the latest.
    #[serde(default)]
    peers: u64,
}

/// So much later than it is PEER's last end is written down, nanoseconds: renewals need not be, then.
const SLACK: u64 = 3_600 * NANOS_PER_SEC;

/// Where the epoch is kept.
pub(super) struct Epochs {
    place: Option<(PathBuf, Clock)>,
    /// The end of what PEER has asked for, as it is written down.
    peers: Mutex<BootTime>,
}

impl Epochs {
    /// In a directory, if there is one.
    pub(super) fn of(directory: Option<&Path>, clock: Clock) -> Self {
        let place = directory.map(|directory| (directory.join(FILE), clock));
        Self { place, peers: Mutex::default() }
    }

    /// Nowhere.
    pub(super) const fn none() -> Self {
        Self { place: None, peers: Mutex::new(BootTime(0)) }
    }

    /// The epoch of a start: the former one, if all is there again that was there in it (RFC 6887 8.5)
    /// and the clocks can tell for how long it has lasted. `sessions`: those of a former daemon are, with
    /// what PEER has asked for.
    pub(super) fn begin(&self, now: BootTime, lossless: bool, sessions: bool) -> Epoch {
        let former = self.read().filter(|_| lossless);
        let former = former.filter(|(passed, written)| sessions || written.peers <= *passed);
        let resume = |(passed, written): (u64, Written)| {
            *self.peers() = now.plus_nanos(written.peers.saturating_sub(passed));
            Epoch::resumed(now, passed, written.address)
        };
        let epoch = former.map_or_else(|| Epoch::new(now), resume);
        self.keep(now, &epoch);
        epoch
    }

    /// Writes it down.
    pub(super) fn keep(&self, now: BootTime, epoch: &Epoch) {
        let Some((file, clock)) = &self.place else { return };
        let passed = epoch.passed(now);
        let peers = passed.saturating_add(self.peers().nanos_from(now));
        let written = Written { moment: clock(), passed, address: epoch.address(), peers };
        if let Err(error) = write(file, &written) {
            tracing::warn!("the epoch of PCP cannot be kept in {}: {error}", file.display());
        }
    }

    /// Notes when what PEER has asked for is over, and writes it down when that is later than it was.
    pub(super) fn note_peers(&self, now: BootTime, epoch: &Epoch, over: Option<BootTime>) {
        let Some(over) = over.filter(|over| *over > *self.peers()) else { return };
        *self.peers() = over.plus_nanos(SLACK);
        self.keep(now, epoch);
    }

    fn peers(&self) -> MutexGuard<'_, BootTime> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What of the epoch has passed, and what was written down.
    fn read(&self) -> Option<(u64, Written)> {
        let (file, clock) = self.place.as_ref()?;
        let written: Written = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        let since = clock().since(&written.moment)?;
        Some((written.passed.saturating_add(since), written))
    }
}

/// Whole or not at all.
fn write(file: &Path, written: &Written) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let new = file.with_extension("new");
    fs::write(&new, serde_json::to_vec(written)?)?;
    fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const WALL: u64 = 1_800_000_000;
    const ADDRESS: Option<Ipv4Addr> = Some(Ipv4Addr::new(192, 0, 2, 1));

    fn at(boot_id: &str, boot: u64, wall: u64) -> (BootTime, Clock) {
        let moment = Moment { boot_id: boot_id.to_owned(), boot: boot * NANOS_PER_SEC, wall };
        (BootTime(moment.boot), Arc::new(move || moment.clone()))
    }

    #[test]
    fn an_epoch_goes_on_after_a_restart_and_a_reboot_if_nothing_was_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let begin = |(now, clock): (BootTime, Clock), lossless| {
            Epochs::of(Some(&path), clock).begin(now, lossless, false).seconds(now)
        };
        assert_eq!(begin(at("a", 100, WALL), true), 0, "the first one");
        assert_eq!(begin(at("a", 160, 0), true), 60, "a restart");
        assert_eq!(begin(at("a", 200, WALL + 100), true), 100);
        assert_eq!(begin(at("b", 10, WALL + 500), true), 500, "a reboot");
        assert_eq!(begin(at("c", 10, 5), true), 0, "nobody knows the time");
        assert_eq!(begin(at("c", 40, 35), true), 30);
        assert_eq!(begin(at("c", 50, 45), false), 0, "something was lost");
        fs::write(path.join(FILE), "x").unwrap();
        assert_eq!(begin(at("c", 60, 55), true), 0, "unreadable");
    }

    #[test]
    fn an_epoch_ends_with_sessions_that_peer_was_promised() {
        let directory = tempfile::tempdir().unwrap();
        let begin = |at, sessions| {
            let (now, clock) = at;
            let epochs = Epochs::of(Some(directory.path()), clock);
            let epoch = epochs.begin(now, true, sessions);
            (now, epochs, epoch)
        };
        let (now, epochs, epoch) = begin(at("a", 100, WALL), false);
        epochs.note_peers(now, &epoch, None);
        epochs.note_peers(now, &epoch, Some(now.plus_secs(1_000)));
        let (now, epochs, epoch) = begin(at("a", 200, 0), true);
        assert_eq!(epoch.seconds(now), 100, "they are there again");
        epochs.keep(now, &epoch);
        let (now, ..) = begin(at("a", 300, 0), true);
        let (now, epoch) = (now, begin(at("a", 400, 0), false).2);
        assert_eq!(epoch.seconds(now.plus_secs(100)), 0, "they have gone");
        let (now, epochs, epoch) = begin(at("a", 500, 0), false);
        assert_eq!(epoch.seconds(now), 100, "nobody was promised anything since");
        epochs.note_peers(now, &epoch, Some(now.plus_secs(1_000)));
        let (now, _, epoch) = begin(at("a", 5_200, 0), false);
        assert_eq!(epoch.seconds(now), 4_800, "it was over");
    }

    #[test]
    fn the_address_is_kept_too() {
        let directory = tempfile::tempdir().unwrap();
        let (now, clock) = at("a", 100, WALL);
        let epochs = Epochs::of(Some(directory.path()), clock);
        let mut epoch = epochs.begin(now, true, false);
        epoch.address_is(now, ADDRESS);
        epochs.keep(now, &epoch);
        assert_eq!(epochs.begin(now, true, false).address(), ADDRESS);
    }

    #[test]
    fn where_nothing_can_be_kept_every_start_begins_anew() {
        let (now, clock) = at("a", 100, WALL);
        let nowhere = Path::new("/proc/no-such-directory");
        assert_eq!(Epochs::of(Some(nowhere), clock).begin(now, true, false), Epoch::new(now));
        assert_eq!(Epochs::none().begin(now, true, false), Epoch::new(now));
    }
}
