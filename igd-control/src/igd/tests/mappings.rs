//! Adding and deleting port mappings.

use super::*;
use crate::mapping::{Limits, PathError};
use nat_common::Protocol;

#[test]
fn a_mapping_is_in_force_when_the_answer_is_there() {
    let mut gateway = gateway(Policy::OwnClient);
    assert_eq!(call(&mut gateway, HOST_A, "AddPortMapping", &ADD), Ok(vec![]));
    let forward = gateway.path().forward(Protocol::Tcp, 5000).unwrap();
    assert_eq!(forward.internal, "192.168.1.10:5000".parse().unwrap());
    assert_eq!(forward.any_remote, Some(NOW.plus_secs(100)));
    assert_eq!(gateway.table().changes(), 1);
    assert_eq!(call(&mut gateway, HOST_A, "DeletePortMapping", &key("5000")), Ok(vec![]));
    assert!(gateway.path().forwards.is_empty());
    assert_eq!(call(&mut gateway, HOST_A, "DeletePortMapping", &key("5000")), Err(714));
}

#[test]
fn a_lease_of_zero_becomes_a_week() {
    let mut gateway = gateway(Policy::OwnClient);
    let arguments = with(&ADD, &[("NewLeaseDuration", "0")]);
    call(&mut gateway, HOST_A, "AddPortMapping", &arguments).unwrap();
    let entry = call(&mut gateway, HOST_A, "GetSpecificPortMappingEntry", &key("5000"));
    assert_eq!(value(&entry, "NewLeaseDuration"), "604800");
}

#[test]
fn a_lease_counts_down_and_ends() {
    let mut gateway = gateway(Policy::OwnClient);
    call(&mut gateway, HOST_A, "AddPortMapping", &ADD).unwrap();
    let mut read = |seconds: u64| {
        let now = BootTime(NOW.0 + seconds * 1_000_000_000 + 1);
        let service = V2;
        let action = "GetSpecificPortMappingEntry";
        let answer = call_at(&mut gateway, now, HOST_A, service, action, &key("5000"));
        answer.map(|results| results.last().unwrap().1.clone())
    };
    assert_eq!(read(0), Ok("100".into()));
    assert_eq!(read(99), Ok("1".into()));
    assert_eq!(read(100), Err(714));
    assert!(gateway.path().forwards.is_empty());
    assert_eq!((gateway.next_deadline(), gateway.table().changes()), (None, 2));
}

#[test]
fn a_foreign_port_conflicts_but_any_port_is_found() {
    let mut gateway = gateway(Policy::OwnClient);
    call(&mut gateway, HOST_A, "AddPortMapping", &ADD).unwrap();
    let other = with(&ADD, &[("NewInternalClient", "192.168.1.11")]);
    assert_eq!(call(&mut gateway, HOST_B, "AddPortMapping", &other), Err(718));
    let answer = call(&mut gateway, HOST_B, "AddAnyPortMapping", &other);
    let port: u16 = value(&answer, "NewReservedPort").parse().unwrap();
    assert!(port >= 1024 && port != 5000 && port.is_multiple_of(2));
    assert!(gateway.path().forward(Protocol::Tcp, port).is_some());
    let own = call(&mut gateway, HOST_A, "AddAnyPortMapping", &ADD);
    assert_eq!(value(&own, "NewReservedPort"), "5000");
}

#[test]
fn what_the_packet_path_refuses_has_its_code() {
    for (refusal, expected) in [
        (PathError::PortInUse, 718),
        (PathError::HeldByRouter, 729),
        (PathError::Full, 728),
        (PathError::Failed, 501),
    ] {
        let mut gateway = gateway(Policy::OwnClient);
        gateway.path_mut().refuse.insert(5000, refusal);
        assert_eq!(call(&mut gateway, HOST_A, "AddPortMapping", &ADD), Err(expected));
        assert_eq!(gateway.mappings(NOW).count(), 0);
    }
}

#[test]
fn limits_are_answered_with_728() {
    let limits = Limits { mappings: 1, ..Limits::default() };
    let config = GatewayConfig { limits, ..GatewayConfig::default() };
    let mut gateway = Gateway::new(NOW, &config, FakePath::new());
    call(&mut gateway, HOST_A, "AddPortMapping", &ADD).unwrap();
    let second = with(&ADD, &[("NewExternalPort", "5001")]);
    assert_eq!(call(&mut gateway, HOST_A, "AddPortMapping", &second), Err(728));
    assert_eq!(call(&mut gateway, HOST_A, "AddAnyPortMapping", &second), Err(728));
    call(&mut gateway, HOST_A, "AddPortMapping", &ADD).unwrap();
}

#[test]
fn a_control_point_maps_only_its_own_unprivileged_ports() {
    for changes in [
        [("NewInternalClient", "192.168.1.11")],
        [("NewExternalPort", "1023")],
        [("NewInternalPort", "80")],
    ] {
        for action in ["AddPortMapping", "AddAnyPortMapping"] {
            let arguments = with(&ADD, &changes);
            let mut careful = gateway(Policy::OwnClient);
            assert_eq!(call(&mut careful, HOST_A, action, &arguments), Err(606));
            assert!(careful.path().forwards.is_empty());
            let mut open = gateway(Policy::Open);
            assert!(call(&mut open, HOST_A, action, &arguments).is_ok());
        }
    }
}

