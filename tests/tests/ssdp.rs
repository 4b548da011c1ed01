//! Discovery: on the LAN, and only there.

use anyhow::{Context, Result};
use nat_tests::client::{
    Gateway, http,
    ssdp::{self, Message},
};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, Capture, EXTERNAL, LAN_HOST, Lab, ROUTER_LAN, UdpReflector, packet::Packet,
};
use std::net::SocketAddrV4;
use std::time::Duration;

/// Targets that a gateway of version 2 answers for, in both versions.
const TARGETS: &[&str] = &[
    "upnp:rootdevice",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:WANDevice:2",
    "urn:schemas-upnp-org:device:WANDevice:1",
    "urn:schemas-upnp-org:device:WANConnectionDevice:2",
    "urn:schemas-upnp-org:device:WANConnectionDevice:1",
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
];

fn kind(packet: &Packet) -> Option<String> {
    let message = Message::parse(&packet.text());
    message.start.starts_with("NOTIFY").then(|| message.header("nts").map(str::to_owned)).flatten()
}

fn is_alive(packet: &Packet) -> bool {
    kind(packet).as_deref() == Some("ssdp:alive")
}

#[test]
fn byebye_comes_before_the_first_alive_and_at_the_end() -> Result<()> {
    let lab = Lab::home()?;
    let lan = Capture::start(&lab.lan)?;
    let daemon = Daemon::start(&lab)?;
    lan.wait_for("ssdp:alive", TARGETS.len(), Duration::from_secs(10), is_alive)?;
    let announced = lan.packets(|packet| kind(packet).is_some());
    let first_alive = announced.iter().position(is_alive).context("no ssdp:alive")?;
    let byebyes = &announced[..first_alive];
    assert!(!byebyes.is_empty(), "no ssdp:byebye before the first ssdp:alive");
    assert!(announced.iter().all(|packet| packet.source == ROUTER_LAN), "{announced:?}");

    let before = announced.len();
    daemon.stop()?;
    let is_byebye = |packet: &Packet| kind(packet).as_deref() == Some("ssdp:byebye");
    let wanted = byebyes.len() + 1;
    let all = lan.wait_for("ssdp:byebye", wanted, ANSWER_TIMEOUT, is_byebye)?;
    assert!(all.len() > byebyes.len() && before > 0);
    let outside = lab.on_wan().packets(ssdp::is_ssdp);
    assert!(outside.is_empty(), "SSDP was seen on the WAN: {outside:?}");
    lab.finish()
}

