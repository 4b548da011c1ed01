//! The wildcard: a port forward of external port 0, for every port that is not otherwise mapped.

use super::{disabled, endpoint, forward, forward_any};
use crate::packets::topology::{A, B, C, EXTERNAL, REMOTE, SILENT, STRANGER};
use crate::packets::{CHOSEN, Change, Row, drops, passes, portless, resolves, sends};
use nat_common::Counter::{
    DropDisconnected, DropFiltered, DropNoSession, DropSpoofed, DropUnmapped, MappingsCreated,
    PassLocal, SessionsCreated,
};
use nat_common::Protocol::{self, Tcp, Udp};
use nat_ebpf::host::Forward;
use nat_ebpf::host::packet::{Packet, flags};
use std::net::Ipv4Addr;

const SYN_ACK: u8 = flags::SYN | flags::ACK;

pub(super) fn rows() -> Vec<Row> {
    [admitting(), precedence(), claims(), hairpins(), leases()].concat()
}

/// For everybody, to A. The internal port is ignored.
fn wildcard(protocol: Protocol, seconds: u64) -> Forward {
    forward_any(protocol, 0, (A, 4711), seconds)
}

/// For one remote host only.
fn wildcard_for(host: Ipv4Addr, seconds: u64) -> Forward {
    Forward { remotes: vec![(host.into(), seconds)], ..forward(Udp, 0, (A, 4711)) }
}

fn admitting() -> Vec<Row> {
    let (caller, other) = ((REMOTE, 1234), (STRANGER, 1234));
    let (inside, outside) = ((A, 5000), (EXTERNAL, 5000));
    vec![
        Row::new("the_wildcard_leads_every_udp_port_to_the_same_port_of_its_client")
            .open(wildcard(Udp, 3600))
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .counting(SessionsCreated, 1)
            .counting(MappingsCreated, 1)
            .wan(Packet::udp(caller, (EXTERNAL, 5001)), sends(caller, (A, 5001)))
            .wan(Packet::udp(caller, (EXTERNAL, 80)), sends(caller, (A, 80)))
            .wan(Packet::udp(caller, (EXTERNAL, 65535)), sends(caller, (A, 65535)))
            .lan(Packet::udp(inside, caller), sends(outside, caller))
            .counting(SessionsCreated, 0)
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .counting(SessionsCreated, 0)
            .wan(Packet::udp(other, outside), sends(other, inside)),
        Row::new("the_wildcard_leads_every_tcp_port_to_the_same_port_of_its_client")
            .open(wildcard(Tcp, 3600))
            .wan(Packet::tcp(caller, (EXTERNAL, 22), flags::SYN), sends(caller, (A, 22)))
            .lan(Packet::tcp((A, 22), caller, SYN_ACK), sends((EXTERNAL, 22), caller))
            .wan(Packet::tcp(caller, (EXTERNAL, 22), flags::ACK), sends(caller, (A, 22)))
            .counting(SessionsCreated, 0)
            .wan(Packet::tcp(other, (EXTERNAL, 22), flags::SYN), sends(other, (A, 22))),
        Row::new("the_wildcard_is_for_its_protocol_only")
            .open(wildcard(Tcp, 3600))
            .wan(Packet::udp(caller, outside), drops(DropUnmapped)),
        Row::new("the_wildcard_leaves_pings_alone")
            .open(wildcard(Udp, 3600))
            .open(wildcard(Tcp, 3600))
            .wan(Packet::ping(caller, EXTERNAL), passes(PassLocal))
            .wan(Packet::pong(REMOTE, (EXTERNAL, 7)), passes(PassLocal))
            .lan(Packet::ping((A, 0), REMOTE), sends((EXTERNAL, 0), portless(REMOTE)))
            .wan(Packet::pong(REMOTE, (EXTERNAL, 0)), sends(portless(REMOTE), (A, 0))),
        Row::new("port_0_itself_is_nobody_s")
            .open(wildcard(Udp, 3600))
            .open(wildcard(Tcp, 3600))
            .wan(Packet::udp(caller, (EXTERNAL, 0)), passes(PassLocal))
            .wan(Packet::tcp(caller, (EXTERNAL, 0), flags::SYN), passes(PassLocal))
            .lan(Packet::udp((A, 4711), caller), sends((EXTERNAL, 4711), caller)),
        Row::new("a_wildcard_for_one_remote_host_is_not_there_for_others")
            .open(wildcard_for(REMOTE, 3600))
            .wan(Packet::udp(other, outside), drops(DropUnmapped))
            .wan(Packet::udp(other, (EXTERNAL, 80)), passes(PassLocal))
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .wan(Packet::udp((REMOTE, 99), outside), sends((REMOTE, 99), inside))
            .wan(Packet::udp(other, outside), drops(DropFiltered)),
        Row::new("a_disabled_wildcard_is_not_there")
            .open(disabled(Udp, 0, (A, 4711), 3600))
            .wan(Packet::udp(caller, outside), drops(DropUnmapped))
            .wan(Packet::udp(caller, (EXTERNAL, 80)), passes(PassLocal)),
        Row::new("what_opens_no_session_opens_none_by_the_wildcard")
            .open(wildcard(Tcp, 3600))
            .wan(Packet::tcp(caller, outside, flags::RST), drops(DropNoSession))
            .wan(Packet::tcp((B, 1), outside, flags::SYN), drops(DropSpoofed))
            .settings(|settings| settings.connected = 0)
            .wan(Packet::tcp(caller, outside, flags::SYN), drops(DropDisconnected))
            .settings(|settings| settings.connected = 1)
            // None of them has claimed the port.
            .lan(Packet::tcp((B, 5000), caller, flags::SYN), sends(outside, caller)),
        Row::new("a_wildcard_to_a_client_whose_mac_address_is_not_known")
            .open(forward_any(Udp, 0, (SILENT, 1), 3600))
            .wan(Packet::udp(caller, outside), resolves(caller, (SILENT, 5000))),
    ]
}

