//! The LAN's addresses come, go and change while the gateway runs; and it speaks IPv6 there.

use anyhow::{Context, Result, ensure};
use nat_tests::client::{
    Gateway,
    events::{self, Subscriber},
    http, ipv6,
    soap::{MAPPING, WAN_IP_CONNECTION, element, envelope},
    ssdp::{self, Message},
};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, Capture, LAN_HOST, Lab, ROUTER_LAN, packet::Packet, wait_until,
};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// How long the gateway may take to notice.
const SOON: Duration = Duration::from_secs(10);
const NEW: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 1);
const CONTENT_TYPE: &str = "text/xml; charset=\"utf-8\"";

fn message(packet: &Packet) -> Option<Message> {
    let message = Message::parse(&packet.text());
    message.start.starts_with("NOTIFY").then_some(message)
}

fn says(packet: &Packet, nts: &str, location: Ipv4Addr) -> bool {
    let location = format!("http://{location}:");
    message(packet).is_some_and(|message| {
        message.header("nts") == Some(nts)
            && message.header("location").is_some_and(|found| found.starts_with(&location))
    })
}

fn number(message: &Message, header: &str) -> Result<u32> {
    Ok(message.header(header).with_context(|| format!("no {header}: {message:?}"))?.parse()?)
}

/// Gives the LAN's interface, and a host in it, another address.
fn add_network(lab: &Lab) -> Result<()> {
    lab.router.ip(&["address", "add", "192.168.99.1/24", "dev", "lan0"])?;
    lab.lan.ip(&["address", "add", "192.168.99.2/24", "dev", "eth0"])?;
    Ok(())
}

fn is_served(lab: &Lab, address: Ipv4Addr) -> bool {
    let server = SocketAddrV4::new(address, 5000);
    http::get(&lab.lan, server, "/igd1/rootDesc.xml").is_ok_and(|answer| answer.status == 200)
}

/// Where a search from this address is led.
fn found_from(lab: &Lab, host: &str) -> Result<Vec<String>> {
    let socket = lab.lan.udp(&format!("{host}:0"))?;
    socket2::SockRef::from(&socket).set_multicast_if_v4(&host.parse()?)?;
    socket.send_to(ssdp::request(WAN_IP_CONNECTION).as_bytes(), ssdp::GROUP)?;
    let answers = ssdp::answers(&socket, |answers| !answers.is_empty());
    Ok(answers.iter().filter_map(|one| one.header("location")).map(str::to_owned).collect())
}

