//! Events, as a subscriber sees them.

use anyhow::{Context, Result, ensure};
use nat_tests::client::events::{self, Event, Manner, Subscriber, Subscription};
use nat_tests::client::{
    Gateway, http,
    soap::{MAPPING, Mapping, element},
};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, LAN_HOST, Lab, Namespace, ROUTER_LAN, WAN_HOST, packet::protocol,
    wait_until,
};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

/// How long an event may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// Description documents of both versions.
const VERSIONS: [&str; 2] = ["/igd1/rootDesc.xml", "/igd2/rootDesc.xml"];

const CONNECTION: &str = "WANIPConnection";
const LINK: &str = "WANCommonInterfaceConfig";
const FORWARDING: &str = "Layer3Forwarding";

/// The event URL of a service in a description.
fn event_url(
    from: &Namespace,
    server: SocketAddrV4,
    description: &str,
    service: &str,
) -> Result<String> {
    let text = http::get(from, server, description)?.body;
    let kind = format!("<serviceType>urn:schemas-upnp-org:service:{service}:");
    let (_, rest) = text.split_once(&kind).with_context(|| format!("{service}: {text}"))?;
    Ok(element(rest, "eventSubURL").context("no eventSubURL")?.to_owned())
}

/// A lab's LAN host with a subscription to the connection's events.
fn subscribed(
    lab: &Lab,
    gateway: &Gateway<'_>,
    description: &str,
) -> Result<(Subscriber, Subscription, String)> {
    let subscriber = Subscriber::start(&lab.lan, &format!("{LAN_HOST}:0"))?;
    let path = event_url(&lab.lan, gateway.server, description, CONNECTION)?;
    let subscription = events::subscribe(&lab.lan, gateway.server, &path, &subscriber.url)?;
    subscriber.wait_until("the first event", SOON, |events| !events.is_empty())?;
    Ok((subscriber, subscription, path))
}

fn names(event: &Event) -> Vec<&str> {
    event.values.iter().map(|(name, _)| name.as_str()).collect()
}

/// That all the messages of one subscription are there, in their order, each as the standard wants it.
fn assert_well_formed(events: &[Event], subscription: &Subscription, url: &str) -> Result<()> {
    let host = url.trim_start_matches("http://").trim_end_matches("/events");
    for (seq, event) in (0..).zip(events) {
        assert_eq!(event.start, "NOTIFY /events HTTP/1.1");
        assert_eq!(event.seq(), Some(seq), "{events:#?}");
        for (name, value) in [
            ("HOST", host),
            ("NT", "upnp:event"),
            ("NTS", "upnp:propchange"),
            ("SID", &subscription.sid),
            ("CONTENT-TYPE", "text/xml; charset=\"utf-8\""),
        ] {
            assert_eq!(event.header(name), Some(value), "{event:#?}");
        }
        ensure!(event.peer == ROUTER_LAN, "{event:#?}");
    }
    Ok(())
}

