//! The maps of internal clients: what each has begun, which the packet path counts, and how much of that
//! has ended, which each sweep says anew.

use super::batch::Chunks;
use super::maps::{bytes, lock};
use anyhow::{Context as _, Result};
use aya::maps::{HashMap as BpfMap, Map, MapData};
use nat_common::client::{ClientRecord, Ended, Live};
use nat_common::maps::{CLIENTS, CLIENTS_ENDED};
use nat_common::ports::{Owner, PortSlot, SlotState};
use nat_common::{BootTime, NetAddr};
use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Mutex;

const RECORD: usize = size_of::<ClientRecord>();
const ENDED: usize = size_of::<Ended>();

/// Both maps.
pub struct Clients {
    begun: Mutex<BpfMap<MapData, [u8; 4], [u8; RECORD]>>,
    begun_fd: OwnedFd,
    ended: Mutex<BpfMap<MapData, [u8; 4], [u8; ENDED]>>,
    ended_fd: OwnedFd,
}

/// What internal clients have, as it is counted in a walk.
#[derive(Debug, Default)]
pub struct Tally(HashMap<NetAddr, Live>);

impl Tally {
    /// Counts a live session for its client, if this is the half that tells it.
    pub fn session(&mut self, charged: Option<NetAddr>) {
        if let Some(client) = charged {
            self.0.entry(client).or_default().sessions += 1;
        }
    }

    /// Counts the external ports that clients have claimed themselves and sessions hold. Leased ones have
    /// a limit of their own, and those that others have called by a wildcard are not the client's doing.
    pub fn ports(&mut self, slots: &[PortSlot], now: BootTime) {
        // Most are free; asking those for their state would take their cache lines from the packets.
        for slot in slots.iter().filter(|slot| !slot.looks_free(now)) {
            if let SlotState::Held { owner, leased: false } = slot.state(now)
                && owner.has(Owner::OPENED_INSIDE)
            {
                self.0.entry(owner.endpoint().addr).or_default().ports += 1;
            }
        }
    }

    /// What a client has.
    pub fn of(&self, client: NetAddr) -> Live {
        self.0.get(&client).copied().unwrap_or_default()
    }

    /// Whoever has anything.
    pub fn clients(&self) -> impl Iterator<Item = NetAddr> {
        self.0.keys().copied()
    }
}

impl Clients {
    /// Takes the maps of a loaded program.
    pub(super) fn new(begun: MapData, ended: MapData) -> Result<Self> {
        Ok(Self {
            begun_fd: begun.fd().as_fd().try_clone_to_owned()?,
            begun: Mutex::new(Map::HashMap(begun).try_into().context(CLIENTS)?),
            ended_fd: ended.fd().as_fd().try_clone_to_owned()?,
            ended: Mutex::new(Map::HashMap(ended).try_into().context(CLIENTS_ENDED)?),
        })
    }

    /// What the packet path has counted.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn begun(&self) -> Result<HashMap<NetAddr, ClientRecord>> {
        all(&self.begun_fd)
    }

    /// Says what has ended, when `live` was counted before; forgets who has nothing and was silent for a
    /// while. Tells how many those were.
    ///
    /// What the packet path has begun is read after the walk: what began meanwhile is left out of what
    /// lives if the walk has missed it, and never counted twice.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn sweep(&self, live: &Tally, past: BootTime) -> Result<usize> {
        let begun = self.begun()?;
        let told: HashMap<NetAddr, Ended> = all(&self.ended_fd)?;
        let (idle, ended) = judge(&begun, live, past);
        for client in &idle {
            // The counts first: what has ended of them must not be held against a new beginning.
            let _ = lock(&self.begun).remove(&client.octets());
        }
        for client in told.keys().filter(|client| !ended.contains_key(client)) {
            let _ = lock(&self.ended).remove(&client.octets());
        }
        let mut full = false;
        for (client, ended) in &ended {
            let before = told.get(client);
            if before != Some(ended) && (before.is_some() || !full) {
                // Without room the client's limits hold less: all that it has ended lives on for them.
                let insert = lock(&self.ended).insert(client.octets(), bytes::<_, ENDED>(ended), 0);
                full |= insert.is_err();
            }
        }
        Ok(idle.len())
    }
}

