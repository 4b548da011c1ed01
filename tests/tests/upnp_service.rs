//! The services as the standard has them, by black-box SOAP in both versions.

use anyhow::{Context, Result};
use nat_tests::client::{
    Gateway,
    soap::{MAPPING, Mapping, WAN_IP_CONNECTION, WAN_IP_CONNECTION_1, element},
};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{ANSWER_TIMEOUT, EXTERNAL, Lab, UdpReflector};
use nat_tests::lease::{SILENT_FOR, crosses};
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const VERSIONS: [&str; 2] = [WAN_IP_CONNECTION_1, WAN_IP_CONNECTION];
const COMMON: &str = "urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1";
const LAYER_3: &str = "urn:schemas-upnp-org:service:Layer3Forwarding:1";

const OPEN: &str = "[policy]\nmode = \"open\"\n";

/// The arguments of actions that need some: as they stand, they do no harm.
fn arguments(action: &str) -> Vec<(&'static str, &'static str)> {
    let key = [("NewRemoteHost", ""), ("NewExternalPort", "6000"), ("NewProtocol", "UDP")];
    let range = [
        ("NewStartPort", "6000"),
        ("NewEndPort", "6100"),
        ("NewProtocol", "UDP"),
        ("NewManage", "0"),
    ];
    match action {
        "SetConnectionType" => vec![("NewConnectionType", "IP_Routed")],
        "SetAutoDisconnectTime" => vec![("NewAutoDisconnectTime", "0")],
        "SetIdleDisconnectTime" => vec![("NewIdleDisconnectTime", "0")],
        "SetWarnDisconnectDelay" => vec![("NewWarnDisconnectDelay", "0")],
        "SetEnabledForInternet" => vec![("NewEnabledForInternet", "1")],
        "GetActiveConnections" => vec![("NewActiveConnectionIndex", "0")],
        "GetGenericPortMappingEntry" => vec![("NewPortMappingIndex", "0")],
        "GetSpecificPortMappingEntry" | "DeletePortMapping" => key.to_vec(),
        "AddPortMapping" | "AddAnyPortMapping" => MAPPING.arguments().to_vec(),
        "DeletePortMappingRange" => range.to_vec(),
        "GetListOfPortMappings" => [&range[..], &[("NewNumberOfPorts", "0")]].concat(),
        _ => Vec::new(),
    }
}

/// The texts of all elements of a name.
fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(start.as_str()).skip(1).filter_map(|rest| rest.split(end.as_str()).next()).collect()
}

/// The actions of an SCPD with the names of their results.
fn described(scpd: &str) -> Vec<(&str, Vec<&str>)> {
    elements(scpd, "action")
        .into_iter()
        .map(|action| {
            let name = element(action, "name").unwrap_or_default();
            let outputs = elements(action, "argument")
                .into_iter()
                .filter(|argument| argument.contains("<direction>out</direction>"))
                .filter_map(|argument| element(argument, "name"))
                .collect();
            (name, outputs)
        })
        .collect()
}

