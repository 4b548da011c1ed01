//! `[upstream]`

pub use crate::igd::PrivateAddress;
use crate::wire::stun;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// `[upstream]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Upstream {
    /// The PCP server of the NAT that we are behind: an address, `gateway`, or `none`.
    pub server: String,
    /// File in which a DHCP client leaves the server's address; empty: none.
    pub server_file: PathBuf,
    /// STUN server that is asked for the address that it sees, with or without a port; empty: none.
    pub stun_server: String,
    /// What control points are told of an external address that the Internet does not route.
    pub private_address: PrivateAddress,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            server: "none".to_owned(),
            server_file: PathBuf::new(),
            stun_server: String::new(),
            private_address: PrivateAddress::default(),
        }
    }
}

/// Where the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamServer {
    /// There is none.
    None,
    /// At the gateway of the default route.
    Gateway,
    /// There.
    At(Ipv4Addr),
}

impl Upstream {
    /// Where the server is, unless the file says it; `None` if that cannot be read.
    pub fn server(&self) -> Option<UpstreamServer> {
        match self.server.as_str() {
            "none" => Some(UpstreamServer::None),
            "gateway" => Some(UpstreamServer::Gateway),
            address => {
                let address: Ipv4Addr = address.parse().ok()?;
                let host = !address.is_unspecified() && !address.is_loopback();
                (host && address.octets()[0] < 224).then_some(UpstreamServer::At(address))
            }
        }
    }

    /// The file that says it.
    pub fn server_file(&self) -> Option<&Path> {
        Some(self.server_file.as_path()).filter(|path| !path.as_os_str().is_empty())
    }

    /// The STUN server's name or address, and its port.
    pub fn stun_server(&self) -> Option<(String, u16)> {
        let (name, port) = match self.stun_server.split_once(':') {
            Some((name, port)) => (name, port.parse().ok()?),
            None => (self.stun_server.as_str(), stun::PORT),
        };
        let is_odd = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.');
        let is_name = (1..=253).contains(&name.len()) && !name.contains(is_odd);
        (is_name && port != 0).then(|| (name.to_owned(), port))
    }

    /// Whether there may be one.
    pub fn is_on(&self) -> bool {
        self.server_file().is_some() || self.server() != Some(UpstreamServer::None)
    }
}
