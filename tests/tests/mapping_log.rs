//! The log of mappings (RFC 6888 REQ-12, RFC 8158): who had which external port, and when.

use anyhow::{Context, Result};
use nat_tests::client::{
    Gateway,
    soap::{MAPPING, Mapping},
};
use nat_tests::daemon::{Daemon, DaemonBuilder};
use nat_tests::lab::{
    Lab, TcpReflector, UdpReflector, WAN_HOST, tcp_seen_as, udp_seen_as, wait_until,
};
use serde_json::Value;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
const TIMEOUT: Duration = Duration::from_secs(20);
const BEGIN: u64 = 8;
const END: u64 = 9;

/// A daemon that logs to the file that is told.
fn logging<'lab>(lab: &'lab Lab) -> Result<(DaemonBuilder<'lab>, PathBuf)> {
    let log = lab.directory().join("mappings.log");
    let config = format!("[nat]\nmapping-log = {:?}\n", log.display().to_string());
    Ok((Daemon::builder(lab).configured(&config)?, log))
}

/// What is logged of a protocol and an event: internal and external endpoints.
fn logged(log: &Path, protocol: u64, event: u64) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(log)?;
    let mut found = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let field = |name: &str| line.get(name).cloned().with_context(|| format!("{name} {line}"));
        let number = |name: &str| field(name)?.as_u64().with_context(|| name.to_owned());
        let text = |name: &str| Ok(field(name)?.as_str().context("no text")?.to_owned());
        let of = |address: Result<String>, port: Result<u64>| {
            anyhow::Ok(format!("{}:{}", address?, port?))
        };
        let clock = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let age = clock.saturating_sub(number("observationTimeMilliseconds")?);
        assert!(age < 120_000, "{age} ms old: {line}");
        if number("protocolIdentifier")? == protocol && number("natEvent")? == event {
            found.push((
                of(text("sourceIPv4Address"), number("sourceTransportPort"))?,
                of(text("postNATSourceIPv4Address"), number("postNAPTSourceTransportPort"))?,
            ));
        }
    }
    Ok(found)
}

/// Waits until exactly this is logged.
fn wait_for(log: &Path, protocol: u64, event: u64, expected: &[(String, String)]) -> Result<()> {
    let what = format!("event {event} of protocol {protocol}, {expected:?}");
    wait_until(&what, TIMEOUT, || Ok(logged(log, protocol, event)? == expected))
}

#[test]
fn every_mapping_is_logged_once_when_it_begins_and_when_it_ends() -> Result<()> {
    let lab = Lab::home()?;
    let (daemon, log) = logging(&lab)?;
    let daemon = daemon.start()?;
    let server = SERVER.to_string();
    let _servers =
        (UdpReflector::start(&lab.wan, &server)?, TcpReflector::start(&lab.wan, &server)?);

    let mut expected = Vec::new();
    for _ in 0..3 {
        let socket = lab.lan.udp("192.168.77.2:0")?;
        let seen = udp_seen_as(&socket, SERVER)?;
        udp_seen_as(&socket, SERVER)?;
        expected.push((socket.local_addr()?.to_string(), seen.to_string()));
        wait_for(&log, 17, BEGIN, &expected)?;
    }
    let mut stream = lab.lan.tcp_connect(SERVER)?;
    let seen = tcp_seen_as(&mut stream)?;
    wait_for(&log, 6, BEGIN, &[(stream.local_addr()?.to_string(), seen.to_string())])?;
    lab.lan.run("ping", &["-n", "-c", "1", "-W", "3", "11.22.33.9"])?;
    wait_until("a ping in the log", TIMEOUT, || Ok(logged(&log, 1, BEGIN)?.len() == 1))?;

    // A port forward, which ends when it is deleted.
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&MAPPING)?.success()?;
    let forward = ("192.168.77.2:5600".to_owned(), "11.22.33.1:6000".to_owned());
    expected.push(forward.clone());
    wait_for(&log, 17, BEGIN, &expected)?;
    let named = [("NewRemoteHost", ""), ("NewExternalPort", "6000"), ("NewProtocol", "UDP")];
    gateway.call("DeletePortMapping", &named)?.success()?;
    wait_for(&log, 17, END, std::slice::from_ref(&forward))?;

    // And one whose lease runs out.
    gateway.add(&Mapping { lease: "1", ..MAPPING })?.success()?;
    wait_for(&log, 17, END, &[forward.clone(), forward])?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_new_daemon_logs_what_it_finds() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let _server = UdpReflector::start(&lab.wan, &SERVER.to_string())?;
    let (daemon, log) = logging(&lab)?;
    let daemon = daemon.pinned(&bpffs).start()?;
    daemon.kill()?;
    // Nobody hears of this one.
    let socket = lab.lan.udp("192.168.77.2:0")?;
    let mapping = (socket.local_addr()?.to_string(), udp_seen_as(&socket, SERVER)?.to_string());
    assert_eq!(logged(&log, 17, BEGIN)?, []);
    let (daemon, _) = logging(&lab)?;
    let daemon = daemon.pinned(&bpffs).start()?;
    wait_for(&log, 17, BEGIN, &[mapping])?;
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn a_log_that_cannot_be_written_stops_the_start() -> Result<()> {
    let lab = Lab::home()?;
    let (daemon, log) = logging(&lab)?;
    std::fs::create_dir(&log)?;
    let error = daemon.start().err().context("it has started")?;
    assert!(format!("{error:#}").contains("nat.mapping-log"), "{error:#}");
    lab.finish()
}
