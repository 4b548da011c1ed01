//! The port table: one slot for every (external address, protocol, port).
//!
//! The table is a BPF array that user space maps into its own memory, so the XDP program on every
//! CPU and the daemon claim ports by the same compare-and-swap on the same word, and neither can
//! give one port to two internal endpoints (RFC 4787 REQ-3, RFC 5382 REQ-7). Nothing is ever
//! removed: a slot whose times have passed is free, whether or not anybody has swept it.
//!
//! A slot is *held* while sessions use it (`hold`), while a port forward's lease runs (`lease`), or
//! both. Whoever turns a free slot into a held one first wins the compare-and-swap on `hold`, with
//! the claiming mark set; then it writes the owner; then it publishes by clearing the mark. A
//! claimer that dies half-way leaves a mark that expires like any other hold.

mod lease;

use crate::atomic::Word64;
use crate::{BootTime, NetAddr, NetPort, Protocol};
use lease::Lease;

/// Ports of one protocol on one address.
pub const PORTS: u32 = 65_536;

/// Slots that one external address needs.
pub const SLOTS_PER_ADDRESS: u32 = PORTS * Protocol::COUNT;

/// The port whose slot holds the wildcard's lease: the port forward of every port of its address and
/// protocol that is not otherwise mapped. No packet is let in to it, nor leaves from it.
pub const WILDCARD_PORT: u16 = 0;

/// The slot of the wildcard beside the slot of a port.
#[inline(always)]
pub const fn wildcard_slot(slot: u32) -> u32 {
    slot & !(PORTS - 1)
}

/// The slot of a port (host byte order) of the `address`-th external address.
#[inline(always)]
pub const fn slot_index(address: u32, protocol: Protocol, port: u16) -> u32 {
    (address * Protocol::COUNT + protocol as u32) * PORTS + port as u32
}

/// Spreads internal clients over a pool of so many addresses: neighbours in a network evenly.
#[inline(always)]
pub const fn pool_index(client: NetAddr, pool_len: u32) -> u32 {
    let hash = u32::from_be_bytes(client.octets()).wrapping_mul(0x9e37_79b1);
    ((hash as u64 * pool_len as u64) >> 32) as u32
}

/// An internal endpoint: the LAN host's address and port (or ICMP query identifier).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Address of the internal client.
    pub addr: NetAddr,
    /// Its port, or its ICMP query identifier.
    pub port: NetPort,
}

/// Who owns a slot and what it lets in: one word, so that it is read and swapped whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(u64);

impl Owner {
    /// A session was opened from the inside, so the mapping is open by the filtering policy.
    pub const OPENED_INSIDE: u64 = 1;
    /// While the lease runs, every remote host may open sessions.
    pub const ANY_REMOTE: u64 = 2;
    /// While the lease runs, the remote hosts in the remotes map may open sessions.
    pub const LISTED_REMOTES: u64 = 4;
    /// A flow has claimed the slot that came in by the wildcard: the port forward of every port that is
    /// not otherwise mapped.
    pub const BY_WILDCARD: u64 = 8;
    /// Together with [`Self::LISTED_REMOTES`]: in the place of everybody those are let in whom the
    /// filters of the slot take.
    pub const FILTERED: u64 = 16;
    /// What a lease decides.
    const LEASE_FLAGS: u64 = Self::ANY_REMOTE | Self::LISTED_REMOTES | Self::FILTERED;
    const FLAGS: u64 = 0xffff;

    /// An owner with the given flags.
    #[inline(always)]
    pub const fn new(endpoint: Endpoint, flags: u64) -> Self {
        let addr = endpoint.addr.to_be32() as u64;
        let port = endpoint.port.0 as u64;
        Self(addr << 32 | port << 16 | (flags & Self::FLAGS))
    }

    /// The internal endpoint.
    #[inline(always)]
    pub const fn endpoint(self) -> Endpoint {
        Endpoint {
            addr: NetAddr::from_be32((self.0 >> 32) as u32),
            port: NetPort((self.0 >> 16) as u16),
        }
    }

