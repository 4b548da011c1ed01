//! Who lies in the interface's own network.

use std::net::IpAddr;

/// An address of an interface, with the length of the prefix of the network that it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    /// The interface's own address.
    pub address: IpAddr,
    /// How many leading bits all hosts of the network share.
    pub prefix: u8,
}

impl Subnet {
    /// Whether `host` is a host of the network, other than the interface itself.
    pub fn reaches(&self, host: IpAddr) -> bool {
        let (own, other, width) = match (self.address, host) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u128::from(own.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let free = width - u32::from(self.prefix).min(width);
        let hosts = 1_u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
        let number = other & hosts;
        // A network of two or one has neither network nor broadcast address; IPv6 has no broadcast, but
        // there 0 is any router's (RFC 4291 2.6.1).
        let reserved = match host {
            IpAddr::V4(_) => hosts > 1 && (number == 0 || number == hosts),
            IpAddr::V6(_) => hosts > 1 && number == 0,
        };
        own & !hosts == other & !hosts && !reserved && own != other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(address: &str, prefix: u8) -> Subnet {
        Subnet { address: address.parse().unwrap(), prefix }
    }

    #[test]
    fn a_subnet_reaches_its_hosts_only() {
        let home = subnet("192.168.1.1", 24);
        assert!(home.reaches("192.168.1.254".parse().unwrap()));
        for stranger in
            ["192.168.2.1", "192.168.1.0", "192.168.1.255", "192.168.1.1", "::ffff:192.168.1.9"]
        {
            assert!(!home.reaches(stranger.parse().unwrap()), "{stranger}");
        }
        assert!(subnet("10.0.0.0", 31).reaches("10.0.0.1".parse().unwrap()));
        assert!(!subnet("10.0.0.1", 32).reaches("10.0.0.2".parse().unwrap()));
        assert!(subnet("10.0.0.1", 0).reaches("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_subnet_of_ipv6_reaches_its_hosts_only() {
        let link = subnet("fe80::1", 64);
        assert!(link.reaches("fe80::2".parse().unwrap()));
        assert!(link.reaches("fe80::ffff:ffff:ffff:ffff".parse().unwrap()));
        for stranger in ["fe80:1::2", "fd00::2", "fe80::1", "fe80::", "192.168.1.2", "::1"] {
            assert!(!link.reaches(stranger.parse().unwrap()), "{stranger}");
        }
        assert!(!subnet("fd00::1", 128).reaches("fd00::2".parse().unwrap()));
    }
}
