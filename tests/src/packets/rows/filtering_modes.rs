//! Filtering by address, and by address and port (RFC 4787 REQ-8, RFC 5382 REQ-3).

use super::{forward, forward_any};
use crate::packets::topology::{A, B, C, EXTERNAL, REMOTE, STRANGER};
use crate::packets::{CHOSEN, Change, Row, drops, portless, sends};
use nat_common::Counter::{DropFiltered, DropUnmapped, SessionsCreated};
use nat_common::Protocol::{Tcp, Udp};
use nat_common::settings::{Filtering, Settings};
use nat_ebpf::host::Forward;
use nat_ebpf::host::packet::{Packet, flags};

const SYN_ACK: u8 = flags::SYN | flags::ACK;

pub(super) fn rows() -> Vec<Row> {
    [by_address(), by_endpoint(), contacts(), forwards(), hairpins()].concat()
}

fn address_dependent(settings: &mut Settings) {
    settings.filtering = [Filtering::AddressDependent as u8; 4];
}

fn address_and_port_dependent(settings: &mut Settings) {
    settings.filtering = [Filtering::AddressAndPortDependent as u8; 4];
}

fn address_dependent_for_tcp(settings: &mut Settings) {
    settings.set_filtering(Tcp, Filtering::AddressDependent);
}

fn by_address() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    let (same_host, stranger) = ((REMOTE, 54), (STRANGER, 53));
    let id = |addr| Packet::pong(addr, outside);
    vec![
        Row::new("by_address_a_udp_port_lets_in_the_hosts_that_were_sent_to")
            .settings(address_dependent)
            .lan(Packet::udp(inside, server), sends(outside, server))
            .wan(Packet::udp(stranger, outside), drops(DropFiltered))
            .wan(Packet::udp(same_host, outside), sends(same_host, inside))
            .counting(SessionsCreated, 1)
            .lan(Packet::udp(inside, stranger), sends(outside, stranger))
            .wan(Packet::udp((STRANGER, 99), outside), sends((STRANGER, 99), inside)),
        Row::new("by_address_a_tcp_port_lets_in_the_hosts_that_were_sent_to")
            .settings(address_dependent)
            .lan(Packet::tcp(inside, server, flags::SYN), sends(outside, server))
            .wan(Packet::tcp(stranger, outside, flags::SYN), drops(DropFiltered))
            .wan(Packet::tcp(same_host, outside, flags::SYN), sends(same_host, inside))
            .lan(Packet::tcp(inside, same_host, SYN_ACK), sends(outside, same_host)),
        Row::new("by_address_an_identifier_lets_in_the_answers_of_hosts_that_were_asked")
            .settings(address_dependent)
            .lan(Packet::ping(inside, REMOTE), sends(outside, portless(REMOTE)))
            .wan(id(STRANGER), drops(DropFiltered))
            .wan(id(REMOTE), sends(portless(REMOTE), inside)),
        Row::new("by_address_other_ports_of_a_client_are_not_open_to_the_host")
            .settings(address_dependent)
            .lan(Packet::udp(inside, server), sends(outside, server))
            .lan(Packet::udp((A, 5001), stranger), sends((EXTERNAL, 5001), stranger))
            .wan(Packet::udp(same_host, (EXTERNAL, 5001)), drops(DropFiltered)),
        Row::new("each_protocol_has_a_filtering_of_its_own")
            .settings(address_dependent_for_tcp)
            .lan(Packet::udp(inside, server), sends(outside, server))
            .lan(Packet::tcp(inside, server, flags::SYN), sends(outside, server))
            .lan(Packet::ping(inside, REMOTE), sends(outside, portless(REMOTE)))
            .wan(Packet::udp(stranger, outside), sends(stranger, inside))
            .wan(Packet::tcp(stranger, outside, flags::SYN), drops(DropFiltered))
            .wan(id(STRANGER), sends(portless(STRANGER), inside)),
    ]
}

fn by_endpoint() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    vec![
        Row::new("by_endpoint_a_udp_port_lets_in_only_whom_was_sent_to")
            .settings(address_and_port_dependent)
            .lan(Packet::udp(inside, server), sends(outside, server))
            .wan(Packet::udp((REMOTE, 54), outside), drops(DropFiltered))
            .wan(Packet::udp((STRANGER, 53), outside), drops(DropFiltered))
            .wan(Packet::udp(server, outside), sends(server, inside))
            .counting(SessionsCreated, 0),
        Row::new("by_endpoint_both_ends_open_a_connection_at_once")
            .settings(address_and_port_dependent)
            .lan(Packet::tcp(inside, server, flags::SYN), sends(outside, server))
            .wan(Packet::tcp((REMOTE, 54), outside, flags::SYN), drops(DropFiltered))
            .wan(Packet::tcp(server, outside, flags::SYN), sends(server, inside))
            .lan(Packet::tcp(inside, server, SYN_ACK), sends(outside, server)),
        Row::new("by_endpoint_an_identifier_lets_in_whom_was_asked")
            .settings(address_and_port_dependent)
            .lan(Packet::ping(inside, REMOTE), sends(outside, portless(REMOTE)))
            .wan(Packet::pong(STRANGER, outside), drops(DropFiltered))
            .wan(Packet::pong(REMOTE, outside), sends(portless(REMOTE), inside)),
    ]
}