    /// The owner whose [`word`](Self::word) this is.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word itself.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Whether all of `flags` are set.
    #[inline(always)]
    pub const fn has(self, flags: u64) -> bool {
        self.0 & flags == flags
    }

    /// Whether a lease lets anybody in. That of a disabled port forward does not: it holds the port
    /// for nobody.
    #[inline(always)]
    pub const fn is_open(self) -> bool {
        self.0 & Self::LEASE_FLAGS != 0
    }

    /// Whether only flows that came in by the wildcard hold the slot, which another forward may take
    /// over then.
    #[inline(always)]
    pub const fn yields(self) -> bool {
        self.0 & (Self::BY_WILDCARD | Self::OPENED_INSIDE) == Self::BY_WILDCARD
    }
}

/// What a slot is at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Anybody may claim it.
    Free,
    /// Somebody is claiming it right now.
    Claiming,
    /// It belongs to an internal endpoint.
    Held {
        /// Whose it is.
        owner: Owner,
        /// Whether a port forward's lease runs.
        leased: bool,
    },
}

/// The slot belongs to another internal endpoint, or is being claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse;

/// Tries at a compare-and-swap before giving up; each failure means that somebody else succeeded.
const TRIES: u32 = 4;

/// How long a claim may stay unpublished before it counts as abandoned.
const CLAIM_NANOS: u64 = 1_000_000_000;

/// One port of one protocol on one external address.
#[derive(Debug, Default)]
#[repr(C, align(32))]
pub struct PortSlot {
    /// Boot time until which sessions hold the slot, shifted left by one; bit 0 is the claiming mark.
    hold: Word64,
    /// [`Owner`].
    owner: Word64,
    /// [`Lease`] of the port forward; 0 when there is none.
    lease: Word64,
    spare: Word64,
}

const CLAIMING: u64 = 1;

#[inline(always)]
const fn pack(until: BootTime) -> u64 {
    until.0 << 1
}

impl PortSlot {
    /// What the slot is at `now`. In the packet path that is a time in the forwards' generation
    /// ([`BootTime::in_generation`]).
    #[inline(always)]
    pub fn state(&self, now: BootTime) -> SlotState {
        // An atomic read-modify-write orders the reads below after it, also where plain loads are
        // not ordered (BPF has had load-acquire only since Linux 6.15).
        let hold = self.hold.get_first();
        let leased = Lease(self.lease.get()).runs(now);
        let owner = Owner(self.owner.get());
        if hold >> 1 <= now.0 && !leased {
            SlotState::Free
        } else if hold & CLAIMING != 0 {
            if hold >> 1 <= now.0 { SlotState::Free } else { SlotState::Claiming }
        } else {
            SlotState::Held { owner, leased }
        }
    }

    /// Claims a free slot for `owner` and holds it until `until`.
    ///
    /// # Errors
    /// [`InUse`] when the slot is not free, or when somebody else was quicker.
    #[inline(always)]
    pub fn claim(&self, now: BootTime, owner: Owner, until: BootTime) -> Result<(), InUse> {
        self.claim_with_lease(now, owner, until, BootTime(0))
    }

    #[inline(always)]
    fn claim_with_lease(
        &self,
        now: BootTime,
        owner: Owner,
        until: BootTime,
        lease: BootTime,
    ) -> Result<(), InUse> {
        let hold = self.hold.get();
        if hold >> 1 > now.0 || (Lease(self.lease.get()).runs(now) && hold & CLAIMING == 0) {
            return Err(InUse);
        }
        let mark = pack(now.plus_nanos(CLAIM_NANOS)) | CLAIMING;
        if self.hold.replace(hold, mark).is_err() {
            return Err(InUse);
        }
        self.owner.set(owner.0);
        self.lease.set(Lease::until(lease).0);
        // Fully ordered: whoever sees the mark gone sees the owner too.
        self.hold.swap(pack(until));
        Ok(())
    }

