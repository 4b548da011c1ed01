//! Port forwards and their leases.

use super::{forward, forward_any};
use crate::packets::topology::{A, B, C, ELSEWHERE, EXTERNAL, REMOTE, SILENT, STRANGER};
use crate::packets::{CHOSEN, Change, Row, drops, passes, resolves, sends};
use nat_common::Counter::{
    DropFiltered, DropNoRoute, DropNoSession, DropUnmapped, PassLocal, SessionsCreated,
};
use nat_common::Protocol::{Tcp, Udp};
use nat_ebpf::host::Forward;
use nat_ebpf::host::packet::{Packet, flags};

const SYN_ACK: u8 = flags::SYN | flags::ACK;

pub(super) fn rows() -> Vec<Row> {
    [admitting(), leases(), outgoing()].concat()
}

fn admitting() -> Vec<Row> {
    let (caller, other) = ((REMOTE, 1234), (STRANGER, 1234));
    let (web, client) = ((EXTERNAL, 8080), (A, 80));
    let only =
        |seconds| Forward { remotes: vec![(REMOTE.into(), seconds)], ..forward(Udp, 8080, client) };
    vec![
        Row::new("a_forward_lets_in_tcp_from_everybody")
            .open(forward_any(Tcp, 8080, client, 3600))
            .wan(Packet::tcp(caller, web, flags::SYN), sends(caller, client))
            .counting(SessionsCreated, 1)
            .lan(Packet::tcp(client, caller, SYN_ACK), sends(web, caller))
            .wan(Packet::tcp(caller, web, flags::ACK), sends(caller, client))
            .counting(SessionsCreated, 0)
            .wan(Packet::tcp(other, web, flags::SYN), sends(other, client)),
        Row::new("a_forward_lets_in_udp_from_everybody")
            .open(forward_any(Udp, 8080, client, 3600))
            .wan(Packet::udp(caller, web), sends(caller, client))
            .counting(SessionsCreated, 1)
            .lan(Packet::udp(client, caller), sends(web, caller))
            .counting(SessionsCreated, 0)
            .wan(Packet::udp(other, web), sends(other, client)),
        Row::new("a_forward_is_for_its_protocol_only")
            .open(forward_any(Tcp, 8080, client, 3600))
            .wan(Packet::udp(caller, web), drops(DropUnmapped)),
        Row::new("a_forward_may_lie_beyond_the_nat_s_range")
            .open(forward_any(Tcp, 80, client, 3600))
            .wan(Packet::tcp(caller, (EXTERNAL, 80), flags::SYN), sends(caller, client))
            .lan(Packet::tcp(client, caller, SYN_ACK), sends((EXTERNAL, 80), caller)),
        Row::new("beyond_the_range_a_service_of_the_router_comes_first")
            .change(Change::OpenSocket(Tcp, EXTERNAL, 80))
            .open(forward_any(Tcp, 80, client, 3600))
            .wan(Packet::tcp(caller, (EXTERNAL, 80), flags::SYN), passes(PassLocal)),
        Row::new("a_forward_to_the_second_lan")
            .open(forward_any(Udp, 8080, (C, 53), 3600))
            .wan(Packet::udp(caller, web), sends(caller, (C, 53)))
            .lan1(Packet::udp((C, 53), caller), sends(web, caller)),
        Row::new("a_forward_to_a_client_whose_mac_address_is_not_known")
            .open(forward_any(Udp, 8080, (SILENT, 53), 3600))
            .wan(Packet::udp(caller, web), resolves(caller, (SILENT, 53))),
        Row::new("a_forward_to_a_host_outside_the_lans_leads_nowhere")
            .open(forward_any(Udp, 8080, (ELSEWHERE, 53), 3600))
            .wan(Packet::udp(caller, web), drops(DropNoRoute)),
        Row::new("a_forward_for_one_remote_host_lets_in_no_other")
            .open(only(3600))
            .wan(Packet::udp(caller, web), sends(caller, client))
            .wan(Packet::udp((REMOTE, 99), web), sends((REMOTE, 99), client))
            .wan(Packet::udp(other, web), drops(DropFiltered)),
        Row::new("a_forward_for_one_remote_host_and_everybody")
            .open(Forward { any_remote: Some(100), ..only(3600) })
            .wan(Packet::udp(other, web), sends(other, client))
            .wan(Packet::udp(caller, web), sends(caller, client))
            .wait(101)
            .wan(Packet::udp(other, web), drops(DropFiltered))
            .wan(Packet::udp(caller, web), sends(caller, client)),
        Row::new("a_remote_host_s_own_lease_may_end_before_everybody_s")
            .open(Forward { any_remote: Some(3600), ..only(100) })
            .wait(101)
            .wan(Packet::udp(caller, web), sends(caller, client)),
        Row::new("a_restricted_forward_stays_so_when_its_client_talks_to_others")
            .open(only(3600))
            .lan(Packet::udp(client, other), sends(web, other))
            .wan(Packet::udp(other, web), sends(other, client))
            .wan(Packet::udp((STRANGER, 99), web), drops(DropFiltered)),
        Row::new("a_reset_does_not_open_a_forwarded_connection")
            .open(forward_any(Tcp, 8080, client, 3600))
            .wan(Packet::tcp(caller, web, flags::RST), drops(DropNoSession)),
    ]
}

