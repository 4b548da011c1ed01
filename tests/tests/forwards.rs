//! Port forwards of the less common kinds, by SOAP and with real packets.

use anyhow::{Context as _, Result};
use nat_tests::client::{
    Gateway,
    soap::{MAPPING, Mapping},
};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, Lab, Namespace, TcpReflector, UdpReflector, WAN_HOST, tcp_seen_as,
    udp_seen_as,
};
use nat_tests::lease::{tcp_is_shut, udp_is_silent};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use std::fs;
use std::io::Read as _;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

const fn external(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(EXTERNAL, port)
}

/// Every control point may do everything.
fn open_policy(lab: &Lab) -> Result<PathBuf> {
    let config = lab.directory().join("config.toml");
    fs::write(&config, "[policy]\nmode = \"open\"\n")?;
    Ok(config)
}

#[test]
fn the_wildcard_gets_what_nobody_else_has() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let bpffs = lab.bpffs()?;
    let config = open_policy(&lab)?;
    let start = || {
        let config = config.to_string_lossy();
        Daemon::builder(&lab).pinned(&bpffs).argument("--config").argument(&config).start()
    };
    let daemon = start()?;
    let gateway = Gateway::discover(&lab.lan)?;
    let wildcard = Mapping { external_port: "0", ..MAPPING };
    let given = gateway.add_any(&wildcard)?.success()?;
    assert_eq!(given.value("NewReservedPort"), Some("0"));
    gateway.add(&Mapping { protocol: "TCP", ..wildcard })?.success()?;

    // A new daemon finds both, and the packet path has never lost them.
    daemon.kill()?;
    let daemon = start()?;
    let mappings = daemon.mappings()?;
    assert!(mappings.iter().all(|mapping| mapping["external_port"] == 0), "{mappings:?}");
    assert!(mappings.iter().all(|mapping| mapping["internal"] == "192.168.77.2:5600"));
    assert_eq!(mappings.len(), 2, "{mappings:?}");

    let _lan = (
        UdpReflector::start(&lab.lan, "192.168.77.2:6000")?,
        UdpReflector::start(&lab.lan, "192.168.77.2:123")?,
        TcpReflector::start(&lab.lan, "192.168.77.2:22")?,
        UdpReflector::start(&lab.lan, "192.168.77.2:6100")?,
        UdpReflector::start(&lab.router, "0.0.0.0:6100")?,
        UdpReflector::start(lab.second_lan()?, "192.168.78.2:5600")?,
    );
    let client = lab.wan.udp("11.22.33.9:4444")?;
    for port in [6000, 123] {
        assert_eq!(udp_seen_as(&client, external(port))?, SocketAddrV4::new(WAN_HOST, 4444));
    }
    let mut stream = lab.wan.tcp_connect(external(22))?;
    assert_eq!(*tcp_seen_as(&mut stream)?.ip(), WAN_HOST);
    let inbound = daemon.counter("inbound_packets")?;
    udp_seen_as(&client, external(6100))?;
    assert_eq!(daemon.counter("inbound_packets")?, inbound, "the router's service answers itself");
    lab.wan.run("ping", &["-n", "-c", "1", "-W", "3", &EXTERNAL.to_string()])?;
    // Called from the LAN it sees the caller's external address.
    let caller = lab.second_lan()?.udp("192.168.78.2:7777")?;
    assert_eq!(*udp_seen_as(&caller, external(6000))?.ip(), EXTERNAL);

    // A mapping of its own takes the port over that a flow of the wildcard holds.
    let second = Gateway::discover(lab.second_lan()?)?;
    second.add(&Mapping { client: "192.168.78.2", ..MAPPING })?.success()?;
    let in_use =
        Mapping { client: "192.168.78.2", protocol: "TCP", external_port: "22", ..MAPPING };
    let refused = second.add(&in_use)?;
    assert_eq!(refused.error_code(), Some(718), "an established connection is there: {refused:?}");
    udp_seen_as(&client, external(6000))?;
    let sessions = daemon.sessions()?;
    let of_port = |session: &&Value| session["external"] == "11.22.33.1:6000";
    let from_wan = |session: &&Value| session["remote"] == "11.22.33.9:4444";
    let live: Vec<_> = sessions.iter().filter(of_port).filter(from_wan).collect();
    assert!(live.iter().any(|it| it["internal"] == "192.168.78.2:5600"), "{live:?}");

    // Deleted, it leaves what was established alone.
    let gateway = Gateway::discover(&lab.lan)?;
    for protocol in ["TCP", "UDP"] {
        let named = [("NewRemoteHost", ""), ("NewExternalPort", "0"), ("NewProtocol", protocol)];
        gateway.call("DeletePortMapping", &named)?.success()?;
    }
    client.set_read_timeout(Some(Duration::from_millis(300)))?;
    assert!(udp_seen_as(&client, external(123)).is_err(), "its UDP flow goes on");
    assert!(tcp_is_shut(&lab.wan, external(22))?);
    assert_eq!(*tcp_seen_as(&mut stream)?.ip(), WAN_HOST);
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}