#[test]
fn the_first_event_tells_every_evented_variable() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let external = EXTERNAL.to_string();
    for description in VERSIONS {
        let (subscriber, subscription, _) = subscribed(&lab, &gateway, description)?;
        ensure!(subscription.timeout >= 1_800, "{subscription:?}");
        let events = subscriber.events();
        assert_well_formed(&events, &subscription, &subscriber.url)?;
        let first = &events[0];
        assert_eq!(first.value("ConnectionStatus"), Some("Connected"));
        assert_eq!(first.value("ExternalIPAddress"), Some(external.as_str()));
        assert_eq!(first.value("PortMappingNumberOfEntries"), Some("0"));
        assert_eq!(first.value("PossibleConnectionTypes"), Some("IP_Routed"));
        assert_eq!(first.value("SystemUpdateID").is_some(), description.starts_with("/igd2"));
        let expected = if description.starts_with("/igd2") { 5 } else { 4 };
        assert_eq!(first.values.len(), expected, "{first:#?}");

        for (service, variable) in
            [(LINK, "PhysicalLinkStatus"), (FORWARDING, "DefaultConnectionService")]
        {
            let path = event_url(&lab.lan, gateway.server, description, service)?;
            let other = Subscriber::start(&lab.lan, &format!("{LAN_HOST}:0"))?;
            events::subscribe(&lab.lan, gateway.server, &path, &other.url)?;
            let events = other.wait_until(service, SOON, |events| !events.is_empty())?;
            ensure!(names(&events[0]).contains(&variable), "{events:#?}");
            let value = events[0].value(variable).context("no value")?;
            ensure!(value == "Up" || value.contains("WANConnectionDevice:"), "{value}");
        }
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn mappings_that_come_change_and_go_are_told_in_both_versions() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let (old, old_subscription, _) = subscribed(&lab, &gateway, VERSIONS[0])?;
    let (new, new_subscription, _) = subscribed(&lab, &gateway, VERSIONS[1])?;
    let start: u32 = new.latest("SystemUpdateID").context("no SystemUpdateID")?.parse()?;
    let told = |step: u32, entries: &str| -> Result<()> {
        let id = (start + step).to_string();
        let event = new.wait_for("SystemUpdateID", &id, SOON)?;
        if let Some(evented) = event.value("PortMappingNumberOfEntries") {
            assert_eq!(evented, entries, "{event:#?}");
            assert_eq!(names(&event).len(), 2, "both in one message, and nothing else: {event:#?}");
        }
        assert_eq!(new.latest("PortMappingNumberOfEntries").as_deref(), Some(entries));
        Ok(())
    };

    gateway.add(&Mapping { lease: "6", ..MAPPING })?.success()?;
    told(1, "1")?;
    old.wait_for("PortMappingNumberOfEntries", "1", SOON)?;
    gateway.add(&Mapping { external_port: "6001", ..MAPPING })?.success()?;
    told(2, "2")?;
    // An update changes no number, but something that may matter.
    gateway.add(&Mapping { external_port: "6001", lease: "1200", ..MAPPING })?.success()?;
    told(3, "2")?;
    let key = [("NewRemoteHost", ""), ("NewExternalPort", "6001"), ("NewProtocol", "UDP")];
    gateway.call("DeletePortMapping", &key)?.success()?;
    told(4, "1")?;
    // What is refused is no change, and reading is none.
    gateway.call("DeletePortMapping", &key)?;
    gateway.call("GetExternalIPAddress", &[])?.success()?;
    // The lease of the first ends.
    told(5, "0")?;
    old.wait_until("the end of the lease", SOON, |events| {
        events.last().and_then(|last| last.value("PortMappingNumberOfEntries")) == Some("0")
    })?;
    assert_well_formed(&new.events(), &new_subscription, &new.url)?;
    assert_well_formed(&old.events(), &old_subscription, &old.url)?;
    let of_version_2 = |event: &Event| event.value("SystemUpdateID").is_some();
    ensure!(!old.events().iter().any(of_version_2), "{:#?}", old.events());
    daemon.stop()?;
    lab.finish()
}

