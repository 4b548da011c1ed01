use super::fake::{Call, FakePath};
use super::*;
use nat_common::{BootTime, Protocol};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

const NOW: BootTime = BootTime(1_000_000_000_000);
const HOST_A: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const HOST_B: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 11);
const REMOTE_X: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const REMOTE_Y: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

fn request(
    protocol: Protocol,
    port: u16,
    remote: Option<Ipv4Addr>,
    client: Ipv4Addr,
) -> MappingRequest {
    MappingRequest {
        key: MappingKey { protocol, external_port: port, remote },
        internal: SocketAddrV4::new(client, 7000),
        enabled: true,
        description: "test".into(),
        deadline: NOW.plus_secs(100),
        origin: Origin::Upnp,
        filters: Vec::new(),
    }
}

fn tcp(port: u16) -> MappingRequest {
    request(Protocol::Tcp, port, None, HOST_A)
}

/// A table with one mapping: TCP, port 5000, for remote host X, to host A.
fn table_with_one() -> (PortMappingTable, FakePath) {
    let (mut table, mut path) = (PortMappingTable::new(Limits::default()), FakePath::new());
    table.add(&mut path, NOW, &request(Protocol::Tcp, 5000, Some(REMOTE_X), HOST_A)).unwrap();
    (table, path)
}

/// The rows of figures 2-3 and 2-4: whether protocol, external port, remote host and internal client
/// equal those of the mapping that is there; what AddPortMapping says; whether AddAnyPortMapping
/// reserves the wanted port.
const FIGURES: [([bool; 4], Result<(), MapError>, bool); 16] = {
    const CONFLICT: Result<(), MapError> = Err(MapError::Conflict);
    [
        ([false, false, false, false], Ok(()), true),
        ([false, false, false, true], Ok(()), true),
        ([false, false, true, false], Ok(()), true),
        ([false, false, true, true], Ok(()), true),
        ([false, true, false, false], Ok(()), true),
        ([false, true, false, true], Ok(()), true),
        ([false, true, true, false], Ok(()), true),
        ([false, true, true, true], Ok(()), true),
        ([true, false, false, false], Ok(()), true),
        ([true, false, false, true], Ok(()), true),
        ([true, false, true, false], Ok(()), true),
        ([true, false, true, true], Ok(()), true),
        ([true, true, false, false], CONFLICT, false),
        // Left to the vendor: here one internal endpoint may have several remote hosts.
        ([true, true, false, true], Ok(()), true),
        ([true, true, true, false], CONFLICT, false),
        ([true, true, true, true], Ok(()), true),
    ]
};

fn row_request([protocol, port, remote, client]: [bool; 4]) -> MappingRequest {
    request(
        if protocol { Protocol::Tcp } else { Protocol::Udp },
        if port { 5000 } else { 5001 },
        Some(if remote { REMOTE_X } else { REMOTE_Y }),
        if client { HOST_A } else { HOST_B },
    )
}

#[test]
fn add_answers_as_in_figure_2_3() {
    for (row, expected, _) in FIGURES {
        let (mut table, mut path) = table_with_one();
        let held = table.clone().iter().cloned().collect::<Vec<_>>();
        assert_eq!(table.add(&mut path, NOW, &row_request(row)), expected, "{row:?}");
        match expected {
            Ok(()) => assert_eq!(table.len(), if row == [true; 4] { 1 } else { 2 }, "{row:?}"),
            Err(_) => assert!(table.iter().eq(&held), "{row:?}"),
        }
    }
}

#[test]
fn add_any_answers_as_in_figure_2_4() {
    for (row, _, same_port) in FIGURES {
        let (mut table, mut path) = table_with_one();
        let wanted = row_request(row);
        let mut random = Random::new(7);
        let mut next = || random.next_u32();
        let port = table.add_any(&mut path, NOW, &wanted, &mut next, &|_| true).unwrap();
        assert_eq!(port == wanted.key.external_port, same_port, "{row:?}");
        assert_eq!(port % 2, wanted.key.external_port % 2, "{row:?}");
        assert!(path.forward(wanted.key.protocol, port).is_some());
        assert_eq!(table.len(), if row == [true; 4] { 1 } else { 2 }, "{row:?}");
    }
}

