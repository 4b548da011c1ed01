//! IPv4 as a NAT64 sees it, behind a stateless translator at our end (464XLAT, RFC 6877): its internal
//! addresses are those of the LAN behind one prefix, and its clients know remote hosts behind another.

use crate::wire::pcp::{Filter, PcpOption};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Bits of a prefix: the only length for which an address of IPv4 lies behind it in one piece.
const LENGTH: &str = "96";

/// A prefix of IPv6, 96 bits long, with addresses of IPv4 behind it (RFC 6052 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix(Ipv6Addr);

impl Prefix {
    /// The address that stands for one of IPv4.
    pub fn with(self, address: Ipv4Addr) -> IpAddr {
        Ipv6Addr::from_bits(self.0.to_bits() | u128::from(address.to_bits())).into()
    }

    /// The address of IPv4 for which one stands; `None`: it lies not behind this prefix.
    pub fn without(self, address: IpAddr) -> Option<Ipv4Addr> {
        let IpAddr::V6(address) = address else { return None };
        let inner = Ipv4Addr::from_bits(address.to_bits() as u32);
        (self.with(inner) == address).then_some(inner)
    }
}

/// An address of IPv4 as it is written where all lie behind this prefix, if behind any.
pub(super) fn written(prefix: Option<Prefix>, address: Ipv4Addr) -> IpAddr {
    prefix.map_or(IpAddr::V4(address), |prefix| prefix.with(address))
}

/// The address of IPv4 that was [`written`] so.
pub(super) fn read(prefix: Option<Prefix>, address: IpAddr) -> Option<Ipv4Addr> {
    match (prefix, address) {
        (Some(prefix), address) => prefix.without(address),
        (None, IpAddr::V4(address)) => Some(address),
        (None, IpAddr::V6(_)) => None,
    }
}

impl FromStr for Prefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "must be a prefix of IPv6 with 96 bits, such as 64:ff9b::/96";
        let (address, length) = text.split_once('/').ok_or(WRONG)?;
        let address: Ipv6Addr = address.parse().map_err(|_| WRONG)?;
        let [.., reserved, _, _, _, a, b, c, d] = address.octets();
        let is_odd = address.is_multicast()
            || address.is_unspecified()
            || address.to_ipv4_mapped().is_some();
        // Bits 64 to 71 are zero in every such address.
        if length != LENGTH || reserved != 0 || [a, b, c, d] != [0; 4] || is_odd {
            return Err(WRONG);
        }
        Ok(Self(address))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{LENGTH}", self.0)
    }
}

/// How addresses of IPv4 are written in requests to the server of a NAT64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xlat {
    /// The prefix behind which our translator puts addresses of the LAN.
    pub internal: Prefix,
    /// The prefix behind which the NAT64's clients find remote hosts: what a remote peer is "from the
    /// perspective of the PCP client" (RFC 6887 12.1).
    pub remote: Prefix,
}

impl Xlat {
    /// An option as the server understands it.
    pub(super) fn option(self, option: PcpOption) -> PcpOption {
        match option {
            // Both prefixes are as long as that of IPv4-mapped addresses, and so the bits count the same.
            PcpOption::Filter(Filter { prefix, port, address: IpAddr::V4(address) })
                if prefix != 0 =>
            {
                PcpOption::Filter(Filter { prefix, port, address: self.remote.with(address) })
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_behind_a_prefix_and_come_back() {
        let prefix: Prefix = "64:ff9b::/96".parse().unwrap();
        let there: IpAddr = "64:ff9b::c633:6407".parse().unwrap();
        let here = Ipv4Addr::new(198, 51, 100, 7);
        assert_eq!((prefix.with(here), prefix.without(there)), (there, Some(here)));
        assert_eq!(prefix.without("64:ff9b:1::c633:6407".parse().unwrap()), None);
        assert_eq!(prefix.without(here.into()), None);
        assert_eq!(prefix.to_string(), "64:ff9b::/96");
    }

    #[test]
    fn other_lengths_and_what_is_no_prefix_are_refused() {
        for text in [
            "",
            "64:ff9b::",
            "64:ff9b::/64",
            "64:ff9b::1/96",
            "::/96",
            "::ffff:0:0/96",
            "ff02::/96",
            "2001:db8:0:0:0100::/96",
            "198.51.100.0/96",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
