//! `[upstream]`

pub use crate::igd::PrivateAddress;
use crate::upstream::{ServerAddress, Xlat};
use crate::wire::stun;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// `[upstream]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Upstream {
    /// The PCP server of the NAT that we are behind: an address or a name, `gateway`, or `none`.
    pub server: String,
    /// Interface by which a server of IPv6 is asked; empty: the WAN interface.
    pub interface: String,
    /// File in which a DHCP client leaves the server's address; empty: none.
    pub server_file: PathBuf,
    /// Prefix in which a NAT64 upstream sees the LAN; empty: it is none.
    pub clat_prefix: String,
    /// Prefix in which that NAT64's clients see remote hosts.
    pub nat64_prefix: String,
    /// STUN server that is asked for the address that it sees, with or without a port; empty: none.
    pub stun_server: String,
    /// What control points are told of an external address that the Internet does not route.
    pub private_address: PrivateAddress,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            server: "none".to_owned(),
            interface: String::new(),
            server_file: PathBuf::new(),
            clat_prefix: String::new(),
            nat64_prefix: "64:ff9b::/96".to_owned(),
            stun_server: String::new(),
            private_address: PrivateAddress::default(),
        }
    }
}

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamServer {
    /// There is none.
    None,
    /// At the gateway of the default route.
    Gateway,
    /// There.
    At(ServerAddress),
    /// Where this name leads.
    Named(String),
}

impl Upstream {
    /// Where the server is, unless the file says it; `None` if that cannot be read.
    pub fn server(&self) -> Option<UpstreamServer> {
        match self.server.as_str() {
            "none" => Some(UpstreamServer::None),
            "gateway" => Some(UpstreamServer::Gateway),
            text => match text.parse() {
                Ok(address) => Some(UpstreamServer::At(address)),
                // What ends in digits is an address in some form (RFC 1123 2.1).
                Err(_) => {
                    let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
                    let named = is_name(text) && !last.bytes().all(|byte| byte.is_ascii_digit());
                    named.then(|| UpstreamServer::Named(text.to_owned()))
                }
            },
        }
    }

    /// The interface by which a server of IPv6 is asked, with this one towards the WAN.
    pub fn interface<'a>(&'a self, wan: &'a str) -> &'a str {
        if self.interface.is_empty() { wan } else { &self.interface }
    }

    /// The file that says it.
    pub fn server_file(&self) -> Option<&Path> {
        Some(self.server_file.as_path()).filter(|path| !path.as_os_str().is_empty())
    }

    /// How addresses are written to the server of a NAT64; `None` where it is none.
    pub fn xlat(&self) -> Option<Xlat> {
        let internal = self.clat_prefix.parse().ok()?;
        Some(Xlat { internal, remote: self.nat64_prefix.parse().ok()? })
    }

    /// The STUN server's name or address, and its port.
    pub fn stun_server(&self) -> Option<(String, u16)> {
        let (name, port) = match self.stun_server.split_once(':') {
            Some((name, port)) => (name, port.parse().ok()?),
            None => (self.stun_server.as_str(), stun::PORT),
        };
        (is_name(name) && port != 0).then(|| (name.to_owned(), port))
    }

    /// Whether there may be one.
    pub fn is_on(&self) -> bool {
        self.server_file().is_some() || self.server() != Some(UpstreamServer::None)
    }
}

/// Whether a text is like the name of a host, or an address of IPv4.
fn is_name(text: &str) -> bool {
    let is_odd = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.');
    (1..=253).contains(&text.len()) && !text.contains(is_odd)
}
