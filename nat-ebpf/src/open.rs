//! Opening a session for the first packet of a flow, or saying why there is none.
//!
//! It goes in three steps, which the packet's main function calls one after another rather than one
//! within the other, because all functions on the way share a stack of 512 bytes: [`plan`] decides
//! whether there will be a session and where it leads; [`Tables::external_endpoint`] finds the external
//! port for a packet from the LAN; [`insert`] makes the session.

use crate::frame::Frame;
use crate::halves::{Halves, Peer};
use crate::mapping;
use crate::parse::{Flow, tcp};
use crate::tables::{EndpointRequest, Tables};
use crate::track::lease;
use crate::verdict::{Route, Step, Verdict, Way, fold, unfold};
use crate::wildcard;
use nat_common::maps::NOT_IN_POOL;
use nat_common::ports::{Endpoint, Owner, SlotState, slot_index};
use nat_common::session::{Side, control};
use nat_common::settings::Settings;
use nat_common::{BootTime, Counter, NetAddr, NetPort, Protocol};

/// The first packet of a flow, for which there is no session yet.
pub struct Opening<'a> {
    settings: &'a Settings,
    now: BootTime,
    flow: &'a Flow,
    side: Side,
    /// Whether a LAN client calls another one.
    hairpin: bool,
    /// The internal client that is called, from the WAN or by a hairpin.
    client: Endpoint,
    /// Until when the port forward lets the caller in; `BootTime(0)`: it was not a forward.
    until: BootTime,
}

impl<'a> Opening<'a> {
    /// For a packet of `flow` that came in on `side`.
    #[inline(always)]
    pub const fn new(settings: &'a Settings, now: BootTime, flow: &'a Flow, side: Side) -> Self {
        let client = Endpoint { addr: NetAddr::UNSPECIFIED, port: NetPort(0) };
        Self { settings, now, flow, side, hairpin: false, client, until: BootTime(0) }
    }

    /// The flow.
    #[inline(always)]
    pub const fn flow(&self) -> &Flow {
        self.flow
    }

    /// Whether a LAN client calls another one.
    #[inline(always)]
    pub const fn is_hairpin(&self) -> bool {
        self.hairpin
    }

    /// The internal client that is called.
    #[inline(always)]
    pub const fn client(&self) -> Endpoint {
        self.client
    }

    /// The opener as others see it; `source` is what [`Self::source_request`] was answered.
    #[inline(always)]
    pub const fn seen_as(&self, source: u64) -> Peer {
        match self.side {
            Side::Lan => mapping::peer(source),
            Side::Wan => self.flow.src,
        }
    }

    /// What to ask for the external endpoint from which the opener's packets will leave; `None` when
    /// the opener is outside.
    #[inline(always)]
    pub fn source_request(&self) -> Option<EndpointRequest> {
        matches!(self.side, Side::Lan).then(|| EndpointRequest {
            now: self.now,
            protocol: self.flow.protocol,
            endpoint: Endpoint { addr: self.flow.src.0, port: self.flow.src.1 },
            remote: self.flow.dst,
            hold: self.first_deadline(),
        })
    }
}

/// Whether a frame is for this station at all.
///
/// # Errors
/// What becomes of it if not: flooded frames, and those for a bridge or macvlan on this interface,
/// are the kernel's to sort out.
#[inline(always)]
pub fn check_station<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> Step<()> {
    let ingress = tables.ingress().ok_or(Verdict::drop(Counter::DropInternal))?;
    match frame.view::<3>(0) {
        Some(station) if *station == ingress.mac => Ok(()),
        Some(_) => Err(Verdict::pass(Counter::PassOtherStation)),
        None => Err(Verdict::drop(Counter::DropMalformed)),
    }
}

/// Decides whether a flow gets a session; tells the [`Route`] of its packets, or the verdict on this
/// one, folded into a word.
#[inline(never)]
pub fn plan<T: Tables>(tables: &T, opening: &mut Opening<'_>) -> u64 {
    let step = if opening.flow.dst.0.is_multicast_or_reserved() {
        Err(Verdict::pass(Counter::PassLocal))
    } else {
        match opening.side {
            Side::Lan => opening.plan_outwards(tables),
            Side::Wan => opening.plan_inwards(tables),
        }
    };
    fold(step.map(Route::word))
}

/// Whether a packet from the WAN pretends to come from the router itself or from the LAN (RFC 2827).
/// Asked once [`plan`] would let it in.
#[inline(never)]
pub fn is_spoofed<T: Tables>(tables: &T, opening: &Opening<'_>) -> bool {
    let (src, dst) = (opening.flow.src.0, opening.flow.dst.0);
    if matches!(opening.side, Side::Lan) {
        return false;
    }
    if tables.external_index(src).is_some() {
        return true;
    }
    let route = tables.route(dst, src);
    if !route.is_link() {
        return matches!(route.decode(), Way::Local);
    }
    tables.link(route.link()).is_some_and(|link| matches!(link.side(), Side::Lan))
}

