//! The gateway's table and the server upstream.

use super::server::{EXTERNAL, OWN, PLACE, Server};
use super::{START, key};
use crate::igd::{Gateway, GatewayConfig, PrivateAddress};
use crate::mapping::fake::FakePath;
use crate::mapping::{MappingKey, MappingRequest, Origin, RemoteFilter};
use crate::upstream::{Interworking, InterworkingConfig, Key, Outcome, Port, ServerPlace, Service};
use crate::wire::pcp::ResultCode;
use nat_common::{BootTime, Protocol};
use std::net::{Ipv4Addr, SocketAddrV4};
use uuid::Uuid;

pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

pub(super) fn config(nat: bool) -> InterworkingConfig {
    let private_address = PrivateAddress::Truth;
    InterworkingConfig { secret: Uuid::from_u128(9), seed: 3, nat, private_address, xlat: None }
}

/// A gateway, its mirror, and the server.
pub(super) struct World {
    pub(super) now: BootTime,
    pub(super) gateway: Gateway<FakePath>,
    pub(super) mirror: Interworking,
    pub(super) server: Server,
    outcomes: Vec<(Port, Outcome)>,
    pub(super) deaf: bool,
}

impl World {
    fn new() -> Self {
        Self::with(config(true))
    }

    pub(super) fn with(config: InterworkingConfig) -> Self {
        Self::at(config, PLACE)
    }

    pub(super) fn at(config: InterworkingConfig, place: ServerPlace) -> Self {
        let path = FakePath { external: Some(OWN), ..FakePath::new() };
        let mut mirror = Interworking::new(config);
        mirror.server_is(Some(place));
        let mut world = Self {
            now: START,
            gateway: Gateway::new(START, &GatewayConfig::default(), path),
            mirror,
            server: Server::asked_from(place.client(OWN), START),
            outcomes: Vec::new(),
            deaf: false,
        };
        world.follow();
        world
    }

    pub(super) fn follow(&mut self) {
        loop {
            let outcomes = self.mirror.follow(self.now, &mut self.gateway);
            self.outcomes.extend(outcomes);
            let Some(client) = self.mirror.client_mut() else { return };
            let datagrams = client.take_datagrams();
            if datagrams.is_empty() {
                return;
            }
            for datagram in datagrams {
                let answer = self.server.answer(self.now, &datagram).filter(|_| !self.deaf);
                if let Some(answer) = answer {
                    let from = client.config().server;
                    client.hear(self.now, from, &answer);
                }
            }
        }
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        let end = self.now.plus_secs(seconds);
        let next = |world: &mut Self| {
            let client = world.mirror.client_mut().and_then(|client| client.next());
            let moments = [client, world.gateway.next_deadline()];
            moments.into_iter().flatten().min().filter(|next| *next <= end)
        };
        while let Some(moment) = next(self) {
            self.now = self.now.max(moment);
            self.gateway.expire(self.now);
            self.follow();
        }
        self.now = end;
    }

    pub(super) fn add(&mut self, port: u16, seconds: u64) {
        let request = request(port, self.now.plus_secs(seconds));
        let parts = self.gateway.parts(self.now);
        parts.table.add(parts.path, self.now, &request).unwrap();
    }

    fn ports(&self) -> Vec<u16> {
        self.gateway.table().iter().map(|mapping| mapping.key.external_port).collect()
    }

    pub(super) fn outcomes(&mut self) -> Vec<(Port, Outcome)> {
        std::mem::take(&mut self.outcomes)
    }
}

fn tcp(number: u16) -> Port {
    Port { protocol: Protocol::Tcp, number }
}

fn request(port: u16, deadline: BootTime) -> MappingRequest {
    MappingRequest {
        key: MappingKey { protocol: Protocol::Tcp, external_port: port, remote: None },
        internal: SocketAddrV4::new(CLIENT, port),
        enabled: true,
        description: String::new(),
        deadline,
        origin: Origin::Upnp,
        filters: Vec::new(),
    }
}

