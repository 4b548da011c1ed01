//! Messages that do not reach an action, or not as they should.

use super::*;

const URN: &str = "urn:schemas-upnp-org:service:WANIPConnection:2";

/// What HTTP is told of an answer.
struct Reply {
    status: u16,
    body: Vec<u8>,
}

fn send(header: Option<&str>, body: &[u8]) -> Reply {
    let request = ControlRequest { peer: HOST_A, service: V2, soap_action: header, body };
    let response = gateway(Policy::OwnClient).control(NOW, &request);
    Reply { status: response.status, body: response.body.into_bytes() }
}

fn body(service_type: &str, action: &str, arguments: &[(&str, &str)]) -> Vec<u8> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let arguments = arguments.iter().map(owned).collect();
    SoapRequest { service_type: service_type.into(), action: action.into(), arguments }.encode()
}

fn header(action: &str) -> String {
    format!("\"{URN}#{action}\"")
}

#[test]
fn what_is_no_request_gets_400() {
    let good = body(URN, "GetExternalIPAddress", &[]);
    let header = header("GetExternalIPAddress");
    assert_eq!(send(Some(&header), &good).status, 200);
    for bad in [&b""[..], b"x", &good[..good.len() - 5], b"<!DOCTYPE a><a/>", b"<a/>", b"\xff"] {
        let response = send(Some(&header), bad);
        assert_eq!(response.status, 400);
        let text = String::from_utf8(response.body).unwrap();
        assert!(text.contains("<faultstring>") && !text.contains("UPnPError"), "{text}");
    }
    assert_eq!(send(None, &good).status, 400);
    assert_eq!(send(Some("nonsense"), &good).status, 400);
}

#[test]
fn header_and_body_must_agree() {
    let good = body(URN, "GetExternalIPAddress", &[]);
    for header in [
        header("GetStatusInfo"),
        "urn:schemas-upnp-org:service:WANIPConnection:1#GetExternalIPAddress".into(),
    ] {
        let response = send(Some(&header), &good);
        assert_eq!((response.status, error_code(&response.body)), (500, 401));
    }
}

#[test]
fn another_services_action_is_refused() {
    for urn in [
        "urn:schemas-upnp-org:service:WANPPPConnection:1",
        "urn:schemas-upnp-org:service:WANIPConnection:3",
        "urn:somewhere:else",
    ] {
        let body = body(urn, "GetExternalIPAddress", &[]);
        let header = format!("{urn}#GetExternalIPAddress");
        assert_eq!(error_code(&send(Some(&header), &body).body), 401);
    }
}

#[test]
fn a_version_1_control_point_is_answered_in_its_version() {
    let urn = "urn:schemas-upnp-org:service:WANIPConnection:1";
    let body = body(urn, "GetExternalIPAddress", &[]);
    let response = send(Some(&format!("{urn}#GetExternalIPAddress")), &body);
    assert_eq!(response.status, 200);
    assert_eq!(SoapRequest::parse(&response.body).unwrap().service_type, urn);
}

#[test]
fn actions_that_are_not_there_are_refused_with_their_code() {
    let mut gateway = gateway(Policy::OwnClient);
    for (action, expected) in
        [("NoSuchAction", 401), ("addportmapping", 401), ("GetDefaultConnectionService", 401)]
    {
        assert_eq!(call(&mut gateway, HOST_A, action, &[]), Err(expected), "{action}");
    }
}

#[test]
fn missing_repeated_and_unknown_arguments_get_402() {
    let mut gateway = gateway(Policy::OwnClient);
    // The first one, NewRemoteHost, may be left out.
    for missing in 1..ADD.len() {
        let mut arguments = ADD.to_vec();
        arguments.remove(missing);
        assert_eq!(call(&mut gateway, HOST_A, "AddPortMapping", &arguments), Err(402));
    }
    for extra in [("NewProtocol", "TCP"), ("NewThing", ""), ("NewReservedPort", "1")] {
        let arguments = [&ADD[..], &[extra]].concat();
        assert_eq!(call(&mut gateway, HOST_A, "AddPortMapping", &arguments), Err(402));
    }
    assert_eq!(call(&mut gateway, HOST_A, "GetStatusInfo", &[("NewUptime", "1")]), Err(402));
    assert_eq!(gateway.mappings(NOW).count(), 0);
}

#[test]
fn what_old_clients_leave_out_or_add_is_served() {
    let mut gateway = gateway(Policy::OwnClient);
    let arguments = [&ADD[1..], &[("ProxyPortMapping", "0"), ("X_Vendor", "")]].concat();
    call(&mut gateway, HOST_A, "AddPortMapping", &arguments).unwrap();
    let key = [("NewExternalPort", "5000"), ("NewProtocol", "TCP")];
    let entry = call(&mut gateway, HOST_A, "GetSpecificPortMappingEntry", &key);
    assert_eq!(value(&entry, "NewInternalClient"), "192.168.1.10");
    // As the standard's XML calls it.
    let range = [
        ("NewStartPort", "5000"),
        ("NewEndPoint", "6000"),
        ("NewProtocol", "TCP"),
        ("NewManage", "0"),
        ("NewNumberOfPorts", "0"),
    ];
    assert!(call(&mut gateway, HOST_A, "GetListOfPortMappings", &range).is_ok());
    let both = [&range[..], &[("NewEndPort", "6000")]].concat();
    assert_eq!(call(&mut gateway, HOST_A, "GetListOfPortMappings", &both), Err(402));
    call(&mut gateway, HOST_A, "DeletePortMapping", &key).unwrap();
}

