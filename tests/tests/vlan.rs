//! Links that are VLANs of the kernel's, on one arm, on two, and with two tags: what crosses between them
//! does so in frames that carry tags.

use anyhow::{Context, Result, ensure};
use nat_tests::client::{Gateway, soap::MAPPING};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, Capture, EXTERNAL, Feature, LAN_HOST, Lab, Namespace, ROUTER_LAN,
    ROUTER_SECOND_LAN, SECOND_LAN_HOST, TcpReflector, UdpReflector, WAN_HOST, may_be_fragmented,
    packet::{Packet, protocol},
    tcp_seen_as, udp_seen_as, wait_until,
};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);

/// The WAN's MTU, below that of the LANs.
const WAN_MTU: u16 = 1_400;
/// Between the two.
const LARGE: usize = 1_420;
/// Of a device whose frames carry two tags: what is in them has 1,500 bytes.
const DEVICE_MTU: &str = "1504";

/// A VLAN interface of the router, and its counterpart on a host.
struct Vlan {
    /// The router's name for it.
    name: &'static str,
    tags: &'static [u16],
    /// The router's device, and its address.
    router: (&'static str, Ipv4Addr),
    /// Who has the host's device, and whose interface on it is.
    device: Host,
    host: (Host, Ipv4Addr),
}

#[derive(Clone, Copy)]
enum Host {
    Lan,
    Second,
    Wan,
}

impl Host {
    fn of(self, lab: &Lab) -> Result<&Namespace> {
        Ok(match self {
            Self::Lan => &lab.lan,
            Self::Second => lab.second_lan()?,
            Self::Wan => &lab.wan,
        })
    }
}

/// Two LANs and the WAN.
type Vlans = [Vlan; 3];

const fn lan(name: &'static str, tags: &'static [u16]) -> Vlan {
    let (router, host) = (("lan0", ROUTER_LAN), (Host::Lan, LAN_HOST));
    Vlan { name, tags, router, device: Host::Lan, host }
}

const fn second(name: &'static str, tags: &'static [u16]) -> Vlan {
    let (router, host) = (("lan0", ROUTER_SECOND_LAN), (Host::Second, SECOND_LAN_HOST));
    Vlan { name, tags, router, device: Host::Lan, host }
}

const fn wan(name: &'static str, tags: &'static [u16]) -> Vlan {
    let (router, host) = (("wan0", EXTERNAL), (Host::Wan, WAN_HOST));
    Vlan { name, tags, router, device: Host::Wan, host }
}

const TWO_ARMS: Vlans = [lan("lan0.10", &[10]), second("lan0.11", &[11]), wan("wan0.7", &[7])];

/// All of them on one cable, as behind a switch that carries VLANs.
const ONE_ARM: Vlans = [
    lan("lan0.10", &[10]),
    second("lan0.11", &[11]),
    Vlan { router: ("lan0", EXTERNAL), device: Host::Lan, ..wan("lan0.7", &[7]) },
];

/// The LANs within a provider's VLAN, the WAN in another.
const TWO_TAGS: Vlans = [
    lan("lan0.100.10", &[100, 10]),
    second("lan0.100.11", &[100, 11]),
    wan("wan0.200.7", &[200, 7]),
];

/// Makes an interface for the frames of `device` that carry `tags`; the kernel names it after both.
fn add_vlan(at: &Namespace, device: &str, tags: &[u16]) -> Result<String> {
    let mut name = device.to_owned();
    for (place, tag) in tags.iter().enumerate() {
        let (below, id) = (name.clone(), tag.to_string());
        name = format!("{below}.{id}");
        let there = at.output("ip", &["link", "show", "dev", &name])?.status.success();
        if there {
            continue;
        }
        // The outer one of two is the provider's.
        let kind = if place + 1 < tags.len() { "802.1ad" } else { "802.1Q" };
        let vlan = ["type", "vlan", "proto", kind, "id", &id];
        at.ip(&[&["link", "add", "link", &below, "name", &name], vlan.as_slice()].concat())?;
        at.ip(&["link", "set", "dev", &name, "up"])?;
    }
    Ok(name)
}

fn set_address(at: &Namespace, interface: &str, address: Ipv4Addr) -> Result<()> {
    at.ip(&["address", "add", &format!("{address}/24"), "dev", interface])?;
    at.ip(&["link", "set", "dev", interface, "up"])?;
    if [EXTERNAL, WAN_HOST].contains(&address) {
        at.ip(&["link", "set", "dev", interface, "mtu", &WAN_MTU.to_string()])?;
    }
    Ok(())
}

/// Moves the links of a lab onto VLANs.
fn lay(lab: &Lab, vlans: &Vlans) -> Result<()> {
    let second = lab.second_lan()?;
    let hosts = [&lab.lan, second, &lab.wan].map(|host| (host, "eth0"));
    let router = ["lan0", "lan1", "wan0"].map(|device| (&lab.router, device));
    for (at, device) in hosts.into_iter().chain(router) {
        at.ip(&["address", "flush", "dev", device])?;
        at.ip(&["link", "set", "dev", device, "mtu", DEVICE_MTU])?;
        // What a veth gets, with the tag beside the frame, is what its other end sends.
        let in_frame = ["-K", device, "txvlan", "off", "tx-vlan-stag-hw-insert", "off"];
        at.run("ethtool", &in_frame)?;
    }
    for Vlan { name, tags, router: (device, address), device: at, host: (host, there) } in vlans {
        let made = add_vlan(&lab.router, device, tags)?;
        ensure!(made == *name, "{made} is called {name} here");
        lab.router.ip(&["link", "set", "dev", name, "mtu", "1500"])?;
        set_address(&lab.router, name, *address)?;
        let (at, host) = (at.of(lab)?, host.of(lab)?);
        let made = add_vlan(at, "eth0", tags)?;
        at.ip(&["link", "set", "dev", &made, "mtu", "1500"])?;
        if at.name() != host.name() {
            at.ip(&["link", "set", "dev", &made, "netns", host.name()])?;
        }
        set_address(host, &made, *there)?;
    }
    for (host, gateway) in
        [(&lab.lan, ROUTER_LAN), (second, ROUTER_SECOND_LAN), (&lab.router, WAN_HOST)]
    {
        host.ip(&["route", "replace", "default", "via", &gateway.to_string()])?;
    }
    Ok(())
}

/// Waits until packets that `wanted` takes were seen with these tags.
fn tagged(
    wire: &Capture,
    what: &str,
    tags: &[u16],
    wanted: impl Fn(&Packet) -> bool,
) -> Result<Vec<Packet>> {
    wire.wait_for(what, 1, ANSWER_TIMEOUT, |packet| packet.vlans == tags && wanted(packet))
}

/// UDP, TCP, pings and fragments from both LANs.
fn outgoing(lab: &Lab) -> Result<()> {
    let _servers = (
        UdpReflector::start(&lab.wan, &SERVER.to_string())?,
        TcpReflector::start(&lab.wan, &SERVER.to_string())?,
    );
    for host in [&lab.lan, lab.second_lan()?] {
        let socket = host.udp("0.0.0.0:0")?;
        assert_eq!(*udp_seen_as(&socket, SERVER)?.ip(), EXTERNAL);
        assert_eq!(*tcp_seen_as(&mut host.tcp_connect(SERVER)?)?.ip(), EXTERNAL);
        let target = WAN_HOST.to_string();
        host.run("ping", &["-n", "-c", "2", "-i", "0.2", "-W", "3", &target])?;
        host.run("ping", &["-n", "-c", "1", "-W", "3", "-s", "4000", &target])?;
    }
    Ok(())
}

/// A port forward, called from outside and from the other LAN.
fn forwarded(lab: &Lab) -> Result<()> {
    let _server = UdpReflector::start(&lab.lan, "192.168.77.2:5600")?;
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    let port = SocketAddrV4::new(EXTERNAL, 6000);
    let (caller, neighbour) =
        (lab.wan.udp("11.22.33.9:4444")?, lab.second_lan()?.udp("0.0.0.0:0")?);
    assert_eq!(udp_seen_as(&caller, port)?, SocketAddrV4::new(WAN_HOST, 4444));
    assert_eq!(*udp_seen_as(&neighbour, port)?.ip(), EXTERNAL);
    Ok(())
}

/// Packets over the WAN's MTU: reported, or in fragments; and TCP offers what fits.
fn sizes(lab: &Lab) -> Result<()> {
    let client = lab.lan.udp("0.0.0.0:0")?;
    let server = lab.wan.udp("11.22.33.9:7001")?;
    may_be_fragmented(&client, true)?;
    client.send_to(&[7; LARGE], server.local_addr()?)?;
    let mut buffer = [0; 2 * LARGE];
    let (length, from) = server.recv_from(&mut buffer).context("a large datagram")?;
    ensure!(length == LARGE && from.ip() == EXTERNAL, "{length} bytes from {from}");
    may_be_fragmented(&client, false)?;
    client.connect(server.local_addr()?)?;
    client.send(&[7; LARGE])?;
    let error = client.recv(&mut buffer).err().context("something was received")?;
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE), "{error}");

    let syns = lab.on_wan().packets(|packet| {
        packet.protocol == protocol::TCP && packet.source == EXTERNAL && mss(packet).is_some()
    });
    let fits = |packet: &Packet| mss(packet) == Some(WAN_MTU - 40);
    ensure!(!syns.is_empty() && syns.iter().all(fits), "{:?}", syns.iter().map(mss));
    Ok(())
}

