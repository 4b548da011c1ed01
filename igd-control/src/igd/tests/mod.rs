//! The gateway as control points meet it: messages in, messages out.

mod connection;
mod figures;
mod mappings;
mod messages;
mod outside;
mod reading;
mod tables;
mod version_1;

use super::*;
use crate::mapping::fake::FakePath;
use crate::wire::soap::SoapRequest;
use nat_common::BootTime;
use std::net::Ipv4Addr;
use uuid::Uuid;

const NOW: BootTime = BootTime(5_000_000_000_000);
const V1: ServiceKind = ServiceKind::WanIpConnection(Tree::Igd1);
const V2: ServiceKind = ServiceKind::WanIpConnection(Tree::Igd2);
const HOST_A: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const HOST_B: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 11);

/// A gateway that is connected since [`NOW`].
fn gateway(policy: Policy) -> Gateway<FakePath> {
    let config = GatewayConfig {
        root_uuid: Uuid::from_u128(0x42),
        policy,
        seed: 3,
        ..GatewayConfig::default()
    };
    Gateway::new(NOW, &config, FakePath::new())
}

/// What an action answers: its results, or the error code.
type Answer = Result<Vec<(String, String)>, u16>;

/// Sends an action of WANIPConnection:2.
fn call(
    gateway: &mut Gateway<FakePath>,
    peer: Ipv4Addr,
    action: &str,
    arguments: &[(&str, &str)],
) -> Answer {
    call_at(gateway, NOW, peer, V2, action, arguments)
}

fn call_at(
    gateway: &mut Gateway<FakePath>,
    now: BootTime,
    peer: Ipv4Addr,
    service: ServiceKind,
    action: &str,
    arguments: &[(&str, &str)],
) -> Answer {
    let urn = service.spec().urn(service.spec().version);
    let soap_action = format!("\"{urn}#{action}\"");
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let message = SoapRequest {
        service_type: urn.clone(),
        action: action.into(),
        arguments: arguments.iter().map(owned).collect(),
    };
    let body = message.encode();
    let request = ControlRequest { peer, service, soap_action: Some(&soap_action), body: &body };
    let response = gateway.control(now, &request);
    let body = response.body.into_bytes();
    match response.status {
        200 => {
            let answer = SoapRequest::parse(&body).unwrap();
            assert_eq!(answer.service_type, urn);
            assert_eq!(answer.action, format!("{action}Response"));
            Ok(answer.arguments)
        }
        500 => Err(error_code(&body)),
        status => panic!("status {status}"),
    }
}

/// The errorCode of a fault.
fn error_code(body: &[u8]) -> u16 {
    let text = std::str::from_utf8(body).unwrap();
    let (_, rest) = text.split_once("<errorCode>").unwrap();
    let (code, _) = rest.split_once("</errorCode>").unwrap();
    code.parse().unwrap()
}

/// One result of an answer.
fn value(answer: &Answer, name: &str) -> String {
    let results = answer.as_ref().unwrap();
    results.iter().find(|(known, _)| known == name).unwrap().1.clone()
}

/// AddPortMapping's arguments; each test changes what it is about.
const ADD: [(&str, &str); 8] = [
    ("NewRemoteHost", ""),
    ("NewExternalPort", "5000"),
    ("NewProtocol", "TCP"),
    ("NewInternalPort", "5000"),
    ("NewInternalClient", "192.168.1.10"),
    ("NewEnabled", "1"),
    ("NewPortMappingDescription", "test"),
    ("NewLeaseDuration", "100"),
];

/// Arguments with some values replaced.
fn with<'a>(
    arguments: &[(&'a str, &'a str)],
    changes: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let mut changed = arguments.to_vec();
    for (name, value) in changes {
        changed.iter_mut().find(|(known, _)| known == name).unwrap().1 = value;
    }
    changed
}

/// Arguments of GetSpecificPortMappingEntry and DeletePortMapping.
fn key(port: &'static str) -> [(&'static str, &'static str); 3] {
    [("NewRemoteHost", ""), ("NewExternalPort", port), ("NewProtocol", "TCP")]
}
