//! A slot of the port table as the map holds it. The daemon shares the table's memory with the program
//! and works on it by [`nat_common::ports::PortSlot`]; here nothing else runs, and plain words do.

use nat_common::ports::{Endpoint, Owner};
use nat_common::{BootTime, NetAddr};

/// Size of a slot, bytes.
pub(super) const SLOT: usize = size_of::<nat_common::ports::PortSlot>();

/// A slot's words.
#[derive(Clone, Copy, Default)]
pub(super) struct Slot {
    /// Until when sessions hold it, shifted left by one, beside the claiming mark.
    hold: u64,
    owner: u64,
    lease: u64,
}

impl Slot {
    /// From the map's value.
    pub(super) fn from_bytes(bytes: [u8; SLOT]) -> Self {
        let [hold, owner, lease, _]: [u64; 4] = bytemuck::cast(bytes);
        Self { hold, owner, lease }
    }

    /// To the map's value.
    pub(super) fn to_bytes(self) -> [u8; SLOT] {
        bytemuck::cast([self.hold, self.owner, self.lease, 0])
    }

    /// Whether it is held or leased by another endpoint than `client`.
    pub(super) fn is_others(self, now: BootTime, client: Endpoint) -> bool {
        self.is_taken(now) && self.owner >> 16 != word(client, 0) >> 16
    }

    /// Whether a lease runs for `client`.
    pub(super) fn is_leased_to(self, now: BootTime, client: Endpoint) -> bool {
        self.lease > now.0 && !self.is_others(now, client)
    }

    /// Whether the lease lets anybody in.
    pub(super) fn is_open(self) -> bool {
        self.owner & (Owner::ANY_REMOTE | Owner::LISTED_REMOTES) != 0
    }

    /// The client that has opened sessions from it which hold it, unless it is leased.
    pub(super) fn session_holder(self, now: BootTime) -> Option<NetAddr> {
        let held = self.hold >> 1 > now.0 && self.lease <= now.0;
        let own = held && self.owner & Owner::OPENED_INSIDE != 0;
        own.then(|| NetAddr::from_be32((self.owner >> 32) as u32))
    }

    /// Whether it is held or leased.
    pub(super) fn is_taken(self, now: BootTime) -> bool {
        self.hold >> 1 > now.0 || self.lease > now.0
    }

    /// Lets go of it when only flows of the wildcard to another client than `client` hold it, and not
    /// beyond `yielding`.
    pub(super) fn take_from_wildcard(
        &mut self,
        now: BootTime,
        client: Endpoint,
        yielding: BootTime,
    ) {
        const KEPT: u64 = Owner::BY_WILDCARD | Owner::OPENED_INSIDE;
        let yields = self.owner & KEPT == Owner::BY_WILDCARD
            && self.lease <= now.0
            && self.hold >> 1 <= yielding.0;
        if yields && self.is_others(now, client) {
            self.hold = 0;
        }
    }

    /// Leases it to `client`.
    pub(super) fn lease(&mut self, now: BootTime, client: Endpoint, flags: u64, until: BootTime) {
        const KEPT: u64 = Owner::BY_WILDCARD | Owner::OPENED_INSIDE;
        let kept = if self.is_taken(now) { self.owner & KEPT } else { 0 };
        self.owner = word(client, flags | kept);
        self.lease = until.in_generation(0).0;
    }

    /// Has the lease end with the forwards' generation.
    pub(super) fn end_with(&mut self, generation: u32) {
        self.lease = BootTime(self.lease).in_generation(generation).0 | 0xf0;
    }

    /// Ends the lease.
    pub(super) fn end_lease(&mut self) {
        self.lease = 0;
        self.owner &= !(Owner::ANY_REMOTE | Owner::LISTED_REMOTES);
    }

    /// Has `owner` hold it, as for a session from the inside.
    pub(super) fn hold(&mut self, owner: Endpoint, until: BootTime) {
        self.owner = word(owner, Owner::OPENED_INSIDE);
        self.hold = until.0 << 1;
    }

    /// Brings its deadlines forward.
    pub(super) fn bring_forward(&mut self, nanos: u64) {
        self.hold = (self.hold >> 1).saturating_sub(nanos) << 1 | (self.hold & 1);
        self.lease = self.lease.saturating_sub(nanos);
    }
}

/// The owner's word: address, port, flags.
fn word(client: Endpoint, flags: u64) -> u64 {
    u64::from(client.addr.to_be32()) << 32 | u64::from(client.port.0) << 16 | flags
}
