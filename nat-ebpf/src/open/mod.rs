//! Opening a session for the first packet of a flow, or saying why there is none.
//!
//! It goes in five steps, which the packet's main function calls one after another rather than one
//! within the other, because all functions on the way share a stack of 512 bytes: [`plan`] decides
//! whether there will be a session and where it leads; [`limit`] asks what its client has already;
//! [`Tables::external_endpoint`] finds the external port for a packet from the LAN; [`contact`] notes to
//! whom it sends; [`insert`] makes the session.

mod opening;
mod routes;

pub use opening::Opening;
pub use routes::{not_ours, route_to_lan, route_to_wan};

use crate::frame::Frame;
use crate::halves::{ANSWERING, OPENING};
use crate::limits;
use crate::mapping;
use crate::tables::{HoldRequest, Tables};
use crate::verdict::{Route, Step, Verdict, Way, fold, unfold};
use crate::wildcard;
use nat_common::Counter;
use nat_common::session::Side;

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
    // Beside the generation, as all deadlines are: what ends in one second ends for every generation.
    let moment = opening.now.in_generation(0).plus_secs(1);
    if calls && !opening.hold_port(tables, moment) {
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
