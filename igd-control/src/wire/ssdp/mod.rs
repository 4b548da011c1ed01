//! SSDP: the messages of discovery (UPnP Device Architecture 1.1, section 1).

mod announce;
mod search;

#[cfg(test)]
mod tests;

pub use announce::{Announcement, Sender, announcements};
pub use search::{SearchError, SearchRequest, SearchTarget};

use std::net::{Ipv4Addr, SocketAddrV4};

/// The multicast group and port of SSDP.
pub const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900);
