//! Which endpoint at the server a port of the table is.

use super::{Port, key, port};
use crate::mapping::PortMapping;
use crate::upstream::{Client, Key};
use crate::wire::pcp::Filter;
use std::collections::HashMap;

/// With a NAT here every port is the one of that number at our own address. Without one it is the internal
/// endpoint of its mapping, as the client has said it.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    nat: bool,
    keys: HashMap<Port, Key>,
    ports: HashMap<Key, Port>,
}

impl Endpoints {
    pub(super) fn new(nat: bool) -> Self {
        Self { nat, keys: HashMap::new(), ports: HashMap::new() }
    }

    /// Forgets whose the ports are.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.ports.clear();
    }

    /// A port is one of this mapping.
    pub(super) fn lead(&mut self, mapping: &PortMapping) {
        if self.nat {
            return;
        }
        let (key, port) =
            (Key::map(mapping.key.protocol, mapping.internal), Port::from(&mapping.key));
        self.keys.insert(port, key);
        self.ports.insert(key, port);
    }

    /// Where a port leads. One that leads nowhere is asked about for ourselves.
    pub(super) fn key(&self, client: &Client, port: Port) -> Key {
        self.keys.get(&port).copied().unwrap_or(key(client.config().own, port))
    }

    /// The port that leads to an endpoint; `None`: none any more.
    pub(super) fn port(&self, client: &Client, key: &Key) -> Option<Port> {
        let ours = self.nat || *key.internal.ip() == client.config().own;
        self.ports.get(key).copied().or_else(|| ours.then(|| port(key)))
    }

    /// Whom the server is to let in, by mappings that share a port; empty: everybody. With a NAT here that
    /// one sees to it.
    pub(super) fn filters(&self, mappings: &[&PortMapping]) -> Vec<Filter> {
        /// What a prefix of IPv4 lacks.
        const MAPPED: u8 = 96;
        if self.nat {
            return Vec::new();
        }
        if let Some(open) = mappings.iter().find(|mapping| mapping.key.remote.is_none()) {
            let filter = |filter: &crate::mapping::RemoteFilter| Filter {
                prefix: MAPPED + filter.prefix,
                port: filter.port,
                address: filter.network.into(),
            };
            return open.filters().iter().map(filter).collect();
        }
        let remotes = mappings.iter().filter_map(|mapping| mapping.key.remote);
        remotes
            .map(|remote| Filter { prefix: MAPPED + 32, port: 0, address: remote.into() })
            .collect()
    }
}
