//! Where a translated packet goes next: as its session remembers, until routes change.

use crate::frame::Frame;
use crate::open::{route_to_lan, route_to_wan};
use crate::rewrite;
use crate::tables::Tables;
use crate::verdict::{Route, Step, Verdict, Way, word_mac};
use nat_common::link::Link;
use nat_common::session::{Session, control};
use nat_common::settings::Settings;
use nat_common::{Counter, NetAddr};

/// Where the MAC address stands in [`Session::hop`].
const HOP_MAC_SHIFT: u32 = 16;

/// The next hop of a session's packets. `src` is the packet's source before translation, which routing
/// rules may look at; `found` is the route, if it was just asked for, else [`Route::UNKNOWN`].
///
/// # Errors
/// The verdict on packets whose route does not lead out of the NAT's links on the right side.
#[inline(always)]
pub fn of<T: Tables>(
    tables: &T,
    settings: &Settings,
    session: &Session,
    outbound: bool,
    src: NetAddr,
    found: Route,
) -> Step<Route> {
    let hop = session.hop.get();
    if hop as u16 == settings.route_generation {
        let link = (session.control.get() >> control::LINK_SHIFT) as u8;
        return Ok(Route::new(Way::Link { link, mac: word_mac(hop >> HOP_MAC_SHIFT) }));
    }
    let route = if found != Route::UNKNOWN {
        found
    } else if outbound {
        route_to_wan(tables, src, session.new_dst)?
    } else {
        route_to_lan(tables, src, session.new_dst)?
    };
    // An unresolved one is asked for again.
    if route.is_resolved() {
        const LINK: u64 = control::LINK_MASK << control::LINK_SHIFT;
        let bits = u64::from(route.link()) << control::LINK_SHIFT;
        session.control.keep_bits(!LINK | bits);
        session.control.set_bits(bits);
        session.hop.set(route.mac() << HOP_MAC_SHIFT | u64::from(settings.route_generation));
    }
    Ok(route)
}

/// Counts a translated packet of `bytes` IP bytes.
#[inline(always)]
pub fn count<T: Tables>(tables: &T, hairpin: bool, outbound: bool, bytes: u16) {
    // The counters' places are constants in each branch, so the verifier sees them in bounds.
    if hairpin {
        tables.count_packet(Counter::HairpinPackets, Counter::HairpinBytes, bytes);
    } else if outbound {
        tables.count_packet(Counter::OutboundPackets, Counter::OutboundBytes, bytes);
    } else {
        tables.count_packet(Counter::InboundPackets, Counter::InboundBytes, bytes);
    }
}

/// Addresses a translated packet to its next hop, which the route's `link` leads to, or leaves that to
/// the kernel.
///
/// # Errors
/// The verdict when the frame is too short, which the parser has ruled out.
#[inline(always)]
pub fn send<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    route: Route,
    link: &Link,
) -> Step<Verdict> {
    if !route.is_resolved() {
        tables.count(Counter::SlowNeighbour, 1);
        return Ok(Verdict::resolve(route.link()));
    }
    rewrite::address(frame, word_mac(route.mac()), link.mac)
        .ok_or(Verdict::drop(Counter::DropMalformed))?;
    Ok(Verdict::send(route.link()))
}
