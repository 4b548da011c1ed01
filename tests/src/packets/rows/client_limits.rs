//! What one internal client may have (RFC 6888 REQ-3, REQ-4).

use super::forward_any;
use crate::packets::topology::{A, B, C, EXTERNAL, REMOTE, STRANGER};
use crate::packets::{Change, Row, drops, sends};
use nat_common::Counter::{
    DropNoSession, DropPortLimit, DropRateLimit, DropSessionLimit, DropTableFull, MappingsCreated,
    SessionsCreated,
};
use nat_common::Protocol::{Tcp, Udp};
use nat_common::settings::Settings;
use nat_ebpf::host::packet::{Packet, Peer, flags};
use std::net::Ipv4Addr;

pub(super) fn rows() -> Vec<Row> {
    [sessions(), ports(), rate(), unlimited()].concat()
}

const fn two_sessions(settings: &mut Settings) {
    settings.max_sessions_per_client = 2;
}

const fn two_ports(settings: &mut Settings) {
    settings.max_ports_per_client = 2;
}

const fn two_a_second(settings: &mut Settings) {
    settings.new_sessions_per_second = 2;
}

const fn server(port: u16) -> Peer {
    (REMOTE, port)
}

const fn seen(port: u16) -> Peer {
    (EXTERNAL, port)
}

impl Row {
    /// A client sends from port 5000 to a port of the server, and gets through.
    fn gets_through(self, client: Ipv4Addr, to: u16) -> Self {
        self.lan(Packet::udp((client, 5000), server(to)), sends(seen(5000), server(to)))
    }
}

fn sessions() -> Vec<Row> {
    let refused = |to| Packet::udp((A, 5000), server(to));
    let limited = |name| Row::new(name).settings(two_sessions).change(Change::Sweep);
    let web = seen(8080);
    vec![
        limited("a_client_has_as_many_sessions_as_it_may")
            .gets_through(A, 1)
            .gets_through(A, 2)
            .lan(refused(3), drops(DropSessionLimit))
            .counting(MappingsCreated, 0)
            .lan(Packet::tcp((A, 5001), server(3), flags::SYN), drops(DropSessionLimit))
            .gets_through(A, 1)
            .wan(Packet::udp(server(2), seen(5000)), sends(server(2), (A, 5000))),
        limited("the_limit_of_one_client_is_not_that_of_another")
            .gets_through(A, 1)
            .gets_through(A, 2)
            .lan(refused(3), drops(DropSessionLimit))
            .lan(Packet::udp((B, 6000), server(1)), sends(seen(6000), server(1)))
            .lan1(Packet::udp((C, 7000), server(1)), sends(seen(7000), server(1))),
        limited("sessions_that_have_ended_make_room_at_the_next_sweep")
            .gets_through(A, 1)
            .gets_through(A, 2)
            .wait(310)
            .gets_through(A, 1)
            .wait(20)
            .change(Change::Sweep)
            .gets_through(A, 3)
            .lan(refused(4), drops(DropSessionLimit)),
        Row::new("sessions_from_before_the_limit_count")
            .gets_through(A, 1)
            .gets_through(A, 2)
            .settings(two_sessions)
            .change(Change::Sweep)
            .lan(refused(3), drops(DropSessionLimit)),
        limited("sessions_from_outside_count_for_the_client_that_is_called")
            .open(forward_any(Udp, 8080, (A, 5000), 3600))
            .wan(Packet::udp(server(1), web), sends(server(1), (A, 5000)))
            .wan(Packet::udp(server(2), web), sends(server(2), (A, 5000)))
            .wan(Packet::udp(server(3), web), drops(DropSessionLimit))
            .lan(Packet::udp((A, 5001), server(4)), drops(DropSessionLimit)),
        Row::new("a_quarter_of_its_sessions_is_for_what_the_client_opens_itself")
            .settings(|settings| settings.max_sessions_per_client = 4)
            .change(Change::Sweep)
            .open(forward_any(Udp, 8080, (A, 5000), 3600))
            .wan(Packet::udp(server(1), web), sends(server(1), (A, 5000)))
            .wan(Packet::udp(server(2), web), sends(server(2), (A, 5000)))
            .wan(Packet::udp(server(3), web), sends(server(3), (A, 5000)))
            .wan(Packet::udp(server(4), web), drops(DropSessionLimit))
            .lan(Packet::udp((A, 5000), server(4)), sends(web, server(4)))
            .lan(Packet::udp((A, 5000), server(5)), drops(DropSessionLimit)),
        limited("a_call_from_the_lan_counts_for_the_caller")
            .open(forward_any(Udp, 8080, (B, 80), 3600))
            .open(forward_any(Udp, 8081, (B, 81), 3600))
            .lan(Packet::udp((A, 5000), web), sends(seen(5000), (B, 80)))
            .lan(Packet::udp((A, 5000), seen(8081)), sends(seen(5000), (B, 81)))
            .change(Change::Sweep)
            .lan(refused(1), drops(DropSessionLimit))
            .lan(Packet::udp((B, 7000), server(1)), sends(seen(7000), server(1)))
            .lan(Packet::udp((B, 7000), server(2)), sends(seen(7000), server(2))),
        limited("sessions_that_were_not_made_do_not_count")
            .gets_through(A, 1)
            .change(Change::FillSessions)
            .lan(refused(2), drops(DropTableFull))
            .lan(refused(3), drops(DropTableFull))
            .lan(refused(4), drops(DropTableFull))
            .lan(Packet::tcp((A, 5000), server(1), flags::RST), drops(DropNoSession)),
        limited("voided_sessions_make_room_at_the_next_sweep")
            .gets_through(A, 1)
            .gets_through(A, 2)
            .settings(|settings| settings.nat_generation += 1)
            .change(Change::Sweep)
            .gets_through(A, 3)
            .gets_through(A, 4)
            .lan(refused(5), drops(DropSessionLimit)),
    ]
}