/// How long a host is one that was sent to.
fn contacts() -> Vec<Row> {
    let (inside, outside, server) = ((A, 5000), (EXTERNAL, 5000), (REMOTE, 53));
    let (second, third, other) = ((REMOTE, 54), (REMOTE, 55), (STRANGER, 53));
    let open = |name| {
        let row = Row::new(name).settings(address_dependent);
        row.lan(Packet::udp(inside, server), sends(outside, server))
    };
    vec![
        open("a_contact_ends_with_the_sessions_that_made_it")
            .wait(200)
            .lan(Packet::udp(inside, other), sends(outside, other))
            .wan(Packet::udp(second, outside), sends(second, inside))
            .wait(120)
            .wan(Packet::udp(third, outside), drops(DropFiltered))
            .wan(Packet::udp((STRANGER, 9999), outside), sends((STRANGER, 9999), inside)),
        open("a_contact_lasts_as_long_as_the_client_sends")
            .wait(200)
            .lan(Packet::udp(inside, server), sends(outside, server))
            .wait(200)
            .wan(Packet::udp(second, outside), sends(second, inside)),
        open("answers_to_a_host_that_was_sent_to_keep_the_contact")
            .wan(Packet::udp(second, outside), sends(second, inside))
            .wait(200)
            .lan(Packet::udp(inside, second), sends(outside, second))
            .wait(200)
            .wan(Packet::udp(server, outside), sends(server, inside))
            .counting(SessionsCreated, 1),
        open("packets_from_outside_alone_keep_no_contact")
            .wait(200)
            .wan(Packet::udp(server, outside), sends(server, inside))
            .lan(Packet::udp(inside, other), sends(outside, other))
            .wait(120)
            .wan(Packet::udp(second, outside), drops(DropFiltered)),
        Row::new("a_contact_lasts_as_long_as_the_connection")
            .settings(address_dependent)
            .lan(Packet::tcp(inside, server, flags::SYN), sends(outside, server))
            .wan(Packet::tcp(server, outside, SYN_ACK), sends(server, inside))
            .lan(Packet::tcp(inside, server, flags::ACK), sends(outside, server))
            .wait(7000)
            .wan(Packet::tcp(second, outside, flags::SYN), sends(second, inside)),
        open("a_new_generation_voids_all_contacts")
            .settings(|settings| settings.nat_generation += 1)
            .lan(Packet::udp(inside, other), sends(outside, other))
            .wan(Packet::udp(second, outside), drops(DropFiltered))
            .lan(Packet::udp(inside, server), sends(outside, server))
            .wan(Packet::udp(second, outside), sends(second, inside)),
        Row::new("a_session_that_was_made_without_contact_gets_one_when_it_goes_on")
            .lan(Packet::udp(inside, server), sends(outside, server))
            .settings(address_dependent)
            .wan(Packet::udp(second, outside), drops(DropFiltered))
            .wait(100)
            .lan(Packet::udp(inside, server), sends(outside, server))
            .wan(Packet::udp(second, outside), sends(second, inside)),
        Row::new("without_room_for_contacts_sessions_go_on")
            .settings(address_dependent)
            .change(Change::FillContacts)
            .lan(Packet::udp(inside, server), sends(outside, server))
            .wan(Packet::udp(server, outside), sends(server, inside))
            .wan(Packet::udp(second, outside), drops(DropFiltered)),
    ]
}

