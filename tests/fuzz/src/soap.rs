//! Control messages, from their bytes through the gateway to the answer.
//!
//! An input is one or several messages, with a form feed (which XML forbids) between them. The first
//! line of each is a letter for the service, a letter for the client, a digit for the time that has
//! passed, and the SOAPACTION header, or `=` for the one that fits the body:
//!
//! ```text
//! AA0=
//! <s:Envelope …
//! ```

use crate::path::MemoryPath;
use igd_control::igd::{ControlRequest, Gateway, GatewayConfig, Policy, ServiceKind};
use igd_control::mapping::{Limits, PortForward};
use igd_control::wire::soap::{MAX_BODY, SoapRequest};
use nat_common::{BootTime, Protocol};
use quick_xml::Reader;
use quick_xml::events::Event;
use std::net::Ipv4Addr;
use uuid::Uuid;

/// Who sends messages.
const CLIENTS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(192, 168, 77, 2),
    Ipv4Addr::new(192, 168, 77, 3),
    Ipv4Addr::new(192, 168, 78, 2),
];
/// The longest lease (WANIPConnection:2, section 2.3.16), seconds.
const LONGEST_LEASE: u32 = 604_800;
/// Seconds that pass, by the digit.
const PAUSES: [u64; 4] = [0, 1, 3_600, 604_800];

/// Takes messages, and compares what the table lists with what the packet path holds after each.
pub fn run(input: &[u8]) {
    for policy in [Policy::OwnClient, Policy::Open] {
        let mut now = BootTime(0).plus_secs(1_000);
        let limits = Limits { mappings: 8, per_client: 4, ..Limits::default() };
        let config = GatewayConfig {
            root_uuid: Uuid::from_u128(7),
            policy,
            limits,
            seed: 5,
            ..GatewayConfig::default()
        };
        let mut gateway = Gateway::new(now, &config, MemoryPath::default());
        for message in input.split(|byte| *byte == 0x0c) {
            send(&mut gateway, &mut now, message);
            // By its clock the daemon does, also while nobody says anything that can be read.
            gateway.expire(now);
            check_table(&gateway, policy, now);
        }
    }
}

fn send(gateway: &mut Gateway<MemoryPath>, now: &mut BootTime, message: &[u8]) {
    let end = message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len());
    let (line, body) = message.split_at(end);
    let body = body.get(1..).unwrap_or_default();
    let choice =
        |at: usize, base: u8| usize::from(line.get(at).copied().unwrap_or(base).wrapping_sub(base));
    let service = choice(0, b'A') % ServiceKind::ALL.len();
    let peer = choice(1, b'A') % CLIENTS.len();
    let pause = choice(2, b'0') % PAUSES.len();
    let (Some(service), Some(peer), Some(pause)) =
        (ServiceKind::ALL.get(service), CLIENTS.get(peer), PAUSES.get(pause))
    else {
        return;
    };
    *now = now.plus_secs(*pause);
    let parsed = SoapRequest::parse(body).ok();
    if let Some(request) = &parsed {
        check_round_trip(request);
    }
    let header = match (line.get(3..).unwrap_or_default(), &parsed) {
        ([], _) => None,
        (b"=", Some(request)) => Some(format!("\"{}#{}\"", request.service_type, request.action)),
        (text, _) => Some(String::from_utf8_lossy(text).into_owned()),
    };
    let request =
        ControlRequest { peer: *peer, service: *service, soap_action: header.as_deref(), body };
    let response = gateway.control(*now, &request);
    assert!([200, 400, 500].contains(&response.status), "status {}", response.status);
    check_xml(&response.body.into_bytes());
}

/// What is written as it was read must be read as the same, as long as its names are names: reading
/// is laxer about those than XML is.
fn check_round_trip(request: &SoapRequest) {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let is_urn = |urn: &str| urn.chars().all(|c| c.is_ascii_alphanumeric() || "-:.".contains(c));
    let plain = is_name(&request.action)
        && is_urn(&request.service_type)
        && request.arguments.iter().all(|(name, _)| is_name(name));
    let written = request.encode();
    if plain && written.len() <= MAX_BODY {
        assert_eq!(SoapRequest::parse(&written).as_ref(), Ok(request));
    }
}

/// An answer is well-formed, whatever of the question stands in it.
fn check_xml(body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    let mut reader = Reader::from_str(&text);
    let mut depth = 0_usize;
    loop {
        match reader.read_event() {
            Ok(Event::Eof) => break,
            Ok(Event::Start(_)) => depth += 1,
            Ok(Event::End(_)) => depth -= 1,
            Ok(_) => {}
            Err(error) => assert!(text.is_empty(), "{error} in {text}"),
        }
    }
    assert_eq!(depth, 0, "cut off: {text}");
    assert!(!text.is_empty());
}

fn check_table(gateway: &Gateway<MemoryPath>, policy: Policy, now: BootTime) {
    let forwards = &gateway.path().0;
    let mut stated = 0;
    for mapping in gateway.mappings(now) {
        let left = mapping.lease_left;
        assert!(left.is_some_and(|left| (1..=LONGEST_LEASE).contains(&left)), "{mapping:?}");
        let own = CLIENTS.contains(mapping.internal.ip()) && mapping.external_port >= 1024;
        let everybody = mapping.internal.ip().is_broadcast();
        assert!(!everybody || (mapping.protocol, mapping.external_port == 0) == ("UDP", false));
        assert!(own || policy == Policy::Open, "{mapping:?}");
        let forward = forwards.values().find(|forward| {
            forward.protocol.name() == mapping.protocol
                && forward.external_port == mapping.external_port
        });
        let open = forward.is_some_and(|forward| {
            forward.internal == mapping.internal
                && match mapping.remote_host {
                    remote if !mapping.enabled => {
                        forward.disabled.iter().any(|(addr, _)| *addr == remote)
                    }
                    None => forward.any_remote > Some(now),
                    Some(host) => forward.remotes.iter().any(|(addr, _)| *addr == host),
                }
        });
        assert!(open, "not in force: {mapping:?}, {forward:?}");
        stated += 1;
    }
    let held = |forward: &PortForward| {
        let any = usize::from(forward.any_remote.is_some());
        forward.remotes.len() + any + forward.disabled.len()
    };
    assert_eq!(forwards.values().map(held).sum::<usize>(), stated, "{forwards:?}");
    assert!(forwards.values().all(|forward| forward.protocol != Protocol::Icmp));
}