fn ports() -> Vec<Row> {
    let from = |port| Packet::udp((A, port), server(1));
    let limited = |name| Row::new(name).settings(two_ports).change(Change::Sweep);
    vec![
        limited("a_client_has_as_many_external_ports_as_it_may")
            .lan(from(5000), sends(seen(5000), server(1)))
            .lan(Packet::ping((A, 5001), REMOTE), sends(seen(5001), (REMOTE, 0)))
            .lan(from(5002), drops(DropPortLimit))
            .counting(SessionsCreated, 0)
            .lan(Packet::tcp((A, 5000), server(1), flags::SYN), drops(DropPortLimit))
            .gets_through(A, 2)
            .gets_through(A, 3)
            .lan(Packet::udp((B, 6000), server(1)), sends(seen(6000), server(1))),
        limited("ports_that_were_given_back_make_room_at_the_next_sweep")
            .lan(from(5000), sends(seen(5000), server(1)))
            .wait(100)
            .lan(from(5002), sends(seen(5002), server(1)))
            .wait(220)
            .change(Change::Sweep)
            .lan(from(5004), sends(seen(5004), server(1)))
            .lan(from(5006), drops(DropPortLimit)),
        limited("forwarded_ports_have_a_limit_of_their_own")
            .open(forward_any(Udp, 8080, (A, 80), 3600))
            .open(forward_any(Tcp, 8081, (A, 81), 3600))
            .lan(Packet::udp((A, 80), server(1)), sends(seen(8080), server(1)))
            .lan(Packet::tcp((A, 81), server(1), flags::SYN), sends(seen(8081), server(1)))
            .change(Change::Sweep)
            .lan(from(5000), sends(seen(5000), server(1)))
            .lan(from(5002), sends(seen(5002), server(1)))
            .lan(from(5004), drops(DropPortLimit)),
        limited("a_port_that_found_no_room_in_the_index_does_not_count")
            .lan(from(5000), sends(seen(5000), server(1)))
            .change(Change::FillEndpoints)
            .lan(from(5002), drops(DropTableFull))
            .lan(from(5004), drops(DropTableFull))
            .lan(from(5006), drops(DropTableFull)),
    ]
}

fn rate() -> Vec<Row> {
    let to = |port| Packet::udp((A, 5000), server(port));
    let limited = |name| Row::new(name).settings(two_a_second);
    vec![
        limited("a_client_opens_as_many_sessions_in_a_second_as_it_may")
            .gets_through(A, 1)
            .gets_through(A, 2)
            .lan(to(3), drops(DropRateLimit))
            .gets_through(A, 1)
            .lan(Packet::udp((B, 6000), server(1)), sends(seen(6000), server(1)))
            .wait(2)
            .gets_through(A, 3)
            .gets_through(A, 4)
            .lan(to(5), drops(DropRateLimit)),
        limited("sessions_from_outside_use_up_nobody_s_second")
            .gets_through(A, 1)
            .wan(Packet::udp((STRANGER, 1), seen(5000)), sends((STRANGER, 1), (A, 5000)))
            .wan(Packet::udp((STRANGER, 2), seen(5000)), sends((STRANGER, 2), (A, 5000)))
            .gets_through(A, 2)
            .lan(to(3), drops(DropRateLimit)),
    ]
}

fn unlimited() -> Vec<Row> {
    let many = |row: Row| row.gets_through(A, 1).gets_through(A, 2).gets_through(A, 3);
    vec![
        many(Row::new("before_the_first_sweep_sessions_are_not_limited").settings(two_sessions)),
        many(
            Row::new("without_a_daemon_sessions_and_ports_are_not_limited")
                .settings(two_sessions)
                .settings(two_ports)
                .change(Change::Sweep)
                .wait(91),
        )
        .lan(Packet::udp((A, 5002), server(1)), sends(seen(5002), server(1)))
        .lan(Packet::udp((A, 5004), server(1)), sends(seen(5004), server(1))),
        many(
            Row::new("a_client_that_finds_no_room_is_served_without_limit")
                .settings(two_sessions)
                .settings(two_a_second)
                .change(Change::Sweep)
                .change(Change::FillClients),
        ),
        many(Row::new("a_client_has_no_limit_unless_there_is_one").change(Change::Sweep)),
    ]
}
