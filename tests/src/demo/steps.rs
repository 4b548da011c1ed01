//! The steps of the demonstration: each does something and fails unless it sees what it should.

use super::report::Report;
use crate::client::{Upnpc, description_url};
use crate::daemon::Daemon;
use crate::lab::{
    EXTERNAL, LAN_HOST, Lab, Process, ROUTER_LAN, TcpReflector, UdpReflector, WAN_HOST,
    tcp_seen_as, udp_seen_as,
};
use crate::lease::{tcp_opens, udp_answers, udp_is_silent, watch_udp_close};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::net::{SocketAddrV4, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// TCP: port of the HTTP server, outside and inside.
const HTTP: u16 = 8080;
/// UDP: external port of the mapping, and the internal one.
const BOUNCE: (u16, u16) = (6000, 5600);
/// UDP: the mapping whose lease runs out.
const SHORT: (u16, u16) = (6001, 5601);
/// The lease that runs out.
const SHORT_LEASE: Duration = Duration::from_secs(4);
/// A server in the WAN.
const WAN_SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);

fn external(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(EXTERNAL, port)
}

fn internal(port: u16) -> String {
    format!("{LAN_HOST}:{port}")
}

pub(super) fn show_lab(report: &mut Report, lab: &Lab) -> Result<()> {
    let router = format!("{ROUTER_LAN} on lan0, {EXTERNAL} on wan0");
    let wan = format!("{WAN_HOST}, with no route to the LAN");
    for (role, address, namespace) in [
        ("LAN host", LAN_HOST.to_string(), &lab.lan),
        ("router", router, &lab.router),
        ("WAN host", wan, &lab.wan),
    ] {
        report.seen(&format!("{role:8}  {address:40}  {}", namespace.name()))?;
    }
    Ok(())
}

pub(super) fn show_daemon(report: &mut Report, daemon: &Daemon<'_>) -> Result<()> {
    report.seen("it says ready, and this is its status (igd-control status):")?;
    report.seen(&daemon.table("status")?)?;
    let status = daemon.status()?;
    let address = status.get("external_address").and_then(|value| value.as_str());
    ensure!(address == Some(&EXTERNAL.to_string()), "its external address is {address:?}");
    Ok(())
}

pub(super) fn discover<'lab>(report: &mut Report, lab: &'lab Lab) -> Result<Upnpc<'lab>> {
    let printed = Upnpc::searching(&lab.lan).run(&["-s"])?;
    let told = ["desc:", "Found ", "Connection Type", "Status", "ExternalIPAddress"];
    show_lines(report, &printed, &told)?;
    expect(&printed, &format!("ExternalIPAddress = {EXTERNAL}"))?;
    expect(&printed, "Status : Connected")?;
    let url = description_url(&printed).context("upnpc tells no description URL")?;
    Ok(Upnpc::at(&lab.lan, url))
}

pub(super) fn add_mappings(report: &mut Report, upnpc: &Upnpc<'_>) -> Result<()> {
    for (protocol, ports) in [("TCP", (HTTP, HTTP)), ("UDP", BOUNCE)] {
        let printed = add(upnpc, ports, protocol, Duration::from_secs(3600))?;
        show_lines(report, &printed, &["is redirected"])?;
    }
    Ok(())
}

pub(super) fn list_mappings(report: &mut Report, upnpc: &Upnpc<'_>) -> Result<()> {
    let printed = upnpc.run(&["-l"])?;
    show_lines(report, &printed, &[" i protocol", "->"])?;
    expect(&printed, &format!("TCP  {HTTP}->{}", internal(HTTP)))?;
    expect(&printed, &format!("UDP  {}->{}", BOUNCE.0, internal(BOUNCE.1)))
}

pub(super) fn fetch_page(report: &mut Report, lab: &Lab) -> Result<()> {
    let directory = lab.directory().join("www");
    fs::create_dir_all(&directory)?;
    let page = "Hello from behind the NAT!\n";
    fs::write(directory.join("index.html"), page)?;
    let mut command = lab.lan.command("python3");
    command.args(["-u", "-m", "http.server", &HTTP.to_string(), "--bind", &LAN_HOST.to_string()]);
    let server = Process::spawn(command.arg("--directory").arg(&directory))?;
    let serving =
        server.wait_for_line(Duration::from_secs(20), |line| line.starts_with("Serving HTTP"))?;
    report.seen(&format!("LAN: {serving}"))?;

    let url = format!("http://{}/", external(HTTP));
    let fetched = lab.wan.run("curl", &["--silent", "--show-error", "--max-time", "10", &url])?;
    ensure!(fetched == page, "curl {url} fetched something else: {fetched}");
    report.seen(&format!("WAN: curl {url}\n     {fetched}"))?;
    let request =
        server.wait_for_line(Duration::from_secs(5), |line| line.contains("GET / HTTP"))?;
    report.seen(&format!("LAN: {request}"))?;
    ensure!(request.contains(&WAN_HOST.to_string()), "the server saw another client");
    Ok(())
}

pub(super) fn bounce_udp(report: &mut Report, lab: &Lab) -> Result<()> {
    let _server = UdpReflector::start(&lab.lan, &internal(BOUNCE.1))?;
    let client = lab.wan.udp(&format!("{WAN_HOST}:0"))?;
    let seen = udp_seen_as(&client, external(BOUNCE.0))?;
    ensure!(seen == client_address(&client)?, "the LAN host saw the client as {seen}");
    report.seen(&format!(
        "{seen} > {} > {}, and back again unchanged",
        external(BOUNCE.0),
        internal(BOUNCE.1)
    ))
}

