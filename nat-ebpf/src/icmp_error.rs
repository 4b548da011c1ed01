//! ICMP errors: a report about a packet of a session, with that packet's beginning quoted in it
//! (RFC 5508 REQ-3 to REQ-6, RFC 5382 REQ-9).
//!
//! Whoever reports has seen the quoted packet on its side of the NAT. So the quotation, turned round,
//! names the session whose packets take the report's way; and the report is translated like one of
//! them, while the quotation becomes the packet that the receiver of the report once sent.
//!
//! A report neither prolongs nor ends anything (RFC 4787 REQ-12, RFC 5382 REQ-10).

use crate::checksum::{Delta, apply, apply_udp};
use crate::frame::{ETHERNET, Frame};
use crate::next_hop;
use crate::parse::{Ip, icmp};
use crate::tables::Tables;
use crate::track;
use crate::verdict::{Route, Step, Verdict, fold};
use nat_common::session::{Session, SessionKey, Side, control};
use nat_common::{Counter, NetAddr, NetPort, Protocol};

/// Length of the ICMP header before the quotation, bytes.
const HEADER: usize = 8;

/// A TCP header up to the end of its checksum, bytes.
const TCP_UP_TO_CHECKSUM: usize = 18;

/// The quoted packet.
struct Quotation {
    protocol: Protocol,
    src: (NetAddr, NetPort),
    dst: (NetAddr, NetPort),
    /// Offset of its IP header in the frame, bytes.
    ip: usize,
    /// Offset of its transport header.
    transport: usize,
    /// Where the report ends.
    end: usize,
}

/// The route that an ICMP error which came in on `side` takes, folded; or the verdict on it.
/// [`Route::UNKNOWN`] when it is no error about a packet of a session.
///
/// Not inlined, and apart from [`translate`], which comes next: see [`crate::open`].
#[inline(never)]
pub fn plan<F: Frame, T: Tables>(frame: &mut F, tables: &T, ip: &Ip, side: Side) -> u64 {
    fold(match quotation(frame, ip) {
        Some(quoted) => route(tables, ip, side, &quoted).map(Route::word),
        None => Ok(Route::UNKNOWN.word()),
    })
}

/// Translates an ICMP error that [`plan`] has found a route for; `false` when it is malformed.
#[inline(never)]
pub fn translate<F: Frame, T: Tables>(frame: &mut F, tables: &T, ip: &Ip, side: Side) -> bool {
    let Some(quoted) = quotation(frame, ip) else { return false };
    let Some(session) = tables.session(&quoted.key(side)) else { return false };
    let Some(changed) = rewrite_quotation(frame, &quoted, &session) else { return false };
    rewrite_report(frame, ip, side, &session, changed).is_some()
}

/// Has the kernel's own error about a packet that came in from the WAN, and that it got translated, quote
/// the packet that the receiver of the error has sent.
///
/// Not inlined: see [`crate::open`].
#[inline(never)]
pub fn restore<F: Frame, T: Tables>(frame: &mut F, tables: &T, ip: &Ip) -> bool {
    if Protocol::from_ip(ip.protocol) != Some(Protocol::Icmp) || ip.is_fragment() {
        return false;
    }
    let Some(quoted) = quotation(frame, ip) else { return false };
    let Some(session) = tables.session(&quoted.key(Side::Lan)) else { return false };
    let Some(changed) = rewrite_quotation(frame, &quoted, &session) else { return false };
    rewrite_checksum(frame, ip, changed).is_some()
}

impl Quotation {
    /// The key of the session whose packets take the report's way.
    #[inline(always)]
    fn key(&self, side: Side) -> SessionKey {
        SessionKey::new(side, self.protocol, self.dst, self.src)
    }
}

/// Reads the quotation of an ICMP error; `None` when there is none that names a flow.
#[inline(always)]
fn quotation<F: Frame>(frame: &mut F, ip: &Ip) -> Option<Quotation> {
    let end = ETHERNET + usize::from(ip.total_len);
    let [kind, _] = frame.view::<4>(ip.payload)?[0].to_ne_bytes();
    if !matches!(
        kind,
        icmp::UNREACHABLE | icmp::SOURCE_QUENCH | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM
    ) {
        return None;
    }
    let start = ip.payload + HEADER;
    let words = frame.view::<10>(start)?;
    let [version_and_length, _] = words[0].to_ne_bytes();
    let [_, number] = words[4].to_ne_bytes();
    let header = usize::from(version_and_length & 0x0f) * 4;
    // A later fragment has no ports.
    if version_and_length >> 4 != 4 || header < 20 || words[3] & 0x1fff_u16.to_be() != 0 {
        return None;
    }
    let protocol = Protocol::from_ip(number)?;
    let (src, dst) = (NetAddr([words[6], words[7]]), NetAddr([words[8], words[9]]));
    let transport = start + header;
    if transport + HEADER > end {
        return None;
    }
    let words = frame.view::<4>(transport)?;
    let (src_port, dst_port) = match protocol {
        Protocol::Icmp => match words[0].to_ne_bytes() {
            [icmp::ECHO_REQUEST, _] => (words[2], 0),
            [icmp::ECHO_REPLY, _] => (0, words[2]),
            _ => return None,
        },
        _ => (words[0], words[1]),
    };
    Some(Quotation {
        protocol,
        src: (src, NetPort(src_port)),
        dst: (dst, NetPort(dst_port)),
        ip: start,
        transport,
        end,
    })
}

