//! Clients that others have written: each discovers, adds, lists and deletes by itself, with traffic
//! through what it has opened.

use anyhow::{Context, Result, ensure};
use nat_tests::client::independent::{Client, Gupnp, async_upnp, libtorrent, npm, qbittorrent};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    EXTERNAL, Lab, OTHER_WAN_HOST, Process, TcpReflector, WAN_HOST, tcp_seen_as, wait_until,
};
use nat_tests::lease::{tcp_is_shut, tcp_opens};
use nix::sys::signal::Signal;
use std::fs;
use std::net::SocketAddrV4;
use std::time::Duration;

/// How long a client may take for a step.
const PATIENCE: Duration = Duration::from_secs(40);

/// How long a connection may take that nobody is to accept.
const SILENCE: Duration = Duration::from_secs(1);

/// The port that the BitTorrent clients open.
const PEER_PORT: u16 = 51_413;

/// What a watching GUPnP prints before the number of port mappings.
const NUMBER_OF_ENTRIES: &str = "event PortMappingNumberOfEntries ";

const fn external(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(EXTERNAL, port)
}

/// Whether a port mapping is there for this protocol and external port.
fn is_mapped(daemon: &Daemon<'_>, protocol: &str, port: u16) -> Result<bool> {
    let mappings = daemon.mappings()?;
    Ok(mappings.iter().any(|it| it["protocol"] == protocol && it["external_port"] == port))
}

/// Waits for an event of a watching GUPnP.
fn wait_for_event(watching: &Process, event: &str) -> Result<()> {
    watching.wait_for_line(PATIENCE, |line| line == event).map(drop)
}

