//! The client of a PCP server upstream, for a gateway that is itself behind a NAT (RFC 6887; the
//! interworking function of RFC 6970).
//!
//! Pure: datagrams and the time go in, datagrams and events come out. [`Client`] keeps mappings at one
//! server: it asks, asks again, renews, and makes all of them anew when the server has lost its state.

mod backoff;
mod client;
mod epoch;
mod interworking;
pub mod lan;
mod lease;
mod place;
mod stun;
mod xlat;

#[cfg(test)]
pub(crate) mod tests;

pub use backoff::Backoff;
pub use client::{Client, ClientConfig, EndReason, Event, Key, Service, Wanted};
pub use interworking::{Interworking, InterworkingConfig, Outcome, Port, State};
pub use lease::Lease;
pub use place::{Candidates, ServerAddress, ServerPlace, addresses, default_gateway};
pub use stun::{Seen, StunCheck};
pub use xlat::{Prefix, Xlat};
