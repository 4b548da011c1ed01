//! Contacts: to whom an internal client has sent from its external port, for the filtering that asks
//! for that (RFC 4787 REQ-8).
//!
//! A contact belongs to one holder of the port in one NAT generation, and says so. Whoever gets the
//! port next inherits nothing, although the entry may still be there.

use crate::atomic::Word64;
use crate::ports::{Endpoint, Owner};
use crate::{BootTime, NetAddr, NetPort};

/// Key of the map of contacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct ContactKey {
    /// The external port's slot in the port table.
    pub slot: u32,
    /// The remote host.
    pub remote: NetAddr,
    /// Its port; 0: all of them.
    pub port: NetPort,
    reserved: u16,
}

impl ContactKey {
    /// A key.
    #[inline(always)]
    pub const fn new(slot: u32, remote: NetAddr, port: NetPort) -> Self {
        Self { slot, remote, port, reserved: 0 }
    }
}

/// Until when a remote host may answer, and whose contact it is.
#[derive(Debug)]
#[repr(C)]
pub struct Contact {
    /// Boot time at which it ends.
    deadline: Word64,
    /// See [`holder`].
    holder: Word64,
}

/// Stands for the internal client that holds an external port in a NAT generation. Of the generation
/// there are 16 bits: a contact would have to outlive 65,536 changes of the address to be taken for
/// a later one.
#[inline(always)]
pub const fn holder(client: Endpoint, nat_generation: u32) -> u64 {
    Owner::new(client, nat_generation as u64).word()
}

impl Contact {
    /// A contact of a [`holder`].
    #[inline(always)]
    pub const fn new(holder: u64, deadline: BootTime) -> Self {
        Self { deadline: Word64::new(deadline.0), holder: Word64::new(holder) }
    }

    /// Whether it is `holder`'s, and not over at `now`.
    #[inline(always)]
    pub fn counts(&self, holder: u64, now: BootTime) -> bool {
        self.holder.get() == holder && self.deadline.get() > now.0
    }

    /// Moves its end to `until`, if that is later; `false`, and nothing is changed, when it is another
    /// holder's.
    #[inline(always)]
    pub fn extend(&self, holder: u64, until: BootTime) -> bool {
        if self.holder.get() != holder {
            return false;
        }
        if self.deadline.get() < until.0 {
            self.deadline.set(until.0);
        }
        true
    }

    /// Moves its end to `until`, if that is earlier and it is `holder`'s.
    #[inline(always)]
    pub fn shorten(&self, holder: u64, until: BootTime) {
        if self.holder.get() == holder && self.deadline.get() > until.0 {
            self.deadline.set(until.0);
        }
    }
}

/// A [`Contact`] as user space reads it from the map.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct ContactRecord {
    /// Boot time at which it ends.
    pub deadline: u64,
    /// See [`holder`].
    pub holder: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Endpoint =
        Endpoint { addr: NetAddr::from_octets([10, 0, 0, 2]), port: NetPort::new(5000) };

    #[test]
    fn layouts_have_no_padding() {
        assert_eq!(size_of::<ContactKey>(), 12);
        assert_eq!(size_of::<Contact>(), 16);
        assert_eq!(size_of::<ContactRecord>(), size_of::<Contact>());
    }

    #[test]
    fn a_contact_counts_for_its_holder_until_its_end() {
        let own = holder(CLIENT, 7);
        let contact = Contact::new(own, BootTime(100));
        assert!(contact.counts(own, BootTime(99)));
        assert!(!contact.counts(own, BootTime(100)));
        assert!(contact.extend(own, BootTime(200)) && contact.counts(own, BootTime(199)));
        assert!(contact.extend(own, BootTime(150)) && contact.counts(own, BootTime(199)));
    }

    #[test]
    fn only_its_holder_shortens_a_contact() {
        let own = holder(CLIENT, 7);
        let contact = Contact::new(own, BootTime(100));
        contact.shorten(holder(CLIENT, 8), BootTime(50));
        contact.shorten(own, BootTime(200));
        assert!(contact.counts(own, BootTime(99)) && !contact.counts(own, BootTime(100)));
        contact.shorten(own, BootTime(50));
        assert!(!contact.counts(own, BootTime(50)));
    }

    #[test]
    fn nobody_inherits_a_contact() {
        let contact = Contact::new(holder(CLIENT, 7), BootTime(100));
        let other = Endpoint { port: NetPort::new(5001), ..CLIENT };
        for heir in [holder(other, 7), holder(CLIENT, 8)] {
            assert!(!contact.counts(heir, BootTime(1)));
            assert!(!contact.extend(heir, BootTime(200)));
        }
        assert!(!contact.counts(holder(CLIENT, 7), BootTime(100)));
    }
}