#[test]
fn the_wildcard_is_for_whom_the_policy_trusts() {
    let wildcard = with(&ADD, &[("NewExternalPort", "0")]);
    let mut careful = gateway(Policy::OwnClient);
    for action in ["AddPortMapping", "AddAnyPortMapping"] {
        assert_eq!(call(&mut careful, HOST_A, action, &wildcard), Err(606));
    }
    let mut open = gateway(Policy::Open);
    assert_eq!(call(&mut open, HOST_A, "AddPortMapping", &wildcard), Ok(vec![]));
    assert!(open.path().forward(Protocol::Tcp, 0).is_some());
    let own = call(&mut open, HOST_A, "AddAnyPortMapping", &wildcard);
    assert_eq!(value(&own, "NewReservedPort"), "0");
    let entry = call(&mut open, HOST_A, "GetSpecificPortMappingEntry", &key("0"));
    assert_eq!(value(&entry, "NewInternalPort"), "5000", "ignored, and told");
    // First write wins (2.3.18); AddAnyPortMapping gives another port (figure 2-4).
    let rival = with(&wildcard, &[("NewInternalClient", "192.168.1.11")]);
    assert_eq!(call(&mut open, HOST_B, "AddPortMapping", &rival), Err(718));
    let given = call(&mut open, HOST_B, "AddAnyPortMapping", &rival);
    assert_ne!(value(&given, "NewReservedPort"), "0");
    let no_port = with(&wildcard, &[("NewInternalPort", "0")]);
    assert_eq!(call(&mut open, HOST_A, "AddPortMapping", &no_port), Err(732));
    // What is mapped by itself stands beside it.
    let exact = with(&ADD, &[("NewInternalClient", "192.168.1.11")]);
    assert_eq!(call(&mut open, HOST_B, "AddPortMapping", &exact), Ok(vec![]));
    assert_eq!(call(&mut open, HOST_A, "DeletePortMapping", &key("0")), Ok(vec![]));
    assert!(open.path().forward(Protocol::Tcp, 0).is_none());
}

#[test]
fn everybody_is_a_client_for_udp_and_for_whom_the_policy_trusts() {
    let everybody = with(&ADD, &[("NewInternalClient", "255.255.255.255"), ("NewProtocol", "UDP")]);
    let mut careful = gateway(Policy::OwnClient);
    assert_eq!(call(&mut careful, HOST_A, "AddPortMapping", &everybody), Err(606));
    let mut open = gateway(Policy::Open);
    for (changes, expected) in [
        ([("NewProtocol", "TCP")], Err(600)),
        ([("NewExternalPort", "0")], Err(716)),
        ([("NewRemoteHost", "255.255.255.255")], Err(600)),
        ([("NewExternalPort", "9")], Ok(vec![])),
    ] {
        let arguments = with(&everybody, &changes);
        assert_eq!(call(&mut open, HOST_A, "AddPortMapping", &arguments), expected, "{changes:?}");
    }
    let forward = open.path().forward(Protocol::Udp, 9).unwrap();
    assert!(forward.internal.ip().is_broadcast() && !forward.leads());
}

/// Host A has 5000, host B has 5001.
fn gateway_of_two(policy: Policy) -> Gateway<FakePath> {
    let mut gateway = gateway(policy);
    call(&mut gateway, HOST_A, "AddPortMapping", &ADD).unwrap();
    let other = [("NewInternalClient", "192.168.1.11"), ("NewExternalPort", "5001")];
    call(&mut gateway, HOST_B, "AddPortMapping", &with(&ADD, &other)).unwrap();
    gateway
}

#[test]
fn a_foreign_mapping_cannot_be_deleted() {
    let mut gateway = gateway_of_two(Policy::OwnClient);
    assert_eq!(call(&mut gateway, HOST_A, "DeletePortMapping", &key("5001")), Err(606));
    assert_eq!(call(&mut gateway, HOST_A, "DeletePortMapping", &key("80")), Err(606));
    assert_eq!(gateway.mappings(NOW).count(), 2);
    let mut open = gateway_of_two(Policy::Open);
    assert_eq!(call(&mut open, HOST_A, "DeletePortMapping", &key("5001")), Ok(vec![]));
}

fn range(
    first: &'static str,
    last: &'static str,
    manage: &'static str,
) -> [(&'static str, &'static str); 4] {
    [("NewStartPort", first), ("NewEndPort", last), ("NewProtocol", "TCP"), ("NewManage", manage)]
}