fn forwards() -> Vec<Row> {
    let (web, client, caller) = ((EXTERNAL, 8080), (A, 80), (REMOTE, 1234));
    let (server, other) = ((STRANGER, 53), (REMOTE, 99));
    let udp = forward_any(Udp, 8080, client, 100);
    let tcp = forward_any(Tcp, 8080, client, 100);
    let only_remote = Forward { remotes: vec![(REMOTE.into(), 100)], ..forward(Udp, 8080, client) };
    vec![
        Row::new("a_forward_lets_in_whatever_the_filtering")
            .settings(address_and_port_dependent)
            .open(udp.clone())
            .open(tcp.clone())
            .wan(Packet::udp(caller, web), sends(caller, client))
            .wan(Packet::tcp(caller, web, flags::SYN), sends(caller, client))
            .lan(Packet::udp((B, 6000), web), sends((EXTERNAL, 6000), client)),
        Row::new("a_forward_for_one_host_lets_in_no_contact_either")
            .settings(address_dependent)
            .open(only_remote)
            .lan(Packet::udp(client, server), sends(web, server))
            .wan(Packet::udp((STRANGER, 99), web), drops(DropFiltered))
            .wan(Packet::udp(caller, web), sends(caller, client)),
        Row::new("answers_to_callers_of_a_forward_make_no_contact")
            .settings(address_dependent)
            .open(udp)
            .lan(Packet::udp(client, server), sends(web, server))
            .wan(Packet::udp(caller, web), sends(caller, client))
            .lan(Packet::udp(client, caller), sends(web, caller))
            .wait(101)
            .wan(Packet::udp(other, web), drops(DropFiltered))
            .wan(Packet::udp((STRANGER, 99), web), sends((STRANGER, 99), client)),
        Row::new("answers_in_a_connection_through_a_forward_make_no_contact")
            .settings(address_dependent)
            .open(tcp)
            .lan(Packet::tcp(client, server, flags::SYN), sends(web, server))
            .wan(Packet::tcp(caller, web, flags::SYN), sends(caller, client))
            .lan(Packet::tcp(client, caller, SYN_ACK), sends(web, caller))
            .wan(Packet::tcp(caller, web, flags::ACK), sends(caller, client))
            .wait(101)
            .wan(Packet::tcp(other, web, flags::SYN), drops(DropFiltered))
            .wan(Packet::tcp(caller, web, flags::ACK), sends(caller, client)),
    ]
}

/// A client that is called by the external address sees the caller's external endpoint.
fn hairpins() -> Vec<Row> {
    let (server, caller, called, third) = ((REMOTE, 53), (A, 5000), (B, 7000), (C, 6000));
    let (caller_seen, called_seen, third_seen) =
        ((EXTERNAL, 5000), (EXTERNAL, 7000), (EXTERNAL, 6000));
    let mapped = |name, filtering| {
        let row = Row::new(name).settings(filtering);
        row.lan(Packet::udp(called, server), sends(called_seen, server))
    };
    let meet = |name, filtering| {
        mapped(name, filtering)
            .lan(Packet::udp(caller, called_seen), drops(DropFiltered))
            .counting(SessionsCreated, 0)
            .lan(Packet::udp(called, caller_seen), sends(called_seen, caller))
            .lan(Packet::udp(caller, called_seen), sends(caller_seen, called))
            .counting(SessionsCreated, 0)
    };
    vec![
        meet("by_address_two_clients_that_call_each_other_meet", address_dependent)
            .lan1(Packet::udp(third, called_seen), sends(third_seen, called)),
        meet("by_endpoint_two_clients_that_call_each_other_meet", address_and_port_dependent)
            .lan1(Packet::udp(third, called_seen), drops(DropFiltered)),
        meet(
            "by_endpoint_a_hairpin_is_a_contact_for_as_long_as_it_lives",
            address_and_port_dependent,
        )
        .wait(300)
        .lan(Packet::udp(called, caller_seen), sends(called_seen, caller))
        .wait(300)
        .lan(Packet::udp(caller, called_seen), sends(caller_seen, called))
        .counting(SessionsCreated, 0),
        mapped("a_filtered_call_by_a_client_without_its_own_port", address_and_port_dependent)
            .change(Change::TakePort(Udp, 5000, super::endpoint((C, 1)), 3600))
            .lan(Packet::udp(caller, server), sends((EXTERNAL, CHOSEN), server))
            .lan(Packet::udp(caller, called_seen), drops(DropFiltered))
            .lan(Packet::udp(called, caller_seen), drops(DropFiltered))
            .lan(Packet::udp(called, (EXTERNAL, CHOSEN)), sends(called_seen, caller)),
        Row::new("by_address_a_connection_between_two_clients")
            .settings(address_dependent)
            .lan(Packet::tcp(called, server, flags::SYN), sends(called_seen, server))
            .lan(Packet::tcp(caller, called_seen, flags::SYN), drops(DropFiltered))
            .lan(Packet::tcp(called, caller_seen, flags::SYN), sends(called_seen, caller))
            .lan(Packet::tcp(caller, called_seen, SYN_ACK), sends(caller_seen, called)),
        Row::new("a_filtered_call_to_a_port_that_nobody_has_is_no_contact")
            .settings(address_dependent)
            .lan(Packet::udp(caller, called_seen), drops(DropUnmapped))
            .lan(Packet::udp(caller, server), sends(caller_seen, server))
            .lan(Packet::udp(called, caller_seen), drops(DropFiltered)),
    ]
}