#[test]
fn host_names_are_told_and_taken_when_they_are_resolved() {
    for (text, expected) in [
        ("laptop.lan", true),
        ("laptop", true),
        ("3com.example.", true),
        ("192.168.1", false),
        ("1.2.3.400", false),
        ("-a.b", false),
        ("a..b", false),
        ("a b", false),
        ("*", false),
        ("", false),
    ] {
        let arguments = with(&ADD, &[("NewInternalClient", text)]);
        let body = body(URN, "AddPortMapping", &arguments);
        let header = header("AddPortMapping");
        let request =
            ControlRequest { peer: HOST_A, service: V2, soap_action: Some(&header), body: &body };
        let mut invocation = Invocation::read(&request).unwrap();
        let names = invocation.host_names();
        assert_eq!(names, if expected { vec![text] } else { Vec::new() });
        let mut gateway = gateway(Policy::OwnClient);
        assert_eq!(gateway.carry_out(NOW, &invocation).status, 500);
        if expected {
            invocation.resolved(text, HOST_A);
            assert_eq!(gateway.carry_out(NOW, &invocation).status, 200);
            let mapping = gateway.mappings(NOW).next().unwrap();
            assert_eq!(*mapping.internal.ip(), HOST_A);
        }
    }
}

#[test]
fn arguments_come_in_any_order_and_booleans_in_any_spelling() {
    let mut gateway = gateway(Policy::OwnClient);
    for (text, expected) in
        [("1", "1"), ("TRUE", "1"), ("yes", "1"), ("0", "0"), ("False", "0"), (" no ", "0")]
    {
        let mut arguments = with(&ADD, &[("NewEnabled", text)]);
        arguments.reverse();
        call(&mut gateway, HOST_A, "AddPortMapping", &arguments).unwrap();
        let entry = call(&mut gateway, HOST_A, "GetSpecificPortMappingEntry", &key("5000"));
        assert_eq!(value(&entry, "NewEnabled"), expected);
    }
}

#[test]
fn values_are_checked_by_the_table() {
    let mut gateway = gateway(Policy::OwnClient);
    for (name, text, expected) in [
        ("NewExternalPort", "abc", 402),
        ("NewExternalPort", "", 402),
        ("NewExternalPort", "-1", 402),
        ("NewExternalPort", "5000.0", 402),
        ("NewExternalPort", "65536", 601),
        ("NewExternalPort", "99999999999999999999999999", 601),
        ("NewExternalPort", "0", 606),
        ("NewInternalPort", "0", 732),
        ("NewInternalPort", "65536", 601),
        ("NewProtocol", "ICMP", 601),
        ("NewProtocol", "tcp", 601),
        ("NewProtocol", "", 601),
        ("NewEnabled", "maybe", 402),
        ("NewLeaseDuration", "604801", 601),
        ("NewLeaseDuration", "4294967296", 601),
        ("NewLeaseDuration", "x", 402),
        ("NewInternalClient", "", 715),
        ("NewInternalClient", "255.255.255.255", 600),
        ("NewInternalClient", "laptop.lan", 600),
        ("NewInternalClient", "192.168.1", 600),
        ("NewInternalClient", "0.0.0.0", 600),
        ("NewRemoteHost", "example.org", 600),
        ("NewRemoteHost", "224.0.0.1", 600),
        ("NewRemoteHost", "*", 600),
    ] {
        for action in ["AddPortMapping", "AddAnyPortMapping"] {
            let answer = call(&mut gateway, HOST_A, action, &with(&ADD, &[(name, text)]));
            assert_eq!(answer, Err(expected), "{action} {name}={text}");
        }
    }
    assert_eq!(gateway.mappings(NOW).count(), 0);
    for (kind, expected) in [("IP_Routed", 606), ("IP_Magic", 601)] {
        let arguments = [("NewConnectionType", kind)];
        assert_eq!(call(&mut gateway, HOST_A, "SetConnectionType", &arguments), Err(expected));
    }
}

#[test]
fn a_fault_tells_what_was_wrong() {
    let arguments = with(&ADD, &[("NewInternalClient", "laptop.lan")]);
    let body = body(URN, "AddPortMapping", &arguments);
    let response = send(Some(&header("AddPortMapping")), &body);
    let text = String::from_utf8(response.body).unwrap();
    assert!(text.contains(
        "<errorDescription>Argument Value Invalid: InternalClient must be an IPv4 address, \
         or the name of a host that has one</errorDescription>"
    ));
}
