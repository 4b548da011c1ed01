//! The gateway's daemon.
//!
//! Pure rooms, which never see a socket, a clock or a BPF map: [`wire`] (bytes to types and back),
//! [`igd`] (devices, services and actions), [`mapping`] (the port-mapping table), [`policy`] (who may
//! map what), [`pcp`] (the server of PCP and NAT-PMP, without its sockets), [`config`].
//! Thin rooms, which do: [`datapath`] (the XDP program and its maps), [`http`], [`ssdp`],
//! [`control`] (the operator's socket), [`store`] (mappings on disk), [`probe`] (checks of the machine), [`cli`]. [`daemon`] joins
//! them.

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod datapath;
pub mod gena;
pub mod http;
pub mod igd;
pub mod lan;
pub mod mapping;
pub mod memory;
pub mod metrics;
pub mod pcp;
pub mod policy;
pub mod probe;
pub mod shutdown;
pub mod ssdp;
pub mod store;
pub mod upstream;
pub mod wire;
