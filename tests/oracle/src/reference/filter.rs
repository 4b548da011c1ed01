//! Who may send to a port without a session and without a port forward.

use super::{Half, Key, Reference, Side, Ticks};
use nat_ebpf::host::packet::{Peer, protocol};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// What a caller must have in common with somebody to whom the client has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Nothing,
    Address,
    Endpoint,
}

/// The filtering of each protocol.
#[derive(Clone, Copy, Debug)]
pub struct Modes {
    pub udp: Mode,
    pub tcp: Mode,
    pub icmp: Mode,
}

impl Modes {
    fn of(&self, number: u8) -> Mode {
        match number {
            protocol::UDP => self.udp,
            protocol::TCP => self.tcp,
            _ => self.icmp,
        }
    }
}

/// Protocol, external endpoint, whom the client has sent to.
type Place = (u8, Peer, Ipv4Addr, u16);

/// Until when somebody is one that the holder of a port has sent to.
#[derive(Clone, Copy, Debug)]
struct Contact {
    holder: Peer,
    generation: u32,
    deadline: Ticks,
}

/// To whom the holders of ports have sent.
#[derive(Debug)]
pub(super) struct Filter {
    modes: Modes,
    contacts: HashMap<Place, Contact>,
}

/// The holder of a port, and somebody outside of it.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub(super) protocol: u8,
    pub(super) external: Peer,
    pub(super) holder: Peer,
    pub(super) other: Peer,
    pub(super) hairpin: bool,
}

impl Filter {
    pub(super) fn new(modes: Modes) -> Self {
        Self { modes, contacts: HashMap::new() }
    }

    /// Where to look for a contact, if it matters.
    fn place(&self, pair: &Pair) -> Option<Place> {
        let Pair { protocol, external, other, hairpin, .. } = *pair;
        match self.modes.of(protocol) {
            Mode::Address => Some((protocol, external, other.0, 0)),
            Mode::Endpoint if hairpin => Some((protocol, external, other.0, other.1)),
            _ => None,
        }
    }
}

impl Reference {
    /// Whether the other one may send to the holder.
    pub(super) fn lets_in(&self, pair: &Pair) -> bool {
        if self.filter.modes.of(pair.protocol) == Mode::Nothing {
            return true;
        }
        let contact = self.filter.place(pair).and_then(|place| self.filter.contacts.get(&place));
        contact.is_some_and(|contact| self.is_contact_of(contact, pair.holder))
    }

    fn is_contact_of(&self, contact: &Contact, holder: Peer) -> bool {
        contact.holder == holder
            && contact.generation == self.nat_generation
            && contact.deadline > self.now
    }

    /// The holder sends to the other one.
    pub(super) fn meets(&mut self, pair: &Pair, deadline: Ticks) {
        let Some(place) = self.filter.place(pair) else { return };
        let (holder, generation) = (pair.holder, self.nat_generation);
        let contact =
            self.filter.contacts.entry(place).or_insert(Contact { holder, generation, deadline });
        let before = if (contact.holder, contact.generation) == (holder, generation) {
            contact.deadline
        } else {
            0
        };
        *contact = Contact { holder, generation, deadline: deadline.max(before) };
    }

    /// A session of the holder goes on: he has sent to the other one if he has opened it, and stays in
    /// contact if he was.
    pub(super) fn stays_in_contact(&mut self, key: &Key, half: &Half) {
        if half.deadline <= self.now {
            return;
        }
        let (external, holder, other) = match key.side {
            Side::Lan => (half.new_src, key.src, key.dst),
            Side::Wan => (key.dst, half.new_dst, key.src),
        };
        let pair = Pair { protocol: key.protocol, external, holder, other, hairpin: half.hairpin };
        let opener = if half.hairpin { !half.answering } else { !half.opened_outside };
        let known = self.filter.place(&pair).and_then(|place| self.filter.contacts.get(&place));
        if opener || known.is_some_and(|contact| self.is_contact_of(contact, holder)) {
            self.meets(&pair, half.deadline);
        }
    }
}
