//! What a store is told, and what comes back from it.

use super::fake::FakePath;
use super::*;
use nat_common::{BootTime, Protocol};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

const NOW: BootTime = BootTime(1_000_000_000_000);
const HOST_A: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const HOST_B: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 11);

fn request(port: u16, client: Ipv4Addr) -> MappingRequest {
    MappingRequest {
        key: MappingKey { protocol: Protocol::Tcp, external_port: port, remote: None },
        internal: SocketAddrV4::new(client, 7000),
        enabled: true,
        description: format!("port {port}"),
        deadline: NOW.plus_secs(100),
        origin: Origin::Upnp,
        filters: Vec::new(),
    }
}

fn fixed(port: u16, client: Ipv4Addr) -> MappingRequest {
    MappingRequest { deadline: BootTime::NEVER, ..request(port, client) }
}

fn table() -> (PortMappingTable, FakePath) {
    let mut table = PortMappingTable::new(Limits::default());
    table.keep_changes();
    (table, FakePath::new())
}

/// What a store makes of the changes.
fn play(store: &mut BTreeMap<MappingKey, Remembered>, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::Put(mapping) => store.insert(mapping.mapping.key, mapping),
            Change::Gone(key) => store.remove(&key),
        };
    }
}

fn in_order(store: &BTreeMap<MappingKey, Remembered>) -> Vec<Remembered> {
    let mut all: Vec<_> = store.values().cloned().collect();
    all.sort_by_key(|mapping| mapping.sequence);
    all
}

#[test]
fn changes_played_again_make_the_same_table() {
    let (mut table, mut path) = table();
    let mut store = BTreeMap::new();
    for port in [5003, 5001, 5002, 5004] {
        table.add(&mut path, NOW, &request(port, HOST_A)).unwrap();
    }
    let mut renewed = request(5001, HOST_A);
    renewed.deadline = NOW.plus_secs(300);
    table.add(&mut path, NOW, &renewed).unwrap();
    table.remove(&mut path, NOW, &request(5002, HOST_A).key);
    play(&mut store, table.take_changes());
    assert_eq!(in_order(&store), table.remember());
    table.expire(&mut path, NOW.plus_secs(200));
    play(&mut store, table.take_changes());
    assert_eq!(in_order(&store), table.remember());
    assert_eq!(store.len(), 1);
    assert_eq!(table.take_changes(), []);
}

#[test]
fn a_refused_mapping_is_no_change() {
    let (mut table, mut path) = table();
    path.refuse.insert(5000, PathError::PortInUse);
    table.add(&mut path, NOW, &request(5000, HOST_A)).unwrap_err();
    assert_eq!(table.take_changes(), []);
}

#[test]
fn what_is_in_force_gets_its_words_and_its_place_again() {
    let (mut before, mut path) = table();
    for port in [5002, 5001, 5003] {
        before.add(&mut path, NOW, &request(port, HOST_A)).unwrap();
    }
    let mut remembered = before.remember();
    // Of another client meanwhile, as far as the packet path knows.
    remembered[2].mapping.internal.set_ip(HOST_B);
    let (mut after, _) = table();
    after.begin_after(&remembered);
    for forward in path.forwards.values() {
        after.adopt(forward, "restored").unwrap();
    }
    let known: Vec<_> = remembered.iter().map(|mapping| after.recall(mapping)).collect();
    assert_eq!(known, [true, true, false]);
    let listed: Vec<_> =
        after.iter().map(|m| (m.key.external_port, m.description.as_str())).collect();
    assert_eq!(listed, [(5002, "port 5002"), (5001, "port 5001"), (5003, "restored")]);
    after.add(&mut path, NOW, &request(5004, HOST_A)).unwrap();
    assert_eq!(after.iter().last().unwrap().key.external_port, 5004);
}

#[test]
fn a_packet_path_without_forwards_gets_them_again() {
    let (mut before, mut path) = table();
    for port in [5002, 5001] {
        before.add(&mut path, NOW, &request(port, HOST_A)).unwrap();
    }
    let (mut after, mut empty) = table();
    let remembered = before.remember();
    after.begin_after(&remembered);
    for mapping in &remembered {
        after.restore(&mut empty, NOW, mapping).unwrap();
    }
    assert_eq!(empty.forwards, path.forwards);
    assert_eq!(after.remember(), remembered);
}

#[test]
fn a_static_mapping_is_not_a_clients_to_change() {
    let (mut table, mut path) = table();
    table.add_static(&mut path, NOW, &fixed(5000, HOST_A)).unwrap();
    for client in [HOST_A, HOST_B] {
        let refused = table.add(&mut path, NOW, &request(5000, client));
        assert_eq!(refused, Err(MapError::Conflict));
    }
    let mapping = table.get(&fixed(5000, HOST_A).key).unwrap();
    assert_eq!((mapping.lease_left(NOW), mapping.is_static()), (0, true));
    assert!(table.expire(&mut path, NOW.plus_secs(10_000_000)).is_empty());
    let again = MappingRequest { description: "new".into(), ..fixed(5000, HOST_A) };
    table.add_static(&mut path, NOW, &again).unwrap();
    assert_eq!(table.iter().next().unwrap().description, "new");
    let other = table.add_static(&mut path, NOW, &fixed(5000, HOST_B));
    assert_eq!(other, Err(MapError::Conflict), "one static mapping does not push out another");
}

#[test]
fn a_static_mapping_comes_before_leases_and_limits() {
    let mut table = PortMappingTable::new(Limits { mappings: 1, ..Limits::default() });
    let mut path = FakePath::new();
    table.add(&mut path, NOW, &request(5000, HOST_B)).unwrap();
    table.add_static(&mut path, NOW, &fixed(5000, HOST_A)).unwrap();
    table.add_static(&mut path, NOW, &fixed(5001, HOST_A)).unwrap();
    let owners: Vec<_> = table.iter().map(|mapping| *mapping.internal.ip()).collect();
    assert_eq!(owners, [HOST_A, HOST_A]);
    assert_eq!(path.forward(Protocol::Tcp, 5000).unwrap().internal.ip(), &HOST_A);
    let beyond = table.add(&mut path, NOW, &request(5002, HOST_B));
    assert_eq!(beyond, Err(MapError::NoPortMaps));
}
