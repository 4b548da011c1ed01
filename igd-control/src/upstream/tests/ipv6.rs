//! A server that is asked by IPv6: DS-Lite's AFTR, say.

use super::mirror;
use super::server::{EXTERNAL, PLACE_6};
use super::*;
use crate::upstream::{Outcome, Port};
use crate::wire::pcp::Operation;
use std::net::IpAddr;

/// A LAN host.
const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

fn endpoint(address: Ipv4Addr, port: u16) -> Key {
    Key::map(Protocol::Tcp, SocketAddrV4::new(address, port))
}

#[test]
fn every_mapping_is_asked_for_by_third_party_from_our_address_of_ipv6() {
    let mut world = World::with(PLACE_6);
    for (address, port) in [(HOST, 80), (OWN, 6_000)] {
        let key = endpoint(address, port);
        world.client.want(world.now, key, Wanted::exactly(port, world.now.plus_secs(600)));
        world.exchange();
        let (_, datagram) = world.sent.last().unwrap();
        let request = Request::decode(datagram).unwrap();
        assert_eq!(request.client, PLACE_6.client(OWN), "its source");
        assert_eq!(request.options[0], PcpOption::ThirdParty(address.into()));
        let lease = world.client.lease(&key).expect("granted");
        assert_eq!((lease.address, lease.port), (EXTERNAL, port));
        world.client.forget(world.now, &key);
        world.exchange();
    }
    assert!(world.server.mappings.is_empty(), "given back by THIRD_PARTY, too");
}

/// What is asked of a NAT64's server, and taken from its answers.
#[test]
fn a_nat64_knows_the_lan_and_remote_hosts_behind_their_prefixes() {
    let xlat = Xlat {
        internal: "2001:db8:64::/96".parse().unwrap(),
        remote: "64:ff9b::/96".parse().unwrap(),
    };
    let mut world = World::translated(PLACE_6, Some(xlat));
    let friend = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 53);
    let mapped = endpoint(HOST, 80);
    let session = Key { remote: Some(friend), ..endpoint(HOST, 81) };
    let filter = Filter { prefix: 128, port: 0, address: (*friend.ip()).into() };
    for key in [mapped, session] {
        let mut wanted = Wanted::exactly(key.internal.port(), world.now.plus_secs(600));
        wanted.filters = if key == mapped { vec![filter] } else { Vec::new() };
        world.client.want(world.now, key, wanted);
        world.exchange();
        let lease = world.client.lease(&key).expect("granted");
        assert_eq!((lease.address, lease.port), (EXTERNAL, key.internal.port()));
    }
    let requests: Vec<_> =
        world.sent.iter().map(|(_, datagram)| Request::decode(datagram).unwrap()).collect();
    let host: IpAddr = "2001:db8:64::c0a8:4d02".parse().unwrap();
    let there: IpAddr = "64:ff9b::c633:6407".parse().unwrap();
    assert!(requests.iter().all(|it| it.options[0] == PcpOption::ThirdParty(host)));
    let filters = PcpOption::Filter(Filter { address: there, ..filter });
    assert!(requests[0].options.contains(&filters), "{:?}", requests[0].options);
    let Operation::Peer(_, remote) = requests[1].operation else { panic!("no PEER") };
    assert_eq!((remote.address, remote.port), (there, 53));
    for key in [mapped, session] {
        world.client.forget(world.now, &key);
    }
    world.exchange();
    assert!(world.server.mappings.is_empty(), "and given back");
}

#[test]
fn an_answer_for_nobody_named_is_nobodys() {
    let mut world = World::with(PLACE_6);
    world.deaf = true;
    let key = world.exactly(6_000, 600);
    let request = world.sent[0].1.clone();
    let answer = world.server.answer(world.now, &request).unwrap();
    // Without THIRD_PARTY and what is behind it.
    world.client.hear(world.now, PLACE_6.server(), &answer[..60]);
    assert!(world.client.is_pending(&key));
    world.client.hear(world.now, SERVER, &answer);
    assert!(world.client.is_pending(&key), "another server's");
    world.client.hear(world.now, PLACE_6.server(), &answer);
    assert!(world.client.lease(&key).is_some());
}

