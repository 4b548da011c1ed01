//! The table's records and its indices, and everything that only reads them.

use super::endpoints::Endpoints;
use super::entry::{MappingKey, PortMapping};
use super::memory::{Change, Remembered};
use super::order::Order;
use super::path::PortForward;
use nat_common::{BootTime, Protocol};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

/// How many mappings there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub mappings: usize,
    /// For one internal client.
    pub per_client: usize,
    /// For one external port, that is, remote hosts that share it. Every change states all of them
    /// to the packet path again.
    pub per_port: usize,
}

impl Default for Limits {
    /// As many as PortMappingNumberOfEntries (ui2) can count.
    fn default() -> Self {
        Self { mappings: 65_535, per_client: 65_535, per_port: 256 }
    }
}

/// Part of the table as somebody may see it, in the order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Everything.
    All,
    /// The mappings of one internal client whose two ports are at least 1024.
    Unprivileged(Ipv4Addr),
}

/// What the table keeps about one internal client.
#[derive(Clone, Debug, Default)]
struct Client {
    mappings: usize,
    unprivileged: Order,
}

/// The port-mapping table.
///
/// One external port of a protocol belongs to one internal endpoint. Mappings for several remote
/// hosts may share it then (WANIPConnection:2, figure 2-3). The table states to the packet path, for
/// each port, the sum of its mappings.
///
/// Whoever calls must [`expire`](Self::expire) at the same `now` first: the table itself does not
/// look whether a mapping that it holds is still alive.
#[derive(Clone, Debug, Default)]
pub struct PortMappingTable {
    pub(super) limits: Limits,
    pub(super) entries: BTreeMap<MappingKey, Box<PortMapping>>,
    pub(super) deadlines: BTreeSet<(BootTime, MappingKey)>,
    pub(super) endpoints: Endpoints,
    pub(super) next_sequence: u64,
    pub(super) changes: u32,
    /// Changes for a store, where there is one.
    pub(super) log: Option<Vec<Change>>,
    order: Order,
    clients: HashMap<Ipv4Addr, Client>,
    /// By protocol, internal endpoint and place in the order of creation.
    internals: BTreeMap<(u8, SocketAddrV4, u64), MappingKey>,
}

impl PortMappingTable {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// How many mappings there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// PortMappingNumberOfEntries, a ui2: stops at 65535.
    pub fn number_of_entries(&self) -> u16 {
        u16::try_from(self.len()).unwrap_or(u16::MAX)
    }

    /// Counts the changes, modulo 2^32: SystemUpdateID (WANIPConnection:2 section 2.3.23). One
    /// request or one round of expiry is one change, however many mappings it touches.
    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// When the next lease ends.
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The mapping of this identity.
    pub fn get(&self, key: &MappingKey) -> Option<&PortMapping> {
        self.entries.get(key).map(Box::as_ref)
    }

    /// The mapping at `index` of a view, counted from 0.
    pub fn nth(&self, view: View, index: usize) -> Option<&PortMapping> {
        let order = match view {
            View::All => &self.order,
            View::Unprivileged(client) => &self.clients.get(&client)?.unprivileged,
        };
        self.get(&order.nth(index)?)
    }

    /// Mappings of a protocol with an external port in `ports`, by port; none if the range is empty.
    pub fn range(
        &self,
        protocol: Protocol,
        ports: RangeInclusive<u16>,
    ) -> impl Iterator<Item = &PortMapping> {
        // `BTreeMap::range` panics on a range that ends before it starts.
        let ports = (!ports.is_empty()).then_some(ports);
        ports.into_iter().flat_map(move |ports| {
            self.entries
                .range(MappingKey::span(protocol, ports))
                .map(|(_, mapping)| mapping.as_ref())
        })
    }

    /// Mappings of a protocol that lead to the `internal` endpoints of a client, oldest first for each.
    pub fn leading_to(
        &self,
        protocol: Protocol,
        client: Ipv4Addr,
        internal: RangeInclusive<u16>,
    ) -> impl Iterator<Item = &PortMapping> {
        let row = protocol as u8;
        let (first, last) = internal.into_inner();
        let ports = (first <= last).then_some((first, last));
        ports.into_iter().flat_map(move |(first, last)| {
            let from = (row, SocketAddrV4::new(client, first), 0);
            let to = (row, SocketAddrV4::new(client, last), u64::MAX);
            self.internals.range(from..=to).filter_map(|(_, key)| self.get(key))
        })
    }

