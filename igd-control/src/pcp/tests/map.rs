//! MAP.

use super::*;
use crate::mapping::{PathError, PortMapping};

#[test]
fn a_mapping_is_made_renewed_and_ended() {
    let mut bench = Bench::new();
    assert_eq!(bench.map(&map(5600, 6000, 600)), Ok((6000, 600)));
    let forward = bench.gateway.path().forward(Protocol::Udp, 6000).unwrap();
    assert_eq!(forward.internal, SocketAddrV4::new(HOST_A, 5600));
    bench.pass(500);
    assert_eq!(bench.map(&map(5600, 6000, 600)), Ok((6000, 600)));
    bench.pass(500);
    assert_eq!(bench.map(&map(5600, 0, 300)), Ok((6000, 300)), "also without its port");
    assert!(bench.is_open(Protocol::Udp, 6000));
    assert_eq!(bench.map(&map(5600, 6000, 0)), Ok((6000, 0)));
    assert!(!bench.is_open(Protocol::Udp, 6000));
    assert_eq!(bench.map(&map(5600, 6000, 0)).map(|(_, lifetime)| lifetime), Ok(0), "again");
}

#[test]
fn a_mapping_ends_with_its_lifetime() {
    let mut bench = Bench::new();
    bench.map(&map(5600, 6000, 600)).unwrap();
    bench.pass(599);
    assert_eq!(bench.gateway.expire(bench.now).len(), 0);
    bench.pass(1);
    assert_eq!(bench.gateway.expire(bench.now).len(), 1);
    assert!(!bench.is_open(Protocol::Udp, 6000));
}

#[test]
fn lifetimes_are_brought_into_their_range() {
    let mut bench = Bench::new();
    for (wanted, granted) in [(1, 120), (120, 120), (86_401, 86_400), (u32::MAX, 86_400)] {
        assert_eq!(bench.map(&map(5600, 6000, wanted)), Ok((6000, granted)));
    }
}

#[test]
fn another_nonce_neither_renews_nor_ends_a_mapping() {
    let mut bench = Bench::new();
    bench.map(&map(5600, 6000, 600)).unwrap();
    let stranger = |lifetime| map(5600, 6000, lifetime).with_nonce(OTHER_NONCE);
    assert_eq!(bench.map(&stranger(86_400)), Err(ResultCode::NotAuthorized));
    assert_eq!(bench.map(&stranger(0)), Err(ResultCode::NotAuthorized));
    let all = stranger(0).changed(|mapping| mapping.internal_port = 0);
    assert_eq!(bench.map(&all), Err(ResultCode::NotAuthorized));
    bench.pass(599);
    assert_eq!(bench.gateway.mappings(bench.now).next().unwrap().lease_left, Some(1));
}

#[test]
fn all_mappings_of_a_nonce_are_ended_together() {
    let mut bench = Bench::new();
    bench.map(&map(5600, 6000, 600)).unwrap();
    bench.map(&map(5601, 6001, 600)).unwrap();
    bench.map(&map(5602, 6002, 600).of_protocol(TCP)).unwrap();
    bench.map(&map(5603, 6003, 600).with_nonce(OTHER_NONCE)).unwrap();
    bench.map(&map(5604, 6004, 600).by(HOST_B)).unwrap();
    let ports = |bench: &Bench| {
        let keys = bench.gateway.table().iter().map(|mapping| mapping.key.external_port);
        keys.collect::<Vec<_>>()
    };
    bench.map(&map(0, 0, 0)).unwrap();
    assert_eq!(ports(&bench), [6002, 6003, 6004], "of one protocol");
    // Section 11.1: the internal port is ignored then.
    bench.map(&map(77, 0, 0).of_protocol(0)).unwrap();
    assert_eq!(ports(&bench), [6003, 6004], "of all");
}

#[test]
fn a_port_that_is_another_clients_is_not_given_away() {
    let mut bench = Bench::new();
    bench.add_upnp(SocketAddrV4::new(HOST_B, 7000), 6000, 600);
    let (port, _) = bench.map(&map(5600, 6000, 600)).unwrap();
    assert_ne!(port, 6000);
    assert!(bench.is_open(Protocol::Udp, port));
    let internal = bench.gateway.path().forward(Protocol::Udp, 6000).unwrap().internal;
    assert_eq!(*internal.ip(), HOST_B);
    // And nobody else gets this one, by whichever protocol.
    let (other, _) = bench.map(&map(5600, port, 600).by(HOST_B)).unwrap();
    assert_ne!(other, port);
}

#[test]
fn a_mapping_never_takes_the_place_of_another_of_the_same_client() {
    let mut bench = Bench::new();
    bench.map(&map(5600, 6000, 600)).unwrap();
    let (port, _) = bench.map(&map(5601, 6000, 600)).unwrap();
    assert_ne!(port, 6000);
    let internal = bench.gateway.path().forward(Protocol::Udp, 6000).unwrap().internal;
    assert_eq!(internal.port(), 5600);
}

