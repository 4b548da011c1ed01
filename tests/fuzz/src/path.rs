//! A packet path in memory, which takes the table at its word.

use igd_control::mapping::{PacketPath, PathError, PortForward};
use nat_common::BootTime;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The external address.
pub(crate) const EXTERNAL: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 1);
/// The router's own port.
const OWN_PORT: u16 = 1900;

/// A packet path in memory. It holds what the table has stated to it, no more and no less.
#[derive(Debug, Default)]
pub(crate) struct MemoryPath(pub(crate) BTreeMap<(u8, u16), PortForward>);

impl PacketPath for MemoryPath {
    fn external_address(&self) -> Option<Ipv4Addr> {
        Some(EXTERNAL)
    }

    fn open(&mut self, now: BootTime, forward: &PortForward) -> Result<(), PathError> {
        assert!(forward.deadline() > now, "opened after its end: {forward:?}");
        if forward.external_port == OWN_PORT {
            return Err(PathError::HeldByRouter);
        }
        if let Some(held) = self.0.get(&key(forward)) {
            assert_eq!(held.internal, forward.internal, "one port, two endpoints");
        }
        self.0.insert(key(forward), forward.clone());
        Ok(())
    }

    fn close(&mut self, _now: BootTime, forward: &PortForward) {
        assert!(self.0.remove(&key(forward)).is_some(), "closed what is not open: {forward:?}");
    }
}

fn key(forward: &PortForward) -> (u8, u16) {
    (forward.protocol as u8, forward.external_port)
}
