//! A server of NAT-PMP only.

use super::*;
use crate::wire::nat_pmp::{Request, VERSION};

fn world() -> World {
    let mut world = World::new();
    world.server.nat_pmp = true;
    world
}

#[test]
fn a_server_that_knows_no_pcp_is_asked_by_nat_pmp() {
    let mut world = world();
    let key = world.exactly(6_000, 600);
    assert_eq!(world.client.service(), Service::NatPmp);
    let versions: Vec<u8> = world.sent.iter().map(|(_, datagram)| datagram[0]).collect();
    assert_eq!(versions, [2, VERSION, VERSION], "PCP first, then the address, then the mapping");
    let lease = *world.client.lease(&key).expect("granted");
    assert_eq!((lease.address, lease.port), (server::EXTERNAL, 6_000));
    assert_eq!(lease.until, START.plus_secs(600));
    assert!(world.events().iter().all(granted));
    world.client.forget(world.now, &key);
    world.exchange();
    assert!(world.server.mappings.is_empty());
}

#[test]
fn a_week_is_simulated_by_nat_pmp_too() {
    let mut world = world();
    world.server.longest = 3_600;
    world.exactly(6_000, 604_800);
    for _ in 0..167 {
        world.pass(3_600);
        assert!(world.server.has(world.now, 6_000), "no gap");
    }
    assert!(world.events().iter().all(granted));
}

#[test]
fn another_port_than_the_only_one_is_given_back() {
    let mut world = world();
    world.server.taken.push(6_000);
    let key = world.exactly(6_000, 600);
    assert_eq!(world.events(), [Event::Refused(key, ResultCode::CannotProvideExternal)]);
    assert!(world.server.mappings.is_empty(), "{:?}", world.server.mappings);
    let key = world.want(6_001, Wanted::about(6_000, START.plus_secs(600)));
    assert_ne!(world.client.lease(&key).unwrap().port, 6_000);
}

#[test]
fn results_are_those_of_pcp() {
    let mut world = world();
    world.exactly(6_000, 600);
    world.events();
    world.server.fails = Some((ResultCode::NotAuthorized, 1));
    let key = world.exactly(6_001, 600);
    assert_eq!(world.events(), [Event::Refused(key, ResultCode::NotAuthorized)]);
    world.server.fails = Some((ResultCode::NoResources, 1));
    world.exactly(6_002, 600);
    assert_eq!(world.events(), []);
    world.pass(31);
    assert!(world.server.has(world.now, 6_002), "waited out");
}

#[test]
fn its_restart_and_its_new_address_are_seen() {
    let mut world = world();
    world.server.longest = 600;
    let key = world.exactly(6_000, 100_000);
    world.pass(1_000);
    world.server = Server::new(world.now);
    (world.server.nat_pmp, world.server.longest) = (true, 600);
    world.events();
    world.pass(400);
    assert_eq!(world.events().first(), Some(&Event::StateLost));
    assert!(world.server.has(world.now, 6_000));
    let other = Ipv4Addr::new(11, 22, 33, 5);
    world.server.external = other.into();
    world.pass(400);
    assert_eq!(world.client.lease(&key).unwrap().address, other);
}

#[test]
fn its_silence_is_seen_and_pcp_is_tried_again_after_nine_requests() {
    let mut world = world();
    world.exactly(6_000, 100_000);
    world.deaf = true;
    world.sent.clear();
    world.exactly(6_001, 100_000);
    world.pass(60);
    assert_eq!(world.client.service(), Service::Silent);
    world.pass(67);
    assert_eq!(world.sent.len(), 9);
    assert!(world.sent.iter().all(|(_, datagram)| Request::decode(datagram).is_ok()));
    world.pass(2);
    assert!(world.sent.iter().any(|(_, datagram)| datagram[0] == 2), "PCP");
    world.deaf = false;
    world.pass(30);
    assert_eq!(world.client.service(), Service::NatPmp);
    assert!(world.server.has(world.now, 6_001));
}

#[test]
fn one_that_has_learnt_pcp_is_asked_by_it_within_half_an_hour() {
    let mut world = world();
    world.server.longest = 600;
    let key = world.exactly(6_000, 100_000);
    world.pass(100);
    world.server.nat_pmp = false;
    world.server.mappings.clear();
    world.pass(1_800);
    assert_eq!(world.client.service(), Service::Pcp);
    assert!(world.client.lease(&key).is_some());
}

#[test]
fn what_nat_pmp_cannot_say_is_refused() {
    let mut world = world();
    let internal = SocketAddrV4::new(Ipv4Addr::new(10, 1, 2, 3), 6_000);
    let key = Key::map(Protocol::Udp, internal);
    world.client.want(world.now, key, Wanted::exactly(6_000, world.now.plus_secs(600)));
    world.exchange();
    assert_eq!(world.events(), [Event::Refused(key, ResultCode::UnsuppOption)]);
}

#[test]
fn one_that_speaks_pcp_is_not_talked_out_of_it() {
    let mut world = World::new();
    world.exactly(6_000, 100_000);
    world.deaf = true;
    world.exactly(6_001, 100_000);
    world.client.hear(world.now, SERVER, &[0, 128, 0, 1, 0, 0, 0, 9]);
    assert_eq!(world.client.service(), Service::Pcp);
}