#[test]
fn every_mapping_of_the_table_is_one_of_our_own_address_upstream() {
    let mut world = World::new();
    assert_eq!(world.gateway.external_address(), Some(EXTERNAL), "by the mapping held for it");
    world.add(6_000, 600);
    world.follow();
    assert_eq!(world.outcomes(), [(tcp(6_000), Outcome::Granted)]);
    assert_eq!(world.server.port_of(world.now, &key(6_000)), Some(6_000));
    world.pass(601);
    assert!(world.ports().is_empty());
    assert_eq!(world.server.port_of(world.now, &key(6_000)), None);
}

#[test]
fn what_the_server_refuses_goes_and_what_the_operator_has_made_stays() {
    let mut world = World::new();
    world.server.taken.extend([6_000, 6_001]);
    world.add(6_000, 600);
    let fixed = request(6_001, BootTime::NEVER);
    world.gateway.add_static(world.now, &fixed).unwrap();
    world.follow();
    let refused = Outcome::Refused(ResultCode::CannotProvideExternal);
    let outcomes = world.outcomes();
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes.iter().all(|(_, outcome)| *outcome == refused));
    assert_eq!(world.ports(), [6_001]);
    world.server.taken.clear();
    world.pass(1_801);
    assert_eq!(world.server.port_of(world.now, &key(6_001)), Some(6_001), "tried again");
}

/// Adds a mapping whose port is taken at the server, and that may have another one: which it gets.
fn moved(world: &mut World) -> Port {
    world.server.taken.push(6_000);
    world.add(6_000, 600);
    world.mirror.may_move(tcp(6_000));
    world.follow();
    let outcomes = world.outcomes();
    let [(from, Outcome::Moved(to)), (granted, Outcome::Granted)] = outcomes.as_slice() else {
        panic!("{outcomes:?}");
    };
    assert_eq!((from, granted), (&tcp(6_000), to));
    *to
}

#[test]
fn a_mapping_that_may_moves_to_the_port_that_the_server_chooses() {
    let mut world = World::new();
    let to = moved(&mut world);
    assert_eq!(world.ports(), [to.number], "one number on both");
    assert_eq!(world.server.port_of(world.now, &key(to.number)), Some(to.number));
    assert_eq!(world.server.port_of(world.now, &key(6_000)), None);
}

#[test]
fn a_mapping_cannot_move_to_a_port_that_is_taken_here() {
    let mut world = World::new();
    world.server.taken.push(6_000);
    // What the server would choose.
    let other = MappingRequest {
        internal: SocketAddrV4::new(CLIENT, 1_234),
        ..request(40_000, world.now.plus_secs(600))
    };
    world.deaf = true;
    world.add(6_000, 600);
    world.mirror.may_move(tcp(6_000));
    let parts = world.gateway.parts(world.now);
    parts.table.add(parts.path, world.now, &other).unwrap();
    world.deaf = false;
    world.server.taken.push(40_000);
    world.server.mappings.clear();
    world.follow();
    assert!(!world.ports().contains(&6_000));
}

#[test]
fn without_a_server_that_answers_all_is_as_without_one() {
    let mut world = World::new();
    world.deaf = true;
    world.server = Server::new(world.now);
    world.mirror = Interworking::new(config(true));
    world.mirror.server_is(Some(PLACE));
    world.follow();
    world.add(6_000, 100_000);
    world.follow();
    assert!(world.mirror.is_pending(tcp(6_000)), "it may still answer");
    assert_eq!(world.gateway.external_address(), None, "which would be another one");
    world.pass(15);
    assert_eq!(world.mirror.state().service, Some(Service::Silent));
    assert!(!world.mirror.is_pending(tcp(6_000)));
    assert_eq!(world.gateway.external_address(), Some(OWN));
    assert_eq!(world.ports(), [6_000]);
    world.deaf = false;
    world.pass(60);
    assert_eq!(world.gateway.external_address(), Some(EXTERNAL));
    assert_eq!(world.server.port_of(world.now, &key(6_000)), Some(6_000));
}

