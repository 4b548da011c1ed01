//! LAN clients that call each other by the external address (RFC 4787 REQ-9).

use super::{forward, forward_any};
use crate::packets::topology::{A, B, C, EXTERNAL, REMOTE, SILENT};
use crate::packets::{CHOSEN, Change, Row, drops, passes, resolves, sends};
use nat_common::Counter::{
    DropFiltered, DropNoSession, DropTtl, DropUnmapped, PassLocal, SessionsCreated,
};
use nat_common::Protocol::{Tcp, Udp};
use nat_ebpf::host::Forward;
use nat_ebpf::host::packet::{Packet, flags};
use std::net::Ipv4Addr;

const SYN_ACK: u8 = flags::SYN | flags::ACK;

pub(super) fn rows() -> Vec<Row> {
    [calls(), refused(), leases()].concat()
}

fn calls() -> Vec<Row> {
    let (server, caller, called) = ((REMOTE, 53), (A, 5000), (B, 7000));
    let (caller_seen, called_seen) = ((EXTERNAL, 5000), (EXTERNAL, 7000));
    let web = (EXTERNAL, 8080);
    vec![
        Row::new("a_mapped_udp_port_is_called_from_the_lan")
            .lan(Packet::udp(called, server), sends(called_seen, server))
            .lan(Packet::udp(caller, called_seen), sends(caller_seen, called))
            .counting(SessionsCreated, 1)
            .lan(Packet::udp(called, caller_seen), sends(called_seen, caller))
            .counting(SessionsCreated, 0)
            .lan(Packet::udp(caller, called_seen), sends(caller_seen, called))
            .counting(SessionsCreated, 0),
        Row::new("a_forwarded_tcp_port_is_called_from_the_lan")
            .open(forward_any(Tcp, 8080, (B, 80), 3600))
            .lan(Packet::tcp(caller, web, flags::SYN), sends(caller_seen, (B, 80)))
            .lan(Packet::tcp((B, 80), caller_seen, SYN_ACK), sends(web, caller))
            .lan(Packet::tcp(caller, web, flags::ACK), sends(caller_seen, (B, 80)))
            .wait(7000)
            .lan(Packet::tcp((B, 80), caller_seen, flags::ACK), sends(web, caller))
            .counting(SessionsCreated, 0),
        Row::new("the_caller_s_port_is_the_one_it_has_towards_everybody")
            .change(Change::TakePort(Udp, 5000, super::endpoint((C, 1)), 3600))
            .open(forward_any(Udp, 8080, called, 3600))
            .lan(Packet::udp(caller, server), sends((EXTERNAL, CHOSEN), server))
            .lan(Packet::udp(caller, web), sends((EXTERNAL, CHOSEN), called))
            .lan(Packet::udp(called, (EXTERNAL, CHOSEN)), sends(web, caller))
            .wan(Packet::udp(server, (EXTERNAL, CHOSEN)), sends(server, caller)),
        Row::new("a_client_of_one_lan_calls_one_of_another")
            .open(forward_any(Udp, 8080, called, 3600))
            .lan1(Packet::udp((C, 6000), web), sends((EXTERNAL, 6000), called))
            .lan(Packet::udp(called, (EXTERNAL, 6000)), sends(web, (C, 6000))),
        Row::new("a_client_calls_itself")
            .lan(Packet::udp(caller, server), sends(caller_seen, server))
            .lan(Packet::udp(caller, caller_seen), sends(caller_seen, caller))
            .lan(Packet::udp(caller, caller_seen), sends(caller_seen, caller))
            .counting(SessionsCreated, 0),
        Row::new("both_clients_call_each_other_at_once")
            .lan(Packet::udp(caller, server), sends(caller_seen, server))
            .lan(Packet::udp(called, server), sends(called_seen, server))
            .lan(Packet::udp(caller, called_seen), sends(caller_seen, called))
            .lan(Packet::udp(called, caller_seen), sends(called_seen, caller))
            .counting(SessionsCreated, 0),
        Row::new("a_client_whose_mac_address_is_not_known_is_called")
            .open(forward_any(Udp, 8080, (SILENT, 53), 3600))
            .lan(Packet::udp(caller, web), resolves(caller_seen, (SILENT, 53))),
    ]
}

