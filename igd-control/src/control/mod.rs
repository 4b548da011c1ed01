//! The operator's socket: HTTP with JSON on a Unix socket that only its owner may open.
//!
//! | path | answer |
//! |---|---|
//! | `/status` | one object, [`Status`] |
//! | `/mappings` | array of [`MappingView`] |
//! | `/sessions` | array of [`SessionView`], one to a line, streamed |
//! | `/clients` | array of [`ClientView`] |
//! | `/counters` | one object, name to value |
//! | `/metrics` | the metrics, as text for Prometheus |
//!
//! By POST, with an object as the body:
//!
//! | path | body | answer |
//! |---|---|---|
//! | `/mappings/add` | [`StaticMapping`] | `null` |
//! | `/mappings/remove` | [`StaticKey`] | `null` |
//! | `/policy/check` | [`Asked`] | [`Explanation`] |
//! | `/reload` | none | [`Reloaded`] |
//!
//! Errors are `{"error": "..."}` with a status of 400 or above.

pub mod client;
mod server;
mod sessions;

pub use server::ControlSocket;

use crate::{
    config::StaticMapping,
    datapath::{ClientView, LinkView, SessionView},
    igd::MappingView,
    policy::{Explanation, Question, Transport, Via},
};
use nat_common::Counter;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

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
    /// Whether the gateway is itself behind a NAT: `no`, or how that is seen.
    pub behind_nat: &'static str,
    /// The address that a STUN server sees, or why none is known.
    pub seen_from_outside: String,
    /// The PCP server upstream and what it is like: `off` where there is none.
    pub upstream: String,
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
    /// Whether mappings are kept: `ok`, `off`, or what is wrong.
    pub store: String,
}

/// The identity of a static mapping.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StaticKey {
    /// TCP or UDP.
    pub protocol: Transport,
    /// External port.
    pub external_port: u16,
    /// The only remote host that is let in.
    pub remote_host: Option<Ipv4Addr>,
}

/// A question to the policy, as people ask it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Asked {
    /// Who would ask for the mapping.
    pub requester: IpAddr,
    /// Where packets would go; the requester itself where it is not said.
    pub client: Option<IpAddr>,
    /// TCP or UDP.
    pub protocol: Transport,
    /// External port.
    pub external_port: u16,
    /// Internal port; the external one where it is not said.
    pub internal_port: Option<u16>,
    /// The only remote host that would be let in.
    pub remote_host: Option<IpAddr>,
    /// By which protocol.
    pub via: Via,
}

impl From<&Asked> for Question {
    fn from(asked: &Asked) -> Self {
        Self {
            requester: asked.requester,
            client: asked.client.unwrap_or(asked.requester),
            protocol: asked.protocol.into(),
            external_port: asked.external_port,
            internal_port: asked.internal_port.unwrap_or(asked.external_port),
            remote: asked.remote_host,
            via: asked.via,
        }
    }
}

/// What came of reading the configuration again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Rules in force now.
    pub rules: usize,
    /// Mappings that the configuration names.
    pub mappings: usize,
    /// Sections that differ from those in force and want a restart.
    pub restart_for: Vec<&'static str>,
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

    /// All metrics, as text for Prometheus.
    ///
    /// # Errors
    /// A map cannot be read.
    fn metrics(&self) -> anyhow::Result<String>;

    /// Makes a static mapping.
    ///
    /// # Errors
    /// Something stands in its way.
    fn add_mapping(&self, mapping: &StaticMapping) -> anyhow::Result<()>;

    /// Removes a static mapping.
    ///
    /// # Errors
    /// There is none, or the configuration names it.
    fn remove_mapping(&self, key: &StaticKey) -> anyhow::Result<()>;

    /// What the policy in force says to a question.
    fn explain(&self, question: &Question) -> Explanation;

    /// Reads the configuration again, and takes over policy and static mappings.
    ///
    /// # Errors
    /// It is wrong; everything stays as it is then.
    fn reload(&self) -> anyhow::Result<Reloaded>;
}

#[cfg(test)]
mod tests;
