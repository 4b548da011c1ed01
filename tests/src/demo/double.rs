//! The same through two NATs: the gateway beneath a carrier's, whose PCP server is MiniUPnP's daemon.

use super::report::Report;
use super::steps::{expect, show_lines};
use crate::client::Upnpc;
use crate::client::independent::Client;
use crate::daemon::Daemon;
use crate::lab::{
    BENEATH, CARRIER, Carrier, FAR_HOST, LAN_HOST, Lab, ROUTER_LAN, TcpReflector, WAN_FAR_SIDE,
    tcp_seen_as, wait_until,
};
use crate::lease::tcp_is_shut;
use anyhow::{Result, ensure};
use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

/// The mapped port, outside and inside.
const PORTS: (u16, u16) = (6000, 5600);
/// How long something may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// All of it.
pub(super) fn play(report: &mut Report, igd_control: &Path) -> Result<()> {
    ensure!(Client::Miniupnpd.is_here(), "this takes {}", Client::Miniupnpd.needs());
    report.step("Build a lab: LAN host, router, the carrier's NAT, and a host beyond it")?;
    let lab = Lab::builder().beneath_carrier().build()?;
    report.seen(&format!(
        "{LAN_HOST}  |  {ROUTER_LAN} router {BENEATH}  |  {CARRIER} carrier {WAN_FAR_SIDE}  |  {FAR_HOST}"
    ))?;
    let far = lab.far()?;
    let outside = SocketAddrV4::new(WAN_FAR_SIDE, PORTS.0);
    let inside = SocketAddrV4::new(LAN_HOST, PORTS.1);

    report.step("Start the carrier's NAT (nftables) and its PCP server (miniupnpd)")?;
    let mut carrier = Carrier::start(&lab)?;
    carrier.serve(WAN_FAR_SIDE)?;
    report.seen("it listens for PCP, and gives nothing away by itself")?;

    report.step("Start igd-control in the router, with `upstream.server = \"gateway\"`")?;
    let file = lab.directory().join("igd-control.toml");
    fs::write(&file, "[upstream]\nserver = \"gateway\"\n")?;
    let daemon = Daemon::builder(&lab)
        .binary(igd_control)
        .argument("--config")
        .argument(&file.to_string_lossy())
        .start()?;
    let told = serde_json::Value::from(WAN_FAR_SIDE.to_string());
    let knows = || Ok(daemon.status()?.get("external_address") == Some(&told));
    wait_until("the external address of the carrier", SOON, knows)?;
    let status = daemon.table("status")?;
    show_lines(report, &status, &["external address", "behind a NAT", "upstream"])?;

    report.step("A UPnP client in the LAN maps a port (upnpc -a)")?;
    let (host, outer, inner) = (LAN_HOST.to_string(), PORTS.0.to_string(), PORTS.1.to_string());
    let upnpc = Upnpc::searching(&lab.lan);
    let printed = upnpc.run(&["-a", &host, &inner, &outer, "TCP", "3600"])?;
    show_lines(report, &printed, &["ExternalIPAddress", "is redirected"])?;
    expect(&printed, &format!("external {outside} TCP is redirected"))?;

    report.step("The host beyond connects to it, through both NATs")?;
    let _server = TcpReflector::start(&lab.lan, &inside.to_string())?;
    let seen = tcp_seen_as(&mut far.tcp_connect(outside)?)?;
    ensure!(*seen.ip() == FAR_HOST, "the LAN host saw {seen}");
    report.seen(&format!("{seen} > {outside} > {BENEATH}:{outer} > {inside}, and back again"))?;
    show_lines(report, &daemon.table("status")?, &["upstream"])?;

    report.step("The client deletes it (upnpc -d), and both ports close")?;
    let printed = upnpc.run(&["-d", &outer, "TCP"])?;
    show_lines(report, &printed, &["returned"])?;
    wait_until("the end of the mapping", SOON, || tcp_is_shut(far, outside))?;
    report.seen(&format!("{outside} (TCP) refuses"))?;

    report.step("Stop the daemon, and take the lab down")?;
    daemon.stop()?;
    drop(carrier);
    lab.finish()?;
    report.end("The demonstration succeeded.")
}