/// Whose counts can go, and what of the others' has ended.
fn judge(
    begun: &HashMap<NetAddr, ClientRecord>,
    live: &Tally,
    past: BootTime,
) -> (Vec<NetAddr>, HashMap<NetAddr, Ended>) {
    let mut idle = Vec::new();
    let mut ended = HashMap::new();
    for (client, record) in begun {
        let has = live.of(*client);
        if has == Live::default() && record.is_silent(past) {
            idle.push(*client);
        } else {
            ended.insert(*client, Ended::of(record, has));
        }
    }
    // Clients from before there were limits, and those that the packet path has yet to meet.
    for client in live.clients().filter(|client| !begun.contains_key(client)) {
        ended.insert(client, Ended::of(&ClientRecord::default(), live.of(client)));
    }
    (idle, ended)
}

fn all<V: bytemuck::Pod>(map: &OwnedFd) -> Result<HashMap<NetAddr, V>> {
    let mut entries = HashMap::new();
    let mut chunks = Chunks::<NetAddr, V>::new(map.as_fd());
    while let Some(chunk) = chunks.next_chunk()? {
        entries.extend(chunk.map(|(client, value)| (*client, *value)));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nat_common::NetPort;
    use nat_common::ports::Endpoint;
    use nat_common::time::NANOS_PER_SEC;

    const NOW: BootTime = BootTime(1_000 * NANOS_PER_SEC);
    const A: NetAddr = NetAddr::from_octets([10, 0, 0, 2]);
    const B: NetAddr = NetAddr::from_octets([10, 0, 0, 3]);

    fn tally(sessions: &[NetAddr]) -> Tally {
        let mut tally = Tally::default();
        for client in sessions {
            tally.session(Some(*client));
            tally.session(None);
        }
        tally
    }

    #[test]
    fn ports_count_for_who_has_claimed_them_unless_they_are_leased() {
        let slots: Vec<PortSlot> = (0..4).map(|_| PortSlot::default()).collect();
        let own = Endpoint { addr: A, port: NetPort::new(5000) };
        let later = NOW.plus_secs(10);
        for slot in &slots[..3] {
            slot.claim(NOW, Owner::new(own, Owner::OPENED_INSIDE), later).unwrap();
        }
        slots[3].claim(NOW, Owner::new(own, 0), later).unwrap();
        slots[2].open_forward(NOW, own, Owner::ANY_REMOTE, later, later).unwrap();
        let mut tally = Tally::default();
        tally.ports(&slots, NOW);
        assert_eq!(tally.of(A).ports, 2);
        let mut tally = Tally::default();
        tally.ports(&slots, later);
        assert_eq!(tally.of(A).ports, 0);
    }

    #[test]
    fn clients_with_nothing_are_forgotten_and_others_told_what_has_ended() {
        let record = |sessions| ClientRecord { sessions, ..ClientRecord::default() };
        let old = NetAddr::from_octets([10, 0, 0, 4]);
        let begun = HashMap::from([(A, record(10)), (old, record(7))]);
        let (idle, ended) = judge(&begun, &tally(&[A, B, B]), NOW);
        assert_eq!(idle, [old]);
        assert_eq!(ended[&A].sessions, 9);
        assert_eq!(ended[&B].sessions, 0_u64.wrapping_sub(2));
        assert_eq!(ended.len(), 2);
    }

    #[test]
    fn a_client_that_has_just_been_refused_is_not_forgotten() {
        let client = nat_common::client::Client::default();
        client.may_open(NOW, 1);
        let record = ClientRecord { window: client.window(), ..ClientRecord::default() };
        let begun = HashMap::from([(A, record)]);
        assert!(judge(&begun, &Tally::default(), NOW).0.is_empty());
        assert_eq!(judge(&begun, &Tally::default(), NOW.plus_secs(2)).0, [A]);
    }
}