/// Makes the session that was planned. `source` is what the request of [`Opening::source_request`] was
/// answered. Tells the verdict when there is no room, folded, else 0.
#[inline(never)]
pub fn insert<T: Tables>(tables: &T, opening: &Opening<'_>, source: u64) -> u64 {
    fold(opening.insert(tables, mapping::peer(source)).map(|()| 0))
}

impl Opening<'_> {
    #[inline(always)]
    fn plan_outwards<T: Tables>(&mut self, tables: &T) -> Step<Route> {
        let flow = self.flow;
        if flow.src.0.is_no_source() {
            return Err(Verdict::drop(Counter::DropMalformed));
        }
        if tables.external_index(flow.src.0).is_some() {
            return Err(Verdict::drop(Counter::DropSpoofed));
        }
        let route = match tables.external_index(flow.dst.0) {
            None => route_to_wan(tables, flow.src.0, flow.dst.0)?,
            Some(NOT_IN_POOL) => return Err(Verdict::pass(Counter::PassLocal)),
            // The router itself answers a ping to its own address.
            Some(_) if matches!(flow.protocol, Protocol::Icmp) => {
                return Err(Verdict::pass(Counter::PassLocal));
            }
            // A LAN client calls another one by the external address (RFC 4787 REQ-9).
            Some(pool_index) => {
                self.admit(tables, pool_index)?;
                self.hairpin = true;
                self.route_to_client(tables)?
            }
        };
        self.check_opener()?;
        // For a moment, lest the caller's own mapping take the port that it calls by the wildcard.
        if self.hairpin && !self.hold_port(tables, self.now.plus_secs(1)) {
            return Err(Verdict::drop(Counter::DropUnmapped));
        }
        Ok(route)
    }

    #[inline(always)]
    fn plan_inwards<T: Tables>(&mut self, tables: &T) -> Step<Route> {
        let flow = self.flow;
        if flow.src.0.is_no_source() {
            return Err(Verdict::drop(Counter::DropMalformed));
        }
        match tables.external_index(flow.dst.0) {
            None => return Err(not_ours(tables, flow.src.0, flow.dst.0)),
            Some(NOT_IN_POOL) => return Err(Verdict::pass(Counter::PassLocal)),
            Some(pool_index) => self.admit(tables, pool_index)?,
        }
        let route = self.route_to_client(tables)?;
        self.check_opener()?;
        Ok(route)
    }

    #[inline(always)]
    fn insert<T: Tables>(&self, tables: &T, source: Peer) -> Step<()> {
        let flow = self.flow;
        let from_outside = matches!(self.side, Side::Wan);
        let calls_client = from_outside || self.hairpin;
        let (called, called_side) = if calls_client {
            ((self.client.addr, self.client.port), Side::Lan)
        } else {
            (flow.dst, Side::Wan)
        };
        let mut halves = Halves {
            protocol: flow.protocol,
            tcp_flags: flow.flags,
            opener_side: self.side,
            called_side,
            opener: flow.src,
            opener_seen: if from_outside { flow.src } else { source },
            called,
            called_seen: flow.dst,
            flags: match (from_outside, self.hairpin) {
                (true, _) => control::OPENED_OUTSIDE,
                (false, true) => control::HAIRPIN,
                (false, false) => 0,
            },
            generation: self.settings.nat_generation,
            deadline: self.first_deadline(),
        };
        if calls_client {
            unfold(self.hold_called(tables, &mut halves))?;
        }
        halves.insert(tables)
    }

    /// Holds the port that is called for as long as the session lives at first, and binds the session
    /// to the port forward there. Tells the verdict when the port is not the client's any more, folded,
    /// else 0.
    #[inline(never)]
    fn hold_called<T: Tables>(&self, tables: &T, halves: &mut Halves) -> u64 {
        let flow = self.flow;
        // A UDP flow has no end but the lease; a TCP connection is ended by its own ends.
        if self.until > self.now && matches!(flow.protocol, Protocol::Udp) {
            halves.flags |= control::BOUND_TO_FORWARD;
            halves.generation = self.settings.forward_generation;
            if self.until < halves.deadline {
                halves.deadline = self.until;
            }
        }
        if self.hold_port(tables, halves.deadline) {
            0
        } else {
            fold(Err(Verdict::drop(Counter::DropUnmapped)))
        }
    }

    /// Holds the port that is called; `false` when it is not the client's.
    #[inline(never)]
    fn hold_port<T: Tables>(&self, tables: &T, until: BootTime) -> bool {
        let flow = self.flow;
        let Some(pool_index) = tables.external_index(flow.dst.0) else { return false };
        let index = slot_index(pool_index, flow.protocol, flow.dst.1.get());
        let Some(slot) = tables.slot(index) else { return false };
        slot.extend(self.now, self.client, until).is_ok()
            || wildcard::claim(tables, self.now, flow, (pool_index, &slot), self.client, until)
    }

    /// Whether an unsolicited packet to an external port may come in; notes to whom it goes, and until
    /// when.
    #[inline(always)]
    fn admit<T: Tables>(&mut self, tables: &T, pool_index: u32) -> Step<()> {
        let flow = self.flow;
        let port = flow.dst.1.get();
        let index = slot_index(pool_index, flow.protocol, port);
        let slot = tables.slot(index).ok_or(Verdict::drop(Counter::DropInternal))?;
        let state = slot.state(self.now);
        if let Some(admitted) = wildcard::admit(tables, self.now, flow, index, state)? {
            (self.client, self.until) = admitted;
            return Ok(());
        }
        // Ports outside the NAT's own range are the kernel's to give away, forwarded or not.
        let shared = !self.settings.ports.contains(port);
        let SlotState::Held { owner, leased } = state else {
            let local = shared
                || matches!(flow.protocol, Protocol::Icmp)
                || tables.local_socket(flow.protocol, flow.dst, flow.src);
            return Err(if local {
                Verdict::pass(Counter::PassLocal)
            } else {
                Verdict::drop(Counter::DropUnmapped)
            });
        };
        if shared && tables.local_socket(flow.protocol, flow.dst, flow.src) {
            return Err(Verdict::pass(Counter::PassLocal));
        }
        let admitted = if leased {
            self.until = lease(tables, index, &slot, owner, flow.src.0);
            self.until > self.now
        } else {
            // Endpoint-independent filtering (RFC 4787 REQ-8).
            owner.has(Owner::OPENED_INSIDE)
        };
        self.client = owner.endpoint();
        if admitted { Ok(()) } else { Err(Verdict::drop(Counter::DropFiltered)) }
    }

    #[inline(always)]
    fn route_to_client<T: Tables>(&self, tables: &T) -> Step<Route> {
        if self.client.addr.is_broadcast() && matches!(self.flow.protocol, Protocol::Udp) {
            return Ok(Route::new(Way::EveryLan));
        }
        route_to_lan(tables, self.flow.src.0, self.client.addr)
    }

    /// A session is not opened while disconnected, nor by a reset.
    #[inline(always)]
    fn check_opener(&self) -> Step<()> {
        if self.settings.connected == 0 {
            return Err(Verdict::drop(Counter::DropDisconnected));
        }
        if self.flow.flags & tcp::RST != 0 {
            return Err(Verdict::drop(Counter::DropNoSession));
        }
        Ok(())
    }

    #[inline(always)]
    fn first_deadline(&self) -> BootTime {
        let timeout = self.settings.timeout(self.flow.protocol, false);
        self.settings.deadline(self.now, timeout)
    }
}

