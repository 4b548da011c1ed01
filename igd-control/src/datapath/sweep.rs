//! Returning what has expired. No packet depends on it: expired entries count for nothing. What it
//! gives back is room, and ports of TCP connections that are over.
//!
//! A slot of the port table is held until the latest deadline that any of its sessions ever had, more
//! than two hours for an established connection. When the connection closes its own deadline moves
//! nearer, but the packet path cannot know whether other sessions need the port. The sweep sees them
//! all, so it moves the slot's hold to the latest deadline that is left.

use super::{Shared, now};
use anyhow::Result;
use nat_common::ports::{PORTS, PortSlot, SlotState, slot_index};
use nat_common::session::{
    EndpointKey, ExternalEndpoint, SessionKey, SessionRecord, Side, control,
};
use nat_common::settings::Settings;
use nat_common::time::NANOS_PER_SEC;
use nat_common::{BootTime, Protocol};

/// Entries are left alone for this long after their end, so that a packet that is just reviving one
/// does not lose it.
const GRACE: u64 = 2 * NANOS_PER_SEC;

/// How much was given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Session entries: two for each session.
    pub sessions: usize,
    /// Internal endpoints that have no external port any more.
    pub endpoints: usize,
    /// External ports that are held for less long now.
    pub ports: usize,
    /// Contacts of internal clients.
    pub contacts: usize,
}

/// Removes expired sessions and endpoints from the maps, and lets go of ports.
///
/// # Errors
/// When the kernel refuses.
pub fn sweep(shared: &Shared) -> Result<Swept> {
    let maps = &shared.maps;
    let settings = maps.settings()?;
    let mut swept = Swept::default();
    let mut holds = Holds::observe(maps.ports.slots(), &settings, now());
    let past = BootTime(now().0.saturating_sub(GRACE));

    let mut dead: Vec<SessionKey> = Vec::new();
    let mut sessions = maps.sessions();
    while let Some(chunk) = sessions.next_chunk()? {
        for (key, record) in chunk {
            if is_dead(record, &settings, past) {
                dead.push(*key);
            } else {
                holds.needs(key, record);
            }
        }
        for key in dead.drain(..) {
            maps.remove_session(&key);
            swept.sessions += 1;
        }
    }
    swept.ports = holds.let_go(maps.ports.slots(), &settings, now());

    let mut stale: Vec<EndpointKey> = Vec::new();
    let mut endpoints = maps.endpoints();
    while let Some(chunk) = endpoints.next_chunk()? {
        for (key, word) in chunk {
            let slot = maps.ports.slot(ExternalEndpoint::unpack(*word).slot(key.protocol()));
            if !slot.is_some_and(|slot| belongs_to(slot, key, past)) {
                stale.push(*key);
            }
        }
        for key in stale.drain(..) {
            maps.remove_endpoint(&key);
            swept.endpoints += 1;
        }
    }
    swept.contacts = maps.contacts.sweep(past)?;
    Ok(swept)
}

/// Whether a session can never count again. One that is bound to a forward may: see the packet path.
fn is_dead(record: &SessionRecord, settings: &Settings, past: BootTime) -> bool {
    let bound = record.control & control::BOUND_TO_FORWARD != 0;
    let generation = record.control >> control::GENERATION_SHIFT;
    record.deadline() <= past || (!bound && generation != u64::from(settings.nat_generation))
}

fn belongs_to(slot: &PortSlot, key: &EndpointKey, past: BootTime) -> bool {
    match slot.state(past) {
        SlotState::Held { owner, .. } => {
            let endpoint = owner.endpoint();
            endpoint.addr == key.addr && endpoint.port == key.port
        }
        SlotState::Claiming => true,
        SlotState::Free => false,
    }
}

/// The TCP ports that are held for longer than an opening connection would need, as they were before
/// the walk over the sessions, and the latest deadline of the sessions of each port.
struct Holds {
    observed: Vec<(u16, BootTime)>,
    needed: Vec<BootTime>,
}

impl Holds {
    fn observe(slots: &[PortSlot], settings: &Settings, now: BootTime) -> Self {
        let long = spare(settings, now);
        let ports = (0..=u16::MAX).zip(tcp_slots(slots));
        let held = ports.map(|(port, slot)| (port, slot.hold()));
        Self {
            observed: held.filter(|(_, hold)| *hold > long).collect(),
            needed: vec![BootTime(0); PORTS as usize],
        }
    }

    fn needs(&mut self, key: &SessionKey, record: &SessionRecord) {
        // The half whose packets leave by the port.
        if matches!(key.side(), Side::Lan)
            && matches!(key.protocol(), Protocol::Tcp)
            && let Some(needed) = self.needed.get_mut(usize::from(record.new_src_port.get()))
        {
            *needed = record.deadline().max(*needed);
        }
    }

