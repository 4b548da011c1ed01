//! Leases across a reboot.
//!
//! Leases end by `CLOCK_BOOTTIME`, which starts anew with every boot. What is written down has beside it
//! the [`Moment`] of its writing, by that clock and by the wall clock, so that another boot can tell how
//! much of a lease was left then, and how long the box was away.
//!
//! The wall clock is not trusted far. Cheap boxes have none that runs while they are off: they start in
//! 1970, or at the time of their last shutdown, and jump when they hear of the time. So a clock that
//! stands before the written moment, or a moment from before this program existed, says nothing about
//! how long the box was away, and that time counts as none: no lease is lost to a wrong clock. Nor does
//! one live for ever: moments are written anew every few minutes, and whenever the wall clock has
//! jumped, and only the time since the last one is ever given back.

use nat_common::BootTime;
use nat_common::time::NANOS_PER_SEC;
use serde::{Deserialize, Serialize};

/// 2025-01-01, seconds since 1970: no clock that is right stands before.
const PLAUSIBLE: u64 = 1_735_689_600;

/// A jump of the wall clock that is worth a new moment, seconds.
const JUMP: i128 = 2;

/// A moment by both clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Moment {
    /// Which boot the time since boot belongs to.
    pub boot_id: String,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub boot: u64,
    /// Seconds since 1970.
    pub wall: u64,
}

impl Moment {
    /// What a deadline that was written at another moment is on the clock of this one; `None` when it
    /// has passed.
    pub fn translate(&self, deadline: BootTime, written: &Self) -> Option<BootTime> {
        let now = BootTime(self.boot);
        // Without an id it cannot be told whether it is the same boot.
        let same_boot = self.boot_id == written.boot_id && !self.boot_id.is_empty();
        let here = if deadline == BootTime::NEVER || same_boot {
            deadline
        } else {
            let left = deadline.nanos_from(BootTime(written.boot));
            now.plus_nanos(left.saturating_sub(self.away_since(written)))
        };
        (here > now).then_some(here)
    }

    /// Nanoseconds since an earlier moment; `None` when that cannot be told.
    pub fn since(&self, earlier: &Self) -> Option<u64> {
        if self.boot_id == earlier.boot_id && !self.boot_id.is_empty() {
            return self.boot.checked_sub(earlier.boot);
        }
        let seconds = self.wall.checked_sub(earlier.wall).filter(|_| earlier.wall >= PLAUSIBLE)?;
        Some(seconds.saturating_mul(NANOS_PER_SEC))
    }

    /// How long the box was away, nanoseconds.
    fn away_since(&self, written: &Self) -> u64 {
        if written.wall < PLAUSIBLE {
            return 0;
        }
        self.wall.saturating_sub(written.wall).saturating_mul(NANOS_PER_SEC)
    }

    /// Whether the wall clock was set since an earlier moment of the same boot.
    pub fn has_jumped_since(&self, earlier: &Self) -> bool {
        let offset =
            |moment: &Self| i128::from(moment.wall) - i128::from(moment.boot / NANOS_PER_SEC);
        (offset(self) - offset(earlier)).abs() > JUMP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: u64 = 1_800_000_000;
    const HOUR: u64 = 3_600;

    fn moment(boot_id: &str, boot: u64, wall: u64) -> Moment {
        Moment { boot_id: boot_id.to_owned(), boot: boot * NANOS_PER_SEC, wall }
    }

    fn seconds(boot: u64) -> BootTime {
        BootTime(0).plus_secs(boot)
    }

    #[test]
    fn within_a_boot_deadlines_stay_whatever_the_wall_clock_does() {
        let written = moment("a", 100, WALL);
        for wall in [0, WALL, WALL * 2] {
            let now = moment("a", 200, wall);
            assert_eq!(now.translate(seconds(300), &written), Some(seconds(300)));
            assert_eq!(now.translate(seconds(200), &written), None);
        }
    }

    #[test]
    fn boots_without_an_id_are_different_ones() {
        let (written, now) = (moment("", 5_000, WALL), moment("", 10, WALL + 60));
        assert_eq!(now.translate(seconds(5_000 + HOUR), &written), Some(seconds(10 + HOUR - 60)));
    }

    #[test]
    fn the_time_away_counts() {
        let written = moment("a", 5_000, WALL);
        let now = moment("b", 10, WALL + HOUR);
        assert_eq!(now.translate(seconds(5_000 + 2 * HOUR), &written), Some(seconds(10 + HOUR)));
        assert_eq!(now.translate(seconds(5_000 + HOUR), &written), None);
        assert_eq!(now.translate(BootTime::NEVER, &written), Some(BootTime::NEVER));
    }

    #[test]
    fn a_clock_that_stands_before_the_moment_or_in_the_past_kills_no_lease_and_lengthens_none() {
        let left = |written_wall, now_wall| {
            let (written, now) = (moment("a", 5_000, written_wall), moment("b", 10, now_wall));
            now.translate(seconds(5_000 + HOUR), &written)
        };
        let whole = Some(seconds(10 + HOUR));
        assert_eq!(left(WALL, 0), whole, "no clock, not set yet");
        assert_eq!(left(WALL, WALL - HOUR), whole, "the time of the last shutdown");
        assert_eq!(left(100, 110), whole, "no clock, never set");
        assert_eq!(left(100, WALL), whole, "it was not set then and is now");
    }

    #[test]
    fn the_time_between_moments_is_told_where_a_clock_knows_it() {
        let earlier = moment("a", 100, WALL);
        let since = |now: Moment| now.since(&earlier).map(|nanos| nanos / NANOS_PER_SEC);
        assert_eq!(since(moment("a", 160, 0)), Some(60), "the same boot");
        assert_eq!(since(moment("b", 10, WALL + HOUR)), Some(HOUR));
        assert_eq!(since(moment("b", 10, WALL - 1)), None);
        assert_eq!(
            moment("b", 10, WALL).since(&moment("a", 100, 100)),
            None,
            "it was not set then"
        );
    }

    #[test]
    fn a_jump_of_the_wall_clock_is_seen() {
        let earlier = moment("a", 100, WALL);
        assert!(!moment("a", 700, WALL + 601).has_jumped_since(&earlier));
        assert!(moment("a", 700, WALL + 700).has_jumped_since(&earlier));
        assert!(moment("a", 700, 0).has_jumped_since(&earlier));
    }
}
