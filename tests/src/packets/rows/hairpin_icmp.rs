//! LAN clients that ping each other by the external address, and errors about that (RFC 5508 REQ-7).

use super::endpoint;
use crate::packets::topology::{A, B, C, EXTERNAL, REMOTE, SILENT};
use crate::packets::{
    CHOSEN, Change, Expect, Row, becomes, drops, passes, portless, resolves, sends,
};
use nat_common::Counter::{
    DropDisconnected, DropIcmp, DropTtl, IcmpErrors, MappingsCreated, PassLocal, SessionsCreated,
};
use nat_common::Protocol::Icmp;
use nat_common::settings::{Filtering, Settings};
use nat_ebpf::host::packet::{Packet, Peer, icmp};

pub(super) fn rows() -> Vec<Row> {
    [answered(), router(), filtered(), errors()].concat()
}

const ID: u16 = 7000;

/// A row in which B has an identifier.
fn mapped(name: &'static str) -> Row {
    Row::new(name).lan(Packet::ping((B, ID), REMOTE), sends((EXTERNAL, ID), portless(REMOTE)))
}

/// Pings B by it.
fn ping(addr: std::net::Ipv4Addr) -> Packet {
    Packet::ping((addr, ID), EXTERNAL)
}

/// What becomes of that.
fn pinged() -> Expect {
    sends(CALLER_SEEN, portless(B))
}

/// B's answer, to whom it has seen.
fn pong() -> Packet {
    Packet::pong(B, CALLER_SEEN)
}

const CALLER_SEEN: Peer = (EXTERNAL, CHOSEN);

fn answered() -> Vec<Row> {
    vec![
        mapped("a_client_s_identifier_is_pinged_from_the_lan")
            .lan(ping(A), pinged())
            .counting(SessionsCreated, 1)
            .counting(MappingsCreated, 1)
            .lan(pong(), sends(portless(EXTERNAL), (A, ID)))
            .counting(SessionsCreated, 0)
            .lan(ping(A), pinged())
            .counting(SessionsCreated, 0)
            .wan(Packet::pong(REMOTE, (EXTERNAL, ID)), sends(portless(REMOTE), (B, ID))),
        mapped("a_client_of_another_lan_pings_an_identifier")
            .lan1(ping(C), pinged())
            .lan(pong(), sends(portless(EXTERNAL), (C, ID))),
        mapped("who_pings_is_seen_with_the_identifier_that_it_has_towards_everybody")
            .lan(Packet::ping((A, ID), REMOTE), sends(CALLER_SEEN, portless(REMOTE)))
            .lan(ping(A), pinged())
            .counting(MappingsCreated, 0)
            .lan(pong(), sends(portless(EXTERNAL), (A, ID)))
            .wan(Packet::pong(REMOTE, CALLER_SEEN), sends(portless(REMOTE), (A, ID))),
        mapped("a_hairpinned_ping_lives_as_long_as_it_is_sent")
            .lan(ping(A), pinged())
            .wait(50)
            .lan(ping(A), pinged())
            .wait(50)
            .lan(pong(), sends(portless(EXTERNAL), (A, ID)))
            .wait(20)
            .lan(pong(), passes(PassLocal)),
        Row::new("a_hairpinned_ping_needs_its_caller_s_identifier_only")
            .change(Change::TakePort(Icmp, ID, endpoint((B, 1)), 30))
            .lan(ping(A), pinged())
            .wait(31)
            .lan(ping(A), pinged())
            .counting(SessionsCreated, 0)
            .lan(pong(), sends(portless(EXTERNAL), (A, ID)))
            .wait(50)
            .change(Change::TakePort(Icmp, ID, endpoint((C, 1)), 30))
            .lan(ping(A), pinged()),
        Row::new("a_client_whose_mac_address_is_not_known_is_pinged")
            .change(Change::TakePort(Icmp, ID, endpoint((SILENT, 1)), 30))
            .lan(ping(A), resolves(CALLER_SEEN, portless(SILENT))),
        mapped("a_hairpinned_ping_whose_hops_are_used_up_is_dropped")
            .lan(Packet { ttl: 1, ..ping(A) }, drops(DropTtl)),
        mapped("no_ping_is_hairpinned_while_disconnected")
            .settings(|settings| settings.connected = 0)
            .lan(ping(A), drops(DropDisconnected))
            .lan(Packet::ping((A, 1), EXTERNAL), passes(PassLocal)),
    ]
}

