//! A lease ends on time, whether the daemon lives or not.

use anyhow::Result;
use nat_tests::client::{
    Gateway,
    soap::{MAPPING, Mapping},
};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    EXTERNAL, Lab, TcpReflector, UdpReflector, WAN_HOST, tcp_seen_as, udp_seen_as, wait_until,
};
use nat_tests::lease::{SILENT_FOR, tcp_is_shut, watch_udp_close};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

const LEASE: Duration = Duration::from_secs(4);
const PORT: SocketAddrV4 = SocketAddrV4::new(EXTERNAL, 6000);

/// Maps UDP and TCP, calls `meanwhile`, and checks that both close when their lease ends.
fn lease_ends(lab: &Lab, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    let _servers = (
        TcpReflector::start(&lab.lan, "192.168.77.2:5600")?,
        UdpReflector::start(&lab.lan, "192.168.77.2:5600")?,
    );
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&Mapping { lease: "4", protocol: "TCP", ..MAPPING })?.success()?;
    let mut stream = lab.wan.tcp_connect(PORT)?;
    let asked = Instant::now();
    gateway.add(&Mapping { lease: "4", ..MAPPING })?.success()?;
    let answered = Instant::now();
    meanwhile()?;

    let closing = watch_udp_close(&lab.wan, PORT, 3 * LEASE)?;
    assert!(closing.first_closed >= asked + LEASE, "the port closed before its lease ended");
    let late = closing.last_open.saturating_duration_since(answered + LEASE);
    assert!(late < Duration::from_secs(1), "the port stayed open for {late:?} more");
    assert!(tcp_is_shut(&lab.wan, PORT)?, "TCP is still open");
    assert_eq!(*tcp_seen_as(&mut stream)?.ip(), WAN_HOST, "an open TCP connection goes on");
    Ok(())
}

#[test]
fn a_port_closes_within_a_second_of_its_lease() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    lease_ends(&lab, || Ok(()))?;
    assert!(daemon.mappings()?.is_empty());
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_port_closes_on_time_although_the_daemon_was_killed() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    lease_ends(&lab, || daemon.kill())?;

    // Translation goes on without the daemon.
    let server = SocketAddrV4::new(WAN_HOST, 7000);
    let _server = UdpReflector::start(&lab.wan, &server.to_string())?;
    let socket = lab.lan.udp("0.0.0.0:0")?;
    assert_eq!(*udp_seen_as(&socket, server)?.ip(), EXTERNAL);
    drop(bpffs);
    lab.finish()
}

#[test]
fn a_new_daemon_takes_over_what_a_killed_one_left() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let server = SocketAddrV4::new(WAN_HOST, 7000);
    let _server = UdpReflector::start(&lab.wan, &server.to_string())?;
    let socket = lab.lan.udp("0.0.0.0:0")?;

    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    let seen = udp_seen_as(&socket, server)?;
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&MAPPING)?.success()?;
    gateway.add(&Mapping { external_port: "6001", remote_host: "11.22.33.9", ..MAPPING })?;
    daemon.kill()?;
    assert_eq!(udp_seen_as(&socket, server)?, seen, "the killed daemon's session goes on");
    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    assert_eq!(udp_seen_as(&socket, server)?, seen, "and under a new daemon");

    let listed: Vec<_> = daemon.mappings()?.iter().map(ToString::to_string).collect();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(listed.iter().any(|mapping| mapping.contains("11.22.33.9")), "{listed:?}");
    let named = [("NewRemoteHost", ""), ("NewExternalPort", "6000"), ("NewProtocol", "UDP")];
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.call("DeletePortMapping", &named)?.success()?;
    assert_eq!(daemon.mappings()?.len(), 1, "a mapping of the former daemon can be deleted");
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}

/// An answer of the internal client after another forward went away must not count as a new outgoing
/// flow: it would keep the port open beyond its lease.
#[test]
fn a_forward_that_goes_away_does_not_touch_the_sessions_of_another() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&MAPPING)?.success()?;
    let other = Mapping { external_port: "6001", internal_port: "5601", ..MAPPING };
    gateway.add(&other)?.success()?;

    let server = lab.lan.udp("192.168.77.2:5600")?;
    let client = lab.wan.udp("11.22.33.9:0")?;
    client.send_to(b"hello", PORT)?;
    let mut buffer = [0; 16];
    let (_, caller) = server.recv_from(&mut buffer)?;

    let named = [("NewRemoteHost", ""), ("NewExternalPort", "6001"), ("NewProtocol", "UDP")];
    gateway.call("DeletePortMapping", &named)?.success()?;
    server.send_to(b"answer", caller)?;
    let (length, from) = client.recv_from(&mut buffer)?;
    assert_eq!((&buffer[..length], from), (b"answer".as_slice(), PORT.into()));

    let sessions = daemon.sessions()?;
    let opened: Vec<_> = sessions
        .iter()
        .filter(|session| session["internal"] == "192.168.77.2:5600")
        .map(|session| session["opened"].clone())
        .collect();
    assert_eq!(opened, ["outside"]);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_shorter_lease_shortens_the_sessions_that_live_by_it() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _server = UdpReflector::start(&lab.lan, "192.168.77.2:5600")?;
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&MAPPING)?.success()?;
    let client = lab.wan.udp("11.22.33.9:0")?;
    udp_seen_as(&client, PORT)?;
    gateway.add(&Mapping { lease: "2", ..MAPPING })?.success()?;
    udp_seen_as(&client, PORT)?;
    client.set_read_timeout(Some(SILENT_FOR))?;
    wait_until("the session to end", Duration::from_secs(5), || {
        Ok(udp_seen_as(&client, PORT).is_err())
    })?;
    daemon.stop()?;
    lab.finish()
}
