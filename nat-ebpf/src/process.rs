//! The whole way of a packet, from its bytes to its verdict.

use crate::broadcast;
use crate::fragments;
use crate::frame::Frame;
use crate::icmp_error;
use crate::mss;
use crate::next_hop;
use crate::open::{self, not_ours, route_to_wan};
use crate::parse::{self, Flow, Ip, NoFlow, NoIp, tcp};
use crate::rewrite;
use crate::tables::Tables;
use crate::track;
use crate::verdict::{Decision, Route, Step, Verdict, unfold};
use nat_common::session::{Session, SessionKey, Side, control};
use nat_common::settings::Settings;
use nat_common::{BootTime, Counter};

/// Processes a frame that came in on `side`: changes it in place, says what becomes of it, counts it.
#[inline(always)]
pub fn process<F: Frame, T: Tables>(frame: &mut F, tables: &T, side: Side) -> Verdict {
    let verdict = match decide(frame, tables, side) {
        Ok(verdict) | Err(verdict) => verdict,
    };
    if let Decision::Pass(counter) | Decision::Drop(counter) = verdict.decision() {
        tables.count_number(counter);
    }
    verdict
}

#[inline(always)]
fn decide<F: Frame, T: Tables>(frame: &mut F, tables: &T, side: Side) -> Step<Verdict> {
    let ip = match parse::ipv4(frame) {
        Ok(ip) => ip,
        Err(NoIp::NotIpv4) => return Err(Verdict::pass(Counter::PassNotIpv4)),
        Err(NoIp::Malformed) => return Err(Verdict::drop(Counter::DropMalformed)),
    };
    let flow = match parse::flow(frame, &ip, side) {
        Ok(flow) => flow,
        Err(NoFlow::LaterFragment) => {
            let (src_port, dst_port) =
                fragments::ports(unfold(fragments::later(tables, &ip, side))?);
            parse::flow_of_later(&ip, src_port, dst_port)
                .ok_or(Verdict::drop(Counter::DropProtocol))?
        }
        Err(why) => {
            if why == NoFlow::Icmp {
                icmp_error(frame, tables, &ip, side)?;
            }
            let verdict = without_flow(tables, &ip, side, why);
            note_if_local(tables, &ip, side, verdict);
            return Err(verdict);
        }
    };
    let settings = tables.settings().ok_or(Verdict::drop(Counter::DropInternal))?;
    let now = tables.now();
    let key = flow.key(side);
    let mut route = Route::UNKNOWN;
    let session = match tables.session(&key) {
        Some(session)
            if track::is_live(&session, settings, now)
                || track::revalidate(tables, settings, now, &key, &session) =>
        {
            session
        }
        _ => {
            route = open(frame, tables, settings, now, &ip, &flow, side)
                .inspect_err(|verdict| note_if_local(tables, &ip, side, *verdict))?;
            tables.session(&key).ok_or(Verdict::drop(Counter::DropInternal))?
        }
    };
    if ip.is_first_fragment() {
        fragments::first(tables, &ip, side, Some(&flow));
    }
    let packet = Packet { ip: &ip, flow: &flow, key: &key, settings, now };
    packet.forward(frame, tables, &session, route)
}

/// Opens a session for the first packet of a flow; tells the route of its packets.
#[inline(always)]
fn open<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    settings: &Settings,
    now: BootTime,
    ip: &Ip,
    flow: &Flow,
    side: Side,
) -> Step<Route> {
    open::check_station(frame, tables)?;
    let mut opening = open::Opening::new(settings, now, flow, side);
    let route = Route::from_word(unfold(open::plan(tables, &mut opening))?);
    if open::is_spoofed(tables, &opening) {
        return Err(Verdict::drop(Counter::DropSpoofed));
    }
    unfold(open::limit(tables, &opening, route.is_every_lan()))?;
    if let Side::Lan = side {
        open::hold_while_calling(tables, &opening, route)?;
    }
    let source = match opening.source_request() {
        Some(request) => unfold(tables.external_endpoint(&request))?,
        None => 0,
    };
    if route.is_every_lan() {
        return Err(broadcast::deliver(frame, tables, ip, &opening, source));
    }
    unfold(open::contact(tables, &opening, source))?;
    open::insert(tables, &mut opening, source)?;
    Ok(route)
}

/// Has the later fragments of a packet follow the first one to the router itself.
#[inline(always)]
fn note_if_local<T: Tables>(tables: &T, ip: &Ip, side: Side, verdict: Verdict) {
    if ip.is_first_fragment() && verdict == Verdict::pass(Counter::PassLocal) {
        fragments::first(tables, ip, side, None);
    }
}