#[test]
fn deleting_a_range_takes_only_what_is_meant() {
    let delete = "DeletePortMappingRange";
    for (policy, manage, left) in [
        (Policy::OwnClient, "0", 1),
        (Policy::OwnClient, "1", 1),
        (Policy::Open, "0", 1),
        (Policy::Open, "1", 0),
    ] {
        let mut gateway = gateway_of_two(policy);
        let changes = gateway.table().changes();
        assert_eq!(call(&mut gateway, HOST_A, delete, &range("2000", "6000", manage)), Ok(vec![]));
        assert_eq!(gateway.mappings(NOW).count(), left, "{policy:?} {manage}");
        assert_eq!(gateway.table().changes(), changes + 1);
    }
    let mut gateway = gateway_of_two(Policy::OwnClient);
    for (arguments, expected) in [
        (range("5001", "5000", "0"), 733),
        (range("1000", "6000", "0"), 606),
        (range("5001", "6000", "0"), 730),
        (with(&range("5000", "6000", "0"), &[("NewProtocol", "UDP")]).try_into().unwrap(), 730),
    ] {
        assert_eq!(call(&mut gateway, HOST_A, delete, &arguments), Err(expected));
    }
}

#[test]
fn a_description_is_cut_at_a_whole_character() {
    let mut gateway = gateway(Policy::OwnClient);
    let long = format!("a{}", "\u{e9}".repeat(200));
    let arguments = with(&ADD, &[("NewPortMappingDescription", &long)]);
    call(&mut gateway, HOST_A, "AddPortMapping", &arguments).unwrap();
    let description = gateway.mappings(NOW).next().unwrap().description;
    assert_eq!(description.len(), 255);
    assert!(long.starts_with(&description));
}

#[test]
fn a_static_mapping_is_seen_by_clients_and_neither_changed_nor_deleted() {
    use crate::mapping::{MappingKey, MappingRequest, Origin};
    let mut gateway = gateway(Policy::OwnClient);
    let fixed = MappingRequest {
        key: MappingKey { protocol: Protocol::Tcp, external_port: 5000, remote: None },
        internal: "192.168.1.10:5000".parse().unwrap(),
        enabled: true,
        description: "the operator's".into(),
        deadline: BootTime::NEVER,
        origin: Origin::Upnp,
        filters: Vec::new(),
    };
    gateway.add_static(NOW, &fixed).unwrap();
    let entry = call(&mut gateway, HOST_A, "GetSpecificPortMappingEntry", &key("5000"));
    assert_eq!(value(&entry, "NewLeaseDuration"), "0");
    assert_eq!(call(&mut gateway, HOST_A, "AddPortMapping", &ADD), Err(718));
    assert_eq!(call(&mut gateway, HOST_A, "DeletePortMapping", &key("5000")), Err(606));
    let all = range("1024", "65535", "1");
    assert_eq!(call(&mut gateway, HOST_A, "DeletePortMappingRange", &all), Err(730));
    assert_eq!(gateway.statics(), [fixed.key]);
    assert!(gateway.remove_static(NOW, &fixed.key));
    assert!(!gateway.remove_static(NOW, &fixed.key));
    assert!(gateway.path().forwards.is_empty());
}

#[test]
fn any_port_is_one_that_the_rules_allow() {
    let rule = "action = 'deny'\nexternal-ports = ['1024-4999', '5001-49999', '50001-65535']";
    let rules = vec![toml::from_str(rule).unwrap()];
    let mut gateway = gateway(Policy::OwnClient);
    gateway.set_policy(crate::policy::Policy { mode: Policy::OwnClient, rules });
    call(&mut gateway, HOST_A, "AddPortMapping", &ADD).unwrap();
    let denied = with(&ADD, &[("NewExternalPort", "6000")]);
    assert_eq!(call(&mut gateway, HOST_A, "AddPortMapping", &denied), Err(606));
    let other = with(&ADD, &[("NewInternalClient", "192.168.1.11")]);
    let given = call(&mut gateway, HOST_B, "AddAnyPortMapping", &other);
    assert_eq!(value(&given, "NewReservedPort"), "50000");
    assert_eq!(call(&mut gateway, HOST_B, "AddAnyPortMapping", &other).map(|_| ()), Err(728));
}

#[test]
fn a_rule_lets_one_host_see_and_delete_the_mappings_of_others() {
    let rule = "action = 'allow'\nrequesters = ['192.168.1.10']\nclients = ['192.168.1.0/24']";
    let mut gateway = gateway_of_two(Policy::OwnClient);
    let rules = vec![toml::from_str(rule).unwrap()];
    gateway.set_policy(crate::policy::Policy { mode: Policy::OwnClient, rules });
    let entry = |gateway: &mut Gateway<FakePath>, peer, index| {
        call(gateway, peer, "GetGenericPortMappingEntry", &[("NewPortMappingIndex", index)])
    };
    assert_eq!(value(&entry(&mut gateway, HOST_A, "1"), "NewExternalPort"), "5001");
    assert_eq!(entry(&mut gateway, HOST_B, "1"), Err(713));
    assert_eq!(call(&mut gateway, HOST_B, "DeletePortMapping", &key("5000")), Err(606));
    assert_eq!(call(&mut gateway, HOST_A, "DeletePortMapping", &key("5001")), Ok(vec![]));
}
