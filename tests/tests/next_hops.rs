//! Forwarding follows routes, neighbours, links and addresses within a second, and asks the kernel's
//! routing table no more than it must.

use anyhow::{Context, Result, ensure};
use nat_tests::client::{Gateway, soap::MAPPING};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, FAR_HOST, LAN_HOST, Lab, Namespace, OTHER_WAN_HOST, ROUTER_LAN,
    WAN_HOST, wait_until,
};
use nat_tests::ledger::Ledger;
use nat_tests::stream::{Echo, PACE, Stream};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
const FAR_SERVER: SocketAddrV4 = SocketAddrV4::new(FAR_HOST, 7000);
const NEW_MAC: &str = "02:00:5e:00:00:77";
const SOON: Duration = Duration::from_secs(1);

/// How long a neighbour that moves in silence may stay unnoticed.
const PATIENCE: Duration = Duration::from_secs(40);

/// A stream, and the counters from before it.
struct Flow {
    stream: Stream,
    ledger: Ledger,
}

impl Flow {
    /// From the LAN host to `server`, flowing already.
    fn start(lab: &Lab, daemon: &Daemon<'_>, server: SocketAddrV4) -> Result<Self> {
        let ledger = Ledger::open(lab, daemon)?;
        let stream = Stream::start(lab.lan.udp("192.168.77.2:5700")?, server, PACE)?;
        stream.flows(20, ANSWER_TIMEOUT)?;
        Ok(Self { stream, ledger })
    }

    /// Ends it after it has flowed for a little longer: it was never without a way for more than a
    /// second, and every packet of it that came to the router is in the counters.
    fn followed(self, lab: &Lab, daemon: &Daemon<'_>) -> Result<()> {
        self.stream.flows(50, SOON + ANSWER_TIMEOUT)?;
        let journey = self.stream.finish()?;
        let balance = self.ledger.close(lab, daemon)?;
        eprintln!("{journey:?}; {balance:?}");
        ensure!(journey.outage() < SOON, "{journey:?}");
        Ok(())
    }
}

/// Gives an interface another MAC address; `told` also tells the neighbours (gratuitous ARP).
fn change_mac(host: &Namespace, told: bool) -> Result<()> {
    host.sysctl("net/ipv4/conf/eth0/arp_notify", if told { "1" } else { "0" })?;
    host.ip(&["link", "set", "dev", "eth0", "address", NEW_MAC])?;
    Ok(())
}

/// Has a kernel doubt its neighbours on an interface sooner than usual, so that a test ends today.
fn doubt_soon(router: &Namespace, interface: &str) -> Result<()> {
    for (variable, value) in [
        ("base_reachable_time_ms", "2000"),
        ("delay_first_probe_time", "1"),
        ("retrans_time_ms", "200"),
        ("interval_probe_time_ms", "500"),
    ] {
        router.sysctl(&format!("net/ipv4/neigh/{interface}/{variable}"), value)?;
    }
    Ok(())
}

/// The kernel's entry of a neighbour.
fn neighbour(router: &Namespace, address: Ipv4Addr) -> Result<Option<Value>> {
    let listed = router.ip(&["-json", "neighbour", "show", "to", &address.to_string()])?;
    let listed: Value = serde_json::from_str(listed.trim()).context("ip -json")?;
    Ok(listed.get(0).cloned())
}

fn is_managed(router: &Namespace, address: Ipv4Addr) -> Result<bool> {
    let found = router.ip(&["neighbour", "show", "to", &address.to_string()])?;
    Ok(found.contains("managed"))
}

