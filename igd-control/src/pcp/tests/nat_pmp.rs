//! NAT-PMP.

use super::*;
use crate::wire::nat_pmp::{Answer, Mapping, Request, Response, ResultCode};

impl Bench {
    fn nat_pmp(&mut self, from: Ipv4Addr, request: Request) -> Response {
        let answer = self.send(from, &request.encode()).unwrap();
        let response = Response::decode(&answer).unwrap();
        assert_eq!(response.epoch, self.server.epoch().seconds(self.now));
        response
    }

    /// Asks for a UDP mapping of host A; tells external port and lifetime.
    fn map_pmp(&mut self, internal: u16, external: u16, lifetime: u32) -> (ResultCode, u16, u32) {
        self.map_pmp_by(HOST_A, Protocol::Udp, internal, external, lifetime)
    }

    fn map_pmp_by(
        &mut self,
        from: Ipv4Addr,
        protocol: Protocol,
        internal_port: u16,
        external_port: u16,
        lifetime: u32,
    ) -> (ResultCode, u16, u32) {
        let asked = Mapping { protocol, internal_port, external_port, lifetime };
        let response = self.nat_pmp(from, Request::Map(asked));
        let Answer::Map(told) = response.answer else { panic!("{response:?}") };
        assert_eq!((told.protocol, told.internal_port), (protocol, internal_port));
        (response.result, told.external_port, told.lifetime)
    }
}

const OK: ResultCode = ResultCode::Success;

#[test]
fn the_external_address_is_told() {
    let mut bench = Bench::new();
    bench.pass(9);
    let response = bench.nat_pmp(HOST_A, Request::Address);
    assert_eq!((response.result, response.answer), (OK, Answer::Address(EXTERNAL)));
    bench.gateway.path_mut().external = None;
    let response = bench.nat_pmp(HOST_A, Request::Address);
    assert_eq!(response.result, ResultCode::NetworkFailure);
    assert_eq!(response.answer, Answer::Address(Ipv4Addr::UNSPECIFIED));
    assert_eq!(bench.map_pmp(5600, 6000, 600), (ResultCode::NetworkFailure, 0, 0));
}

#[test]
fn a_mapping_is_made_renewed_and_ended() {
    let mut bench = Bench::new();
    assert_eq!(bench.map_pmp(5600, 6000, 7_200), (OK, 6000, 7_200));
    assert_eq!(bench.map_pmp(5600, 6001, 600), (OK, 6000, 600), "it keeps its port");
    assert_eq!(bench.map_pmp(5600, 6000, 60), (OK, 6000, 60), "never longer than asked for");
    assert_eq!(bench.map_pmp(5600, 6000, u32::MAX), (OK, 6000, 86_400));
    assert!(bench.is_open(Protocol::Udp, 6000) && !bench.is_open(Protocol::Tcp, 6000));
    assert_eq!(bench.map_pmp(5600, 6000, 0), (OK, 0, 0));
    assert!(!bench.is_open(Protocol::Udp, 6000));
    assert_eq!(bench.map_pmp(5600, 6000, 0), (OK, 0, 0), "again");
}

#[test]
fn a_port_that_is_taken_is_replaced_by_another() {
    let mut bench = Bench::new();
    bench.map(&map(5600, 6000, 600).by(HOST_B)).unwrap();
    let (result, port, _) = bench.map_pmp(5600, 6000, 600);
    assert!(result == OK && port != 6000 && port >= 1_024, "{port}");
    let (result, anonymous, _) = bench.map_pmp(5601, 0, 600);
    assert!(result == OK && anonymous >= 1_024, "{anonymous}");
}

#[test]
fn the_companion_port_is_kept_for_the_same_client() {
    let mut bench = Bench::new();
    bench.map_pmp_by(HOST_A, Protocol::Tcp, 5600, 6000, 600);
    let (result, port, _) = bench.map_pmp_by(HOST_B, Protocol::Udp, 5600, 6000, 600);
    assert!(result == OK && port != 6000);
    // Not by PCP either.
    assert_ne!(bench.map(&map(5601, 6000, 600).by(HOST_B)).unwrap().0, 6000);
    assert_eq!(bench.map_pmp(5600, 6000, 600), (OK, 6000, 600), "the client itself");
    // And NAT-PMP gives nobody a port whose companion is another's.
    bench.map(&map(5602, 6002, 600).by(HOST_B)).unwrap();
    let (result, port, _) = bench.map_pmp_by(HOST_A, Protocol::Tcp, 5602, 6002, 600);
    assert!(result == OK && port != 6002);
}

