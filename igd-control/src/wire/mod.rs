//! Wire formats: bytes to types and back. Nothing here panics on what comes from the network.
//!
//! - [`soap`]: the control messages of the UPnP Device Architecture, section 3.
//! - [`ssdp`]: discovery, section 1.
//! - [`gena`]: events, section 4.
//! - [`description`] and [`scpd`]: the documents of section 2.
//! - [`pcp`]: the Port Control Protocol, RFC 6887.
//! - [`nat_pmp`]: the NAT Port Mapping Protocol, RFC 6886.
//! - [`port_listing`]: WANIPConnection:2's list of port mappings.

pub mod description;
pub mod gena;
pub mod nat_pmp;
pub mod pcp;
pub mod port_listing;
pub mod scpd;
pub mod soap;
pub mod ssdp;
pub mod stun;
mod tokens;
mod xml;

/// SERVER in HTTP and SSDP: operating system, UPnP version, product (UPnP Device Architecture 1.1,
/// section 1.2.2). The kernel's version is nobody's business.
pub const SERVER: &str = concat!("Linux/0 UPnP/1.1 igd-control/", env!("CARGO_PKG_VERSION"));