/// The route of a report, if its session is known.
#[inline(always)]
fn route<T: Tables>(tables: &T, ip: &Ip, side: Side, quoted: &Quotation) -> Step<Route> {
    // A report goes to whom the quotation names as its sender, else it is no report.
    if ip.dst != quoted.src.0 {
        return Ok(Route::UNKNOWN);
    }
    let settings = tables.settings().ok_or(Verdict::drop(Counter::DropInternal))?;
    let Some(session) = tables.session(&quoted.key(side)) else { return Ok(Route::UNKNOWN) };
    if !track::is_live(&session, settings, tables.now()) {
        return Ok(Route::UNKNOWN);
    }
    if settings.connected == 0 {
        return Err(Verdict::drop(Counter::DropDisconnected));
    }
    if ip.ttl <= 1 {
        // No report about a report (RFC 1122 3.2.2).
        return Err(Verdict::drop(Counter::DropTtl));
    }
    let hairpin = session.control.get() & control::HAIRPIN != 0;
    let outbound = matches!(side, Side::Lan) && !hairpin;
    let route = next_hop::of(tables, settings, &session, outbound, ip.src, Route::UNKNOWN)?;
    let link = tables.link(route.link()).ok_or(Verdict::drop(Counter::DropInternal))?;
    if ip.total_len > link.mtu {
        return Err(Verdict::drop(Counter::DropTooBig));
    }
    next_hop::count(tables, hairpin, outbound, ip.total_len);
    tables.count(Counter::IcmpErrors, 1);
    Ok(route)
}

/// Turns the quotation into the packet that the receiver of the report has sent; tells how that changes
/// the report's checksum.
#[inline(always)]
fn rewrite_quotation<F: Frame>(
    frame: &mut F,
    quoted: &Quotation,
    session: &Session,
) -> Option<Delta> {
    let (src, src_port) = (session.new_dst, session.new_dst_port);
    let (dst, dst_port) = (session.new_src, session.new_src_port);
    let addresses = Delta::default().words(quoted.src.0.0, src.0).words(quoted.dst.0.0, dst.0);
    let ports = Delta::default().word(quoted.src.1.0, src_port.0).word(quoted.dst.1.0, dst_port.0);

    let words = frame.view::<10>(quoted.ip)?;
    let header = apply(words[5], addresses.fold());
    let mut changed = addresses.word(words[5], header);
    words[5] = header;
    [words[6], words[7]] = src.0;
    [words[8], words[9]] = dst.0;

    let all = addresses.and(ports).fold();
    match quoted.protocol {
        Protocol::Udp => {
            let words = frame.view::<4>(quoted.transport)?;
            [words[0], words[1]] = [src_port.0, dst_port.0];
            let checksum = apply_udp(words[3], all);
            changed = changed.word(words[3], checksum);
            words[3] = checksum;
        }
        Protocol::Icmp => {
            let words = frame.view::<4>(quoted.transport)?;
            words[2] = src_port.0 | dst_port.0;
            let checksum = apply(words[1], ports.fold());
            changed = changed.word(words[1], checksum);
            words[1] = checksum;
        }
        Protocol::Tcp => {
            let words = frame.view::<4>(quoted.transport)?;
            [words[0], words[1]] = [src_port.0, dst_port.0];
            // Routers quote eight bytes at least, which end before TCP's checksum.
            if quoted.transport + TCP_UP_TO_CHECKSUM <= quoted.end
                && let Some(words) = frame.view::<9>(quoted.transport)
            {
                let checksum = apply(words[8], all);
                changed = changed.word(words[8], checksum);
                words[8] = checksum;
            }
        }
    }
    Some(changed.and(ports))
}

/// Changes the report's checksum as its quotation has changed.
#[inline(always)]
fn rewrite_checksum<F: Frame>(frame: &mut F, ip: &Ip, changed: Delta) -> Option<()> {
    let words = frame.view::<4>(ip.payload)?;
    words[1] = apply(words[1], changed.fold());
    Some(())
}

/// Translates the report's own headers.
#[inline(always)]
fn rewrite_report<F: Frame>(
    frame: &mut F,
    ip: &Ip,
    side: Side,
    session: &Session,
    changed: Delta,
) -> Option<()> {
    rewrite_checksum(frame, ip, changed)?;
    let words = frame.view::<10>(ETHERNET)?;
    // Any router of the LAN may report; the WAN sees the external address.
    let src = match side {
        Side::Lan => session.new_src,
        Side::Wan => ip.src,
    };
    let delta = Delta::default().words(ip.src.0, src.0).words(ip.dst.0, session.new_dst.0).ttl();
    let [ttl, number] = words[4].to_ne_bytes();
    words[4] = u16::from_ne_bytes([ttl.wrapping_sub(1), number]);
    words[5] = apply(words[5], delta.fold());
    [words[6], words[7]] = src.0;
    [words[8], words[9]] = session.new_dst.0;
    Some(())
}