#[test]
fn an_external_address_of_ipv6_is_no_help_and_given_back() {
    let mut world = World::with(PLACE_6);
    world.server.external = IpAddr::V6("2001:db8::9".parse().unwrap());
    let key = world.exactly(6_000, 600);
    assert_eq!(world.events(), [Event::Refused(key, ResultCode::CannotProvideExternal)]);
    assert!(world.server.mappings.is_empty(), "{:?}", world.server.mappings);
}

#[test]
fn nat_pmp_is_not_spoken_by_ipv6() {
    let mut world = World::with(PLACE_6);
    world.server.nat_pmp = true;
    world.exactly(6_000, 600);
    assert_eq!(world.client.service(), Service::OtherVersion(0));
    world.pass(60);
    assert_eq!(world.requests(), 1, "not again and again");
}

#[test]
fn a_loss_that_it_announces_has_all_made_again() {
    let mut world = World::with(PLACE_6);
    let key = world.exactly(6_000, 100_000);
    world.server = Server::asked_from(PLACE_6.client(OWN), world.now.plus_secs(10));
    world.pass(10);
    let announce = world.server.announce(world.now.plus_secs(20));
    world.pass(20);
    world.client.overhear(world.now, SERVER, &announce);
    world.pass(6);
    assert!(!world.server.has(world.now, 6_000), "somebody else's");
    world.client.overhear(world.now, PLACE_6.server(), &announce);
    world.pass(6);
    assert!(world.server.has(world.now, 6_000));
    assert!(world.client.lease(&key).is_some());
}

#[test]
fn with_a_nat_here_our_own_address_is_named_and_without_one_the_hosts() {
    for (nat, internal) in [(true, OWN), (false, mirror::CLIENT)] {
        let mut world = mirror::World::at(mirror::config(nat), PLACE_6);
        world.add(6_000, 600);
        world.follow();
        let granted = Port { protocol: Protocol::Tcp, number: 6_000 };
        assert_eq!(world.outcomes(), [(granted, Outcome::Granted)]);
        let held = world.server.mappings.iter().find(|held| held.protocol == 6).unwrap();
        assert_eq!(held.internal, SocketAddrV4::new(internal, 6_000));
        assert_eq!(world.gateway.external_address(), Some(EXTERNAL));
    }
}

#[test]
fn another_address_of_ours_or_of_the_server_has_all_made_anew() {
    let mut world = mirror::World::at(mirror::config(true), PLACE_6);
    world.add(6_000, 600);
    world.follow();
    let ServerPlace::V6 { server, .. } = PLACE_6 else { panic!("IPv6") };
    let other = ServerPlace::V6 { server, own: "fd00:77::3".parse().unwrap() };
    world.server = Server::asked_from(other.client(OWN), world.now);
    world.mirror.server_is(Some(other));
    world.follow();
    assert!(world.server.has(world.now, 6_000));
}

#[test]
fn a_server_that_refuses_third_party_is_told_of() {
    let mut world = mirror::World::at(mirror::config(true), PLACE_6);
    world.server.fails = Some((ResultCode::UnsuppOption, u32::MAX));
    world.pass(1_900);
    let told = world.mirror.state().to_string();
    assert!(told.ends_with("0 of 0 mappings in force, refuses us: UNSUPP_OPTION"), "{told}");
    world.server.fails = None;
    world.pass(1_900);
    assert_eq!(world.mirror.state().refusal, None);
}

#[test]
fn who_has_left_a_silent_server_does_not_wait_for_the_next() {
    let mut world = mirror::World::at(mirror::config(true), server::PLACE);
    world.pass(200);
    world.deaf = true;
    world.pass(200);
    assert!(world.mirror.is_mute());
    assert_eq!(world.gateway.external_address(), Some(OWN));
    world.mirror.server_is(Some(PLACE_6));
    world.server.client = PLACE_6.client(OWN);
    world.follow();
    assert!(!world.mirror.is_mute());
    assert_eq!(world.gateway.external_address(), Some(OWN), "all the same");
    world.add(6_000, 600);
    world.follow();
    let port = Port { protocol: Protocol::Tcp, number: 6_000 };
    assert!(!world.mirror.is_pending(port));
    world.deaf = false;
    world.pass(20);
    assert_eq!(world.gateway.external_address(), Some(EXTERNAL));
    assert!(world.server.has(world.now, 6_000));
}
