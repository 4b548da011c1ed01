//! What the kernel itself sends from the WAN: it never carries somebody else's source.
//!
//! Translated packets are redirected and do not come by here. What does is the router's own traffic,
//! and what the kernel forwards. The latter is meant to be of three kinds only: the fragments of a
//! packet over the WAN's MTU, which the kernel makes of the untranslated packet (RFC 4787 REQ-13); they
//! are translated here. Its ICMP errors about packets that XDP has translated and left to it, whose
//! quotation must name what their receiver has sent (RFC 5508 REQ-3); it is restored here. And what its
//! other interfaces forward with an address of the WAN as the source. Everything else is stopped.

use crate::fragments;
use crate::frame::{ETHERNET, Frame};
use crate::icmp_error;
use crate::parse::{self, Flow, Ip, NoFlow, NoIp};
use crate::rewrite;
use crate::tables::Tables;
use crate::track;
use nat_common::session::{Side, control};
use nat_common::{Counter, NetAddr};

/// How much of a frame may be looked at, bytes: the headers, and those of a quoted packet.
pub const REACH: usize = ETHERNET + 60 + 8 + 60 + 20;

/// Whether a frame may leave by the WAN, after a change perhaps. Counts what may not.
///
/// An unspecified source is the router asking for an address (DHCP).
#[inline(always)]
pub fn may_leave<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> bool {
    let ip = match parse::ipv4(frame) {
        Ok(ip) => ip,
        Err(NoIp::NotIpv4) => return true,
        Err(NoIp::Malformed) => return leaves_malformed(frame, tables),
    };
    if is_own(tables, ip.src) {
        // About a packet that came in translated, perhaps.
        let _ = icmp_error::restore(frame, tables, &ip);
        return true;
    }
    if translate(frame, tables, &ip).is_some() {
        tables.count(Counter::EgressPackets, 1);
        return true;
    }
    tables.count(Counter::DropLeak, 1);
    false
}

/// Whether an address is the router's on the WAN, or none.
#[inline(always)]
fn is_own<T: Tables>(tables: &T, src: NetAddr) -> bool {
    src.is_unspecified() || tables.external_index(src).is_some()
}

/// The router may send what it likes, as long as it is its own.
#[inline(always)]
fn leaves_malformed<F: Frame, T: Tables>(frame: &mut F, tables: &T) -> bool {
    if let Some(words) = frame.view::<2>(ETHERNET + 12)
        && is_own(tables, NetAddr(*words))
    {
        return true;
    }
    tables.count(Counter::DropLeak, 1);
    false
}

/// Translates a packet that the kernel forwards, if it has a session. Its hops are counted already.
#[inline(always)]
fn translate<F: Frame, T: Tables>(frame: &mut F, tables: &T, ip: &Ip) -> Option<()> {
    let flow = flow(frame, tables, ip)?;
    let settings = tables.settings()?;
    let session = tables.session(&flow.key(Side::Lan))?;
    let outwards = session.control.get() & control::HAIRPIN == 0;
    if !outwards || settings.connected == 0 || !track::is_live(&session, settings, tables.now()) {
        return None;
    }
    if ip.is_first_fragment() {
        fragments::first(tables, ip, Side::Lan, Some(&flow));
    }
    rewrite::translate(frame, ip, flow.protocol, &session)?;
    rewrite::give_back_hop(frame)
}

#[inline(always)]
fn flow<F: Frame, T: Tables>(frame: &mut F, tables: &T, ip: &Ip) -> Option<Flow> {
    match parse::flow(frame, ip, Side::Lan) {
        Ok(flow) => Some(flow),
        Err(NoFlow::LaterFragment) => {
            let (src_port, dst_port) = fragments::noted(tables, ip, Side::Lan)?;
            parse::flow_of_later(ip, src_port, dst_port)
        }
        Err(_) => None,
    }
}
