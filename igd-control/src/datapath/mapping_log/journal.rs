//! What is known of the ports, and what is new.

use super::holder;
use nat_common::mapping_note::MappingNote;
use nat_common::ports::{Endpoint, Owner, PORTS, PortSlot, SLOTS_PER_ADDRESS, SlotState};
use nat_common::{BootTime, Protocol};
use std::net::Ipv4Addr;

/// A mapping has begun or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) at: BootTime,
    pub(super) begins: bool,
    pub(super) protocol: Protocol,
    pub(super) internal: Endpoint,
    /// External address, and port (host byte order) or identifier.
    pub(super) external: (Ipv4Addr, u16),
}

/// Who has which port, as far as it is written down: 8 bytes a port.
pub(super) struct Journal {
    /// By slot: [`holder`], or 0.
    holders: Vec<u64>,
    pool: Vec<Ipv4Addr>,
    events: Vec<Event>,
}

impl Journal {
    /// Nothing is known of `slots` ports.
    pub(super) fn new(slots: usize) -> Self {
        Self { holders: vec![0; slots], pool: Vec::new(), events: Vec::new() }
    }

    /// What is new since this was asked last, in order.
    pub(super) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The external addresses: the mappings of one that is not any more in its place have ended.
    pub(super) fn set_pool(&mut self, pool: &[Ipv4Addr], now: BootTime) {
        if pool == self.pool {
            return;
        }
        let gone = (0_u32..).zip(&self.pool).zip((0..).map(|place| pool.get(place)));
        let gone: Vec<u32> = gone
            .filter(|((_, old), new)| Some(*old) != *new)
            .map(|((place, _), _)| place)
            .collect();
        for place in gone {
            let first = place * SLOTS_PER_ADDRESS;
            for index in first..first + SLOTS_PER_ADDRESS {
                self.end(index, now);
            }
        }
        pool.clone_into(&mut self.pool);
    }

    /// The packet path has made a mapping.
    pub(super) fn begin(&mut self, note: &MappingNote) {
        self.hold(note.slot, Owner::from_word(note.owner), BootTime(note.at));
    }

    /// Looks at all ports.
    pub(super) fn look_through(&mut self, slots: &[PortSlot], now: BootTime) {
        let used = self.pool.len() * SLOTS_PER_ADDRESS as usize;
        for (index, slot) in (0..).zip(slots.iter().take(used)) {
            // Most are neither held nor were.
            if self.holder(index) != 0 || !slot.looks_free(now) {
                self.look_at(index, slot, now);
            }
        }
    }

    /// Looks at one port.
    pub(super) fn look_at(&mut self, index: u32, slot: &PortSlot, now: BootTime) {
        match slot.state(now) {
            // A disabled port forward holds the port for nobody.
            SlotState::Held { owner, .. } if owner.is_open() || slot.hold() > now => {
                self.hold(index, owner, now);
            }
            SlotState::Claiming => {}
            _ => {
                let until = slot.hold().max(slot.lease());
                let known = until > BootTime(0) && until <= now;
                self.end(index, if known { until } else { now });
            }
        }
    }

    fn hold(&mut self, index: u32, owner: Owner, at: BootTime) {
        let holder = holder(owner);
        if self.holder(index) == holder {
            return;
        }
        self.end(index, at);
        if let Some(known) = self.holders.get_mut(index as usize) {
            *known = holder;
            self.tell(index, holder, at, true);
        }
    }

    fn end(&mut self, index: u32, at: BootTime) {
        if let Some(known) = self.holders.get_mut(index as usize)
            && *known != 0
        {
            let holder = std::mem::take(known);
            self.tell(index, holder, at, false);
        }
    }

    fn tell(&mut self, index: u32, holder: u64, at: BootTime, begins: bool) {
        let place = (index / SLOTS_PER_ADDRESS) as usize;
        let number = index / PORTS % Protocol::COUNT;
        let protocol = Protocol::ALL.into_iter().find(|protocol| *protocol as u32 == number);
        let (Some(external), Some(protocol)) = (self.pool.get(place), protocol) else { return };
        self.events.push(Event {
            at,
            begins,
            protocol,
            internal: Owner::from_word(holder).endpoint(),
            external: (*external, (index % PORTS) as u16),
        });
    }

