//! The word of a slot that tells until when its port forward is in force.
//!
//! It is a boot time, 256 ns exact. Below that lies how leases end *together*: one that is marked ends
//! when the forward generation ([`Settings::forward_generation`](crate::settings::Settings)) is no
//! longer the one that the mark names, and that is one store for all of them, however many they are and
//! whenever their writer was interrupted. The packet path has the generation in its time
//! ([`BootTime::in_generation`]), so that a packet which has begun in one sees every slot in it.

use crate::BootTime;

/// How far above the generation lie the bits of it that count: all when the lease ends with it, else none.
const COUNTS_SHIFT: u32 = 4;

/// The lease word of a slot.
#[derive(Clone, Copy)]
pub(super) struct Lease(pub(super) u64);

impl Lease {
    /// Until then. `BootTime(0)`: no lease.
    #[inline(always)]
    pub(super) const fn until(deadline: BootTime) -> Self {
        Self(deadline.0 & !BootTime::MARKS)
    }

    /// The same, ending with a generation if not before.
    pub(super) const fn ending_with(self, generation: u32) -> Self {
        Self(self.end().in_generation(generation).0 | BootTime::GENERATION << COUNTS_SHIFT)
    }

    /// Whether it ends with a generation.
    pub(super) const fn is_ending(self) -> bool {
        self.0 & BootTime::GENERATION << COUNTS_SHIFT != 0
    }

    /// Whether it runs for a packet of that time and generation. One comparison: the verifier follows
    /// every branch here many times.
    #[inline(always)]
    pub(super) const fn runs(self, now: BootTime) -> bool {
        let over = (self.0 >> COUNTS_SHIFT) & (self.0 ^ now.0) & BootTime::GENERATION;
        // Later than any lease, if it is over.
        self.0 > now.0 | over.wrapping_neg()
    }

    /// When it ends by the clock.
    #[inline(always)]
    pub(super) const fn end(self) -> BootTime {
        BootTime(self.0 & !BootTime::MARKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: BootTime = BootTime(1_000_000);
    const LATER: BootTime = BootTime(2_000_128);

    #[test]
    fn a_lease_runs_until_its_time_in_every_generation() {
        let lease = Lease::until(LATER);
        for generation in [0, 1, 15, 16, u32::MAX] {
            assert!(lease.runs(NOW.in_generation(generation)));
            assert!(!lease.runs(BootTime(2_000_128).in_generation(generation)));
        }
        assert!(LATER.0 - lease.end().0 <= BootTime::MARKS);
        assert_eq!(Lease::until(BootTime::NEVER).end(), BootTime::NEVER);
    }

    #[test]
    fn a_marked_lease_ends_with_its_generation_and_not_later_than_before() {
        let lease = Lease::until(LATER).ending_with(300);
        assert!(lease.is_ending() && lease.end() == Lease::until(LATER).end());
        assert!(lease.runs(NOW.in_generation(300)));
        for generation in [301, 302, 315, 299] {
            assert!(!lease.runs(NOW.in_generation(generation)));
        }
        assert!(!lease.runs(LATER.plus_nanos(256).in_generation(300)));
        // Marked again, by a daemon whose predecessor has died before the generation changed.
        assert!(lease.ending_with(301).runs(NOW.in_generation(301)));
    }
}
