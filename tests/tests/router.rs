//! The router itself goes on as a host.

use anyhow::{Context, Result};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    EXTERNAL, LAN_HOST, Lab, Namespace, ROUTER_LAN, TcpReflector, UdpReflector, WAN_HOST,
    packet::protocol, tcp_seen_as, udp_seen_as, wait_until,
};
use serde_json::Value;
use std::net::SocketAddrV4;
use std::time::Duration;

fn ping(from: &Namespace, target: &str) -> Result<String> {
    from.run("ping", &["-n", "-c", "2", "-i", "0.2", "-W", "3", target])
}

/// The link-local IPv6 address of an interface; it may come a second after its carrier.
fn link_local(namespace: &Namespace, interface: &str) -> Result<String> {
    let mut found = None;
    wait_until("a link-local address", Duration::from_secs(10), || {
        let listed = namespace.ip(&["-6", "-json", "address", "show", "dev", interface])?;
        let listed: Value = serde_json::from_str(&listed)?;
        let address = listed.pointer("/0/addr_info/0").filter(|at| at.get("tentative").is_none());
        found = address.and_then(|at| at["local"].as_str()).map(str::to_owned);
        Ok(found.is_some())
    })?;
    found.context("no link-local address")
}

fn seen(socket: &std::net::UdpSocket, remote: SocketAddrV4) -> Result<(SocketAddrV4, u16)> {
    Ok((udp_seen_as(socket, remote)?, socket.local_addr()?.port()))
}

#[test]
fn the_router_answers_pings_to_its_addresses() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    ping(&lab.lan, &ROUTER_LAN.to_string())?;
    ping(&lab.lan, &EXTERNAL.to_string())?;
    ping(&lab.wan, &EXTERNAL.to_string())?;
    ping(&lab.router, &LAN_HOST.to_string())?;
    ping(&lab.router, &WAN_HOST.to_string())?;
    assert!(daemon.counter("pass_local")? > 0);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn services_of_the_router_see_their_lan_clients_untranslated() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let service = SocketAddrV4::new(ROUTER_LAN, 9000);
    let _tcp = TcpReflector::start(&lab.router, &service.to_string())?;
    let _udp = UdpReflector::start(&lab.router, &service.to_string())?;
    assert_eq!(*tcp_seen_as(&mut lab.lan.tcp_connect(service)?)?.ip(), LAN_HOST);
    let (as_whom, port) = seen(&lab.lan.udp("0.0.0.0:0")?, service)?;
    assert_eq!(as_whom, SocketAddrV4::new(LAN_HOST, port));
    daemon.stop()?;
    lab.finish()
}

#[test]
fn connections_of_the_router_itself_work_on_both_sides() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    for (host, address, own) in [(&lab.wan, WAN_HOST, EXTERNAL), (&lab.lan, LAN_HOST, ROUTER_LAN)] {
        let server = SocketAddrV4::new(address, 7000);
        let _tcp = TcpReflector::start(host, &server.to_string())?;
        let _udp = UdpReflector::start(host, &server.to_string())?;
        let (as_whom, port) = seen(&lab.router.udp("0.0.0.0:0")?, server)?;
        assert_eq!(as_whom, SocketAddrV4::new(own, port));
        assert_eq!(*tcp_seen_as(&mut lab.router.tcp_connect(server)?)?.ip(), own);
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn arp_passes_and_forgotten_neighbours_are_found_again() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let server = SocketAddrV4::new(WAN_HOST, 7000);
    let _udp = UdpReflector::start(&lab.wan, &server.to_string())?;
    let socket = lab.lan.udp("0.0.0.0:0")?;
    let seen = udp_seen_as(&socket, server)?;
    for host in [&lab.lan, &lab.router, &lab.wan] {
        host.ip(&["neigh", "flush", "all"])?;
    }
    assert_eq!(udp_seen_as(&socket, server)?, seen);
    let arps = lab.on_wan().packets(|packet| packet.protocol == 0);
    assert!(arps.iter().any(|arp| arp.source == EXTERNAL), "{arps:?}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn ipv6_passes_untouched() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    for (host, interface) in [(&lab.lan, "lan0"), (&lab.wan, "wan0")] {
        link_local(host, "eth0")?;
        let address = link_local(&lab.router, interface)?;
        ping(host, &format!("{address}%eth0"))?;
    }
    assert!(daemon.counter("pass_not_ipv4")? > 0);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_packet_whose_ttl_ends_here_is_answered_by_the_router() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let output = lab.lan.output("ping", &["-n", "-c", "1", "-t", "1", "-W", "3", "11.22.33.9"])?;
    assert!(output.stdout.contains("From 192.168.77.1"), "{}", output.stdout);
    let pings = lab.on_wan().packets(|packet| packet.protocol == protocol::ICMP);
    assert!(pings.is_empty(), "{pings:?}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_lan_without_an_address_does_not_stop_the_translation() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    lab.router.ip(&["address", "flush", "dev", "lan0"])?;
    lab.router.ip(&["address", "flush", "dev", "lan1"])?;
    let daemon = Daemon::start(&lab)?;
    lab.router.ip(&["address", "add", "192.168.77.1/24", "dev", "lan0"])?;
    let server = SocketAddrV4::new(WAN_HOST, 7000);
    let _server = UdpReflector::start(&lab.wan, &server.to_string())?;
    let socket = lab.lan.udp("0.0.0.0:0")?;
    assert_eq!(*udp_seen_as(&socket, server)?.ip(), EXTERNAL);
    daemon.stop()?;
    lab.finish()
}
