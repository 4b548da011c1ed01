//! Versions, errors, ANNOUNCE and the epoch.

use super::*;
use crate::wire::{nat_pmp, pcp};

#[test]
fn an_announce_request_is_answered_by_a_header_with_the_epoch() {
    let mut bench = Bench::new();
    bench.pass(77);
    let request = Request {
        lifetime: 0,
        client: HOST_A.into(),
        operation: Operation::Announce,
        options: Vec::new(),
    };
    let answer = bench.send(HOST_A, &request.encode()).unwrap();
    assert_eq!(answer.len(), pcp::HEADER);
    let response = Response::decode(&answer).unwrap();
    assert_eq!((response.result, response.lifetime, response.epoch), (ResultCode::Success, 0, 77));
}

#[test]
fn a_request_that_comes_from_another_address_than_it_says_is_a_mismatch() {
    let mut bench = Bench::new();
    let response = bench.ask_from(HOST_B, &map(5600, 6000, 600));
    assert_eq!(response.result, ResultCode::AddressMismatch);
    let request = Request { client: "2001:db8::1".parse().unwrap(), ..map(5600, 6000, 600) };
    assert_eq!(bench.ask_from(HOST_A, &request).result, ResultCode::AddressMismatch);
    assert!(bench.gateway.table().is_empty());
}

#[test]
fn versions_are_negotiated() {
    let mut bench = Bench::new();
    for version in [1, 3, 255] {
        let mut request = map(5600, 6000, 600).encode();
        request[0] = version;
        let answer = bench.send(HOST_A, &request).unwrap();
        assert_eq!(answer[..4], [pcp::VERSION, 0x81, 0, 1], "version {version}");
        assert_eq!(answer[12..24], request[12..24], "the client's address stays");
        assert_eq!(answer[24..], request[24..], "so does the rest");
    }
    assert_eq!(bench.send(HOST_A, &[0, 0]).unwrap()[..4], [0, 128, 0, 0], "NAT-PMP");
    // Without NAT-PMP that is another version, too.
    bench.server.set(Settings { nat_pmp: false, ..Settings::default() });
    assert_eq!(bench.send(HOST_A, &[0, 0]).unwrap()[..4], [2, 128, 0, 1]);
}

#[test]
fn what_is_no_request_is_not_answered() {
    let mut bench = Bench::new();
    let request = map(5600, 6000, 600).encode();
    let mut response = request.clone();
    response[1] |= 0x80;
    for datagram in [&[][..], &[2], &[2, 1], &request[..23], &response, &[0], &[0, 128]] {
        assert_eq!(bench.send(HOST_A, datagram), None, "{datagram:?}");
    }
}

#[test]
fn errors_hold_for_as_long_as_they_are_likely_to() {
    let mut bench = Bench::with(Settings::default(), Limits { per_client: 1, ..Limits::default() });
    let refused = bench.ask(&map(5600, 6000, 600).of_protocol(132));
    assert_eq!((refused.result, refused.lifetime), (ResultCode::UnsuppProtocol, 1_800));
    bench.map(&map(5600, 6000, 600)).unwrap();
    let full = bench.ask(&map(5601, 6001, 600));
    assert_eq!((full.result, full.lifetime), (ResultCode::UserExQuota, 30));
    let mut unknown = map(5600, 6000, 600).encode();
    unknown[1] = 99;
    let answer = Response::decode(&bench.send(HOST_A, &unknown).unwrap()).unwrap();
    assert_eq!((answer.result, answer.lifetime), (ResultCode::UnsuppOpcode, 1_800));
}

#[test]
fn a_table_that_is_full_for_everybody_is_another_error_than_a_clients_quota() {
    let mut bench = Bench::with(Settings::default(), Limits { mappings: 1, ..Limits::default() });
    bench.map(&map(5600, 6000, 600)).unwrap();
    assert_eq!(bench.map(&map(5601, 6001, 600).by(HOST_B)), Err(ResultCode::NoResources));
    bench.map(&map(5600, 6000, 600)).unwrap();
}

#[test]
fn without_an_external_address_nothing_is_mapped_but_things_are_ended() {
    let mut bench = Bench::new();
    bench.map(&map(5600, 6000, 600)).unwrap();
    bench.gateway.path_mut().external = None;
    assert_eq!(bench.map(&map(5601, 6001, 600)), Err(ResultCode::NetworkFailure));
    assert_eq!(bench.map(&map(5600, 6000, 600)), Err(ResultCode::NetworkFailure));
    bench.map(&map(5600, 6000, 0)).unwrap();
    assert!(bench.gateway.table().is_empty());
}

#[test]
fn another_external_address_begins_a_new_epoch_and_is_announced() {
    let mut bench = Bench::new();
    bench.map(&map(5600, 6000, 600)).unwrap();
    bench.pass(100);
    let look = |bench: &mut Bench| bench.server.look_at_address(bench.now, &mut bench.gateway);
    assert_eq!(look(&mut bench), AddressChange::None);
    let other = Ipv4Addr::new(203, 0, 113, 9);
    bench.gateway.path_mut().external = Some(other);
    assert_eq!(look(&mut bench), AddressChange::Reset);
    bench.pass(5);
    let messages = bench.server.announcements(bench.now, &mut bench.gateway);
    let announce = Response::decode(&messages[0]).unwrap();
    assert_eq!((announce.epoch, announce.operation()), (5, Some(&Operation::Announce)));
    let address = nat_pmp::Response::decode(&messages[1]).unwrap();
    assert_eq!((address.epoch, address.answer), (5, nat_pmp::Answer::Address(other)));

    let updates = bench.server.updates(bench.now, &mut bench.gateway);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].0, HOST_A);
    let update = Response::decode(&updates[0].1).unwrap();
    assert_eq!((update.lifetime, update.epoch), (495, 5));
    let told = update.operation().and_then(Operation::mapping).unwrap();
    assert_eq!((told.nonce, told.external_port, told.external), (NONCE, 6000, other.into()));
}

#[test]
fn an_address_that_is_gone_is_announced_as_a_failure_of_the_network() {
    let mut bench = Bench::new();
    bench.gateway.path_mut().external = None;
    let change = bench.server.look_at_address(bench.now, &mut bench.gateway);
    assert_eq!(change, AddressChange::Announce);
    let messages = bench.server.announcements(bench.now, &mut bench.gateway);
    let address = nat_pmp::Response::decode(&messages[1]).unwrap();
    assert_eq!(address.result, nat_pmp::ResultCode::NetworkFailure);
    assert_eq!(address.answer, nat_pmp::Answer::Address(Ipv4Addr::UNSPECIFIED));
    assert!(bench.server.updates(bench.now, &mut bench.gateway).is_empty());
}
