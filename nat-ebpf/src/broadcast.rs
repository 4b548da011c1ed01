//! Port forwards to 255.255.255.255: UDP that is delivered to everybody in every LAN
//! (WANIPConnection:2, section 2.3.21), to wake hosts for instance.
//!
//! There is no session. A host that answers does so as itself, by a flow of its own.

use crate::checksum::Delta;
use crate::frame::Frame;
use crate::next_hop;
use crate::open::Opening;
use crate::parse::Ip;
use crate::rewrite;
use crate::tables::Tables;
use crate::verdict::Verdict;
use nat_common::atomic::Word64;
use nat_common::session::Session;
use nat_common::{Counter, NetAddr, Protocol};

/// Translates a packet for such a forward. `source` is what the request of
/// [`Opening::source_request`] was answered.
///
/// Not inlined: see [`crate::open`].
#[inline(never)]
pub fn deliver<F: Frame, T: Tables>(
    frame: &mut F,
    tables: &T,
    ip: &Ip,
    opening: &Opening<'_>,
    source: u64,
) -> Verdict {
    if ip.ttl <= 1 {
        return Verdict::drop(Counter::DropTtl);
    }
    let flow = opening.flow();
    let src = opening.seen_as(source);
    let dst = (NetAddr::BROADCAST, opening.client().port);
    let addresses = Delta::default().words(flow.src.0.0, src.0.0).words(flow.dst.0.0, dst.0.0);
    let translation = Session {
        deadline: Word64::new(0),
        hop: Word64::new(0),
        control: Word64::new(0),
        new_src: src.0,
        new_dst: dst.0,
        new_src_port: src.1,
        new_dst_port: dst.1,
        ip_delta: addresses.ttl().fold(),
        l4_delta: addresses.word(flow.src.1.0, src.1.0).word(flow.dst.1.0, dst.1.0).fold(),
    };
    if rewrite::translate(frame, ip, Protocol::Udp, &translation).is_none() {
        return Verdict::drop(Counter::DropMalformed);
    }
    next_hop::count(tables, opening.is_hairpin(), false, ip.total_len);
    Verdict::broadcast()
}
