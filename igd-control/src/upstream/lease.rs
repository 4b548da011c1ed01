//! What a server has granted, and when it is asked to prolong it.

use super::backoff::part;
use crate::mapping::Random;
use nat_common::BootTime;
use nat_common::time::NANOS_PER_SEC;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Renewals are never closer together (RFC 6887 11.2.1), nanoseconds.
const CLOSEST: u64 = 4 * NANOS_PER_SEC;
/// A longer lifetime is not believed: what a server forgets is seen within half of it.
const LONGEST: u32 = 86_400;
/// Renewals after which the rest of any lifetime is less than [`CLOSEST`].
const MOST: u32 = 32;

/// A mapping in force at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The external address.
    pub address: Ipv4Addr,
    /// The external port.
    pub port: u16,
    /// When it ends.
    pub until: BootTime,
    /// The server says that it has processed a FILTER option. Whether it acts by it nobody can see from
    /// here.
    pub filter_echoed: bool,
    since: BootTime,
    /// Renewals that were asked for.
    asked: u32,
}

impl Lease {
    pub(super) fn new(
        now: BootTime,
        external: SocketAddrV4,
        lifetime: u32,
        filter_echoed: bool,
    ) -> Self {
        let until = now.plus_secs(lifetime.min(LONGEST).into());
        let (address, port) = (*external.ip(), external.port());
        Self { address, port, until, filter_echoed, since: now, asked: 0 }
    }

    /// When its renewal is asked for next: at random between 1/2 and 5/8 of the lifetime, then between
    /// 3/4 and 13/16, and so on towards the end (section 11.2.1). `None`: it is too late for another.
    pub(super) fn renewal(&self, now: BootTime, random: &mut Random) -> Option<BootTime> {
        if self.asked >= MOST {
            return None;
        }
        let lifetime = self.until.nanos_from(self.since);
        let passed = lifetime - (lifetime >> (self.asked + 1));
        let nanos = passed + part(lifetime >> (self.asked + 3), random);
        let mut at = self.since.plus_nanos(nanos);
        if self.asked > 0 {
            at = at.max(now.plus_nanos(CLOSEST));
        }
        (at < self.until).then_some(at)
    }

    /// A renewal has been asked for.
    pub(super) fn renewing(&mut self) {
        self.asked += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTERNAL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(11, 22, 33, 9), 1);

    #[test]
    fn renewals_come_between_a_half_and_five_eighths_and_then_closer() {
        for (seed, lifetime) in (0..300).map(|seed| (seed, 10 + 290 * u32::try_from(seed).unwrap()))
        {
            let mut random = Random::new(seed);
            let start = BootTime(7);
            let mut lease = Lease::new(start, EXTERNAL, lifetime, false);
            let whole = lease.until.nanos_from(start);
            let (mut now, mut count) = (start, 0_u32);
            while let Some(at) = lease.renewal(now, &mut random) {
                let share = at.nanos_from(start) as f64 / whole as f64;
                let low = 1.0 - 0.5_f64.powi(count as i32 + 1);
                let high = low + 0.5_f64.powi(count as i32 + 3);
                let pushed = count > 0 && at.nanos_from(now) <= CLOSEST;
                assert!(pushed || (share > low - 1e-6 && share < high + 1e-6), "{count}: {share}");
                assert!(count == 0 || at.nanos_from(now) >= CLOSEST);
                assert!(at < lease.until);
                lease.renewing();
                (now, count) = (at, count + 1);
            }
            assert!(count >= 1);
        }
    }

    #[test]
    fn a_lifetime_of_a_century_is_taken_for_a_day() {
        let lease = Lease::new(BootTime(0), EXTERNAL, u32::MAX, false);
        assert_eq!(lease.until, BootTime(0).plus_secs(86_400));
    }
}
