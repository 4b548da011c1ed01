//! The port-mapping table: one for all protocols by which clients ask for mappings.
//!
//! Pure: times come in as arguments, and what must change in the packet path goes out through
//! [`PacketPath`].

mod path;

pub use path::{PacketPath, PathError, PortForward};