fn leases() -> Vec<Row> {
    let (caller, other) = ((REMOTE, 1234), (STRANGER, 1234));
    let (web, client) = ((EXTERNAL, 8080), (A, 80));
    let udp = forward_any(Udp, 8080, client, 100);
    let tcp = forward_any(Tcp, 8080, client, 100);
    vec![
        Row::new("forwards_that_are_marked_end_with_the_generation_and_so_do_their_sessions")
            .open(udp.clone())
            .open(tcp.clone())
            .wan(Packet::udp(caller, web), sends(caller, client))
            .mark(udp.clone())
            .mark(tcp.clone())
            .wan(Packet::udp(caller, web), sends(caller, client))
            .counting(SessionsCreated, 0)
            .wan(Packet::udp(other, web), sends(other, client))
            .wan(Packet::tcp(caller, web, flags::SYN), sends(caller, client))
            .settings(|settings| settings.forward_generation += 1)
            .wan(Packet::udp(caller, web), drops(DropFiltered))
            .wan(Packet::udp(other, web), drops(DropFiltered))
            .wan(Packet::tcp(other, web, flags::SYN), drops(DropFiltered))
            .wan(Packet::tcp(caller, web, flags::SYN), sends(caller, client)),
        Row::new("a_forward_ends_with_its_lease")
            .open(udp.clone())
            .open(tcp.clone())
            .wait(99)
            .wan(Packet::tcp(caller, web, flags::SYN), sends(caller, client))
            .wait(2)
            .wan(Packet::udp(other, web), drops(DropUnmapped))
            .wan(Packet::tcp(other, web, flags::SYN), drops(DropFiltered)),
        Row::new("a_udp_session_through_a_forward_ends_with_the_lease")
            .open(udp.clone())
            .wan(Packet::udp(caller, web), sends(caller, client))
            .lan(Packet::udp(client, caller), sends(web, caller))
            .wait(99)
            .wan(Packet::udp(caller, web), sends(caller, client))
            .lan(Packet::udp(client, caller), sends(web, caller))
            .wait(2)
            .wan(Packet::udp(caller, web), drops(DropUnmapped)),
        Row::new("a_udp_session_of_a_remote_host_ends_with_its_lease")
            .open(Forward {
                any_remote: None,
                remotes: vec![(REMOTE.into(), 100), (STRANGER.into(), 3600)],
                ..udp.clone()
            })
            .wan(Packet::udp(caller, web), sends(caller, client))
            .wan(Packet::udp(other, web), sends(other, client))
            .wait(101)
            .wan(Packet::udp(caller, web), drops(DropFiltered))
            .wan(Packet::udp(other, web), sends(other, client)),
        Row::new("a_tcp_connection_outlives_the_lease_that_let_it_in")
            .open(tcp.clone())
            .wan(Packet::tcp(caller, web, flags::SYN), sends(caller, client))
            .lan(Packet::tcp(client, caller, SYN_ACK), sends(web, caller))
            .wan(Packet::tcp(caller, web, flags::ACK), sends(caller, client))
            .wait(3000)
            .wan(Packet::tcp(caller, web, flags::ACK), sends(caller, client))
            .lan(Packet::tcp(client, caller, flags::ACK), sends(web, caller))
            .wan(Packet::tcp(other, web, flags::SYN), drops(DropFiltered)),
        Row::new("a_lease_is_renewed")
            .open(udp.clone())
            .wan(Packet::udp(caller, web), sends(caller, client))
            .wait(50)
            .open(Forward { any_remote: Some(3600), ..udp.clone() })
            .lan(Packet::udp(client, caller), sends(web, caller))
            .wait(200)
            .wan(Packet::udp(caller, web), sends(caller, client))
            .counting(SessionsCreated, 0),
        Row::new("a_closed_forward_ends_its_udp_sessions_and_no_tcp_connection")
            .open(udp.clone())
            .open(tcp.clone())
            .wan(Packet::udp(caller, web), sends(caller, client))
            .wan(Packet::tcp(caller, web, flags::SYN), sends(caller, client))
            .close(udp.clone())
            .close(tcp)
            .wan(Packet::udp(caller, web), drops(DropFiltered))
            .wan(Packet::tcp(other, web, flags::SYN), drops(DropFiltered))
            .lan(Packet::tcp(client, caller, SYN_ACK), sends(web, caller))
            .wan(Packet::tcp(caller, web, flags::ACK), sends(caller, client)),
        Row::new("a_closed_forward_ends_no_session_of_another_one")
            .open(udp.clone())
            .open(forward_any(Udp, 9090, (B, 80), 100))
            .wan(Packet::udp(caller, web), sends(caller, client))
            .wan(Packet::udp(caller, (EXTERNAL, 9090)), sends(caller, (B, 80)))
            .close(udp)
            .wan(Packet::udp(caller, (EXTERNAL, 9090)), sends(caller, (B, 80)))
            .counting(SessionsCreated, 0)
            .lan(Packet::udp((B, 80), caller), sends((EXTERNAL, 9090), caller))
            .counting(SessionsCreated, 0)
            .wait(101)
            .wan(Packet::udp(caller, (EXTERNAL, 9090)), drops(DropUnmapped)),
    ]
}

