//! How many requests a client may send.

use nat_common::BootTime;
use nat_common::time::NANOS_PER_SEC;
use std::collections::HashMap;
use std::net::IpAddr;

/// How many seconds' worth of requests may come at once.
const BURST: u64 = 10;

/// Clients that are remembered; beyond, those that are forgotten begin with a whole burst.
const CLIENTS: usize = 4_096;

/// A token bucket for each client. A bucket is the time at which it would be full again, so one that is
/// full is nothing that must be remembered.
#[derive(Clone, Debug, Default)]
pub struct RequestRate {
    /// Nanoseconds that a request takes; 0: no limit.
    interval: u64,
    full_again: HashMap<IpAddr, BootTime>,
}

impl RequestRate {
    /// So many requests in a second, in the long run; 0: no limit.
    pub fn new(per_second: u32) -> Self {
        let interval = NANOS_PER_SEC.checked_div(per_second.into()).unwrap_or(0);
        Self { interval, full_again: HashMap::new() }
    }

    /// Whether a client may send a request now. Those that it may not cost nothing.
    pub fn admits(&mut self, now: BootTime, client: IpAddr) -> bool {
        if self.interval == 0 {
            return true;
        }
        if self.full_again.len() >= CLIENTS && !self.full_again.contains_key(&client) {
            self.full_again.retain(|_, full| *full > now);
            if self.full_again.len() >= CLIENTS {
                self.full_again.clear();
            }
        }
        let full = self.full_again.entry(client).or_insert(now);
        let then = (*full).max(now).plus_nanos(self.interval);
        let admitted = then.nanos_from(now) <= BURST * NANOS_PER_SEC;
        if admitted {
            *full = then;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const NOW: BootTime = BootTime(1_000_000_000_000);

    fn host(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    fn admitted(rate: &mut RequestRate, now: BootTime, client: IpAddr, requests: usize) -> usize {
        (0..requests).filter(|_| rate.admits(now, client)).count()
    }

    #[test]
    fn a_burst_is_let_through_and_then_so_many_a_second() {
        let mut rate = RequestRate::new(5);
        assert_eq!(admitted(&mut rate, NOW, host(1), 1_000), 50);
        assert_eq!(admitted(&mut rate, NOW, host(2), 10), 10, "another client has its own");
        assert_eq!(admitted(&mut rate, NOW.plus_secs(1), host(1), 1_000), 5);
        assert_eq!(admitted(&mut rate, NOW.plus_secs(3), host(1), 1_000), 10);
        assert_eq!(admitted(&mut rate, NOW.plus_secs(1_000), host(1), 1_000), 50);
    }

    #[test]
    fn no_limit_is_no_limit() {
        assert_eq!(admitted(&mut RequestRate::new(0), NOW, host(1), 100_000), 100_000);
    }

    #[test]
    fn many_clients_do_not_fill_the_memory() {
        let mut rate = RequestRate::new(1);
        for number in 0..100_000 {
            assert!(rate.admits(NOW, host(number)));
            assert!(rate.full_again.len() <= CLIENTS);
        }
    }
}
