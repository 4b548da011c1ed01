//! The tables against the standard.

use super::*;
use crate::igd::spec::{ActionSpec, Allowed, Direction, ServiceSpec};
use std::collections::HashSet;

/// Table 2-10, with R/O for a device.
const ACTIONS: [(&str, bool); 21] = [
    ("SetConnectionType", true),
    ("GetConnectionTypeInfo", true),
    ("RequestConnection", true),
    ("RequestTermination", false),
    ("ForceTermination", true),
    ("SetAutoDisconnectTime", false),
    ("SetIdleDisconnectTime", false),
    ("SetWarnDisconnectDelay", false),
    ("GetStatusInfo", true),
    ("GetAutoDisconnectTime", false),
    ("GetIdleDisconnectTime", false),
    ("GetWarnDisconnectDelay", false),
    ("GetNATRSIPStatus", true),
    ("GetGenericPortMappingEntry", true),
    ("GetSpecificPortMappingEntry", true),
    ("AddPortMapping", true),
    ("AddAnyPortMapping", true),
    ("DeletePortMapping", true),
    ("DeletePortMappingRange", true),
    ("GetExternalIPAddress", true),
    ("GetListOfPortMappings", true),
];

#[test]
fn wan_ip_connection_has_all_actions_and_variables() {
    let spec = V2.spec();
    let found: Vec<_> = spec.actions.iter().map(|spec| (spec.name, !spec.optional)).collect();
    assert_eq!(found, ACTIONS);
    assert_eq!(spec.variables.len(), 23);
    let evented = spec.variables.iter().filter(|variable| variable.evented);
    assert_eq!(
        evented.map(|variable| variable.name).collect::<Vec<_>>(),
        [
            "PossibleConnectionTypes",
            "ConnectionStatus",
            "ExternalIPAddress",
            "PortMappingNumberOfEntries",
            "SystemUpdateID",
        ]
    );
}

#[test]
fn names_are_unique_and_arguments_relate_to_variables_of_their_service() {
    for kind in ServiceKind::ALL {
        let spec = kind.spec();
        let actions: HashSet<_> = spec.actions.iter().map(|action| action.name).collect();
        let variables: HashSet<_> = spec.variables.iter().map(|variable| variable.name).collect();
        assert_eq!((actions.len(), variables.len()), (spec.actions.len(), spec.variables.len()));
        for action in spec.actions {
            let names: HashSet<_> = action.arguments.iter().map(|argument| argument.name).collect();
            assert_eq!(names.len(), action.arguments.len(), "{}", action.name);
            for argument in action.arguments {
                assert!(variables.contains(argument.related.name), "{}", argument.name);
            }
            // The Device Architecture wants "in" before "out".
            assert!(action.arguments.is_sorted_by_key(|spec| spec.direction == Direction::Out));
        }
    }
}

#[test]
fn defaults_are_among_the_allowed_values() {
    let variables = ServiceKind::ALL.into_iter().flat_map(|kind| kind.spec().variables);
    for variable in variables {
        let Some(default) = variable.default else {
            continue;
        };
        match variable.allowed {
            Allowed::Any => {}
            Allowed::List(values) => assert!(values.contains(&default)),
            Allowed::Range { minimum, maximum, .. } => {
                assert!((minimum..=maximum).contains(&default.parse().unwrap()));
            }
        }
    }
}

#[test]
fn error_codes_are_unique() {
    let codes: HashSet<_> = ErrorCode::ALL.iter().map(|code| code.code()).collect();
    assert_eq!(codes.len(), ErrorCode::ALL.len());
    assert!((724..=727).all(|forbidden| !codes.contains(&forbidden)));
}

#[test]
fn version_1_is_version_2_without_what_is_new_there() {
    let (old, new) = (V1.spec(), V2.spec());
    let names = |spec: &ServiceSpec| spec.actions.iter().map(|a| a.name).collect::<Vec<_>>();
    let added = ["AddAnyPortMapping", "DeletePortMappingRange", "GetListOfPortMappings"];
    let left: Vec<_> = names(new).into_iter().filter(|name| !added.contains(name)).collect();
    assert_eq!(names(old), left);
    assert_eq!((old.actions.len(), old.variables.len()), (18, 20));
    for action in old.actions {
        let newer = new.action(action.name).unwrap();
        let arguments = |action: &ActionSpec| {
            let all = action.arguments.iter();
            all.map(|a| (a.name, a.direction, a.related.name)).collect::<Vec<_>>()
        };
        assert_eq!(arguments(action), arguments(newer), "{}", action.name);
        assert_eq!((action.optional, action.run), (newer.optional, newer.run));
    }
    let evented = |name: &str| old.variables.iter().any(|v| v.name == name && v.evented);
    assert!(evented("PortMappingNumberOfEntries") && !evented("SystemUpdateID"));
}

#[test]
fn a_service_answers_to_its_own_version_and_older_ones() {
    let spec = V2.spec();
    for (urn, expected) in [
        ("urn:schemas-upnp-org:service:WANIPConnection:2", true),
        ("urn:schemas-upnp-org:service:WANIPConnection:1", true),
        ("urn:schemas-upnp-org:service:WANIPConnection:3", false),
        ("urn:schemas-upnp-org:service:WANIPConnection:0", false),
        ("urn:schemas-upnp-org:service:WANIPConnection:01", false),
        ("urn:schemas-upnp-org:service:WANIPConnection:", false),
        ("urn:schemas-upnp-org:service:WANIPConnection", false),
        ("urn:schemas-upnp-org:service:WANPPPConnection:1", false),
        ("urn:schemas-upnp-org:device:WANIPConnection:1", false),
    ] {
        assert_eq!(spec.answers_to(urn), expected, "{urn}");
    }
}

/// Valid arguments for any implemented action.
fn sample(variable: &str) -> &'static str {
    match variable {
        "PortMappingProtocol" => "TCP",
        "InternalClient" => "192.168.1.10",
        "ConnectionType" => "IP_Routed",
        "ExternalPort" | "InternalPort" => "5000",
        "PortMappingNumberOfEntries" | "NumberOfActiveConnections" => "0",
        "PortMappingEnabled" | "A_ARG_TYPE_Manage" | "EnabledForInternet" => "yes",
        "PortMappingLeaseDuration" => "60",
        "AutoDisconnectTime" | "IdleDisconnectTime" | "WarnDisconnectDelay" => "60",
        _ => "",
    }
}

#[test]
fn every_implemented_action_reads_and_answers_as_its_table_says() {
    for kind in ServiceKind::ALL {
        for action in kind.spec().implemented() {
            let mut gateway = gateway(Policy::Open);
            call(&mut gateway, HOST_A, "AddPortMapping", &ADD).unwrap();
            let arguments: Vec<_> = action
                .arguments_of(Direction::In)
                .map(|argument| (argument.name, sample(argument.related.name)))
                .collect();
            let answer = call_at(&mut gateway, NOW, HOST_A, kind, action.name, &arguments);
            match answer {
                Ok(results) => {
                    let outputs = action.arguments_of(Direction::Out).map(|argument| argument.name);
                    assert!(outputs.eq(results.iter().map(|(name, _)| name)), "{}", action.name);
                }
                Err(code) => {
                    let expected = match (action.name, kind.tree()) {
                        ("SetConnectionType", _) => 703,
                        ("SetDefaultConnectionService", _) => 720,
                        _ => 0,
                    };
                    assert_eq!(code, expected, "{}", action.name);
                }
            }
        }
    }
}