#[test]
fn the_external_address_and_the_link_are_told() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let (subscriber, subscription, _) = subscribed(&lab, &gateway, VERSIONS[1])?;
    let link = Subscriber::start(&lab.lan, &format!("{LAN_HOST}:0"))?;
    let path = event_url(&lab.lan, gateway.server, VERSIONS[0], LINK)?;
    events::subscribe(&lab.lan, gateway.server, &path, &link.url)?;
    link.wait_for("PhysicalLinkStatus", "Up", SOON)?;

    let address = |verb, at: &str| lab.router.ip(&["address", verb, at, "dev", "wan0"]);
    lab.router.sysctl("net/ipv4/conf/wan0/promote_secondaries", "1")?;
    let new = Ipv4Addr::new(11, 22, 33, 2);
    address("add", &format!("{new}/24"))?;
    address("del", &format!("{EXTERNAL}/24"))?;
    lab.router.ip(&["route", "replace", "default", "via", &WAN_HOST.to_string()])?;
    subscriber.wait_for("ExternalIPAddress", &new.to_string(), SOON)?;

    address("del", &format!("{new}/24"))?;
    subscriber.wait_for("ConnectionStatus", "Disconnected", SOON)?;
    subscriber.wait_for("ExternalIPAddress", "", SOON)?;
    address("add", &format!("{EXTERNAL}/24"))?;
    lab.router.ip(&["route", "replace", "default", "via", &WAN_HOST.to_string()])?;
    wait_until("connected again", SOON, || {
        Ok(subscriber.latest("ConnectionStatus").as_deref() == Some("Connected")
            && subscriber.latest("ExternalIPAddress") == Some(EXTERNAL.to_string()))
    })?;
    assert_well_formed(&subscriber.events(), &subscription, &subscriber.url)?;

    lab.wan.ip(&["link", "set", "eth0", "down"])?;
    link.wait_for("PhysicalLinkStatus", "Down", SOON)?;
    lab.wan.ip(&["link", "set", "eth0", "up"])?;
    wait_until("the link is up again", SOON, || {
        Ok(link.latest("PhysicalLinkStatus").as_deref() == Some("Up"))
    })?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_subscription_is_renewed_and_ended_by_its_subscriber() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let (subscriber, subscription, path) = subscribed(&lab, &gateway, VERSIONS[1])?;
    let sid = ("SID", subscription.sid.as_str());
    let ask = |method, headers: &[(&str, &str)]| {
        events::request(&lab.lan, gateway.server, method, &path, headers)
    };
    let renewed = ask("SUBSCRIBE", &[sid, ("TIMEOUT", "Second-3600")])?;
    let renewed = events::granted(&renewed)?;
    assert_eq!((renewed.sid.as_str(), renewed.timeout), (subscription.sid.as_str(), 3_600));

    assert_eq!(ask("UNSUBSCRIBE", &[sid])?.status, 200);
    gateway.add(&MAPPING)?.success()?;
    assert_eq!(ask("UNSUBSCRIBE", &[sid])?.status, 412);
    assert_eq!(ask("SUBSCRIBE", &[sid])?.status, 412);
    // A later subscriber has heard of the mapping, so the earlier one would have, too.
    let (later, ..) = subscribed(&lab, &gateway, VERSIONS[1])?;
    later.wait_for("PortMappingNumberOfEntries", "1", SOON)?;
    assert_eq!(subscriber.events().len(), 1, "{:#?}", subscriber.events());
    daemon.stop()?;
    lab.finish()
}

