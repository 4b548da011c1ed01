//! The wildcard: a port forward of external port 0, which stands for every port of its address and
//! protocol that is not otherwise mapped (WANIPConnection:2, section 2.3.18). Its lease is in the slot
//! of port 0; packets go to its client on the port to which they came.
//!
//! It comes last. A port that somebody holds is mapped otherwise, and a service of the router keeps its
//! own. A flow that comes in by the wildcard claims its port for the client's endpoint as long as it
//! lives, so that nobody else leaves from there; by itself that lets in nobody.

use crate::parse::Flow;
use crate::tables::{HoldRequest, InsertError, Tables};
use crate::track::lease;
use crate::verdict::{Step, Verdict};
use nat_common::ports::{Endpoint, Owner, PortSlot, SlotState, WILDCARD_PORT, wildcard_slot};
use nat_common::session::{EndpointKey, ExternalEndpoint};
use nat_common::{BootTime, Counter, NetAddr, NetPort, Protocol};

/// The port of DHCP clients (RFC 2131). They listen on packet sockets, which no lookup finds.
const DHCP_CLIENT: u16 = 68;

/// Whom the wildcard sends an unsolicited packet to, and until when it lets its sender in. `None`: it
/// has nothing to say about a port in this `state`, whose slot is `index`.
///
/// # Errors
/// The verdict on packets that are the router's own.
#[inline(always)]
pub fn admit<T: Tables>(
    tables: &T,
    now: BootTime,
    flow: &Flow,
    index: u32,
    state: SlotState,
) -> Step<Option<(Endpoint, BootTime)>> {
    let (_, port) = flow.dst;
    if matches!(flow.protocol, Protocol::Icmp) {
        return Ok(None);
    }
    if port.get() == WILDCARD_PORT {
        return Err(Verdict::pass(Counter::PassLocal));
    }
    let (opened_inside, holder) = match state {
        SlotState::Held { leased: true, .. } => return Ok(None),
        SlotState::Held { owner, .. } => (owner.has(Owner::OPENED_INSIDE), Some(owner.endpoint())),
        _ => (false, None),
    };
    let (addr, until) = ask(tables, now, index, flow.src.0);
    let client = Endpoint { addr, port };
    let is_dhcp = matches!(flow.protocol, Protocol::Udp) && port.get() == DHCP_CLIENT;
    if until <= now || is_dhcp || holder.is_some_and(|holder| holder != client) {
        return Ok(None);
    }
    if !opened_inside && tables.local_socket(flow.protocol, flow.dst, flow.src) {
        return Err(Verdict::pass(Counter::PassLocal));
    }
    Ok(Some((client, until)))
}

/// Until when the wildcard lets `remote` in to `client` by the port whose slot is `index`;
/// `BootTime(0)`: not at all.
#[inline(always)]
pub fn until<T: Tables>(
    tables: &T,
    now: BootTime,
    index: u32,
    client: Endpoint,
    remote: NetAddr,
) -> BootTime {
    let (addr, until) = ask(tables, now, index, remote);
    let is_its_own = addr == client.addr && index as u16 == client.port.get();
    if is_its_own { until } else { BootTime(0) }
}

/// The wildcard's client, and until when it lets `remote` in; `BootTime(0)`: not at all, or there is
/// no wildcard. Both always hold something: see [`crate::verdict`].
#[inline(always)]
fn ask<T: Tables>(tables: &T, now: BootTime, index: u32, remote: NetAddr) -> (NetAddr, BootTime) {
    let index = wildcard_slot(index);
    if let Some(slot) = tables.slot(index)
        && let SlotState::Held { owner, leased: true } = slot.state(now)
    {
        // The wildcard has no filters, so no port is asked for.
        let remote = (remote, NetPort(0));
        return (owner.endpoint().addr, lease(tables, index, &slot, owner, remote));
    }
    (NetAddr::UNSPECIFIED, BootTime(0))
}

/// Claims the port that a flow has called by the wildcard, and that nobody has, for its client. `false`
/// when somebody has it, or it was not by the wildcard.
#[inline(always)]
pub fn claim<T: Tables>(tables: &T, request: &HoldRequest, slot: &PortSlot) -> bool {
    let HoldRequest { now, protocol, called, client, remote, until: hold } = *request;
    let owner = Owner::new(client, Owner::BY_WILDCARD);
    if until(tables, now, called.slot(protocol), client, remote) <= now
        || slot.claim(now, owner, hold).is_err()
    {
        return false;
    }
    tables.count(Counter::MappingsCreated, 1);
    if tables.settings().is_some_and(|settings| settings.note_mappings == 1) {
        tables.note_mapping(now, called.slot(protocol), owner);
    }
    let ours = ExternalEndpoint { port: client.port, pool_index: called.pool_index };
    lead(tables, now, protocol, client, ours);
    true
}

/// Has the client's own flows leave from the port, unless they have another one already (RFC 4787
/// REQ-1). The index may be full: then they make a mapping of their own.
#[inline(always)]
fn lead<T: Tables>(
    tables: &T,
    now: BootTime,
    protocol: Protocol,
    client: Endpoint,
    ours: ExternalEndpoint,
) {
    let key = EndpointKey::new(protocol, client.addr, client.port);
    if tables.insert_endpoint(&key, ours.pack()) != Err(InsertError::Exists) {
        return;
    }
    let Some(index) = tables.endpoint(&key) else { return };
    let known = index.get();
    let is_theirs = tables.slot(ExternalEndpoint::unpack(known).slot(protocol)).is_some_and(|slot| {
        matches!(slot.state(now), SlotState::Held { owner, .. } if owner.endpoint() == client)
    });
    if !is_theirs {
        let _ = index.replace(known, ours.pack());
    }
}
