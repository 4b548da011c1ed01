//! From bytes to fields.

use super::sum::add;
use super::{Body, Checksum, Packet, protocol};
use std::net::Ipv4Addr;

/// Reads big-endian fields one after another.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn word(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn long(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }
}

impl Packet {
    /// Takes an IPv4 packet in an Ethernet frame apart. `None` when it is none, or cut off.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let mut read = Reader(frame);
        let (dst_mac, src_mac) = (read.array()?, read.array()?);
        if read.word()? != 0x0800 {
            return None;
        }
        let [version_and_len, tos] = read.array()?;
        let header_len = usize::from(version_and_len & 0x0f) * 4;
        let total_len = usize::from(read.word()?);
        let (id, fragment, [ttl, number]) = (read.word()?, read.word()?, read.array()?);
        let _checksum = read.word()?;
        let (src, dst) = (Ipv4Addr::from(read.array::<4>()?), Ipv4Addr::from(read.array::<4>()?));
        if version_and_len >> 4 != 4 {
            return None;
        }
        let options = read.bytes(header_len.checked_sub(20)?)?.to_vec();
        let segment = read.bytes(total_len.checked_sub(header_len)?)?;
        let body = match (fragment & 0x3fff, number) {
            (0, protocol::UDP) => udp(segment),
            (0, protocol::TCP) => tcp(segment),
            (0, protocol::ICMP) => icmp(segment),
            _ => None,
        };
        let body =
            body.unwrap_or_else(|| Body::Other { protocol: number, bytes: segment.to_vec() });
        let padding = read.rest();
        let mut packet =
            Self { dst_mac, src_mac, tos, id, fragment, ttl, src, dst, options, body, padding };
        packet.judge_checksum(segment);
        Some(packet)
    }

    /// Compares the checksum of the transport header with the right one.
    fn judge_checksum(&mut self, segment: &[u8]) {
        let at = match &self.body {
            Body::Udp { .. } => 6,
            Body::Tcp { .. } => 16,
            Body::Icmp { .. } => 2,
            Body::Other { .. } => return,
        };
        let field = |bytes: &[u8], at: usize| {
            bytes.get(at..at + 2).and_then(|field| field.try_into().ok()).map(u16::from_be_bytes)
        };
        let (Some(found), Some(right)) =
            (field(segment, at), field(&self.to_bytes(), 34 + self.options.len() + at))
        else {
            return;
        };
        let is_udp = matches!(&self.body, Body::Udp { .. });
        if let Body::Udp { checksum, .. }
        | Body::Tcp { checksum, .. }
        | Body::Icmp { checksum, .. } = &mut self.body
        {
            *checksum = match found {
                _ if found == right => Checksum::Right,
                0 if is_udp => Checksum::None,
                _ => Checksum::Off(add(found, !right)),
            };
        }
    }
}

fn udp(segment: &[u8]) -> Option<Body> {
    let mut read = Reader(segment);
    let (src, dst, len, _) = (read.word()?, read.word()?, read.word()?, read.word()?);
    if usize::from(len) != segment.len() {
        return None;
    }
    Some(Body::Udp { src, dst, checksum: Checksum::Right, payload: read.rest() })
}

fn tcp(segment: &[u8]) -> Option<Body> {
    let mut read = Reader(segment);
    let (src, dst, sequence, acknowledged) =
        (read.word()?, read.word()?, read.long()?, read.long()?);
    let [offset, flags, _, _, _, _, _, _] = read.array()?;
    let options = read.bytes((usize::from(offset >> 4) * 4).checked_sub(20)?)?.to_vec();
    let payload = read.rest();
    let checksum = Checksum::Right;
    Some(Body::Tcp { src, dst, sequence, acknowledged, flags, options, checksum, payload })
}

fn icmp(segment: &[u8]) -> Option<Body> {
    let mut read = Reader(segment);
    let (kind, code, _, id, sequence) =
        (read.byte()?, read.byte()?, read.word()?, read.word()?, read.word()?);
    Some(Body::Icmp { kind, code, id, sequence, checksum: Checksum::Right, payload: read.rest() })
}
