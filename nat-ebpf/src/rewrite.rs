//! Changing the headers as a session says.

use crate::checksum;
use crate::frame::{ETHERNET, ETHERNET_WORDS, Frame};
use crate::parse::Ip;
use nat_common::Protocol;
use nat_common::session::Session;

/// Rewrites addresses, ports, TTL and checksums. A later fragment has addresses and TTL only.
///
/// `None` when the frame is too short, which the parser has ruled out.
#[inline(always)]
pub fn translate<F: Frame>(
    frame: &mut F,
    ip: &Ip,
    protocol: Protocol,
    session: &Session,
) -> Option<()> {
    if !ip.is_later_fragment() {
        transport(frame, ip.payload, protocol, session)?;
    }
    let words = frame.view::<10>(ETHERNET)?;
    let [ttl, number] = words[4].to_ne_bytes();
    words[4] = u16::from_ne_bytes([ttl.wrapping_sub(1), number]);
    words[5] = checksum::apply(words[5], session.ip_delta);
    [words[6], words[7]] = session.new_src.0;
    [words[8], words[9]] = session.new_dst.0;
    Some(())
}

/// Rewrites the transport header at the offset `payload`.
#[inline(always)]
fn transport<F: Frame>(
    frame: &mut F,
    payload: usize,
    protocol: Protocol,
    session: &Session,
) -> Option<()> {
    match protocol {
        Protocol::Tcp => {
            let words = frame.view::<10>(payload)?;
            words[0] = session.new_src_port.0;
            words[1] = session.new_dst_port.0;
            words[8] = checksum::apply(words[8], session.l4_delta);
        }
        Protocol::Udp => {
            let words = frame.view::<4>(payload)?;
            words[0] = session.new_src_port.0;
            words[1] = session.new_dst_port.0;
            words[3] = checksum::apply_udp(words[3], session.l4_delta);
        }
        Protocol::Icmp => {
            let words = frame.view::<4>(payload)?;
            // One of the two is 0: which one depends on the direction.
            words[2] = session.new_src_port.0 | session.new_dst_port.0;
            words[1] = checksum::apply(words[1], session.l4_delta);
        }
    }
    Some(())
}

/// Takes back what [`translate`] has taken from the TTL: the kernel counts the hop itself.
#[inline(always)]
pub fn give_back_hop<F: Frame>(frame: &mut F) -> Option<()> {
    let words = frame.view::<10>(ETHERNET)?;
    let [ttl, number] = words[4].to_ne_bytes();
    words[4] = u16::from_ne_bytes([ttl.wrapping_add(1), number]);
    words[5] = checksum::apply(words[5], 0x0100_u16.to_be());
    Some(())
}

/// Writes the MAC addresses.
#[inline(always)]
pub fn address<F: Frame>(frame: &mut F, dst: [u16; 3], src: [u16; 3]) -> Option<()> {
    let words = frame.view::<ETHERNET_WORDS>(0)?;
    [words[0], words[1], words[2]] = dst;
    [words[3], words[4], words[5]] = src;
    Some(())
}
