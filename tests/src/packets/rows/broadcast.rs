//! Port forwards to everybody in every LAN.

use super::{disabled, forward, forward_any};
use crate::packets::topology::{A, B, EXTERNAL, REMOTE, STRANGER};
use crate::packets::{CHOSEN, Row, broadcasts, drops, passes, sends};
use nat_common::Counter::{
    DropDisconnected, DropFiltered, DropNoRoute, DropSpoofed, DropTtl, DropUnmapped, PassLocal,
    SessionsCreated,
};
use nat_common::Protocol::{Tcp, Udp};
use nat_ebpf::host::Forward;
use nat_ebpf::host::packet::{Body, Checksum, Packet, flags};
use std::net::Ipv4Addr;

const ALL: Ipv4Addr = Ipv4Addr::BROADCAST;

pub(super) fn rows() -> Vec<Row> {
    let (caller, other, wake) = ((REMOTE, 1234), (STRANGER, 1234), (EXTERNAL, 4000));
    let all = |seconds| forward_any(Udp, 4000, (ALL, 7), seconds);
    let mut without_checksum = Packet::udp(caller, wake);
    if let Body::Udp { checksum, .. } = &mut without_checksum.body {
        *checksum = Checksum::None;
    }
    vec![
        Row::new("a_forward_to_everybody_is_delivered_to_every_lan")
            .open(all(3600))
            .wan(Packet::udp(caller, wake), broadcasts(caller, 7))
            .counting(SessionsCreated, 0)
            .wan(Packet::udp(other, wake), broadcasts(other, 7))
            .wan(without_checksum, broadcasts(caller, 7)),
        Row::new("a_host_that_was_called_with_everybody_answers_as_itself")
            .open(all(3600))
            .wan(Packet::udp(caller, wake), broadcasts(caller, 7))
            .lan(Packet::udp((A, 7), caller), sends((EXTERNAL, CHOSEN), caller))
            .wan(Packet::udp(caller, (EXTERNAL, CHOSEN)), sends(caller, (A, 7))),
        Row::new("everybody_is_called_below_1024_too")
            .open(forward_any(Udp, 77, (ALL, 7), 3600))
            .wan(Packet::udp(caller, (EXTERNAL, 77)), broadcasts(caller, 7))
            .wan(Packet::udp(caller, (EXTERNAL, 78)), passes(PassLocal)),
        Row::new("the_port_of_a_forward_to_everybody_is_nobody_s_way_out")
            .open(all(3600))
            .lan(Packet::udp((A, 4000), caller), sends((EXTERNAL, CHOSEN), caller)),
        Row::new("a_forward_to_everybody_lets_in_its_remote_host_only")
            .open(Forward { remotes: vec![(REMOTE.into(), 100)], ..forward(Udp, 4000, (ALL, 7)) })
            .wan(Packet::udp(caller, wake), broadcasts(caller, 7))
            .wan(Packet::udp(other, wake), drops(DropFiltered))
            .lan(Packet::udp((B, 7000), wake), drops(DropFiltered))
            .wait(101)
            .wan(Packet::udp(caller, wake), drops(DropUnmapped)),
        Row::new("a_forward_to_everybody_ends_with_its_lease_and_when_it_is_closed")
            .open(all(100))
            .wan(Packet::udp(caller, wake), broadcasts(caller, 7))
            .wait(101)
            .wan(Packet::udp(caller, wake), drops(DropUnmapped))
            .open(all(100))
            .wan(Packet::udp(caller, wake), broadcasts(caller, 7))
            .close(all(100))
            .wan(Packet::udp(caller, wake), drops(DropUnmapped))
            .open(disabled(Udp, 4000, (ALL, 7), 100))
            .wan(Packet::udp(caller, wake), drops(DropFiltered)),
        Row::new("everybody_is_called_from_the_lan")
            .open(all(3600))
            .lan(Packet::udp((B, 7000), wake), broadcasts((EXTERNAL, 7000), 7))
            .lan(Packet::udp((A, 7), (EXTERNAL, 7000)), sends((EXTERNAL, CHOSEN), (B, 7000))),
        Row::new("what_is_not_let_in_is_not_delivered_to_everybody")
            .open(all(3600))
            .open(forward_any(Tcp, 4000, (ALL, 7), 3600))
            .wan(Packet { ttl: 1, ..Packet::udp(caller, wake) }, drops(DropTtl))
            .lan(Packet { ttl: 1, ..Packet::udp((B, 7000), wake) }, drops(DropTtl))
            .wan(Packet::udp((B, 1), wake), drops(DropSpoofed))
            .wan(Packet::tcp(caller, wake, flags::SYN), drops(DropNoRoute))
            .settings(|settings| settings.connected = 0)
            .wan(Packet::udp(caller, wake), drops(DropDisconnected)),
    ]
}
