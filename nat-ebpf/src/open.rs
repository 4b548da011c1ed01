//! Opening a session for the first packet of a flow, or saying why there is none.
//!
//! It goes in five steps, which the packet's main function calls one after another rather than one
//! within the other, because all functions on the way share a stack of 512 bytes: [`plan`] decides
//! whether there will be a session and where it leads; [`limit`] asks what its client has already;
//! [`Tables::external_endpoint`] finds the external port for a packet from the LAN; [`contact`] notes to
//! whom it sends; [`insert`] makes the session.

use crate::filter::{self, Pair};
use crate::frame::Frame;
use crate::halves::{ANSWERING, Halves, OPENING, Peer};
use crate::limits;
use crate::mapping;
use crate::parse::{Flow, tcp};
use crate::tables::{EndpointRequest, HoldRequest, Tables};
use crate::track::lease;
use crate::verdict::{Route, Step, Verdict, Way, fold, unfold};
use crate::wildcard;
use nat_common::maps::NOT_IN_POOL;
use nat_common::ports::{Endpoint, Owner, SlotState, slot_index};
use nat_common::session::{ExternalEndpoint, Side, control};
use nat_common::settings::{Filtering, Settings};
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
    /// Whether the session lives by that forward.
    bound: bool,
}

impl<'a> Opening<'a> {
    /// For a packet of `flow` that came in on `side`.
    #[inline(always)]
    pub const fn new(settings: &'a Settings, now: BootTime, flow: &'a Flow, side: Side) -> Self {
        let client = Endpoint { addr: NetAddr::UNSPECIFIED, port: NetPort(0) };
        Self { settings, now, flow, side, hairpin: false, client, until: BootTime(0), bound: false }
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

/// Holds the port that a LAN client calls, for a moment, lest the caller's own mapping take it by the
/// wildcard. Asked once [`plan`] has found who is called, and by which `route`.
///
/// # Errors
/// The verdict when the port is not the called one's any more.
#[inline(always)]
pub fn hold_while_calling<T: Tables>(tables: &T, opening: &Opening<'_>, route: Route) -> Step<()> {
    let calls = opening.hairpin && !opening.is_hairpinned_query() && !route.is_every_lan();
    if calls && !opening.hold_port(tables, opening.now.plus_secs(1)) {
        return Err(Verdict::drop(Counter::DropUnmapped));
    }
    Ok(())
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

/// Asks whether the client for which the session counts may have one more. What goes to every host of
/// the LANs makes no session, but its sender may need a port. Tells the verdict when it may not, folded,
/// else 0.
#[inline(never)]
pub fn limit<T: Tables>(tables: &T, opening: &Opening<'_>, to_every_lan: bool) -> u64 {
    let opens = matches!(opening.side, Side::Lan);
    let client = opening.charged();
    if to_every_lan {
        if opens && opening.settings.has_client_limits() {
            let _ = limits::meet(tables, client);
        }
        return 0;
    }
    fold(limits::admit(tables, opening.settings, opening.now, client, opens).map(|()| 0))
}

/// Counts the session for its client, before it is there: a sweep that sees it is to have it counted.
#[inline(never)]
fn count<T: Tables>(tables: &T, opening: &Opening<'_>, by: u64) {
    limits::count_session(tables, opening.settings, opening.charged(), by);
}

/// Notes to whom a LAN client sends, before there is a session, and also when there will be none: of
/// two clients that call each other, the second one to do so gets through. Then asks the filtering of
/// a LAN client that is called from the LAN: it sees the caller by the external endpoint `source`,
/// which was not known earlier. Tells the verdict when it is not let in, folded, else 0.
#[inline(never)]
pub fn contact<T: Tables>(tables: &T, opening: &Opening<'_>, source: u64) -> u64 {
    fold(opening.contact(tables, mapping::peer(source)).map(|()| 0))
}

/// Makes the session that was planned. `source` is what the request of [`Opening::source_request`] was
/// answered. The answering half comes first, so that an answer never comes too early.
///
/// # Errors
/// The verdict when the port is not the client's any more, or when there is no room; nothing is left
/// behind then.
#[inline(always)]
pub fn insert<T: Tables>(tables: &T, opening: &mut Opening<'_>, source: u64) -> Step<()> {
    unfold(hold_called(tables, opening, source))?;
    count(tables, opening, limits::ONE);
    if !insert_half::<ANSWERING, T>(tables, opening, source) {
        count(tables, opening, limits::NOT_ONE);
        return Err(Verdict::drop(Counter::DropTableFull));
    }
    if !insert_half::<OPENING, T>(tables, opening, source) {
        withdraw(tables, opening, source);
        count(tables, opening, limits::NOT_ONE);
        return Err(Verdict::drop(Counter::DropTableFull));
    }
    tables.count(Counter::SessionsCreated, 1);
    Ok(())
}

/// Inserts one half; `false` when there is no room.
#[inline(never)]
fn insert_half<const HALF: bool, T: Tables>(
    tables: &T,
    opening: &Opening<'_>,
    source: u64,
) -> bool {
    let (session, key) = opening.halves(mapping::peer(source)).half::<HALF>();
    tables.insert_session(&key, session).is_ok()
}

/// Removes the answering half.
#[inline(never)]
fn withdraw<T: Tables>(tables: &T, opening: &Opening<'_>, source: u64) {
    let (_, key) = opening.halves(mapping::peer(source)).half::<ANSWERING>();
    tables.remove_session(&key);
}

/// Holds the port that is called for as long as the session lives at first, and binds the session to
/// the port forward there. Tells the verdict when the port is not the client's any more, folded, else
/// 0.
#[inline(never)]
fn hold_called<T: Tables>(tables: &T, opening: &mut Opening<'_>, source: u64) -> u64 {
    fold(opening.hold_called(tables, mapping::peer(source)).map(|()| 0))
}

/// Holds a port for its client, or claims it where the wildcard leads there; `false` when it is
/// another's.
#[inline(always)]
pub fn hold_port<T: Tables>(tables: &T, request: &HoldRequest) -> bool {
    let Some(slot) = tables.slot(request.called.slot(request.protocol)) else { return false };
    slot.extend(request.now, request.client, request.until).is_ok()
        || wildcard::claim(tables, request, &slot)
}

impl Opening<'_> {
    #[inline(always)]
    fn plan_outwards<T: Tables>(&mut self, tables: &T) -> Step<Route> {
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
    fn contact<T: Tables>(&self, tables: &T, source: Peer) -> Step<()> {
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
    fn halves(&self, source: Peer) -> Halves {
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
                self.settings.forward_generation
            } else {
                self.settings.nat_generation
            },
            deadline: self.deadline(),
        }
    }

    /// The internal client for which the session counts.
    #[inline(always)]
    fn charged(&self) -> NetAddr {
        match self.side {
            Side::Lan => self.flow.src.0,
            Side::Wan => self.client.addr,
        }
    }

    /// Whether an internal client is called.
    #[inline(always)]
    const fn calls_client(&self) -> bool {
        matches!(self.side, Side::Wan) || self.hairpin
    }

    /// When the session ends if nothing else comes.
    #[inline(always)]
    fn deadline(&self) -> BootTime {
        let deadline = self.first_deadline();
        if self.bound && self.until < deadline { self.until } else { deadline }
    }

    #[inline(always)]
    fn hold_called<T: Tables>(&mut self, tables: &T, source: Peer) -> Step<()> {
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
    fn hold_port<T: Tables>(&self, tables: &T, until: BootTime) -> bool {
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
    fn admit<T: Tables>(&mut self, tables: &T, pool_index: u32) -> Step<()> {
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
            self.until = lease(tables, index, &slot, owner, flow.src.0);
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
    fn called_port(&self) -> NetPort {
        if self.flow.is_query() { self.flow.src.1 } else { self.flow.dst.1 }
    }

    /// Whether a LAN client pings another one (RFC 5508 REQ-7).
    #[inline(always)]
    const fn is_hairpinned_query(&self) -> bool {
        self.hairpin && matches!(self.flow.protocol, Protocol::Icmp)
    }

    /// Whether the filtering of the owner of a slot lets a caller from outside in.
    #[inline(always)]
    fn is_let_in<T: Tables>(&self, tables: &T, slot: u32, owner: Owner) -> bool {
        let Flow { protocol, src: remote, .. } = *self.flow;
        let pair = Pair { protocol, hairpin: false, slot, client: owner.endpoint(), remote };
        filter::lets_in(tables, self.settings, self.now, &pair)
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
