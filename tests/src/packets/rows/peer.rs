//! Sessions that PCP's PEER has made or prolonged (RFC 6887 12).

use super::forward_any;
use crate::packets::topology::{A, B, EXTERNAL, OTHER_EXTERNAL, REMOTE, STRANGER};
use crate::packets::{CHOSEN, Change, Row, drops, sends};
use nat_common::Counter::{
    DropFiltered, DropNoPort, DropTableFull, DropUnmapped, PassLocal, SessionsCreated,
};
use nat_common::Protocol::{Tcp, Udp};
use nat_common::peer::PeerAction::{Keep, LetGo};
use nat_common::settings::{Filtering, Settings};
use nat_ebpf::host::packet::{Packet, flags};

const SYN_ACK: u8 = flags::SYN | flags::ACK;
const HOUR: u64 = 3_600;

pub(super) fn rows() -> Vec<Row> {
    [udp(), tcp(), ends(), limits()].concat()
}

fn strict(settings: &mut Settings) {
    settings.filtering = [Filtering::AddressAndPortDependent as u8; 4];
}

fn by_address(settings: &mut Settings) {
    settings.filtering = [Filtering::AddressDependent as u8; 4];
}

fn udp() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    let (same_host, stranger) = ((REMOTE, 54), (STRANGER, 53));
    vec![
        Row::new("peer_s_session_is_silent_for_longer_than_others_and_lets_in_its_peer_only")
            .settings(strict)
            .hold(Udp, inside, server, HOUR)
            .wait(HOUR - 10)
            .wan(Packet::udp(server, outside), sends(server, inside))
            .counting(SessionsCreated, 0)
            .wan(Packet::udp(same_host, outside), drops(DropFiltered))
            .wan(Packet::udp(stranger, outside), drops(DropFiltered))
            .lan(Packet::udp(inside, server), sends(outside, server)),
        Row::new("peer_s_host_is_let_in_where_filtering_is_by_address")
            .settings(by_address)
            .hold(Udp, inside, server, HOUR)
            .wait(HOUR - 10)
            .wan(Packet::udp(same_host, outside), sends(same_host, inside))
            .wan(Packet::udp(stranger, outside), drops(DropFiltered)),
        Row::new("peer_s_port_is_open_to_everybody_where_ports_are")
            .hold(Udp, inside, server, HOUR)
            .wait(HOUR - 10)
            .wan(Packet::udp(stranger, outside), sends(stranger, inside)),
        Row::new("peer_s_port_is_the_client_s_towards_all_and_nobody_else_s")
            .hold(Udp, inside, server, HOUR)
            .wait(HOUR - 10)
            .lan(Packet::udp(inside, stranger), sends(outside, stranger))
            .lan(Packet::udp((B, 5000), server), sends((EXTERNAL, CHOSEN), server)),
        Row::new("peer_prolongs_the_session_that_there_is")
            .settings(strict)
            .lan(Packet::udp(inside, server), sends(outside, server))
            .hold(Udp, inside, server, HOUR)
            .wait(HOUR - 10)
            .wan(Packet::udp(server, outside), sends(server, inside)),
        Row::new("peer_does_not_shorten_the_session_that_there_is")
            .settings(strict)
            .lan(Packet::udp(inside, server), sends(outside, server))
            .hold(Udp, inside, server, 10)
            .wait(290)
            .wan(Packet::udp(server, outside), sends(server, inside)),
        Row::new("peer_of_a_forwarded_client_leaves_from_the_forward_and_outlives_it")
            .settings(strict)
            .open(forward_any(Udp, 6000, inside, 600))
            .hold(Udp, inside, server, HOUR)
            .close(forward_any(Udp, 6000, inside, 600))
            .wait(HOUR - 10)
            .wan(Packet::udp(server, (EXTERNAL, 6000)), sends(server, inside))
            .wan(Packet::udp(stranger, (EXTERNAL, 6000)), drops(DropFiltered)),
    ]
}

fn tcp() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 80));
    vec![
        Row::new("peer_s_connection_can_be_opened_from_either_side")
            .settings(strict)
            .hold(Tcp, inside, server, HOUR)
            .wait(HOUR - 10)
            .wan(Packet::tcp(server, outside, flags::SYN), sends(server, inside))
            .lan(Packet::tcp(inside, server, SYN_ACK), sends(outside, server))
            .wan(Packet::tcp((STRANGER, 80), outside, flags::SYN), drops(DropFiltered)),
        Row::new("peer_s_connection_is_stated_again_after_its_state_has_changed")
            .settings(strict)
            .hold(Tcp, inside, server, 20_000)
            .lan(Packet::tcp(inside, server, flags::SYN), sends(outside, server))
            .wan(Packet::tcp(server, outside, SYN_ACK), sends(server, inside))
            .lan(Packet::tcp(inside, server, flags::ACK), sends(outside, server))
            .change(Change::Peer(Keep, Tcp, inside, server, 20_000))
            .wait(19_990)
            .wan(Packet::tcp(server, outside, flags::ACK), sends(server, inside)),
    ]
}

fn ends() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    vec![
        Row::new("peer_ends_on_time")
            .settings(strict)
            .hold(Udp, inside, server, HOUR)
            .wait(HOUR - 1)
            .wan(Packet::udp(server, outside), sends(server, inside))
            .wait(2)
            .wan(Packet::udp(server, outside), drops(DropUnmapped)),
        Row::new("peer_that_is_let_go_of_lets_nobody_in")
            .settings(strict)
            .hold(Udp, inside, server, HOUR)
            .change(Change::Peer(LetGo, Udp, inside, server, 0))
            .wan(Packet::udp(server, outside), drops(DropFiltered)),
        Row::new("peer_that_is_let_go_of_leaves_traffic_its_idle_time")
            .settings(strict)
            .hold(Udp, inside, server, HOUR)
            .lan(Packet::udp(inside, server), sends(outside, server))
            .change(Change::Peer(LetGo, Udp, inside, server, 0))
            .wait(290)
            .wan(Packet::udp(server, outside), sends(server, inside))
            .wait(100)
            .wan(Packet::udp(server, outside), drops(DropFiltered)),
        Row::new("peer_is_void_after_a_change_of_address")
            .hold(Udp, inside, server, HOUR)
            .settings(|settings| settings.nat_generation += 1)
            .lan(Packet::udp(inside, server), sends(outside, server))
            .counting(SessionsCreated, 1),
    ]
}

fn limits() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    vec![
        Row::new("peer_finds_no_room_in_a_full_table_and_leaves_nothing_behind")
            .change(Change::FillSessions)
            .change(Change::PeerRefused(DropTableFull, Udp, inside, server))
            .wait(400)
            .wan(Packet::udp(server, outside), drops(DropUnmapped)),
        Row::new("peer_finds_no_port_where_all_are_taken")
            .change(Change::TakePorts(Udp, 1_024..=65_535, None, super::endpoint((B, 1)), 7_200))
            .change(Change::PeerRefused(DropNoPort, Udp, inside, server)),
        Row::new("peer_is_not_the_router_itself").change(Change::PeerRefused(
            PassLocal,
            Udp,
            inside,
            (OTHER_EXTERNAL, 53),
        )),
        Row::new("peer_within_the_lan_is_let_in_by_its_external_endpoint")
            .settings(strict)
            .hold(Udp, (B, 6000), server, HOUR)
            .hold(Udp, inside, (EXTERNAL, 6000), HOUR)
            .wait(HOUR - 10)
            .lan(Packet::udp((B, 6000), outside), sends((EXTERNAL, 6000), inside)),
    ]
}