#[test]
fn without_a_suggestion_the_internal_port_is_kept_where_it_can_be() {
    let mut bench = Bench::new();
    assert_eq!(bench.map(&map(5600, 0, 600)), Ok((5600, 600)));
    let (port, _) = bench.map(&map(5600, 0, 600).by(HOST_B)).unwrap();
    assert_ne!(port, 5600);
    assert_eq!(port % 2, 0, "with its parity");
}

#[test]
fn an_implicit_mapping_becomes_an_explicit_one() {
    let mut bench = Bench::new();
    let internal = SocketAddrV4::new(HOST_A, 5600);
    bench.gateway.path_mut().leaving.insert((Protocol::Udp as u8, internal), 40_123);
    assert_eq!(bench.map(&map(5600, 6000, 600)), Ok((40_123, 600)));
    let mut bench = Bench::new();
    bench.gateway.path_mut().leaving.insert((Protocol::Udp as u8, internal), 40_123);
    let exactly = map(5600, 6000, 600).with(PcpOption::PreferFailure);
    assert_eq!(bench.map(&exactly), Err(ResultCode::CannotProvideExternal));
}

#[test]
fn protocols_and_ports_that_cannot_be_mapped_are_refused() {
    let mut bench = Bench::new();
    for protocol in [1, 33, 132, 255] {
        let request = map(5600, 6000, 600).of_protocol(protocol);
        assert_eq!(bench.map(&request), Err(ResultCode::UnsuppProtocol), "{protocol}");
    }
    let senseless = map(5600, 0, 600).of_protocol(0);
    assert_eq!(bench.map(&senseless), Err(ResultCode::MalformedRequest));
}

#[test]
fn all_ports_of_a_protocol_are_for_whom_the_policy_names() {
    let all = map(0, 0, 600);
    assert_eq!(Bench::new().map(&all), Err(ResultCode::NotAuthorized));
    let rule = "[[rule]]\naction = \"allow\"\nvia = [\"pcp\"]\nexternal-ports = [0]\n\
                internal-ports = [0]\n";
    let mut bench = Bench::new().rules(rule);
    assert_eq!(bench.map(&all), Ok((0, 600)));
    assert!(bench.is_open(Protocol::Udp, 0));
    assert_eq!(bench.map(&all), Ok((0, 600)), "renewed");
    let second = bench.map(&all.clone().by(HOST_B));
    assert_eq!(second, Err(ResultCode::UnsuppProtocol), "another has them");
    assert_eq!(bench.map(&map(5600, 6000, 600).by(HOST_B)), Ok((6000, 600)), "but for single ones");
    assert_eq!(bench.map(&Request { lifetime: 0, ..all }), Ok((0, 0)));
    assert!(!bench.is_open(Protocol::Udp, 0));
}

#[test]
fn all_protocols_are_tcp_and_udp_together_or_not_at_all() {
    let all = map(0, 0, 600).of_protocol(0);
    assert_eq!(Bench::new().map(&all), Err(ResultCode::NotAuthorized));
    let rule = |protocol: &str| {
        format!(
            "[[rule]]\naction = \"allow\"\nvia = [\"pcp\"]\n{protocol}external-ports = [0]\n\
             internal-ports = [0]\n"
        )
    };
    let mut bench = Bench::new().rules(&rule("protocols = [\"tcp\"]\n"));
    assert_eq!(bench.map(&all), Err(ResultCode::NotAuthorized), "of one protocol only");
    assert!(bench.gateway.table().is_empty() && bench.gateway.path().forwards.is_empty());

    let mut bench = Bench::new().rules(&rule(""));
    assert_eq!(bench.map(&all), Ok((0, 600)));
    let open =
        |bench: &Bench| [Protocol::Tcp, Protocol::Udp].map(|protocol| bench.is_open(protocol, 0));
    assert_eq!(open(&bench), [true; 2]);
    bench.pass(300);
    assert_eq!(bench.map(&all), Ok((0, 600)), "renewed");
    assert!(bench.gateway.table().iter().all(|mapping| mapping.lease_left(bench.now) == 600));
    let foreign = all.clone().with_nonce(OTHER_NONCE);
    assert_eq!(bench.map(&foreign), Err(ResultCode::NotAuthorized));
    assert_eq!(bench.map(&all.clone().by(HOST_B)), Err(ResultCode::UnsuppProtocol));
    // One of both can be had by itself, and stands in the way of the other client's all.
    assert_eq!(bench.map(&map(0, 0, 0).of_protocol(6)), Ok((0, 0)));
    assert_eq!(open(&bench), [false, true]);
    assert_eq!(bench.map(&all.clone().by(HOST_B)), Err(ResultCode::UnsuppProtocol));
    assert_eq!(open(&bench), [false, true], "and leaves nothing behind");
    assert_eq!(bench.map(&all), Ok((0, 600)));
    assert_eq!(bench.map(&Request { lifetime: 0, ..all }), Ok((0, 0)));
    assert_eq!(open(&bench), [false; 2]);
}