/// A GUPnP of one version of the gateway.
fn gupnp_manages_a_mapping(version: &'static str) -> Result<()> {
    if !Client::Gupnp.lets_run() {
        return Ok(());
    }
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _server = TcpReflector::start(&lab.lan, "192.168.77.2:5600")?;
    let gupnp = Gupnp::new(&lab.lan, version);
    let found = gupnp.find()?;
    let connection = format!("WANIPConnection:{version}");
    for service in [&connection, "WANCommonInterfaceConfig:1", "Layer3Forwarding:1"] {
        let line = format!("service urn:schemas-upnp-org:service:{service}");
        ensure!(found.lines().any(|found| found == line), "no {service} in {found}");
    }
    let watching = gupnp.watch()?;
    wait_for_event(&watching, "event ConnectionStatus Connected")?;
    wait_for_event(&watching, "event ExternalIPAddress 11.22.33.1")?;
    wait_for_event(&watching, "event PortMappingNumberOfEntries 0")?;

    let entry = ["NewRemoteHost=", "NewExternalPort=6000", "NewProtocol=TCP"];
    let rest = [
        "NewInternalPort=5600",
        "NewInternalClient=192.168.77.2",
        "NewEnabled=1",
        "NewPortMappingDescription=a <game> & more",
        "NewLeaseDuration=3600",
    ];
    assert_eq!(gupnp.call("AddPortMapping", &[&entry[..], &rest].concat())?, "");
    wait_for_event(&watching, "event PortMappingNumberOfEntries 1")?;
    assert_eq!(*tcp_seen_as(&mut lab.wan.tcp_connect(external(6000))?)?.ip(), WAN_HOST);

    let listed = gupnp.call("GetGenericPortMappingEntry", &["NewPortMappingIndex=0"])?;
    for line in [
        "NewExternalPort 6000",
        "NewInternalClient 192.168.77.2",
        "NewPortMappingDescription a <game> & more",
    ] {
        ensure!(listed.lines().any(|listed| listed == line), "no {line} in {listed}");
    }
    let end = gupnp.call("GetGenericPortMappingEntry", &["NewPortMappingIndex=1"])?;
    ensure!(end.starts_with("error 713 "), "{end}");
    if version == "2" {
        let list = ["NewStartPort=1024", "NewEndPort=65535", "NewProtocol=TCP", "NewManage=0"];
        let list =
            gupnp.call("GetListOfPortMappings", &[&list[..], &["NewNumberOfPorts=0"]].concat())?;
        ensure!(list.contains("<p:NewExternalPort>6000<"), "{list}");
        watching.wait_for_line(PATIENCE, |line| line.starts_with("event SystemUpdateID "))?;
    }

    assert_eq!(gupnp.call("DeletePortMapping", &entry)?, "");
    wait_until("the event of the end", PATIENCE, || {
        let events = watching.printed();
        let counts = events.lines().filter_map(|l| l.strip_prefix(NUMBER_OF_ENTRIES));
        Ok(counts.collect::<Vec<_>>() == ["0", "1", "0"])
    })
    .with_context(|| watching.printed())?;
    ensure!(tcp_is_shut(&lab.wan, external(6000))?, "the deleted mapping is still open");
    let again = gupnp.call("DeletePortMapping", &entry)?;
    ensure!(again.starts_with("error 714 "), "{again}");
    ensure!(!watching.printed().contains("lost"), "{}", watching.printed());
    drop(watching);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn gupnp_sees_version_1_and_its_events() -> Result<()> {
    gupnp_manages_a_mapping("1")
}

#[test]
fn gupnp_sees_version_2_and_its_events() -> Result<()> {
    gupnp_manages_a_mapping("2")
}

#[test]
fn transmission_opens_its_port_by_itself() -> Result<()> {
    if !Client::Transmission.lets_run() {
        return Ok(());
    }
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let home = lab.directory().join("transmission");
    fs::create_dir(&home)?;
    let settings = serde_json::json!({
        "port-forwarding-enabled": true, "peer-port": PEER_PORT, "bind-address-ipv4": "0.0.0.0",
        "dht-enabled": false, "lpd-enabled": false, "pex-enabled": false, "rpc-enabled": false,
        "download-dir": home, "message-level": 3,
    });
    fs::write(home.join("settings.json"), settings.to_string())?;
    let mut command = lab.lan.command("transmission-daemon");
    command.args(["--foreground", "--log-debug", "--config-dir"]).arg(&home).env("HOME", &home);
    let transmission = Process::spawn(&mut command)?;
    let opened = wait_until("Transmission's port", PATIENCE, || {
        Ok(is_mapped(&daemon, "TCP", PEER_PORT)? && is_mapped(&daemon, "UDP", PEER_PORT)?)
    });
    opened.with_context(|| transmission.printed())?;
    ensure!(tcp_opens(&lab.wan, external(PEER_PORT))?, "{}", transmission.printed());
    transmission.signal(Signal::SIGTERM)?;
    let ended = transmission.finish(PATIENCE)?;
    ensure!(daemon.mappings()?.is_empty(), "mappings stay: {ended:?}");
    ensure!(tcp_is_shut(&lab.wan, external(PEER_PORT))?, "the port is still open");
    daemon.stop()?;
    lab.finish()
}

/// libtorrent is inside; what is told here to keep away from the network is only what would look for
/// peers or download something.
#[test]
fn qbittorrent_opens_its_port_by_itself() -> Result<()> {
    if !Client::Qbittorrent.lets_run() {
        return Ok(());
    }
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let qbittorrent = qbittorrent(&lab.lan, &lab.directory().join("qbittorrent"), PEER_PORT)?;
    let opened = wait_until("qBittorrent's port", PATIENCE, || {
        Ok(is_mapped(&daemon, "TCP", PEER_PORT)? && is_mapped(&daemon, "UDP", PEER_PORT)?)
    });
    opened.with_context(|| qbittorrent.printed())?;
    ensure!(tcp_opens(&lab.wan, external(PEER_PORT))?, "{}", qbittorrent.printed());
    qbittorrent.signal(Signal::SIGTERM)?;
    let ended = qbittorrent.finish(PATIENCE)?;
    ensure!(daemon.mappings()?.is_empty(), "mappings stay: {ended:?}");
    ensure!(tcp_is_shut(&lab.wan, external(PEER_PORT))?, "the port is still open");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn libtorrent_opens_its_port_and_a_file_goes_through_it() -> Result<()> {
    if !Client::Libtorrent.lets_run() {
        return Ok(());
    }
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let data: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(lab.directory().join("data"), &data)?;
    let folder = lab.directory().to_string_lossy();
    let port = PEER_PORT.to_string();
    let seed = libtorrent(&lab.lan, &["seed", &folder, &port])?;
    for protocol in ["TCP", "UDP"] {
        seed.wait_for_line(PATIENCE, |line| {
            line.starts_with(&format!("mapped {port} ")) && line.contains(protocol)
        })?;
        ensure!(is_mapped(&daemon, protocol, PEER_PORT)?, "{}", seed.printed());
    }
    let address = EXTERNAL.to_string();
    let fetch = libtorrent(&lab.wan, &["fetch", &folder, &address, &port])?;
    fetch.finish(PATIENCE)?.success()?;
    ensure!(fs::read(lab.directory().join("fetched/data"))? == data, "not what was sent");
    seed.signal(Signal::SIGTERM)?;
    let ended = seed.finish(PATIENCE)?;
    ensure!(daemon.mappings()?.is_empty(), "mappings stay: {ended:?}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn an_npm_client_of_version_1_adds_lists_and_deletes() -> Result<()> {
    if !Client::Npm.lets_run() {
        return Ok(());
    }
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _server = TcpReflector::start(&lab.lan, "192.168.77.2:6000")?;
    let ask = |verb| npm(&lab.lan, ["nat-upnp", verb, "6000"])?.finish(PATIENCE)?.success();
    assert_eq!(ask("add")?, "external 11.22.33.1\n");
    assert_eq!(*tcp_seen_as(&mut lab.wan.tcp_connect(external(6000))?)?.ip(), WAN_HOST);
    assert_eq!(ask("list")?, "mapping tcp 6000 192.168.77.2 nat-upnp\n");
    ask("delete")?;
    ensure!(tcp_is_shut(&lab.wan, external(6000))?, "the deleted mapping is still open");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn an_npm_client_of_version_2_opens_a_port_for_a_while() -> Result<()> {
    if !Client::Npm.lets_run() {
        return Ok(());
    }
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _server = TcpReflector::start(&lab.lan, "192.168.77.2:6000")?;
    let mapper = npm(&lab.lan, ["nat-port-mapper", "map", "6000"])?;
    mapper.wait_for_line(PATIENCE, |line| line == "external 11.22.33.1")?;
    mapper.wait_for_line(PATIENCE, |line| line == "mapped 6000")?;
    assert_eq!(*tcp_seen_as(&mut lab.wan.tcp_connect(external(6000))?)?.ip(), WAN_HOST);
    mapper.signal(Signal::SIGTERM)?;
    mapper.finish(PATIENCE)?.success()?;
    // It asks to delete a mapping of no protocol, which there is none of: the lease ends it.
    let mappings = daemon.mappings()?;
    ensure!(mappings.len() == 1 && mappings[0]["lease_left"].is_u64(), "{mappings:?}");
    daemon.stop()?;
    lab.finish()
}

/// async-upnp-client as a control point of one version of the gateway. Its profile always names a remote
/// host, so the mapping is for one.
fn async_upnp_client_manages_a_mapping(version: &str) -> Result<()> {
    if !Client::AsyncUpnp.lets_run() {
        return Ok(());
    }
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _server = TcpReflector::start(&lab.lan, "192.168.77.2:5600")?;
    let client = async_upnp(&lab.lan, [version, "6000", &WAN_HOST.to_string()])?;
    client.wait_for_line(PATIENCE, |line| line == "event PortMappingNumberOfEntries 1")?;
    client.wait_for_line(PATIENCE, |line| line == "added")?;
    assert_eq!(*tcp_seen_as(&mut lab.wan.tcp_connect(external(6000))?)?.ip(), WAN_HOST);
    let stranger = SocketAddrV4::new(OTHER_WAN_HOST, 4000);
    let stranger = lab.wan.tcp_connect_from(stranger, external(6000), SILENCE)?;
    ensure!(stranger.is_err(), "open for {OTHER_WAN_HOST} too");
    client.signal(Signal::SIGUSR1)?;
    let said = client.finish(PATIENCE)?.success()?;
    let device = format!("device urn:schemas-upnp-org:device:InternetGatewayDevice:{version}");
    for line in [
        &*device,
        "event ConnectionStatus Connected",
        "event ExternalIPAddress 11.22.33.1",
        "event PhysicalLinkStatus Up",
        "address 11.22.33.1",
        "status Connected",
        "link Up",
        "mapping 11.22.33.9 6000 TCP 192.168.77.2 5600 True async <upnp> & client",
        "end 713",
        "received True",
        "deleted",
    ] {
        ensure!(said.lines().any(|said| said == line), "no {line} in {said}");
    }
    let counts = said.lines().filter_map(|line| line.strip_prefix(NUMBER_OF_ENTRIES));
    assert_eq!(counts.collect::<Vec<_>>(), ["0", "1", "0"], "{said}");
    assert_eq!(said.contains("event SystemUpdateID"), version == "2", "{said}");
    ensure!(tcp_is_shut(&lab.wan, external(6000))?, "the deleted mapping is still open");
    assert_eq!(daemon.status()?.get("subscriptions"), Some(&0.into()));
    daemon.stop()?;
    lab.finish()
}

#[test]
fn async_upnp_client_sees_version_1_and_its_events() -> Result<()> {
    async_upnp_client_manages_a_mapping("1")
}

#[test]
fn async_upnp_client_sees_version_2_and_its_events() -> Result<()> {
    async_upnp_client_manages_a_mapping("2")
}
