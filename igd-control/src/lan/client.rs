//! Whom a share of something limited belongs to.

use std::net::{IpAddr, Ipv4Addr};

/// A client, as limits count it. A host has as many IPv6 addresses as it likes, so those of one network
/// count together, and have a larger share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// An address.
    Host(Ipv4Addr),
    /// The upper half of addresses.
    Network(u64),
}

impl Client {
    /// Who `peer` counts as.
    pub const fn of(peer: IpAddr) -> Self {
        match peer {
            IpAddr::V4(host) => Self::Host(host),
            IpAddr::V6(host) => Self::Network((host.to_bits() >> 64) as u64),
        }
    }

    /// How much of `all` it may have, when one host may have `per_host`.
    pub fn share(self, per_host: usize, all: usize) -> usize {
        match self {
            Self::Host(_) => per_host,
            Self::Network(_) => per_host.max(all / 4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_many_ipv6_addresses_count_together() {
        let of = |address: &str| Client::of(address.parse().unwrap());
        assert_eq!(of("fe80::1"), of("fe80::2"));
        assert_ne!(of("fe80::1"), of("fd00::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!((of("192.0.2.1").share(8, 64), of("fd00::1").share(8, 64)), (8, 16));
    }
}
