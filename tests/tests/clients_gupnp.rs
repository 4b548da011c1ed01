//! What others have built on GUPnP: gupnp-tools, and gupnp-igd, which opens ports for programs of GNOME's.

use anyhow::{Context, Result, ensure};
use nat_tests::client::Gateway;
use nat_tests::client::independent::{Client, gupnp_tool, simple_igd};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{EXTERNAL, Lab, Process, TcpReflector, WAN_HOST, tcp_seen_as, wait_until};
use nat_tests::lease::tcp_is_shut;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::time::Duration;

/// How long a client may take for a step.
const PATIENCE: Duration = Duration::from_secs(40);

/// Seconds of a lease that is renewed while the test looks on.
const LEASE: &str = "4";

/// The texts of all elements of a name.
fn texts<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let tag = format!("<{name}>");
    let parts = xml.split(tag.as_str()).skip(1);
    parts.filter_map(|part| Some(part.split_once('<')?.0)).collect()
}

/// The unique service names of a description: those of its devices and of the services in each.
fn names_of(description: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (index, device) in description.split("<deviceType>").skip(1).enumerate() {
        let kind = device.split_once('<').map_or("", |(kind, _)| kind);
        for udn in texts(device, "UDN") {
            names.insert(udn.to_owned());
            let kinds = texts(device, "serviceType").into_iter().chain([kind]);
            names.extend(kinds.map(|kind| format!("{udn}::{kind}")));
            names.extend((index == 0).then(|| format!("{udn}::upnp:rootdevice")));
        }
    }
    names
}

/// The names that gssdp-discover has printed under this heading.
fn printed_names(discover: &Process, heading: &str) -> BTreeSet<String> {
    let (mut names, mut under) = (BTreeSet::new(), false);
    for line in discover.printed().lines() {
        match line.trim().strip_prefix("USN:") {
            Some(name) if under => drop(names.insert(name.trim().to_owned())),
            Some(_) => {}
            None if line.starts_with("resource ") => under = line == heading,
            None => {}
        }
    }
    names
}

/// With `gupnp-event-dumper`, `gssdp-discover` is all of gupnp-tools that a gateway can be tried with on
/// a machine without a display: gupnp-universal-cp, which can call actions, is a window, and the others
/// are about media and lamps.
#[test]
fn gssdp_discover_sees_both_trees_come_and_go() -> Result<()> {
    if !Client::GupnpTools.lets_run() {
        return Ok(());
    }
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let mut held = BTreeSet::new();
    for path in ["/igd1/rootDesc.xml", "/igd2/rootDesc.xml"] {
        held.append(&mut names_of(&gateway.get(path)?.body));
    }
    assert_eq!(held.len(), 20, "{held:?}");
    let arguments = ["--interface=eth0", "--target=ssdp:all", "--message-type=all"];
    let discover = gupnp_tool(&lab.lan, "gssdp-discover", &arguments)?;
    let seen = |heading| printed_names(&discover, heading);
    wait_until("everything held", PATIENCE, || Ok(seen("resource available") == held))
        .with_context(|| format!("{}\nheld: {held:?}", discover.printed()))?;
    ensure!(seen("resource unavailable").is_empty(), "{}", discover.printed());
    daemon.stop()?;
    wait_until("everything gone", PATIENCE, || Ok(seen("resource unavailable") == held))
        .with_context(|| discover.printed())?;
    drop(discover);
    lab.finish()
}

/// It subscribes to the services of root devices only: here that is Layer3Forwarding, in both trees.
#[test]
fn gupnp_event_dumper_is_told_what_the_root_devices_have_to_tell() -> Result<()> {
    if !Client::GupnpTools.lets_run() {
        return Ok(());
    }
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let dumper = gupnp_tool(&lab.lan, "gupnp-event-dumper", &[])?;
    for version in [1, 2] {
        let description = gateway.get(&format!("/igd{version}/rootDesc.xml"))?.body;
        let udns = texts(&description, "UDN");
        let (root, connection) = (udns.first().context("no root")?, udns.last().context("none")?);
        let place =
            format!("{connection}:WANConnectionDevice:{version},urn:upnp-org:serviceId:WANIPConn1");
        // Before it comes the time.
        let event = format!(
            "|{root}|urn:upnp-org:serviceId:L3Forwarding1|DefaultConnectionService|{place}"
        );
        dumper
            .wait_for_line(PATIENCE, |line| line.ends_with(&event))
            .with_context(|| event.clone())?;
    }
    drop(dumper);
    daemon.stop()?;
    lab.finish()
}

/// How often AddPortMapping has been carried out, in all.
fn adds(daemon: &Daemon<'_>) -> Result<u32> {
    let metrics = daemon.command(&["metrics"])?.success()?;
    let labels =
        "igd_requests_total{service=\"WANIPConnection\",action=\"AddPortMapping\",code=\"0\"} ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(labels)?.split('.').next());
    Ok(count.unwrap_or("0").parse()?)
}

/// It takes a gateway of version 2 for one of version 1 too, so it asks both trees, and both are asked to
/// delete: one of them finds nothing more.
#[test]
fn gupnp_igd_maps_a_port_renews_it_and_deletes_it() -> Result<()> {
    if !Client::GupnpIgd.lets_run() {
        return Ok(());
    }
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _server = TcpReflector::start(&lab.lan, "192.168.77.2:5600")?;
    let igd = simple_igd(&lab.lan, ["TCP", "6000", "192.168.77.2", "5600", LEASE])?;
    let external = SocketAddrV4::new(EXTERNAL, 6000);
    wait_until("the mapping", PATIENCE, || Ok(adds(&daemon)? >= 2))
        .with_context(|| igd.printed())?;
    assert_eq!(*tcp_seen_as(&mut lab.wan.tcp_connect(external)?)?.ip(), WAN_HOST);
    // Each renewal comes at half of the lease: two of them are as long as it.
    wait_until("two renewals", PATIENCE, || Ok(adds(&daemon)? >= 6))
        .with_context(|| igd.printed())?;
    assert_eq!(*tcp_seen_as(&mut lab.wan.tcp_connect(external)?)?.ip(), WAN_HOST);
    let mappings = daemon.mappings()?;
    assert_eq!(mappings.len(), 1, "{mappings:?}");
    assert_eq!(mappings[0]["description"], "gupnp-igd");
    ensure!(!igd.printed().contains("error"), "{}", igd.printed());
    igd.signal(Signal::SIGUSR1)?;
    wait_until("the end", PATIENCE, || Ok(daemon.mappings()?.is_empty()))?;
    ensure!(tcp_is_shut(&lab.wan, external)?, "the deleted mapping is still open");
    drop(igd);
    daemon.stop()?;
    lab.finish()
}
