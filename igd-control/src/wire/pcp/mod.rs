//! PCP, the Port Control Protocol (RFC 6887): its messages, for the server's side and the client's.
//!
//! A request and its answer have the same layout. The server reads a [`Request`] and writes a
//! [`Response`], or an [`error_response`], which is a copy of what came, also where that could not be
//! read; the client writes the request and reads the response.

mod code;
mod option;
mod request;
mod response;

#[cfg(test)]
mod tests;

pub use code::ResultCode;
pub use option::{Filter, PcpOption};
pub use request::{Request, RequestError};
pub use response::{Payload, Response, ResponseError, error_response};

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The version of RFC 6887.
pub const VERSION: u8 = 2;
/// Where servers listen (section 19.1).
pub const SERVER_PORT: u16 = 5351;
/// Where clients listen for announcements (section 14.1.2).
pub const CLIENT_PORT: u16 = 5350;
/// The group of announcements: all hosts of the link (section 14.1.1).
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// Longest message (section 7).
pub const MAX_MESSAGE: usize = 1_100;
/// Length of the header of requests and responses (sections 7.1 and 7.2).
pub const HEADER: usize = 24;

/// The R bit: set in responses.
const RESPONSE: u8 = 0x80;
/// Lengths of what MAP and PEER have after the header (sections 11.1 and 12.1).
const MAP: usize = 36;
const PEER: usize = 56;

/// What a message is about (section 19.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// Whether the server has lost its state (section 14.1).
    Announce = 0,
    /// An external port for all who want to come in (section 11).
    Map = 1,
    /// An external port for one remote peer, to whom the client itself speaks (section 12).
    Peer = 2,
}

impl Opcode {
    /// The opcode of a number without the R bit; `None` for those that RFC 6887 does not have.
    pub const fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Announce),
            1 => Some(Self::Map),
            2 => Some(Self::Peer),
            _ => None,
        }
    }

    /// Length of what follows the header.
    const fn length(self) -> usize {
        match self {
            Self::Announce => 0,
            Self::Map => MAP,
            Self::Peer => PEER,
        }
    }
}

/// What proves that a request is of whoever has made a mapping (section 11.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub [u8; 12]);

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What MAP and PEER have in common. In a request the external endpoint is a wish, in a response it is
/// what was assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// The mapping's nonce.
    pub nonce: Nonce,
    /// The number of the upper-layer protocol; 0: all of them.
    pub protocol: u8,
    /// The internal port; 0: all of them.
    pub internal_port: u16,
    /// The external port; as a wish 0: whichever.
    pub external_port: u16,
    /// The external address; as a wish the unspecified one of either family: whichever of that family.
    pub external: IpAddr,
}

/// The remote end of PEER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RemotePeer {
    /// The remote port.
    pub port: u16,
    /// The remote address.
    pub address: IpAddr,
}

/// What an operation is about: what follows the header, without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// ANNOUNCE.
    Announce,
    /// MAP.
    Map(Mapping),
    /// PEER.
    Peer(Mapping, RemotePeer),
}

impl Operation {
    /// Its number.
    pub const fn opcode(&self) -> Opcode {
        match self {
            Self::Announce => Opcode::Announce,
            Self::Map(_) => Opcode::Map,
            Self::Peer(..) => Opcode::Peer,
        }
    }

    /// The mapping that MAP and PEER are about.
    pub const fn mapping(&self) -> Option<&Mapping> {
        match self {
            Self::Announce => None,
            Self::Map(mapping) | Self::Peer(mapping, _) => Some(mapping),
        }
    }

    fn write(&self, message: &mut Vec<u8>) {
        let (mapping, peer) = match self {
            Self::Announce => return,
            Self::Map(mapping) => (mapping, None),
            Self::Peer(mapping, peer) => (mapping, Some(peer)),
        };
        message.extend_from_slice(&mapping.nonce.0);
        message.extend_from_slice(&[mapping.protocol, 0, 0, 0]);
        message.extend_from_slice(&mapping.internal_port.to_be_bytes());
        message.extend_from_slice(&mapping.external_port.to_be_bytes());
        message.extend_from_slice(&address_bytes(mapping.external));
        if let Some(peer) = peer {
            message.extend_from_slice(&peer.port.to_be_bytes());
            message.extend_from_slice(&[0; 2]);
            message.extend_from_slice(&address_bytes(peer.address));
        }
    }

    /// Reads what follows the header; `None` when there is too little of it.
    fn read(opcode: Opcode, bytes: &mut Bytes<'_>) -> Option<Self> {
        if opcode == Opcode::Announce {
            return Some(Self::Announce);
        }
        let nonce = Nonce(bytes.array()?);
        let [protocol, ..] = bytes.array::<4>()?;
        let mapping = Mapping {
            nonce,
            protocol,
            internal_port: bytes.port()?,
            external_port: bytes.port()?,
            external: bytes.address()?,
        };
        if opcode == Opcode::Map {
            return Some(Self::Map(mapping));
        }
        let port = bytes.port()?;
        bytes.array::<2>()?;
        Some(Self::Peer(mapping, RemotePeer { port, address: bytes.address()? }))
    }
}

/// An address in a message: IPv4 as an IPv4-mapped IPv6 address (section 5).
fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Reads a message from its front.
#[derive(Clone, Copy, Debug)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn port(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn number(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn address(&mut self) -> Option<IpAddr> {
        let address = Ipv6Addr::from(self.array::<16>()?);
        Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
    }
}