/// Translates an ICMP error about a packet of a session. `Ok` when it is none.
#[inline(always)]
fn icmp_error<F: Frame, T: Tables>(frame: &mut F, tables: &T, ip: &Ip, side: Side) -> Step<()> {
    let route = Route::from_word(unfold(icmp_error::plan(frame, tables, ip, side))?);
    if route == Route::UNKNOWN {
        return Ok(());
    }
    if !icmp_error::translate(frame, tables, ip, side) {
        return Err(Verdict::drop(Counter::DropMalformed));
    }
    let link = tables.link(route.link()).ok_or(Verdict::drop(Counter::DropInternal))?;
    Err(next_hop::send(frame, tables, route, link)?)
}

/// A packet that has a session.
struct Packet<'a> {
    ip: &'a Ip,
    flow: &'a Flow,
    key: &'a SessionKey,
    settings: &'a Settings,
    now: BootTime,
}

impl Packet<'_> {
    /// Translates the packet and says where it goes. `route` is what opening the session has
    /// found, or [`Route::UNKNOWN`].
    #[inline(always)]
    fn forward<F: Frame, T: Tables>(
        &self,
        frame: &mut F,
        tables: &T,
        session: &Session,
        route: Route,
    ) -> Step<Verdict> {
        let word = session.control.get();
        let hairpin = word & control::HAIRPIN != 0;
        let outbound = matches!(self.key.side(), Side::Lan) && !hairpin;
        if self.settings.connected == 0 {
            return Err(Verdict::drop(Counter::DropDisconnected));
        }
        if self.ip.ttl <= 1 {
            return self.leave(frame, session, word, Counter::PassTtl, Counter::DropTtl);
        }
        let route = next_hop::of(tables, self.settings, session, outbound, self.flow.src.0, route)?;
        let link = tables.link(route.link()).ok_or(Verdict::drop(Counter::DropInternal))?;
        if self.ip.total_len > link.mtu {
            return self.leave(frame, session, word, Counter::PassTooBig, Counter::DropTooBig);
        }
        if self.flow.flags & tcp::SYN != 0
            && let Some(limit) = mss::limit(tables, self.settings, link)
        {
            let delta = tables.clamp_mss(frame, self.ip.payload, limit);
            mss::add_to_checksum(frame, self.ip.payload, delta)
                .ok_or(Verdict::drop(Counter::DropMalformed))?;
        }
        if !track::follow(tables, self.settings, self.now, self.key, session, self.flow) {
            return Err(Verdict::drop(Counter::DropNoSession));
        }
        rewrite::translate(frame, self.ip, self.flow.protocol, session)
            .ok_or(Verdict::drop(Counter::DropMalformed))?;
        next_hop::count(tables, hairpin, outbound, self.ip.total_len);
        next_hop::send(frame, tables, route, link)
    }

    /// Leaves a packet to the kernel, which answers it or sends it in fragments, so that all of that is
    /// about the packet that its sender knows. Towards the WAN it gets the packet as it came, and what
    /// it makes of it is translated on its way out ([`crate::egress`]). Towards the LAN it gets the
    /// packet translated. A hairpinned one would have the router's own source then, which the kernel
    /// takes from nobody.
    #[inline(always)]
    fn leave<F: Frame>(
        &self,
        frame: &mut F,
        session: &Session,
        word: u64,
        pass: Counter,
        drop: Counter,
    ) -> Step<Verdict> {
        if word & control::HAIRPIN != 0 {
            return Err(Verdict::drop(drop));
        }
        if word & control::TOWARDS_INSIDE != 0 {
            let translated = rewrite::translate(frame, self.ip, self.flow.protocol, session)
                .and_then(|()| rewrite::give_back_hop(frame));
            translated.ok_or(Verdict::drop(Counter::DropMalformed))?;
        }
        Err(Verdict::pass(pass))
    }
}

/// What becomes of an IPv4 packet that has no flow: nothing of the kind crosses the NAT.
#[inline(always)]
fn without_flow<T: Tables>(tables: &T, ip: &Ip, side: Side, why: NoFlow) -> Verdict {
    if ip.dst.is_multicast_or_reserved() || tables.external_index(ip.dst).is_some() {
        // For the router itself, which reassembles, answers and complains as it sees fit.
        return Verdict::pass(Counter::PassLocal);
    }
    if let Side::Wan = side {
        return not_ours(tables, ip.src, ip.dst);
    }
    match route_to_wan(tables, ip.src, ip.dst) {
        Err(verdict) => verdict,
        Ok(_) => Verdict::drop(match why {
            NoFlow::LaterFragment | NoFlow::Fragment => Counter::DropFragment,
            NoFlow::Protocol => Counter::DropProtocol,
            NoFlow::Icmp => Counter::DropIcmp,
            NoFlow::Malformed => Counter::DropMalformed,
        }),
    }
}