/// Each row shows two neighbours in the order of precedence: docs/architecture.md.
fn precedence() -> Vec<Row> {
    let (caller, other) = ((REMOTE, 1234), (STRANGER, 1234));
    let (inside, outside, web) = ((A, 5000), (EXTERNAL, 5000), (EXTERNAL, 8080));
    let exact_for = |host: Ipv4Addr, seconds| Forward {
        remotes: vec![(host.into(), seconds)],
        ..forward(Udp, 8080, (B, 80))
    };
    vec![
        Row::new("a_live_session_comes_before_a_forward")
            .lan(Packet::udp((B, 8080), caller), sends(web, caller))
            .open(Forward {
                remotes: vec![(STRANGER.into(), 3600)],
                ..forward(Udp, 8080, (B, 8080))
            })
            .wan(Packet::udp(caller, web), sends(caller, (B, 8080)))
            .counting(SessionsCreated, 0)
            .wan(Packet::udp((REMOTE, 99), web), drops(DropFiltered)),
        Row::new("a_listed_remote_host_comes_before_everybody")
            .open(Forward { any_remote: Some(100), ..exact_for(REMOTE, 3600) })
            .wait(101)
            .wan(Packet::udp(caller, web), sends(caller, (B, 80)))
            .wan(Packet::udp(other, web), drops(DropFiltered)),
        Row::new("in_the_nat_s_range_a_forward_comes_before_a_service_of_the_router")
            .open(forward_any(Udp, 8080, (B, 80), 3600))
            .change(Change::OpenSocket(Udp, EXTERNAL, 8080))
            .wan(Packet::udp(caller, web), sends(caller, (B, 80))),
        Row::new("beyond_it_a_service_of_the_router_comes_before_a_forward")
            .open(forward_any(Udp, 53, (B, 80), 3600))
            .change(Change::OpenSocket(Udp, EXTERNAL, 53))
            .wan(Packet::udp(caller, (EXTERNAL, 53)), passes(PassLocal)),
        Row::new("a_forward_of_its_own_comes_before_the_wildcard")
            .open(wildcard(Udp, 3600))
            .open(forward_any(Udp, 8080, (B, 80), 3600))
            .wan(Packet::udp(caller, web), sends(caller, (B, 80)))
            .wan(Packet::udp(caller, outside), sends(caller, inside)),
        Row::new("whom_a_forward_does_not_let_in_the_wildcard_does_not_either")
            .open(wildcard(Udp, 3600))
            .open(exact_for(REMOTE, 3600))
            .wan(Packet::udp(other, web), drops(DropFiltered))
            .wan(Packet::udp(caller, web), sends(caller, (B, 80))),
        Row::new("a_disabled_forward_keeps_its_port_from_the_wildcard")
            .open(wildcard(Udp, 3600))
            .open(disabled(Udp, 8080, (B, 80), 3600))
            .wan(Packet::udp(caller, web), drops(DropFiltered)),
        Row::new("a_service_of_the_router_comes_before_the_wildcard")
            .change(Change::OpenSocket(Udp, Ipv4Addr::UNSPECIFIED, 5000))
            .change(Change::OpenSocket(Tcp, EXTERNAL, 22))
            .open(wildcard(Udp, 3600))
            .open(wildcard(Tcp, 3600))
            .wan(Packet::udp(caller, outside), passes(PassLocal))
            .wan(Packet::tcp(caller, (EXTERNAL, 22), flags::SYN), passes(PassLocal))
            .wan(Packet::tcp(caller, outside, flags::SYN), sends(caller, inside)),
        Row::new("a_service_of_the_router_that_starts_later_comes_before_the_wildcard_too")
            .open(wildcard(Udp, 3600))
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .change(Change::OpenSocket(Udp, EXTERNAL, 5000))
            .wan(Packet::udp(other, outside), passes(PassLocal))
            .wan(Packet::udp(caller, outside), sends(caller, inside)),
        Row::new("answers_to_the_router_s_dhcp_client_are_its_own")
            .open(wildcard(Udp, 3600))
            .wan(Packet::udp((REMOTE, 67), (EXTERNAL, 68)), passes(PassLocal)),
        Row::new("a_wildcard_s_listed_remote_host_comes_before_everybody")
            .open(Forward { any_remote: Some(100), ..wildcard_for(REMOTE, 3600) })
            .wan(Packet::udp(other, outside), sends(other, inside))
            .wait(101)
            .wan(Packet::udp(other, (EXTERNAL, 6000)), drops(DropUnmapped))
            .wan(Packet::udp(caller, (EXTERNAL, 6000)), sends(caller, (A, 6000))),
        Row::new("the_wildcard_comes_before_the_filtering_of_its_client_s_own_mapping")
            .lan(Packet::udp(inside, caller), sends(outside, caller))
            .open(wildcard(Udp, 100))
            .wan(Packet::udp(other, outside), sends(other, inside))
            // As a flow of the forward it ends with the lease, and is let in anew by the filtering.
            .wait(101)
            .wan(Packet::udp(other, outside), sends(other, inside))
            .counting(SessionsCreated, 1),
        Row::new("a_port_that_another_client_has_mapped_is_not_the_wildcard_s")
            .lan(Packet::udp((B, 5000), caller), sends(outside, caller))
            .open(wildcard(Udp, 3600))
            .wan(Packet::udp(other, outside), sends(other, (B, 5000))),
        Row::new("nor_one_whose_mapping_lets_in_nobody")
            .open(forward_any(Tcp, 8080, (B, 80), 100))
            .wan(Packet::tcp(caller, web, flags::SYN), sends(caller, (B, 80)))
            .wait(101)
            .open(wildcard(Tcp, 3600))
            .wan(Packet::tcp(other, web, flags::SYN), drops(DropFiltered)),
    ]
}

