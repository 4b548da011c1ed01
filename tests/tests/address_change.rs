//! The external address changes, goes and comes back: flows and forwards move along.

use anyhow::{Context, Result, ensure};
use nat_tests::client::{Gateway, soap::MAPPING};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, Lab, TcpReflector, UdpReflector, WAN_HOST, tcp_seen_as, udp_seen_as,
    wait_until,
};
use nat_tests::lease::{udp_answers, udp_is_silent};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddrV4};

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
const NEW: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 2);
const INSIDE: &str = "192.168.77.2:5600";

/// How the address changes.
#[derive(Clone, Copy)]
enum Order {
    RemoveFirst,
    AddFirst,
}

/// Gives the WAN interface the address `to` instead of `from`, as a DHCP client would.
fn change(lab: &Lab, order: Order, from: Ipv4Addr, to: Ipv4Addr) -> Result<()> {
    let (from, to) = (format!("{from}/24"), format!("{to}/24"));
    let address = |verb, at: &str| lab.router.ip(&["address", verb, at, "dev", "wan0"]);
    // Without it the kernel takes away the new address with the old.
    lab.router.sysctl("net/ipv4/conf/wan0/promote_secondaries", "1")?;
    match order {
        Order::RemoveFirst => address("del", &from).and_then(|_| address("add", &to))?,
        Order::AddFirst => address("add", &to).and_then(|_| address("del", &from))?,
    };
    lab.router.ip(&["route", "replace", "default", "via", &WAN_HOST.to_string()])?;
    Ok(())
}

/// Waits until the daemon says that the external address is this one.
fn told(daemon: &Daemon<'_>, address: Option<Ipv4Addr>) -> Result<()> {
    let wanted = address.map(|address| address.to_string());
    wait_until("the external address", ANSWER_TIMEOUT, || {
        let status = daemon.status()?;
        Ok(status.get("external_address").and_then(Value::as_str) == wanted.as_deref())
    })
}

/// What a client of the control plane is told.
fn asked(gateway: &Gateway<'_>) -> Result<String> {
    let reply = gateway.call("GetExternalIPAddress", &[])?.success()?;
    Ok(reply.value("NewExternalIPAddress").context("no address in the answer")?.to_owned())
}

/// The port of [`MAPPING`] at an address of the router.
const fn mapped(address: Ipv4Addr) -> SocketAddrV4 {
    SocketAddrV4::new(address, 6000)
}

#[test]
fn flows_and_forwards_move_to_a_new_address() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _servers = (
        UdpReflector::start(&lab.wan, &SERVER.to_string())?,
        TcpReflector::start(&lab.wan, &SERVER.to_string())?,
        UdpReflector::start(&lab.lan, INSIDE)?,
    );
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&MAPPING)?.success()?;
    let tunnel = lab.lan.udp("192.168.77.2:5700")?;
    let mut connection = lab.lan.tcp_connect(SERVER)?;
    let (mut from, mut to) = (EXTERNAL, NEW);
    for order in [Order::RemoveFirst, Order::AddFirst] {
        let port = udp_seen_as(&tunnel, SERVER)?.port();
        tcp_seen_as(&mut connection)?;
        change(&lab, order, from, to)?;
        told(&daemon, Some(to))?;
        // The first packet is through, from the port that it had.
        assert_eq!(udp_seen_as(&tunnel, SERVER)?, SocketAddrV4::new(to, port));
        assert_eq!(asked(&gateway)?, to.to_string());
        ensure!(udp_answers(&lab.wan, mapped(to))? && udp_is_silent(&lab.wan, mapped(from))?);
        // The old connection is told by its server that it is over, and not left to wait.
        ensure!(tcp_seen_as(&mut connection).is_err());
        connection = lab.lan.tcp_connect(SERVER)?;
        assert_eq!(*tcp_seen_as(&mut connection)?.ip(), to);
        let old = format!("{from}:");
        let sessions = daemon.sessions()?;
        let is_old = |at: &Value| at.as_str().is_some_and(|at| at.starts_with(&old));
        ensure!(!sessions.iter().any(|session| is_old(&session["external"])), "{sessions:?}");
        (from, to) = (to, from);
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn an_address_that_goes_and_comes_back_finds_its_sessions_again() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _servers = (
        UdpReflector::start(&lab.wan, &SERVER.to_string())?,
        UdpReflector::start(&lab.lan, INSIDE)?,
    );
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&MAPPING)?.success()?;
    let tunnel = lab.lan.udp("192.168.77.2:5700")?;
    let seen = udp_seen_as(&tunnel, SERVER)?;
    let created = daemon.counter("sessions_created")?;

    let route = ["route", "add", "11.22.33.0/24", "dev", "wan0"];
    lab.router.ip(&["address", "del", "11.22.33.1/24", "dev", "wan0"])?;
    lab.router.ip(&route)?;
    told(&daemon, None)?;
    let dropped = daemon.counter("drop_disconnected")?;
    for _ in 0..3 {
        tunnel.send_to(b"anybody?", SERVER)?;
    }
    wait_until("counted drops", ANSWER_TIMEOUT, || {
        Ok(daemon.counter("drop_disconnected")? - dropped == 3)
    })?;
    lab.router.ip(&["address", "add", "11.22.33.1/24", "dev", "wan0"])?;
    lab.router.ip(&["route", "replace", "default", "via", &WAN_HOST.to_string()])?;
    told(&daemon, Some(EXTERNAL))?;
    assert_eq!(udp_seen_as(&tunnel, SERVER)?, seen);
    assert_eq!(daemon.counter("sessions_created")?, created, "it is the same session");
    ensure!(udp_answers(&lab.wan, mapped(EXTERNAL))?);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn an_address_that_changes_while_no_daemon_runs_is_noticed_by_the_next() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let start = || Daemon::builder(&lab).pinned(&bpffs).start();
    let daemon = start()?;
    let _servers = (
        UdpReflector::start(&lab.wan, &SERVER.to_string())?,
        UdpReflector::start(&lab.lan, INSIDE)?,
    );
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    let tunnel = lab.lan.udp("192.168.77.2:5700")?;
    let port = udp_seen_as(&tunnel, SERVER)?.port();
    daemon.kill()?;
    change(&lab, Order::RemoveFirst, EXTERNAL, NEW)?;
    let daemon = start()?;
    assert_eq!(udp_seen_as(&tunnel, SERVER)?, SocketAddrV4::new(NEW, port));
    ensure!(udp_answers(&lab.wan, mapped(NEW))? && udp_is_silent(&lab.wan, mapped(EXTERNAL))?);
    assert_eq!(daemon.mappings()?.len(), 1);
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn an_address_that_is_gone_when_the_next_daemon_starts_may_come_later() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let start = || Daemon::builder(&lab).pinned(&bpffs).start();
    let daemon = start()?;
    let _server = UdpReflector::start(&lab.wan, &SERVER.to_string())?;
    let tunnel = lab.lan.udp("192.168.77.2:5700")?;
    udp_seen_as(&tunnel, SERVER)?;
    daemon.kill()?;
    lab.router.ip(&["address", "del", "11.22.33.1/24", "dev", "wan0"])?;
    let daemon = start()?;
    told(&daemon, None)?;
    lab.router.ip(&["address", "add", &format!("{NEW}/24"), "dev", "wan0"])?;
    lab.router.ip(&["route", "replace", "default", "via", &WAN_HOST.to_string()])?;
    told(&daemon, Some(NEW))?;
    assert_eq!(*udp_seen_as(&tunnel, SERVER)?.ip(), NEW);
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}
