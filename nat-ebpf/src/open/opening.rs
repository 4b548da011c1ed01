//! A flow that has no session yet: what is decided about it, from its packet and the tables.

use super::routes::{not_ours, route_to_lan, route_to_wan};
use crate::filter::{self, Pair};
use crate::halves::{Halves, Peer};
use crate::mapping;
use crate::parse::{Flow, tcp};
use crate::tables::{EndpointRequest, HoldRequest, Tables};
use crate::track::lease;
use crate::verdict::{Route, Step, Verdict, Way};
use crate::wildcard;
use nat_common::maps::NOT_IN_POOL;
use nat_common::ports::{Endpoint, Owner, SlotState, slot_index};
use nat_common::session::{ExternalEndpoint, Side, control};
use nat_common::settings::{Filtering, Settings};
use nat_common::{BootTime, Counter, NetAddr, NetPort, Protocol};

/// The first packet of a flow, for which there is no session yet.
pub struct Opening<'a> {
    pub(super) settings: &'a Settings,
    pub(super) now: BootTime,
    pub(super) flow: &'a Flow,
    pub(super) side: Side,
    /// Whether a LAN client calls another one.
    pub(super) hairpin: bool,
    /// The internal client that is called, from the WAN or by a hairpin.
    pub(super) client: Endpoint,
    /// Until when the port forward lets the caller in; `BootTime(0)`: it was not a forward.
    pub(super) until: BootTime,
    /// Whether the session lives by that forward.
    pub(super) bound: bool,
    /// The generation in which forwards are looked at.
    pub(super) forward_generation: u32,
}

