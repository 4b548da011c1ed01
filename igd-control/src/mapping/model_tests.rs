//! The table against a model that has nothing but a list.

use super::fake::FakePath;
use super::*;
use nat_common::{BootTime, Protocol};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

#[derive(Clone, Debug)]
enum Step {
    Add(MappingRequest),
    Remove(MappingKey),
    RemoveRange(Protocol, u16, u16),
    Wait(u64),
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)]
}

fn key() -> impl Strategy<Value = MappingKey> {
    let remote = prop::option::of((1u8..4).prop_map(|host| Ipv4Addr::new(198, 51, 100, host)));
    let port = prop_oneof![1 => Just(0u16), 9 => 1020u16..1030];
    (protocol(), port, remote).prop_map(|(protocol, external_port, remote)| MappingKey {
        protocol,
        external_port,
        remote,
    })
}

/// Leases are given as seconds from the start; 0 stands for a static mapping.
fn request() -> impl Strategy<Value = MappingRequest> {
    (key(), 1u8..4, 1022u16..1026, prop::bool::weighted(0.8), 0u64..60).prop_map(
        |(key, host, port, enabled, lease)| MappingRequest {
            key,
            internal: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, host), port),
            enabled,
            description: String::new(),
            deadline: if lease == 0 { BootTime::NEVER } else { BootTime(lease) },
            origin: Origin::Upnp,
            filters: Vec::new(),
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => request().prop_map(Step::Add),
        2 => key().prop_map(Step::Remove),
        1 => (protocol(), prop_oneof![Just(0u16), 1020u16..1030], 1020u16..1030)
            .prop_map(|(protocol, first, last)| Step::RemoveRange(protocol, first, last)),
        2 => (1u64..20).prop_map(Step::Wait),
    ]
}

/// Entries in the order of their creation.
#[derive(Default)]
struct Model(Vec<MappingRequest>);

const LIMITS: Limits = Limits { mappings: 14, per_client: 8, per_port: 3 };

impl Model {
    fn add(&mut self, request: &MappingRequest) -> Result<(), MapError> {
        let same_port = |entry: &&MappingRequest| {
            entry.key.protocol == request.key.protocol
                && entry.key.external_port == request.key.external_port
        };
        let rivals = self.0.iter().filter(same_port);
        let conflict = rivals.clone().any(|entry| match entry.key == request.key {
            true => {
                entry.internal.ip() != request.internal.ip()
                    || entry.is_static() && !request.is_static()
            }
            false => entry.internal != request.internal,
        });
        if conflict {
            return Err(MapError::Conflict);
        }
        let sharing = rivals.count();
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.key == request.key) {
            *entry = request.clone();
            return Ok(());
        }
        let of_client = self.0.iter().filter(|entry| entry.internal.ip() == request.internal.ip());
        let of_client = of_client.count();
        let full = self.0.len() >= LIMITS.mappings && !request.is_static();
        if full || sharing >= LIMITS.per_port {
            return Err(MapError::NoPortMaps);
        }
        if of_client >= LIMITS.per_client && !request.is_static() {
            return Err(MapError::Quota);
        }
        self.0.push(request.clone());
        Ok(())
    }

    fn remove(&mut self, gone: impl Fn(&MappingRequest) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|entry| !gone(entry));
        before - self.0.len()
    }

    fn forwards(&self) -> BTreeMap<(u8, u16), PortForward> {
        let mut forwards = BTreeMap::new();
        for entry in &self.0 {
            let slot = (entry.key.protocol as u8, entry.key.external_port);
            let forward = forwards.entry(slot).or_insert_with(|| PortForward {
                protocol: entry.key.protocol,
                external_port: entry.key.external_port,
                internal: entry.internal,
                any_remote: None,
                filters: Vec::new(),
                remotes: Vec::new(),
                disabled: Vec::new(),
            });
            match entry.key.remote {
                remote if !entry.enabled => forward.disabled.push((remote, entry.deadline)),
                None => forward.any_remote = Some(entry.deadline),
                Some(remote) => forward.remotes.push((remote, entry.deadline)),
            }
            forward.remotes.sort();
            forward.disabled.sort();
        }
        forwards
    }
}

fn same(mapping: &PortMapping, entry: &MappingRequest) -> bool {
    mapping.key == entry.key
        && mapping.internal == entry.internal
        && mapping.enabled == entry.enabled
        && mapping.deadline == entry.deadline
}

proptest! {
    #[test]
    fn agrees_with_a_plain_list(steps in prop::collection::vec(step(), 1..60)) {
        let (mut table, mut path) = (PortMappingTable::new(LIMITS), FakePath::new());
        let mut model = Model::default();
        let mut now = BootTime(0);
        for step in steps {
            table.expire(&mut path, now);
            model.remove(|entry| entry.deadline <= now);
            let changes = table.changes();
            let changed = match &step {
                Step::Add(request) => {
                    let answer = table.add(&mut path, now, request);
                    prop_assert_eq!(answer, model.add(request));
                    answer.is_ok()
                }
                Step::Remove(key) => {
                    let removed = table.remove(&mut path, now, key).is_some();
                    prop_assert_eq!(usize::from(removed), model.remove(|entry| entry.key == *key));
                    removed
                }
                Step::RemoveRange(protocol, first, last) => {
                    let range = *first..=*last;
                    let removed =
                        table.remove_range(&mut path, now, *protocol, range.clone(), |mapping| mapping.enabled);
                    let gone = model.remove(|entry| {
                        entry.enabled
                            && entry.key.protocol == *protocol
                            && range.contains(&entry.key.external_port)
                    });
                    prop_assert_eq!(removed.len(), gone);
                    gone > 0
                }
                Step::Wait(nanos) => {
                    now = now.plus_nanos(*nanos);
                    let ended = model.remove(|entry| entry.deadline <= now);
                    prop_assert_eq!(table.expire(&mut path, now).len(), ended);
                    ended > 0
                }
            };
            prop_assert_eq!(table.changes(), changes + u32::from(changed));
            prop_assert_eq!(&path.forwards, &model.forwards());
            prop_assert_eq!(table.len(), model.0.len());
            prop_assert!(table.iter().zip(&model.0).all(|(mapping, entry)| same(mapping, entry)));
            for (index, entry) in model.0.iter().enumerate() {
                prop_assert!(same(table.nth(View::All, index).unwrap(), entry));
            }
            let clients: BTreeSet<_> = (1..4).map(|host| Ipv4Addr::new(10, 0, 0, host)).collect();
            for client in clients {
                let own = model.0.iter().filter(|entry| {
                    *entry.internal.ip() == client
                        && entry.internal.port() >= 1024
                        && entry.key.external_port >= 1024
                });
                let view = View::Unprivileged(client);
                prop_assert_eq!(own.clone().count(), table.len_of(view));
                for (index, entry) in own.enumerate() {
                    prop_assert!(same(table.nth(view, index).unwrap(), entry));
                }
            }
            let next = model.0.iter().map(|entry| entry.deadline).filter(|at| *at != BootTime::NEVER).min();
            prop_assert_eq!(table.next_deadline(), next);
        }
    }
}
