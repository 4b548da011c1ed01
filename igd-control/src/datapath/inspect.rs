//! Reading the maps for an operator.

use super::clients::Tally;
use super::{ClientView, Inspect, LinkView, SessionView, Shared};
use crate::igd::TrafficTotals;
use anyhow::Result;
use nat_common::ports::{Endpoint, SlotState, slot_index, wildcard_slot};
use nat_common::session::{SessionKey, SessionRecord, Side, charged, control};
use nat_common::settings::Settings;
use nat_common::{BootTime, Counter, NetAddr, NetPort, Protocol};
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

/// Reads what the data path holds. Cheap to clone; every call reads the kernel's maps.
#[derive(Clone)]
pub struct Inspector {
    shared: Arc<Shared>,
}

impl Inspector {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Inspect for Inspector {
    fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        self.shared.maps.counters()
    }

    fn sessions(&self, now: BootTime, each: &mut dyn FnMut(SessionView)) -> Result<()> {
        let settings = self.shared.maps.settings()?;
        let mut chunks = self.shared.maps.sessions();
        while let Some(chunk) = chunks.next_chunk()? {
            for (key, record) in chunk {
                if is_live(&self.shared, key, record, &settings, now)
                    && let Some(view) = view(key, record, now)
                {
                    each(view);
                }
            }
        }
        Ok(())
    }

    fn clients(&self, now: BootTime) -> Result<Vec<ClientView>> {
        let maps = &self.shared.maps;
        let settings = maps.settings()?;
        let mut tally = Tally::default();
        let mut chunks = maps.sessions();
        while let Some(chunk) = chunks.next_chunk()? {
            for (key, record) in chunk {
                if is_live(&self.shared, key, record, &settings, now) {
                    tally.session(charged(key, record.control));
                }
            }
        }
        tally.ports(maps.ports.slots(), now);
        let begun = maps.clients.begun()?;
        let known: HashSet<NetAddr> = tally.clients().chain(begun.keys().copied()).collect();
        let view = |client: NetAddr| {
            let live = tally.of(client);
            let [over_sessions, over_ports, over_rate] =
                begun.get(&client).map(|record| record.refused).unwrap_or_default();
            ClientView {
                address: client.into(),
                sessions: live.sessions,
                ports: live.ports,
                over_sessions,
                over_ports,
                over_rate,
            }
        };
        let mut clients: Vec<ClientView> = known.into_iter().map(view).collect();
        clients.sort_by_key(|client| (std::cmp::Reverse(client.sessions), client.address));
        Ok(clients)
    }