#[test]
fn a_mapping_is_renewed_also_when_the_operator_has_given_its_companion_away() {
    let mut bench = Bench::new();
    bench.map_pmp_by(HOST_A, Protocol::Tcp, 5600, 6000, 600);
    bench.add_static(SocketAddrV4::new(HOST_B, 5600), 6000);
    let renewed = bench.map_pmp_by(HOST_A, Protocol::Tcp, 5600, 6000, 900);
    assert_eq!(renewed, (OK, 6000, 900));
}

#[test]
fn all_mappings_of_a_protocol_are_ended_together() {
    let mut bench = Bench::new();
    bench.map_pmp(5600, 6000, 600);
    bench.map_pmp(5601, 6001, 600);
    bench.map_pmp_by(HOST_A, Protocol::Tcp, 5602, 6002, 600);
    bench.map_pmp_by(HOST_B, Protocol::Udp, 5603, 6003, 600);
    bench.add_upnp(SocketAddrV4::new(HOST_A, 5604), 6004, 600);
    assert_eq!(bench.map_pmp(0, 0, 0), (OK, 0, 0));
    let left: Vec<_> = bench.gateway.table().iter().map(|it| it.key.external_port).collect();
    assert_eq!(left, [6002, 6003]);
}

#[test]
fn what_is_the_operators_or_has_a_nonce_stays() {
    let mut bench = Bench::new();
    bench.add_static(SocketAddrV4::new(HOST_A, 5600), 6000);
    bench.map(&map(5601, 6001, 600)).unwrap();
    bench.map_pmp(5602, 6002, 600);
    assert_eq!(bench.map_pmp(5600, 0, 0).0, ResultCode::NotAuthorized);
    assert_eq!(bench.map_pmp(5601, 0, 0).0, ResultCode::NotAuthorized);
    assert_eq!(bench.map_pmp(0, 0, 0), (ResultCode::NotAuthorized, 0, 0), "as many as can be");
    let left: Vec<_> = bench.gateway.table().iter().map(|it| it.key.external_port).collect();
    assert_eq!(left, [6000, 6001]);
    // They are told all the same, for as long as they last.
    assert_eq!(bench.map_pmp(5600, 7000, 900), (OK, 6000, 900));
    assert_eq!(bench.map_pmp(5601, 7000, 900), (OK, 6001, 600));
    assert_eq!(bench.map_pmp(5601, 7000, 90), (OK, 6001, 90));
    let lasting = bench.gateway.table().iter().nth(1).unwrap();
    assert_eq!((lasting.lease_left(NOW), lasting.origin()), (600, Origin::Pcp(NONCE)));
}

#[test]
fn the_policy_decides() {
    let mut bench = Bench::new().rules("[[rule]]\naction = \"deny\"\nvia = [\"nat-pmp\"]\n");
    assert_eq!(bench.map_pmp(5600, 6000, 600), (ResultCode::NotAuthorized, 0, 0));
    bench.map(&map(5600, 6000, 600)).unwrap();
    let mut bench = Bench::new();
    assert_eq!(bench.map_pmp(80, 8080, 600), (ResultCode::NotAuthorized, 0, 0));
    assert_eq!(bench.map_pmp(0, 8080, 600), (ResultCode::NotAuthorized, 0, 0));
    assert!(bench.map_pmp(5600, 80, 600).1 >= 1_024);
}

#[test]
fn limits_are_a_lack_of_resources() {
    let mut bench = Bench::with(Settings::default(), Limits { per_client: 1, ..Limits::default() });
    bench.map_pmp(5600, 6000, 600);
    assert_eq!(bench.map_pmp(5601, 6001, 600), (ResultCode::OutOfResources, 0, 0));
}

#[test]
fn an_unknown_opcode_gets_the_request_back() {
    let mut bench = Bench::new();
    let answer = bench.send(HOST_A, &[0, 9, 7, 7, 1, 2, 3, 4, 5]).unwrap();
    assert_eq!(answer, [0, 137, 0, 5, 0, 0, 0, 0, 5]);
}
