//! From fields to bytes.

use super::sum::{add, checksum, transport};
use super::{Body, Checksum, Packet, protocol};

impl Packet {
    /// The frame.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(self.dst_mac);
        frame.extend(self.src_mac);
        frame.extend([0x08, 0x00]);
        let body = self.body_bytes();
        frame.extend(self.header(body.len()));
        frame.extend(body);
        frame.extend(&self.padding);
        frame
    }

    /// The packet in fragments, cut before each of these bytes of what it carries: multiples of
    /// eight, growing. Their bodies are [`Body::Other`].
    pub fn fragments(&self, cuts: &[usize]) -> Vec<Self> {
        let bytes = self.body_bytes();
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([bytes.len()]);
        let piece = |(start, end): (usize, usize)| {
            let more = if end < bytes.len() { 0x2000 } else { 0 };
            let offset = u16::try_from(start / 8).unwrap_or_default();
            let bytes = bytes.get(start..end).unwrap_or_default().to_vec();
            let body = Body::Other { protocol: self.protocol(), bytes };
            Self { fragment: more | offset, body, padding: Vec::new(), ..self.clone() }
        };
        starts.zip(ends).map(piece).collect()
    }

    /// Length of the IP packet, bytes.
    pub fn ip_len(&self) -> usize {
        20 + self.options.len() + self.body_bytes().len()
    }

    fn header(&self, body_len: usize) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let words = u8::try_from(header_len / 4).unwrap_or(15);
        let total_len = u16::try_from(header_len + body_len).unwrap_or(u16::MAX);
        let mut header = vec![0x40 | words, self.tos];
        header.extend(total_len.to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol(), 0, 0]);
        header.extend(self.src.octets());
        header.extend(self.dst.octets());
        header.extend(&self.options);
        let sum = checksum(&header);
        put(&mut header, 10, sum);
        header
    }

    fn body_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match &self.body {
            Body::Udp { src, dst, checksum, payload } => {
                let len = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
                for word in [*src, *dst, len, 0] {
                    bytes.extend(word.to_be_bytes());
                }
                bytes.extend(payload);
                let right = match transport(self.src, self.dst, protocol::UDP, &bytes) {
                    // 0 says that there is none (RFC 768).
                    0 => 0xffff,
                    right => right,
                };
                put(&mut bytes, 6, checksum.of(right));
            }
            Body::Tcp { src, dst, sequence, acknowledged, flags, options, checksum, payload } => {
                bytes.extend(src.to_be_bytes());
                bytes.extend(dst.to_be_bytes());
                bytes.extend(sequence.to_be_bytes());
                bytes.extend(acknowledged.to_be_bytes());
                let words = u8::try_from(5 + options.len() / 4).unwrap_or(15);
                bytes.extend([words << 4, *flags, 0xfa, 0xf0, 0, 0, 0, 0]);
                bytes.extend(options);
                bytes.extend(payload);
                let right = transport(self.src, self.dst, protocol::TCP, &bytes);
                put(&mut bytes, 16, checksum.of(right));
            }
            Body::Icmp { kind, code, id, sequence, checksum: wanted, payload } => {
                bytes.extend([*kind, *code, 0, 0]);
                bytes.extend(id.to_be_bytes());
                bytes.extend(sequence.to_be_bytes());
                bytes.extend(payload);
                let right = checksum(&bytes);
                put(&mut bytes, 2, wanted.of(right));
            }
            Body::Other { bytes: other, .. } => bytes.extend(other),
        }
        bytes
    }
}

impl Checksum {
    fn of(self, right: u16) -> u16 {
        match self {
            Self::Right => right,
            Self::None => 0,
            Self::Off(by) => add(right, by),
        }
    }
}

fn put(bytes: &mut [u8], at: usize, word: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}
