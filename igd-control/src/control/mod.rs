//! The operator's socket: HTTP with JSON on a Unix socket that only its owner may open.
//!
//! | path | answer |
//! |---|---|
//! | `/status` | one object, [`Status`] |
//! | `/mappings` | array of [`MappingView`] |
//! | `/sessions` | array of [`SessionView`], one to a line, streamed |
//! | `/clients` | array of [`ClientView`] |
//! | `/counters` | one object, name to value |
//!
//! Errors are `{"error": "..."}` with a status of 400 or above.

pub mod client;
mod server;
mod sessions;

pub use server::ControlSocket;

use crate::{
    datapath::{ClientView, LinkView, SessionView},
    igd::MappingView,
};
use nat_common::Counter;
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddr};

/// What the daemon tells of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: &'static str,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started to serve.
    pub uptime: u64,
    /// The address that remote hosts see; `None` while there is none.
    pub external_address: Option<Ipv4Addr>,
    /// All external addresses of the pool, that one first.
    pub pool: Vec<Ipv4Addr>,
    /// Interfaces and how the XDP program is attached to them.
    pub interfaces: Vec<LinkView>,
    /// UUID of the UPnP root device.
    pub uuid: String,
    /// Where description and control are served.
    pub http: Vec<SocketAddr>,
    /// Subscriptions to events.
    pub subscriptions: usize,
    /// Port mappings in force.
    pub mappings: usize,
    /// Sessions at the moment.
    pub sessions: u64,
    /// Most sessions at a time.
    pub max_sessions: u32,
}

/// Who answers an operator's questions. Calls may take as long as reading a full map takes; they are
/// made on threads where that does no harm.
pub trait Operator: Send + Sync + 'static {
    /// The daemon as a whole.
    ///
    /// # Errors
    /// A map cannot be read.
    fn status(&self) -> anyhow::Result<Status>;

    /// Port mappings in force.
    fn mappings(&self) -> Vec<MappingView>;

    /// Calls `each` with every session.
    ///
    /// # Errors
    /// The map cannot be read.
    fn sessions(&self, each: &mut dyn FnMut(SessionView)) -> anyhow::Result<()>;

    /// Internal clients, and what each has.
    ///
    /// # Errors
    /// The maps cannot be read.
    fn clients(&self) -> anyhow::Result<Vec<ClientView>>;

    /// The packet path's counters, summed over the CPUs.
    ///
    /// # Errors
    /// The map cannot be read.
    fn counters(&self) -> anyhow::Result<Vec<(Counter, u64)>>;
}

#[cfg(test)]
mod tests;
