//! Frames of up to 9,000 bytes, which drivers keep in several buffers.

use anyhow::{Context, Result, anyhow, ensure};
use nat_common::Counter;
use nat_tests::client::{Gateway, soap::MAPPING};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    EXTERNAL, Lab, WAN_HOST, may_be_fragmented,
    packet::{Packet, protocol},
};
use nat_tests::ledger::Ledger;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
const FORWARDED: SocketAddrV4 = SocketAddrV4::new(EXTERNAL, 6000);
const JUMBO: u16 = 9_000;
const USUAL: u16 = 1_500;

/// Of payloads: around the usual MTU, around the length of a page and what of one is a buffer, and the
/// largest that fits.
const LENGTHS: [usize; 12] =
    [1, 1_472, 1_473, 3_000, 3_519, 3_520, 3_521, 4_068, 4_096, 7_000, 8_971, 8_972];
const LARGEST: usize = 8_972;

const TRANSFER: usize = 2 << 20;
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(20);

fn lab(lan: u16, wan: u16) -> Result<Lab> {
    let lab = Lab::home()?;
    for (namespace, interface, mtu) in [
        (&lab.router, "lan0", lan),
        (&lab.lan, "eth0", lan),
        (&lab.router, "wan0", wan),
        (&lab.wan, "eth0", wan),
    ] {
        namespace.ip(&["link", "set", "dev", interface, "mtu", &mtu.to_string()])?;
    }
    Ok(lab)
}

fn start<'lab>(lab: &'lab Lab, mode: &str) -> Result<Daemon<'lab>> {
    Daemon::builder(lab).configured(&format!("[interfaces]\nxdp-mode = \"{mode}\"\n"))?.start()
}

/// Bytes of which no two places nearby are alike.
fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ length) as u8).collect()
}

/// Sends a datagram, and returns from whom it was received, unchanged.
fn send(from: &UdpSocket, to: SocketAddr, at: &UdpSocket, length: usize) -> Result<SocketAddr> {
    let what = || format!("{length} bytes to {to}");
    from.send_to(&text(length), to).with_context(what)?;
    let mut buffer = vec![0; 2 * LARGEST];
    let (received, sender) = at.recv_from(&mut buffer).with_context(what)?;
    ensure!(buffer.get(..received) == Some(&text(length)), "{} were changed", what());
    Ok(sender)
}

/// Datagrams of all lengths from `client` to `server` by the name `to`, and back, none in fragments.
fn exchange(client: &UdpSocket, to: SocketAddrV4, server: &UdpSocket) -> Result<()> {
    for socket in [client, server] {
        may_be_fragmented(socket, false)?;
    }
    for length in LENGTHS {
        let seen = send(client, to.into(), server, length)?;
        let answered = send(server, seen, client, length)?;
        ensure!(answered == to.into(), "the answer came from {answered}");
    }
    Ok(())
}

/// A transfer to the server and back again.
fn transfer(mut client: TcpStream, listener: &TcpListener) -> Result<()> {
    let sent = text(TRANSFER);
    client.set_read_timeout(Some(TRANSFER_TIMEOUT))?;
    client.set_write_timeout(Some(TRANSFER_TIMEOUT))?;
    std::thread::scope(|scope| {
        let server = scope.spawn(|| -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(TRANSFER_TIMEOUT))?;
            let mut all = vec![0; TRANSFER];
            stream.read_exact(&mut all)?;
            ensure!(all == text(TRANSFER), "changed on the way to the server");
            Ok(stream.write_all(&all)?)
        });
        client.write_all(&sent)?;
        let mut all = vec![0; TRANSFER];
        client.read_exact(&mut all)?;
        ensure!(all == sent, "changed on the way back");
        server.join().map_err(|_| anyhow!("the server panicked"))?
    })
}

