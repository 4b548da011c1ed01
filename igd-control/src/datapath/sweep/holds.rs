//! Which TCP ports are held for longer than any of their sessions needs.

use crate::datapath::peers::HeldPort;
use nat_common::ports::{PORTS, PortSlot, SLOTS_PER_ADDRESS, slot_index};
use nat_common::settings::Settings;
use nat_common::sweep::Live;
use nat_common::{BootTime, NetAddr, Protocol};

/// The TCP ports of all external addresses that are held for longer than an opening connection would
/// need, as they were before the walk over the sessions, and the latest deadline of the sessions of
/// each port.
pub(super) struct Holds {
    /// The external addresses in order, each with its place in the pool.
    pool: Vec<(u32, u32)>,
    /// Slots and the holds that they had.
    observed: Vec<(u32, BootTime)>,
    /// For each port of each address the second until which a session needs it.
    needed: Vec<u32>,
}

impl Holds {
    pub(super) fn observe(
        slots: &[PortSlot],
        pool: &[NetAddr],
        settings: &Settings,
        now: BootTime,
    ) -> Self {
        let long = spare(settings, now);
        let mut observed = Vec::new();
        for (address, _) in (0..).zip(pool) {
            let first = slot_index(address, Protocol::Tcp, 0);
            let ports = slots.iter().skip(first as usize).take(PORTS as usize);
            let held = (first..).zip(ports).map(|(index, slot)| (index, slot.hold()));
            observed.extend(held.filter(|(_, hold)| *hold > long));
        }
        let mut pool: Vec<_> = pool.iter().map(|addr| addr.to_be32()).zip(0..).collect();
        pool.sort_unstable();
        let needed = vec![0; pool.len() * PORTS as usize];
        Self { pool, observed, needed }
    }

    /// Notes what a session needs.
    pub(super) fn needs(&mut self, live: &Live) {
        let external = live.external.to_be32();
        if !matches!(live.protocol(), Protocol::Tcp) {
            return;
        }
        let Ok(place) = self.pool.binary_search_by_key(&external, |(addr, _)| *addr) else {
            return;
        };
        let address = self.pool.get(place).map_or(0, |(_, address)| *address);
        if let Some(needed) = self.needed.get_mut(place_of(address, live.port.get())) {
            *needed = live.until.max(*needed);
        }
    }

    /// Notes what PCP's PEER has been promised.
    pub(super) fn keep(&mut self, held: &[HeldPort]) {
        for (address, port, until) in held {
            if let Some(needed) = self.needed.get_mut(place_of(*address, *port)) {
                let until = until.secs_from(BootTime(0));
                *needed = u32::try_from(until).unwrap_or(u32::MAX).max(*needed);
            }
        }
    }

    /// Lets go of what no session needs, and tells of how many ports.
    ///
    /// Sessions that began during the walk may have been missed. One that is opening needs the port no
    /// longer than `spare`; one that was established has moved the hold, which then is not the one
    /// that was observed.
    pub(super) fn let_go(&self, slots: &[PortSlot], settings: &Settings, now: BootTime) -> usize {
        let spare = spare(settings, now);
        let shortened = self.observed.iter().filter(|(index, hold)| {
            let address = index / SLOTS_PER_ADDRESS;
            let needed = self.needed.get(place_of(address, (index % PORTS) as u16)).copied();
            let needed = BootTime(0).plus_secs(u64::from(needed.unwrap_or_default()));
            slots.get(*index as usize).is_some_and(|slot| slot.shorten(*hold, needed.max(spare)))
        });
        shortened.count()
    }
}

fn place_of(address: u32, port: u16) -> usize {
    address as usize * PORTS as usize + usize::from(port)
}

