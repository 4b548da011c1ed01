//! IPv4 addresses and ports as they stand in a packet: network byte order, two-byte alignment.

/// An IPv4 address in network byte order, as two words, since an IP header in an Ethernet frame is
/// aligned to two bytes only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(transparent)]
pub struct NetAddr(pub [u16; 2]);

impl NetAddr {
    /// 0.0.0.0, which also stands for "any remote host".
    pub const UNSPECIFIED: Self = Self([0, 0]);

    /// 255.255.255.255: everybody on a link.
    pub const BROADCAST: Self = Self([0xffff, 0xffff]);

    /// From the four octets, most significant first.
    #[inline(always)]
    pub const fn from_octets(octets: [u8; 4]) -> Self {
        Self([
            u16::from_ne_bytes([octets[0], octets[1]]),
            u16::from_ne_bytes([octets[2], octets[3]]),
        ])
    }

    /// The four octets, most significant first.
    #[inline(always)]
    pub const fn octets(self) -> [u8; 4] {
        let high = self.0[0].to_ne_bytes();
        let low = self.0[1].to_ne_bytes();
        [high[0], high[1], low[0], low[1]]
    }

    /// The address as the kernel holds it (`__be32`): the four bytes in memory order.
    #[inline(always)]
    pub const fn to_be32(self) -> u32 {
        u32::from_ne_bytes(self.octets())
    }

    /// The reverse of [`Self::to_be32`].
    #[inline(always)]
    pub const fn from_be32(value: u32) -> Self {
        Self::from_octets(value.to_ne_bytes())
    }

    /// Multicast (224.0.0.0/4), reserved (240.0.0.0/4) or limited broadcast: never routed.
    #[inline(always)]
    pub const fn is_multicast_or_reserved(self) -> bool {
        self.octets()[0] >= 224
    }

    /// What no packet that is routed may have as its source (RFC 1812 5.3.7): unspecified, loopback,
    /// multicast, reserved.
    #[inline(always)]
    pub const fn is_no_source(self) -> bool {
        let first = self.octets()[0];
        first == 0 || first == 127 || first >= 224
    }

    /// 255.255.255.255.
    #[inline(always)]
    pub const fn is_broadcast(self) -> bool {
        self.0[0] == 0xffff && self.0[1] == 0xffff
    }

    /// 0.0.0.0.
    #[inline(always)]
    pub const fn is_unspecified(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0
    }
}

/// A TCP or UDP port or an ICMP query identifier, in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(transparent)]
pub struct NetPort(pub u16);

impl NetPort {
    /// From a port number in host byte order.
    #[inline(always)]
    pub const fn new(port: u16) -> Self {
        Self(port.to_be())
    }

    /// The port number in host byte order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }
}

#[cfg(feature = "user")]
mod user {
    use super::{NetAddr, NetPort};
    use core::fmt;
    use std::net::Ipv4Addr;

    impl From<Ipv4Addr> for NetAddr {
        fn from(addr: Ipv4Addr) -> Self {
            Self::from_octets(addr.octets())
        }
    }

    impl From<NetAddr> for Ipv4Addr {
        fn from(addr: NetAddr) -> Self {
            Self::from(addr.octets())
        }
    }

    impl fmt::Display for NetAddr {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Ipv4Addr::from(*self).fmt(f)
        }
    }

    impl fmt::Display for NetPort {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.get().fmt(f)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_keep_their_order_in_memory() {
        let addr = NetAddr::from_octets([192, 0, 2, 7]);
        assert_eq!(addr.octets(), [192, 0, 2, 7]);
        assert_eq!(NetAddr::from_be32(addr.to_be32()), addr);
        assert_eq!(addr.to_be32().to_ne_bytes(), [192, 0, 2, 7]);
    }

    #[test]
    fn port_is_stored_big_endian() {
        assert_eq!(NetPort::new(0x1234).0.to_ne_bytes(), [0x12, 0x34]);
        assert_eq!(NetPort::new(0x1234).get(), 0x1234);
    }
}
