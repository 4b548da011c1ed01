//! How long sessions live. Idle times are the defaults; a sixteenth is added to each.

use crate::packets::topology::{A, EXTERNAL, REMOTE, STRANGER};
use crate::packets::{Row, drops, passes, portless, sends};
use nat_common::Counter::{DropNoSession, DropUnmapped, PassLocal, SessionsCreated};
use nat_ebpf::host::packet::{Packet, flags};

const INSIDE: (std::net::Ipv4Addr, u16) = (A, 5000);
const OUTSIDE: (std::net::Ipv4Addr, u16) = (EXTERNAL, 5000);
const SERVER: (std::net::Ipv4Addr, u16) = (REMOTE, 53);

pub(super) fn rows() -> Vec<Row> {
    [idle(), tcp()].concat()
}

fn idle() -> Vec<Row> {
    let out = Packet::udp(INSIDE, SERVER);
    let back = Packet::udp(SERVER, OUTSIDE);
    let other = (STRANGER, 80);
    vec![
        Row::new("a_udp_session_lives_for_five_minutes")
            .lan(out.clone(), sends(OUTSIDE, SERVER))
            .wait(299)
            .wan(back.clone(), sends(SERVER, INSIDE))
            .wait(21)
            .wan(back.clone(), drops(DropUnmapped)),
        Row::new("outgoing_packets_keep_a_udp_session_alive")
            .lan(out.clone(), sends(OUTSIDE, SERVER))
            .wait(299)
            .lan(out.clone(), sends(OUTSIDE, SERVER))
            .wait(299)
            .wan(back.clone(), sends(SERVER, INSIDE))
            .counting(SessionsCreated, 0),
        Row::new("incoming_packets_keep_no_udp_session_alive")
            .lan(out.clone(), sends(OUTSIDE, SERVER))
            .wait(160)
            .wan(back.clone(), sends(SERVER, INSIDE))
            .wait(160)
            .wan(back.clone(), drops(DropUnmapped)),
        Row::new("an_endpoint_s_port_lives_as_long_as_one_of_its_sessions")
            .lan(out, sends(OUTSIDE, SERVER))
            .wait(200)
            .lan(Packet::udp(INSIDE, other), sends(OUTSIDE, other))
            .wait(150)
            .wan(back.clone(), sends(SERVER, INSIDE))
            .counting(SessionsCreated, 1)
            .wait(400)
            .wan(back, drops(DropUnmapped)),
        Row::new("a_ping_s_session_lives_for_a_minute")
            .lan(Packet::ping(INSIDE, REMOTE), sends(OUTSIDE, portless(REMOTE)))
            .wait(59)
            .wan(Packet::pong(REMOTE, OUTSIDE), sends(portless(REMOTE), INSIDE))
            .wait(6)
            .wan(Packet::pong(REMOTE, OUTSIDE), passes(PassLocal)),
    ]
}

fn tcp() -> Vec<Row> {
    const FIN: u8 = flags::FIN | flags::ACK;
    vec![
        Row::new("a_connection_that_is_opening_lives_for_four_minutes")
            .out(flags::SYN)
            .wait(239)
            .back(flags::SYN | flags::ACK)
            .wait(256)
            .wan(Packet::tcp(SERVER, OUTSIDE, flags::ACK), drops(DropUnmapped)),
        Row::new("an_open_connection_lives_for_two_hours_and_four_minutes")
            .established()
            .wait(7_439)
            .back(flags::ACK)
            .wait(468)
            .wan(Packet::tcp(SERVER, OUTSIDE, flags::ACK), drops(DropUnmapped)),
        Row::new("a_client_keeps_its_connection_alive")
            .established()
            .wait(7_000)
            .out(flags::ACK)
            .wait(7_000)
            .back(flags::ACK),
        Row::new("a_reset_connection_lives_for_four_minutes")
            .established()
            .back(flags::RST)
            .wait(239)
            .back(flags::ACK)
            .wait(18)
            .wan(Packet::tcp(SERVER, OUTSIDE, flags::RST), drops(DropNoSession)),
        Row::new("a_connection_that_its_client_resets_lives_for_four_minutes")
            .established()
            .out(flags::RST)
            .wait(257)
            .wan(Packet::tcp(SERVER, OUTSIDE, flags::RST), drops(DropNoSession)),
        Row::new("a_half_closed_connection_lives_on")
            .established()
            .back(FIN)
            .wait(7_000)
            .out(flags::ACK)
            .back(flags::ACK),
        Row::new("a_closed_connection_lives_for_four_minutes")
            .established()
            .out(FIN)
            .back(FIN)
            .out(flags::ACK)
            .wait(239)
            .back(flags::ACK)
            .wait(18)
            .wan(Packet::tcp(SERVER, OUTSIDE, flags::RST), drops(DropNoSession)),
        Row::new("a_closed_connection_is_opened_again")
            .established()
            .out(FIN)
            .back(FIN)
            .established()
            .counting(SessionsCreated, 0)
            .wait(7_000)
            .back(flags::ACK)
            .counting(SessionsCreated, 0),
        Row::new("an_open_connection_is_not_opened_again_by_a_stray_syn")
            .established()
            .out(flags::SYN)
            .wait(7_000)
            .back(flags::ACK),
    ]
}

impl Row {
    /// The client sends.
    fn out(self, flags: u8) -> Self {
        self.lan(Packet::tcp(INSIDE, SERVER, flags), sends(OUTSIDE, SERVER))
    }

    /// The server sends, and it arrives.
    fn back(self, flags: u8) -> Self {
        self.wan(Packet::tcp(SERVER, OUTSIDE, flags), sends(SERVER, INSIDE))
    }

    /// The handshake.
    fn established(self) -> Self {
        self.out(flags::SYN).back(flags::SYN | flags::ACK).out(flags::ACK)
    }
}