/// The route of a packet from the LAN, if it leads to the WAN; else the kernel gets the packet.
///
/// # Errors
/// The verdict that says so.
#[inline(always)]
pub fn route_to_wan<T: Tables>(tables: &T, src: NetAddr, dst: NetAddr) -> Step<Route> {
    let route = tables.route(src, dst);
    if route.is_link() {
        return match tables.link(route.link()) {
            Some(link) if matches!(link.side(), Side::Wan) => Ok(route),
            _ => Err(Verdict::pass(Counter::PassOtherRoute)),
        };
    }
    Err(Verdict::pass(match route.decode() {
        Way::Local => Counter::PassLocal,
        Way::None => Counter::PassNoRoute,
        _ => Counter::PassOtherRoute,
    }))
}

/// The route to an internal client.
///
/// # Errors
/// The verdict on its packets when no LAN link leads there.
#[inline(always)]
pub fn route_to_lan<T: Tables>(tables: &T, src: NetAddr, dst: NetAddr) -> Step<Route> {
    let route = tables.route(src, dst);
    let link = if route.is_link() { tables.link(route.link()) } else { None };
    match link {
        Some(link) if matches!(link.side(), Side::Lan) => Ok(route),
        _ => Err(Verdict::drop(Counter::DropNoRoute)),
    }
}

/// What becomes of a packet from the WAN that is for none of our addresses: it does not get into the
/// LAN past the NAT.
#[inline(always)]
pub fn not_ours<T: Tables>(tables: &T, src: NetAddr, dst: NetAddr) -> Verdict {
    match route_to_lan(tables, src, dst) {
        Ok(_) => Verdict::drop(Counter::DropUnmapped),
        Err(_) => Verdict::pass(Counter::PassOtherRoute),
    }
}
