//! Packets in fragments, sent by the kernel in order and by hand in any order.

use anyhow::{Context, Result, ensure};
use nat_ebpf::host::packet::{Body, Packet};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, LAN_HOST, Lab, Namespace, SECOND_LAN_HOST, WAN_HOST, wait_until,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
/// Larger than two packets of the lab's links.
const LARGE: usize = 4_000;

fn large(seed: u8) -> Vec<u8> {
    (0..LARGE).map(|number| (number % 251) as u8 ^ seed).collect()
}

/// Sends a large datagram to the WAN and back; tells the client's endpoint as the server sees it.
fn there_and_back(client: &UdpSocket, server: &UdpSocket) -> Result<std::net::SocketAddr> {
    let mut buffer = vec![0; 2 * LARGE];
    client.send_to(&large(1), SERVER)?;
    let (len, seen) = server.recv_from(&mut buffer)?;
    ensure!(buffer.get(..len) == Some(&large(1)), "the datagram was changed on its way out");
    server.send_to(&large(2), seen)?;
    let len = client.recv(&mut buffer)?;
    ensure!(buffer.get(..len) == Some(&large(2)), "the datagram was changed on its way in");
    Ok(seen)
}

/// Sends IP packets as they are.
fn send_raw(from: &Namespace, packets: &[Packet]) -> Result<()> {
    from.enter(|| -> Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?;
        socket.set_header_included_v4(true)?;
        for packet in packets {
            let bytes = packet.to_bytes();
            let ip = bytes.get(14..).context("no frame")?;
            socket.send_to(ip, &SocketAddrV4::new(packet.dst, 0).into())?;
        }
        Ok(())
    })?
}

/// A UDP packet in three fragments.
fn pieces(src: SocketAddrV4, dst: SocketAddrV4, id: u16, text: &[u8]) -> Vec<Packet> {
    let mut packet = Packet::udp((*src.ip(), src.port()), (*dst.ip(), dst.port()));
    packet.id = id;
    if let Body::Udp { payload, .. } = &mut packet.body {
        *payload = text.to_vec();
    }
    packet.fragments(&[512, 1024])
}

#[test]
fn large_datagrams_and_pings_cross_in_fragments() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let (client, server) = (lab.lan.udp("0.0.0.0:0")?, lab.wan.udp(&SERVER.to_string())?);
    let seen = there_and_back(&client, &server)?;
    assert_eq!(seen.ip(), EXTERNAL);
    let size = LARGE.to_string();
    let host = WAN_HOST.to_string();
    lab.lan.run("ping", &["-n", "-c", "2", "-i", "0.2", "-W", "3", "-s", &size, &host])?;
    // The router's own, from both sides.
    lab.wan.run("ping", &["-n", "-c", "1", "-W", "3", "-s", &size, &EXTERNAL.to_string()])?;
    lab.lan.run("ping", &["-n", "-c", "1", "-W", "3", "-s", &size, "192.168.77.1"])?;
    lab.router.run("ping", &["-n", "-c", "1", "-W", "3", "-s", &size, &host])?;
    assert_eq!(daemon.counter("held_fragments")?, 0);
    assert_eq!(daemon.counter("drop_fragment")?, 0);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn fragments_cross_while_no_daemon_runs() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    daemon.kill()?;
    let (client, server) = (lab.lan.udp("0.0.0.0:0")?, lab.wan.udp(&SERVER.to_string())?);
    there_and_back(&client, &server)?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn fragments_that_come_before_the_first_one_wait_for_it_on_both_sides() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let (client, server) = (lab.lan.udp("192.168.77.2:5700")?, lab.wan.udp(&SERVER.to_string())?);
    let mut buffer = vec![0; 2 * LARGE];
    let text = large(3).get(..1500).unwrap_or_default().to_vec();

    let mut out = pieces(SocketAddrV4::new(LAN_HOST, 5700), SERVER, 71, &text);
    out.reverse();
    send_raw(&lab.lan, &out)?;
    let (len, seen) = server.recv_from(&mut buffer).context("out of order, from the LAN")?;
    assert_eq!(buffer.get(..len), Some(&text[..]));
    assert_eq!(daemon.counter("held_fragments")?, 2);

    let std::net::SocketAddr::V4(seen) = seen else { unreachable!("IPv4 only") };
    let mut back = pieces(SERVER, seen, 72, &text);
    back.rotate_left(1);
    send_raw(&lab.wan, &back)?;
    let len = client.recv(&mut buffer).context("out of order, from the WAN")?;
    assert_eq!(buffer.get(..len), Some(&text[..]));
    assert_eq!(daemon.counter("late_fragments")?, 0);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_flood_of_first_and_of_early_fragments_harms_nobody_else() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = Daemon::start(&lab)?;
    let second = lab.second_lan()?;
    let (client, server) = (second.udp("0.0.0.0:0")?, lab.wan.udp(&SERVER.to_string())?);
    // Nobody takes what is sent there: the WAN host's own reassembly is not on trial.
    let sink = Ipv4Addr::new(11, 22, 33, 77);
    let neighbour = ["neighbour", "add", &sink.to_string(), "lladdr", "02:00:00:00:00:77"];
    lab.router.ip(&[neighbour.as_slice(), &["dev", "wan0"]].concat())?;
    let flood = |src: Ipv4Addr, first: bool| -> Vec<Packet> {
        let client = SocketAddrV4::new(src, 5700);
        let sink = SocketAddrV4::new(sink, 7999);
        let piece = |id| pieces(client, sink, id, &[0; 1500]).into_iter().nth(usize::from(!first));
        let ids = if first { 0..20_000 } else { 30_000..50_000 };
        ids.filter_map(piece).collect()
    };
    for first in [true, false] {
        let packets = flood(LAN_HOST, first);
        std::thread::scope(|scope| -> Result<()> {
            let flooding = scope.spawn(|| send_raw(&lab.lan, &packets));
            let got_through = (0..20).filter(|_| there_and_back(&client, &server).is_ok()).count();
            // A full queue between the namespaces loses some of everybody's.
            ensure!(got_through >= 15, "only {got_through} of 20 got through");
            flooding.join().map_err(|_| anyhow::anyhow!("the flood panicked"))?
        })?;
        there_and_back(&client, &server)?;
    }
    // What the daemon was given is bounded, and every one of the others is counted.
    wait_until("most early fragments to be dropped", ANSWER_TIMEOUT, || {
        Ok(daemon.counter("drop_fragment")? > 10_000)
    })?;
    assert!(daemon.counter("held_fragments")? < 5_000);
    let mut buffer = vec![0; 2 * LARGE];
    let text = large(5).get(..1500).unwrap_or_default().to_vec();
    let mut out = pieces(SocketAddrV4::new(SECOND_LAN_HOST, 5701), SERVER, 9, &text);
    out.reverse();
    send_raw(second, &out)?;
    let (len, _) = server.recv_from(&mut buffer).context("another's early fragments")?;
    assert_eq!(buffer.get(..len), Some(&text[..]));
    daemon.stop()?;
    lab.finish()
}
