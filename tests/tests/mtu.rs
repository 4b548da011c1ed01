//! Links of different MTU, and packets whose hops are used up: the kernel fragments and answers, and
//! everybody sees the addresses that he knows.

use anyhow::{Context, Result, ensure};
use nat_tests::client::{Gateway, soap::MAPPING};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{EXTERNAL, Lab, Namespace, WAN_HOST, may_be_fragmented, packet::protocol};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
/// Between the MTUs of the two sides.
const LARGE: usize = 1_400;
const SMALL_MTU: &str = "1300";

fn set_mtu(namespace: &Namespace, interface: &str) -> Result<()> {
    namespace.ip(&["link", "set", interface, "mtu", SMALL_MTU])?;
    Ok(())
}

fn text() -> Vec<u8> {
    (0..LARGE).map(|number| number as u8).collect()
}

fn receive(socket: &UdpSocket, what: &str) -> Result<SocketAddr> {
    let mut buffer = vec![0; 2 * LARGE];
    let (len, from) = socket.recv_from(&mut buffer).with_context(|| what.to_owned())?;
    ensure!(buffer.get(..len) == Some(&text()), "{what} was changed");
    Ok(from)
}

#[test]
fn packets_over_the_wan_s_mtu_are_fragmented_if_they_may_be() -> Result<()> {
    let lab = Lab::home()?;
    set_mtu(&lab.router, "wan0")?;
    set_mtu(&lab.wan, "eth0")?;
    let daemon = Daemon::start(&lab)?;
    let (client, server) = (lab.lan.udp("0.0.0.0:0")?, lab.wan.udp(&SERVER.to_string())?);
    may_be_fragmented(&client, true)?;
    client.send_to(&text(), SERVER)?;
    let seen = receive(&server, "a large datagram")?;
    assert_eq!(seen.ip(), EXTERNAL);
    server.send_to(&text(), seen)?;
    receive(&client, "the answer")?;
    lab.lan.run(
        "ping",
        &["-n", "-c", "2", "-i", "0.2", "-W", "3", "-M", "dont", "-s", "1400", "11.22.33.9"],
    )?;
    let pieces = lab.on_wan().packets(|packet| {
        packet.source == EXTERNAL && [protocol::UDP, protocol::ICMP].contains(&packet.protocol)
    });
    assert!(pieces.len() >= 6, "{pieces:?}");
    assert!(daemon.counter("egress_packets")? >= 6);
    assert_eq!(daemon.counter("drop_leak")?, 0);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn packets_over_the_wan_s_mtu_that_may_not_are_reported_to_the_client() -> Result<()> {
    let lab = Lab::home()?;
    set_mtu(&lab.router, "wan0")?;
    set_mtu(&lab.wan, "eth0")?;
    let daemon = Daemon::start(&lab)?;
    let client = lab.lan.udp("0.0.0.0:0")?;
    may_be_fragmented(&client, false)?;
    client.connect(SERVER)?;
    client.send(&text())?;
    let error = client.recv(&mut [0; 16]).err().context("something was received")?;
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE), "{error}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn packets_over_the_lan_s_mtu_are_fragmented_or_reported_to_the_remote_host() -> Result<()> {
    let lab = Lab::home()?;
    set_mtu(&lab.router, "lan0")?;
    set_mtu(&lab.lan, "eth0")?;
    let daemon = Daemon::start(&lab)?;
    let (client, server) = (lab.lan.udp("0.0.0.0:0")?, lab.wan.udp(&SERVER.to_string())?);
    may_be_fragmented(&client, true)?;
    client.send_to(&text(), SERVER)?;
    let seen = receive(&server, "a large datagram")?;
    may_be_fragmented(&server, true)?;
    server.send_to(&text(), seen)?;
    receive(&client, "a large answer, in fragments")?;

    may_be_fragmented(&server, false)?;
    server.connect(seen)?;
    server.send(&text())?;
    let error = server.recv(&mut [0; 16]).err().context("something was received")?;
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE), "{error}");
    let reports = lab
        .on_wan()
        .packets(|packet| packet.protocol == protocol::ICMP && packet.source == EXTERNAL);
    assert!(!reports.is_empty());
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_remote_host_s_traceroute_shows_the_router_and_the_client_behind_it() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    let external = EXTERNAL.to_string();
    let printed =
        lab.wan.run("traceroute", &["-n", "-q1", "-m3", "-U", "-p", "6000", &external])?;
    let hops: Vec<_> =
        printed.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(hops, [&external, &external], "{printed}");
    assert!(daemon.counter("pass_ttl")? >= 1);
    daemon.stop()?;
    lab.finish()
}
