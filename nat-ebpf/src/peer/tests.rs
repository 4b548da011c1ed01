//! PEER's sessions, with packets before, through and after them.

use super::*;
use crate::host::{Body, HostFrame, HostTables, Network, NextHop, Packet};
use crate::process::process;
use nat_common::link::Link;
use nat_common::settings::Filtering;
use nat_common::{NetAddr, NetPort, Protocol};
use std::net::Ipv4Addr;

type End = (Ipv4Addr, u16);
const LAN: u8 = 1;
const WAN: u8 = 0;
const CLIENT: End = (Ipv4Addr::new(192, 168, 77, 2), 5_600);
const SECOND: End = (Ipv4Addr::new(192, 168, 77, 3), 5_600);
const FRIEND: End = (Ipv4Addr::new(11, 22, 33, 2), 7_001);
const OTHER_PORT: End = (FRIEND.0, 7_002);
const STRANGER: End = (Ipv4Addr::new(11, 22, 33, 3), 7_001);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 1);
const HOUR: u64 = 3_600;

const STRICT: Filtering = Filtering::AddressAndPortDependent;

fn router(filtering: Filtering) -> HostTables {
    let mut network = Network::default();
    network.set_link(WAN, Link::new(3, [2, 0, 0, 0, 0, 0], 1_500, Side::Wan));
    network.set_link(LAN, Link::new(4, [2, 0, 0, 0, 0, 1], 1_500, Side::Lan));
    network.add_route(Ipv4Addr::UNSPECIFIED, 0, NextHop::OnLink(WAN));
    network.add_route(Ipv4Addr::new(192, 168, 77, 0), 24, NextHop::OnLink(LAN));
    for host in [FRIEND.0, STRANGER.0] {
        network.add_neighbour(WAN, host, [2, 0, 0, 0, 1, 1]);
    }
    for host in [CLIENT.0, SECOND.0] {
        network.add_neighbour(LAN, host, [2, 0, 0, 0, 1, 2]);
    }
    let mut tables = HostTables::new(network, 7);
    tables.set_externals(vec![EXTERNAL.into()], vec![]);
    let mut settings = Settings::DEFAULT;
    settings.set_filtering(Protocol::Udp, filtering);
    settings.set_filtering(Protocol::Tcp, filtering);
    tables.settings = Some(settings);
    tables
}

fn end((addr, port): End) -> Peer {
    (addr.into(), NetPort::new(port))
}

fn key(protocol: Protocol, client: End, remote: End) -> SessionKey {
    SessionKey::new(Side::Lan, protocol, end(client), end(remote))
}

/// Runs a request; the answer, or why there is none.
fn ask(
    tables: &HostTables,
    action: PeerAction,
    session: SessionKey,
    seconds: u64,
) -> Result<PeerFrame, u32> {
    let request = PeerFrame::new(action, &session, tables.now().plus_secs(seconds));
    let bytes: Vec<u8> = request.words().iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut frame = HostFrame::new(&bytes);
    match answer(&mut frame, tables) {
        PEER_DONE => Ok(PeerFrame::of_words(frame.view(0).unwrap())),
        why => Err(why),
    }
}

fn hold(tables: &HostTables, client: End, remote: End, seconds: u64) -> PeerFrame {
    ask(tables, PeerAction::Hold, key(Protocol::Udp, client, remote), seconds).unwrap()
}

/// A UDP packet, and what has left the router for it.
fn send(tables: &mut HostTables, side: Side, from: End, to: End) -> Option<Packet> {
    let (link, mac) = match side {
        Side::Lan => (LAN, [2, 0, 0, 0, 0, 1]),
        Side::Wan => (WAN, [2, 0, 0, 0, 0, 0]),
    };
    tables.set_ingress(link);
    let mut bytes = Packet::udp(from, to).to_bytes();
    bytes[..6].copy_from_slice(&mac);
    let mut frame = HostFrame::new(&bytes);
    match process(&mut frame, tables, side).decision() {
        Decision::Send { .. } | Decision::Resolve { .. } => Packet::parse(&frame.to_bytes()),
        _ => None,
    }
}

fn is_let_in(tables: &mut HostTables, from: End, port: u16) -> bool {
    send(tables, Side::Wan, from, (EXTERNAL, port)).is_some()
}

