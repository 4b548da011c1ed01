//! The Internet checksum by its definition (RFC 1071).

use std::net::Ipv4Addr;

/// The checksum of these bytes: the complement of the one's complement sum of their 16-bit words.
pub fn checksum(bytes: &[u8]) -> u16 {
    !sum(bytes)
}

pub(super) fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| match pair {
        [high, low] => u16::from_be_bytes([*high, *low]),
        [high] => u16::from_be_bytes([*high, 0]),
        _ => 0,
    };
    bytes.chunks(2).map(word).fold(0, add)
}

/// The one's complement sum of two words.
pub(super) fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// The checksum of a TCP or UDP segment with its pseudo-header; the field itself must be 0.
pub(super) fn transport(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, segment: &[u8]) -> u16 {
    let len = u16::try_from(segment.len()).unwrap_or(u16::MAX);
    let pseudo = [sum(&src.octets()), sum(&dst.octets()), u16::from(protocol), len];
    !pseudo.into_iter().fold(sum(segment), add)
}