#[test]
fn every_action_of_both_versions_answers_what_its_description_says() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::builder(&lab).configured(OPEN)?.start()?;
    for (wan, actions) in VERSIONS.into_iter().zip([18, 21]) {
        let gateway = Gateway::discover_by(&lab.lan, wan)?;
        for (service_type, count) in [(wan, actions), (COMMON, 10), (LAYER_3, 2)] {
            let service = gateway.at(service_type)?;
            let scpd = service.get(service.url_of(service_type, "SCPDURL")?)?.body;
            let described = described(&scpd);
            assert_eq!(described.len(), count, "{service_type}");
            for (action, outputs) in described {
                // Whatever comes before may have taken the mapping away.
                gateway.add(&MAPPING)?.success()?;
                let reply = service.call(action, &arguments(action))?;
                let expected = match action {
                    "SetConnectionType" => Some(703),
                    "SetDefaultConnectionService" => Some(402),
                    _ => None,
                };
                assert_eq!(reply.error_code(), expected, "{action}: {}", reply.0.body);
                if expected.is_some() {
                    continue;
                }
                let mut rest = reply.0.body.as_str();
                for output in outputs {
                    let found = rest.split_once(&format!("<{output}>"));
                    rest = found.with_context(|| format!("{action}: no {output}"))?.1;
                }
                if action.ends_with("Termination") {
                    gateway.call("RequestConnection", &[])?.success()?;
                }
            }
        }
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn version_1_is_served_in_its_own_way() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::builder(&lab).configured("[upnp]\nlongest-lease = 1000\n")?.start()?;
    let old = Gateway::discover_by(&lab.lan, WAN_IP_CONNECTION_1)?;
    let new = Gateway::discover(&lab.lan)?;
    assert!(old.location.ends_with("/igd1/rootDesc.xml"), "{}", old.location);
    assert!(new.location.ends_with("/igd2/rootDesc.xml"), "{}", new.location);
    assert_ne!(element(&old.description, "UDN"), element(&new.description, "UDN"));
    let types = elements(&old.description, "deviceType");
    assert!(types.len() == 3 && types.iter().all(|kind| kind.ends_with(":1")), "{types:?}");
    for id in ["WANIPConn1", "WANCommonIFC1", "L3Forwarding1"] {
        let id = format!("<serviceId>urn:upnp-org:serviceId:{id}</serviceId>");
        assert!(old.description.contains(&id) && new.description.contains(&id), "{id}");
    }

    // A lease without end gets the longest, and tells what is left of it.
    old.add(&Mapping { lease: "0", ..MAPPING })?.success()?;
    for gateway in [&old, &new] {
        let get = "GetSpecificPortMappingEntry";
        let entry = gateway.call(get, &arguments(get))?.success()?;
        let left: u32 = entry.value("NewLeaseDuration").context("no lease")?.parse()?;
        assert!((990..=1000).contains(&left), "{left}");
    }
    for (changed, before, now) in [
        (Mapping { protocol: "SCTP", ..MAPPING }, 402, 601),
        (Mapping { internal_port: "0", ..MAPPING }, 402, 732),
        (Mapping { client: "", ..MAPPING }, 715, 715),
        (Mapping { client: "192.168.77.3", external_port: "6001", ..MAPPING }, 606, 606),
        // The router's own HTTP port.
        (Mapping { external_port: "0", ..MAPPING }, 606, 606),
        (Mapping { remote_host: "no such host", ..MAPPING }, 402, 600),
        (Mapping { lease: "x", ..MAPPING }, 402, 402),
        (Mapping { enabled: "maybe", ..MAPPING }, 402, 402),
        (Mapping { external_port: "65536", ..MAPPING }, 402, 601),
    ] {
        assert_eq!(old.add(&changed)?.error_code(), Some(before), "{changed:?}");
        assert_eq!(new.add(&changed)?.error_code(), Some(now), "{changed:?}");
    }
    assert_eq!(new.add(&Mapping { lease: "604801", ..MAPPING })?.error_code(), Some(601));
    old.add(&Mapping { lease: "604801", ..MAPPING })?.success()?;
    for action in ["AddAnyPortMapping", "DeletePortMappingRange", "GetListOfPortMappings"] {
        assert_eq!(old.call(action, &arguments(action))?.error_code(), Some(401), "{action}");
    }
    for gateway in [&old, &new] {
        let beyond = [("NewPortMappingIndex", "1")];
        let generic = gateway.call("GetGenericPortMappingEntry", &beyond)?;
        assert_eq!(generic.error_code(), Some(713));
    }
    new.call("DeletePortMapping", &arguments("DeletePortMapping"))?.success()?;
    let again = old.call("DeletePortMapping", &arguments("DeletePortMapping"))?;
    assert_eq!(again.error_code(), Some(714));
    daemon.stop()?;
    lab.finish()
}