    /// Holds the slot at least until `until`, if it still belongs to `endpoint`.
    ///
    /// # Errors
    /// [`InUse`] when it does not.
    #[inline(always)]
    pub fn extend(&self, now: BootTime, endpoint: Endpoint, until: BootTime) -> Result<(), InUse> {
        for _ in 0..TRIES {
            let hold = self.hold.get_first();
            let SlotState::Held { owner, .. } = self.state(now) else {
                return Err(InUse);
            };
            if owner.endpoint() != endpoint || hold & CLAIMING != 0 {
                return Err(InUse);
            }
            if hold >> 1 >= until.0 {
                return Ok(());
            }
            // A new claim always changes the word, so this cannot prolong somebody else's slot.
            if self.hold.replace(hold, pack(until)).is_ok() {
                return Ok(());
            }
        }
        Err(InUse)
    }

    /// Holds the slot at least until `until` for a session that `endpoint` opens from the inside, if it
    /// still belongs to it, and notes that.
    ///
    /// # Errors
    /// [`InUse`] when it does not, or when a disabled port forward holds it for nobody. There an
    /// endpoint whose own flows hold the slot keeps it until they end: it has one external port
    /// towards everybody (RFC 4787 REQ-1).
    #[inline(always)]
    pub fn open_inside(
        &self,
        now: BootTime,
        endpoint: Endpoint,
        until: BootTime,
    ) -> Result<(), InUse> {
        if let SlotState::Held { owner, leased: true } = self.state(now)
            && !owner.is_open()
            && !(owner.has(Owner::OPENED_INSIDE) && self.hold() > now)
        {
            return Err(InUse);
        }
        self.extend(now, endpoint, until)?;
        for _ in 0..TRIES {
            let owner = Owner(self.owner.get());
            if owner.endpoint() != endpoint {
                return Err(InUse);
            }
            if owner.has(Owner::OPENED_INSIDE) {
                return Ok(());
            }
            // Not by setting the bit: it might be somebody else's word by now.
            if self.owner.replace(owner.0, owner.0 | Owner::OPENED_INSIDE).is_ok() {
                // A forward that was just taking the slot over has either seen the mark, or is seen.
                return match self.state(now) {
                    SlotState::Held { owner, .. } if owner.endpoint() == endpoint => Ok(()),
                    _ => Err(InUse),
                };
            }
        }
        Err(InUse)
    }

    /// Gives back a slot just claimed until `until`, if nobody has held it for longer since.
    #[inline(always)]
    pub fn release(&self, until: BootTime) {
        let _ = self.hold.replace(pack(until), 0);
    }

    /// Opens a port forward to `endpoint` until `lease`, letting in whom `flags` name
    /// ([`Owner::ANY_REMOTE`], [`Owner::LISTED_REMOTES`] with or without [`Owner::FILTERED`]; none: nobody): claims a free slot, or takes
    /// over one that belongs to the same endpoint already, or that only flows of the wildcard hold, and
    /// not beyond `yielding`. Called again, it changes the lease and the flags.
    ///
    /// # Errors
    /// [`InUse`] when the slot belongs to another internal endpoint.
    pub fn open_forward(
        &self,
        now: BootTime,
        endpoint: Endpoint,
        flags: u64,
        lease: BootTime,
        yielding: BootTime,
    ) -> Result<(), InUse> {
        let flags = flags & Owner::LEASE_FLAGS;
        let owner = Owner::new(endpoint, flags);
        if self.claim_with_lease(now, owner, now, lease).is_ok()
            || self.take_from_wildcard(now, owner, lease, yielding).is_ok()
        {
            return Ok(());
        }
        // Held by sessions of this endpoint: pin it for long enough to write the rest in peace.
        self.extend(now, endpoint, now.plus_nanos(CLAIM_NANOS))?;
        let kept = self.owner.get() & (Owner::OPENED_INSIDE | Owner::BY_WILDCARD);
        self.owner.swap(Owner::new(endpoint, flags | kept).0);
        self.lease.swap(Lease::until(lease).0);
        Ok(())
    }

    /// Whether `endpoint` cannot have the slot, as [`Self::open_forward`] would find.
    pub fn is_others(&self, now: BootTime, endpoint: Endpoint, yielding: BootTime) -> bool {
        match self.state(now) {
            SlotState::Held { owner, leased } => {
                owner.endpoint() != endpoint
                    && (leased || !owner.yields() || self.hold() > yielding)
            }
            _ => false,
        }
    }