#[test]
fn a_steady_stream_asks_the_routing_table_once() -> Result<()> {
    let lab = Lab::builder().far_host(1500).build()?;
    let daemon = Daemon::start(&lab)?;
    let _echo = Echo::start(lab.far()?, FAR_SERVER)?;
    let flow = Flow::start(&lab, &daemon, FAR_SERVER)?;
    // The neighbours that were just resolved are known by now.
    flow.stream.flows(100, ANSWER_TIMEOUT)?;
    let before = daemon.counter("route_lookups")?;
    flow.stream.flows(200, ANSWER_TIMEOUT)?;
    let asked = daemon.counter("route_lookups")? - before;
    ensure!(asked <= 4, "{asked} questions for 200 packets");
    flow.followed(&lab, &daemon)?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_gateway_with_a_new_mac_address_is_followed() -> Result<()> {
    let lab = Lab::builder().far_host(1500).build()?;
    let daemon = Daemon::start(&lab)?;
    let _echo = Echo::start(lab.far()?, FAR_SERVER)?;
    let flow = Flow::start(&lab, &daemon, FAR_SERVER)?;
    change_mac(&lab.wan, true)?;
    flow.followed(&lab, &daemon)?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_new_gateway_is_followed_and_kept_resolved_instead_of_the_old() -> Result<()> {
    let lab = Lab::builder().far_host(1500).build()?;
    let daemon = Daemon::start(&lab)?;
    let _echo = Echo::start(lab.far()?, FAR_SERVER)?;
    wait_until("a managed gateway", ANSWER_TIMEOUT, || is_managed(&lab.router, WAN_HOST))?;
    let flow = Flow::start(&lab, &daemon, FAR_SERVER)?;
    lab.router.ip(&["route", "replace", "default", "via", &OTHER_WAN_HOST.to_string()])?;
    flow.followed(&lab, &daemon)?;
    wait_until("another managed gateway", ANSWER_TIMEOUT, || {
        Ok(is_managed(&lab.router, OTHER_WAN_HOST)? && !is_managed(&lab.router, WAN_HOST)?)
    })?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_gateway_that_changes_its_mac_address_in_silence_is_found_again() -> Result<()> {
    let lab = Lab::builder().far_host(1500).build()?;
    doubt_soon(&lab.router, "wan0")?;
    let daemon = Daemon::start(&lab)?;
    let _echo = Echo::start(lab.far()?, FAR_SERVER)?;
    let flow = Flow::start(&lab, &daemon, FAR_SERVER)?;
    change_mac(&lab.wan, false)?;
    flow.stream.flows(50, PATIENCE)?;
    let found = neighbour(&lab.router, WAN_HOST)?.context("no gateway")?;
    assert_eq!(found["lladdr"], NEW_MAC);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_lan_host_with_a_new_mac_address_is_followed() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    let flow = Flow::start(&lab, &daemon, SERVER)?;
    change_mac(&lab.lan, true)?;
    flow.followed(&lab, &daemon)?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_lan_host_that_changes_its_mac_address_in_silence_is_found_again() -> Result<()> {
    let lab = Lab::home()?;
    doubt_soon(&lab.router, "lan0")?;
    let daemon = Daemon::start(&lab)?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    let flow = Flow::start(&lab, &daemon, SERVER)?;
    // What the host asks of the router would tell it.
    let silence = "add table arp silence; \
        add chain arp silence out { type filter hook output priority 0; }; \
        add rule arp silence out arp operation request drop";
    lab.lan.run("nft", &[silence])?;
    let router = neighbour(&lab.lan, ROUTER_LAN)?.context("no router")?;
    let router = router["lladdr"].as_str().context("no MAC address")?.to_owned();
    change_mac(&lab.lan, false)?;
    // The change has taken it away.
    lab.lan.ip(&["neighbour", "replace", "192.168.77.1", "lladdr", &router, "dev", "eth0"])?;
    flow.stream.flows(50, PATIENCE)?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_lan_host_that_moves_to_another_lan_is_followed() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = Daemon::start(&lab)?;
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    let inside = SocketAddrV4::new(LAN_HOST, 5600);
    let there = lab.second_lan()?;
    there.ip(&["address", "add", &format!("{LAN_HOST}/32"), "dev", "eth0"])?;
    let (here, elsewhere) = (Echo::start(&lab.lan, inside)?, Echo::start(there, inside)?);
    let forwarded = SocketAddrV4::new(EXTERNAL, 6000);
    let ledger = Ledger::open(&lab, &daemon)?;
    let stream = Stream::start(lab.wan.udp("11.22.33.9:0")?, forwarded, PACE)?;
    stream.flows(20, ANSWER_TIMEOUT)?;
    let flow = Flow { stream, ledger };
    ensure!(here.arrived() >= 20 && elsewhere.arrived() == 0);
    lab.router.ip(&["route", "add", &format!("{LAN_HOST}/32"), "dev", "lan1"])?;
    flow.followed(&lab, &daemon)?;
    ensure!(elsewhere.arrived() >= 20);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_link_that_loses_its_carrier_is_used_again_when_it_has_one() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    for host in [&lab.wan, &lab.lan] {
        let flow = Flow::start(&lab, &daemon, SERVER)?;
        host.ip(&["link", "set", "dev", "eth0", "down"])?;
        host.ip(&["link", "set", "dev", "eth0", "up"])?;
        if host.name() == lab.lan.name() {
            host.ip(&["route", "add", "default", "via", "192.168.77.1"])?;
        }
        flow.followed(&lab, &daemon)?;
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_link_of_the_router_that_goes_down_is_used_again_when_it_is_up() -> Result<()> {
    let lab = Lab::builder().far_host(1500).build()?;
    let daemon = Daemon::start(&lab)?;
    let _echo = Echo::start(lab.far()?, FAR_SERVER)?;
    for interface in ["wan0", "lan0"] {
        let flow = Flow::start(&lab, &daemon, FAR_SERVER)?;
        lab.router.ip(&["link", "set", "dev", interface, "down"])?;
        lab.router.ip(&["link", "set", "dev", interface, "up"])?;
        if interface == "wan0" {
            lab.router.ip(&["route", "add", "default", "via", &WAN_HOST.to_string()])?;
        }
        flow.followed(&lab, &daemon)?;
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn the_first_packets_to_an_unresolved_neighbour_arrive() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    lab.router.ip(&["neighbour", "flush", "all"])?;
    let stream = Stream::start(lab.lan.udp("0.0.0.0:0")?, SERVER, Duration::from_micros(200))?;
    stream.flows(100, ANSWER_TIMEOUT)?;
    let journey = stream.finish()?;
    assert_eq!(journey.returned(), journey.sent(), "{journey:?}");
    ensure!(daemon.counter("slow_neighbour")? >= 1);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn packets_to_a_neighbour_that_nobody_answers_for_are_counted() -> Result<()> {
    const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(11, 22, 33, 77), 7000);
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let (handed, sent) = (daemon.counter("slow_neighbour")?, daemon.counter("outbound_packets")?);
    let socket = lab.lan.udp("0.0.0.0:0")?;
    for _ in 0..20 {
        socket.send_to(b"anybody?", NOBODY)?;
    }
    wait_until("20 packets that nobody takes", ANSWER_TIMEOUT, || {
        Ok(daemon.counter("slow_neighbour")? - handed == 20
            && daemon.counter("outbound_packets")? - sent == 20)
    })?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_stale_neighbour_of_a_live_session_is_confirmed() -> Result<()> {
    let lab = Lab::home()?;
    doubt_soon(&lab.router, "lan0")?;
    let daemon = Daemon::start(&lab)?;
    let client = lab.lan.udp("192.168.77.2:5700")?;
    let server = lab.wan.udp(&SERVER.to_string())?;
    client.send_to(b"hello", SERVER)?;
    let (_, seen) = server.recv_from(&mut [0; 16])?;
    server.send_to(b"welcome", seen)?;
    client.recv_from(&mut [0; 16])?;
    let state = || -> Result<String> {
        let found = neighbour(&lab.router, LAN_HOST)?;
        Ok(found.map(|found| found["state"].to_string()).unwrap_or_default())
    };
    wait_until("a stale entry", PATIENCE, || Ok(state()?.contains("STALE")))?;
    wait_until("a confirmed entry", PATIENCE, || Ok(state()?.contains("REACHABLE")))?;
    daemon.stop()?;
    lab.finish()
}
