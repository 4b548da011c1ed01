//! Port forwards that let in some networks and ports only (RFC 6887 13.3).

use super::forward_any;
use crate::packets::topology::{A, EXTERNAL, REMOTE, STRANGER};
use crate::packets::{Row, drops, sends};
use nat_common::Counter::{DropFiltered, DropUnmapped, SessionsCreated};
use nat_common::NetPort;
use nat_common::Protocol::{Tcp, Udp};
use nat_common::filters::{Filter, MAX_FILTERS};
use nat_ebpf::host::Forward;
use nat_ebpf::host::packet::{Packet, Peer, flags};
use std::net::Ipv4Addr;

const SYN_ACK: u8 = flags::SYN | flags::ACK;

/// The hosts around one, and one of their ports (0: all).
fn around((addr, port): Peer, prefix: u32) -> Filter {
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    let network = Ipv4Addr::from_bits(addr.to_bits() & mask);
    Filter::new(network.into(), Ipv4Addr::from_bits(mask).into(), NetPort::new(port))
}

pub(super) fn rows() -> Vec<Row> {
    let (caller, other) = ((REMOTE, 1234), (STRANGER, 1234));
    let (web, client) = ((EXTERNAL, 8080), (A, 80));
    let filtered = |filters: &[Filter]| Forward {
        filters: filters.to_vec(),
        ..forward_any(Udp, 8080, client, 100)
    };
    let by_host = filtered(&[around((REMOTE, 0), 32)]);
    let tcp = Forward { protocol: Tcp, ..by_host.clone() };
    let many: Vec<_> = (1..=MAX_FILTERS).map(|port| around((REMOTE, port as u16), 32)).collect();
    vec![
        Row::new("a_filter_lets_in_its_host_and_no_other")
            .open(by_host.clone())
            .wan(Packet::udp(other, web), drops(DropFiltered))
            .counting(SessionsCreated, 0)
            .wan(Packet::udp(caller, web), sends(caller, client))
            .counting(SessionsCreated, 1)
            .lan(Packet::udp(client, caller), sends(web, caller)),
        Row::new("a_filter_of_tcp_lets_in_its_host_and_no_other")
            .open(tcp)
            .wan(Packet::tcp(other, web, flags::SYN), drops(DropFiltered))
            .wan(Packet::tcp(caller, web, flags::SYN), sends(caller, client))
            .lan(Packet::tcp(client, caller, SYN_ACK), sends(web, caller))
            .wan(Packet::tcp(caller, web, flags::ACK), sends(caller, client)),
        Row::new("a_filter_by_port_lets_in_no_other_port_of_its_host")
            .open(filtered(&[around(caller, 32)]))
            .wan(Packet::udp((REMOTE, 99), web), drops(DropFiltered))
            .wan(Packet::udp(caller, web), sends(caller, client)),
        Row::new("a_filter_of_a_network_lets_in_its_hosts")
            .open(filtered(&[around((REMOTE, 0), 16)]))
            .wan(Packet::udp(caller, web), sends(caller, client))
            .wan(Packet::udp(other, web), drops(DropFiltered)),
        Row::new("a_filter_of_everybody_by_port")
            .open(filtered(&[around((REMOTE, 1234), 0)]))
            .wan(Packet::udp(other, web), sends(other, client))
            .wan(Packet::udp((STRANGER, 99), web), drops(DropFiltered)),
        Row::new("one_of_many_filters_is_enough")
            .open(filtered(&many))
            .wan(Packet::udp((REMOTE, MAX_FILTERS as u16), web), sends((REMOTE, 8), client))
            .wan(Packet::udp((REMOTE, 1), web), sends((REMOTE, 1), client))
            .wan(Packet::udp((REMOTE, 9), web), drops(DropFiltered)),
        Row::new("a_filter_ends_with_the_lease")
            .open(by_host.clone())
            .wan(Packet::udp(caller, web), sends(caller, client))
            .wait(101)
            .wan(Packet::udp(caller, web), drops(DropUnmapped)),
        Row::new("a_remote_host_with_a_lease_of_its_own_needs_no_filter")
            .open(Forward { remotes: vec![(STRANGER.into(), 50)], ..by_host.clone() })
            .wan(Packet::udp(other, web), sends(other, client))
            .wan(Packet::udp(caller, web), sends(caller, client))
            .wait(51)
            .wan(Packet::udp(other, web), drops(DropFiltered))
            .wan(Packet::udp(caller, web), sends(caller, client)),
        Row::new("a_filtered_port_lets_in_whom_its_client_has_called")
            .open(by_host.clone())
            .lan(Packet::udp(client, other), sends(web, other))
            .wan(Packet::udp(other, web), sends(other, client))
            .wan(Packet::udp((STRANGER, 99), web), drops(DropFiltered)),
        Row::new("a_session_ends_when_its_caller_is_filtered_out")
            .open(by_host.clone())
            .wan(Packet::udp(caller, web), sends(caller, client))
            .close(by_host)
            .open(filtered(&[around((STRANGER, 0), 32)]))
            .wan(Packet::udp(caller, web), drops(DropFiltered))
            .wan(Packet::udp(other, web), sends(other, client)),
    ]
}
