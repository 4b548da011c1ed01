//! When ports or tables run out.

use super::{endpoint, forward_any};
use crate::packets::topology::{A, B, EXTERNAL, REMOTE, STRANGER};
use crate::packets::{CHOSEN, Change, Row, drops, portless, sends};
use nat_common::Counter::{DropNoPort, DropTableFull, MappingsCreated, SessionsCreated};
use nat_common::Protocol::{Icmp, Tcp, Udp};
use nat_common::settings::Settings;
use nat_ebpf::host::packet::{Packet, flags};
use std::ops::RangeInclusive;

const LONG: u64 = 100_000;

fn two_ports(settings: &mut Settings) {
    (settings.ports.first, settings.ports.last) = (2000, 2001);
    (settings.identifiers.first, settings.identifiers.last) = (2000, 2001);
}

/// So many that guessing will hardly find the only one that is free.
const THOUSANDS: RangeInclusive<u16> = 20_000..=24_999;

fn thousands(settings: &mut Settings) {
    (settings.ports.first, settings.ports.last) = THOUSANDS.into_inner();
    (settings.identifiers.first, settings.identifiers.last) = THOUSANDS.into_inner();
}

pub(super) fn rows() -> Vec<Row> {
    let server = (REMOTE, 53);
    let take = |protocol, port| Change::TakePort(protocol, port, endpoint((B, 1)), LONG);
    vec![
        Row::new("without_a_free_port_there_is_no_session")
            .settings(two_ports)
            .change(take(Udp, 2000))
            .change(take(Udp, 2001))
            .lan(Packet::udp((A, 5000), server), drops(DropNoPort))
            .lan(Packet::udp((A, 2000), server), drops(DropNoPort)),
        Row::new("without_a_free_identifier_there_is_no_ping")
            .settings(two_ports)
            .change(take(Icmp, 2000))
            .change(take(Icmp, 2001))
            .lan(Packet::ping((A, 5000), REMOTE), drops(DropNoPort)),
        Row::new("the_last_free_port_is_found")
            .settings(two_ports)
            .change(take(Udp, 2000))
            .lan(Packet::udp((A, 5001), server), sends((EXTERNAL, CHOSEN), server)),
        Row::new("the_last_free_port_of_thousands_is_found")
            .settings(thousands)
            .lan(Packet::udp((A, 5001), server), sends((EXTERNAL, CHOSEN), server))
            .change(Change::TakePorts(Tcp, THOUSANDS, Some(22_222), endpoint((B, 1)), LONG))
            .change(Change::FillHints(Tcp))
            .lan(Packet::tcp((A, 5003), server, flags::SYN), sends((EXTERNAL, 22_222), server))
            // Now there is none.
            .lan(Packet::tcp((B, 5003), server, flags::SYN), drops(DropNoPort))
            .change(Change::FillHints(Tcp))
            .lan(Packet::tcp((B, 5003), server, flags::SYN), drops(DropNoPort))
            // Nobody else is harmed.
            .lan(Packet::udp((A, 5001), (STRANGER, 1)), sends((EXTERNAL, CHOSEN), (STRANGER, 1)))
            .lan(
                Packet::tcp((A, 5003), (STRANGER, 1), flags::SYN),
                sends((EXTERNAL, 22_222), (STRANGER, 1)),
            ),
        Row::new("the_last_free_identifier_of_thousands_is_found")
            .settings(thousands)
            .change(Change::TakePorts(Icmp, THOUSANDS, Some(23_457), endpoint((B, 1)), LONG))
            .change(Change::FillHints(Icmp))
            .lan(Packet::ping((A, 5000), REMOTE), sends((EXTERNAL, 23_457), portless(REMOTE))),
        Row::new("stale_hints_claim_nothing")
            .settings(thousands)
            .change(Change::FillHints(Udp))
            .change(Change::TakePorts(Udp, THOUSANDS, None, endpoint((B, 1)), LONG))
            .lan(Packet::udp((A, 5000), server), drops(DropNoPort))
            .counting(MappingsCreated, 0),
        Row::new("an_endpoint_with_a_port_needs_no_free_one")
            .settings(two_ports)
            .lan(Packet::udp((A, 2000), server), sends((EXTERNAL, 2000), server))
            .change(take(Udp, 2001))
            .lan(Packet::udp((A, 2000), (STRANGER, 1)), sends((EXTERNAL, 2000), (STRANGER, 1))),
        Row::new("when_the_session_table_is_full_old_sessions_go_on")
            .open(forward_any(Udp, 8080, (B, 80), LONG))
            .lan(Packet::udp((A, 5000), server), sends((EXTERNAL, 5000), server))
            .change(Change::FillSessions)
            .lan(Packet::udp((A, 5000), (STRANGER, 1)), drops(DropTableFull))
            .counting(SessionsCreated, 0)
            .lan(Packet::udp((A, 5002), server), drops(DropTableFull))
            .wan(Packet::udp(server, (EXTERNAL, 8080)), drops(DropTableFull))
            .wan(Packet::udp(server, (EXTERNAL, 5000)), sends(server, (A, 5000)))
            .lan(Packet::udp((A, 5000), server), sends((EXTERNAL, 5000), server)),
        Row::new("when_the_endpoint_table_is_full_the_claimed_port_is_given_back")
            .lan(Packet::udp((A, 5000), server), sends((EXTERNAL, 5000), server))
            .change(Change::FillEndpoints)
            .lan(Packet::udp((A, 5002), server), drops(DropTableFull))
            .change(take(Udp, 5002))
            .lan(Packet::udp((A, 5000), (STRANGER, 1)), sends((EXTERNAL, 5000), (STRANGER, 1))),
    ]
}
