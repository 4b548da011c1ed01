//! Endpoint-independent mapping: one external port for each internal endpoint, whoever it talks to
//! (RFC 4787 REQ-1, RFC 5382 REQ-1, RFC 5508 REQ-1).
//!
//! The port table decides who owns a port. The endpoint index only remembers which one an endpoint
//! has; an entry is believed when the slot that it names belongs to the endpoint. When two CPUs map
//! one endpoint at the same moment, one of them wins the index, and the other gives its port back.

use crate::limits;
use crate::tables::{EndpointRequest, InsertError, Tables};
use crate::verdict::{Step, Verdict, fold};
use nat_common::hints::list_index;
pub use nat_common::ports::pool_index;
use nat_common::ports::{Owner, slot_index};
use nat_common::session::{EndpointKey, ExternalEndpoint};
use nat_common::settings::{PortRange, Settings};
use nat_common::{Counter, NetAddr, NetPort};

/// Random ports that are tried with the parity of the internal port (RFC 4787 REQ-4), then without.
const PARITY_TRIES: u32 = 16;
/// All random ports that are tried.
const TRIES: u32 = 32;
/// Ports in a row that are tried then, from a random one on: they lie together in memory, so that many cost
/// little. With 95 % of the ports taken, one flow in sixty finds none of all these free.
const NEXT_TRIES: u32 = 48;
/// Hints at free ports that are tried then.
const HINT_TRIES: u32 = 16;
/// So many guesses that fail say that ports are getting scarce: hints are asked for before they are needed.
/// One in a thousand does so with half of the ports taken, one in three with nine in ten.
const SCARCE: u32 = 10;

/// Finds or makes the external endpoint of an internal one, for [`peer`] to unpack; or tells the
/// verdict on the packet, folded.
#[inline(always)]
pub fn external_endpoint<T: Tables>(tables: &T, request: &EndpointRequest) -> u64 {
    let Some(settings) = tables.settings() else {
        return fold(Err(Verdict::drop(Counter::DropInternal)));
    };
    let external = match request.find_or_make(tables, settings) {
        Ok(word) => ExternalEndpoint::unpack(word),
        Err(verdict) => return fold(Err(verdict)),
    };
    match tables.pool_address(u32::from(external.pool_index)) {
        Some(addr) => u64::from(addr.to_be32()) << 16 | u64::from(external.port.0),
        None => fold(Err(Verdict::drop(Counter::DropInternal))),
    }
}

/// Address and port from what [`external_endpoint`] returned.
#[inline(always)]
pub const fn peer(word: u64) -> (NetAddr, NetPort) {
    (NetAddr::from_be32((word >> 16) as u32), NetPort(word as u16))
}

impl EndpointRequest {
    #[inline(always)]
    fn find_or_make<T: Tables>(&self, tables: &T, settings: &Settings) -> Step<u64> {
        let key = EndpointKey::new(self.protocol, self.endpoint.addr, self.endpoint.port);
        let index = tables.endpoint(&key);
        let known = match &index {
            Some(index) => index.get(),
            None => UNKNOWN,
        };
        if known != UNKNOWN
            && let Some(known) = self.renew(tables, known)
        {
            return Ok(known);
        }
        limits::admit_port(tables, settings, self.now, self.endpoint.addr)?;
        let claimed = self.claim(tables, settings, known)?;
        limits::count_port(tables, settings, self.endpoint.addr, limits::ONE);
        let winner = match index {
            Some(index) => match index.replace(known, claimed) {
                Ok(()) => return Ok(self.noted(tables, settings, claimed)),
                Err(winner) => winner,
            },
            None => match tables.insert_endpoint(&key, claimed) {
                Ok(()) => return Ok(self.noted(tables, settings, claimed)),
                Err(InsertError::Full) => {
                    self.give_back(tables, settings, claimed);
                    return Err(Verdict::drop(Counter::DropTableFull));
                }
                Err(InsertError::Exists) => match tables.endpoint(&key) {
                    Some(index) => index.get_first(),
                    None => UNKNOWN,
                },
            },
        };
        // Another CPU has mapped the same endpoint first: its port stands, ours goes back.
        self.give_back(tables, settings, claimed);
        tables.count(Counter::ClaimLost, 1);
        self.renew(tables, winner).ok_or(Verdict::drop(Counter::DropInternal))
    }

