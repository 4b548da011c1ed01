//! Mappings that the operator makes.

use crate::mapping::{MappingKey, MappingRequest, Origin};
use nat_common::ports::WILDCARD_PORT;
use nat_common::{BootTime, Protocol};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddrV4};

/// `[[mapping]]`, and what `igd-control mapping add` sends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StaticMapping {
    /// TCP or UDP.
    pub protocol: Transport,
    /// External port; 0: every port that is not otherwise mapped.
    pub external_port: u16,
    /// Where packets go.
    pub client: Ipv4Addr,
    /// Its port; the external one where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_port: Option<u16>,
    /// The only remote host that is let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_host: Option<Ipv4Addr>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

pub use crate::policy::Transport;

impl StaticMapping {
    /// What the table is asked for: a mapping that stays.
    pub fn request(&self) -> MappingRequest {
        let port = self.internal_port.unwrap_or(match self.external_port {
            // Ignored: packets keep the port on which they came.
            WILDCARD_PORT => 1,
            port => port,
        });
        MappingRequest {
            key: self.key(),
            internal: SocketAddrV4::new(self.client, port),
            enabled: true,
            description: self.description.clone(),
            deadline: BootTime::NEVER,
            origin: Origin::Upnp,
            filters: Vec::new(),
        }
    }

    /// Its identity.
    pub fn key(&self) -> MappingKey {
        MappingKey {
            protocol: Protocol::from(self.protocol),
            external_port: self.external_port,
            remote: self.remote_host,
        }
    }

    /// Checks it by itself. Returns the key that is wrong, and why.
    ///
    /// # Errors
    /// An address is no host's, or the internal port is 0.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let host = |address: Ipv4Addr| {
            let first = address.octets()[0];
            first != 0 && first != 127 && first < 224
        };
        let everybody = self.client.is_broadcast()
            && self.protocol == Transport::Udp
            && self.external_port != WILDCARD_PORT;
        if !host(self.client) && !everybody {
            return Err(("client", format!("{} is not the address of a host", self.client)));
        }
        if let Some(remote) = self.remote_host.filter(|remote| !host(*remote)) {
            return Err(("remote-host", format!("{remote} is not the address of a host")));
        }
        if self.internal_port == Some(0) {
            return Err(("internal-port", "0 is not a port".to_owned()));
        }
        Ok(())
    }
}

/// Checks the mappings of a file. Returns the key that is wrong, and why.
///
/// # Errors
/// One is wrong by itself, or contradicts another one.
pub(super) fn check(mappings: &[StaticMapping]) -> Result<(), (String, String)> {
    for (index, mapping) in mappings.iter().enumerate() {
        let at = |key: &str| format!("mapping[{}].{key}", index + 1);
        mapping.check().map_err(|(key, message)| (at(key), message))?;
        let (key, internal) = (mapping.key(), mapping.request().internal);
        for (number, earlier) in (1..).zip(mappings.iter().take(index)) {
            let other = earlier.key();
            if other == key {
                let message = format!("mapping {number} has this port already");
                return Err((at("external-port"), message));
            }
            if other.same_port(&key) && earlier.request().internal != internal {
                let message = format!(
                    "mapping {number} has this port already, for another internal endpoint"
                );
                return Err((at("external-port"), message));
            }
        }
    }
    Ok(())
}
