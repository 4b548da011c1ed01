//! PEER.

use super::*;
use crate::mapping::{PathError, PeerKey};
use crate::wire::pcp::RemotePeer;
use proptest::prelude::*;

const FRIEND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// A PEER request of host A's for UDP to port 53 of the friend.
fn peer(internal_port: u16, external_port: u16, lifetime: u32) -> Request {
    let map = map(internal_port, external_port, lifetime);
    let Operation::Map(mapping) = map.operation else { panic!("MAP") };
    let remote = RemotePeer { port: 53, address: FRIEND.into() };
    Request { operation: Operation::Peer(mapping, remote), ..map }
}

impl Request {
    fn to(mut self, port: u16, address: &str) -> Self {
        if let Operation::Peer(_, remote) = &mut self.operation {
            *remote = RemotePeer { port, address: address.parse().unwrap() };
        }
        self
    }
}

fn key(client: Ipv4Addr, port: u16) -> PeerKey {
    PeerKey {
        protocol: Protocol::Udp,
        internal: SocketAddrV4::new(client, port),
        remote: SocketAddrV4::new(FRIEND, 53),
    }
}

impl Bench {
    /// What a PEER request is granted: external port and lifetime.
    fn peer(&mut self, request: &Request) -> Result<(u16, u32), ResultCode> {
        self.map(request)
    }

    /// How many sessions the packet path holds, and the gateway knows of.
    fn held(&mut self) -> usize {
        let known = self.gateway.parts(self.now).peers.len();
        let path = &mut self.gateway.path_mut().peers;
        path.retain(|_, peer| peer.deadline > self.now);
        assert_eq!(path.len(), known);
        known
    }
}

#[test]
fn a_session_is_held_renewed_and_let_go_of() {
    let mut bench = Bench::new();
    let request = peer(5600, 0, 600);
    let response = bench.ask(&request);
    let Some(Operation::Peer(_, remote)) = response.operation() else { panic!("PEER") };
    assert_eq!(*remote, RemotePeer { port: 53, address: FRIEND.into() });
    assert_eq!(bench.peer(&request), Ok((5600, 600)), "asked again");
    assert_eq!(bench.held(), 1);
    bench.pass(500);
    assert_eq!(bench.peer(&request), Ok((5600, 600)));
    assert_eq!(bench.peer(&peer(5600, 0, 130)), Ok((5600, 600)), "not shortened");
    bench.pass(599);
    assert_eq!(bench.held(), 1);
    assert_eq!(bench.peer(&peer(5600, 0, 0)), Ok((0, 0)));
    assert_eq!(bench.peer(&peer(5600, 0, 0)), Ok((0, 0)), "what is not there is ended well");
    assert_eq!(bench.held(), 0);
    assert!(bench.gateway.table().is_empty(), "UPnP sees nothing of it");
    assert_eq!(bench.gateway.table().changes(), 0);
}

#[test]
fn it_ends_with_its_lifetime() {
    let mut bench = Bench::new();
    bench.peer(&peer(5600, 0, 600)).unwrap();
    bench.pass(599);
    assert_eq!(bench.held(), 1);
    bench.pass(1);
    assert_eq!(bench.held(), 0);
    assert_eq!(bench.peer(&peer(5600, 0, 600).with_nonce(OTHER_NONCE)), Ok((5600, 600)));
}

#[test]
fn another_nonce_neither_renews_nor_ends_it() {
    let mut bench = Bench::new();
    bench.peer(&peer(5600, 0, 600)).unwrap();
    for lifetime in [600, 0] {
        let stranger = peer(5600, 0, lifetime).with_nonce(OTHER_NONCE);
        assert_eq!(bench.peer(&stranger), Err(ResultCode::NotAuthorized));
    }
    // To another peer it is another session, from the same port.
    let other = peer(5600, 0, 600).with_nonce(OTHER_NONCE).to(54, "198.51.100.7");
    assert_eq!(bench.peer(&other), Ok((5600, 600)));
    assert_eq!(bench.held(), 2);
}

#[test]
fn a_wish_for_an_external_endpoint_is_for_this_one_and_no_other() {
    let mut bench = Bench::new();
    assert_eq!(bench.peer(&peer(5600, 6000, 600)), Ok((6000, 600)));
    let taken = peer(5600, 6000, 600).by(HOST_B);
    assert_eq!(bench.peer(&taken), Err(ResultCode::CannotProvideExternal));
    let moved = peer(5600, 6001, 600);
    assert_eq!(bench.peer(&moved), Err(ResultCode::CannotProvideExternal), "it has one");
    for (address, granted) in [
        ("203.0.113.1", Ok((6000, 600))),
        ("203.0.113.2", Err(ResultCode::CannotProvideExternal)),
        ("2001:db8::1", Err(ResultCode::CannotProvideExternal)),
        ("::", Ok((6000, 600))),
    ] {
        let wish = peer(5600, 0, 600).changed(|it| it.external = address.parse().unwrap());
        assert_eq!(bench.peer(&wish), granted, "{address}");
    }
    assert_eq!(bench.held(), 1);
}

