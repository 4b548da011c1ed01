//! Disabled port forwards: they hold their port for nobody.

use super::{disabled, forward_any};
use crate::packets::topology::{A, B, EXTERNAL, REMOTE, STRANGER};
use crate::packets::{CHOSEN, Row, drops, sends};
use nat_common::Counter::{DropFiltered, DropUnmapped, SessionsCreated};
use nat_common::Protocol::{Tcp, Udp};
use nat_ebpf::host::Forward;
use nat_ebpf::host::packet::{Packet, flags};

const SYN_ACK: u8 = flags::SYN | flags::ACK;

pub(super) fn rows() -> Vec<Row> {
    [holding(), switching()].concat()
}

fn holding() -> Vec<Row> {
    let (server, other, client) = ((REMOTE, 53), (STRANGER, 53), (A, 5000));
    let port = (EXTERNAL, 5000);
    vec![
        Row::new("a_disabled_forward_lets_nobody_in")
            .open(disabled(Udp, 5000, client, 100))
            .open(disabled(Tcp, 80, (A, 80), 100))
            .wan(Packet::udp(other, port), drops(DropFiltered))
            .wan(Packet::tcp(other, (EXTERNAL, 80), flags::SYN), drops(DropFiltered))
            .lan(Packet::udp((B, 7000), port), drops(DropFiltered))
            .wait(101)
            .wan(Packet::udp(other, port), drops(DropUnmapped)),
        Row::new("the_port_of_a_disabled_forward_is_nobody_s")
            .open(disabled(Udp, 5000, client, 100))
            .lan(Packet::udp((B, 5000), server), sends((EXTERNAL, CHOSEN), server))
            .wait(101)
            .lan(Packet::udp(client, server), sends(port, server)),
        Row::new("its_own_client_s_packets_do_not_leave_from_it")
            .open(disabled(Udp, 5000, client, 1000))
            .lan(Packet::udp(client, server), sends((EXTERNAL, CHOSEN), server))
            .wan(Packet::udp(server, port), drops(DropFiltered))
            .wan(Packet::udp(server, (EXTERNAL, CHOSEN)), sends(server, client)),
        Row::new("a_client_whose_own_flow_has_the_port_keeps_it_until_the_flow_ends")
            .lan(Packet::udp(client, server), sends(port, server))
            .open(disabled(Udp, 5000, client, 10_000))
            .lan(Packet::udp(client, other), sends(port, other))
            .wan(Packet::udp(server, port), sends(server, client))
            .wan(Packet::udp((STRANGER, 99), port), drops(DropFiltered))
            .wait(1000)
            .lan(Packet::udp(client, server), sends((EXTERNAL, CHOSEN), server))
            .wan(Packet::udp(other, port), drops(DropFiltered)),
    ]
}

fn switching() -> Vec<Row> {
    let (caller, other, client) = ((REMOTE, 1234), (STRANGER, 1234), (A, 80));
    let web = (EXTERNAL, 8080);
    vec![
        Row::new("a_forward_that_is_disabled_ends_its_udp_sessions_and_no_tcp_connection")
            .open(forward_any(Udp, 8080, client, 1000))
            .open(forward_any(Tcp, 8080, client, 1000))
            .wan(Packet::udp(caller, web), sends(caller, client))
            .wan(Packet::tcp(caller, web, flags::SYN), sends(caller, client))
            .open(disabled(Udp, 8080, client, 1000))
            .open(disabled(Tcp, 8080, client, 1000))
            .settings(|settings| settings.forward_generation += 1)
            .wan(Packet::udp(caller, web), drops(DropFiltered))
            .wan(Packet::tcp(other, web, flags::SYN), drops(DropFiltered))
            .lan(Packet::tcp(client, caller, SYN_ACK), sends(web, caller))
            .wan(Packet::tcp(caller, web, flags::ACK), sends(caller, client)),
        Row::new("a_forward_that_is_disabled_is_not_its_client_s_way_out_any_more")
            .open(forward_any(Udp, 8080, client, 1000))
            .open(disabled(Udp, 8080, client, 1000))
            .lan(Packet::udp(client, caller), sends((EXTERNAL, CHOSEN), caller))
            .open(forward_any(Udp, 8080, client, 1000))
            .lan(Packet::udp(client, other), sends(web, other)),
        Row::new("a_disabled_forward_is_enabled")
            .open(disabled(Udp, 8080, client, 1000))
            .wan(Packet::udp(caller, web), drops(DropFiltered))
            .open(forward_any(Udp, 8080, client, 1000))
            .wan(Packet::udp(caller, web), sends(caller, client))
            .counting(SessionsCreated, 1),
        Row::new("a_disabled_mapping_holds_the_port_beyond_the_enabled_ones")
            .open(Forward { any_remote: Some(100), ..disabled(Udp, 8080, client, 1000) })
            .wan(Packet::udp(caller, web), sends(caller, client))
            .wait(101)
            .wan(Packet::udp(caller, web), drops(DropFiltered))
            .lan(Packet::udp((B, 8080), caller), sends((EXTERNAL, CHOSEN), caller)),
    ]
}
