//! What an operator is told of the server.

use crate::upstream::Service;
use crate::wire::pcp::ResultCode;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

/// What an operator is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The server, if it is known where it is.
    pub server: Option<SocketAddr>,
    /// What it is like; `None` while there is no address of our own.
    pub service: Option<Service>,
    /// Whether it is in service.
    pub in_service: bool,
    /// The external address that it has given last.
    pub address: Option<Ipv4Addr>,
    /// Mappings of the table in force there.
    pub held: usize,
    /// Mappings of the table wanted there.
    pub wanted: usize,
    /// Of those in force, such as let in only some remote hosts: by the server's word, which nobody can prove
    /// from here.
    pub unproven: usize,
    /// Sessions in force there that were asked for by PEER.
    pub peers: usize,
    /// It knows no PEER.
    pub no_peer: bool,
    /// With which error it refuses the mapping that is held for its address, and so most probably all.
    pub refusal: Option<ResultCode>,
    /// How often it has lost its state.
    pub losses: u64,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(server) = self.server else { return f.write_str("no server is known") };
        write!(f, "{server}: ")?;
        match self.service {
            None => f.write_str("no address of our own to ask it from"),
            Some(Service::Unknown) => f.write_str("has not answered yet"),
            Some(Service::Silent) => f.write_str("does not answer"),
            Some(Service::OtherVersion(version)) => write!(f, "speaks version {version} only"),
            Some(service @ (Service::Pcp | Service::NatPmp)) => {
                if service == Service::NatPmp {
                    f.write_str("by NAT-PMP, ")?;
                }
                write!(f, "{} of {} mappings in force", self.held, self.wanted)?;
                if self.peers > 0 {
                    write!(f, ", {} sessions of PEER", self.peers)?;
                }
                if self.no_peer {
                    f.write_str(", knows no PEER")?;
                }
                if let Some(code) = self.refusal {
                    write!(f, ", refuses us: {code}")?;
                }
                match self.unproven {
                    0 => Ok(()),
                    count => {
                        write!(f, ", {count} with filters that it repeats, which proves nothing")
                    }
                }
            }
        }
    }
}
