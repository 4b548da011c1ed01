//! What one LAN client may have, and what it leaves to the others.

use anyhow::{Context, Result};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{EXTERNAL, LAN_HOST, Lab, UdpReflector, WAN_HOST, udp_seen_as, wait_until};
use serde_json::Value;
use std::net::SocketAddrV4;
use std::time::Duration;

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
const TIMEOUT: Duration = Duration::from_secs(20);

fn start<'lab>(lab: &'lab Lab, limits: &str) -> Result<Daemon<'lab>> {
    Daemon::builder(lab).configured(&format!("[nat]\n{limits}\n"))?.start()
}

/// What the daemon says of the LAN host.
fn lan_host(daemon: &Daemon<'_>) -> Result<Value> {
    let Value::Array(clients) = daemon.json("clients")? else { anyhow::bail!("no array") };
    let found = clients.into_iter().find(|client| client["address"] == LAN_HOST.to_string());
    found.context("the LAN host is not known")
}

/// Sends from one socket to so many ports of the WAN host on which nobody listens.
fn open_sessions(lab: &Lab, count: u16) -> Result<()> {
    let socket = lab.lan.udp("0.0.0.0:0")?;
    for port in 9_000..9_000 + count {
        socket.send_to(b"hello", SocketAddrV4::new(WAN_HOST, port))?;
    }
    Ok(())
}

#[test]
fn one_client_has_as_many_sessions_as_it_may_and_the_other_is_unharmed() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = start(&lab, "max-sessions-per-client = 20")?;
    let _server = UdpReflector::start(&lab.wan, &SERVER.to_string())?;
    let first = lab.lan.udp("0.0.0.0:0")?;
    let seen = udp_seen_as(&first, SERVER)?;

    open_sessions(&lab, 30)?;
    wait_until("the limit to be reached", TIMEOUT, || {
        Ok(daemon.counter("drop_session_limit")? == 11)
    })?;
    assert_eq!(udp_seen_as(&first, SERVER)?, seen, "what it has goes on");
    assert_eq!(*udp_seen_as(&lab.second_lan()?.udp("0.0.0.0:0")?, SERVER)?.ip(), EXTERNAL);

    let client = lan_host(&daemon)?;
    assert_eq!((&client["sessions"], &client["ports"]), (&20.into(), &2.into()), "{client}");
    assert_eq!(client["over_sessions"], 11, "{client}");
    let table = daemon.table("clients")?;
    assert!(table.starts_with("CLIENT") && table.contains("192.168.78.2"), "{table}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn sessions_that_have_ended_make_room() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = start(&lab, "max-sessions-per-client = 20")?;
    let _server = UdpReflector::start(&lab.wan, &SERVER.to_string())?;
    open_sessions(&lab, 30)?;
    wait_until("the limit to be reached", TIMEOUT, || {
        Ok(daemon.counter("drop_session_limit")? == 10)
    })?;
    // A new external address voids all sessions.
    lab.router.ip(&["address", "del", &format!("{EXTERNAL}/24"), "dev", "wan0"])?;
    lab.router.ip(&["address", "add", "11.22.33.2/24", "dev", "wan0"])?;
    lab.router.ip(&["route", "add", "default", "via", &WAN_HOST.to_string()])?;
    let socket = lab.lan.udp("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    wait_until("a sweep", TIMEOUT, || Ok(udp_seen_as(&socket, SERVER).is_ok()))?;
    assert_eq!(lan_host(&daemon)?["sessions"], 1);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn one_client_has_as_many_ports_as_it_may_and_the_other_is_unharmed() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = start(&lab, "max-ports-per-client = 3")?;
    let _server = UdpReflector::start(&lab.wan, &SERVER.to_string())?;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let socket = lab.lan.udp("0.0.0.0:0")?;
        udp_seen_as(&socket, SERVER)?;
        sockets.push(socket);
    }
    lab.lan.udp("0.0.0.0:0")?.send_to(b"hello", SERVER)?;
    wait_until("the limit to be reached", TIMEOUT, || Ok(daemon.counter("drop_port_limit")? == 1))?;
    for socket in &sockets {
        udp_seen_as(socket, SERVER)?;
    }
    udp_seen_as(&lab.second_lan()?.udp("0.0.0.0:0")?, SERVER)?;
    let client = lan_host(&daemon)?;
    assert_eq!((&client["ports"], &client["over_ports"]), (&3.into(), &1.into()), "{client}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn one_client_opens_as_many_sessions_in_a_second_as_it_may() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = start(&lab, "new-sessions-per-second = 5")?;
    let _server = UdpReflector::start(&lab.wan, &SERVER.to_string())?;
    open_sessions(&lab, 100)?;
    wait_until(
        "the limit to be reached",
        TIMEOUT,
        || Ok(daemon.counter("drop_rate_limit")? >= 90),
    )?;
    udp_seen_as(&lab.second_lan()?.udp("0.0.0.0:0")?, SERVER)?;
    // The next second is a new one.
    let socket = lab.lan.udp("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    wait_until("the next second", TIMEOUT, || Ok(udp_seen_as(&socket, SERVER).is_ok()))?;
    assert!(lan_host(&daemon)?["over_rate"].as_u64() >= Some(90));
    daemon.stop()?;
    lab.finish()
}