    /// The mapping that was claimed, once it stands and the log knows of it.
    #[inline(always)]
    fn noted<T: Tables>(&self, tables: &T, settings: &Settings, claimed: u64) -> u64 {
        if settings.note_mappings == 1 {
            let slot = ExternalEndpoint::unpack(claimed).slot(self.protocol);
            tables.note_mapping(self.now, slot, Owner::new(self.endpoint, Owner::OPENED_INSIDE));
        }
        claimed
    }

    /// Prolongs the mapping that the index knows, if it is still the endpoint's.
    #[inline(always)]
    fn renew<T: Tables>(&self, tables: &T, known: u64) -> Option<u64> {
        let external = ExternalEndpoint::unpack(known);
        let slot = tables.slot(external.slot(self.protocol))?;
        slot.open_inside(self.now, self.endpoint, self.hold).ok()?;
        Some(known)
    }

    #[inline(always)]
    fn give_back<T: Tables>(&self, tables: &T, settings: &Settings, claimed: u64) {
        limits::count_port(tables, settings, self.endpoint.addr, limits::NOT_ONE);
        let claimed = ExternalEndpoint::unpack(claimed);
        if let Some(slot) = tables.slot(claimed.slot(self.protocol)) {
            slot.release(self.hold);
        }
    }

    /// Claims a port: the one the endpoint had, its own, a random one of the same parity, any, one of a
    /// row, one that user space has found free.
    #[inline(always)]
    fn claim<T: Tables>(&self, tables: &T, settings: &Settings, known: u64) -> Step<u64> {
        let range = settings.range(self.protocol);
        // Paired pooling (RFC 4787 REQ-2): the address follows from the internal client alone.
        let pool_len = u32::from(settings.pool_len);
        let pool_index = pool_index(self.endpoint.addr, pool_len);
        let addr = tables.pool_address(pool_index).ok_or(Verdict::drop(Counter::DropInternal))?;
        let own = self.endpoint.port.get();
        let preserve = settings.preserve_ports == 1;
        // Where the row of ports begins that are tried one after the other.
        let row = range.pick(tables.random());
        for attempt in 0..TRIES + NEXT_TRIES + 2 + HINT_TRIES {
            if attempt == SCARCE + 2 {
                ask_for_hints(tables, list_index(pool_index, self.protocol));
            }
            let wish = match attempt {
                0 if known != UNKNOWN => u32::from(ExternalEndpoint::unpack(known).port.get()),
                0 => NO_WISH,
                1 if preserve => u32::from(own),
                _ if attempt < PARITY_TRIES + 2 => WITH_PARITY | u32::from(own & 1),
                _ if attempt < TRIES + 2 => ANY_PORT,
                _ if attempt < TRIES + NEXT_TRIES + 2 => {
                    u32::from(row.wrapping_add(attempt as u16))
                }
                _ => hint(tables, list_index(pool_index, self.protocol)),
            };
            let port = candidate(range, wish, tables.random());
            if port == NO_WISH {
                continue;
            }
            let port = port as u16;
            if self.try_claim(tables, addr, pool_index, port) {
                tables.count(Counter::MappingsCreated, 1);
                let external =
                    ExternalEndpoint { port: NetPort::new(port), pool_index: pool_index as u16 };
                return Ok(external.pack());
            }
        }
        Err(Verdict::drop(Counter::DropNoPort))
    }

    #[inline(always)]
    fn try_claim<T: Tables>(&self, tables: &T, addr: NetAddr, pool_index: u32, port: u16) -> bool {
        let Some(slot) = tables.slot(slot_index(pool_index, self.protocol, port)) else {
            return false;
        };
        // A service of the router itself keeps its port. That costs much more to ask than whether somebody
        // has the port, which most have when they are scarce.
        let local = (addr, NetPort::new(port));
        let owner = Owner::new(self.endpoint, Owner::OPENED_INSIDE);
        slot.looks_free(self.now)
            && !tables.local_socket(self.protocol, local, self.remote)
            && slot.claim(self.now, owner, self.hold).is_ok()
    }
}

/// Stands for the word of an endpoint that the index does not know.
const UNKNOWN: u64 = u64::MAX;

/// Wishes for [`candidate`] beside a port: none at all, any port, any port of the parity in the lowest
/// bit.
const NO_WISH: u32 = 1 << 16;
const ANY_PORT: u32 = 1 << 17;
const WITH_PARITY: u32 = 1 << 18;