fn source_port(packet: &Packet) -> u16 {
    match packet.body {
        Body::Udp { src, .. } => src,
        _ => 0,
    }
}

#[test]
fn a_silent_mapping_outlives_the_idle_time_and_lets_its_peer_in_only() {
    let mut tables = router(STRICT);
    let held = hold(&tables, CLIENT, FRIEND, HOUR);
    assert_eq!((held.external, held.external_port), (EXTERNAL.into(), NetPort::new(5_600)));
    assert_eq!((held.lasts(), held.known), (tables.now().plus_secs(HOUR), 0));
    tables.advance(HOUR - 10);
    for (from, let_in) in [(FRIEND, true), (OTHER_PORT, false), (STRANGER, false)] {
        assert_eq!(is_let_in(&mut tables, from, 5_600), let_in, "{from:?}");
    }
    // Nobody else gets the port.
    assert_ne!(hold(&tables, SECOND, FRIEND, HOUR).external_port, held.external_port);
    tables.advance(10);
    assert!(!is_let_in(&mut tables, FRIEND, 5_600));
}

#[test]
fn where_filtering_asks_for_addresses_the_whole_host_of_the_peer_is_let_in() {
    let mut tables = router(Filtering::AddressDependent);
    hold(&tables, CLIENT, FRIEND, HOUR);
    tables.advance(HOUR - 10);
    for (from, let_in) in [(FRIEND, true), (OTHER_PORT, true), (STRANGER, false)] {
        assert_eq!(is_let_in(&mut tables, from, 5_600), let_in, "{from:?}");
    }
}

#[test]
fn a_session_that_there_is_is_prolonged_and_never_shortened() {
    let mut tables = router(STRICT);
    let sent = send(&mut tables, Side::Lan, CLIENT, FRIEND).unwrap();
    let usual = hold(&tables, CLIENT, FRIEND, 10);
    assert_eq!((usual.known, usual.external_port.get()), (1, source_port(&sent)));
    assert!(usual.lasts() > tables.now().plus_secs(299), "not less than without PEER");
    let held = hold(&tables, CLIENT, FRIEND, HOUR);
    assert_eq!(held.lasts(), tables.now().plus_secs(HOUR));
    assert_eq!(hold(&tables, CLIENT, FRIEND, HOUR), held, "asked again");
    tables.advance(HOUR - 10);
    assert!(is_let_in(&mut tables, FRIEND, source_port(&sent)));
    assert_eq!(tables.counted(Counter::SessionsCreated), 1);
}

#[test]
fn packets_of_the_client_leave_from_the_port_that_is_held() {
    let mut tables = router(STRICT);
    let held = hold(&tables, CLIENT, FRIEND, HOUR);
    tables.advance(HOUR - 10);
    for remote in [FRIEND, STRANGER] {
        let sent = send(&mut tables, Side::Lan, CLIENT, remote).unwrap();
        assert_eq!(source_port(&sent), held.external_port.get());
    }
    // The client goes on talking: it is a session like any other, and outlives the agreement.
    tables.advance(20);
    assert!(is_let_in(&mut tables, FRIEND, held.external_port.get()));
}

#[test]
fn letting_go_ends_what_no_packet_has_used_and_leaves_the_rest_its_idle_time() {
    let mut tables = router(STRICT);
    let let_go = |tables: &HostTables, remote| {
        ask(tables, PeerAction::LetGo, key(Protocol::Udp, CLIENT, remote), 0).unwrap()
    };
    hold(&tables, CLIENT, FRIEND, HOUR);
    hold(&tables, CLIENT, OTHER_PORT, HOUR);
    assert!(is_let_in(&mut tables, FRIEND, 5_600));
    assert_eq!(let_go(&tables, OTHER_PORT).lasts(), BootTime(0));
    assert!(let_go(&tables, FRIEND).lasts() < tables.now().plus_secs(HOUR));
    assert!(!is_let_in(&mut tables, OTHER_PORT, 5_600));
    tables.advance(290);
    assert!(is_let_in(&mut tables, FRIEND, 5_600));
    tables.advance(100);
    assert!(!is_let_in(&mut tables, FRIEND, 5_600));
    assert_eq!(let_go(&tables, FRIEND).lasts(), BootTime(0), "it has gone");
}

