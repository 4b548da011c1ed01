//! The gateway beneath a carrier's NAT, whose PCP server is MiniUPnP's daemon: Debian's 2.3.1 answers
//! PREFER_FAILURE by success and another port.

use anyhow::{Context, Result, ensure};
use nat_tests::beneath::{self, INSIDE, NOTICED, SOON, beyond, opened_by_upnpc, says};
use nat_tests::client::Gateway;
use nat_tests::client::independent;
use nat_tests::client::pcp::{Client, Map, Peer, UDP};
use nat_tests::client::soap::{MAPPING, Mapping, WAN_IP_CONNECTION_1};
use nat_tests::daemon::{Daemon, binary};
use nat_tests::demo;
use nat_tests::lab::{
    BENEATH, CARRIER, Carrier, FAR_HOST, LAN_HOST, Lab, NatPmpServer, OTHER_FAR_SIDE, Process,
    ROUTER_LAN, TcpReflector, UdpReflector, WAN_FAR_SIDE, udp_seen_as, wait_until,
};
use nat_tests::lease::{tcp_is_shut, udp_answers, udp_is_silent};
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

const CONFIGURATION: &str = "[upstream]\nserver = \"gateway\"\n";

fn lab_beneath() -> Result<Lab> {
    Lab::builder().beneath_carrier().build()
}

fn runs() -> bool {
    independent::Client::Miniupnpd.lets_run()
}

/// The carrier with its PCP server, and a daemon that has found it.
fn served(lab: &Lab) -> Result<(Carrier<'_>, Daemon<'_>)> {
    beneath::served(lab, CONFIGURATION)
}

/// A daemon that has the carrier as its server.
fn start(lab: &Lab) -> Result<Daemon<'_>> {
    beneath::start(lab, CONFIGURATION)
}

fn address(gateway: &Gateway<'_>) -> Result<Ipv4Addr> {
    let reply = gateway.call("GetExternalIPAddress", &[])?.success()?;
    Ok(reply.value("NewExternalIPAddress").context("no address")?.parse()?)
}

fn metric(daemon: &Daemon<'_>, line: &str) -> Result<()> {
    let metrics = daemon.table("metrics")?;
    ensure!(metrics.lines().any(|it| it == line), "no {line} in:\n{metrics}");
    Ok(())
}

