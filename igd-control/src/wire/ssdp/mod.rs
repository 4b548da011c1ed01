//! SSDP: the messages of discovery (UPnP Device Architecture 1.1, section 1).

mod announce;
mod search;

#[cfg(test)]
mod tests;

pub use announce::{Announcement, Sender, announcements};
pub use search::{SearchError, SearchRequest, SearchTarget};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// SSDP's port.
pub const PORT: u16 = 1900;

/// How far a multicast group of SSDP reaches (UPnP Device Architecture 1.1, annex A).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// IPv4.
    V4,
    /// IPv6, on the link.
    Link,
    /// IPv6, within the site.
    Site,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V4, Self::Link, Self::Site];

    /// The scope in which one speaks from an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(address) if address.is_unicast_link_local() => Self::Link,
            IpAddr::V6(_) => Self::Site,
        }
    }

    /// Its multicast group and port.
    pub const fn group(self) -> SocketAddr {
        let group = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250)),
            Self::Link => IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xc)),
            Self::Site => IpAddr::V6(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0xc)),
        };
        SocketAddr::new(group, PORT)
    }

    /// HOST of what is sent to the group, as the Device Architecture writes it.
    pub const fn host(self) -> &'static str {
        match self {
            Self::V4 => "239.255.255.250:1900",
            Self::Link => "[FF02::C]:1900",
            Self::Site => "[FF05::C]:1900",
        }
    }
}