#[test]
fn arguments_are_judged_alike_however_they_come() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    for version in VERSIONS {
        let gateway = Gateway::discover_by(&lab.lan, version)?;
        let given = MAPPING.arguments();
        let reversed: Vec<_> = given.iter().rev().copied().collect();
        gateway.call("AddPortMapping", &reversed)?.success()?;
        // Old clients leave out the first one, and add others.
        let old = [&given[1..], &[("ProxyPortMapping", "0")]].concat();
        gateway.call("AddPortMapping", &old)?.success()?;
        for boolean in ["0", "1", "true", "false", "yes", "no"] {
            gateway.add(&Mapping { enabled: boolean, ..MAPPING })?.success()?;
            let get = "GetSpecificPortMappingEntry";
            let entry = gateway.call(get, &arguments(get))?.success()?;
            let expected = if matches!(boolean, "1" | "true" | "yes") { "1" } else { "0" };
            assert_eq!(entry.value("NewEnabled"), Some(expected), "{boolean}");
        }
        for missing in 1..given.len() {
            let mut less = given.to_vec();
            less.remove(missing);
            assert_eq!(gateway.call("AddPortMapping", &less)?.error_code(), Some(402));
        }
        for extra in [("NewProtocol", "UDP"), ("NewSomething", "1")] {
            let more = [&given[..], &[extra]].concat();
            assert_eq!(gateway.call("AddPortMapping", &more)?.error_code(), Some(402));
        }
    }
    let new = Gateway::discover(&lab.lan)?;
    let mut range = arguments("GetListOfPortMappings");
    range[1] = ("NewEndPoint", "6100");
    new.call("GetListOfPortMappings", &range)?.success()?;
    range[1] = ("NewEndPort", "5999");
    assert_eq!(new.call("GetListOfPortMappings", &range)?.error_code(), Some(733));
    range.pop();
    assert_eq!(new.call("DeletePortMappingRange", &range)?.error_code(), Some(733));
    range[1] = ("NewEndPort", "6100");
    new.call("DeletePortMappingRange", &range)?.success()?;
    assert_eq!(new.call("DeletePortMappingRange", &range)?.error_code(), Some(730));
    let list = new.call("GetListOfPortMappings", &arguments("GetListOfPortMappings"))?;
    assert_eq!(list.error_code(), Some(730));
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_host_name_is_resolved_by_the_router() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::builder(&lab).configured(OPEN)?.start()?;
    let gateway = Gateway::discover(&lab.lan)?;
    // The only name that needs no server: it is a host, but none that can be mapped to.
    let refused = gateway.add(&Mapping { client: "localhost", ..MAPPING })?;
    assert_eq!(refused.error_code(), Some(600));
    let text = refused.value("errorDescription").unwrap_or_default().to_owned();
    assert!(text.contains("must be the address of a host"), "it was resolved: {text}");
    // Others are answered while a name is looked up in vain.
    let unknown = thread::scope(|scope| -> Result<_> {
        let asked = scope.spawn(|| gateway.add(&Mapping { client: "a.invalid", ..MAPPING }));
        gateway.call("GetStatusInfo", &[])?.success()?;
        asked.join().map_err(|_| anyhow::anyhow!("a thread has failed"))?
    })?;
    assert_eq!(unknown.error_code(), Some(600));
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_long_list_is_answered_whole_and_a_range_goes_at_once() -> Result<()> {
    const FIRST: u16 = 7000;
    const COUNT: u16 = 300;
    let lab = Lab::home()?;
    let limits = "[policy]\nmax-mappings-per-client = 1000\nrequests-per-second = 0\n";
    let daemon = Daemon::builder(&lab).configured(limits)?.start()?;
    let gateway = Gateway::discover(&lab.lan)?;
    for port in FIRST..FIRST + COUNT {
        let port = port.to_string();
        gateway.add(&Mapping { external_port: &port, ..MAPPING })?.success()?;
    }
    let range = [
        ("NewStartPort", "7000"),
        ("NewEndPort", "7299"),
        ("NewProtocol", "UDP"),
        ("NewManage", "0"),
        ("NewNumberOfPorts", "0"),
    ];
    let list = gateway.call("GetListOfPortMappings", &range)?.success()?;
    let list = list.value("NewPortListing").context("no list")?.replace("&lt;", "<");
    let list = list.replace("&gt;", ">");
    let ports = elements(&list, "p:NewExternalPort");
    let expected: Vec<_> = (FIRST..FIRST + COUNT).map(|port| port.to_string()).collect();
    assert_eq!(ports, expected);
    let mut few = range;
    few[4].1 = "5";
    let list = gateway.call("GetListOfPortMappings", &few)?.success()?;
    assert_eq!(list.0.body.matches("p:NewLeaseTime&gt;").count(), 2 * 5);

    let done = AtomicBool::new(false);
    let arrived = thread::scope(|scope| -> Result<Vec<bool>> {
        let prober = scope.spawn(|| numbered_probes(&lab, &done));
        thread::sleep(Duration::from_millis(200));
        gateway.call("DeletePortMappingRange", &range[..4])?.success()?;
        done.store(true, Ordering::Relaxed);
        prober.join().map_err(|_| anyhow::anyhow!("a thread has failed"))?
    })?;
    // One moment divides those that came in from those that did not, at whichever port.
    let last = arrived.iter().rposition(|arrived| *arrived).context("nothing was open")?;
    let lost: Vec<_> = (0..last).filter(|number| !arrived[*number]).collect();
    assert!(lost.is_empty(), "{lost:?} of {last} found a port closed before others were open");
    assert!(last + 3 < arrived.len(), "the ports are still open");
    assert_eq!(daemon.mappings()?.len(), 0);
    daemon.stop()?;
    lab.finish()
}

