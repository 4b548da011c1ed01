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
use std::time::{Duration, Instant};

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

/// The devices' UDNs and the types of devices and services of a description, and `upnp:rootdevice`.
fn held_by(description: &str) -> Vec<String> {
    let texts = |name: &str| {
        let tag = format!("<{name}>");
        let parts = description.split(tag.as_str()).skip(1);
        parts.filter_map(|part| Some(part.split_once('<')?.0.to_owned())).collect::<Vec<_>>()
    };
    let all = [texts("UDN"), texts("deviceType"), texts("serviceType")];
    all.concat().into_iter().chain(["upnp:rootdevice".to_owned()]).collect()
}

#[test]
fn ssdp_all_is_answered_with_what_the_two_descriptions_hold() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let answers = ssdp::search(&lab.lan, "ssdp:all", usize::MAX)?;
    let server = Gateway::discover(&lab.lan)?.server;
    let mut expected = Vec::new();
    for path in ["/igd1/rootDesc.xml", "/igd2/rootDesc.xml"] {
        let location = format!("http://{server}{path}");
        let held = held_by(&http::get(&lab.lan, server, path)?.body);
        assert_eq!(held.len(), 10, "{held:?}");
        expected.extend(held.into_iter().map(|target| (target, location.clone())));
    }
    let header = |answer: &Message, name| answer.header(name).unwrap_or_default().to_owned();
    let mut answered: Vec<_> =
        answers.iter().map(|answer| (header(answer, "st"), header(answer, "location"))).collect();
    expected.sort();
    answered.sort();
    assert_eq!(answered, expected);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn answers_come_from_port_1900_with_header_names_in_upper_case() -> Result<()> {
    let lab = Lab::home()?;
    let lan = Capture::start(&lab.lan)?;
    let daemon = Daemon::start(&lab)?;
    ssdp::search(&lab.lan, "upnp:rootdevice", 2)?;
    let answer = |packet: &Packet| packet.text().starts_with("HTTP/1.1 200 OK\r\n");
    for packet in lan.wait_for("answers", 2, ANSWER_TIMEOUT, answer)? {
        assert_eq!((packet.source, packet.source_port), (ROUTER_LAN, 1900));
        let text = packet.text();
        for name in ["CACHE-CONTROL", "EXT", "LOCATION", "SERVER", "ST", "USN", "BOOTID.UPNP.ORG"] {
            assert!(text.contains(&format!("\r\n{name}:")), "{name}: {text}");
        }
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_search_of_one_address_is_answered_at_once_whatever_its_mx() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let socket = lab.lan.udp("0.0.0.0:0")?;
    let request = ssdp::request("upnp:rootdevice");
    for request in [request.replace("MX: 1", "MX: 5"), request.replace("MX: 1\r\n", "")] {
        let start = Instant::now();
        socket.send_to(request.as_bytes(), SocketAddrV4::new(ROUTER_LAN, 1900))?;
        let answers = ssdp::answers(&socket, |answers| answers.len() == 2);
        assert_eq!(answers.len(), 2, "one of each tree: {answers:?}");
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
    // To the group, MX is wanted.
    socket.send_to(request.replace("MX: 1\r\n", "").as_bytes(), ssdp::GROUP)?;
    assert!(ssdp::answers(&socket, |answers| !answers.is_empty()).is_empty());
    daemon.stop()?;
    lab.finish()
}

#[test]
fn answers_are_spread_over_mx() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let request = ssdp::request("urn:schemas-upnp-org:service:WANIPConnection:1");
    let request = request.replace("MX: 1", "MX: 2");
    let start = Instant::now();
    let sockets: Vec<_> = (0..8).map(|_| lab.lan.udp("0.0.0.0:0")).collect::<Result<Vec<_>>>()?;
    for socket in &sockets {
        socket.send_to(request.as_bytes(), ssdp::GROUP)?;
    }
    let mut times = Vec::new();
    let mut buffer = [0; 2048];
    while times.len() < sockets.len() && start.elapsed() < Duration::from_secs(3) {
        for socket in &sockets {
            socket.set_read_timeout(Some(Duration::from_millis(5)))?;
            if socket.recv(&mut buffer).is_ok() {
                times.push(start.elapsed());
            }
        }
    }
    assert_eq!(times.len(), sockets.len(), "{times:?}");
    let (first, last) = (times.iter().min().context("none")?, times.iter().max().context("none")?);
    assert!(*last < Duration::from_millis(2_200), "{times:?}");
    // Eight random moments in 1.2 s lie within 100 ms once in millions of times.
    assert!(*last - *first > Duration::from_millis(100), "{times:?}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn announcements_are_repeated_and_refreshed() -> Result<()> {
    let lab = Lab::home()?;
    let lan = Capture::start(&lab.lan)?;
    let config = "[upnp]\nnotify-interval = 10\nmax-age = 60\n";
    let daemon = Daemon::builder(&lab).configured(config)?.start()?;
    let of_root = |packet: &Packet| {
        let message = Message::parse(&packet.text());
        is_alive(packet)
            && message.header("usn").is_some_and(|usn| usn.ends_with("InternetGatewayDevice:2"))
    };
    let seen = lan.wait_for("ssdp:alive", 4, Duration::from_secs(20), of_root)?;
    let pauses: Vec<_> = seen.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(pauses[0] < Duration::from_secs(2) && pauses[1] < Duration::from_secs(2), "{pauses:?}");
    let refresh = Duration::from_secs(8)..Duration::from_secs(12);
    assert!(refresh.contains(&pauses[2]), "{pauses:?}");
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