#[test]
fn a_connection_is_stated_again_after_its_state_has_changed_and_not_when_it_is_over() {
    let tables = router(STRICT);
    let session = key(Protocol::Tcp, CLIENT, FRIEND);
    let keep = || ask(&tables, PeerAction::Keep, session, HOUR).unwrap().lasts();
    assert_eq!(keep(), BootTime(0), "nothing is made");
    ask(&tables, PeerAction::Hold, session, HOUR).unwrap();
    let half = tables.session(&session).unwrap();
    // As packets do when the handshake is complete.
    half.deadline.set(tables.now().plus_secs(240).0);
    assert_eq!(keep(), tables.now().plus_secs(HOUR));
    half.control.set_bits(control::RESET);
    half.deadline.set(tables.now().plus_secs(240).0);
    assert_eq!(keep(), tables.now().plus_secs(240));
}

#[test]
fn the_limits_of_a_client_and_of_the_tables_hold() {
    let mut tables = router(STRICT);
    tables.capacity.sessions = 4;
    hold(&tables, CLIENT, FRIEND, HOUR);
    hold(&tables, CLIENT, STRANGER, HOUR);
    let third = key(Protocol::Udp, SECOND, FRIEND);
    let full = refusal(Counter::DropTableFull as u32);
    assert_eq!(ask(&tables, PeerAction::Hold, third, HOUR), Err(full));
    // What was claimed for it is let go of.
    let left = tables.slots.borrow().values().filter(|slot| slot.hold() > tables.now()).count();
    assert_eq!(left, 2);
    tables.advance(400);
    let held = tables.slots.borrow().values().filter(|slot| slot.hold() > tables.now()).count();
    assert_eq!(held, 1);

    let mut tables = router(STRICT);
    let mut settings = tables.settings.unwrap();
    settings.max_sessions_per_client = 1;
    settings.swept_at = tables.now().0;
    tables.settings = Some(settings);
    hold(&tables, CLIENT, FRIEND, HOUR);
    let more = key(Protocol::Udp, CLIENT, STRANGER);
    let quota = refusal(Counter::DropSessionLimit as u32);
    assert_eq!(ask(&tables, PeerAction::Hold, more, HOUR), Err(quota));
    assert_eq!(hold(&tables, CLIENT, FRIEND, HOUR).known, 1, "what it has can be prolonged");
    assert_eq!(hold(&tables, SECOND, FRIEND, HOUR).known, 0);
}

#[test]
fn another_internal_client_is_called_by_its_external_endpoint() {
    let mut tables = router(STRICT);
    let called = hold(&tables, SECOND, FRIEND, HOUR).external_port.get();
    let caller = hold(&tables, CLIENT, (EXTERNAL, called), HOUR).external_port.get();
    tables.advance(HOUR - 10);
    // The one that is called calls back: it is a contact of the first one's.
    assert!(send(&mut tables, Side::Lan, SECOND, (EXTERNAL, caller)).is_some());
}

#[test]
fn the_router_itself_is_no_peer_and_odd_frames_are_refused() {
    let mut tables = router(STRICT);
    let own = Ipv4Addr::new(11, 22, 33, 9);
    tables.set_externals(vec![EXTERNAL.into()], vec![NetAddr::from(own)]);
    let session = key(Protocol::Udp, CLIENT, (own, 53));
    let local = refusal(Counter::PassLocal as u32);
    assert_eq!(ask(&tables, PeerAction::Hold, session, HOUR), Err(local));
    let malformed = refusal(Counter::DropMalformed as u32);
    assert_eq!(answer(&mut HostFrame::new(&[0; 39]), &tables), malformed);
}

#[test]
fn a_new_address_voids_what_was_agreed_upon() {
    let mut tables = router(STRICT);
    hold(&tables, CLIENT, FRIEND, HOUR);
    let mut settings = tables.settings.unwrap();
    settings.nat_generation += 1;
    tables.settings = Some(settings);
    assert!(!is_let_in(&mut tables, FRIEND, 5_600));
    assert_eq!(hold(&tables, CLIENT, FRIEND, HOUR).known, 0);
}