#[test]
fn a_client_that_sends_already_keeps_its_port_also_when_it_maps_it() {
    let mut bench = Bench::new();
    let internal = SocketAddrV4::new(HOST_A, 5600);
    bench.gateway.path_mut().leaving.insert((Protocol::Udp as u8, internal), 40_123);
    assert_eq!(bench.peer(&peer(5600, 0, 600)), Ok((40_123, 600)));
    assert_eq!(bench.map(&map(5600, 6000, 600)), Ok((40_123, 600)));
    assert_eq!(bench.map(&map(5600, 6000, 0)), Ok((6000, 0)));
    assert_eq!(bench.held(), 1, "the mapping was another matter");
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut bench = Bench::new();
    for (request, code) in [
        (peer(0, 0, 600), ResultCode::MalformedRequest),
        (peer(5600, 0, 600).of_protocol(0), ResultCode::MalformedRequest),
        (peer(5600, 0, 600).to(0, "198.51.100.7"), ResultCode::MalformedRequest),
        (peer(5600, 0, 600).to(53, "0.0.0.0"), ResultCode::MalformedRequest),
        (peer(5600, 0, 600).to(53, "224.0.0.1"), ResultCode::NotAuthorized),
        (peer(5600, 0, 600).to(53, "127.0.0.1"), ResultCode::NotAuthorized),
        (peer(5600, 0, 600).to(53, "2001:db8::1"), ResultCode::NotAuthorized),
        (peer(5600, 0, 600).of_protocol(132), ResultCode::UnsuppProtocol),
        (peer(5600, 0, 600).of_protocol(1), ResultCode::UnsuppProtocol),
        (peer(5600, 0, 600).with(PcpOption::PreferFailure), ResultCode::MalformedRequest),
    ] {
        assert_eq!(bench.peer(&request), Err(code), "{request:?}");
    }
    let lies = bench.ask_from(HOST_B, &peer(5600, 0, 600));
    assert_eq!(lies.result, ResultCode::AddressMismatch);
    assert_eq!(bench.held(), 0);
}

#[test]
fn where_it_is_switched_off_it_is_an_unsupported_opcode() {
    let settings = Settings { peer: false, ..Settings::default() };
    let mut bench = Bench::with(settings, Limits::default());
    assert_eq!(bench.peer(&peer(5600, 0, 600)), Err(ResultCode::UnsuppOpcode));
}

#[test]
fn lifetimes_are_brought_into_their_range_for_peer_too() {
    let mut bench = Bench::new();
    for (asked, granted) in [(1, 120), (90_000, 86_400)] {
        assert_eq!(bench.peer(&peer(5600, 0, asked)), Ok((5600, granted)));
    }
}

#[test]
fn third_parties_are_asked_for_by_the_same_policy() {
    let for_b = peer(5600, 0, 600).with(PcpOption::ThirdParty(HOST_B.into()));
    assert_eq!(Bench::new().peer(&for_b), Err(ResultCode::UnsuppOption));
    let settings = Settings { third_party: true, ..Settings::default() };
    let on = || Bench::with(settings, Limits::default());
    assert_eq!(on().peer(&for_b), Err(ResultCode::NotAuthorized));
    let mut bench = on().rules(
        "[[rule]]\naction = \"allow\"\nrequesters = [\"192.168.1.10\"]\n\
         clients = [\"192.168.1.0/24\"]\n",
    );
    assert_eq!(bench.peer(&for_b), Ok((5600, 600)));
    assert!(bench.gateway.peers().get(&key(HOST_B, 5600)).is_some());
    let foreign = Request { lifetime: 0, ..for_b };
    bench = bench.rules("[[rule]]\naction = \"deny\"\n");
    assert_eq!(bench.peer(&foreign), Err(ResultCode::NotAuthorized));
}

#[test]
fn who_may_map_nothing_may_hold_nothing() {
    let mut bench = Bench::new().rules("[[rule]]\naction = \"deny\"\nvia = [\"pcp\"]\n");
    assert_eq!(bench.peer(&peer(5600, 0, 600)), Err(ResultCode::NotAuthorized));
}