    fn sessions_swept(&self) -> u64 {
        self.shared.sessions_swept.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn ports_in_use(&self, now: BootTime) -> Vec<(Protocol, u32)> {
        let mut ports = Protocol::ALL.map(|protocol| (protocol, 0)).to_vec();
        // The slots of an address lie together, and within them those of a protocol.
        let rows = self.shared.maps.ports.slots().chunks(usize::from(u16::MAX) + 1);
        for (row, protocol) in rows.zip((0..Protocol::ALL.len()).cycle()) {
            let held = row.iter().filter(|slot| !slot.looks_free(now));
            let held = held.filter(|slot| !matches!(slot.state(now), SlotState::Free));
            if let Some((_, count)) = ports.get_mut(protocol) {
                *count += u32::try_from(held.count()).unwrap_or(u32::MAX);
            }
        }
        ports
    }

    fn links(&self) -> Vec<LinkView> {
        self.shared.links()
    }

    fn max_sessions(&self) -> u32 {
        self.shared.maps.max_sessions
    }

    fn external_addresses(&self) -> Vec<Ipv4Addr> {
        self.shared.external_addresses()
    }

    /// What was translated.
    fn traffic(&self) -> TrafficTotals {
        match self.counters() {
            Ok(counters) => totals(&counters),
            Err(error) => {
                tracing::warn!("the counters cannot be read: {error:#}");
                TrafficTotals::default()
            }
        }
    }
}

fn totals(counters: &[(Counter, u64)]) -> TrafficTotals {
    let value = |wanted| counters.iter().find(|(counter, _)| *counter == wanted).map_or(0, |c| c.1);
    TrafficTotals {
        bytes_sent: value(Counter::OutboundBytes),
        bytes_received: value(Counter::InboundBytes),
        packets_sent: value(Counter::OutboundPackets),
        packets_received: value(Counter::InboundPackets),
    }
}

/// Whether the packet path still honours a session.
fn is_live(
    shared: &Shared,
    key: &SessionKey,
    record: &SessionRecord,
    settings: &Settings,
    now: BootTime,
) -> bool {
    if record.deadline() <= now {
        return false;
    }
    let generation = record.control >> control::GENERATION_SHIFT;
    if record.control & control::BOUND_TO_FORWARD == 0 {
        return generation == u64::from(settings.nat_generation);
    }
    // Void after any forward went away, until its next packet finds that its own is still there.
    if generation == u64::from(settings.forward_generation) {
        return true;
    }
    let (external, client) = match key.side() {
        Side::Lan => ((record.new_src, record.new_src_port), (key.src, key.src_port)),
        Side::Wan => ((key.dst, key.dst_port), (record.new_dst, record.new_dst_port)),
    };
    let client = Endpoint { addr: client.0, port: client.1 };
    // The forward may have moved on to another address.
    let Some(place) = shared.pool_index(external.0) else { return false };
    let index = slot_index(place, key.protocol(), external.1.get());
    let state = |index| shared.maps.ports.slot(index).map(|slot| slot.state(now));
    match state(index) {
        Some(SlotState::Held { owner, leased }) if owner.endpoint() == client => {
            leased
                || matches!(state(wildcard_slot(index)), Some(SlotState::Held { owner, leased: true })
                    if owner.endpoint().addr == client.addr)
        }
        _ => false,
    }
}

/// A session from the half that its internal client's packets use; `None` for the other half.
fn view(key: &SessionKey, record: &SessionRecord, now: BootTime) -> Option<SessionView> {
    let hairpin = record.control & control::HAIRPIN != 0;
    let called = record.control & control::TOWARDS_INSIDE != 0;
    if matches!(key.side(), Side::Wan) || (hairpin && called) {
        return None;
    }
    let opened = match (hairpin, record.control & control::OPENED_OUTSIDE != 0) {
        (true, _) => "hairpin",
        (false, true) => "outside",
        (false, false) => "inside",
    };
    Some(SessionView {
        protocol: key.protocol().name(),
        internal: socket(key.src, key.src_port),
        external: socket(record.new_src, record.new_src_port),
        remote: socket(key.dst, key.dst_port),
        opened,
        state: match key.protocol() {
            Protocol::Tcp => tcp_state(record.control),
            _ => "-",
        },
        expires_in: record.deadline().secs_from(now),
    })
}

fn tcp_state(word: u64) -> &'static str {
    use control::{ACKED, FIN_INSIDE, FIN_OUTSIDE, RESET, SEEN_INSIDE, SEEN_OUTSIDE};
    const OPEN: u64 = SEEN_INSIDE | SEEN_OUTSIDE | ACKED;
    if word & RESET != 0 {
        "reset"
    } else if word & (FIN_INSIDE | FIN_OUTSIDE) != 0 {
        "closing"
    } else if word & OPEN == OPEN {
        "established"
    } else {
        "opening"
    }
}

fn socket(addr: NetAddr, port: NetPort) -> SocketAddrV4 {
    SocketAddrV4::new(addr.into(), port.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_translated_traffic() {
        let counters = [
            (Counter::OutboundPackets, 1),
            (Counter::OutboundBytes, 100),
            (Counter::InboundPackets, 2),
            (Counter::InboundBytes, 200),
            (Counter::HairpinBytes, 1_000),
        ];
        let expected = TrafficTotals {
            bytes_sent: 100,
            bytes_received: 200,
            packets_sent: 1,
            packets_received: 2,
        };
        assert_eq!(totals(&counters), expected);
    }
}
