//! The epoch of PCP and NAT-PMP across restarts.

use crate::{
    pcp::Epoch,
    store::{Clock, Moment},
};
use nat_common::BootTime;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder},
    io,
    net::Ipv4Addr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
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
}

/// Where the epoch is kept.
pub(super) struct Epochs(Option<(PathBuf, Clock)>);

impl Epochs {
    /// In a directory, if there is one.
    pub(super) fn of(directory: Option<&Path>, clock: Clock) -> Self {
        Self(directory.map(|directory| (directory.join(FILE), clock)))
    }

    /// Nowhere.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// The epoch of a start: the former one, if all is there again that was there in it (RFC 6887 8.5)
    /// and the clocks can tell for how long it has lasted.
    pub(super) fn begin(&self, now: BootTime, lossless: bool) -> Epoch {
        let former = self.read().filter(|_| lossless);
        let epoch = former.map(|(passed, address)| Epoch::resumed(now, passed, address));
        let epoch = epoch.unwrap_or_else(|| Epoch::new(now));
        self.keep(now, &epoch);
        epoch
    }

    /// Writes it down.
    pub(super) fn keep(&self, now: BootTime, epoch: &Epoch) {
        let Some((file, clock)) = &self.0 else { return };
        let written =
            Written { moment: clock(), passed: epoch.passed(now), address: epoch.address() };
        if let Err(error) = write(file, &written) {
            tracing::warn!("the epoch of PCP cannot be kept in {}: {error}", file.display());
        }
    }

    /// What of the epoch has passed, and its external address.
    fn read(&self) -> Option<(u64, Option<Ipv4Addr>)> {
        let (file, clock) = self.0.as_ref()?;
        let written: Written = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        let since = clock().since(&written.moment)?;
        Some((written.passed.saturating_add(since), written.address))
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
    use nat_common::time::NANOS_PER_SEC;
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
            Epochs::of(Some(&path), clock).begin(now, lossless).seconds(now)
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
    fn the_address_is_kept_too() {
        let directory = tempfile::tempdir().unwrap();
        let (now, clock) = at("a", 100, WALL);
        let epochs = Epochs::of(Some(directory.path()), clock);
        let mut epoch = epochs.begin(now, true);
        epoch.address_is(now, ADDRESS);
        epochs.keep(now, &epoch);
        assert_eq!(epochs.begin(now, true).address(), ADDRESS);
    }

    #[test]
    fn where_nothing_can_be_kept_every_start_begins_anew() {
        let (now, clock) = at("a", 100, WALL);
        let nowhere = Path::new("/proc/no-such-directory");
        assert_eq!(Epochs::of(Some(nowhere), clock).begin(now, true), Epoch::new(now));
        assert_eq!(Epochs::none().begin(now, true), Epoch::new(now));
    }
}
