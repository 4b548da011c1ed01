//! Hints at free ports, for when guessing does not find one any more.
//!
//! The packet path tries the port that it would like, then some random ones; when nearly all are taken
//! that finds nothing. It then takes ports from a short list that user space has made by looking at the
//! whole table. Hints are no more than that: a port is had by claiming it, and a hint that is stale
//! fails like any other guess. The lists are memory that both sides share, one for each protocol of
//! each external address.

use crate::Protocol;
use crate::atomic::Word64;
use crate::settings::PortRange;

/// Most ports in a list.
pub const HINTS: usize = 256;

/// The list of a protocol on the `address`-th external address.
#[inline(always)]
pub const fn list_index(address: u32, protocol: Protocol) -> u32 {
    address * Protocol::COUNT + protocol as u32
}

/// Free ports, in no order.
#[derive(Debug)]
#[repr(C)]
pub struct PortHints {
    /// How many were taken, over all times.
    taken: Word64,
    /// How many ports the list has.
    count: Word64,
    /// 1 when the packet path has asked for another list.
    asked: Word64,
    ports: [Word64; HINTS],
}

impl Default for PortHints {
    fn default() -> Self {
        let word = || Word64::new(0);
        Self {
            taken: word(),
            count: word(),
            asked: word(),
            ports: core::array::from_fn(|_| word()),
        }
    }
}

impl PortHints {
    /// The next hint; another one for each caller, and after the last one the first again: a port that
    /// was taken may be free by then.
    #[inline(always)]
    pub fn take(&self) -> Option<u16> {
        let count = self.count.get();
        if count == 0 {
            return None;
        }
        let place = self.taken.add(1) % count;
        self.ports.get(place as usize).map(|port| port.get() as u16)
    }

    /// Asks for another list; `false` when that was asked for already.
    #[inline(always)]
    pub fn ask(&self) -> bool {
        self.asked.get() == 0 && self.asked.swap(1) == 0
    }

    /// Whether another list was asked for.
    pub fn is_asked(&self) -> bool {
        self.asked.get() != 0
    }

    /// Empties the list.
    pub fn clear(&self) {
        self.count.swap(0);
        self.asked.swap(0);
    }

    /// Lists ports of `range` that are free: if there are more than fit, as many at random, so that
    /// nobody can tell the next one (RFC 6056). `random` gives a number below its argument. Tells how
    /// many are free.
    pub fn fill(
        &self,
        range: &PortRange,
        is_free: impl Fn(u16) -> bool,
        mut random: impl FnMut(u32) -> u32,
    ) -> u32 {
        // What is asked from now on is asked of the new list.
        self.asked.swap(0);
        let mut list = [0_u16; HINTS];
        let mut free = 0;
        for port in
            (range.first..=range.last).filter(|port| range.contains(*port) && is_free(*port))
        {
            // Any of those so far is in any place with the same chance.
            let place = random(free + 1) as usize;
            if let Some(last) = list.get_mut(free as usize) {
                *last = port;
                list.swap(free as usize, place.min(free as usize));
            } else if let Some(here) = list.get_mut(place) {
                *here = port;
            }
            free += 1;
        }
        for (word, port) in self.ports.iter().zip(list) {
            word.set(u64::from(port));
        }
        self.count.swap(u64::from(free.min(HINTS as u32)));
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const RANGE: PortRange =
        PortRange { first: 1_000, last: 2_999, hole_first: 1_500, hole_last: 1_999 };

    /// A generator that is good enough here.
    fn random(seed: u64) -> impl FnMut(u32) -> u32 {
        let mut state = seed;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) % u64::from(below)) as u32
        }
    }

    fn listed(hints: &PortHints) -> Vec<u16> {
        let count = hints.count.get() as usize;
        (0..count).map(|_| hints.take().unwrap()).collect()
    }

    #[test]
    fn an_empty_list_gives_nothing() {
        let hints = PortHints::default();
        assert_eq!(hints.take(), None);
        assert_eq!(hints.fill(&RANGE, |_| false, random(1)), 0);
        assert_eq!(hints.take(), None);
    }

    #[test]
    fn the_only_free_port_is_given_again_and_again() {
        let hints = PortHints::default();
        assert_eq!(hints.fill(&RANGE, |port| port == 2_345, random(1)), 1);
        assert_eq!([hints.take(), hints.take()], [Some(2_345), Some(2_345)]);
    }

    #[test]
    fn few_free_ports_are_all_listed() {
        let hints = PortHints::default();
        assert_eq!(hints.fill(&RANGE, |port| port % 10 == 7, random(1)), 150);
        let all: HashSet<u16> = listed(&hints).into_iter().collect();
        assert_eq!(all.len(), 150);
        assert!(all.iter().all(|port| RANGE.contains(*port) && port % 10 == 7));
    }

    #[test]
    fn many_free_ports_are_listed_from_all_over_the_range_and_otherwise_each_time() {
        let hints = PortHints::default();
        assert_eq!(hints.fill(&RANGE, |_| true, random(1)), 1_500);
        let first = listed(&hints);
        assert_eq!(first.len(), HINTS);
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), HINTS);
        assert!(first.iter().any(|port| *port < 1_100) && first.iter().any(|port| *port > 2_900));
        hints.fill(&RANGE, |_| true, random(2));
        let kept = listed(&hints).iter().filter(|port| first.contains(port)).count();
        assert!(kept < HINTS / 2, "{kept}");
    }

    #[test]
    fn a_list_is_asked_for_once() {
        let hints = PortHints::default();
        assert!(hints.ask() && !hints.ask() && hints.is_asked());
        hints.fill(&RANGE, |_| true, random(1));
        assert!(!hints.is_asked() && hints.ask());
    }
}
