//! What a version 1 control point meets.

use super::*;

fn old(
    gateway: &mut Gateway<FakePath>,
    peer: Ipv4Addr,
    action: &str,
    arguments: &[(&str, &str)],
) -> Answer {
    call_at(gateway, NOW, peer, V1, action, arguments)
}

fn lease(gateway: &mut Gateway<FakePath>, service: ServiceKind) -> String {
    let get = "GetSpecificPortMappingEntry";
    let answer = call_at(gateway, NOW, HOST_A, service, get, &key("5000"));
    value(&answer, "NewLeaseDuration")
}

#[test]
fn a_lease_without_end_or_too_long_gets_the_longest() {
    for longest in [3_600, 604_800, 1_000_000] {
        let config = GatewayConfig { longest_lease: longest, ..GatewayConfig::default() };
        for wanted in ["0", "4294967295"] {
            let mut gateway = Gateway::new(NOW, &config, FakePath::new());
            let arguments = with(&ADD, &[("NewLeaseDuration", wanted)]);
            old(&mut gateway, HOST_A, "AddPortMapping", &arguments).unwrap();
            // What is left of it is told, so that who looks can ask again in time.
            assert_eq!(lease(&mut gateway, V1), longest.to_string());
            assert_eq!(lease(&mut gateway, V2), longest.min(604_800).to_string());
        }
    }
}

#[test]
fn both_versions_share_the_table() {
    let mut gateway = gateway(Policy::OwnClient);
    old(&mut gateway, HOST_A, "AddPortMapping", &ADD).unwrap();
    let taken = with(&ADD, &[("NewInternalClient", "192.168.1.11")]);
    assert_eq!(call(&mut gateway, HOST_B, "AddPortMapping", &taken), Err(718));
    call(&mut gateway, HOST_A, "DeletePortMapping", &key("5000")).unwrap();
    assert_eq!(old(&mut gateway, HOST_A, "DeletePortMapping", &key("5000")), Err(714));
}

#[test]
fn what_version_1_does_not_have_is_no_action() {
    let mut gateway = gateway(Policy::OwnClient);
    for action in ["AddAnyPortMapping", "DeletePortMappingRange", "GetListOfPortMappings"] {
        assert_eq!(old(&mut gateway, HOST_A, action, &[]), Err(401), "{action}");
    }
}

#[test]
fn codes_that_version_1_does_not_have_are_told_in_its_own() {
    let mut gateway = gateway(Policy::OwnClient);
    for (name, text, expected) in [
        ("NewProtocol", "SCTP", 402),
        ("NewInternalPort", "0", 402),
        ("NewInternalPort", "70000", 402),
        ("NewRemoteHost", "255.255.255.255", 402),
        ("NewInternalClient", "", 715),
        ("NewInternalClient", "192.168.1.99", 606),
    ] {
        let arguments = with(&ADD, &[(name, text)]);
        let answer = old(&mut gateway, HOST_A, "AddPortMapping", &arguments);
        assert_eq!(answer, Err(expected), "{name} {text}");
    }
    use crate::mapping::PathError;
    for (error, code) in
        [(PathError::HeldByRouter, 718), (PathError::PortInUse, 718), (PathError::Full, 501)]
    {
        gateway.path_mut().refuse.insert(5000, error);
        assert_eq!(old(&mut gateway, HOST_A, "AddPortMapping", &ADD), Err(code), "{error:?}");
    }
    for code in ErrorCode::ALL {
        let error = ActionError::from(*code).in_version_1();
        assert!(!(600..606).contains(&error.code.code()) && error.code.code() < 724, "{error}");
    }
}

#[test]
fn the_default_connection_is_the_own_trees() {
    let mut gateway = gateway(Policy::OwnClient);
    let defaults = Tree::ALL.map(|tree| {
        let service = ServiceKind::Layer3Forwarding(tree);
        let answer =
            call_at(&mut gateway, NOW, HOST_A, service, "GetDefaultConnectionService", &[]);
        value(&answer, "NewDefaultConnectionService")
    });
    assert!(defaults[0].ends_with(":WANConnectionDevice:1,urn:upnp-org:serviceId:WANIPConn1"));
    assert!(defaults[1].ends_with(":WANConnectionDevice:2,urn:upnp-org:serviceId:WANIPConn1"));
    assert_ne!(defaults[0][..41], defaults[1][..41]);
}