/// Sends numbered datagrams to the first, the last and the middle port of the range in turn, until
/// some time after `done`. Tells which ones have come to the internal client. That answers nothing:
/// what it sent while the forwards end would open a mapping of its own, on one of these ports.
fn numbered_probes(lab: &Lab, done: &AtomicBool) -> Result<Vec<bool>> {
    let socket = lab.wan.udp("11.22.33.9:0")?;
    let client = lab.lan.udp("192.168.77.2:5600")?;
    let mut arrived = Vec::new();
    let mut buffer = [0; 64];
    let mut hear = |patience, arrived: &mut Vec<bool>| -> Result<bool> {
        client.set_read_timeout(Some(Duration::from_millis(patience)))?;
        let Ok((length, _)) = client.recv_from(&mut buffer) else { return Ok(false) };
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        *arrived.get_mut(text.parse::<usize>()?).context("no such datagram")? = true;
        Ok(true)
    };
    let mut after = 0;
    for port in [7000, 7299, 7150].into_iter().cycle() {
        if after == 30 {
            break;
        }
        after += u8::from(done.load(Ordering::Relaxed));
        let number = arrived.len().to_string();
        arrived.push(false);
        socket.send_to(number.as_bytes(), SocketAddrV4::new(EXTERNAL, port))?;
        hear(3, &mut arrived)?;
    }
    while hear(1_000, &mut arrived)? {}
    Ok(arrived)
}

