//! Several external addresses.

use anyhow::{Context, Result, ensure};
use nat_tests::daemon::{Daemon, DaemonBuilder};
use nat_tests::lab::packet::protocol;
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, Lab, TcpReflector, UdpReflector, WAN_HOST, tcp_seen_as, udp_seen_as,
    wait_until,
};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

const SECOND: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 3);
const THIRD: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 4);
/// In the pool, but not on the interface.
const MISSING: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 5);

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);

/// The lab with further addresses on its WAN, and so many clients in the LAN.
fn lab(clients: u8) -> Result<(Lab, Vec<Ipv4Addr>)> {
    let lab = Lab::home()?;
    for address in [SECOND, THIRD] {
        lab.router.ip(&["address", "add", &format!("{address}/24"), "dev", "wan0"])?;
    }
    let clients: Vec<_> =
        (10..10 + clients).map(|host| Ipv4Addr::new(192, 168, 77, host)).collect();
    for client in &clients {
        lab.lan.ip(&["address", "add", &format!("{client}/24"), "dev", "eth0"])?;
    }
    Ok((lab, clients))
}

fn with_pool<'lab>(lab: &'lab Lab, pool: &str) -> Result<DaemonBuilder<'lab>> {
    Daemon::builder(lab).configured(&format!("[nat]\npool = {pool}\n"))
}

fn whole_pool() -> String {
    format!("[\"{EXTERNAL}\", \"{SECOND}-{MISSING}\"]")
}

fn socket_of(lab: &Lab, client: Ipv4Addr) -> Result<UdpSocket> {
    lab.lan.udp(&format!("{client}:0"))
}

/// With which source a ping of a client comes out.
fn pinged_as(lab: &Lab, client: Ipv4Addr) -> Result<Ipv4Addr> {
    let pings = || lab.on_wan().packets(|packet| packet.protocol == protocol::ICMP);
    let before = pings().len();
    let from = client.to_string();
    lab.lan.run("ping", &["-n", "-c", "1", "-W", "3", "-I", &from, &WAN_HOST.to_string()])?;
    wait_until("a ping on the WAN", ANSWER_TIMEOUT, || Ok(pings().len() > before))?;
    pings().get(before).map(|ping| ping.source).context("no ping")
}

#[test]
fn a_client_has_one_address_of_the_pool_and_clients_are_spread() -> Result<()> {
    let (lab, clients) = lab(16)?;
    let daemon = with_pool(&lab, &whole_pool())?.start()?;
    let _udp = UdpReflector::start(&lab.wan, &SERVER.to_string())?;
    let _tcp = TcpReflector::start(&lab.wan, &SERVER.to_string())?;
    let status = daemon.status()?;
    assert_eq!(status["pool"], json!([EXTERNAL, SECOND, THIRD]), "{status}");
    assert_eq!(status["external_address"], json!(EXTERNAL));
    assert!(daemon.log().contains(&MISSING.to_string()), "{}", daemon.log());

    let mut external = HashMap::new();
    for client in &clients {
        let seen = udp_seen_as(&socket_of(&lab, *client)?, SERVER)?;
        external.insert(*client, *seen.ip());
        let again = udp_seen_as(&socket_of(&lab, *client)?, SERVER)?;
        assert_eq!(again.ip(), seen.ip(), "another flow of {client}");
        let source = SocketAddrV4::new(*client, 0);
        let mut stream = lab.lan.tcp_connect_from(source, SERVER, ANSWER_TIMEOUT)??;
        assert_eq!(tcp_seen_as(&mut stream)?.ip(), seen.ip(), "TCP of {client}");
    }
    for client in clients.iter().take(4) {
        assert_eq!(pinged_as(&lab, *client)?, external[client], "a ping of {client}");
    }
    let used: BTreeSet<_> = external.values().copied().collect();
    assert_eq!(used, BTreeSet::from([EXTERNAL, SECOND, THIRD]), "{external:?}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn clients_reach_each_other_across_the_pool_and_its_other_addresses_let_nobody_in() -> Result<()> {
    let (lab, clients) = lab(16)?;
    let daemon = with_pool(&lab, &whole_pool())?.start()?;
    let _udp = UdpReflector::start(&lab.wan, &SERVER.to_string())?;
    let mut of_address = HashMap::new();
    for client in clients {
        let socket = socket_of(&lab, client)?;
        let seen = udp_seen_as(&socket, SERVER)?;
        of_address.entry(*seen.ip()).or_insert((socket, seen));
    }
    let (called, called_seen) = of_address.remove(&SECOND).context("nobody has the second")?;
    let (caller, caller_seen) = of_address.remove(&THIRD).context("nobody has the third")?;

    caller.send_to(b"hairpin", called_seen)?;
    let mut buffer = [0; 64];
    let (length, from) = called.recv_from(&mut buffer)?;
    assert_eq!((buffer.get(..length), from), (Some(&b"hairpin"[..]), caller_seen.into()));
    called.send_to(b"back", from)?;
    let (length, from) = caller.recv_from(&mut buffer)?;
    assert_eq!((buffer.get(..length), from), (Some(&b"back"[..]), called_seen.into()));

    // The same port, elsewhere: nobody's.
    let outside = lab.wan.udp("0.0.0.0:0")?;
    let before = daemon.counter("drop_unmapped")?;
    outside.send_to(b"elsewhere", SocketAddrV4::new(THIRD, called_seen.port()))?;
    wait_until("a drop", ANSWER_TIMEOUT, || Ok(daemon.counter("drop_unmapped")? > before))?;
    outside.send_to(b"there", called_seen)?;
    let (length, _) = called.recv_from(&mut buffer)?;
    assert_eq!(buffer.get(..length), Some(&b"there"[..]));
    daemon.stop()?;
    lab.finish()
}

#[test]
fn when_an_address_leaves_the_pool_its_clients_get_another() -> Result<()> {
    let (lab, clients) = lab(16)?;
    let daemon = with_pool(&lab, &whole_pool())?.start()?;
    let _udp = UdpReflector::start(&lab.wan, &SERVER.to_string())?;
    let mut sockets = Vec::new();
    for client in clients {
        let socket = socket_of(&lab, client)?;
        udp_seen_as(&socket, SERVER)?;
        sockets.push(socket);
    }
    lab.router.ip(&["address", "del", &format!("{THIRD}/24"), "dev", "wan0"])?;
    wait_until("the change of the pool", Duration::from_secs(5), || {
        Ok(daemon.status()?["pool"] == json!([EXTERNAL, SECOND]))
    })?;
    let mut used = BTreeSet::new();
    for socket in &sockets {
        used.insert(*udp_seen_as(socket, SERVER)?.ip());
    }
    assert_eq!(used, BTreeSet::from([EXTERNAL, SECOND]));
    daemon.stop()?;
    lab.finish()
}

#[test]
fn maps_that_are_pinned_for_another_number_of_addresses_are_refused() -> Result<()> {
    let (lab, _) = lab(0)?;
    let bpffs = lab.bpffs()?;
    Daemon::builder(&lab).pinned(&bpffs).start()?.stop()?;
    let refused = with_pool(&lab, &whole_pool())?.pinned(&bpffs).start();
    let error = refused.err().context("it was not refused")?.to_string();
    ensure!(error.contains("igd-control unload --pin-dir"), "{error}");
    // As before it goes on.
    Daemon::builder(&lab).pinned(&bpffs).start()?.stop()?;
    drop(bpffs);
    lab.finish()
}