impl<'a> Opening<'a> {
    /// For a packet of `flow` that came in on `side`.
    #[inline(always)]
    pub const fn new(settings: &'a Settings, now: BootTime, flow: &'a Flow, side: Side) -> Self {
        let client = Endpoint { addr: NetAddr::UNSPECIFIED, port: NetPort(0) };
        let forward_generation = settings.forward_generation;
        Self {
            settings,
            now: now.in_generation(forward_generation),
            flow,
            side,
            hairpin: false,
            client,
            until: BootTime(0),
            bound: false,
            forward_generation,
        }
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

impl Opening<'_> {
    #[inline(always)]
    pub(super) fn plan_outwards<T: Tables>(&mut self, tables: &T) -> Step<Route> {
        let flow = self.flow;
        if flow.is_answer() {
            return Err(unasked(tables, flow));
        }
        if flow.src.0.is_no_source() {
            return Err(Verdict::drop(Counter::DropMalformed));
        }
        if tables.external_index(flow.src.0).is_some() {
            return Err(Verdict::drop(Counter::DropSpoofed));
        }
        let route = match tables.external_index(flow.dst.0) {
            None => route_to_wan(tables, flow.src.0, flow.dst.0)?,
            Some(NOT_IN_POOL) => return Err(Verdict::pass(Counter::PassLocal)),
            // A LAN client calls another one by the external address (RFC 4787 REQ-9, RFC 5508 REQ-7).
            Some(pool_index) => {
                self.admit(tables, pool_index)?;
                self.hairpin = true;
                self.route_to_client(tables)?
            }
        };
        self.check_opener()?;
        Ok(route)
    }

    #[inline(always)]
    pub(super) fn plan_inwards<T: Tables>(&mut self, tables: &T) -> Step<Route> {
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
    pub(super) fn contact<T: Tables>(&self, tables: &T, source: Peer) -> Step<()> {
        let Opening { settings, now, flow, .. } = self;
        let endpoint_independent =
            matches!(settings.filtering(flow.protocol), Filtering::EndpointIndependent);
        if endpoint_independent || matches!(self.side, Side::Wan) {
            return Ok(());
        }
        let internal = Verdict::drop(Counter::DropInternal);
        let slot = |external: Peer| {
            let pool_index = tables.external_index(external.0)?;
            Some(slot_index(pool_index, flow.protocol, external.1.get()))
        };
        let mut pair = Pair {
            protocol: flow.protocol,
            hairpin: self.hairpin,
            slot: slot(source).ok_or(internal)?,
            client: Endpoint { addr: flow.src.0, port: flow.src.1 },
            remote: flow.dst,
        };
        filter::note(tables, settings, &pair, self.first_deadline());
        // Port forwards have asked for themselves.
        if !self.hairpin || self.until > BootTime(0) {
            return Ok(());
        }
        let is_query = self.is_hairpinned_query();
        pair.slot = slot((flow.dst.0, self.called_port())).ok_or(internal)?;
        pair.client = self.client;
        pair.remote = (source.0, if is_query { NetPort(0) } else { source.1 });
        if filter::lets_in(tables, settings, *now, &pair) {
            Ok(())
        } else if is_query {
            Err(Verdict::pass(Counter::PassLocal))
        } else {
            Err(Verdict::drop(Counter::DropFiltered))
        }
    }

    /// The session, of whose opener others see `source`.
    #[inline(always)]
    pub(super) fn halves(&self, source: Peer) -> Halves {
        let flow = self.flow;
        let from_outside = matches!(self.side, Side::Wan);
        let (called, called_side) = if self.is_hairpinned_query() {
            // In the answer the caller's identifier alone names the session.
            ((self.client.addr, NetPort(0)), Side::Lan)
        } else if self.calls_client() {
            ((self.client.addr, self.client.port), Side::Lan)
        } else {
            (flow.dst, Side::Wan)
        };
        let bound = if self.bound { control::BOUND_TO_FORWARD } else { 0 };
        let opened = match (from_outside, self.hairpin) {
            (true, _) => control::OPENED_OUTSIDE,
            (false, true) => control::HAIRPIN,
            (false, false) => 0,
        };
        Halves {
            protocol: flow.protocol,
            tcp_flags: flow.flags,
            opener_side: self.side,
            called_side,
            opener: flow.src,
            opener_seen: if from_outside { flow.src } else { source },
            called,
            called_seen: flow.dst,
            flags: opened | bound,
            generation: if self.bound {
                self.forward_generation
            } else {
                self.settings.nat_generation
            },
            deadline: self.deadline(),
        }
    }

    /// The internal client for which the session counts.
    #[inline(always)]
    pub(super) fn charged(&self) -> NetAddr {
        match self.side {
            Side::Lan => self.flow.src.0,
            Side::Wan => self.client.addr,
        }
    }

    /// Whether an internal client is called.
    #[inline(always)]
    pub(super) const fn calls_client(&self) -> bool {
        matches!(self.side, Side::Wan) || self.hairpin
    }

    /// When the session ends if nothing else comes.
    #[inline(always)]
    pub(super) fn deadline(&self) -> BootTime {
        let deadline = self.first_deadline();
        if self.bound && self.until < deadline { self.until } else { deadline }
    }

    #[inline(always)]
    pub(super) fn hold_called<T: Tables>(&mut self, tables: &T, source: Peer) -> Step<()> {
        if self.is_hairpinned_query() {
            if source.1 == NetPort(0) {
                return Err(Verdict::pass(Counter::PassLocal));
            }
            return Ok(());
        }
        if !self.calls_client() {
            return Ok(());
        }
        // A UDP flow has no end but the lease; a TCP connection is ended by its own ends.
        self.bound = self.until > self.now && matches!(self.flow.protocol, Protocol::Udp);
        if self.hold_port(tables, self.deadline()) {
            Ok(())
        } else {
            Err(Verdict::drop(Counter::DropUnmapped))
        }
    }

    /// Holds the port that is called; `false` when it is not the client's.
    #[inline(always)]
    pub(super) fn hold_port<T: Tables>(&self, tables: &T, until: BootTime) -> bool {
        let flow = self.flow;
        let Some(pool_index) = tables.external_index(flow.dst.0) else { return false };
        tables.hold_port(&HoldRequest {
            now: self.now,
            protocol: flow.protocol,
            called: ExternalEndpoint { port: flow.dst.1, pool_index: pool_index as u16 },
            client: self.client,
            remote: flow.src.0,
            until,
        })
    }

    /// Whether an unsolicited packet to an external port may come in; notes to whom it goes, and until
    /// when.
    #[inline(always)]
    pub(super) fn admit<T: Tables>(&mut self, tables: &T, pool_index: u32) -> Step<()> {
        let flow = self.flow;
        let port = self.called_port().get();
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
        // A client's own identifier is no name of another: the router answers pings to its addresses.
        // Hosts that use one identifier for all their pings are many.
        let from_lan = matches!(self.side, Side::Lan);
        if from_lan && flow.is_query() && owner.endpoint().addr == flow.src.0 {
            return Err(Verdict::pass(Counter::PassLocal));
        }
        if shared && tables.local_socket(flow.protocol, flow.dst, flow.src) {
            return Err(Verdict::pass(Counter::PassLocal));
        }
        let admitted = if leased {
            self.until = lease(tables, index, &slot, owner, flow.src);
            self.until > self.now
        } else {
            // A caller from the LAN is asked for in `contact`, once it is known as whom it is seen.
            owner.has(Owner::OPENED_INSIDE)
                && (matches!(self.side, Side::Lan) || self.is_let_in(tables, index, owner))
        };
        self.client = owner.endpoint();
        if admitted { Ok(()) } else { Err(Verdict::drop(Counter::DropFiltered)) }
    }

    /// The external port that is called. A query has one identifier only, which is the called one's
    /// as well as the caller's.
    #[inline(always)]
    pub(super) fn called_port(&self) -> NetPort {
        if self.flow.is_query() { self.flow.src.1 } else { self.flow.dst.1 }
    }

    /// Whether a LAN client pings another one (RFC 5508 REQ-7).
    #[inline(always)]
    pub(super) const fn is_hairpinned_query(&self) -> bool {
        self.hairpin && matches!(self.flow.protocol, Protocol::Icmp)
    }

    /// Whether the filtering of the owner of a slot lets a caller from outside in.
    #[inline(always)]
    pub(super) fn is_let_in<T: Tables>(&self, tables: &T, slot: u32, owner: Owner) -> bool {
        let Flow { protocol, src: remote, .. } = *self.flow;
        let pair = Pair { protocol, hairpin: false, slot, client: owner.endpoint(), remote };
        filter::lets_in(tables, self.settings, self.now, &pair)
    }

    #[inline(always)]
    pub(super) fn route_to_client<T: Tables>(&self, tables: &T) -> Step<Route> {
        if self.client.addr.is_broadcast() && matches!(self.flow.protocol, Protocol::Udp) {
            return Ok(Route::new(Way::EveryLan));
        }
        route_to_lan(tables, self.flow.src.0, self.client.addr)
    }

    /// A session is not opened while disconnected, nor by a reset.
    #[inline(always)]
    pub(super) fn check_opener(&self) -> Step<()> {
        if self.settings.connected == 0 {
            return Err(Verdict::drop(Counter::DropDisconnected));
        }
        if self.flow.flags & tcp::RST != 0 {
            return Err(Verdict::drop(Counter::DropNoSession));
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn first_deadline(&self) -> BootTime {
        let timeout = self.settings.timeout(self.flow.protocol, false);
        self.settings.deadline(self.now, timeout)
    }
}

/// What becomes of a LAN client's answer to a ping that nobody has sent by way of the NAT.
#[inline(always)]
fn unasked<T: Tables>(tables: &T, flow: &Flow) -> Verdict {
    if tables.external_index(flow.dst.0).is_some() {
        return Verdict::pass(Counter::PassLocal);
    }
    match route_to_wan(tables, flow.src.0, flow.dst.0) {
        Err(verdict) => verdict,
        Ok(_) => Verdict::drop(Counter::DropIcmp),
    }
}