/// What is kept open until the sessions have been shown.
pub(super) struct Outgoing {
    _tcp: TcpStream,
    _udp: UdpSocket,
    _servers: (TcpReflector, UdpReflector),
}

pub(super) fn connect_out(report: &mut Report, lab: &Lab) -> Result<Outgoing> {
    let address = WAN_SERVER.to_string();
    let servers =
        (TcpReflector::start(&lab.wan, &address)?, UdpReflector::start(&lab.wan, &address)?);
    let mut tcp = lab.lan.tcp_connect(WAN_SERVER)?;
    let seen = tcp_seen_as(&mut tcp)?;
    ensure!(*seen.ip() == EXTERNAL, "TCP: the WAN host saw {seen}");
    report.seen(&format!("TCP   {} is seen by {WAN_SERVER} as {seen}", tcp.local_addr()?))?;

    let udp = lab.lan.udp(&internal(0))?;
    let seen = udp_seen_as(&udp, WAN_SERVER)?;
    ensure!(*seen.ip() == EXTERNAL, "UDP: the WAN host saw {seen}");
    report.seen(&format!("UDP   {} is seen by {WAN_SERVER} as {seen}", udp.local_addr()?))?;

    let ping = ["-n", "-c", "3", "-i", "0.2", "-W", "3", &WAN_HOST.to_string()];
    let printed = lab.lan.run("ping", &ping)?;
    show_lines(report, &printed, &["packets transmitted", "rtt "])?;
    expect(&printed, " 0% packet loss")?;
    Ok(Outgoing { _tcp: tcp, _udp: udp, _servers: servers })
}

pub(super) fn let_lease_expire(report: &mut Report, lab: &Lab, upnpc: &Upnpc<'_>) -> Result<()> {
    let _server = UdpReflector::start(&lab.lan, &internal(SHORT.1))?;
    let asked = Instant::now();
    let printed = add(upnpc, SHORT, "UDP", SHORT_LEASE)?;
    let answered = Instant::now();
    show_lines(report, &printed, &["is redirected"])?;
    report.seen("probing it from the WAN, each time from another source port ...")?;
    let closing = watch_udp_close(&lab.wan, external(SHORT.0), SHORT_LEASE * 3)?;
    let since_asked = |at: Instant| at.duration_since(asked).as_secs_f64();
    let earliest = SHORT_LEASE.as_secs_f64();
    let latest = since_asked(answered + SHORT_LEASE);
    report.seen(&format!(
        "the lease ends {earliest:.2} to {latest:.2} s after upnpc was started;\n\
         the last probe that got through was sent after {:.2} s, the first that did not after {:.2} s",
        since_asked(closing.last_open),
        since_asked(closing.first_closed)
    ))?;
    ensure!(since_asked(closing.first_closed) >= earliest, "the port closed before its time");
    ensure!(since_asked(closing.last_open) <= latest + 1.0, "the port stayed open too long");
    Ok(())
}

pub(super) fn delete_mapping(report: &mut Report, lab: &Lab, upnpc: &Upnpc<'_>) -> Result<()> {
    let _server = UdpReflector::start(&lab.lan, &internal(BOUNCE.1))?;
    let port = external(BOUNCE.0);
    ensure!(udp_answers(&lab.wan, port)?, "{port} is closed already");
    report.seen(&format!("before: {port} (UDP) answers"))?;
    let printed = upnpc.run(&["-d", &BOUNCE.0.to_string(), "UDP"])?;
    show_lines(report, &printed, &["returned"])?;
    ensure!(udp_is_silent(&lab.wan, port)?, "{port} is still open");
    report.seen(&format!("after:  {port} (UDP) is silent"))?;
    let other = external(HTTP);
    let _http = lab.lan.tcp_listener(&internal(HTTP))?;
    ensure!(tcp_opens(&lab.wan, other)?, "{other} has been closed, too");
    report.seen(&format!("        {other} (TCP) is still open"))
}

fn add(
    upnpc: &Upnpc<'_>,
    (outside, inside): (u16, u16),
    protocol: &str,
    lease: Duration,
) -> Result<String> {
    let host = LAN_HOST.to_string();
    let (outside, inside) = (outside.to_string(), inside.to_string());
    let lease = lease.as_secs().to_string();
    let printed = upnpc.run(&["-a", &host, &inside, &outside, protocol, &lease])?;
    expect(&printed, &format!("external {EXTERNAL}:{outside} {protocol} is redirected"))?;
    Ok(printed)
}

fn client_address(socket: &UdpSocket) -> Result<SocketAddrV4> {
    match socket.local_addr()? {
        std::net::SocketAddr::V4(address) => Ok(address),
        other => anyhow::bail!("not IPv4: {other}"),
    }
}

pub(super) fn expect(printed: &str, wanted: &str) -> Result<()> {
    ensure!(printed.contains(wanted), "it does not say `{wanted}`:\n{printed}");
    Ok(())
}

/// Shows the lines that hold one of `told`.
pub(super) fn show_lines(report: &Report, printed: &str, told: &[&str]) -> Result<()> {
    for line in printed.lines().filter(|line| told.iter().any(|told| line.contains(told))) {
        report.seen(line.trim_start())?;
    }
    Ok(())
}
