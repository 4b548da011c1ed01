//! The gateway without a NAT of its own, beneath a carrier's that sees the LAN's addresses: MiniUPnP's
//! daemon is asked for them by THIRD_PARTY.

use anyhow::{Result, ensure};
use nat_tests::beneath::{self, INSIDE, NOTICED, SOON, beyond, opened_by_upnpc, says};
use nat_tests::client::Gateway;
use nat_tests::client::independent;
use nat_tests::client::pcp::{Client, Map, Peer};
use nat_tests::client::soap::{MAPPING, Mapping};
use nat_tests::daemon::{Daemon, unload};
use nat_tests::lab::{
    BENEATH, CARRIER, Carrier, FAR_HOST, LAN_HOST, Lab, ROUTER_LAN, TcpReflector, UdpReflector,
    WAN_FAR_SIDE, wait_until,
};
use nat_tests::lease::{tcp_opens, udp_answers};
use std::fs;
use std::net::SocketAddrV4;

const CONFIGURATION: &str = "[nat]\nenabled = false\n[upstream]\nserver = \"gateway\"\n";

fn routed() -> Result<Option<Lab>> {
    if !independent::Client::Miniupnpd.lets_run() {
        return Ok(None);
    }
    Lab::builder().routed_beneath_carrier().build().map(Some)
}

/// A daemon that translates nothing.
fn start(lab: &Lab) -> Result<Daemon<'_>> {
    beneath::start(lab, CONFIGURATION)
}

/// The carrier with its PCP server, and a daemon that has found it.
fn served(lab: &Lab) -> Result<(Carrier<'_>, Daemon<'_>)> {
    beneath::served(lab, CONFIGURATION)
}

