//! For how long the server has known all that it should know.
//!
//! Clients compare the epoch time of an answer with their own clocks, and make their mappings anew when
//! it says that the server has lost some (RFC 6887 8.5, RFC 6886 3.6). So it begins anew when mappings
//! were lost or the external address is another, and goes on where they were kept: across restarts
//! too.

use nat_common::BootTime;
use nat_common::time::NANOS_PER_SEC;
use std::net::Ipv4Addr;

/// The epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Nanoseconds of it that had passed at `since`.
    before: u64,
    since: BootTime,
    /// The external address that there was last.
    address: Option<Ipv4Addr>,
    /// Whether there is one at the moment.
    connected: bool,
}

/// What a look at the external address has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressChange {
    /// What was there before.
    None,
    /// It has come or gone: clients are told.
    Announce,
    /// It is another one: clients are told, and the epoch has begun anew.
    Reset,
}

impl Epoch {
    /// One that begins.
    pub const fn new(now: BootTime) -> Self {
        Self { before: 0, since: now, address: None, connected: false }
    }

    /// One that goes on: so many nanoseconds of it have passed, and the external address was this.
    pub const fn resumed(now: BootTime, passed: u64, address: Option<Ipv4Addr>) -> Self {
        Self { before: passed, since: now, address, connected: false }
    }

    /// Nanoseconds that have passed.
    pub const fn passed(&self, now: BootTime) -> u64 {
        self.before.saturating_add(now.nanos_from(self.since))
    }

    /// Epoch Time, modulo 2^32.
    pub const fn seconds(&self, now: BootTime) -> u32 {
        (self.passed(now) / NANOS_PER_SEC) as u32
    }

    /// The external address that there was last.
    pub const fn address(&self) -> Option<Ipv4Addr> {
        self.address
    }

    /// Looks at the external address.
    pub fn address_is(&mut self, now: BootTime, address: Option<Ipv4Addr>) -> AddressChange {
        let connected = address.is_some();
        let another = connected && self.address.is_some() && self.address != address;
        let change = match (another, self.connected != connected) {
            (true, _) => AddressChange::Reset,
            (false, true) => AddressChange::Announce,
            (false, false) => AddressChange::None,
        };
        if another {
            (self.before, self.since) = (0, now);
        }
        self.connected = connected;
        self.address = address.or(self.address);
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<Ipv4Addr> = Some(Ipv4Addr::new(192, 0, 2, 1));
    const B: Option<Ipv4Addr> = Some(Ipv4Addr::new(192, 0, 2, 2));
    const NOW: BootTime = BootTime(1_000 * NANOS_PER_SEC);

    #[test]
    fn another_address_begins_a_new_epoch_and_the_same_one_again_does_not() {
        let mut epoch = Epoch::new(NOW);
        assert_eq!(epoch.address_is(NOW, A), AddressChange::Announce);
        let later = NOW.plus_secs(100);
        assert_eq!(epoch.address_is(later, A), AddressChange::None);
        assert_eq!(epoch.address_is(later, None), AddressChange::Announce);
        assert_eq!(epoch.address_is(later, None), AddressChange::None);
        assert_eq!(epoch.address_is(later, A), AddressChange::Announce);
        assert_eq!(epoch.seconds(later), 100);
        assert_eq!(epoch.address_is(later, None), AddressChange::Announce);
        assert_eq!(epoch.address_is(later, B), AddressChange::Reset);
        assert_eq!((epoch.seconds(later), epoch.seconds(later.plus_secs(7))), (0, 7));
    }

    #[test]
    fn a_resumed_epoch_goes_on_unless_the_address_is_another() {
        let mut epoch = Epoch::resumed(NOW, 500 * NANOS_PER_SEC, A);
        assert_eq!(epoch.address_is(NOW, A), AddressChange::Announce);
        assert_eq!(epoch.seconds(NOW.plus_secs(3)), 503);
        let mut moved = Epoch::resumed(NOW, 500 * NANOS_PER_SEC, A);
        assert_eq!(moved.address_is(NOW, B), AddressChange::Reset);
        assert_eq!(moved.seconds(NOW.plus_secs(3)), 3);
    }

    #[test]
    fn it_runs_over_after_136_years() {
        let epoch = Epoch::resumed(NOW, ((1 << 32) - 1) * NANOS_PER_SEC, None);
        assert_eq!(epoch.seconds(NOW.plus_secs(3)), 2);
    }
}
