//! ICMP errors about translated packets reach whom they concern, with the addresses that he knows.

use anyhow::{Context, Result};
use nat_tests::client::{Gateway, soap::MAPPING};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{EXTERNAL, FAR_HOST, Lab, WAN_HOST};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, UdpSocket};

const UNUSED: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7999);

/// Sends to a port where nobody listens; the error that the socket is told.
fn refusal(socket: &UdpSocket, remote: SocketAddrV4) -> Result<ErrorKind> {
    socket.connect(remote)?;
    socket.send(b"anybody?")?;
    let error = socket.recv(&mut [0; 16]).err().context("something was received")?;
    Ok(error.kind())
}

#[test]
fn a_closed_port_on_the_wan_is_reported_to_the_internal_client() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let socket = lab.lan.udp("0.0.0.0:0")?;
    assert_eq!(refusal(&socket, UNUSED)?, ErrorKind::ConnectionRefused);
    assert_eq!(daemon.counter("icmp_errors")?, 1);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_closed_port_behind_a_forward_is_reported_with_the_external_address() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    let socket = lab.wan.udp("11.22.33.9:0")?;
    let forwarded = SocketAddrV4::new(EXTERNAL, 6000);
    assert_eq!(refusal(&socket, forwarded)?, ErrorKind::ConnectionRefused);
    assert_eq!(daemon.counter("icmp_errors")?, 1);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn traceroute_shows_the_router_and_the_hops_beyond() -> Result<()> {
    let lab = Lab::builder().far_host(1500).build()?;
    let daemon = Daemon::start(&lab)?;
    let far = FAR_HOST.to_string();
    for method in ["-U", "-I", "-T"] {
        let printed = lab.lan.run("traceroute", &["-n", "-q1", "-m5", method, &far])?;
        let hops: Vec<_> =
            printed.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(hops, ["192.168.77.1", "11.22.33.9", &far], "{method}: {printed}");
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_tcp_transfer_gets_past_a_hop_with_a_smaller_mtu() -> Result<()> {
    const BYTES: usize = 262_144;
    let lab = Lab::builder().far_host(1280).build()?;
    let daemon = Daemon::start(&lab)?;
    let server = SocketAddrV4::new(FAR_HOST, 7000);
    let listener = lab.far()?.tcp_listener(&server.to_string())?;
    std::thread::scope(|scope| -> Result<()> {
        let receiver = scope.spawn(|| -> Result<usize> {
            let (mut stream, _) = listener.accept()?;
            let mut all = Vec::new();
            Ok(stream.read_to_end(&mut all)?)
        });
        let mut stream = lab.lan.tcp_connect(server)?;
        stream.write_all(&vec![b'x'; BYTES])?;
        drop(stream);
        let received = receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))??;
        assert_eq!(received, BYTES);
        Ok(())
    })?;
    assert!(daemon.counter("icmp_errors")? >= 1, "fragmentation needed was not translated");
    let route = lab.lan.ip(&["route", "get", &FAR_HOST.to_string()])?;
    assert!(route.contains("mtu 1280"), "{route}");
    daemon.stop()?;
    lab.finish()
}