fn refused() -> Vec<Row> {
    let (server, caller, called_seen) = ((REMOTE, 53), (A, 5000), (EXTERNAL, 7000));
    vec![
        Row::new("a_port_that_nobody_has_mapped_is_not_called")
            .lan(Packet::udp(caller, called_seen), drops(DropUnmapped))
            .lan(Packet::tcp(caller, called_seen, flags::SYN), drops(DropUnmapped)),
        Row::new("the_router_s_services_are_called_by_the_external_address")
            .change(Change::OpenSocket(Tcp, Ipv4Addr::UNSPECIFIED, 7000))
            .lan(Packet::tcp(caller, called_seen, flags::SYN), passes(PassLocal))
            .lan(Packet::tcp(caller, (EXTERNAL, 80), flags::SYN), passes(PassLocal)),
        Row::new("a_forward_for_a_remote_host_is_not_called_from_the_lan")
            .open(Forward { remotes: vec![(REMOTE.into(), 3600)], ..forward(Udp, 7000, (B, 80)) })
            .lan(Packet::udp(caller, called_seen), drops(DropFiltered)),
        Row::new("a_hairpinned_packet_whose_hops_are_used_up_is_dropped")
            .lan(Packet::udp((B, 7000), server), sends(called_seen, server))
            .lan(Packet { ttl: 1, ..Packet::udp(caller, called_seen) }, drops(DropTtl)),
        Row::new("a_reset_calls_nobody")
            .open(forward_any(Tcp, 7000, (B, 80), 3600))
            .lan(Packet::tcp(caller, called_seen, flags::RST), drops(DropNoSession)),
    ]
}

fn leases() -> Vec<Row> {
    let (server, caller, web) = ((REMOTE, 53), (A, 5000), (EXTERNAL, 8080));
    let caller_seen = (EXTERNAL, 5000);
    vec![
        Row::new("a_hairpinned_udp_session_ends_with_the_forward_s_lease")
            .open(forward_any(Udp, 8080, (B, 80), 100))
            .lan(Packet::udp(caller, web), sends(caller_seen, (B, 80)))
            .wait(99)
            .lan(Packet::udp(caller, web), sends(caller_seen, (B, 80)))
            .wait(2)
            .lan(Packet::udp(caller, web), drops(DropUnmapped)),
        Row::new("a_hairpinned_udp_session_ends_when_the_forward_is_closed")
            .open(forward_any(Udp, 8080, (B, 80), 100))
            .lan(Packet::udp(caller, web), sends(caller_seen, (B, 80)))
            .close(forward_any(Udp, 8080, (B, 80), 100))
            .lan(Packet::udp(caller, web), drops(DropFiltered)),
        Row::new("a_hairpinned_connection_holds_the_port_that_it_has_called")
            .open(forward_any(Tcp, 8080, (B, 80), 100))
            .lan(Packet::tcp(caller, web, flags::SYN), sends(caller_seen, (B, 80)))
            .wait(101)
            .lan1(Packet::tcp((C, 8080), server, flags::SYN), sends((EXTERNAL, CHOSEN), server)),
        Row::new("an_open_hairpinned_connection_holds_the_port_that_it_has_called")
            .open(forward_any(Tcp, 8080, (B, 80), 100))
            .lan(Packet::tcp(caller, web, flags::SYN), sends(caller_seen, (B, 80)))
            .lan(Packet::tcp((B, 80), caller_seen, SYN_ACK), sends(web, caller))
            .lan(Packet::tcp(caller, web, flags::ACK), sends(caller_seen, (B, 80)))
            .wait(1000)
            .lan1(Packet::tcp((C, 8080), server, flags::SYN), sends((EXTERNAL, CHOSEN), server))
            .lan(Packet::tcp((B, 80), caller_seen, flags::ACK), sends(web, caller))
            .lan(Packet::tcp(caller, web, flags::ACK), sends(caller_seen, (B, 80))),
    ]
}