fn outgoing() -> Vec<Row> {
    let (server, other) = ((REMOTE, 53), (STRANGER, 53));
    let (port, client) = ((EXTERNAL, 8080), (A, 5000));
    let udp = forward_any(Udp, 8080, client, 100);
    vec![
        Row::new("the_packets_of_a_forwarded_endpoint_leave_from_the_forwarded_port")
            .open(udp.clone())
            .open(forward_any(Tcp, 8080, client, 100))
            .lan(Packet::udp(client, server), sends(port, server))
            .wan(Packet::udp(server, port), sends(server, client))
            .lan(Packet::tcp(client, server, flags::SYN), sends(port, server))
            .lan(Packet::udp((A, 5002), server), sends((EXTERNAL, 5002), server)),
        Row::new("a_session_keeps_its_port_when_its_endpoint_is_forwarded")
            .lan(Packet::udp(client, server), sends((EXTERNAL, 5000), server))
            .open(udp.clone())
            .lan(Packet::udp(client, server), sends((EXTERNAL, 5000), server))
            .lan(Packet::udp(client, other), sends(port, other)),
        Row::new("a_forward_takes_over_the_mapping_of_its_own_client")
            .lan(Packet::udp(client, server), sends((EXTERNAL, 5000), server))
            .open(forward_any(Udp, 5000, client, 100))
            .wan(Packet::udp(other, (EXTERNAL, 5000)), sends(other, client))
            .wait(101)
            .wan(Packet::udp((STRANGER, 99), (EXTERNAL, 5000)), sends((STRANGER, 99), client)),
        Row::new("a_forwarded_port_is_nobody_else_s")
            .open(forward_any(Udp, 5000, (B, 80), 100))
            .lan(Packet::udp(client, server), sends((EXTERNAL, CHOSEN), server))
            .wan(Packet::udp(other, (EXTERNAL, 5000)), sends(other, (B, 80))),
        Row::new("a_forwarded_port_is_free_again_after_the_lease")
            .open(forward_any(Udp, 5000, (B, 80), 100))
            .wait(101)
            .lan(Packet::udp(client, server), sends((EXTERNAL, 5000), server)),
        Row::new("an_endpoint_s_session_holds_its_port_beyond_the_lease")
            .open(udp)
            .lan(Packet::udp(client, server), sends(port, server))
            .wait(101)
            .wan(Packet::udp(server, port), sends(server, client))
            .lan(Packet::udp(client, other), sends(port, other)),
    ]
}