#[test]
fn wrong_subscriptions_have_their_status() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let path = event_url(&lab.lan, gateway.server, VERSIONS[1], CONNECTION)?;
    let other = event_url(&lab.lan, gateway.server, VERSIONS[1], LINK)?;
    let url = format!("<http://{LAN_HOST}:4000/>");
    let url = ("CALLBACK", url.as_str());
    let nt = ("NT", "upnp:event");
    let (_subscriber, subscription, _) = subscribed(&lab, &gateway, VERSIONS[1])?;
    let sid = ("SID", subscription.sid.as_str());
    for (method, path, headers, status) in [
        ("SUBSCRIBE", &path, vec![sid, nt, url], 400),
        ("SUBSCRIBE", &path, vec![sid, nt], 400),
        ("SUBSCRIBE", &path, vec![sid, url], 400),
        ("UNSUBSCRIBE", &path, vec![sid, nt], 400),
        ("UNSUBSCRIBE", &path, vec![sid, url], 400),
        ("SUBSCRIBE", &path, vec![nt], 412),
        ("SUBSCRIBE", &path, vec![url], 412),
        ("SUBSCRIBE", &path, vec![("NT", "upnp:other"), url], 412),
        ("SUBSCRIBE", &path, vec![nt, ("CALLBACK", "<mailto:a@b>")], 412),
        ("SUBSCRIBE", &path, vec![], 412),
        ("SUBSCRIBE", &path, vec![("SID", "uuid:no-such")], 412),
        ("SUBSCRIBE", &other, vec![sid], 412),
        ("UNSUBSCRIBE", &other, vec![sid], 412),
        ("UNSUBSCRIBE", &path, vec![], 412),
        ("SUBSCRIBE", &path, vec![nt, url, ("Origin", "http://evil.example")], 403),
        ("SUBSCRIBE", &"/no/such/path".to_owned(), vec![nt, url], 404),
        ("GET", &path, vec![], 405),
    ] {
        let response = events::request(&lab.lan, gateway.server, method, path, &headers)?;
        assert_eq!(response.status, status, "{method} {headers:?}: {response:?}");
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn events_go_nowhere_but_to_the_lan_that_subscribed() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let path = event_url(&lab.lan, gateway.server, VERSIONS[1], CONNECTION)?;
    for target in [
        format!("http://{WAN_HOST}:8080/"),
        format!("http://{EXTERNAL}:5000/"),
        format!("http://{ROUTER_LAN}:5000/"),
        format!("http://{}:8080/", nat_tests::lab::SECOND_LAN_HOST),
        "http://127.0.0.1:8080/".to_owned(),
        "http://239.255.255.250:1900/".to_owned(),
        "http://192.168.77.255:8080/".to_owned(),
        format!("http://{LAN_HOST}:22/"),
        "http://wan.example:8080/".to_owned(),
    ] {
        let refused = events::subscribe(&lab.lan, gateway.server, &path, &target);
        let text = format!("{refused:?}");
        ensure!(text.contains("status: 412"), "{target}: {text}");
    }
    // Of several URLs those that are of the LAN are tried, in their order.
    let subscriber = Subscriber::start(&lab.lan, &format!("{LAN_HOST}:0"))?;
    let several = format!("http://{WAN_HOST}:8080/><http://{LAN_HOST}:4001/><{}", subscriber.url);
    events::subscribe(&lab.lan, gateway.server, &path, &several)?;
    subscriber.wait_until("the first event", SOON, |events| events.len() == 1)?;
    gateway.add(&MAPPING)?.success()?;
    subscriber.wait_for("PortMappingNumberOfEntries", "1", SOON)?;
    let to_the_wan = lab
        .on_wan()
        .packets(|packet| packet.protocol == protocol::TCP && packet.destination_port == 8080);
    ensure!(to_the_wan.is_empty(), "{to_the_wan:?}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_deaf_or_slow_subscriber_delays_nobody() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let path = event_url(&lab.lan, gateway.server, VERSIONS[1], CONNECTION)?;
    let slow = Subscriber::with_manner(&lab.lan, &format!("{LAN_HOST}:0"), Manner::Silent)?;
    for _ in 0..4 {
        events::subscribe(&lab.lan, gateway.server, &path, &slow.url)?;
        // Nobody has this address, and nobody listens at this port.
        events::subscribe(&lab.lan, gateway.server, &path, "http://192.168.77.77:4000/")?;
        events::subscribe(&lab.lan, gateway.server, &path, &format!("http://{LAN_HOST}:4001/"))?;
    }
    let (subscriber, subscription, _) = subscribed(&lab, &gateway, VERSIONS[1])?;
    let start = Instant::now();
    for port in 6_000..6_010 {
        gateway.add(&Mapping { external_port: &port.to_string(), ..MAPPING })?.success()?;
    }
    subscriber.wait_for("PortMappingNumberOfEntries", "10", SOON)?;
    let took = start.elapsed();
    ensure!(took < Duration::from_secs(5), "ten changes took {took:?}");
    assert_well_formed(&subscriber.events(), &subscription, &subscriber.url)?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn who_does_not_know_its_subscription_hears_no_more() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let path = event_url(&lab.lan, gateway.server, VERSIONS[1], CONNECTION)?;
    let port = format!("{LAN_HOST}:4711");
    let subscriber = Subscriber::start(&lab.lan, &port)?;
    let subscription = events::subscribe(&lab.lan, gateway.server, &path, &subscriber.url)?;
    subscriber.wait_until("the first event", SOON, |events| !events.is_empty())?;
    drop(subscriber);
    let restarted = Subscriber::with_manner(&lab.lan, &port, Manner::Answers(412))?;
    gateway.add(&MAPPING)?.success()?;
    restarted.wait_until("an event", SOON, |events| !events.is_empty())?;
    wait_until("the end of the subscription", ANSWER_TIMEOUT, || {
        let renew = [("SID", subscription.sid.as_str())];
        let response = events::request(&lab.lan, gateway.server, "SUBSCRIBE", &path, &renew)?;
        Ok(response.status == 412)
    })?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn many_changes_at_once_are_told_in_few_messages() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let (subscriber, subscription, _) = subscribed(&lab, &gateway, VERSIONS[1])?;
    let start: u32 = subscriber.latest("SystemUpdateID").context("no id")?.parse()?;
    // Over one connection, as fast as they are answered.
    let mut stream = lab.lan.tcp_connect(gateway.server)?;
    let changes = 200_u32;
    for port in 0..changes {
        let port = (7_000 + port).to_string();
        let mapping = Mapping { external_port: &port, ..MAPPING };
        let body = nat_tests::client::soap::envelope("AddPortMapping", &mapping.arguments());
        let request =
            gateway.request("POST", &gateway.control, "text/xml", "AddPortMapping", &body);
        stream.write_all(request.replace("Connection: close\r\n", "").as_bytes())?;
        let response = http::read_response(&mut stream)?;
        ensure!(response.status == 200, "{response:?}");
    }
    let last = (start + changes).to_string();
    subscriber.wait_for("SystemUpdateID", &last, SOON)?;
    assert_eq!(subscriber.latest("PortMappingNumberOfEntries"), Some(changes.to_string()));
    let events = subscriber.events();
    assert_well_formed(&events, &subscription, &subscriber.url)?;
    ensure!(events.len() < 100, "{} messages for {changes} changes", events.len());
    daemon.stop()?;
    lab.finish()
}

#[test]
fn ten_thousand_subscriptions_leave_room_for_others() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let path = event_url(&lab.lan, gateway.server, VERSIONS[1], CONNECTION)?;
    // The flood comes from another host of the LAN.
    lab.lan.ip(&["address", "add", "192.168.77.66/24", "dev", "eth0"])?;
    let flooder = SocketAddrV4::new(Ipv4Addr::new(192, 168, 77, 66), 0);
    let mut stream = lab.lan.tcp_connect_from(flooder, gateway.server, ANSWER_TIMEOUT)??;
    let server = gateway.server;
    let mut granted = 0;
    for port in 0..10_000_u32 {
        let request = format!(
            "SUBSCRIBE {path} HTTP/1.1\r\nHOST: {server}\r\nNT: upnp:event\r\n\
             CALLBACK: <http://192.168.77.66:{}/>\r\n\r\n",
            10_000 + port
        );
        stream.write_all(request.as_bytes())?;
        let response = http::read_response(&mut stream)?;
        ensure!(matches!(response.status, 200 | 503), "{response:?}");
        granted += u32::from(response.status == 200);
    }
    // Those whose events nobody takes give way, so some of the later ones were granted, too.
    ensure!(granted >= 32, "{granted} were granted");
    let (subscriber, ..) = subscribed(&lab, &gateway, VERSIONS[1])?;
    gateway.add(&MAPPING)?.success()?;
    subscriber.wait_for("PortMappingNumberOfEntries", "1", SOON)?;
    daemon.stop()?;
    lab.finish()
}
