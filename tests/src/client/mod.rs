//! UPnP control points: `upnpc`, others that people have, and one that can also misbehave.

pub mod events;
pub mod http;
pub mod independent;
pub mod ipv6;
pub mod pcp;
pub mod soap;
pub mod ssdp;
mod upnpc;

pub use soap::Gateway;
pub use upnpc::{Upnpc, description_url};
