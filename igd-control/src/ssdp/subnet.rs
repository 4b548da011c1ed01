//! Who lies in the interface's own network.

use std::net::Ipv4Addr;

/// An address of an interface, with the network that it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The interface's own address.
    pub address: Ipv4Addr,
    /// The network's mask.
    pub mask: Ipv4Addr,
}

impl Subnet {
    /// Whether `host` is a host of the network, other than the interface itself.
    pub fn reaches(&self, host: Ipv4Addr) -> bool {
        let mask = self.mask.to_bits();
        let same = host.to_bits() & mask == self.address.to_bits() & mask;
        // A network of two or one (/31, /32) has neither network nor broadcast address.
        let number = host.to_bits() & !mask;
        let reserved = !mask > 1 && (number == 0 || number == !mask);
        same && !reserved && host != self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_reaches_its_hosts_only() {
        let subnet = |address: [u8; 4], prefix: u32| Subnet {
            address: address.into(),
            mask: Ipv4Addr::from_bits(u32::MAX << (32 - prefix)),
        };
        let home = subnet([192, 168, 1, 1], 24);
        assert!(home.reaches([192, 168, 1, 254].into()));
        for stranger in [[192, 168, 2, 1], [192, 168, 1, 0], [192, 168, 1, 255], [192, 168, 1, 1]] {
            assert!(!home.reaches(stranger.into()), "{stranger:?}");
        }
        assert!(subnet([10, 0, 0, 0], 31).reaches([10, 0, 0, 1].into()));
        assert!(!subnet([10, 0, 0, 1], 32).reaches([10, 0, 0, 2].into()));
    }
}