/// The deadline of a connection that opens now, and a little more.
fn spare(settings: &Settings, now: BootTime) -> BootTime {
    settings.deadline(now, settings.timeout(Protocol::Tcp, false)).plus_secs(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use nat_common::NetPort;
    use nat_common::ports::{Endpoint, Owner};
    use nat_common::session::{SessionKey, SessionRecord, Side};
    use nat_common::time::NANOS_PER_SEC;

    const NOW: BootTime = BootTime(1_000 * NANOS_PER_SEC);
    const POOL: [NetAddr; 2] =
        [NetAddr::from_octets([11, 22, 33, 9]), NetAddr::from_octets([11, 22, 33, 1])];
    const CLIENT: (NetAddr, NetPort) = (NetAddr::from_octets([10, 0, 0, 2]), NetPort::new(40_000));
    const REMOTE: (NetAddr, NetPort) = (NetAddr::from_octets([192, 0, 2, 9]), NetPort::new(80));

    /// The port that is held, on the second address.
    const HELD: usize = slot_index(1, Protocol::Tcp, 5_000) as usize;

    fn held_for(seconds: u64) -> Vec<PortSlot> {
        let slots: Vec<PortSlot> =
            (0..2 * SLOTS_PER_ADDRESS).map(|_| PortSlot::default()).collect();
        let owner = Owner::new(Endpoint { addr: CLIENT.0, port: CLIENT.1 }, 0);
        slots[HELD].claim(NOW, owner, NOW.plus_secs(seconds)).unwrap();
        slots
    }

    fn session_until(external: NetAddr, deadline: BootTime) -> Live {
        let key = SessionKey::new(Side::Lan, Protocol::Tcp, CLIENT, REMOTE);
        let new_src_port = NetPort::new(5_000);
        let record = SessionRecord { deadline: deadline.0, new_src_port, ..Zeroable::zeroed() };
        Live::of(&key, &SessionRecord { new_src: external, ..record }).unwrap()
    }

    #[test]
    fn the_port_of_a_closed_connection_is_let_go() {
        let slots = held_for(7_905);
        let settings = Settings::DEFAULT;
        let mut holds = Holds::observe(&slots, &POOL, &settings, NOW);
        holds.needs(&session_until(POOL[1], NOW.plus_secs(30)));
        assert_eq!(holds.let_go(&slots, &settings, NOW), 1);
        assert_eq!(slots[HELD].hold(), spare(&settings, NOW));
    }

    #[test]
    fn the_port_of_an_established_connection_is_kept_for_it() {
        let slots = held_for(7_905);
        let settings = Settings::DEFAULT;
        let mut holds = Holds::observe(&slots, &POOL, &settings, NOW);
        holds.needs(&session_until(POOL[1], NOW.plus_secs(5_000)));
        assert_eq!(holds.let_go(&slots, &settings, NOW), 1);
        assert_eq!(slots[HELD].hold(), NOW.plus_secs(5_001));
    }

    #[test]
    fn a_port_that_peer_was_promised_is_kept_without_a_session() {
        let slots = held_for(7_905);
        let settings = Settings::DEFAULT;
        let mut holds = Holds::observe(&slots, &POOL, &settings, NOW);
        holds.keep(&[(1, 5_000, NOW.plus_secs(7_000)), (0, 5_000, NOW.plus_secs(7_800))]);
        assert_eq!(holds.let_go(&slots, &settings, NOW), 1);
        assert_eq!(slots[HELD].hold(), NOW.plus_secs(7_000));
    }

    #[test]
    fn the_same_port_of_another_external_address_keeps_nothing() {
        let slots = held_for(7_905);
        let settings = Settings::DEFAULT;
        let mut holds = Holds::observe(&slots, &POOL, &settings, NOW);
        holds.needs(&session_until(POOL[0], NOW.plus_secs(5_000)));
        assert_eq!(holds.let_go(&slots, &settings, NOW), 1);
        assert_eq!(slots[HELD].hold(), spare(&settings, NOW));
    }

    #[test]
    fn a_port_that_was_prolonged_during_the_walk_is_left_alone() {
        let slots = held_for(7_905);
        let settings = Settings::DEFAULT;
        let holds = Holds::observe(&slots, &POOL, &settings, NOW);
        let client = Endpoint { addr: CLIENT.0, port: CLIENT.1 };
        slots[HELD].extend(NOW, client, NOW.plus_secs(7_906)).unwrap();
        assert_eq!(holds.let_go(&slots, &settings, NOW), 0);
        assert_eq!(slots[HELD].hold(), NOW.plus_secs(7_906));
    }
}
