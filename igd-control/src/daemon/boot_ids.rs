//! BOOTID.UPNP.ORG: a number that is higher after every start, and whenever the LAN gets a new address.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The file's name in the directory of the daemon's state.
const FILE: &str = "boot-id";
/// BOOTID has 31 bits (UPnP Device Architecture 1.1, 1.2.2).
const MASK: u32 = 0x7fff_ffff;

/// Gives out BOOTIDs, and remembers the last one in a file. Without it the clock must do, and then a box
/// that does not know the time yet says less than before.
#[derive(Debug)]
pub(super) struct BootIds {
    file: Option<PathBuf>,
    last: u32,
}

impl BootIds {
    /// The BOOTIDs of a start.
    pub(super) fn begin(directory: Option<&Path>, now: SystemTime) -> Self {
        let file = directory.map(|directory| directory.join(FILE));
        let last = file.as_deref().and_then(read);
        let mut ids = Self { file, last: after(last, now) };
        ids.keep();
        ids
    }

    /// The BOOTID at the moment.
    pub(super) const fn current(&self) -> u32 {
        self.last
    }

    /// Goes on to a higher one.
    pub(super) fn advance(&mut self, now: SystemTime) {
        self.last = after(Some(self.last), now);
        self.keep();
    }

    fn keep(&mut self) {
        if let Some(file) = &self.file
            && let Err(error) = write(file, self.last)
        {
            tracing::warn!("BOOTID cannot be kept in {}: {error}", file.display());
            self.file = None;
        }
    }
}

/// Seconds since 1970, as the UPnP Device Architecture proposes, but more than `last` whatever the clock
/// says.
fn after(last: Option<u32>, now: SystemTime) -> u32 {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = (seconds & u64::from(MASK)) as u32;
    last.map_or(seconds, |last| seconds.max((last + 1) & MASK))
}

fn read(file: &Path) -> Option<u32> {
    let last: u32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (last <= MASK).then_some(last)
}

/// Whole or not at all.
fn write(file: &Path, id: u32) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let new = file.with_extension("new");
    fs::write(&new, format!("{id}\n"))?;
    fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_later_boot_id_is_higher_whatever_the_clock_says() {
        let start = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let first = after(None, start);
        assert_eq!(first, 1_700_000_000);
        assert_eq!(after(Some(first), start + Duration::from_secs(9)), first + 9);
        assert_eq!(after(Some(first), start), first + 1);
        assert_eq!(after(Some(first), UNIX_EPOCH), first + 1);
        assert_eq!(after(Some(MASK), UNIX_EPOCH), 0);
    }

    #[test]
    fn a_later_start_has_a_higher_boot_id_in_the_same_second_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let begin = || BootIds::begin(Some(&path), UNIX_EPOCH + Duration::from_secs(5));
        let mut first = begin();
        assert_eq!(first.current(), 5);
        first.advance(UNIX_EPOCH);
        assert_eq!(first.current(), 6);
        assert_eq!(begin().current(), 7);
        for broken in ["", "x", "-1", "4294967295", "2147483648"] {
            fs::write(path.join(FILE), broken).unwrap();
            assert_eq!(begin().current(), 5, "{broken}");
        }
    }

    #[test]
    fn where_nothing_can_be_kept_the_clock_does() {
        let nowhere = Path::new("/proc/no-such-directory");
        let mut ids = BootIds::begin(Some(nowhere), UNIX_EPOCH + Duration::from_secs(5));
        ids.advance(UNIX_EPOCH);
        assert_eq!(ids.current(), 6);
    }
}
