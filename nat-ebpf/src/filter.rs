//! Filtering: who may send to the external port of an internal client without a session and without
//! a port forward (RFC 4787 REQ-8, RFC 5382 REQ-3).
//!
//! Endpoint-independent filtering lets in everybody, address-dependent the hosts to which the client
//! has sent from that port: its contacts. Address-and-port-dependent lets in the endpoints to which it
//! has sent, and each of those has a session already. But two internal clients that call each other by
//! their external endpoints, as peers do that do not know how near they are, have no session until one
//! of the calls gets through. So there a call is a contact with the endpoint that it was for.

use crate::halves::Peer;
use crate::tables::Tables;
use nat_common::contact::{Contact, ContactKey, holder};
use nat_common::ports::Endpoint;
use nat_common::settings::{Filtering, Settings};
use nat_common::{BootTime, NetPort, Protocol};

/// An internal client's external port, and somebody outside of it.
#[derive(Clone, Copy)]
pub struct Pair {
    /// The protocol.
    pub protocol: Protocol,
    /// Whether the other one is an internal client, seen by its external endpoint.
    pub hairpin: bool,
    /// The port's slot.
    pub slot: u32,
    /// The internal client that holds it.
    pub client: Endpoint,
    /// The other one.
    pub remote: Peer,
}

impl Pair {
    /// The key under which it is a contact; `None` where nobody will ask for it.
    #[inline(always)]
    fn key(&self, settings: &Settings) -> Option<ContactKey> {
        let port = match settings.filtering(self.protocol) {
            Filtering::EndpointIndependent => return None,
            Filtering::AddressDependent => NetPort(0),
            Filtering::AddressAndPortDependent if self.hairpin => self.remote.1,
            Filtering::AddressAndPortDependent => return None,
        };
        Some(ContactKey::new(self.slot, self.remote.0, port))
    }

    #[inline(always)]
    fn holder(&self, settings: &Settings) -> u64 {
        holder(self.client, settings.nat_generation)
    }
}

/// Whether the client's filtering lets the other one in, a mapping opened from the inside given.
///
/// Not inlined: see [`crate::open`].
#[inline(never)]
pub fn lets_in<T: Tables>(tables: &T, settings: &Settings, now: BootTime, pair: &Pair) -> bool {
    if let Filtering::EndpointIndependent = settings.filtering(pair.protocol) {
        return true;
    }
    let Some(key) = pair.key(settings) else { return false };
    tables.contact(&key).is_some_and(|contact| contact.counts(pair.holder(settings), now))
}

/// Notes that the client sends to the other one, and may be answered until `until`.
///
/// Where there is no room it is not noted: the session that the client opens needs no contact, only
/// calls from other ports of that host do.
#[inline(never)]
pub fn note<T: Tables>(tables: &T, settings: &Settings, pair: &Pair, until: BootTime) {
    let Some(key) = pair.key(settings) else { return };
    let holder = pair.holder(settings);
    if tables.contact(&key).is_none_or(|contact| !contact.extend(holder, until)) {
        let _ = tables.insert_contact(&key, Contact::new(holder, until));
    }
}

/// Has a contact end at `until`, if it is the client's and would last longer.
#[inline(never)]
pub fn shorten<T: Tables>(tables: &T, settings: &Settings, pair: &Pair, until: BootTime) {
    if let Some(key) = pair.key(settings)
        && let Some(contact) = tables.contact(&key)
    {
        contact.shorten(pair.holder(settings), until);
    }
}

/// Lets a contact last until `until`, if the client has it: an answer does not make one.
#[inline(never)]
pub fn prolong<T: Tables>(
    tables: &T,
    settings: &Settings,
    now: BootTime,
    pair: &Pair,
    until: BootTime,
) {
    let Some(key) = pair.key(settings) else { return };
    let holder = pair.holder(settings);
    if let Some(contact) = tables.contact(&key)
        && contact.counts(holder, now)
    {
        contact.extend(holder, until);
    }
}