#[test]
fn peers_count_with_the_mappings_of_a_client() {
    let limits = Limits { mappings: 4, per_client: 2, ..Limits::default() };
    let mut bench = Bench::with(Settings::default(), limits);
    bench.map(&map(5600, 6000, 600)).unwrap();
    bench.peer(&peer(5601, 0, 600)).unwrap();
    assert_eq!(bench.peer(&peer(5602, 0, 600)), Err(ResultCode::UserExQuota));
    assert_eq!(bench.peer(&peer(5601, 0, 600)), Ok((5601, 600)), "what it has it keeps");
    for port in [5602, 5603] {
        bench.peer(&peer(port, 0, 600).by(HOST_B)).unwrap();
    }
    let third = peer(5604, 0, 600).by(Ipv4Addr::new(192, 168, 1, 12));
    assert_eq!(bench.peer(&third), Err(ResultCode::NoResources));
    bench.pass(600);
    assert_eq!(bench.peer(&third), Ok((5604, 600)));
}

#[test]
fn what_the_packet_path_refuses_is_told() {
    for (error, code) in [
        (PathError::Limit, ResultCode::UserExQuota),
        (PathError::Full, ResultCode::NoResources),
        (PathError::NoPeer, ResultCode::NotAuthorized),
        (PathError::HeldByRouter, ResultCode::CannotProvideExternal),
    ] {
        let mut bench = Bench::new();
        bench.gateway.path_mut().refuse_peers = Some(error);
        assert_eq!(bench.peer(&peer(5600, 0, 600)), Err(code));
        assert_eq!(bench.held(), 0);
    }
}

#[test]
fn without_an_external_address_nothing_is_held_and_another_one_voids_all() {
    let mut bench = Bench::new();
    bench.peer(&peer(5600, 0, 600)).unwrap();
    bench.gateway.path_mut().external = None;
    bench.server.look_at_address(bench.now, &mut bench.gateway);
    assert_eq!(bench.peer(&peer(5601, 0, 600)), Err(ResultCode::NetworkFailure));
    bench.gateway.path_mut().external = Some(Ipv4Addr::new(203, 0, 113, 9));
    bench.server.look_at_address(bench.now, &mut bench.gateway);
    assert!(bench.gateway.peers().is_empty());
}

#[test]
fn a_restart_remembers_what_is_in_force() {
    let mut bench = Bench::new();
    bench.peer(&peer(5600, 0, 600)).unwrap();
    bench.peer(&peer(5601, 0, 300)).unwrap();
    let path = bench.gateway.path().clone();
    let mut after = Bench::new();
    after.now = NOW.plus_secs(400);
    after.gateway = Gateway::new(after.now, &GatewayConfig::default(), path);
    assert_eq!(after.gateway.peers().len(), 1);
    let stranger = peer(5600, 0, 600).with_nonce(OTHER_NONCE);
    assert_eq!(after.peer(&stranger), Err(ResultCode::NotAuthorized));
    assert_eq!(after.peer(&peer(5600, 0, 600)), Ok((5600, 600)));
}

proptest! {
    #[test]
    fn no_more_is_held_than_was_granted_and_for_as_long(
        steps in proptest::collection::vec(
            (0..2_usize, 5_600..5_604_u16, 0..2_usize, 0..700_u32, 0..300_u64),
            0..40,
        ),
    ) {
        let mut bench = Bench::new();
        let mut model = std::collections::HashMap::new();
        for (client, port, nonce, lifetime, pause) in steps {
            let now = bench.now;
            let (client, nonce) = ([HOST_A, HOST_B][client], [NONCE, OTHER_NONCE][nonce]);
            model.retain(|_, (_, until)| *until > now);
            let answer = bench.peer(&peer(port, 0, lifetime).by(client).with_nonce(nonce));
            let known: Option<(Nonce, BootTime)> = model.get(&(client, port)).copied();
            match (known, answer) {
                (Some((owner, _)), answer) if owner != nonce => {
                    prop_assert_eq!(answer, Err(ResultCode::NotAuthorized));
                }
                (_, Ok((_, 0))) => {
                    model.remove(&(client, port));
                }
                (known, Ok((_, granted))) => {
                    let until = now.plus_secs(granted.into());
                    prop_assert!(known.is_none_or(|(_, before)| until >= before));
                    model.insert((client, port), (nonce, until));
                }
                // The other client has the port: it is not asked for another one by the packet path here.
                (None, Err(code)) => prop_assert_eq!(code, ResultCode::CannotProvideExternal),
                (Some(_), Err(code)) => prop_assert!(false, "{code}"),
            }
            prop_assert_eq!(bench.held(), model.len());
            bench.pass(pause);
        }
    }
}