#[test]
fn an_address_that_comes_is_served_and_announced_with_a_higher_boot_id() -> Result<()> {
    let lab = Lab::home()?;
    let lan = Capture::start(&lab.lan)?;
    let daemon = Daemon::start(&lab)?;
    let alive = |packet: &Packet| says(packet, "ssdp:alive", ROUTER_LAN);
    let before = lan.wait_for("ssdp:alive", 20, SOON, alive)?;
    let before = number(&message(&before[0]).context("it was one")?, "bootid.upnp.org")?;

    add_network(&lab)?;
    wait_until("the new address", SOON, || Ok(is_served(&lab, NEW)))?;
    ensure!(is_served(&lab, ROUTER_LAN));
    let update = |packet: &Packet| says(packet, "ssdp:update", ROUTER_LAN);
    let updates = lan.wait_for("ssdp:update", 20, SOON, update)?;
    for update in &updates {
        let update = message(update).context("it was one")?;
        assert_eq!(number(&update, "bootid.upnp.org")?, before);
        ensure!(number(&update, "nextbootid.upnp.org")? > before, "{update:?}");
    }
    let next = number(&message(&updates[0]).context("it was one")?, "nextbootid.upnp.org")?;
    lan.wait_for("ssdp:alive with the next BOOTID", 20, SOON, |packet| {
        let of_next =
            |message: &Message| number(message, "bootid.upnp.org").is_ok_and(|id| id == next);
        alive(packet) && message(packet).as_ref().is_some_and(of_next)
    })?;
    // Each network is led to its own address.
    for (host, server) in [("192.168.99.2", NEW), ("192.168.77.2", ROUTER_LAN)] {
        let found = found_from(&lab, host)?;
        let wanted = format!("http://{server}:5000/igd2/rootDesc.xml");
        assert_eq!(found, [wanted], "from {host}");
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn an_address_that_goes_takes_its_subscriptions_along() -> Result<()> {
    let lab = Lab::home()?;
    add_network(&lab)?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let path = "/igd2/event/WANIPConnection";
    let subscriber = Subscriber::start(&lab.lan, "192.168.99.2:0")?;
    let server = SocketAddrV4::new(NEW, 5000);
    events::subscribe(&lab.lan, server, path, &subscriber.url)?;
    subscriber.wait_until("the first event", SOON, |events| !events.is_empty())?;
    assert_eq!(daemon.status()?["subscriptions"], 1);

    lab.router.ip(&["address", "del", "192.168.99.1/24", "dev", "lan0"])?;
    wait_until("the end of the subscription", SOON, || Ok(daemon.status()?["subscriptions"] == 0))?;
    let http = daemon.status()?["http"].to_string();
    ensure!(http.contains("192.168.77.1:5000") && !http.contains("192.168.99.1"), "{http}");
    // The same address again is a new one.
    lab.router.ip(&["address", "add", "192.168.99.1/24", "dev", "lan0"])?;
    wait_until("the address again", SOON, || Ok(is_served(&lab, NEW)))?;
    gateway.add(&MAPPING)?.success()?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_lan_without_an_address_waits_for_one() -> Result<()> {
    let lab = Lab::home()?;
    lab.router.ip(&["address", "flush", "dev", "lan0"])?;
    let lan = Capture::start(&lab.lan)?;
    let daemon = Daemon::start(&lab)?;
    lab.router.ip(&["address", "add", &format!("{ROUTER_LAN}/24"), "dev", "lan0"])?;
    wait_until("the address", SOON, || Ok(is_served(&lab, ROUTER_LAN)))?;
    lan.wait_for("ssdp:alive", 20, SOON, |packet| says(packet, "ssdp:alive", ROUTER_LAN))?;
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn an_address_that_changes_is_told_to_those_who_knew_the_old_one() -> Result<()> {
    let lab = Lab::home()?;
    let lan = Capture::start(&lab.lan)?;
    let daemon = Daemon::start(&lab)?;
    lan.wait_for("ssdp:alive", 20, SOON, |packet| says(packet, "ssdp:alive", ROUTER_LAN))?;
    lab.router.ip(&["address", "del", &format!("{ROUTER_LAN}/24"), "dev", "lan0"])?;
    add_network(&lab)?;
    lan.wait_for("ssdp:alive", 20, SOON, |packet| says(packet, "ssdp:alive", NEW))?;
    let found = found_from(&lab, "192.168.99.2")?;
    assert_eq!(found, [format!("http://{NEW}:5000/igd2/rootDesc.xml")]);
    ensure!(!is_served(&lab, ROUTER_LAN));
    daemon.stop()?;
    lab.finish()
}

#[test]
fn boot_ids_rise_with_every_start() -> Result<()> {
    let lab = Lab::home()?;
    let directory = lab.directory().join("state");
    let mut last = 0;
    for _ in 0..3 {
        let daemon = Daemon::builder(&lab).state(&directory).start()?;
        let answers = ssdp::search(&lab.lan, "upnp:rootdevice", 1)?;
        let id = number(answers.first().context("no answer")?, "bootid.upnp.org")?;
        ensure!(id > last, "{id} after {last}");
        last = id;
        daemon.stop()?;
    }
    // Somebody has set the clock back: the file says what was before.
    std::fs::write(directory.join("boot-id"), "2000000000\n")?;
    let daemon = Daemon::builder(&lab).state(&directory).start()?;
    let answers = ssdp::search(&lab.lan, "upnp:rootdevice", 1)?;
    let id = number(answers.first().context("no answer")?, "bootid.upnp.org")?;
    assert_eq!(id, 2_000_000_001);
    daemon.stop()?;
    lab.finish()
}

/// Searches by IPv6, and checks what comes back.
fn found_by_ipv6(lab: &Lab, group: &str, router: std::net::Ipv6Addr) -> Result<()> {
    let socket = ipv6::udp(&lab.lan)?;
    let group = ipv6::through_eth0(&lab.lan, group.parse()?, 1900)?;
    let request = ssdp::request(WAN_IP_CONNECTION).replace("239.255.255.250", "[FF02::C]");
    socket.send_to(request.as_bytes(), group)?;
    let answers = ssdp::answers(&socket, |answers| !answers.is_empty());
    let answer = answers.first().context("no answer by IPv6")?;
    let location = answer.header("location").context("no LOCATION")?;
    assert_eq!(location, format!("http://[{router}]:5000/igd2/rootDesc.xml"));
    let server = ipv6::through_eth0(&lab.lan, router, 5000)?;
    let get = format!("GET /igd2/rootDesc.xml HTTP/1.1\r\nHost: [{router}]:5000\r\n\r\n");
    let description = ipv6::exchange(&lab.lan, server, &get)?;
    ensure!(description.status == 200 && description.body.contains("WANIPConnection:2"));
    let foreign = get.replace(&format!("[{router}]"), "evil.example");
    assert_eq!(ipv6::exchange(&lab.lan, server, &foreign)?.status, 403);
    Ok(())
}

#[test]
fn the_gateway_is_found_and_read_by_ipv6() -> Result<()> {
    let lab = Lab::home()?;
    lab.router.ip(&["address", "add", "fd00:77::1/64", "dev", "lan0"])?;
    lab.lan.ip(&["address", "add", "fd00:77::2/64", "dev", "eth0"])?;
    let router = ipv6::address_of(&lab.router, "lan0", "link")?;
    let daemon = Daemon::start(&lab)?;
    wait_until("IPv6", SOON, || Ok(daemon.status()?["http"].to_string().contains("fe80")))?;
    found_by_ipv6(&lab, "ff02::c", router)?;
    found_by_ipv6(&lab, "ff05::c", "fd00:77::1".parse()?)?;

    let server = ipv6::through_eth0(&lab.lan, router, 5000)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let call = |action: &str, arguments: &[(&str, &str)]| {
        let body = envelope(action, arguments);
        let request = gateway.request("POST", &gateway.control, CONTENT_TYPE, action, &body);
        let host = format!("[{router}]:5000");
        ipv6::exchange(&lab.lan, server, &request.replace(&gateway.server.to_string(), &host))
    };
    let address = call("GetExternalIPAddress", &[])?;
    assert_eq!(element(&address.body, "NewExternalIPAddress"), Some("11.22.33.1"));
    // Mappings are for IPv4 hosts' own addresses, and who comes by IPv6 has none.
    let refused = call("AddPortMapping", &MAPPING.arguments())?;
    assert_eq!(element(&refused.body, "errorCode"), Some("606"), "{refused:?}");
    gateway.add(&MAPPING)?.success()?;
    let key = [("NewRemoteHost", ""), ("NewExternalPort", "6000"), ("NewProtocol", "UDP")];
    assert_eq!(call("DeletePortMapping", &key)?.status, 500);
    assert_eq!(daemon.mappings()?.len(), 1);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn events_go_by_ipv6_to_who_has_subscribed_by_it() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    wait_until("IPv6", SOON, || Ok(daemon.status()?["http"].to_string().contains("fe80")))?;
    let router = ipv6::address_of(&lab.router, "lan0", "link")?;
    let host = ipv6::address_of(&lab.lan, "eth0", "link")?;
    let server = ipv6::through_eth0(&lab.lan, router, 5000)?;
    let subscriber = Subscriber::start(&lab.lan, "[::]:0")?;
    let port = subscriber.url.rsplit(':').next().context("no port")?.to_owned();
    let request = |url: &str| {
        format!(
            "SUBSCRIBE /igd2/event/WANIPConnection HTTP/1.1\r\nHOST: [{router}]:5000\r\n\
             NT: upnp:event\r\nCALLBACK: <{url}>\r\n\r\n"
        )
    };
    for other in [format!("http://{LAN_HOST}:{port}"), format!("http://[fd00::9]:{port}")] {
        assert_eq!(ipv6::exchange(&lab.lan, server, &request(&other))?.status, 412, "{other}");
    }
    let own = request(&format!("http://[{host}]:{port}"));
    events::granted(&ipv6::exchange(&lab.lan, server, &own)?)?;
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&MAPPING)?.success()?;
    let event = subscriber.wait_for("PortMappingNumberOfEntries", "1", ANSWER_TIMEOUT)?;
    assert_eq!(event.peer, router);
    daemon.stop()?;
    lab.finish()
}