#[test]
fn every_target_is_answered() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let uuid = daemon.status()?["uuid"].as_str().context("no uuid in status")?.to_owned();
    let uuid = format!("uuid:{}", uuid.trim_start_matches("uuid:"));
    for target in TARGETS.iter().copied().chain([uuid.as_str()]) {
        let answers = ssdp::search(&lab.lan, target, 1)?;
        let answer = answers.first().with_context(|| format!("no answer for {target}"))?;
        assert_eq!(answer.start, "HTTP/1.1 200 OK");
        assert_eq!(answer.header("st"), Some(target));
        let location = answer.header("location").context("no LOCATION")?;
        assert!(location.starts_with(&format!("http://{ROUTER_LAN}:")), "{location}");
        assert!(answer.header("cache-control").is_some_and(|value| value.contains("max-age")));
        assert!(answer.header("usn").is_some_and(|usn| usn.starts_with("uuid:")), "{answer:?}");
        assert!(answer.header("ext").is_some() && answer.header("server").is_some());
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn ssdp_all_is_answered_for_everything() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let answers = ssdp::search(&lab.lan, "ssdp:all", usize::MAX)?;
    let answered = ssdp::targets(&answers);
    let newest = TARGETS.iter().filter(|target| !target.ends_with(":1"));
    for target in newest {
        assert!(answered.contains(*target), "{target}: {answered:?}");
    }
    let uuids = answered.iter().filter(|target| target.starts_with("uuid:")).count();
    assert_eq!(uuids, 6, "of each tree the root device and two embedded ones: {answered:?}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn each_lan_is_told_its_own_address() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = Daemon::start(&lab)?;
    assert_eq!(*Gateway::discover(&lab.lan)?.server.ip(), ROUTER_LAN);
    let second = Gateway::discover(lab.second_lan()?)?;
    assert_eq!(*second.server.ip(), nat_tests::lab::ROUTER_SECOND_LAN);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn garbage_is_not_answered_and_does_no_harm() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let good = ssdp::request("upnp:rootdevice");
    let socket = lab.lan.udp("0.0.0.0:0")?;
    let mut garbage: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0; 1400],
        vec![0xff; 60_000],
        b"\r\n\r\n".to_vec(),
        good.replace("MAN: \"ssdp:discover\"\r\n", "").into_bytes(),
        good.replace("M-SEARCH *", "M-SEARCH /").into_bytes(),
        good.replace("upnp:rootdevice", "urn:nobody:device:Toaster:1").into_bytes(),
        good.replace("ST: upnp:rootdevice\r\n", "").into_bytes(),
        good.replace("HTTP/1.1", "HTTP/9.9").into_bytes(),
    ];
    garbage.extend((0..good.len() - 4).step_by(7).map(|cut| good.as_bytes()[..cut].to_vec()));
    for datagram in &garbage {
        socket.send_to(datagram, ssdp::GROUP)?;
        socket.send_to(datagram, SocketAddrV4::new(ROUTER_LAN, 1900))?;
    }
    let answers = ssdp::answers(&socket, |_| false);
    assert!(answers.is_empty(), "{answers:?}");
    assert_eq!(ssdp::search(&lab.lan, "upnp:rootdevice", 1)?.len(), 1);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn nothing_is_served_to_the_wan() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let port = gateway.server.port();
    // A neighbour on the WAN may try the LAN's address, too.
    lab.wan.ip(&["route", "add", &format!("{ROUTER_LAN}/32"), "via", &EXTERNAL.to_string()])?;
    for address in [EXTERNAL, ROUTER_LAN] {
        let server = SocketAddrV4::new(address, port);
        assert!(http::get(&lab.wan, server, "/").is_err(), "HTTP at {server} from the WAN");
        let socket = lab.wan.udp("11.22.33.9:0")?;
        let search = ssdp::request("ssdp:all");
        socket.send_to(search.as_bytes(), SocketAddrV4::new(address, 1900))?;
        let answers = ssdp::answers(&socket, |answers| !answers.is_empty());
        assert!(answers.is_empty(), "SSDP at {address} from the WAN: {answers:?}");
    }
    lab.wan.ip(&["route", "add", "239.0.0.0/8", "dev", "eth0"])?;
    assert!(ssdp::search(&lab.wan, "ssdp:all", 1)?.is_empty(), "M-SEARCH from the WAN");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn announcements_of_others_do_not_leave_the_lan() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let socket = lab.lan.udp("0.0.0.0:0")?;
    socket.set_multicast_ttl_v4(4)?;
    socket.send_to(ssdp::request("ssdp:all").as_bytes(), ssdp::GROUP)?;
    // What was sent later has arrived on the WAN, so the multicast would have, too.
    let server = SocketAddrV4::new(nat_tests::lab::WAN_HOST, 7000);
    let _server = UdpReflector::start(&lab.wan, &server.to_string())?;
    nat_tests::lab::udp_seen_as(&lab.lan.udp(&format!("{LAN_HOST}:0"))?, server)?;
    let outside = lab.on_wan().packets(|packet| packet.destination.is_multicast());
    let outside: Vec<_> = outside.iter().filter(|packet| ssdp::is_ssdp(packet)).collect();
    assert!(outside.is_empty(), "{outside:?}");
    daemon.stop()?;
    lab.finish()
}