#[test]
fn remote_hosts_share_a_port_only_towards_one_internal_endpoint() {
    let (mut table, mut path) = table_with_one();
    let mut other_port = request(Protocol::Tcp, 5000, Some(REMOTE_Y), HOST_A);
    other_port.internal.set_port(7001);
    assert_eq!(table.add(&mut path, NOW, &other_port), Err(MapError::Conflict));
    table.add(&mut path, NOW, &request(Protocol::Tcp, 5000, None, HOST_A)).unwrap();
    let forward = path.forward(Protocol::Tcp, 5000).unwrap();
    assert_eq!(forward.any_remote, Some(NOW.plus_secs(100)));
    assert_eq!(forward.remotes, [(REMOTE_X, NOW.plus_secs(100))]);
}

#[test]
fn overwriting_may_move_the_internal_port() {
    let (mut table, mut path) = table_with_one();
    let mut moved = request(Protocol::Tcp, 5000, Some(REMOTE_X), HOST_A);
    moved.internal.set_port(7001);
    path.calls.clear();
    table.add(&mut path, NOW, &moved).unwrap();
    assert_eq!(path.calls, [Call::Close(5000), Call::Open(5000)]);
    assert_eq!(path.forward(Protocol::Tcp, 5000).unwrap().internal.port(), 7001);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_refused_opening_leaves_everything_as_before() {
    for (refusal, expected) in [
        (PathError::PortInUse, MapError::Conflict),
        (PathError::HeldByRouter, MapError::HeldByRouter),
        (PathError::Full, MapError::NoPortMaps),
        (PathError::Failed, MapError::Failed),
    ] {
        let (mut table, mut path) = table_with_one();
        let changes = table.changes();
        path.refuse.insert(6000, refusal);
        assert_eq!(table.add(&mut path, NOW, &tcp(6000)), Err(expected));
        assert_eq!((table.len(), path.forwards.len(), table.changes()), (1, 1, changes));
    }
}

/// Refuses one internal port, as a path does whose port is still used by sessions.
struct RefusesInternal(FakePath, u16);

impl PacketPath for RefusesInternal {
    fn external_address(&self) -> Option<Ipv4Addr> {
        self.0.external
    }
    fn open(&mut self, now: BootTime, forward: &PortForward) -> Result<(), PathError> {
        if forward.internal.port() == self.1 {
            return Err(PathError::PortInUse);
        }
        self.0.open(now, forward)
    }
    fn close(&mut self, now: BootTime, forward: &PortForward) {
        self.0.close(now, forward);
    }
}

#[test]
fn a_failed_move_of_the_internal_port_restores_the_old_forward() {
    let (mut table, path) = table_with_one();
    let mut path = RefusesInternal(path, 7001);
    let mut moved = request(Protocol::Tcp, 5000, Some(REMOTE_X), HOST_A);
    moved.internal.set_port(7001);
    assert_eq!(table.add(&mut path, NOW, &moved), Err(MapError::Conflict));
    assert_eq!(path.0.forward(Protocol::Tcp, 5000).unwrap().internal.port(), 7000);
    assert_eq!(table.get(&moved.key).unwrap().internal.port(), 7000);
}

#[test]
fn removing_one_of_several_remote_hosts_states_the_rest() {
    let (mut table, mut path) = table_with_one();
    let second = request(Protocol::Tcp, 5000, Some(REMOTE_Y), HOST_A);
    table.add(&mut path, NOW, &second).unwrap();
    assert!(table.remove(&mut path, NOW, &second.key).is_some());
    assert_eq!(path.forward(Protocol::Tcp, 5000).unwrap().remotes.len(), 1);
    assert!(table.remove(&mut path, NOW, &second.key).is_none());
    let first = MappingKey { remote: Some(REMOTE_X), ..second.key };
    assert!(table.remove(&mut path, NOW, &first).is_some());
    assert!(path.forwards.is_empty() && table.is_empty());
}

#[test]
fn what_cannot_be_narrowed_is_closed() {
    let (mut table, mut path) = table_with_one();
    table.add(&mut path, NOW, &tcp(5000)).unwrap();
    path.refuse.insert(5000, PathError::Failed);
    assert!(table.remove(&mut path, NOW, &tcp(5000).key).is_some());
    assert!(path.forwards.is_empty() && table.is_empty());
}

#[test]
fn closing_a_forward_states_the_oldest_other_one_of_its_endpoint() {
    let (mut table, mut path) = (PortMappingTable::new(Limits::default()), FakePath::new());
    for port in [6000, 5500, 5000] {
        table.add(&mut path, NOW, &tcp(port)).unwrap();
    }
    path.calls.clear();
    table.remove(&mut path, NOW, &tcp(6000).key).unwrap();
    assert_eq!(path.calls, [Call::Close(6000), Call::Open(5500)]);
}

#[test]
fn a_disabled_mapping_holds_its_port_but_lets_nothing_in() {
    let (mut table, mut path) = (PortMappingTable::new(Limits::default()), FakePath::new());
    let disabled = MappingRequest { enabled: false, ..tcp(5000) };
    table.add(&mut path, NOW, &disabled).unwrap();
    let held = path.forward(Protocol::Tcp, 5000).unwrap();
    assert_eq!(held.disabled, [(None, NOW.plus_secs(100))]);
    assert!(held.any_remote.is_none() && held.remotes.is_empty());
    assert_eq!(table.nth(View::All, 0).unwrap().key, disabled.key);
    let rival = request(Protocol::Tcp, 5000, None, HOST_B);
    assert_eq!(table.add(&mut path, NOW, &rival), Err(MapError::Conflict));
    table.add(&mut path, NOW, &tcp(5000)).unwrap();
    let open = path.forward(Protocol::Tcp, 5000).unwrap();
    assert!(open.any_remote.is_some() && open.disabled.is_empty());
    table.add(&mut path, NOW, &disabled).unwrap();
    assert!(path.forward(Protocol::Tcp, 5000).unwrap().any_remote.is_none());
    table.remove(&mut path, NOW, &disabled.key).unwrap();
    assert!(path.forwards.is_empty());
}

#[test]
fn the_wildcard_is_a_port_like_others_and_nobody_s_way_out() {
    let (mut table, mut path) = (PortMappingTable::new(Limits::default()), FakePath::new());
    table.add(&mut path, NOW, &tcp(5000)).unwrap();
    table.add(&mut path, NOW, &tcp(0)).unwrap();
    let rival = request(Protocol::Tcp, 0, None, HOST_B);
    assert_eq!(table.add(&mut path, NOW, &rival), Err(MapError::Conflict), "first write wins");
    let listed = request(Protocol::Tcp, 0, Some(REMOTE_X), HOST_A);
    table.add(&mut path, NOW, &listed).unwrap();
    table.add(&mut path, NOW, &request(Protocol::Udp, 0, None, HOST_B)).unwrap();
    table.add(&mut path, NOW, &request(Protocol::Tcp, 6000, None, HOST_B)).unwrap();
    let forward = path.forward(Protocol::Tcp, 0).unwrap();
    assert_eq!((forward.any_remote.is_some(), forward.remotes.len()), (true, 1));
    assert!(!forward.leads());
    path.calls.clear();
    table.remove(&mut path, NOW, &tcp(5000).key).unwrap();
    assert_eq!(path.calls, [Call::Close(5000)], "the wildcard is not stated as a way out");
}

#[test]
fn whoever_cannot_have_every_port_is_given_one() {
    let (mut table, mut path) = (PortMappingTable::new(Limits::default()), FakePath::new());
    let mut random = Random::new(7);
    let mut next = || random.next_u32();
    assert_eq!(table.add_any(&mut path, NOW, &tcp(0), &mut next, &|_| true), Ok(0));
    assert_eq!(table.add_any(&mut path, NOW, &tcp(0), &mut next, &|_| true), Ok(0), "refreshed");
    let rival = request(Protocol::Tcp, 0, None, HOST_B);
    let port = table.add_any(&mut path, NOW, &rival, &mut next, &|_| true).unwrap();
    assert!(port >= 1024 && path.forward(Protocol::Tcp, port).is_some());
}

#[test]
fn an_endpoint_leaves_by_another_forward_when_one_is_disabled() {
    let (mut table, mut path) = (PortMappingTable::new(Limits::default()), FakePath::new());
    table.add(&mut path, NOW, &tcp(5000)).unwrap();
    table.add(&mut path, NOW, &tcp(6000)).unwrap();
    path.calls.clear();
    table.add(&mut path, NOW, &MappingRequest { enabled: false, ..tcp(5000) }).unwrap();
    assert_eq!(path.calls, [Call::Open(5000), Call::Open(6000)]);
    path.calls.clear();
    table.remove(&mut path, NOW, &tcp(6000).key).unwrap();
    assert_eq!(path.calls, [Call::Close(6000)]);
}

#[test]
fn leases_end_at_their_second() {
    let (mut table, mut path) = (PortMappingTable::new(Limits::default()), FakePath::new());
    table.add(&mut path, NOW, &tcp(5000)).unwrap();
    let lasting = MappingRequest { deadline: BootTime::NEVER, ..tcp(6000) };
    table.add(&mut path, NOW, &lasting).unwrap();
    let end = NOW.plus_secs(100);
    assert_eq!(table.next_deadline(), Some(end));
    assert_eq!(table.get(&tcp(5000).key).unwrap().lease_left(NOW.plus_nanos(1)), 100);
    assert_eq!(table.get(&lasting.key).unwrap().lease_left(NOW), 0);
    assert!(table.expire(&mut path, BootTime(end.0 - 1)).is_empty());
    let changes = table.changes();
    assert_eq!(table.expire(&mut path, end).len(), 1);
    assert_eq!(table.changes(), changes + 1);
    assert_eq!((table.len(), path.forwards.len(), table.next_deadline()), (1, 1, None));
}

#[test]
fn limits_are_kept_but_do_not_stop_refreshing() {
    let limits = Limits { mappings: 3, per_client: 2, per_port: 2 };
    let (mut table, mut path) = (PortMappingTable::new(limits), FakePath::new());
    table.add(&mut path, NOW, &tcp(5000)).unwrap();
    table.add(&mut path, NOW, &tcp(5001)).unwrap();
    assert_eq!(table.add(&mut path, NOW, &tcp(5002)), Err(MapError::Quota));
    table.add(&mut path, NOW, &tcp(5001)).unwrap();
    table.add(&mut path, NOW, &request(Protocol::Tcp, 5002, None, HOST_B)).unwrap();
    let fourth = request(Protocol::Tcp, 5003, None, HOST_B);
    assert_eq!(table.add(&mut path, NOW, &fourth), Err(MapError::NoPortMaps));
    assert_eq!(
        table.add_any(&mut path, NOW, &fourth, &mut || 0, &|_| true),
        Err(MapError::NoPortMaps)
    );
}

#[test]
fn the_last_free_port_is_found() {
    let (mut table, mut path) = (PortMappingTable::new(Limits::default()), FakePath::new());
    path.only = Some(vec![43_211]);
    let mut random = Random::new(1);
    let mut next = || random.next_u32();
    assert_eq!(table.add_any(&mut path, NOW, &tcp(80), &mut next, &|_| true), Ok(43_211));
    assert_eq!(
        table.add_any(&mut path, NOW, &tcp(80), &mut next, &|_| true),
        Err(MapError::NoPortMaps)
    );
}

#[test]
fn a_failing_path_ends_the_search_for_a_port() {
    let (mut table, mut path) = table_with_one();
    path.refuse = (1..=u16::MAX).map(|port| (port, PathError::Failed)).collect();
    assert_eq!(
        table.add_any(&mut path, NOW, &tcp(80), &mut || 0, &|_| true),
        Err(MapError::Failed)
    );
}

#[test]
fn adopted_forwards_are_listed_and_expire() {
    let (mut table, mut path) = table_with_one();
    let forward = PortForward {
        protocol: Protocol::Udp,
        external_port: 9000,
        internal: SocketAddrV4::new(HOST_B, 9000),
        any_remote: Some(NOW.plus_secs(5)),
        filters: Vec::new(),
        remotes: vec![(REMOTE_X, NOW.plus_secs(9))],
        disabled: vec![(Some(REMOTE_Y), NOW.plus_secs(7))],
    };
    path.open(NOW, &forward).unwrap();
    table.adopt(&forward, "").unwrap();
    table.adopt(&forward, "").unwrap();
    assert_eq!(table.len(), 4);
    let disabled: Vec<_> = table.iter().filter(|mapping| !mapping.enabled).collect();
    assert_eq!(
        disabled.iter().map(|mapping| mapping.key.remote).collect::<Vec<_>>(),
        [Some(REMOTE_Y)]
    );
    let elsewhere = PortForward { internal: SocketAddrV4::new(HOST_A, 9000), ..forward };
    assert_eq!(table.adopt(&elsewhere, ""), Err(MapError::Conflict));
    assert_eq!(table.expire(&mut path, NOW.plus_secs(5)).len(), 1);
    assert_eq!(path.forward(Protocol::Udp, 9000).unwrap().any_remote, None);
    assert_eq!(table.expire(&mut path, NOW.plus_secs(7)).len(), 1);
    assert_eq!(table.expire(&mut path, NOW.plus_secs(9)).len(), 1);
    assert!(path.forward(Protocol::Udp, 9000).is_none());
}

#[test]
fn a_view_shows_only_a_clients_unprivileged_mappings() {
    let (mut table, mut path) = (PortMappingTable::new(Limits::default()), FakePath::new());
    for (port, client) in [(5000, HOST_A), (5001, HOST_B), (80, HOST_A), (5002, HOST_A)] {
        table.add(&mut path, NOW, &request(Protocol::Tcp, port, None, client)).unwrap();
    }
    let view = View::Unprivileged(HOST_A);
    let port = |index| table.nth(view, index).map(|mapping| mapping.key.external_port);
    assert_eq!([port(0), port(1), port(2)], [Some(5000), Some(5002), None]);
    assert_eq!(table.len_of(view), 2);
    assert!(table.nth(View::Unprivileged(REMOTE_X), 0).is_none());
}

/// A guard against quadratic time, with room to spare for a debug build on a busy machine; the
/// benchmark has the real demand.
#[test]
fn sixty_thousand_mappings_are_added_read_and_removed_in_seconds() {
    let started = Instant::now();
    let (mut table, mut path) = (PortMappingTable::new(Limits::default()), FakePath::new());
    for port in 5_000..65_000 {
        table.add(&mut path, NOW, &tcp(port)).unwrap();
    }
    for index in 0..60_000 {
        let key = table.nth(View::All, index).unwrap().key;
        assert_eq!(table.get(&key).unwrap().key.external_port as usize, 5_000 + index);
    }
    assert_eq!(
        table.remove_range(&mut path, NOW, Protocol::Tcp, 1..=64_000, |_| true).len(),
        59_001
    );
    assert_eq!(table.len(), 999);
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}
