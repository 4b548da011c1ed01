//! A lease ends on time, whether the daemon lives or not.

use anyhow::Result;
use nat_tests::client::{Gateway, soap::Mapping};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    EXTERNAL, Lab, TcpReflector, UdpReflector, WAN_HOST, tcp_seen_as, udp_seen_as,
};
use nat_tests::lease::{tcp_opens, watch_udp_close};
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
    let mapping = Mapping {
        remote_host: "",
        external_port: "6000",
        protocol: "TCP",
        client: "192.168.77.2",
        internal_port: "5600",
        lease: "4",
    };
    gateway.add(&mapping)?.success()?;
    let mut stream = lab.wan.tcp_connect(PORT)?;
    let asked = Instant::now();
    gateway.add(&Mapping { protocol: "UDP", ..mapping })?.success()?;
    let answered = Instant::now();
    meanwhile()?;

    let closing = watch_udp_close(&lab.wan, PORT, 3 * LEASE)?;
    assert!(closing.first_closed >= asked + LEASE, "the port closed before its lease ended");
    let late = closing.last_open.saturating_duration_since(answered + LEASE);
    assert!(late < Duration::from_secs(1), "the port stayed open for {late:?} more");
    assert!(!tcp_opens(&lab.wan, PORT)?, "TCP is still open");
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
    daemon.kill()?;
    assert_eq!(udp_seen_as(&socket, server)?, seen, "the killed daemon's session goes on");
    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    assert_eq!(udp_seen_as(&socket, server)?, seen, "and under a new daemon");
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}
