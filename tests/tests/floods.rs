//! Floods from the LAN: the daemon stays within its limits, the NAT is unharmed, and a well-behaved client
//! is served.

use anyhow::{Context, Result, ensure};
use nat_tests::client::{
    Gateway, http,
    soap::{MAPPING, Mapping, envelope},
    ssdp,
};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, Lab, Namespace, UdpReflector, WAN_HOST, udp_seen_as,
};
use nat_tests::lease::udp_answers;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
/// What the daemon may hold in memory, whatever comes, bytes.
const RESIDENT: u64 = 64 << 20;
/// File descriptors: connections of clients, events, and the daemon's own.
const DESCRIPTORS: usize = 256 + 512 + 100;

/// A flooder of the LAN: its address.
const fn flooder(number: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(192, 168, 77, number), 0)
}

/// Connects from an address of the LAN host's; `None` when the daemon does not let it.
fn connect(lan: &Namespace, from: SocketAddrV4, server: SocketAddrV4) -> Result<Option<TcpStream>> {
    Ok(lan.tcp_connect_from(from, server, ANSWER_TIMEOUT)?.ok())
}

/// What the daemon has in memory, bytes, and how many files it has open.
fn usage(daemon: &Daemon<'_>) -> Result<(u64, usize)> {
    let status = daemon.status()?;
    let pid = status.get("pid").and_then(serde_json::Value::as_u64).context("no pid")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok((kilobytes << 10, std::fs::read_dir(format!("/proc/{pid}/fd"))?.count()))
}

/// Runs `flood`, by flooders 192.168.77.100 to 119; while what it has opened is held, a well-behaved client
/// must be served.
fn outlived<T>(flood: impl FnOnce(&Namespace, &Gateway<'_>) -> Result<T>) -> Result<()> {
    let lab = Lab::home()?;
    for number in 100..120 {
        let address = format!("192.168.77.{number}/24");
        lab.lan.ip(&["address", "add", &address, "dev", "eth0"])?;
    }
    let daemon = Daemon::start(&lab)?;
    let _servers = (
        UdpReflector::start(&lab.wan, &SERVER.to_string())?,
        UdpReflector::start(&lab.lan, "192.168.77.2:5600")?,
    );
    let outgoing = lab.lan.udp("192.168.77.2:0")?;
    let seen = udp_seen_as(&outgoing, SERVER)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let held = flood(&lab.lan, &gateway)?;

    let start = Instant::now();
    gateway.add(&MAPPING)?.success()?;
    ensure!(udp_answers(&lab.wan, SocketAddrV4::new(EXTERNAL, 6000))?);
    Gateway::discover(&lab.lan)?;
    assert_eq!(udp_seen_as(&outgoing, SERVER)?, seen, "the NAT goes on");
    let took = start.elapsed();
    ensure!(took < Duration::from_secs(8), "a client was served in {took:?}");
    let (resident, descriptors) = usage(&daemon)?;
    ensure!(resident < RESIDENT && descriptors < DESCRIPTORS, "{resident} B, {descriptors} files");
    drop(held);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn half_open_requests() -> Result<()> {
    outlived(|lan, gateway| {
        let mut held = Vec::new();
        for round in 0..100 {
            for number in 100..120 {
                if let Some(mut stream) = connect(lan, flooder(number), gateway.server)? {
                    let part =
                        ["", "GET / HT", "POST /igd2/control/WANIPConnection HTTP/1.1\r\nHo"];
                    // The daemon may have closed it already.
                    let _ = stream.write_all(part[round % 3].as_bytes());
                    held.push(stream);
                }
            }
        }
        ensure!(held.len() > 1_000, "{} connections", held.len());
        Ok(held)
    })
}

#[test]
fn giant_bodies_that_never_end() -> Result<()> {
    outlived(|lan, gateway| {
        let body = "x".repeat(1 << 20);
        let head = gateway.request("POST", &gateway.control, "text/xml", "AddPortMapping", "");
        let heads = [
            head.replace("Content-Length: 0", "Content-Length: 4000000"),
            head.replace("Content-Length: 0", "Content-Length: 99999999999"),
            head.replace("Content-Length: 0", "Transfer-Encoding: chunked") + "FFFFFFF\r\n",
        ];
        let mut held = Vec::new();
        for number in 100..116 {
            for head in &heads {
                let Some(mut stream) = connect(lan, flooder(number), gateway.server)? else {
                    continue;
                };
                stream.set_write_timeout(Some(Duration::from_millis(200)))?;
                // It is not read to its end, and closed some time.
                let _ = stream
                    .write_all(head.as_bytes())
                    .and_then(|()| stream.write_all(body.as_bytes()));
                held.push(stream);
            }
        }
        Ok(held)
    })
}

#[test]
fn requests_as_fast_as_they_are_answered() -> Result<()> {
    outlived(|lan, gateway| {
        let mut stream = connect(lan, flooder(100), gateway.server)?.context("no connection")?;
        for port in 0..3_000_u32 {
            let port = (10_000 + port).to_string();
            let mapping = Mapping { external_port: &port, client: "192.168.77.100", ..MAPPING };
            let body = envelope("AddPortMapping", &mapping.arguments());
            let request =
                gateway.request("POST", &gateway.control, "text/xml", "AddPortMapping", &body);
            stream.write_all(request.replace("Connection: close\r\n", "").as_bytes())?;
            let response = http::read_response(&mut stream)?;
            // Limits of mappings and of requests answer 500 and 503.
            ensure!(matches!(response.status, 200 | 500 | 503), "{response:?}");
        }
        Ok(stream)
    })
}

#[test]
fn searches_as_fast_as_they_can_be_sent() -> Result<()> {
    outlived(|lan, _| {
        for number in 100..120 {
            let socket = lan.udp(&flooder(number).to_string())?;
            let request = ssdp::request("ssdp:all").replace("MX: 1", "MX: 5");
            for _ in 0..500 {
                socket.send_to(request.as_bytes(), ssdp::GROUP)?;
            }
        }
        Ok(())
    })
}
