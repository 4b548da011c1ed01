//! Time as the packet path reads it.

/// Nanoseconds of `CLOCK_BOOTTIME`. Zero lies before everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct BootTime(pub u64);

/// Nanoseconds in a second.
pub const NANOS_PER_SEC: u64 = 1_000_000_000;

impl BootTime {
    /// The low bits in which a time may carry a generation of forwards: see [`Self::in_generation`].
    pub(crate) const MARKS: u64 = 0xff;
    /// Those of them in which the generation lies.
    pub(crate) const GENERATION: u64 = 0x0f;

    /// Later than any clock will read: the deadline of what never expires.
    pub const NEVER: Self = Self((u64::MAX >> 1) & !Self::MARKS);

    /// This time, less than 256 ns earlier, as a packet sees it that has found forwards in
    /// `generation` ([`Settings::forward_generation`](crate::settings::Settings)).
    #[inline(always)]
    pub const fn in_generation(self, generation: u32) -> Self {
        Self((self.0 & !Self::MARKS) | (generation as u64 & Self::GENERATION))
    }

    /// The generation that this time was given, when the forwards are in generation `current` by now.
    #[inline(always)]
    pub const fn generation(self, current: u32) -> u32 {
        current.wrapping_sub(current.wrapping_sub(self.0 as u32) & Self::GENERATION as u32)
    }

    /// This time and `seconds` more, stopping at [`Self::NEVER`].
    #[inline(always)]
    pub const fn plus_secs(self, seconds: u64) -> Self {
        self.plus_nanos(seconds.saturating_mul(NANOS_PER_SEC))
    }

    /// This time and `nanos` more, stopping at [`Self::NEVER`].
    #[inline(always)]
    pub const fn plus_nanos(self, nanos: u64) -> Self {
        let sum = self.0.saturating_add(nanos);
        if sum > Self::NEVER.0 { Self::NEVER } else { Self(sum) }
    }

    /// Nanoseconds from `now` until this time; zero when it has passed.
    #[inline(always)]
    pub const fn nanos_from(self, now: Self) -> u64 {
        self.0.saturating_sub(now.0)
    }

    /// Whole seconds from `now` until this time, rounded up, so that a live lease never reads zero.
    #[inline]
    pub const fn secs_from(self, now: Self) -> u64 {
        self.nanos_from(now).div_ceil(NANOS_PER_SEC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stop_at_never() {
        assert_eq!(BootTime(5).plus_secs(u64::MAX), BootTime::NEVER);
        assert_eq!(BootTime::NEVER.plus_nanos(1), BootTime::NEVER);
    }

    #[test]
    fn a_time_keeps_the_generation_that_it_was_given() {
        let time = BootTime(123_456_789);
        for given in [0, 1, 14, 15, 16, 70_000, u32::MAX] {
            let seen = time.in_generation(given);
            assert!(time.0.abs_diff(seen.0) < 256);
            for since in [0, 1, 14] {
                assert_eq!(seen.generation(given.wrapping_add(since)), given);
            }
        }
        assert_eq!(BootTime::NEVER.0 & BootTime::MARKS, 0);
    }

    #[test]
    fn a_live_lease_never_reads_zero() {
        assert_eq!(BootTime(1).secs_from(BootTime(0)), 1);
        assert_eq!(BootTime(0).secs_from(BootTime(0)), 0);
        assert_eq!(BootTime(NANOS_PER_SEC).secs_from(BootTime(0)), 1);
    }
}