    /// Leases to `owner` a slot that only flows of the wildcard to another endpoint hold.
    fn take_from_wildcard(
        &self,
        now: BootTime,
        owner: Owner,
        lease: BootTime,
        yielding: BootTime,
    ) -> Result<(), InUse> {
        let hold = self.hold.get_first();
        match self.state(now) {
            SlotState::Held { owner: old, leased: false }
                if old.yields()
                    && old.endpoint() != owner.endpoint()
                    && hold & CLAIMING == 0
                    && hold >> 1 <= yielding.0 => {}
            _ => return Err(InUse),
        }
        let mark = pack(now.plus_nanos(CLAIM_NANOS)) | CLAIMING;
        if self.hold.replace(hold, mark).is_err() {
            return Err(InUse);
        }
        // The client may have opened a session from there since: see `open_inside`.
        if !Owner(self.owner.get()).yields() {
            self.hold.swap(hold);
            return Err(InUse);
        }
        self.owner.swap(owner.0);
        self.lease.swap(Lease::until(lease).0);
        self.hold.swap(pack(now));
        Ok(())
    }

    /// Ends the port forward to `endpoint`; sessions keep what they hold.
    ///
    /// # Errors
    /// [`InUse`] when the slot does not belong to `endpoint`; nothing is changed then.
    pub fn close_forward(&self, now: BootTime, endpoint: Endpoint) -> Result<(), InUse> {
        match self.state(now) {
            SlotState::Held { owner, leased: true } if owner.endpoint() == endpoint => {
                self.lease.swap(0);
                self.owner.keep_bits(!Owner::LEASE_FLAGS);
                Ok(())
            }
            _ => Err(InUse),
        }
    }

    /// Has the lease of the forward to `endpoint` end together with others, when the forwards' generation
    /// is no longer `generation`; until then nothing changes for anybody. [`Self::clear_ended`] comes
    /// after that. Tells whether there is such a lease.
    pub fn end_with(&self, endpoint: Endpoint, generation: u32) -> bool {
        let lease = self.lease.get();
        lease != 0
            && Owner(self.owner.get()).endpoint() == endpoint
            && self.lease.replace(lease, Lease(lease).ending_with(generation).0).is_ok()
    }

    /// Takes a lease away that has ended with its generation, if nobody has claimed the slot since.
    pub fn clear_ended(&self) {
        let lease = self.lease.get();
        if Lease(lease).is_ending() && self.lease.replace(lease, 0).is_ok() {
            // Whoever claims the slot now brings no such flags.
            self.owner.keep_bits(!Owner::LEASE_FLAGS);
        }
    }

    /// Lets a lease go on that was to end with a generation, and whose daemon died before it had all
    /// leases marked, or cleared.
    pub fn resume(&self) {
        let lease = self.lease.get();
        if Lease(lease).is_ending() {
            let _ = self.lease.replace(lease, Lease::until(Lease(lease).end()).0);
        }
    }

    /// Ends what sessions hold at `until`, if that is earlier and the hold is still the one that was
    /// `observed`: whoever has claimed or prolonged the slot since keeps it. Tells whether it did.
    pub fn shorten(&self, observed: BootTime, until: BootTime) -> bool {
        until < observed && self.hold.replace(pack(observed), pack(until)).is_ok()
    }

    /// Whether it looks free at `now`, by plain reads: for who goes through many slots without claiming
    /// any.
    #[inline(always)]
    pub fn looks_free(&self, now: BootTime) -> bool {
        self.hold() <= now && !Lease(self.lease.get()).runs(now)
    }

    /// When the lease ends by the clock; `BootTime(0)` when there is none.
    #[inline(always)]
    pub fn lease(&self) -> BootTime {
        Lease(self.lease.get()).end()
    }

    /// Until when sessions hold the slot.
    #[inline(always)]
    pub fn hold(&self) -> BootTime {
        BootTime(self.hold.get() >> 1)
    }
}

#[cfg(test)]
mod tests;
