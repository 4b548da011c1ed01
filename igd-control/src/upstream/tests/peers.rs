//! PEER of the LAN's clients, and what a server upstream makes of it.

use super::mirror::{self, CLIENT};
use super::server::{EXTERNAL, OWN, PLACE, PLACE_6};
use super::*;
use crate::pcp::{self, Epoch, Settings};
use crate::upstream::{Outcome, lan};
use crate::wire::pcp::{Mapping, Nonce, Operation, RemotePeer, Response};
use std::net::IpAddr;

const FRIEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(11, 22, 44, 2), 7_000);

/// What a client is told: the external endpoint, and for how many seconds.
type Told = std::result::Result<(SocketAddrV4, u32), ResultCode>;

/// A LAN, its PCP server, and the one upstream.
struct Lan {
    world: mirror::World,
    server: pcp::Server,
}

impl Lan {
    fn beneath(place: ServerPlace) -> Self {
        let world = mirror::World::at(mirror::config(true), place);
        let server = pcp::Server::new(Settings::default(), Epoch::new(START));
        Self { world, server }
    }

    /// Asks, and is answered when the server upstream has spoken.
    fn ask(&mut self, request: &Request) -> Told {
        let Self { world, server } = self;
        server.look_at_address(world.now, &mut world.gateway);
        let datagram = request.encode();
        let answer = server.answer(world.now, &mut world.gateway, CLIENT, &datagram).unwrap();
        let peer = lan::granted_peer(CLIENT, &answer);
        world.follow();
        let outcomes = world.mirror.take_peer_outcomes();
        let outcome = outcomes.iter().find(|(of, _)| Some(*of) == peer).map(|(_, it)| *it);
        let answer = match (peer.and_then(|peer| world.mirror.peer_lease(&peer)), outcome) {
            (_, Some(Outcome::Refused(code))) => lan::refused(&datagram, &answer, code),
            (Some(lease), _) => {
                let external = SocketAddrV4::new(lease.address, lease.port);
                let seconds = u32::try_from(lease.until.secs_from(world.now)).unwrap();
                lan::adjusted_peer(&datagram, &answer, external, seconds)
            }
            (None, _) => answer,
        };
        let response = Response::decode(&answer).unwrap();
        let Some(Operation::Peer(mapping, remote)) = response.operation() else { panic!("PEER") };
        assert_eq!((remote.port, mapping.nonce), (FRIEND.port(), Nonce([7; 12])));
        if !response.is_success() {
            return Err(response.result);
        }
        let IpAddr::V4(address) = mapping.external else { panic!("IPv4") };
        Ok((SocketAddrV4::new(address, mapping.external_port), response.lifetime))
    }

    /// Sessions that the packet path here holds, and those of the server.
    fn held(&self) -> (usize, usize) {
        let server = &self.world.server;
        let there = server.mappings.iter().filter(|held| held.remote.is_some());
        let now = self.world.now;
        let here = self.world.gateway.path().peers.values().filter(|peer| peer.deadline > now);
        (here.count(), there.count())
    }
}

fn peer(port: u16, lifetime: u32) -> Request {
    let mapping = Mapping {
        nonce: Nonce([7; 12]),
        protocol: 17,
        internal_port: 5_600,
        external_port: port,
        external: Ipv4Addr::UNSPECIFIED.into(),
    };
    let remote = RemotePeer { port: FRIEND.port(), address: (*FRIEND.ip()).into() };
    let operation = Operation::Peer(mapping, remote);
    Request { lifetime, client: CLIENT.into(), operation, options: Vec::new() }
}

const fn outside(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(EXTERNAL, port)
}

#[test]
fn a_session_is_asked_for_from_our_own_endpoint_and_lasts_as_the_server_says() {
    for place in [PLACE, PLACE_6] {
        let mut lan = Lan::beneath(place);
        lan.world.server.longest = 300;
        assert_eq!(lan.ask(&peer(0, 3_600)), Ok((outside(40_001), 300)));
        let held = lan.world.server.mappings.iter().find(|held| held.remote.is_some()).unwrap();
        assert_eq!(held.internal, SocketAddrV4::new(OWN, 5_600), "where it leaves our NAT");
        assert_eq!(held.remote.map(|remote| remote.port), Some(FRIEND.port()));
        let state = lan.world.mirror.state().to_string();
        assert!(state.ends_with("0 of 0 mappings in force, 1 sessions of PEER"), "{state}");
        assert_eq!(lan.ask(&peer(0, 3_600)), Ok((outside(40_001), 300)), "asked again");
        assert_eq!(lan.ask(&peer(0, 0)), Ok((SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), 0)));
        assert_eq!(lan.held(), (0, 0));
    }
}

#[test]
fn it_is_renewed_until_the_client_s_time_is_over() {
    let mut lan = Lan::beneath(PLACE);
    lan.world.server.longest = 300;
    lan.ask(&peer(0, 1_000)).unwrap();
    lan.world.pass(900);
    assert_eq!(lan.held(), (1, 1), "renewed by us");
    assert!(lan.ask(&peer(0, 1_000)).unwrap().1 > 90, "what is left there");
    lan.world.pass(1_302);
    let now = lan.world.now;
    assert_eq!(lan.held().0, 0);
    assert!(
        lan.world.server.mappings.iter().all(|held| held.remote.is_none() || held.until <= now)
    );
}