    /// All mappings, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &PortMapping> {
        self.order.iter().filter_map(|key| self.get(&key))
    }

    /// Mappings that share the external port of `key`.
    pub(super) fn on_port(&self, key: &MappingKey) -> impl Iterator<Item = &PortMapping> {
        self.range(key.protocol, key.external_port..=key.external_port)
    }

    /// How many mappings there may be.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many mappings an internal client has.
    pub fn mappings_of(&self, client: Ipv4Addr) -> usize {
        self.clients.get(&client).map_or(0, |client| client.mappings)
    }

    /// What is forwarded from the port of `key`: the sum of its mappings.
    pub(super) fn forward(&self, key: &MappingKey) -> Option<PortForward> {
        sum(self.on_port(key))
    }

    /// The same as if `mapping` stood in the table, in the place of the one of the same identity.
    pub(super) fn forward_with(&self, mapping: &PortMapping) -> Option<PortForward> {
        let others = self.on_port(&mapping.key).filter(|other| other.key != mapping.key);
        sum(others.chain([mapping]))
    }

    /// Puts a mapping into the table and its indices.
    pub(super) fn record(&mut self, mapping: PortMapping) {
        let key = mapping.key;
        self.detach(&key);
        self.note(|| Change::Put(Remembered::from(&mapping)));
        self.order.insert(mapping.sequence, key);
        self.internals.insert(place(&mapping), key);
        let client = self.clients.entry(*mapping.internal.ip()).or_default();
        client.mappings += 1;
        if mapping.is_unprivileged() {
            client.unprivileged.insert(mapping.sequence, key);
        }
        if !mapping.is_static() {
            self.deadlines.insert((mapping.deadline, key));
        }
        self.entries.insert(key, Box::new(mapping));
    }

    /// Takes a mapping out of the table and its indices.
    pub(super) fn take(&mut self, key: &MappingKey) -> Option<PortMapping> {
        let mapping = self.detach(key)?;
        self.note(|| Change::Gone(*key));
        Some(mapping)
    }

    fn detach(&mut self, key: &MappingKey) -> Option<PortMapping> {
        let mapping = self.entries.remove(key)?;
        self.order.remove(mapping.sequence);
        self.internals.remove(&place(&mapping));
        let address = *mapping.internal.ip();
        if let Some(client) = self.clients.get_mut(&address) {
            client.mappings -= 1;
            client.unprivileged.remove(mapping.sequence);
            if client.mappings == 0 {
                self.clients.remove(&address);
            }
        }
        self.deadlines.remove(&(mapping.deadline, *key));
        Some(*mapping)
    }

    /// How many mappings a view shows.
    pub fn len_of(&self, view: View) -> usize {
        match view {
            View::All => self.len(),
            View::Unprivileged(client) => {
                self.clients.get(&client).map_or(0, |client| client.unprivileged.len())
            }
        }
    }
}

/// Where a mapping stands among those that lead to internal endpoints.
const fn place(mapping: &PortMapping) -> (u8, SocketAddrV4, u64) {
    (mapping.key.protocol as u8, mapping.internal, mapping.sequence)
}

/// The forward that mappings of one port make together.
fn sum<'a>(mappings: impl Iterator<Item = &'a PortMapping>) -> Option<PortForward> {
    let mut forward: Option<PortForward> = None;
    for mapping in mappings {
        let forward = forward.get_or_insert_with(|| PortForward {
            protocol: mapping.key.protocol,
            external_port: mapping.key.external_port,
            internal: mapping.internal,
            any_remote: None,
            filters: Vec::new(),
            remotes: Vec::new(),
            disabled: Vec::new(),
        });
        match mapping.key.remote {
            remote if !mapping.enabled => forward.disabled.push((remote, mapping.deadline)),
            None => {
                forward.any_remote = Some(mapping.deadline);
                forward.filters = mapping.filters().to_vec();
            }
            Some(remote) => forward.remotes.push((remote, mapping.deadline)),
        }
    }
    if let Some(forward) = &mut forward {
        forward.remotes.sort_unstable();
        forward.disabled.sort_unstable();
    }
    forward
}
