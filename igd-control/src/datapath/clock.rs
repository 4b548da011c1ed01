//! The clock of leases and sessions.

use nat_common::BootTime;
use nix::time::{ClockId, clock_gettime};

/// Now, on `CLOCK_BOOTTIME`, the clock that the packet path reads.
pub fn now() -> BootTime {
    // The clock exists since Linux 2.6.39 and cannot fail; if it did, everything would be expired.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(BootTime::NEVER, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
        let nanos = u64::try_from(time.tv_nsec()).unwrap_or_default();
        BootTime(0).plus_secs(seconds).plus_nanos(nanos)
    })
}
