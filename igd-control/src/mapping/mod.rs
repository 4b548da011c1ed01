//! The port-mapping table: one for all protocols by which clients ask for mappings.
//!
//! Pure: times come in as arguments, and what must change in the packet path goes out through
//! [`PacketPath`].

mod change;
mod endpoints;
mod entry;
mod error;
mod memory;
mod order;
mod path;
mod peers;
mod pick;
mod table;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use entry::{
    FIRST_UNPRIVILEGED, MappingKey, MappingRequest, Origin, PortMapping, RemoteFilter,
};
pub use error::MapError;
pub use memory::{Change, Remembered};
pub use path::{AnyPath, PacketPath, PathError, PortForward};
pub use peers::{Peer, PeerHeld, PeerKey, PeerWish, Peers};
pub use pick::Random;
pub use table::{Limits, PortMappingTable, View};