#[test]
fn internet_access_can_be_switched_off() -> Result<()> {
    let lab = Lab::home()?;
    let provider = "[upnp]\naccess-provider = \"Example & Co.\"\n";
    let daemon = Daemon::builder(&lab).configured(&format!("{OPEN}{provider}"))?.start()?;
    let _outside = UdpReflector::start(&lab.wan, "11.22.33.9:9999")?;
    for version in VERSIONS {
        let gateway = Gateway::discover_by(&lab.lan, version)?;
        let common = gateway.at(COMMON)?;
        let enable = |on| common.call("SetEnabledForInternet", &[("NewEnabledForInternet", on)]);
        let enabled = || -> Result<Option<String>> {
            let reply = common.call("GetEnabledForInternet", &[])?.success()?;
            Ok(reply.value("NewEnabledForInternet").map(str::to_owned))
        };
        enable("no")?.success()?;
        assert_eq!(enabled()?.as_deref(), Some("0"));
        assert_eq!(gateway.status()?.1, "ERROR_NOT_ENABLED_FOR_INTERNET");
        assert!(!crosses(&lab, SILENT_FOR)?);
        assert_eq!(gateway.call("RequestConnection", &[])?.error_code(), Some(709));
        let index = [("NewActiveConnectionIndex", "0")];
        assert_eq!(common.call("GetActiveConnections", &index)?.error_code(), Some(713));
        enable("true")?.success()?;
        assert_eq!(gateway.status()?.0, "Connected");
        assert!(crosses(&lab, ANSWER_TIMEOUT)?);
        let active = common.call("GetActiveConnections", &index)?.success()?;
        let id = active.value("NewActiveConnectionServiceID");
        assert_eq!(id, Some("urn:upnp-org:serviceId:WANIPConn1"));
        let provider = common.call("GetWANAccessProvider", &[])?.success()?;
        assert_eq!(provider.value("NewWANAccessProvider"), Some("Example &amp; Co."));
        let most = common.call("GetMaximumActiveConnections", &[])?.success()?;
        assert_eq!(most.value("NewMaximumActiveConnections"), Some("1"));
        let mut sent = common.call("GetTotalPacketsSent", &[])?.success()?;
        let before: u32 = sent.value("NewTotalPacketsSent").context("no count")?.parse()?;
        assert!(crosses(&lab, ANSWER_TIMEOUT)?);
        sent = common.call("GetTotalPacketsSent", &[])?.success()?;
        assert_eq!(sent.value("NewTotalPacketsSent"), Some((before + 1).to_string().as_str()));

        let layer_3 = gateway.at(LAYER_3)?;
        let default = layer_3.call("GetDefaultConnectionService", &[])?.success()?;
        let default = default.value("NewDefaultConnectionService").context("none")?.to_owned();
        let udn = elements(&gateway.description, "UDN")[2];
        let number = version.rsplit(':').next().unwrap_or_default();
        let expected =
            format!("{udn}:WANConnectionDevice:{number},urn:upnp-org:serviceId:WANIPConn1");
        assert_eq!(default, expected);
        let set = |wanted: &str| {
            let argument = [("NewDefaultConnectionService", wanted)];
            layer_3.call("SetDefaultConnectionService", &argument)
        };
        set(&default)?.success()?;
        assert_eq!(set("uuid:x:WANConnectionDevice:2,y")?.error_code(), Some(720));
        let (device, _) = default.split_once(',').context("no comma")?;
        assert_eq!(set(&format!("{device},y"))?.error_code(), Some(721));
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn what_everybody_feels_is_refused_to_unauthorized_control_points() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    for version in VERSIONS {
        let gateway = Gateway::discover_by(&lab.lan, version)?;
        for action in [
            "SetConnectionType",
            "RequestTermination",
            "ForceTermination",
            "SetAutoDisconnectTime",
            "SetIdleDisconnectTime",
            "SetWarnDisconnectDelay",
        ] {
            let refused = gateway.call(action, &arguments(action))?;
            assert_eq!(refused.error_code(), Some(606), "{action}");
        }
        let common = gateway.at(COMMON)?;
        let off = [("NewEnabledForInternet", "0")];
        assert_eq!(common.call("SetEnabledForInternet", &off)?.error_code(), Some(606));
        assert_eq!(gateway.status()?.0, "Connected");
        gateway.call("RequestConnection", &[])?.success()?;
    }
    daemon.stop()?;
    lab.finish()
}
