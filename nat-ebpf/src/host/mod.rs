//! The pipeline's surroundings in memory: frames over vectors, tables over hash maps, a clock that
//! only moves when told, random numbers from a seed, routes as data.
//!
//! Tests run the very code of the XDP program on them. [`Packet`] builds frames field by field, with
//! every checksum summed up from scratch, and takes frames apart again: it shares nothing with the
//! pipeline, whose work it judges.

mod clients;
mod forward;
mod frame;
mod network;
pub mod packet;
mod tables;

pub use forward::Forward;
pub use frame::HostFrame;
pub use network::{LocalSocket, Network, NextHop};
pub use packet::{Body, Checksum, Packet};
pub use tables::{Capacity, HostTables};

#[cfg(test)]
mod tests;
