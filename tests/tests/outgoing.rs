//! From the LAN to the WAN.

use anyhow::Result;
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, LAN_HOST, Lab, Namespace, OTHER_WAN_HOST, SECOND_LAN_HOST,
    TcpReflector, UdpReflector, WAN_HOST, packet::protocol, tcp_seen_as, udp_seen_as, wait_until,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::SocketAddrV4;

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
const OTHER_SERVER: SocketAddrV4 = SocketAddrV4::new(OTHER_WAN_HOST, 7001);

fn udp_servers(lab: &Lab) -> Result<[UdpReflector; 2]> {
    Ok([
        UdpReflector::start(&lab.wan, &SERVER.to_string())?,
        UdpReflector::start(&lab.wan, &OTHER_SERVER.to_string())?,
    ])
}

fn tcp_servers(lab: &Lab) -> Result<[TcpReflector; 2]> {
    Ok([
        TcpReflector::start(&lab.wan, &SERVER.to_string())?,
        TcpReflector::start(&lab.wan, &OTHER_SERVER.to_string())?,
    ])
}

#[test]
fn udp_tcp_and_ping_leave_with_the_external_source() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _servers = (udp_servers(&lab)?, tcp_servers(&lab)?);

    let socket = lab.lan.udp("0.0.0.0:0")?;
    assert_eq!(*udp_seen_as(&socket, SERVER)?.ip(), EXTERNAL);
    let mut stream = lab.lan.tcp_connect(SERVER)?;
    assert_eq!(*tcp_seen_as(&mut stream)?.ip(), EXTERNAL);
    lab.lan.run("ping", &["-n", "-c", "3", "-i", "0.2", "-W", "3", &WAN_HOST.to_string()])?;

    let pings = lab
        .on_wan()
        .packets(|packet| packet.protocol == protocol::ICMP && packet.destination == WAN_HOST);
    assert!(pings.len() >= 3 && pings.iter().all(|ping| ping.source == EXTERNAL), "{pings:?}");
    assert!(pings.iter().all(|ping| ping.ttl == 63), "one hop takes one from the TTL: {pings:?}");
    assert!(daemon.counter("outbound_packets")? >= 6);
    assert!(daemon.counter("inbound_packets")? >= 6);

    let sessions = daemon.sessions()?;
    let is = |session: &serde_json::Value, protocol: &str| {
        let name = session["protocol"].as_str().unwrap_or_default();
        name.eq_ignore_ascii_case(protocol)
            && session["external"].as_str().is_some_and(|at| at.starts_with("11.22.33.1:"))
            && session["internal"].as_str().is_some_and(|at| at.starts_with("192.168.77.2:"))
    };
    for protocol in ["udp", "tcp", "icmp"] {
        let found = sessions.iter().any(|session| is(session, protocol));
        assert!(found, "{protocol}: {sessions:?}");
    }
    drop(stream);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_megabyte_arrives_unchanged_both_ways() -> Result<()> {
    use std::io::{Read, Write};
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let listener = lab.wan.tcp_listener(&SERVER.to_string())?;
    let sent: Vec<u8> = (0..1_048_576_u32).map(|i| (i ^ (i >> 8)) as u8).collect();
    let received = std::thread::scope(|scope| -> Result<Vec<u8>> {
        let server = scope.spawn(|| -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            let mut all = vec![0; sent.len()];
            stream.read_exact(&mut all)?;
            Ok(stream.write_all(&all)?)
        });
        let mut stream = lab.lan.tcp_connect(SERVER)?;
        stream.write_all(&sent)?;
        let mut all = vec![0; sent.len()];
        stream.read_exact(&mut all)?;
        server.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
        Ok(all)
    })?;
    assert!(received == sent, "the bytes were changed on their way");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn one_internal_endpoint_has_one_external_port_towards_all_remotes() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _servers = (udp_servers(&lab)?, tcp_servers(&lab)?);

    let socket = lab.lan.udp("0.0.0.0:0")?;
    let seen = udp_seen_as(&socket, SERVER)?;
    assert_eq!(udp_seen_as(&socket, OTHER_SERVER)?, seen, "RFC 4787 REQ-1");

    let source = SocketAddrV4::new(LAN_HOST, 5700);
    let mut first = lab.lan.tcp_connect_from(source, SERVER, ANSWER_TIMEOUT)??;
    let mut second = lab.lan.tcp_connect_from(source, OTHER_SERVER, ANSWER_TIMEOUT)??;
    assert_eq!(tcp_seen_as(&mut first)?, tcp_seen_as(&mut second)?, "RFC 5382 REQ-1");
    drop((first, second));
    daemon.stop()?;
    lab.finish()
}