fn crosses(mode: &str) -> Result<()> {
    let lab = lab(JUMBO, JUMBO)?;
    let daemon = start(&lab, mode)?;
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&MAPPING)?.success()?;
    gateway.add(&nat_tests::client::soap::Mapping { protocol: "TCP", ..MAPPING })?.success()?;
    let ledger = Ledger::open(&lab, &daemon)?;

    let (client, server) = (lab.lan.udp("0.0.0.0:0")?, lab.wan.udp(&SERVER.to_string())?);
    // The first goes through the kernel, which asks for the MAC address.
    lab.router.ip(&["neighbour", "flush", "all"])?;
    may_be_fragmented(&client, false)?;
    send(&client, SERVER.into(), &server, LARGEST)?;
    exchange(&client, SERVER, &server)?;
    let (inside, caller) = (lab.lan.udp("192.168.77.2:5600")?, lab.wan.udp("11.22.33.9:4444")?);
    exchange(&caller, FORWARDED, &inside)?;
    // A client of the LAN calls another by the external address.
    exchange(&client, FORWARDED, &inside)?;

    let listener = lab.wan.tcp_listener(&SERVER.to_string())?;
    transfer(lab.lan.tcp_connect(SERVER)?, &listener)?;
    let listener = lab.lan.tcp_listener("192.168.77.2:5600")?;
    transfer(lab.wan.tcp_connect(FORWARDED)?, &listener)?;

    let large = |packet: &Packet, kind| packet.protocol == kind && packet.payload.len() > 8_900;
    for (kind, least) in [(protocol::UDP, 4), (protocol::TCP, 20)] {
        for outwards in [true, false] {
            let seen = lab.on_wan().packets(|packet| {
                let own = if outwards { packet.source } else { packet.destination };
                large(packet, kind) && own == EXTERNAL
            });
            ensure!(seen.len() >= least, "{} of protocol {kind}", seen.len());
        }
    }
    let balance = ledger.close(&lab, &daemon)?;
    eprintln!("{balance:?}");
    ensure!(balance.dropped() == 0 && balance.of(Counter::HairpinPackets) >= 24, "{balance:?}");
    ensure!(balance.of(Counter::SlowNeighbour) >= 1, "{balance:?}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn frames_of_several_buffers_cross_natively() -> Result<()> {
    crosses("native")
}

#[test]
fn frames_of_several_buffers_cross_in_generic_mode() -> Result<()> {
    crosses("generic")
}

/// Sends `length` bytes that must not be fragmented on a way that is too narrow for them, and waits for
/// the error that says so.
fn is_reported(socket: &UdpSocket, to: SocketAddr, length: usize) -> Result<()> {
    may_be_fragmented(socket, false)?;
    socket.connect(to)?;
    socket.send(&text(length))?;
    let error = socket.recv(&mut [0; 16]).err().context("something was received")?;
    ensure!(error.raw_os_error() == Some(libc::EMSGSIZE), "{error}");
    Ok(())
}

/// From the side with the large MTU to the other: in fragments, or not at all.
fn narrows(lan: u16, wan: u16, mode: &str) -> Result<()> {
    let lab = lab(lan, wan)?;
    let daemon = start(&lab, mode)?;
    let (client, server) = (lab.lan.udp("0.0.0.0:0")?, lab.wan.udp(&SERVER.to_string())?);
    for socket in [&client, &server] {
        may_be_fragmented(socket, true)?;
    }
    for length in LENGTHS {
        let seen = send(&client, SERVER.into(), &server, length)?;
        ensure!(seen.ip() == EXTERNAL, "{seen}");
        send(&server, seen, &client, length)?;
    }
    let seen = send(&client, SERVER.into(), &server, 1)?;
    if lan > wan {
        is_reported(&client, SERVER.into(), LARGEST)?;
    } else {
        is_reported(&server, seen, LARGEST)?;
    }
    for reason in ["drop_leak", "drop_malformed", "drop_internal", "drop_fragment"] {
        assert_eq!(daemon.counter(reason)?, 0, "{reason}");
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn jumbo_packets_of_the_lan_are_fragmented_or_reported_where_the_wan_has_none() -> Result<()> {
    narrows(JUMBO, USUAL, "native")
}

#[test]
fn jumbo_packets_of_the_wan_are_fragmented_or_reported_where_the_lan_has_none() -> Result<()> {
    narrows(USUAL, JUMBO, "native")
}

#[test]
fn jumbo_packets_are_fragmented_or_reported_in_generic_mode_too() -> Result<()> {
    narrows(JUMBO, USUAL, "generic")
}
