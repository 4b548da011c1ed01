//! Frames built field by field and taken apart again, by the RFCs and not by the pipeline's code.
//!
//! [`Packet::parse`] takes apart everything that [`Packet::to_bytes`] builds, so a frame is right to
//! the last byte, checksums included, when building what was parsed yields it again.

mod build;
mod parse;
mod sum;

pub use sum::checksum;

use std::net::Ipv4Addr;

/// An address and a port.
pub type Peer = (Ipv4Addr, u16);

/// Numbers of IP protocols.
pub mod protocol {
    /// RFC 792.
    pub const ICMP: u8 = 1;
    /// RFC 9293.
    pub const TCP: u8 = 6;
    /// RFC 768.
    pub const UDP: u8 = 17;
}

/// TCP flags.
pub mod flags {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Opens.
    pub const SYN: u8 = 0x02;
    /// Aborts.
    pub const RST: u8 = 0x04;
    /// Acknowledges.
    pub const ACK: u8 = 0x10;
}

/// ICMP types.
pub mod icmp {
    /// Answer to a ping.
    pub const ECHO_REPLY: u8 = 0;
    /// Error (RFC 792).
    pub const UNREACHABLE: u8 = 3;
    /// A ping.
    pub const ECHO_REQUEST: u8 = 8;
    /// Error.
    pub const TIME_EXCEEDED: u8 = 11;
}

/// An IPv4 packet in an Ethernet frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Destination MAC address.
    pub dst_mac: [u8; 6],
    /// Source MAC address.
    pub src_mac: [u8; 6],
    /// Type of service.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset, as they stand in the header.
    pub fragment: u16,
    /// Hops left.
    pub ttl: u8,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// IP options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// What it carries.
    pub body: Body,
    /// Ethernet padding.
    pub padding: Vec<u8>,
}

/// What an IPv4 packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// UDP (RFC 768).
    Udp {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
        /// Its checksum.
        checksum: Checksum,
        /// Data.
        payload: Vec<u8>,
    },
    /// TCP (RFC 9293).
    Tcp {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledged: u32,
        /// Flags.
        flags: u8,
        /// Options, a multiple of four bytes.
        options: Vec<u8>,
        /// Its checksum.
        checksum: Checksum,
        /// Data.
        payload: Vec<u8>,
    },
    /// ICMP (RFC 792) with identifier and sequence number, as in a ping.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Identifier.
        id: u16,
        /// Sequence number.
        sequence: u16,
        /// Its checksum.
        checksum: Checksum,
        /// Data.
        payload: Vec<u8>,
    },
    /// Anything else.
    Other {
        /// Protocol number.
        protocol: u8,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// The checksum of a transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// As it must be.
    Right,
    /// Zero: UDP without checksum.
    None,
    /// Wrong: the right one and so much more, in one's complement.
    Off(u16),
}

impl Body {
    /// Whether its checksum is right, or it has none.
    pub fn has_right_checksum(&self) -> bool {
        match self {
            Self::Udp { checksum, .. }
            | Self::Tcp { checksum, .. }
            | Self::Icmp { checksum, .. } => !matches!(checksum, Checksum::Off(_)),
            Self::Other { .. } => true,
        }
    }
}

impl Packet {
    /// A packet with this body, between stations without MAC addresses.
    pub fn new(src: Ipv4Addr, dst: Ipv4Addr, body: Body) -> Self {
        Self {
            dst_mac: [0; 6],
            src_mac: [0; 6],
            tos: 0x10,
            id: 0x1d0f,
            // Don't fragment.
            fragment: 0x4000,
            ttl: 64,
            src,
            dst,
            options: Vec::new(),
            body,
            padding: Vec::new(),
        }
    }

    /// UDP.
    pub fn udp(src: Peer, dst: Peer) -> Self {
        let payload = b"odd".to_vec();
        let body = Body::Udp { src: src.1, dst: dst.1, checksum: Checksum::Right, payload };
        Self::new(src.0, dst.0, body)
    }

    /// TCP without data.
    pub fn tcp(src: Peer, dst: Peer, flags: u8) -> Self {
        let body = Body::Tcp {
            src: src.1,
            dst: dst.1,
            sequence: 0x0102_0304,
            acknowledged: 0x0506_0708,
            flags,
            options: Vec::new(),
            checksum: Checksum::Right,
            payload: Vec::new(),
        };
        Self::new(src.0, dst.0, body)
    }

    /// A ping with an identifier.
    pub fn ping(src: Peer, dst: Ipv4Addr) -> Self {
        Self::new(src.0, dst, Self::echo(icmp::ECHO_REQUEST, src.1))
    }

    /// The answer to one.
    pub fn pong(src: Ipv4Addr, dst: Peer) -> Self {
        Self::new(src, dst.0, Self::echo(icmp::ECHO_REPLY, dst.1))
    }

    fn echo(kind: u8, id: u16) -> Body {
        let payload = b"abcdefg".to_vec();
        Body::Icmp { kind, code: 0, id, sequence: 1, checksum: Checksum::Right, payload }
    }

    /// Anything else than UDP, TCP and ICMP.
    pub fn other(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8) -> Self {
        Self::new(src, dst, Body::Other { protocol, bytes: vec![0x5a; 32] })
    }

    /// An ICMP error about `quoted`, with the first `len` bytes of its IP packet.
    pub fn icmp_error(src: Ipv4Addr, dst: Ipv4Addr, kind: u8, quoted: &Self, len: usize) -> Self {
        let payload = quoted.to_bytes().into_iter().skip(14).take(len).collect();
        let checksum = Checksum::Right;
        let body = Body::Icmp { kind, code: 1, id: 0, sequence: 1400, checksum, payload };
        Self::new(src, dst, body)
    }

    /// Number of the protocol.
    pub fn protocol(&self) -> u8 {
        match &self.body {
            Body::Udp { .. } => protocol::UDP,
            Body::Tcp { .. } => protocol::TCP,
            Body::Icmp { .. } => protocol::ICMP,
            Body::Other { protocol, .. } => *protocol,
        }
    }

    /// Source address and port; of a ping its identifier.
    pub fn source(&self) -> Peer {
        let port = match &self.body {
            Body::Udp { src, .. } | Body::Tcp { src, .. } => *src,
            Body::Icmp { kind: icmp::ECHO_REQUEST, id, .. } => *id,
            _ => 0,
        };
        (self.src, port)
    }

    /// Destination address and port; of the answer to a ping its identifier.
    pub fn destination(&self) -> Peer {
        let port = match &self.body {
            Body::Udp { dst, .. } | Body::Tcp { dst, .. } => *dst,
            Body::Icmp { kind: icmp::ECHO_REPLY, id, .. } => *id,
            _ => 0,
        };
        (self.dst, port)
    }

    /// Changes what [`Self::source`] tells.
    pub fn set_source(&mut self, source: Peer) {
        self.src = source.0;
        match &mut self.body {
            Body::Udp { src, .. } | Body::Tcp { src, .. } => *src = source.1,
            Body::Icmp { kind: icmp::ECHO_REQUEST, id, .. } => *id = source.1,
            _ => {}
        }
    }

    /// Changes what [`Self::destination`] tells.
    pub fn set_destination(&mut self, destination: Peer) {
        self.dst = destination.0;
        match &mut self.body {
            Body::Udp { dst, .. } | Body::Tcp { dst, .. } => *dst = destination.1,
            Body::Icmp { kind: icmp::ECHO_REPLY, id, .. } => *id = destination.1,
            _ => {}
        }
    }
}