#[test]
fn two_internal_hosts_never_share_an_external_port() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = Daemon::start(&lab)?;
    let _servers = udp_servers(&lab)?;
    let seen_as = |host: &Namespace, address| -> Result<SocketAddrV4> {
        let socket = host.udp(&SocketAddrV4::new(address, 5700).to_string())?;
        udp_seen_as(&socket, SERVER)
    };
    let first = seen_as(&lab.lan, LAN_HOST)?;
    let second = seen_as(lab.second_lan()?, SECOND_LAN_HOST)?;
    assert_eq!((*first.ip(), *second.ip()), (EXTERNAL, EXTERNAL));
    assert_ne!(first.port(), second.port());
    daemon.stop()?;
    lab.finish()
}

#[test]
fn the_two_lans_reach_each_other_untranslated() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = Daemon::start(&lab)?;
    let server = SocketAddrV4::new(SECOND_LAN_HOST, 7000);
    let _server = UdpReflector::start(lab.second_lan()?, &server.to_string())?;
    let socket = lab.lan.udp("192.168.77.2:5700")?;
    assert_eq!(udp_seen_as(&socket, server)?, SocketAddrV4::new(LAN_HOST, 5700));
    daemon.stop()?;
    lab.finish()
}

#[test]
fn other_protocols_are_dropped_and_counted() -> Result<()> {
    const SCTP: i32 = 132;
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _servers = udp_servers(&lab)?;
    let numbers = [i32::from(protocol::GRE), SCTP];
    lab.lan.enter(|| -> std::io::Result<()> {
        for number in numbers {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(number)))?;
            socket.send_to(&[0; 32], &SocketAddrV4::new(WAN_HOST, 0).into())?;
        }
        Ok(())
    })??;
    wait_until("drop_protocol", ANSWER_TIMEOUT, || Ok(daemon.counter("drop_protocol")? >= 2))?;

    // What was sent later has arrived, so the others would have, too.
    let socket = lab.lan.udp("0.0.0.0:0")?;
    udp_seen_as(&socket, SERVER)?;
    let strangers = lab.on_wan().packets(|packet| numbers.contains(&i32::from(packet.protocol)));
    assert!(strangers.is_empty(), "{strangers:?}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn an_icmp_error_of_a_lan_host_does_not_leave_untranslated() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let client = lab.lan.udp("192.168.77.2:5700")?;
    let server = lab.wan.udp(&SERVER.to_string())?;
    client.send_to(b"hello", SERVER)?;
    let (_, seen) = server.recv_from(&mut [0; 64])?;
    // Nobody holds the port any more: the LAN host answers with an ICMP error that quotes its own
    // address. The watcher would see it.
    drop(client);
    server.send_to(b"too late", seen)?;
    let error = nat_tests::lab::Capture::start(&lab.lan)?;
    server.send_to(b"too late again", seen)?;
    error.wait_for("port unreachable", 1, ANSWER_TIMEOUT, |packet| {
        packet.protocol == protocol::ICMP && packet.source == LAN_HOST
    })?;
    let other = lab.lan.udp("0.0.0.0:0")?;
    let _servers = UdpReflector::start(&lab.wan, &OTHER_SERVER.to_string())?;
    udp_seen_as(&other, OTHER_SERVER)?;
    daemon.stop()?;
    lab.finish()
}
