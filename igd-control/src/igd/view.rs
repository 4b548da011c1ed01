//! What an operator sees of the gateway.

use crate::mapping::{Origin, PortMapping};
use crate::policy::Via;
use nat_common::BootTime;
use std::net::{Ipv4Addr, SocketAddrV4};

/// A port mapping.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MappingView {
    /// TCP or UDP.
    pub protocol: &'static str,
    /// External port.
    pub external_port: u16,
    /// The only remote host that is let in, if not all are.
    pub remote_host: Option<Ipv4Addr>,
    /// Where packets go.
    pub internal: SocketAddrV4,
    /// Whether it is in force.
    pub enabled: bool,
    /// The client's own words.
    pub description: String,
    /// By which protocol it was made; `None`: nobody remembers.
    pub via: Option<Via>,
    /// Whom it lets in, if not everybody: networks, and a port if only that one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// Seconds until the lease ends; `None` for a static mapping.
    pub lease_left: Option<u32>,
}

impl MappingView {
    /// The mapping as it is at `now`.
    pub fn new(mapping: &PortMapping, now: BootTime) -> Self {
        Self {
            protocol: mapping.key.protocol.name(),
            external_port: mapping.key.external_port,
            remote_host: mapping.key.remote,
            internal: mapping.internal,
            enabled: mapping.enabled,
            description: mapping.description.to_string(),
            via: match mapping.origin() {
                Origin::Upnp => Some(Via::Upnp),
                Origin::NatPmp => Some(Via::NatPmp),
                Origin::Pcp(_) => Some(Via::Pcp),
                Origin::Unknown => None,
            },
            filters: mapping.filters().iter().map(ToString::to_string).collect(),
            lease_left: (!mapping.is_static()).then(|| mapping.lease_left(now)),
        }
    }
}
