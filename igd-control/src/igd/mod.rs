//! The InternetGatewayDevice: its devices, services and actions.
//!
//! Pure: [`Gateway::control`] takes the body of a control message and returns the body of the
//! answer. Which actions there are, with which arguments, is said once, in the tables of
//! [`wan_ip_connection`], [`wan_common`] and [`layer3_forwarding`]. There are two device trees, of
//! version 1 and 2, over the same state.

mod arguments;
pub mod connection;
mod connection_actions;
pub mod device;
mod error;
mod events;
mod gateway;
pub mod layer3_forwarding;
mod message;
mod operator;
mod outside;
mod policy;
mod port_mappings;
pub mod spec;
mod view;
pub mod wan_common;
pub mod wan_ip_connection;

#[cfg(test)]
mod tests;

pub use crate::policy::Mode as Policy;
pub use device::Tree;
pub use error::{ActionError, ErrorCode};
pub(crate) use gateway::Parts;
pub use gateway::{Gateway, GatewayConfig, LinkProperties, TrafficTotals};
pub use message::{ControlRequest, ControlResponse, Invocation, ReplyBody};
pub use operator::Recovered;
pub use outside::{Done, Outside, PrivateAddress, Touched, is_private};
pub use spec::ServiceKind;
pub use view::MappingView;