/// The largest segment that a SYN offers: its first option, as Linux sends it.
fn mss(packet: &Packet) -> Option<u16> {
    let is_syn = packet.payload.get(13)? & 0b10 != 0;
    match packet.payload.get(20..24)? {
        [2, 4, high, low] if is_syn => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

fn start<'lab>(lab: &'lab Lab, vlans: &Vlans, mode: &str) -> Result<Daemon<'lab>> {
    let [lan, second, wan] = vlans;
    let config = format!("[interfaces]\nxdp-mode = \"{mode}\"\n[nat]\nmss-clamp = \"mtu\"\n");
    let builder = Daemon::builder(lab).lan(&[lan.name, second.name]).wan(wan.name);
    builder.configured(&config)?.start()
}

/// All of it on these VLANs, in this mode of XDP.
fn everything_crosses(vlans: &Vlans, mode: &str) -> Result<()> {
    if !Feature::VlanDevices.lets_run()? {
        return Ok(());
    }
    let lab = Lab::builder().second_lan().build()?;
    lay(&lab, vlans)?;
    let [lan, _, wan] = vlans;
    let daemon = start(&lab, vlans, mode)?;
    let on_lan = Capture::start(&lab.lan)?;
    let on_wan = Capture::start(wan.device.of(&lab)?)?;
    outgoing(&lab)?;
    forwarded(&lab)?;
    sizes(&lab)?;

    // On the wires everything has its tags, and the kernel's interfaces show each once without.
    for kind in [protocol::UDP, protocol::TCP, protocol::ICMP] {
        let is = |packet: &Packet| packet.protocol == kind;
        tagged(&on_wan, "what goes out", wan.tags, |p| is(p) && p.source == EXTERNAL)?;
        tagged(&on_lan, "what comes back", lan.tags, |p| is(p) && p.source == WAN_HOST)?;
    }
    tagged(&on_lan, "a call from LAN to LAN", lan.tags, |packet| {
        packet.source == EXTERNAL && packet.destination == LAN_HOST
    })?;
    wait_until("as many packets without tags as with", ANSWER_TIMEOUT, || {
        let sent = |tags: &[u16]| {
            let ours = |packet: &Packet| packet.source == EXTERNAL && packet.vlans == tags;
            lab.on_wan().packets(ours).len()
        };
        let on_device = matches!(wan.device, Host::Wan);
        Ok(sent(&[]) > 20 && (!on_device || sent(&[]) == sent(wan.tags)))
    })?;
    assert_eq!(daemon.counter("hairpin_packets")?, 2);
    assert_eq!(daemon.counter("drop_leak")?, 0);
    assert_eq!(daemon.counter("drop_internal")?, 0);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn everything_crosses_between_vlans_on_two_arms() -> Result<()> {
    everything_crosses(&TWO_ARMS, "native")
}

#[test]
fn everything_crosses_between_vlans_on_one_arm() -> Result<()> {
    everything_crosses(&ONE_ARM, "native")
}

#[test]
fn everything_crosses_between_links_with_two_tags() -> Result<()> {
    everything_crosses(&TWO_TAGS, "native")
}

#[test]
fn everything_crosses_between_vlans_in_generic_mode() -> Result<()> {
    everything_crosses(&ONE_ARM, "generic")
}

#[test]
fn a_vlan_that_goes_and_comes_back_is_served_again() -> Result<()> {
    if !Feature::VlanDevices.lets_run()? {
        return Ok(());
    }
    let lab = Lab::builder().second_lan().build()?;
    lay(&lab, &TWO_ARMS)?;
    let daemon = start(&lab, &TWO_ARMS, "native")?;
    let _server = UdpReflector::start(&lab.wan, &SERVER.to_string())?;
    let (here, there) = (lab.lan.udp("0.0.0.0:0")?, lab.second_lan()?.udp("0.0.0.0:0")?);
    let seen = udp_seen_as(&here, SERVER)?;
    for Vlan { name, tags, router: (device, address), .. } in &TWO_ARMS {
        lab.router.ip(&["link", "del", "dev", name])?;
        let gone = |line: &str| line.contains("it is gone") && line.contains(name);
        daemon.wait_for_line(ANSWER_TIMEOUT, gone)?;
        add_vlan(&lab.router, device, tags)?;
        let back = |line: &str| line.contains("it has come back") && line.contains(name);
        daemon.wait_for_line(ANSWER_TIMEOUT, back)?;
        set_address(&lab.router, name, *address)?;
        if *address == EXTERNAL {
            lab.router.ip(&["route", "replace", "default", "via", &WAN_HOST.to_string()])?;
        }
        here.set_read_timeout(Some(Duration::from_millis(500)))?;
        wait_until("the old session", 10 * ANSWER_TIMEOUT, || {
            Ok(udp_seen_as(&here, SERVER).is_ok_and(|now| now == seen))
        })?;
        assert_eq!(*udp_seen_as(&there, SERVER)?.ip(), EXTERNAL);
    }
    daemon.stop()?;
    lab.finish()
}