/// What wakes a host with this MAC address.
fn magic_packet(mac: [u8; 6]) -> Vec<u8> {
    [[0xff; 6].as_slice(), &mac.repeat(16)].concat()
}

#[test]
fn a_packet_for_everybody_wakes_hosts_in_every_lan() -> Result<()> {
    wakes_everybody("native")
}

#[test]
fn a_packet_for_everybody_wakes_hosts_in_generic_mode_too() -> Result<()> {
    wakes_everybody("generic")
}

fn wakes_everybody(xdp_mode: &str) -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let config = open_policy(&lab)?;
    let mode = format!("[policy]\nmode = \"open\"\n[interfaces]\nxdp-mode = \"{xdp_mode}\"\n");
    fs::write(&config, mode)?;
    let daemon =
        Daemon::builder(&lab).argument("--config").argument(&config.to_string_lossy()).start()?;
    let gateway = Gateway::discover(&lab.lan)?;
    let everybody =
        Mapping { client: "255.255.255.255", external_port: "4000", internal_port: "9", ..MAPPING };
    let refused = gateway.add(&Mapping { protocol: "TCP", ..everybody })?;
    assert_eq!((refused.0.status, refused.error_code()), (500, Some(600)), "{refused:?}");
    gateway.add(&everybody)?.success()?;
    assert!(daemon.mappings()?.iter().any(|it| it["internal"] == "255.255.255.255:9"));

    let hosts = [(&lab.lan, "lan0"), (lab.second_lan()?, "lan1")];
    let mut frames = Vec::new();
    for (host, router) in hosts {
        let frame = host.enter(|| -> Result<Socket> {
            let all = Some(Protocol::from(i32::from(0x0800_u16.to_be())));
            let socket = Socket::new(Domain::PACKET, Type::RAW, all)?;
            socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            Ok(socket)
        })??;
        frames.push((frame, mac_address(&lab.router, router)?));
    }
    let sleepers = [lab.lan.udp("0.0.0.0:9")?, lab.second_lan()?.udp("0.0.0.0:9")?];
    let caller = lab.wan.udp("11.22.33.9:4444")?;
    let magic = magic_packet([2, 0, 0, 0, 0, 7]);
    caller.send_to(&magic, external(4000))?;
    let mut buffer = [0; 256];
    for sleeper in &sleepers {
        let (length, from) = sleeper.recv_from(&mut buffer)?;
        assert_eq!(buffer.get(..length), Some(magic.as_slice()));
        assert_eq!(from, SocketAddrV4::new(WAN_HOST, 4444).into());
        // An answer is a flow of the host's own.
        sleeper.send_to(b"awake", from)?;
        let (length, by) = caller.recv_from(&mut buffer)?;
        assert_eq!(buffer.get(..length), Some(b"awake".as_slice()));
        assert_eq!(by.ip(), EXTERNAL);
    }
    // To everybody on the link, by the router's interface there.
    for (socket, router) in &mut frames {
        let head = loop {
            let length = socket.read(&mut buffer)?;
            let frame = buffer.get(..length).unwrap_or_default();
            if frame.ends_with(&magic) {
                break frame.get(..12).unwrap_or_default().to_vec();
            }
        };
        assert_eq!(head, [[0xff; 6], *router].concat());
    }
    assert!(daemon.counter("inbound_packets")? >= 1);
    daemon.stop()?;
    lab.finish()
}