#[test]
fn a_renewal_of_all_protocols_that_fails_leaves_leases_as_they_were() {
    let all = map(0, 0, 600).of_protocol(0);
    let rule = "[[rule]]\naction = \"allow\"\nexternal-ports = [0]\ninternal-ports = [0]\n";
    let mut bench = Bench::new().rules(rule);
    bench.map(&map(0, 0, 600).of_protocol(6)).unwrap();
    bench.map(&map(0, 0, 600).with_nonce(OTHER_NONCE)).unwrap();
    bench.pass(300);
    assert_eq!(bench.map(&all), Err(ResultCode::NotAuthorized), "UDP has another nonce");
    let left: Vec<_> =
        bench.gateway.table().iter().map(|mapping| mapping.lease_left(bench.now)).collect();
    assert_eq!(left, [300, 300]);
}

#[test]
fn the_policy_decides_about_ports() {
    let mut bench = Bench::new();
    assert_eq!(bench.map(&map(80, 8080, 600)), Err(ResultCode::NotAuthorized), "an internal one");
    let (port, _) = bench.map(&map(5600, 80, 600)).unwrap();
    assert!(port >= 1_024, "another external one");

    let rules = "[[rule]]\naction = \"allow\"\nexternal-ports = [\"8000-8003\"]\n\
                 [[rule]]\naction = \"deny\"\n";
    let mut bench = Bench::new().rules(rules);
    let ports: Vec<_> = (0..4).map(|n| bench.map(&map(5600 + n, 0, 600)).unwrap().0).collect();
    let mut sorted = ports.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [8000, 8001, 8002, 8003], "{ports:?}");
    assert_eq!(bench.map(&map(5604, 0, 600)), Err(ResultCode::NoResources));

    let mut bench = Bench::new().rules("[[rule]]\naction = \"deny\"\nvia = [\"pcp\"]\n");
    assert_eq!(bench.map(&map(5600, 6000, 600)), Err(ResultCode::NotAuthorized));
}

#[test]
fn upnps_mapping_of_the_same_endpoint_is_shown_and_prolonged_but_not_ended() {
    let mut bench = Bench::new();
    bench.add_upnp(SocketAddrV4::new(HOST_A, 5600), 6000, 100);
    assert_eq!(bench.map(&map(5600, 7000, 600)), Ok((6000, 600)));
    let mapping = bench.gateway.table().iter().next().unwrap();
    assert_eq!((mapping.origin(), mapping.lease_left(NOW)), (Origin::Upnp, 600));
    assert_eq!(mapping.description, "a game");
    // A shorter wish does not shorten it.
    assert_eq!(bench.map(&map(5600, 7000, 200)), Ok((6000, 200)));
    assert_eq!(bench.gateway.table().iter().next().unwrap().lease_left(NOW), 600);
    assert_eq!(bench.map(&map(5600, 6000, 0)), Err(ResultCode::NotAuthorized));
    let exactly = map(5600, 7000, 600).with(PcpOption::PreferFailure);
    assert_eq!(bench.map(&exactly), Err(ResultCode::CannotProvideExternal));
}

#[test]
fn a_static_mapping_is_shown_and_stays_as_it_is() {
    let mut bench = Bench::new();
    bench.add_static(SocketAddrV4::new(HOST_A, 5600), 6000);
    assert_eq!(bench.map(&map(5600, 0, 600)), Ok((6000, 600)));
    assert_eq!(bench.map(&map(5600, 0, 0)), Err(ResultCode::NotAuthorized));
    assert!(bench.gateway.table().iter().all(PortMapping::is_static));
}

#[test]
fn what_nobody_remembers_belongs_to_who_asks_for_it_first() {
    let mut bench = Bench::new();
    bench.map(&map(5600, 6000, 600)).unwrap();
    let forward = bench.gateway.path().forward(Protocol::Udp, 6000).unwrap().clone();
    let mut after = Bench::new();
    after.gateway.adopt(&forward, "restored").unwrap();
    after.gateway.path_mut().forwards.insert((Protocol::Udp as u8, 6000), forward);
    assert_eq!(after.map(&map(5600, 6000, 600)), Ok((6000, 600)));
    let stranger = map(5600, 6000, 600).with_nonce(OTHER_NONCE);
    assert_eq!(after.map(&stranger), Err(ResultCode::NotAuthorized));
}

#[test]
fn a_port_of_the_routers_own_is_passed_over() {
    let mut bench = Bench::new();
    bench.gateway.path_mut().refuse.insert(6000, PathError::HeldByRouter);
    let (port, _) = bench.map(&map(5600, 6000, 600)).unwrap();
    assert_ne!(port, 6000);
    let exactly = map(5601, 6000, 600).with(PcpOption::PreferFailure);
    assert_eq!(bench.map(&exactly), Err(ResultCode::CannotProvideExternal));
}

#[test]
fn every_change_is_counted_for_upnps_subscribers() {
    let mut bench = Bench::new();
    let before = bench.gateway.table().changes();
    bench.map(&map(5600, 6000, 600)).unwrap();
    bench.map(&map(5600, 6000, 600)).unwrap();
    bench.map(&map(5600, 6000, 0)).unwrap();
    assert_eq!(bench.gateway.table().changes(), before + 3);
    bench.map(&map(5600, 6000, 600).of_protocol(132)).unwrap_err();
    assert_eq!(bench.gateway.table().changes(), before + 3);
}
