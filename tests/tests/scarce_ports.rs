//! A LAN host uses up the ports of an external address.

use anyhow::{Result, ensure};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, Lab, TcpReflector, UdpReflector, WAN_HOST, tcp_seen_as, udp_seen_as,
};
use nat_tests::lease::SILENT_FOR;
use std::collections::BTreeSet;
use std::net::{SocketAddrV4, UdpSocket};
use std::ops::RangeInclusive;

/// The ports that the router's own connections leave to the NAT: the fewest that it starts with.
const PORTS: RangeInclusive<u16> = 64_512..=65_535;

/// How often a client sends before it gives up. What is lost is the packet that finds all guesses wrong
/// and no hint yet.
const TRIES: u32 = 5;

/// How the server sees a socket. A packet counts as lost when the daemon has counted it; what is only late is
/// waited for.
fn seen(
    daemon: &Daemon<'_>,
    socket: &UdpSocket,
    server: SocketAddrV4,
    lost: &mut u64,
) -> Result<SocketAddrV4> {
    for _ in 1..TRIES {
        socket.set_read_timeout(Some(SILENT_FOR))?;
        if let Ok(seen) = udp_seen_as(socket, server) {
            return Ok(seen);
        }
        let dropped = daemon.counter("drop_no_port")?;
        if dropped == *lost {
            break;
        }
        *lost = dropped;
    }
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    udp_seen_as(socket, server)
}

#[test]
fn every_port_is_given_away_and_then_none_while_others_go_on() -> Result<()> {
    let lab = Lab::home()?;
    lab.router.sysctl("net/ipv4/ip_local_port_range", &format!("1024 {}", PORTS.start() - 1))?;
    let daemon = Daemon::start(&lab)?;
    let server = SocketAddrV4::new(WAN_HOST, 7000);
    let _udp = UdpReflector::start(&lab.wan, &server.to_string())?;
    let _tcp = TcpReflector::start(&lab.wan, &server.to_string())?;

    let first = lab.lan.udp("0.0.0.0:20000")?;
    let mut lost = 0;
    let first_seen = seen(&daemon, &first, server, &mut lost)?;
    let mut ports = BTreeSet::from([first_seen.port()]);
    for port in (20_001..).take(PORTS.len() - 1) {
        let seen = seen(&daemon, &lab.lan.udp(&format!("0.0.0.0:{port}"))?, server, &mut lost)?;
        ensure!(*seen.ip() == EXTERNAL && ports.insert(seen.port()), "{seen} once more");
    }
    assert!(ports.iter().copied().eq(PORTS), "{ports:?}");
    eprintln!("{} ports, {lost} packets lost for want of one", ports.len());
    assert!(lost <= 16, "{lost} packets were lost");

    // None is left.
    let dropped = daemon.counter("drop_no_port")?;
    assert_eq!(dropped, lost);
    let late = lab.lan.udp("0.0.0.0:30000")?;
    late.set_read_timeout(Some(SILENT_FOR))?;
    assert!(udp_seen_as(&late, server).is_err());
    assert_eq!(daemon.counter("drop_no_port")?, dropped + 1);

    // Who has a port keeps it, and the other protocol has its own.
    assert_eq!(udp_seen_as(&first, server)?, first_seen);
    assert_eq!(*tcp_seen_as(&mut lab.lan.tcp_connect(server)?)?.ip(), EXTERNAL);
    daemon.stop()?;
    lab.finish()
}
