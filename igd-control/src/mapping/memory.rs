//! What the table gives to a store, and takes back from it after a start.

use super::entry::{MappingKey, MappingRequest, PortMapping, Terms};
use super::error::MapError;
use super::path::PacketPath;
use super::table::{Limits, PortMappingTable};
use nat_common::BootTime;

/// A change of one mapping. Played again in their order, changes make the same table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there now, like this.
    Put(Remembered),
    /// It is gone.
    Gone(MappingKey),
}

/// A mapping with its place in the order of creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// What it was asked for.
    pub mapping: MappingRequest,
    /// Its place: unique in a table.
    pub sequence: u64,
}

impl From<&PortMapping> for Remembered {
    fn from(mapping: &PortMapping) -> Self {
        Self {
            mapping: MappingRequest {
                key: mapping.key,
                internal: mapping.internal,
                enabled: mapping.enabled,
                description: mapping.description.to_string(),
                deadline: mapping.deadline,
                origin: mapping.origin(),
                filters: mapping.filters().to_vec(),
            },
            sequence: mapping.sequence,
        }
    }
}

impl PortMappingTable {
    /// From now on [`Self::take_changes`] tells every change.
    pub fn keep_changes(&mut self) {
        self.log.get_or_insert_default();
    }

    /// The changes since it was last asked, oldest first.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn note(&mut self, change: impl FnOnce() -> Change) {
        if let Some(log) = &mut self.log {
            log.push(change());
        }
    }

    /// All mappings, oldest first.
    pub fn remember(&self) -> Vec<Remembered> {
        self.iter().map(Remembered::from).collect()
    }

    /// Mappings that come new get places after that of all remembered ones.
    pub fn begin_after(&mut self, remembered: &[Remembered]) {
        let last = remembered.iter().map(|mapping| mapping.sequence).max();
        let next = last.map_or(0, |last| last.saturating_add(1));
        self.next_sequence = self.next_sequence.max(next);
    }

    /// Gives a mapping that was [adopted](Self::adopt) its words, its origin and its place again, if it
    /// is still the same client's. Whether it is enabled, for whom and until when, the packet path knows
    /// better. Tells whether there is such a mapping.
    pub fn recall(&mut self, remembered: &Remembered) -> bool {
        let Some(mapping) = self.get(&remembered.mapping.key) else { return false };
        if mapping.internal != remembered.mapping.internal {
            return false;
        }
        let description = remembered.mapping.description.as_str().into();
        let origin = remembered.mapping.origin;
        let terms = Terms { origin, filters: mapping.filters().to_vec() }.boxed();
        let sequence = remembered.sequence;
        self.record(PortMapping { description, terms, sequence, ..mapping.clone() });
        true
    }

    /// Makes a remembered mapping anew, in a packet path that has none, in its old place.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn restore<P: PacketPath>(
        &mut self,
        path: &mut P,
        now: BootTime,
        remembered: &Remembered,
    ) -> Result<(), MapError> {
        self.add(path, now, &remembered.mapping)?;
        self.recall(remembered);
        Ok(())
    }

    /// How many mappings there may be from now on; those that there are stay.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Adds a static mapping. Leased mappings that stand in its way are removed, for the operator's word
    /// comes before that of clients.
    ///
    /// # Errors
    /// [`MapError`]: another static mapping, or sessions, have the port.
    pub fn add_static<P: PacketPath>(
        &mut self,
        path: &mut P,
        now: BootTime,
        request: &MappingRequest,
    ) -> Result<(), MapError> {
        let in_the_way = |other: &&PortMapping| {
            !other.is_static()
                && match other.key == request.key {
                    true => other.internal.ip() != request.internal.ip(),
                    false => other.internal != request.internal,
                }
        };
        let others: Vec<_> = self.on_port(&request.key).filter(in_the_way).map(|o| o.key).collect();
        for key in others {
            self.remove(path, now, &key);
        }
        self.add(path, now, request)
    }
}