/// What the router goes on to answer itself.
fn router() -> Vec<Row> {
    vec![
        mapped("the_router_answers_pings_with_an_identifier_that_nobody_has")
            .lan(Packet::ping((A, ID + 1), EXTERNAL), passes(PassLocal))
            .counting(MappingsCreated, 0)
            .wan(Packet::ping((REMOTE, ID), EXTERNAL), passes(PassLocal)),
        mapped("the_router_answers_a_client_that_pings_with_its_own_identifier")
            .lan(ping(B), passes(PassLocal)),
        // As hosts do that use one identifier for all their pings.
        mapped("the_router_answers_the_first_of_two_clients_with_one_identifier")
            .lan(Packet::ping((A, ID), REMOTE), sends(CALLER_SEEN, portless(REMOTE)))
            .lan(ping(B), passes(PassLocal))
            .lan(ping(A), pinged()),
        Row::new("the_router_answers_a_client_that_pings_another_identifier_of_its_own")
            .change(Change::TakePort(Icmp, ID, endpoint((A, 1)), 3600))
            .lan(ping(A), passes(PassLocal)),
        mapped("the_router_gets_answers_to_what_nobody_has_asked")
            .lan(Packet::pong(A, (EXTERNAL, ID)), passes(PassLocal))
            .lan(Packet::pong(A, (EXTERNAL, 0)), passes(PassLocal)),
        mapped("answers_to_what_nobody_has_asked_do_not_go_out")
            .lan(Packet::pong(A, (REMOTE, ID)), drops(DropIcmp))
            .lan(Packet::pong(A, (REMOTE, 0)), drops(DropIcmp)),
        // An answer with identifier 0 would look like a query.
        Row::new("the_router_answers_when_only_identifier_0_is_left")
            .settings(|settings| settings.identifiers.last = 0)
            .change(Change::TakePort(Icmp, ID, endpoint((B, 1)), 3600))
            .lan(ping(A), passes(PassLocal))
            .counting(SessionsCreated, 0),
    ]
}

/// Leaves the NAT one identifier to choose.
fn only(settings: &mut Settings, identifier: u16) {
    (settings.identifiers.first, settings.identifiers.last) = (identifier, identifier);
}

fn by_address(settings: &mut Settings) {
    settings.set_filtering(Icmp, Filtering::AddressDependent);
}

fn by_endpoint(settings: &mut Settings) {
    settings.set_filtering(Icmp, Filtering::AddressAndPortDependent);
}

fn filtered() -> Vec<Row> {
    // B has sent to the external address from its identifier, if only to be filtered.
    let meet = |name, filtering| {
        Row::new(name)
            .settings(filtering)
            .settings(|settings| only(settings, ID + 2))
            .change(Change::TakePort(Icmp, ID, endpoint((A, 1)), 3600))
            .lan(ping(B), passes(PassLocal))
            .counting(SessionsCreated, 0)
            .settings(|settings| only(settings, ID + 4))
            .lan(Packet::ping((A, ID + 2), EXTERNAL), sends((EXTERNAL, ID + 4), portless(B)))
            .lan(Packet::pong(B, (EXTERNAL, ID + 4)), sends(portless(EXTERNAL), (A, ID + 2)))
    };
    vec![
        meet("by_address_two_clients_that_ping_each_other_meet", by_address),
        meet("by_endpoint_two_clients_that_ping_each_other_meet", by_endpoint),
        mapped("by_address_the_router_answers_pings_that_are_filtered")
            .settings(by_address)
            .lan(ping(A), passes(PassLocal))
            .counting(SessionsCreated, 0),
        mapped("by_endpoint_the_router_answers_pings_that_are_filtered")
            .settings(by_endpoint)
            .lan(ping(A), passes(PassLocal))
            .counting(SessionsCreated, 0),
    ]
}

fn errors() -> Vec<Row> {
    let about =
        |src, dst, quoted: &Packet| Packet::icmp_error(src, dst, icmp::UNREACHABLE, quoted, 28);
    let one_hop_on = |packet: &Packet| Packet { ttl: packet.ttl - 1, ..packet.clone() };
    let translated = |packet| becomes(one_hop_on(&packet));
    // Identifiers that are known beforehand: errors quote them.
    let (caller, caller_seen) = ((A, ID), (EXTERNAL, ID + 2));
    let open = |name| {
        Row::new(name)
            .settings(|settings| only(settings, ID + 2))
            .change(Change::TakePort(Icmp, ID, endpoint((B, 1)), 3600))
            .lan(Packet::ping(caller, EXTERNAL), sends(caller_seen, portless(B)))
    };
    let (sent, seen) = (Packet::ping(caller, EXTERNAL), Packet::ping(caller_seen, B));
    let (answer, answer_seen) = (Packet::pong(B, caller_seen), Packet::pong(EXTERNAL, caller));
    vec![
        open("an_error_about_a_hairpinned_ping_reaches_who_has_sent_it")
            .lan(about(B, EXTERNAL, &seen), translated(about(EXTERNAL, A, &sent)))
            .counting(IcmpErrors, 1),
        open("an_error_about_the_answer_to_a_hairpinned_ping_reaches_who_has_sent_it")
            .lan(answer.clone(), sends(portless(EXTERNAL), caller))
            .lan(about(A, EXTERNAL, &answer_seen), translated(about(EXTERNAL, B, &answer)))
            .counting(IcmpErrors, 1),
        open("an_error_about_a_ping_that_was_not_hairpinned_reaches_the_router")
            .lan(about(B, EXTERNAL, &Packet::ping((EXTERNAL, ID + 3), B)), passes(PassLocal)),
    ]
}