fn claims() -> Vec<Row> {
    let (caller, other) = ((REMOTE, 1234), (STRANGER, 1234));
    let (inside, outside) = ((A, 5000), (EXTERNAL, 5000));
    let exact = |protocol| forward_any(protocol, 5000, (B, 80), 3600);
    vec![
        Row::new("a_flow_by_the_wildcard_has_its_port_as_long_as_it_lives")
            .open(wildcard(Udp, 10_000))
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .lan(Packet::udp((B, 5000), caller), sends((EXTERNAL, CHOSEN), caller))
            .wait(1000)
            .lan1(Packet::udp((C, 5000), other), sends(outside, other)),
        Row::new("its_client_s_own_flows_leave_from_the_port_that_was_called")
            .open(wildcard(Udp, 3600))
            .wan(Packet::udp(caller, (EXTERNAL, 80)), sends(caller, (A, 80)))
            .lan(Packet::udp((A, 80), other), sends((EXTERNAL, 80), other)),
        Row::new("its_client_keeps_the_port_that_it_has")
            .change(Change::TakePort(Udp, 5000, endpoint((B, 5000)), 10))
            .lan(Packet::udp(inside, caller), sends((EXTERNAL, CHOSEN), caller))
            .wait(11)
            .open(wildcard(Udp, 3600))
            .wan(Packet::udp(other, outside), sends(other, inside))
            .lan(Packet::udp(inside, other), sends(outside, other))
            .lan(Packet::udp(inside, (STRANGER, 99)), sends((EXTERNAL, CHOSEN), (STRANGER, 99))),
        Row::new("a_port_that_the_wildcard_s_flows_hold_lets_in_nobody_by_itself")
            .open(wildcard(Udp, 3600))
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .close(wildcard(Udp, 3600))
            .wan(Packet::udp(other, outside), drops(DropFiltered))
            .wan(Packet::udp(caller, outside), drops(DropFiltered)),
        Row::new("a_forward_of_its_own_takes_the_port_over")
            .open(wildcard(Udp, 3600))
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .open(exact(Udp))
            .settings(|settings| settings.forward_generation += 1)
            .wan(Packet::udp(caller, outside), sends(caller, (B, 80)))
            .lan(Packet::udp((B, 80), caller), sends(outside, caller)),
        Row::new("also_from_a_connection_that_is_not_established")
            .open(wildcard(Tcp, 3600))
            .wan(Packet::tcp(caller, outside, flags::SYN), sends(caller, inside))
            .open(exact(Tcp))
            .wan(Packet::tcp(other, outside, flags::SYN), sends(other, (B, 80)))
            // The answer finds that the port is another client's, and the connection ends.
            .lan(Packet::tcp(inside, caller, SYN_ACK), drops(DropNoSession))
            .wan(Packet::tcp(caller, outside, flags::SYN), sends(caller, (B, 80))),
        Row::new("a_forward_of_the_same_endpoint_goes_on_with_the_flow")
            .open(wildcard(Udp, 3600))
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .open(forward_any(Udp, 5000, inside, 3600))
            .settings(|settings| settings.forward_generation += 1)
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .counting(SessionsCreated, 0)
            .close(forward_any(Udp, 5000, inside, 3600))
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .counting(SessionsCreated, 0),
        Row::new("a_disabled_forward_of_the_same_endpoint_silences_it")
            .open(wildcard(Udp, 3600))
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .open(disabled(Udp, 5000, inside, 3600))
            .settings(|settings| settings.forward_generation += 1)
            .wan(Packet::udp(caller, outside), drops(DropFiltered)),
    ]
}