fn mac_address(namespace: &Namespace, interface: &str) -> Result<[u8; 6]> {
    let listed = namespace.ip(&["-json", "link", "show", "dev", interface])?;
    let listed: Value = serde_json::from_str(&listed)?;
    let text = listed.pointer("/0/address").and_then(Value::as_str).context("no address")?;
    let octets: Vec<u8> =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16)).collect::<Result<_, _>>()?;
    octets.try_into().ok().context("no MAC address")
}

#[test]
fn a_disabled_mapping_holds_its_port_in_silence_until_it_is_enabled() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let bpffs = lab.bpffs()?;
    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    let _servers = (
        TcpReflector::start(&lab.lan, "192.168.77.2:5600")?,
        UdpReflector::start(&lab.lan, "192.168.77.2:5600")?,
    );
    let server = SocketAddrV4::new(WAN_HOST, 7000);
    let _server = UdpReflector::start(&lab.wan, &server.to_string())?;
    let gateway = Gateway::discover(&lab.lan)?;
    let disabled = Mapping { enabled: "0", ..MAPPING };
    let listed = Mapping { remote_host: "11.22.33.9", ..disabled };
    gateway.add(&disabled)?.success()?;
    gateway.add(&listed)?.success()?;
    gateway.add(&Mapping { protocol: "TCP", ..disabled })?.success()?;

    // A new daemon finds it as it was.
    daemon.kill()?;
    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    let mappings = daemon.mappings()?;
    assert_eq!(mappings.len(), 3, "{mappings:?}");
    assert!(mappings.iter().all(|mapping| mapping["enabled"] == false), "{mappings:?}");
    assert!(mappings.iter().any(|mapping| mapping["remote_host"] == "11.22.33.9"), "{mappings:?}");

    assert!(udp_is_silent(&lab.wan, external(6000))?);
    assert!(tcp_is_shut(&lab.wan, external(6000))?);
    assert!(daemon.counter("drop_filtered")? >= 2);
    let second = Gateway::discover(lab.second_lan()?)?;
    let refused = second.add(&Mapping { client: "192.168.78.2", ..MAPPING })?;
    assert_eq!((refused.0.status, refused.error_code()), (500, Some(718)), "{refused:?}");
    let rival = lab.second_lan()?.udp("192.168.78.2:6000")?;
    assert_ne!(udp_seen_as(&rival, server)?, external(6000), "the NAT has given the port away");

    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&MAPPING)?.success()?;
    let client = lab.wan.udp("11.22.33.9:4444")?;
    assert_eq!(udp_seen_as(&client, external(6000))?, SocketAddrV4::new(WAN_HOST, 4444));
    assert!(tcp_is_shut(&lab.wan, external(6000))?, "the other protocol's is disabled still");

    gateway.add(&disabled)?.success()?;
    client.set_read_timeout(Some(Duration::from_millis(300)))?;
    assert!(udp_seen_as(&client, external(6000)).is_err(), "its flow goes on, though disabled");
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}

/// A client whose mappings are as many as the sessions that there may be takes nothing from the others.
#[test]
fn as_many_forwards_as_sessions_leave_flows_their_room() -> Result<()> {
    const SESSIONS: u16 = 1_024;
    let lab = Lab::home()?;
    let mut config = format!("[nat]\nmax-sessions = {SESSIONS}\n");
    for port in (20_000..).take(SESSIONS.into()) {
        config.push_str(&format!(
            "[[mapping]]\nprotocol = \"udp\"\nexternal-port = {port}\nclient = \"192.168.77.9\"\n"
        ));
    }
    let daemon = Daemon::builder(&lab).configured(&config)?.start()?;
    let server = SocketAddrV4::new(WAN_HOST, 7000);
    let _server = UdpReflector::start(&lab.wan, &server.to_string())?;
    for port in 30_000..30_016 {
        let socket = lab.lan.udp(&format!("0.0.0.0:{port}"))?;
        assert_eq!(udp_seen_as(&socket, server)?, external(port));
    }
    assert_eq!(daemon.counter("drop_table_full")?, 0);
    daemon.stop()?;
    lab.finish()
}