#[test]
fn a_server_that_falls_silent_keeps_its_mappings_until_their_leases_end() {
    let mut world = World::new();
    world.server.longest = 600;
    world.add(6_000, 100_000);
    world.follow();
    world.outcomes();
    world.deaf = true;
    world.pass(500);
    assert_eq!(world.ports(), [6_000]);
    assert_eq!(world.gateway.external_address(), Some(OWN), "its address is not renewed");
    world.pass(101);
    assert_eq!(world.outcomes(), [(tcp(6_000), Outcome::Lost)]);
    assert!(world.ports().is_empty());
}

#[test]
fn a_restart_of_the_server_is_seen_by_the_mapping_held_for_its_address() {
    let mut world = World::new();
    world.add(6_000, 100_000);
    world.follow();
    world.pass(1_000);
    world.server = Server::new(world.now);
    world.pass(80);
    assert_eq!(world.mirror.state().losses, 1);
    assert_eq!(world.server.port_of(world.now, &key(6_000)), Some(6_000));
    assert_eq!(world.ports(), [6_000]);
}

#[test]
fn a_new_address_of_our_own_has_all_mappings_made_anew() {
    let mut world = World::new();
    world.add(6_000, 100_000);
    world.follow();
    world.outcomes();
    world.gateway.path_mut().external = None;
    world.follow();
    assert_eq!(world.mirror.state().service, None);
    world.gateway.path_mut().external = Some(OWN);
    world.follow();
    assert_eq!(world.outcomes(), [(tcp(6_000), Outcome::Granted)], "by the same nonce");
}

#[test]
fn a_probe_tells_whether_a_port_is_free_and_gives_it_back() {
    let mut world = World::new();
    world.server.taken.push(6_001);
    for (number, expected) in
        [(6_000, Outcome::Free), (6_001, Outcome::Refused(ResultCode::CannotProvideExternal))]
    {
        assert!(world.mirror.probe(world.now, tcp(number)));
        world.follow();
        assert_eq!(world.outcomes(), [(tcp(number), expected)]);
        assert_eq!(world.server.port_of(world.now, &key(number)), None);
    }
    world.add(6_000, 600);
    world.follow();
    assert!(!world.mirror.probe(world.now, tcp(6_000)), "it is in the table");
}

#[test]
fn two_remote_hosts_that_share_a_port_share_its_mapping() {
    let mut world = World::new();
    for (host, seconds) in [(1, 100), (2, 600)] {
        let key = MappingKey {
            protocol: Protocol::Tcp,
            external_port: 6_000,
            remote: Some(Ipv4Addr::new(11, 22, 44, host)),
        };
        let request = MappingRequest { key, ..request(6_000, world.now.plus_secs(seconds)) };
        let parts = world.gateway.parts(world.now);
        parts.table.add(parts.path, world.now, &request).unwrap();
    }
    world.follow();
    world.pass(300);
    assert_eq!(world.server.port_of(world.now, &key(6_000)), Some(6_000));
    assert_eq!(world.ports(), [6_000]);
}

/// The endpoint of a mapping of [`request`], as it is at the server where there is no NAT here.
fn theirs(port: u16) -> Key {
    Key::map(Protocol::Tcp, SocketAddrV4::new(CLIENT, port))
}

#[test]
fn without_a_nat_here_every_mapping_is_one_of_the_clients_own_endpoint() {
    let mut world = World::with(config(false));
    assert_eq!(world.gateway.external_address(), Some(EXTERNAL));
    world.add(6_000, 600);
    world.follow();
    assert_eq!(world.outcomes(), [(tcp(6_000), Outcome::Granted)]);
    assert_eq!(world.server.port_of(world.now, &theirs(6_000)), Some(6_000));
    assert_eq!(world.server.port_of(world.now, &key(6_000)), None);
    assert!(!world.mirror.is_shut(tcp(6_000)));
    world.pass(601);
    assert!(world.ports().is_empty());
    assert_eq!(world.server.port_of(world.now, &theirs(6_000)), None);
    world.server.taken.push(6_001);
    world.add(6_001, 600);
    world.follow();
    let refused = Outcome::Refused(ResultCode::CannotProvideExternal);
    assert_eq!(world.outcomes(), [(tcp(6_001), refused)]);
    assert!(world.ports().is_empty());
}

