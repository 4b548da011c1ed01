//! The server of PCP (RFC 6887) and NAT-PMP (RFC 6886) in the LANs, on one port.
//!
//! [`Server`] is pure: it takes a datagram, its sender and the time, changes the gateway's table of port
//! mappings, and returns the answer. Mappings are the same as UPnP's, under the same policy and limits;
//! what is PCP's own is the nonce and the filters, which the table keeps with them. [`Responder`] has the
//! socket of one address. Messages are read and written in [`crate::wire::pcp`] and
//! [`crate::wire::nat_pmp`].

mod announce;
mod epoch;
mod map;
mod nat_pmp;
mod options;
mod peer;
mod responder;
mod server;

#[cfg(test)]
mod tests;

pub use announce::{UPDATES, pause_after};
pub use epoch::{AddressChange, Epoch};
pub use responder::{Responder, Site};
pub use server::Server;

/// How the server is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// NAT-PMP is answered, too.
    pub nat_pmp: bool,
    /// PCP's THIRD_PARTY may be used by whom the policy lets map for others.
    pub third_party: bool,
    /// PCP's PEER is answered.
    pub peer: bool,
    /// Seconds of the shortest mapping by PCP.
    pub min_lifetime: u32,
    /// Seconds of the longest mapping.
    pub max_lifetime: u32,
}

impl Default for Settings {
    /// The lifetimes that RFC 6887, section 15, recommends.
    fn default() -> Self {
        Self {
            nat_pmp: true,
            third_party: false,
            peer: true,
            min_lifetime: 120,
            max_lifetime: 86_400,
        }
    }
}
