//! The gateway as its operator and its store reach it, past the policy.

use super::gateway::Gateway;
use crate::mapping::{
    Change, Limits, MapError, MappingKey, MappingRequest, PacketPath, PortForward, PortMapping,
    Remembered,
};
use nat_common::{BootTime, Protocol};

/// What came of taking back what was remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Mappings that are in force.
    pub mappings: usize,
    /// Mappings among them of which nothing was remembered.
    pub nameless: usize,
    /// Remembered mappings that are gone: removed meanwhile, or without a place any more.
    pub lost: usize,
}

impl<P: PacketPath> Gateway<P> {
    /// Adds a static mapping; leased ones make room for it.
    ///
    /// # Errors
    /// [`MapError`]
    pub fn add_static(&mut self, now: BootTime, request: &MappingRequest) -> Result<(), MapError> {
        self.expire(now);
        self.table.add_static(&mut self.path, now, request)
    }

    /// Removes a static mapping; tells whether there was one.
    pub fn remove_static(&mut self, now: BootTime, key: &MappingKey) -> bool {
        let is_static = self.table.get(key).is_some_and(PortMapping::is_static);
        is_static && self.table.remove(&mut self.path, now, key).is_some()
    }

    /// Removes the leased mappings of an external port.
    pub fn drop_leased(&mut self, now: BootTime, protocol: Protocol, port: u16) {
        let leased = |mapping: &PortMapping| !mapping.is_static();
        self.table.remove_range(&mut self.path, now, protocol, port..=port, leased);
    }

    /// The static mappings.
    pub fn statics(&self) -> Vec<MappingKey> {
        let statics = self.table.iter().filter(|mapping| mapping.is_static());
        statics.map(|mapping| mapping.key).collect()
    }

    /// How many mappings there may be from now on; those that there are stay.
    pub fn set_limits(&mut self, limits: Limits) {
        self.table.set_limits(limits);
    }

    /// Takes over the forwards that a former daemon's packet path holds. They are what is in force, so
    /// what is remembered beside them is gone, and of the others only words and order are remembered.
    pub fn take_over(
        &mut self,
        held: &[PortForward],
        remembered: &[Remembered],
        unknown: &str,
    ) -> Recovered {
        self.table.begin_after(remembered);
        for forward in held {
            if let Err(error) = self.table.adopt(forward, unknown) {
                tracing::warn!(
                    ?forward,
                    "a port forward in force has no place in the table: {error}"
                );
            }
        }
        let known = remembered.iter().filter(|mapping| self.table.recall(mapping)).count();
        let mappings = self.table.len();
        Recovered { mappings, nameless: mappings - known, lost: remembered.len() - known }
    }

    /// Makes remembered mappings anew, in a packet path that has none.
    pub fn restore(&mut self, now: BootTime, remembered: &[Remembered]) -> Recovered {
        self.table.begin_after(remembered);
        let mut lost = 0;
        for mapping in remembered {
            if let Err(error) = self.table.restore(&mut self.path, now, mapping) {
                let key = mapping.mapping.key;
                let (port, protocol) = (key.external_port, key.protocol.name());
                tracing::warn!(
                    port,
                    protocol,
                    "a mapping of the store cannot be restored: {error}"
                );
                lost += 1;
            }
        }
        Recovered { mappings: self.table.len(), nameless: 0, lost }
    }

    /// From now on [`Self::take_changes`] tells what a store must know.
    pub fn keep_changes(&mut self) {
        self.table.keep_changes();
    }

    /// The changes since it was last asked.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.table.take_changes()
    }
}