/// A port of `range` as wished for; [`NO_WISH`] when the one wished for is not in it.
///
/// Not inlined, so that the verifier forgets what it has learnt of the range's ends: it would follow
/// every combination through every turn of the loop.
#[inline(never)]
fn candidate(range: &PortRange, wish: u32, random: u32) -> u32 {
    let port = if wish < NO_WISH {
        wish as u16
    } else if wish == NO_WISH {
        return NO_WISH;
    } else if wish == ANY_PORT {
        range.pick(random)
    } else {
        (range.pick(random) & !1) | (wish as u16 & 1)
    };
    if range.contains(port) { u32::from(port) } else { NO_WISH }
}

/// The next hint at a free port, or [`NO_WISH`].
///
/// Not inlined, for the verifier's sake as [`candidate`].
#[inline(never)]
fn hint<T: Tables>(tables: &T, list: u32) -> u32 {
    match tables.hints(list).and_then(|hints| hints.take()) {
        Some(port) => u32::from(port),
        None => NO_WISH,
    }
}

/// Asks for another list of hints, unless that was asked for already.
///
/// Not inlined either.
#[inline(never)]
fn ask_for_hints<T: Tables>(tables: &T, list: u32) {
    if let Some(hints) = tables.hints(list)
        && hints.ask()
    {
        tables.ask_for_hints(list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{HostTables, Network};
    use nat_common::Protocol;
    use nat_common::ports::Endpoint;
    use proptest::prelude::*;

    #[test]
    fn the_clients_of_a_network_are_spread_evenly_over_the_pool() {
        for network in [[192, 168, 77], [10, 0, 0], [172, 16, 5]] {
            for pool_len in [1_u32, 2, 3, 4, 5, 7, 8, 16] {
                let mut clients = vec![0_u32; pool_len as usize];
                for host in 1..=254 {
                    let [a, b, c] = network;
                    let addr = NetAddr::from_octets([a, b, c, host]);
                    clients[pool_index(addr, pool_len) as usize] += 1;
                }
                let share = 254 / pool_len;
                let even = |count: &u32| (share * 3 / 4..=share * 4 / 3 + 1).contains(count);
                assert!(clients.iter().all(even), "{network:?}: {clients:?}");
            }
        }
    }

    #[test]
    fn a_mapping_is_noted_once_when_the_daemon_wants_to_know() {
        let mut tables = HostTables::new(Network::default(), 1);
        let external = NetAddr::from_octets([11, 22, 33, 1]);
        tables.set_externals(vec![external], Vec::new());
        let endpoint = |host| Endpoint {
            addr: NetAddr::from_octets([192, 168, 77, host]),
            port: NetPort::new(5_000),
        };
        let ask = |tables: &HostTables, host| {
            let request = EndpointRequest {
                now: tables.now(),
                protocol: Protocol::Udp,
                endpoint: endpoint(host),
                remote: (NetAddr::from_octets([198, 51, 100, 7]), NetPort::new(53)),
                hold: tables.now().plus_secs(300),
            };
            peer(external_endpoint(tables, &request)).1.get()
        };
        ask(&tables, 2);
        assert_eq!(tables.take_noted(), [], "nobody has asked");

        tables.settings = Some(Settings { note_mappings: 1, ..Settings::DEFAULT });
        ask(&tables, 2);
        assert_eq!(tables.take_noted(), [], "it had a port already");
        let port = ask(&tables, 3);
        let owner = Owner::new(endpoint(3), Owner::OPENED_INSIDE);
        assert_eq!(tables.take_noted(), [(slot_index(0, Protocol::Udp, port), owner)]);
    }

    proptest! {
        #[test]
        fn candidates_lie_in_the_range_and_keep_the_parity(random: u32, own: u16) {
            let range =
                PortRange { first: 1024, last: 65_535, hole_first: 32_768, hole_last: 60_999 };
            prop_assert!(range.contains(candidate(&range, ANY_PORT, random) as u16));
            let paired = candidate(&range, WITH_PARITY | u32::from(own & 1), random);
            prop_assert!(range.contains(paired as u16));
            prop_assert_eq!(paired as u16 & 1, own & 1);
            let wished = candidate(&range, u32::from(own), random);
            prop_assert_eq!(wished == u32::from(own), range.contains(own));
        }
    }
}
