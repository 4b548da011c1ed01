//! Fragments: the first one of a packet has its ports, and the others follow it (RFC 4787 REQ-14).
//!
//! A first fragment that is translated, or left to the kernel, leaves a note of what became of it. Those
//! that come later find the note, and with it the session, or the kernel. One that comes before the
//! first cannot be decided upon: the daemon keeps it, and sends it through here again when the first
//! has come. The notes are bounded, oldest out first, and only sessions and the router's own
//! addresses leave any, so that nobody fills them from outside with packets that are let in nowhere.

use crate::open::{not_ours, route_to_wan};
use crate::parse::{Flow, Ip};
use crate::tables::{InsertError, Tables};
use crate::verdict::{Step, Verdict, fold};
use nat_common::fragments::{FragmentEntry, FragmentKey, Whole};
use nat_common::maps::NOT_IN_POOL;
use nat_common::session::Side;
use nat_common::{BootTime, Counter, NetPort};

/// The ports of the packet to which a later fragment belongs, for [`ports`] to unpack; or the verdict
/// on it, folded.
///
/// Not inlined: see [`crate::open`].
#[inline(never)]
pub fn later<T: Tables>(tables: &T, ip: &Ip, side: Side) -> u64 {
    fold(find(tables, ip, side))
}

/// Source and destination port from what [`later`] returned.
#[inline(always)]
pub const fn ports(word: u64) -> (NetPort, NetPort) {
    (NetPort((word >> 16) as u16), NetPort(word as u16))
}

/// The ports of the packet to which a later fragment belongs, if the first one has come.
#[inline(always)]
pub fn noted<T: Tables>(tables: &T, ip: &Ip, side: Side) -> Option<(NetPort, NetPort)> {
    match tables.fragment(&ip.fragment_key(side), tables.now()) {
        Some(Whole::Flow { src_port, dst_port }) => Some((src_port, dst_port)),
        _ => None,
    }
}

/// Notes what becomes of a packet whose first fragment this is.
///
/// Not inlined: see [`crate::open`].
#[inline(never)]
pub fn first<T: Tables>(tables: &T, ip: &Ip, side: Side, flow: Option<&Flow>) {
    let now = tables.now();
    let key = ip.fragment_key(side);
    let awaited = tables.fragment(&key, now) == Some(Whole::Awaited);
    let whole = match flow {
        Some(flow) => Whole::Flow { src_port: flow.src.1, dst_port: flow.dst.1 },
        None => Whole::Local,
    };
    // The oldest goes when there is no room, so this does not fail.
    let _ = tables.set_fragment(&key, FragmentEntry::new(now, whole));
    if awaited {
        tables.release_fragments(&key, flow.is_none());
    }
}

#[inline(always)]
fn find<T: Tables>(tables: &T, ip: &Ip, side: Side) -> Step<u64> {
    let now = tables.now();
    let key = ip.fragment_key(side);
    if let Some(known) = known(tables, &key, now)? {
        return Ok(known);
    }
    let for_router = is_for_router(tables, ip, side)?;
    match tables.await_fragment(&key, FragmentEntry::new(now, Whole::Awaited)) {
        // The first one has come meanwhile, on another CPU.
        Err(InsertError::Exists) => match known(tables, &key, now)? {
            Some(known) => Ok(known),
            None => Err(Verdict::keep(for_router)),
        },
        _ => Err(Verdict::keep(for_router)),
    }
}

/// The ports that the note tells, if there is one.
///
/// # Errors
/// The verdict when the fragment is the kernel's.
#[inline(always)]
fn known<T: Tables>(tables: &T, key: &FragmentKey, now: BootTime) -> Step<Option<u64>> {
    match tables.fragment(key, now) {
        Some(Whole::Flow { src_port, dst_port }) => {
            Ok(Some(u64::from(src_port.0) << 16 | u64::from(dst_port.0)))
        }
        Some(Whole::Local) => Err(Verdict::pass(Counter::PassLocal)),
        Some(Whole::Awaited) | None => Ok(None),
    }
}

/// Whether the kernel may be meant by a fragment of which nothing is known: then it gets it at once,
/// for its own reassembly, also if a copy is kept.
///
/// # Errors
/// The verdict when it does not cross the NAT.
#[inline(always)]
fn is_for_router<T: Tables>(tables: &T, ip: &Ip, side: Side) -> Step<bool> {
    if ip.dst.is_multicast_or_reserved() {
        return Err(Verdict::pass(Counter::PassLocal));
    }
    match (tables.external_index(ip.dst), side) {
        (Some(NOT_IN_POOL), _) => Err(Verdict::pass(Counter::PassLocal)),
        (Some(_), _) => Ok(true),
        (None, Side::Wan) => Err(not_ours(tables, ip.src, ip.dst)),
        (None, Side::Lan) => route_to_wan(tables, ip.src, ip.dst).map(|_| false),
    }
}
