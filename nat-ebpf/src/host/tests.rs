use super::packet::{checksum, flags};
use super::*;
use crate::verdict::Way;
use crate::{Frame, Tables};
use nat_common::NetAddr;
use nat_common::link::Link;
use nat_common::session::Side;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const A: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 168, 77, 2), 5000);
const B: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 51, 100, 7), 53);

#[test]
fn views_of_a_frame_are_aligned_and_end_with_it() {
    let mut frame = HostFrame::new(&[1, 2, 3, 4, 5]);
    assert_eq!(frame.view::<2>(0).copied(), Some(words([1, 2, 3, 4])));
    assert_eq!(frame.view::<1>(1), None, "odd offsets have no view");
    assert_eq!(frame.view::<1>(4), None, "half a word is none");
    assert_eq!(frame.view::<0>(usize::MAX - 1), None);
    frame.view::<1>(2).unwrap()[0] = u16::from_ne_bytes([8, 9]);
    assert_eq!(frame.to_bytes(), [1, 2, 8, 9, 5]);
}

fn words([a, b, c, d]: [u8; 4]) -> [u16; 2] {
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])]
}

#[test]
fn a_known_header_has_its_known_checksum() {
    // The example in RFC 1071 section 3.
    assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
}

#[test]
fn what_was_built_is_parsed_again() {
    let mut with_options = Packet::tcp(A, B, flags::SYN);
    with_options.options = vec![1; 8];
    with_options.padding = vec![0; 3];
    let mut wrong = Packet::udp(A, B);
    let Body::Udp { checksum, .. } = &mut wrong.body else { panic!("not UDP") };
    *checksum = Checksum::Off(0x1234);
    let mut without = Packet::udp(A, B);
    let Body::Udp { checksum, .. } = &mut without.body else { panic!("not UDP") };
    *checksum = Checksum::None;
    for packet in [
        Packet::udp(A, B),
        Packet::ping(A, B.0),
        Packet::pong(B.0, A),
        Packet::other(A.0, B.0, 47),
        with_options,
        wrong,
        without,
    ] {
        assert_eq!(Packet::parse(&packet.to_bytes()), Some(packet));
    }
}

#[test]
fn the_longest_prefix_decides() {
    let mut network = Network::default();
    network.add_route(Ipv4Addr::UNSPECIFIED, 0, NextHop::Gateway(0, B.0.into()));
    network.add_route(Ipv4Addr::new(192, 168, 77, 0), 24, NextHop::OnLink(1));
    network.add_route(Ipv4Addr::new(192, 168, 77, 1), 32, NextHop::Local);
    network.set_link(1, Link::new(7, [2; 6], 1500, Side::Lan));
    network.add_neighbour(0, B.0, [1, 2, 3, 4, 5, 6]);
    let way = |addr: [u8; 4]| network.route(NetAddr::from_octets(addr)).decode();
    assert_eq!(way([192, 168, 77, 1]), Way::Local);
    assert_eq!(way([192, 168, 77, 2]), Way::Unresolved { link: 1 });
    assert!(matches!(way([9, 9, 9, 9]), Way::Link { link: 0, .. }));
    assert!(network.link(0).is_none() && network.link(1).is_some());
}

#[test]
fn full_tables_take_no_more() {
    let mut tables = HostTables::new(Network::default(), 1);
    tables.capacity = Capacity { sessions: 4, endpoints: 4, ..tables.capacity };
    tables.fill_sessions();
    tables.fill_endpoints();
    let key = nat_common::session::EndpointKey::new(
        nat_common::Protocol::Udp,
        A.0.into(),
        nat_common::NetPort::new(1),
    );
    assert_eq!(tables.insert_endpoint(&key, 1), Err(crate::tables::InsertError::Full));
}

proptest! {
    #[test]
    fn parsing_never_fails_badly(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = Packet::parse(&bytes);
        prop_assert_eq!(HostFrame::new(&bytes).to_bytes(), bytes);
    }

    #[test]
    fn a_right_frame_sums_up_to_nothing(payload in proptest::collection::vec(any::<u8>(), 0..9)) {
        let mut packet = Packet::udp(A, B);
        let Body::Udp { payload: inner, .. } = &mut packet.body else { panic!("not UDP") };
        *inner = payload;
        let frame = packet.to_bytes();
        prop_assert_eq!(checksum(&frame[14..34]), 0);
    }
}