    /// Sessions that began during the walk may have been missed. One that is opening needs the port no
    /// longer than `spare`; one that was established has moved the hold, which then is not the one
    /// that was observed.
    fn let_go(&self, slots: &[PortSlot], settings: &Settings, now: BootTime) -> usize {
        let spare = spare(settings, now);
        let slots: Vec<&PortSlot> = tcp_slots(slots).collect();
        let shortened = self.observed.iter().filter(|(port, hold)| {
            let port = usize::from(*port);
            let needed = self.needed.get(port).copied().unwrap_or_default();
            slots.get(port).is_some_and(|slot| slot.shorten(*hold, needed.max(spare)))
        });
        shortened.count()
    }
}

/// The deadline of a connection that opens now, and a little more.
fn spare(settings: &Settings, now: BootTime) -> BootTime {
    settings.deadline(now, settings.timeout(Protocol::Tcp, false)).plus_secs(1)
}

/// The TCP slots of the first external address, by port.
fn tcp_slots(slots: &[PortSlot]) -> impl Iterator<Item = &PortSlot> {
    slots.iter().skip(slot_index(0, Protocol::Tcp, 0) as usize).take(PORTS as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable as _;
    use nat_common::ports::{Endpoint, Owner};
    use nat_common::{NetAddr, NetPort};

    const NOW: BootTime = BootTime(1_000 * NANOS_PER_SEC);
    const CLIENT: (NetAddr, NetPort) = (NetAddr::from_octets([10, 0, 0, 2]), NetPort::new(40_000));
    const REMOTE: (NetAddr, NetPort) = (NetAddr::from_octets([192, 0, 2, 9]), NetPort::new(80));

    fn held_for(seconds: u64) -> Vec<PortSlot> {
        let slots: Vec<PortSlot> = (0..PORTS).map(|_| PortSlot::default()).collect();
        let owner = Owner::new(Endpoint { addr: CLIENT.0, port: CLIENT.1 }, 0);
        slots[5_000].claim(NOW, owner, NOW.plus_secs(seconds)).unwrap();
        slots
    }

    fn session_until(deadline: BootTime) -> (SessionKey, SessionRecord) {
        let key = SessionKey::new(Side::Lan, Protocol::Tcp, CLIENT, REMOTE);
        let new_src_port = NetPort::new(5_000);
        (key, SessionRecord { deadline: deadline.0, new_src_port, ..SessionRecord::zeroed() })
    }

    #[test]
    fn the_port_of_a_closed_connection_is_let_go() {
        let slots = held_for(7_905);
        let settings = Settings::DEFAULT;
        let mut holds = Holds::observe(&slots, &settings, NOW);
        let (key, record) = session_until(NOW.plus_secs(30));
        holds.needs(&key, &record);
        assert_eq!(holds.let_go(&slots, &settings, NOW), 1);
        assert_eq!(slots[5_000].hold(), spare(&settings, NOW));
    }

    #[test]
    fn the_port_of_an_established_connection_is_kept_for_it() {
        let slots = held_for(7_905);
        let settings = Settings::DEFAULT;
        let mut holds = Holds::observe(&slots, &settings, NOW);
        let (key, record) = session_until(NOW.plus_secs(5_000));
        holds.needs(&key, &record);
        assert_eq!(holds.let_go(&slots, &settings, NOW), 1);
        assert_eq!(slots[5_000].hold(), NOW.plus_secs(5_000));
    }

    #[test]
    fn a_port_that_was_prolonged_during_the_walk_is_left_alone() {
        let slots = held_for(7_905);
        let settings = Settings::DEFAULT;
        let holds = Holds::observe(&slots, &settings, NOW);
        let client = Endpoint { addr: CLIENT.0, port: CLIENT.1 };
        slots[5_000].extend(NOW, client, NOW.plus_secs(7_906)).unwrap();
        assert_eq!(holds.let_go(&slots, &settings, NOW), 0);
        assert_eq!(slots[5_000].hold(), NOW.plus_secs(7_906));
    }

    #[test]
    fn a_session_bound_to_a_forward_is_swept_by_its_deadline_only() {
        let (_, mut record) = session_until(NOW.plus_secs(9));
        record.control = control::BOUND_TO_FORWARD;
        assert!(!is_dead(&record, &Settings::DEFAULT, NOW));
        assert!(is_dead(&record, &Settings::DEFAULT, NOW.plus_secs(9)));
        record.control = 0;
        assert!(is_dead(&record, &Settings::DEFAULT, NOW), "another generation");
    }
}
