//! Where packets lead for which there is no session, by the kernel's routes.

use crate::tables::Tables;
use crate::verdict::{Route, Step, Verdict, Way};
use nat_common::session::Side;
use nat_common::{Counter, NetAddr};

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