    fn holder(&self, index: u32) -> u64 {
        self.holders.get(index as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nat_common::ports::slot_index;
    use nat_common::time::NANOS_PER_SEC;
    use nat_common::{NetAddr, NetPort};

    const NOW: BootTime = BootTime(1_000 * NANOS_PER_SEC);
    const EXTERNAL: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 1);
    const PORT: u32 = slot_index(0, Protocol::Udp, 5_000);

    fn client(host: u8) -> Endpoint {
        Endpoint { addr: NetAddr::from_octets([10, 0, 0, host]), port: NetPort::new(40_000) }
    }

    fn owner(host: u8) -> Owner {
        Owner::new(client(host), Owner::OPENED_INSIDE)
    }

    fn journal() -> Journal {
        let mut journal = Journal::new(SLOTS_PER_ADDRESS as usize);
        journal.set_pool(&[EXTERNAL], NOW);
        journal
    }

    fn slots() -> Vec<PortSlot> {
        (0..SLOTS_PER_ADDRESS).map(|_| PortSlot::default()).collect()
    }

    fn slot(slots: &[PortSlot]) -> &PortSlot {
        slots.get(PORT as usize).unwrap()
    }

    fn note(host: u8, at: BootTime) -> MappingNote {
        MappingNote { at: at.0, owner: owner(host).word(), slot: PORT, reserved: 0 }
    }

    fn event(host: u8, at: BootTime, begins: bool) -> Event {
        let (protocol, internal) = (Protocol::Udp, client(host));
        Event { at, begins, protocol, internal, external: (EXTERNAL, 5_000) }
    }

    #[test]
    fn a_mapping_begins_once_and_ends_when_its_hold_did() {
        let (mut journal, slots) = (journal(), slots());
        slot(&slots).claim(NOW, owner(2), NOW.plus_secs(300)).unwrap();
        journal.begin(&note(2, NOW));
        journal.look_through(&slots, NOW.plus_secs(5));
        assert_eq!(journal.take(), [event(2, NOW, true)]);
        journal.look_through(&slots, NOW.plus_secs(304));
        journal.look_through(&slots, NOW.plus_secs(309));
        assert_eq!(journal.take(), [event(2, NOW.plus_secs(300), false)]);
    }

    #[test]
    fn a_mapping_whose_note_was_lost_is_found() {
        let (mut journal, slots) = (journal(), slots());
        slot(&slots).claim(NOW, owner(2), NOW.plus_secs(300)).unwrap();
        journal.look_through(&slots, NOW.plus_secs(5));
        assert_eq!(journal.take(), [event(2, NOW.plus_secs(5), true)]);
    }

    #[test]
    fn a_port_that_changes_hands_ends_for_the_former_first() {
        let (mut journal, slots) = (journal(), slots());
        journal.begin(&note(2, NOW));
        let later = NOW.plus_secs(400);
        slot(&slots).claim(later, owner(3), later.plus_secs(300)).unwrap();
        journal.look_through(&slots, later);
        let changed = [event(2, NOW, true), event(2, later, false), event(3, later, true)];
        assert_eq!(journal.take(), changed);
    }

    #[test]
    fn a_port_forward_is_a_mapping_and_a_disabled_one_is_none() {
        let (mut journal, slots) = (journal(), slots());
        let lease = NOW.plus_secs(60);
        slot(&slots).open_forward(NOW, client(2), 0, lease, BootTime::NEVER).unwrap();
        journal.look_at(PORT, slot(&slots), NOW.plus_secs(1));
        assert_eq!(journal.take(), []);
        let open = Owner::ANY_REMOTE;
        slot(&slots)
            .open_forward(NOW.plus_secs(2), client(2), open, lease, BootTime::NEVER)
            .unwrap();
        journal.look_at(PORT, slot(&slots), NOW.plus_secs(2));
        slot(&slots).close_forward(NOW.plus_secs(9), client(2)).unwrap();
        journal.look_at(PORT, slot(&slots), NOW.plus_secs(9));
        let expected = [event(2, NOW.plus_secs(2), true), event(2, NOW.plus_secs(3), false)];
        let told = journal.take();
        assert_eq!(told.first(), expected.first());
        assert_eq!(told.len(), 2, "{told:?}");
    }

    #[test]
    fn a_change_of_address_ends_what_was_mapped_on_the_former() {
        let mut journal = journal();
        journal.begin(&note(2, NOW));
        let other = Ipv4Addr::new(11, 22, 33, 9);
        journal.set_pool(&[other], NOW.plus_secs(7));
        journal.begin(&note(2, NOW.plus_secs(8)));
        let again = Event { external: (other, 5_000), ..event(2, NOW.plus_secs(8), true) };
        assert_eq!(journal.take(), [event(2, NOW, true), event(2, NOW.plus_secs(7), false), again]);
    }
}