#[test]
fn upnpc_opens_a_port_of_the_carrier_for_its_own_address() -> Result<()> {
    let Some(lab) = routed()? else { return Ok(()) };
    let (carrier, daemon) = served(&lab)?;
    let _servers = (UdpReflector::start(&lab.lan, INSIDE)?, TcpReflector::start(&lab.lan, INSIDE)?);
    let upnpc = opened_by_upnpc(&lab, &carrier, &daemon)?;
    let far = lab.far()?;
    let status = daemon.status()?;
    assert_eq!(status["external_address"], WAN_FAR_SIDE.to_string());
    assert_eq!(status["interfaces"][0]["mode"], "none", "no program is attached: {status}");
    says(&daemon, "2 of 2 mappings in force")?;
    upnpc.run(&["-d", "6000", "TCP"])?;
    wait_until("the end of the mapping", SOON, || Ok(!tcp_opens(far, beyond(6000))?))?;
    ensure!(udp_answers(far, beyond(6000))?, "the other one stays");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn clients_of_pcp_and_nat_pmp_map_their_own_endpoints_at_the_carrier() -> Result<()> {
    let Some(lab) = routed()? else { return Ok(()) };
    let (_carrier, daemon) = served(&lab)?;
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    let client = Client::new(&lab.lan, LAN_HOST, ROUTER_LAN)?;
    let answer = client.map(5600, 6000, 3600)?;
    assert_eq!((answer.result(), answer.external()), (0, beyond(6000)));
    ensure!(udp_answers(lab.far()?, beyond(6000))?);
    let router = ROUTER_LAN.to_string();
    let natpmpc = lab.lan.run("natpmpc", &["-g", &router, "-a", "6002", "5602", "tcp", "600"])?;
    ensure!(natpmpc.contains(&format!("Public IP address : {WAN_FAR_SIDE}")), "{natpmpc}");
    ensure!(natpmpc.contains("Mapped public port 6002"), "{natpmpc}");
    says(&daemon, "2 of 2 mappings in force")?;
    let other = Map::udp(LAN_HOST, 5600, 6010, 600).prefer_failure();
    ensure!(client.ask(&other.frame())?.result() != 0, "an endpoint has one port");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn peer_is_passed_on_for_the_client_s_own_endpoint() -> Result<()> {
    let Some(lab) = routed()? else { return Ok(()) };
    let (carrier, daemon) = served(&lab)?;
    let friend = SocketAddrV4::new(FAR_HOST, 7000);
    let client = Client::new(&lab.lan, LAN_HOST, ROUTER_LAN)?;
    let wish = Peer { external: 6100, ..Peer::udp(LAN_HOST, 5600, friend, 600) };
    let answer = client.ask(&wish.frame())?;
    assert_eq!((answer.result(), answer.external()), (0, beyond(6100)), "{}", carrier.log());
    carrier.wait_for(&format!("added peer mapping UDP {INSIDE}(6100)->{friend}"))?;
    says(&daemon, "0 of 0 mappings in force, 1 sessions of PEER")?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_restart_of_either_loses_no_mapping() -> Result<()> {
    let Some(lab) = routed()? else { return Ok(()) };
    let (mut carrier, daemon) = served(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&Mapping { lease: "604800", ..MAPPING })?.success()?;
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    let far = lab.far()?;
    ensure!(udp_answers(far, beyond(6000))?);
    daemon.kill()?;
    let daemon = start(&lab)?;
    says(&daemon, "1 of 1 mappings in force")?;
    // Clocks may differ by some seconds (RFC 6887 8.5).
    let other = Client::new(&lab.router, BENEATH, CARRIER)?;
    wait_until("an epoch to fall back from", SOON, || Ok(other.announce()?.epoch() > 8))?;
    carrier.forget()?;
    ensure!(!udp_answers(far, beyond(6000))?, "the carrier has forgotten it");
    carrier.serve(WAN_FAR_SIDE)?;
    wait_until("the mapping made again", NOTICED, || udp_answers(far, beyond(6000)))?;
    assert_eq!(daemon.mappings()?.len(), 1);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn without_the_carrier_nothing_can_be_mapped_and_the_kernel_goes_on_routing() -> Result<()> {
    let lab = Lab::builder().routed_beneath_carrier().build()?;
    let daemon = start(&lab)?;
    says(&daemon, "does not answer")?;
    let gateway = Gateway::discover(&lab.lan)?;
    assert_eq!(gateway.add(&MAPPING)?.error_code(), Some(501), "at once, then");
    ensure!(daemon.mappings()?.is_empty());
    let client = Client::new(&lab.lan, LAN_HOST, ROUTER_LAN)?;
    assert_eq!(client.map(5600, 6000, 3600)?.result(), 7, "NETWORK_FAILURE");
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    ensure!(udp_answers(&lab.wan, INSIDE.parse()?)?, "routed");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn what_takes_a_nat_here_is_refused() -> Result<()> {
    let Some(lab) = routed()? else { return Ok(()) };
    let (_carrier, daemon) = served(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let disabled = Mapping { enabled: "0", ..MAPPING };
    assert_eq!(gateway.add(&disabled)?.error_code(), Some(501), "PCP cannot hold a port shut");
    gateway.add(&MAPPING)?.success()?;
    let second = Mapping { external_port: "6001", ..MAPPING };
    assert_eq!(gateway.add(&second)?.error_code(), Some(718), "an endpoint has one port");
    assert_eq!(daemon.mappings()?.len(), 1);
    daemon.stop()?;
    lab.finish()
}

/// Debian's MiniUPnP 2.3.1 repeats FILTER and lets everybody in.
#[test]
fn a_remote_host_is_a_filter_that_the_carrier_repeats_and_nobody_can_prove() -> Result<()> {
    let Some(lab) = routed()? else { return Ok(()) };
    let (_carrier, daemon) = served(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&Mapping { remote_host: "11.22.44.7", ..MAPPING })?.success()?;
    says(&daemon, "1 of 1 mappings in force, 1 with filters that it repeats")?;
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    ensure!(udp_answers(lab.far()?, beyond(6000))?, "to another host");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_nat_that_is_still_pinned_has_to_be_unloaded_first() -> Result<()> {
    let lab = Lab::builder().routed_beneath_carrier().build()?;
    let bpffs = lab.bpffs()?;
    Daemon::builder(&lab).pinned(&bpffs).start()?.stop()?;
    let file = lab.directory().join("routed.toml");
    fs::write(&file, CONFIGURATION)?;
    let file = file.to_string_lossy();
    let again = Daemon::builder(&lab).pinned(&bpffs).argument("--config").argument(&file).start();
    let refusal = again.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refusal.contains("igd-control unload --pin-dir"), "{refusal}");
    unload(&lab, &bpffs, &["--keep-forwarding"])?;
    start(&lab)?.stop()?;
    drop(bpffs);
    lab.finish()
}