#[test]
fn upnpc_opens_a_port_through_two_nats() -> Result<()> {
    if !runs() {
        return Ok(());
    }
    let lab = lab_beneath()?;
    let (carrier, daemon) = served(&lab)?;
    let _servers = (UdpReflector::start(&lab.lan, INSIDE)?, TcpReflector::start(&lab.lan, INSIDE)?);
    let upnpc = opened_by_upnpc(&lab, &carrier, &daemon)?;
    let far = lab.far()?;
    let listed = upnpc.run(&["-l"])?;
    ensure!(listed.contains("6000->192.168.77.2:5600"), "{listed}");
    says(&daemon, "2 of 2 mappings in force")?;
    let status = daemon.status()?;
    assert_eq!(status["external_address"], WAN_FAR_SIDE.to_string());
    ensure!(status["behind_nat"].as_str().is_some_and(|it| it.starts_with("yes")), "{status}");
    metric(&daemon, "igd_double_nat 1.0")?;
    metric(&daemon, "igd_upstream_in_service 1.0")?;
    upnpc.run(&["-d", "6000", "TCP"])?;
    wait_until("the end of the mapping", SOON, || tcp_is_shut(far, beyond(6000)))?;
    says(&daemon, "1 of 1 mappings in force")?;
    ensure!(udp_answers(far, beyond(6000))?, "the other one stays");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_port_of_another_subscriber_is_a_conflict_and_any_port_moves_to_a_free_one() -> Result<()> {
    if !runs() {
        return Ok(());
    }
    let lab = lab_beneath()?;
    let (_carrier, daemon) = served(&lab)?;
    let other = Client::new(&lab.router, BENEATH, CARRIER)?;
    let taken = Map { protocol: UDP, ..Map::udp(BENEATH, 6500, 6000, 3600) };
    assert_eq!(other.ask(&taken.frame())?.external(), beyond(6000));
    let gateway = Gateway::discover(&lab.lan)?;
    assert_eq!(gateway.add(&MAPPING)?.error_code(), Some(718));
    ensure!(daemon.mappings()?.is_empty(), "it has left the table");
    let asked = |port| {
        let key = [("NewRemoteHost", ""), ("NewExternalPort", port), ("NewProtocol", "UDP")];
        Ok::<_, anyhow::Error>(gateway.call("GetSpecificPortMappingEntry", &key)?.error_code())
    };
    assert_eq!((asked("6000")?, asked("6100")?), (Some(718), Some(714)));
    let version_1 = Gateway::discover_by(&lab.lan, WAN_IP_CONNECTION_1)?;
    assert_eq!(version_1.add(&MAPPING)?.error_code(), Some(718));

    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    let reply = gateway.add_any(&MAPPING)?.success()?;
    let port: u16 = reply.value("NewReservedPort").context("no port")?.parse()?;
    ensure!(port != 6000);
    ensure!(udp_answers(lab.far()?, beyond(port))?, "{port}");
    let listed = daemon.mappings()?;
    ensure!(listed.len() == 1 && listed[0]["external_port"] == port, "{listed:?}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn clients_of_pcp_are_told_what_the_carrier_gives() -> Result<()> {
    if !runs() {
        return Ok(());
    }
    let lab = lab_beneath()?;
    let (_carrier, daemon) = served(&lab)?;
    let other = Client::new(&lab.router, BENEATH, CARRIER)?;
    assert_eq!(other.map(6500, 6001, 3600)?.external(), beyond(6001));
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    let client = Client::new(&lab.lan, LAN_HOST, ROUTER_LAN)?;
    let answer = client.map(5600, 6000, 3600)?;
    assert_eq!((answer.result(), answer.external()), (0, beyond(6000)));
    ensure!((3_590..=3_600).contains(&answer.lifetime()));
    ensure!(udp_answers(lab.far()?, beyond(6000))?);
    let conflict = Map::udp(LAN_HOST, 5601, 6001, 600).prefer_failure();
    assert_eq!(client.ask(&conflict.frame())?.result(), 11, "CANNOT_PROVIDE_EXTERNAL");
    let natpmpc = lab
        .lan
        .run("natpmpc", &["-g", &ROUTER_LAN.to_string(), "-a", "6002", "5602", "udp", "600"])?;
    ensure!(natpmpc.contains(&format!("Public IP address : {WAN_FAR_SIDE}")), "{natpmpc}");
    ensure!(natpmpc.contains("Mapped public port 6002"), "{natpmpc}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_restart_of_the_carrier_with_another_address_loses_no_mapping() -> Result<()> {
    if !runs() {
        return Ok(());
    }
    let lab = lab_beneath()?;
    let (mut carrier, daemon) = served(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let week = Mapping { lease: "604800", ..MAPPING };
    gateway.add(&week)?.success()?;
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    let far = lab.far()?;
    ensure!(udp_answers(far, beyond(6000))?);
    assert_eq!(address(&gateway)?, WAN_FAR_SIDE);

    carrier.forget()?;
    ensure!(udp_is_silent(far, beyond(6000))?, "the carrier has forgotten it");
    carrier.serve(OTHER_FAR_SIDE)?;
    let moved = SocketAddrV4::new(OTHER_FAR_SIDE, 6000);
    wait_until("the mapping made again", NOTICED, || udp_answers(far, moved))?;
    assert_eq!(address(&gateway)?, OTHER_FAR_SIDE);
    ensure!(daemon.log().contains("has lost its mappings"), "{}", daemon.log());
    assert_eq!(daemon.mappings()?.len(), 1);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn without_a_server_the_gateway_serves_as_ever() -> Result<()> {
    let lab = lab_beneath()?;
    let daemon = start(&lab)?;
    says(&daemon, "does not answer")?;
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&MAPPING)?.success()?;
    assert_eq!(address(&gateway)?, BENEATH, "the truth");
    let _server = UdpReflector::start(&lab.lan, INSIDE)?;
    ensure!(udp_answers(&lab.wan, SocketAddrV4::new(BENEATH, 6000))?);
    metric(&daemon, "igd_upstream_in_service 0.0")?;
    metric(&daemon, "igd_double_nat 1.0")?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_private_address_is_not_told_where_that_is_configured() -> Result<()> {
    let lab = lab_beneath()?;
    let file = lab.directory().join("upstream.toml");
    fs::write(&file, "[upstream]\nprivate-address = \"empty\"\n")?;
    let daemon =
        Daemon::builder(&lab).argument("--config").argument(&file.to_string_lossy()).start()?;
    let gateway = Gateway::discover(&lab.lan)?;
    let reply = gateway.call("GetExternalIPAddress", &[])?.success()?;
    assert_eq!(reply.value("NewExternalIPAddress"), Some(""));
    assert_eq!(daemon.upstream()?, "off");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn the_demo_through_two_nats_plays() -> Result<()> {
    if !runs() {
        return Ok(());
    }
    demo::run_beneath_carrier(&binary()?)
}

#[test]
fn a_carrier_that_knows_only_nat_pmp_is_asked_by_it() -> Result<()> {
    let lab = lab_beneath()?;
    let _carrier = Carrier::start(&lab)?;
    let server = NatPmpServer::start(&lab, &[6001])?;
    let daemon = start(&lab)?;
    says(&daemon, "by NAT-PMP, 0 of 0 mappings in force")?;
    let _servers = (UdpReflector::start(&lab.lan, INSIDE)?, TcpReflector::start(&lab.lan, INSIDE)?);
    let gateway = Gateway::discover(&lab.lan)?;
    assert_eq!(address(&gateway)?, WAN_FAR_SIDE);
    gateway.add(&MAPPING)?.success()?;
    let conflict = Mapping { external_port: "6001", ..MAPPING };
    assert_eq!(gateway.add(&conflict)?.error_code(), Some(718));
    let reply = gateway.add_any(&conflict)?.success()?;
    assert_eq!(reply.value("NewReservedPort"), Some("6002"));
    let far = lab.far()?;
    ensure!(udp_answers(far, beyond(6000))? && udp_answers(far, beyond(6002))?);
    says(&daemon, "by NAT-PMP, 2 of 2 mappings in force")?;
    metric(&daemon, "igd_upstream_in_service 1.0")?;
    drop(server);
    daemon.stop()?;
    lab.finish()
}

/// A STUN server of the Internet's: coturn's.
fn stun_server(lab: &Lab) -> Result<Process> {
    let pid_file = lab.directory().join("turnserver.pid").to_string_lossy().into_owned();
    let mut command = lab.far()?.command("turnserver");
    command.args(["-n", "--stun-only", "--no-cli", "--no-tls", "--no-dtls"]);
    command.args(["--log-file", "stdout", "-L", &FAR_HOST.to_string(), "--pidfile", &pid_file]);
    let server = Process::spawn(&mut command)?;
    server.wait_for_line(SOON, |line| line.contains("Total General servers"))?;
    Ok(server)
}

#[test]
fn a_stun_server_tells_that_there_is_another_nat() -> Result<()> {
    let lab = lab_beneath()?;
    let _carrier = Carrier::start(&lab)?;
    let _server = stun_server(&lab)?;
    let file = lab.directory().join("stun.toml");
    let text =
        format!("[upstream]\nstun-server = \"{FAR_HOST}\"\nprivate-address = \"upstream\"\n");
    fs::write(&file, text)?;
    let daemon =
        Daemon::builder(&lab).argument("--config").argument(&file.to_string_lossy()).start()?;
    let seen = || Ok(daemon.status()?["seen_from_outside"] == WAN_FAR_SIDE.to_string());
    wait_until("the STUN server's answer", SOON, seen)?;
    ensure!(daemon.log().contains("double NAT"), "{}", daemon.log());
    metric(&daemon, "igd_double_nat 1.0")?;
    metric(&daemon, "igd_stun_answered 1.0")?;
    assert_eq!(address(&Gateway::discover(&lab.lan)?)?, WAN_FAR_SIDE, "as configured");
    daemon.stop()?;
    lab.finish()
}

/// Whom clients talk to by PEER.
const FRIEND: SocketAddrV4 = SocketAddrV4::new(FAR_HOST, 7000);

fn peer(lifetime: u32) -> Peer {
    Peer::udp(LAN_HOST, 5600, FRIEND, lifetime)
}

/// MiniUPnP's daemon 2.3.1 promises the port; its rule for nftables has the ports the wrong way round, so that
/// no packet shows it.
#[test]
fn a_session_of_peer_is_asked_for_at_the_carrier() -> Result<()> {
    if !runs() {
        return Ok(());
    }
    let lab = lab_beneath()?;
    let (carrier, daemon) = served(&lab)?;
    let client = Client::new(&lab.lan, LAN_HOST, ROUTER_LAN)?;
    let wish = Peer { external: 6100, ..peer(600) };
    let answer = client.ask(&wish.frame())?;
    assert_eq!((answer.result(), answer.external()), (0, beyond(6100)));
    ensure!((590..=600).contains(&answer.lifetime()), "{}", answer.lifetime());
    carrier.wait_for(&format!("added peer mapping UDP {BENEATH}:5600(6100)->{FRIEND}"))?;
    says(&daemon, "0 of 0 mappings in force, 1 sessions of PEER")?;
    let stranger = Peer { nonce: *b"another one!", ..wish };
    assert_eq!(client.ask(&stranger.frame())?.result(), 2, "NOT_AUTHORIZED");
    assert_eq!(client.ask(&peer(0).frame())?.result(), 0);
    let ended = || Ok(daemon.upstream()?.ends_with("0 of 0 mappings in force"));
    wait_until("the end of the session there", SOON, ended)?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn by_peer_through_two_gateways_of_ours_a_silent_client_is_reached_by_its_friend() -> Result<()> {
    const STRICT: &str = "[nat]\nfiltering-udp = \"address-and-port-dependent\"\n";
    let lab = lab_beneath()?;
    let carrier = Daemon::builder(&lab).as_carrier().configured(STRICT)?.start()?;
    let daemon = beneath::start(&lab, &format!("{CONFIGURATION}{STRICT}"))?;
    says(&daemon, "0 of 0 mappings in force")?;
    let _client = UdpReflector::start(&lab.lan, INSIDE)?;
    let friend = lab.far()?.udp(&FRIEND.to_string())?;
    let stranger = lab.far()?.udp(&SocketAddrV4::new(FAR_HOST, 7001).to_string())?;
    for socket in [&friend, &stranger] {
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    }
    let client = Client::new(&lab.lan, LAN_HOST, ROUTER_LAN)?;
    let answer = client.ask(&peer(600).frame())?;
    let external = answer.external();
    assert_eq!((answer.result(), *external.ip()), (0, WAN_FAR_SIDE));
    udp_seen_as(&friend, external).context("the friend is let in by both")?;
    ensure!(udp_seen_as(&stranger, external).is_err(), "and nobody else");
    assert_eq!(client.ask(&peer(0).frame())?.result(), 0);
    let ended = || Ok(!daemon.upstream()?.contains("PEER"));
    wait_until("the end of the session there", SOON, ended)?;
    let refused = Peer::udp(LAN_HOST, 5600, SocketAddrV4::new(CARRIER, 7000), 600);
    ensure!(client.ask(&refused.frame())?.result() != 0, "no peer of the carrier's own");
    daemon.stop()?;
    carrier.stop()?;
    lab.finish()
}

#[test]
fn a_carrier_without_peer_is_told_of() -> Result<()> {
    let lab = lab_beneath()?;
    let carrier =
        Daemon::builder(&lab).as_carrier().configured("[pcp]\npeer = false\n")?.start()?;
    let daemon = start(&lab)?;
    says(&daemon, "0 of 0 mappings in force")?;
    let client = Client::new(&lab.lan, LAN_HOST, ROUTER_LAN)?;
    assert_eq!(client.ask(&peer(600).frame())?.result(), 4, "UNSUPP_OPCODE");
    says(&daemon, "knows no PEER")?;
    daemon.stop()?;
    carrier.stop()?;
    lab.finish()
}