fn hairpins() -> Vec<Row> {
    let (inside, outside) = ((A, 5000), (EXTERNAL, 5000));
    vec![
        Row::new("the_wildcard_is_called_from_the_lan")
            .open(wildcard(Udp, 3600))
            .lan(Packet::udp((B, 7000), outside), sends((EXTERNAL, 7000), inside))
            .lan(Packet::udp(inside, (EXTERNAL, 7000)), sends(outside, (B, 7000)))
            .counting(SessionsCreated, 0),
        Row::new("also_from_the_port_that_is_called")
            .open(wildcard(Udp, 3600))
            .lan(Packet::udp((B, 5000), outside), sends((EXTERNAL, CHOSEN), inside))
            .lan(Packet::udp(inside, (EXTERNAL, CHOSEN)), sends(outside, (B, 5000))),
        Row::new("the_wildcard_s_client_calls_itself")
            .open(wildcard(Udp, 3600))
            .lan(Packet::udp(inside, outside), sends(outside, inside))
            .lan(Packet::udp(inside, outside), sends(outside, inside))
            .counting(SessionsCreated, 0),
        Row::new("a_wildcard_for_a_remote_host_is_not_called_from_the_lan")
            .open(wildcard_for(REMOTE, 3600))
            .lan(Packet::udp((B, 7000), outside), drops(DropUnmapped)),
    ]
}

fn leases() -> Vec<Row> {
    let (caller, other) = ((REMOTE, 1234), (STRANGER, 1234));
    let (inside, outside) = ((A, 5000), (EXTERNAL, 5000));
    vec![
        Row::new("udp_by_the_wildcard_ends_with_its_lease")
            .open(wildcard(Udp, 100))
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .wait(50)
            .lan(Packet::udp(inside, caller), sends(outside, caller))
            .wait(49)
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .wait(2)
            .wan(Packet::udp(caller, outside), drops(DropUnmapped)),
        Row::new("udp_by_the_wildcard_goes_on_with_a_renewed_lease")
            .open(wildcard(Udp, 100))
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .wait(50)
            .open(wildcard(Udp, 3600))
            .lan(Packet::udp(inside, caller), sends(outside, caller))
            .wait(200)
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .counting(SessionsCreated, 0),
        Row::new("udp_by_the_wildcard_ends_when_it_is_closed_and_tcp_goes_on")
            .open(wildcard(Udp, 3600))
            .open(wildcard(Tcp, 3600))
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .wan(Packet::tcp(caller, outside, flags::SYN), sends(caller, inside))
            .close(wildcard(Udp, 3600))
            .close(wildcard(Tcp, 3600))
            .wan(Packet::udp(caller, outside), drops(DropFiltered))
            .lan(Packet::tcp(inside, caller, SYN_ACK), sends(outside, caller))
            .wan(Packet::tcp(caller, outside, flags::ACK), sends(caller, inside))
            .wan(Packet::tcp(other, outside, flags::SYN), drops(DropFiltered)),
        Row::new("udp_by_the_wildcard_outlives_another_forward")
            .open(wildcard(Udp, 3600))
            .open(forward_any(Udp, 8080, (B, 80), 3600))
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .close(forward_any(Udp, 8080, (B, 80), 3600))
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .counting(SessionsCreated, 0),
        Row::new("udp_by_the_wildcard_ends_for_a_remote_host_that_is_not_let_in_any_more")
            .open(Forward {
                remotes: vec![(REMOTE.into(), 100), (STRANGER.into(), 3600)],
                ..wildcard_for(REMOTE, 0)
            })
            .wan(Packet::udp(caller, outside), sends(caller, inside))
            .wan(Packet::udp(other, outside), sends(other, inside))
            .wait(101)
            .wan(Packet::udp(caller, outside), drops(DropFiltered))
            .wan(Packet::udp(other, outside), sends(other, inside)),
    ]
}
