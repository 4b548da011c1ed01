//! What a port mapping is, and what a client says when it asks for one.

use crate::wire::pcp::Nonce;
use nat_common::{BootTime, Protocol};
use smol_str::SmolStr;
use std::cmp::Ordering;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

/// What makes a mapping unique: (RemoteHost, ExternalPort, PortMappingProtocol), WANIPConnection:2
/// section 2.5.15. Ordered by protocol, port and remote host, wildcard first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MappingKey {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// External port, host byte order; 0 is the wildcard, every port that is not otherwise mapped.
    pub external_port: u16,
    /// The only remote host that is let in; `None` lets in every one.
    pub remote: Option<Ipv4Addr>,
}

impl MappingKey {
    /// All possible keys of the ports in `ports`.
    pub(super) fn span(protocol: Protocol, ports: RangeInclusive<u16>) -> RangeInclusive<Self> {
        let (first, last) = ports.into_inner();
        Self { protocol, external_port: first, remote: None }..=Self {
            protocol,
            external_port: last,
            remote: Some(Ipv4Addr::BROADCAST),
        }
    }

    /// Whether two keys stand for the same external port.
    pub fn same_port(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.external_port == other.external_port
    }
}

impl Ord for MappingKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |key: &Self| (key.protocol as u8, key.external_port, key.remote);
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for MappingKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By which protocol a mapping was made, and what that protocol keeps with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// By UPnP, or by the operator.
    #[default]
    Upnp,
    /// By NAT-PMP.
    NatPmp,
    /// By PCP, with the nonce that proves who has made it (RFC 6887 11.1).
    Pcp(Nonce),
    /// It was found in the packet path, and nobody remembers.
    Unknown,
}

/// Some of the remote hosts and ports: those that a mapping with filters lets in (RFC 6887 13.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteFilter {
    /// The network, whose bits after the prefix are zeros.
    pub network: Ipv4Addr,
    /// How many leading bits count.
    pub prefix: u8,
    /// The only port; 0: all of them.
    pub port: u16,
}

impl RemoteFilter {
    /// A filter of the network in which an address lies.
    pub fn new(address: Ipv4Addr, prefix: u8, port: u16) -> Self {
        let prefix = prefix.min(32);
        let network = Ipv4Addr::from_bits(address.to_bits() & Self::mask(prefix));
        Self { network, prefix, port }
    }

    /// The mask of a prefix.
    pub fn mask(prefix: u8) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
    }
}

impl fmt::Display for RemoteFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)?;
        if self.port == 0 { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// What a client asks for, by whichever protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingRequest {
    /// Identity; for [`super::PortMappingTable::add_any`] the port is a wish.
    pub key: MappingKey,
    /// Where packets go.
    pub internal: SocketAddrV4,
    /// A disabled mapping holds its port and is listed, but lets nothing in.
    pub enabled: bool,
    /// The client's own words.
    pub description: String,
    /// When the lease ends; [`BootTime::NEVER`] for a static mapping.
    pub deadline: BootTime,
    /// Who asks.
    pub origin: Origin,
    /// Whom it lets in of those that its key lets in; empty: all of them.
    pub filters: Vec<RemoteFilter>,
}

impl MappingRequest {
    /// Whether it is to stay until it is removed.
    pub fn is_static(&self) -> bool {
        self.deadline == BootTime::NEVER
    }
}

/// A mapping in the table. There may be as many as there are ports, so it is small: what only some have lies
/// outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// Identity.
    pub key: MappingKey,
    /// Where packets go.
    pub internal: SocketAddrV4,
    /// Whether it is in force.
    pub enabled: bool,
    /// The client's own words.
    pub description: SmolStr,
    /// When the lease ends; [`BootTime::NEVER`] for a static mapping.
    pub deadline: BootTime,
    /// `None` for the default.
    pub(super) terms: Option<Box<Terms>>,
    /// Place in the order of creation.
    pub(super) sequence: u64,
}

/// What mappings of PCP have, and few others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) origin: Origin,
    pub(super) filters: Vec<RemoteFilter>,
}

impl Terms {
    /// As a mapping holds them.
    pub(super) fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

impl PortMapping {
    pub(super) fn new(request: &MappingRequest, sequence: u64) -> Self {
        Self {
            key: request.key,
            internal: request.internal,
            enabled: request.enabled,
            description: SmolStr::new(&request.description),
            deadline: request.deadline,
            terms: Terms { origin: request.origin, filters: request.filters.clone() }.boxed(),
            sequence,
        }
    }

    /// Who has made it.
    pub fn origin(&self) -> Origin {
        self.terms.as_ref().map_or_else(Origin::default, |terms| terms.origin)
    }

    /// Whom it lets in of those that its key lets in; empty: all of them.
    pub fn filters(&self) -> &[RemoteFilter] {
        self.terms.as_ref().map_or(&[], |terms| &terms.filters)
    }

    /// Seconds of lease left, rounded up, so that a live lease never reads zero. A static mapping
    /// reads 0 (WANIPConnection:2 section 2.5.16.2).
    pub fn lease_left(&self, now: BootTime) -> u32 {
        if self.is_static() {
            return 0;
        }
        u32::try_from(self.deadline.secs_from(now)).unwrap_or(u32::MAX)
    }

    /// Whether it stays until it is removed.
    pub fn is_static(&self) -> bool {
        self.deadline == BootTime::NEVER
    }

    /// Whether both ports lie above the well-known ones: what an unauthorized control point may
    /// meet (WANIPConnection:2 section 2.5.14.3).
    pub fn is_unprivileged(&self) -> bool {
        self.key.external_port >= FIRST_UNPRIVILEGED && self.internal.port() >= FIRST_UNPRIVILEGED
    }
}

/// The first port above the well-known ones.
pub const FIRST_UNPRIVILEGED: u16 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of 60,000 mappings has to fit into little memory (docs/performance.md); the block that the
    /// heap gives for this many bytes has 80.
    #[test]
    fn a_mapping_is_small() {
        assert_eq!(size_of::<PortMapping>(), 64);
    }
}