#[test]
fn without_a_nat_here_a_mapping_takes_the_servers_port_as_it_is() {
    let mut world = World::with(config(false));
    let to = moved(&mut world);
    assert_eq!(world.ports(), [to.number]);
    assert_eq!(world.server.port_of(world.now, &theirs(6_000)), Some(to.number));
    assert_eq!(world.mirror.state().held, 1);
    world.pass(400);
    assert_eq!(world.ports(), [to.number], "renewed");
}

#[test]
fn without_a_nat_here_a_mapping_is_nothing_without_the_server() {
    let mut world = World::with(config(false));
    world.deaf = true;
    world.mirror = Interworking::new(config(false));
    world.mirror.server_is(Some(PLACE));
    world.add(6_000, 600);
    world.follow();
    world.pass(15);
    assert!(!world.mirror.is_pending(tcp(6_000)) && world.mirror.is_shut(tcp(6_000)));
    assert_eq!(world.gateway.external_address(), None, "our own leads nowhere");
}

#[test]
fn without_a_nat_here_remote_hosts_are_filters_of_the_server() {
    let mut world = World::with(config(false));
    for host in [1, 2] {
        let remote = Some(Ipv4Addr::new(11, 22, 44, host));
        let key = MappingKey { protocol: Protocol::Tcp, external_port: 6_000, remote };
        let request = MappingRequest { key, ..request(6_000, world.now.plus_secs(600)) };
        let parts = world.gateway.parts(world.now);
        parts.table.add(parts.path, world.now, &request).unwrap();
    }
    world.follow();
    assert_eq!(world.outcomes(), [(tcp(6_000), Outcome::Granted)]);
    assert_eq!(world.mirror.state().unproven, 1, "its word for it");
    world.server.knows_filters = false;
    let key = MappingKey { protocol: Protocol::Tcp, external_port: 6_001, remote: None };
    let filters = vec![RemoteFilter::new(Ipv4Addr::new(11, 22, 0, 0), 16, 0)];
    let filtered = MappingRequest { key, filters, ..request(6_001, world.now.plus_secs(600)) };
    let parts = world.gateway.parts(world.now);
    parts.table.add(parts.path, world.now, &filtered).unwrap();
    world.follow();
    let refused = Outcome::Refused(ResultCode::UnsuppOption);
    assert_eq!(world.outcomes(), [(tcp(6_001), refused)], "rather than to everybody");
}

#[test]
fn without_a_nat_here_an_endpoint_may_have_another_port_later() {
    let mut world = World::with(config(false));
    world.add(6_000, 600);
    world.follow();
    let parts = world.gateway.parts(world.now);
    parts.table.remove(parts.path, world.now, &request(6_000, world.now).key);
    let key = MappingKey { protocol: Protocol::Tcp, external_port: 7_000, remote: None };
    let other = MappingRequest { key, ..request(6_000, world.now.plus_secs(600)) };
    parts.table.add(parts.path, world.now, &other).unwrap();
    world.outcomes();
    world.follow();
    assert_eq!(world.outcomes(), [(tcp(7_000), Outcome::Granted)]);
    assert_eq!(world.server.port_of(world.now, &theirs(6_000)), Some(7_000));
}

#[test]
fn where_no_privileged_port_is_mapped_the_address_is_known_by_another() {
    let mut world = World::new();
    world.server = Server::new(START);
    world.server.unprivileged_only = true;
    world.mirror.server_is(None);
    world.follow();
    world.mirror.server_is(Some(PLACE));
    world.follow();
    assert_eq!(world.gateway.external_address(), Some(EXTERNAL));
    let state = world.mirror.state();
    assert_eq!((state.refusal, state.held, state.wanted), (None, 0, 0));
    world.pass(300);
    assert_eq!(world.gateway.external_address(), Some(EXTERNAL), "and renewed");
}