#[test]
fn what_the_server_refuses_or_ends_ends_here_too() {
    let mut lan = Lan::beneath(PLACE);
    lan.world.server.fails = Some((ResultCode::NotAuthorized, 1));
    assert_eq!(lan.ask(&peer(0, 3_600)), Err(ResultCode::NotAuthorized));
    assert_eq!(lan.held(), (0, 0));
    lan.world.server.longest = 300;
    lan.ask(&peer(0, 3_600)).unwrap();
    lan.world.server.fails = Some((ResultCode::NotAuthorized, u32::MAX));
    lan.world.pass(200);
    assert_eq!(lan.held().0, 0, "its renewal was refused");
}

#[test]
fn a_server_without_peer_is_told_of_and_gives_nothing() {
    let mut lan = Lan::beneath(PLACE);
    lan.world.server.knows_peer = false;
    assert_eq!(lan.ask(&peer(0, 3_600)), Err(ResultCode::UnsuppOpcode));
    assert_eq!(lan.held(), (0, 0));
    let state = lan.world.mirror.state().to_string();
    assert!(state.ends_with("0 of 0 mappings in force, knows no PEER"), "{state}");
    lan.world.server.knows_peer = true;
    lan.ask(&peer(0, 3_600)).unwrap();
    assert!(!lan.world.mirror.state().no_peer);
}

#[test]
fn nat_pmp_has_no_peer() {
    let mut lan = Lan::beneath(PLACE);
    lan.world.server = Server::new(lan.world.now);
    lan.world.server.nat_pmp = true;
    lan.world.mirror.server_is(None);
    lan.world.follow();
    lan.world.mirror.server_is(Some(PLACE));
    lan.world.follow();
    lan.world.pass(5);
    assert_eq!(lan.world.mirror.state().service, Some(Service::NatPmp));
    assert_eq!(lan.ask(&peer(0, 3_600)), Err(ResultCode::UnsuppOpcode));
    assert_eq!(lan.held(), (0, 0));
}

#[test]
fn a_wish_is_for_an_endpoint_of_the_server_s_and_no_other() {
    let mut lan = Lan::beneath(PLACE);
    lan.world.server.taken.push(6_001);
    assert_eq!(lan.ask(&peer(6_001, 600)), Err(ResultCode::CannotProvideExternal));
    assert_eq!(lan.held(), (0, 0));
    assert_eq!(lan.ask(&peer(6_000, 600)), Ok((outside(6_000), 600)));
    assert_eq!(lan.ask(&peer(6_002, 600)), Err(ResultCode::CannotProvideExternal), "it has one");
    assert_eq!(lan.ask(&peer(6_000, 600)), Ok((outside(6_000), 600)), "and keeps it");
    assert_eq!(lan.held(), (1, 1));
    let elsewhere = |address: Ipv4Addr| {
        let Request { operation: Operation::Peer(mapping, remote), .. } = peer(0, 600) else {
            panic!("PEER")
        };
        let mapping = Mapping { external: address.into(), ..mapping };
        Request { operation: Operation::Peer(mapping, remote), ..peer(0, 600) }
    };
    assert_eq!(lan.ask(&elsewhere(OWN)), Err(ResultCode::CannotProvideExternal));
    assert_eq!(lan.ask(&elsewhere(EXTERNAL)), Ok((outside(6_000), 600)));
}

#[test]
fn a_server_that_has_lost_its_state_gets_sessions_again() {
    let mut lan = Lan::beneath(PLACE);
    let (external, _) = lan.ask(&peer(0, 3_600)).unwrap();
    lan.world.pass(50);
    lan.world.server = Server::new(lan.world.now);
    lan.world.pass(100);
    assert_eq!(lan.held(), (1, 1));
    assert_eq!(lan.ask(&peer(0, 3_600)).unwrap().0, external);
}

#[test]
fn another_address_upstream_begins_anew() {
    let mut lan = Lan::beneath(PLACE);
    lan.ask(&peer(0, 3_600)).unwrap();
    lan.world.server.external = Ipv4Addr::new(11, 22, 44, 9).into();
    lan.world.pass(100);
    lan.server.look_at_address(lan.world.now, &mut lan.world.gateway);
    lan.world.follow();
    assert_eq!(lan.held(), (0, 0), "clients are told, and ask again");
    assert_eq!(*lan.ask(&peer(0, 3_600)).unwrap().0.ip(), Ipv4Addr::new(11, 22, 44, 9));
}

#[test]
fn without_a_server_that_answers_the_session_is_ours_alone() {
    let mut lan = Lan::beneath(PLACE);
    lan.world.deaf = true;
    lan.world.pass(200);
    let own = SocketAddrV4::new(OWN, 5_600);
    assert_eq!(lan.ask(&peer(0, 3_600)), Ok((own, 3_600)));
}
