//! Reading mappings, the connection and the link.

use super::*;

fn generic(gateway: &mut Gateway<FakePath>, peer: Ipv4Addr, index: &str) -> Answer {
    let arguments = [("NewPortMappingIndex", index)];
    call(gateway, peer, "GetGenericPortMappingEntry", &arguments)
}

/// Host A has 5000 and 5002, host B has 5001.
fn gateway_of_two(policy: Policy) -> Gateway<FakePath> {
    let mut gateway = gateway(policy);
    for (port, peer, client) in [
        ("5000", HOST_A, "192.168.1.10"),
        ("5001", HOST_B, "192.168.1.11"),
        ("5002", HOST_A, "192.168.1.10"),
    ] {
        let changes = [("NewExternalPort", port), ("NewInternalClient", client)];
        call(&mut gateway, peer, "AddPortMapping", &with(&ADD, &changes)).unwrap();
    }
    gateway
}

#[test]
fn the_index_counts_what_the_control_point_may_see() {
    let mut gateway = gateway_of_two(Policy::OwnClient);
    assert_eq!(value(&generic(&mut gateway, HOST_A, "0"), "NewExternalPort"), "5000");
    assert_eq!(value(&generic(&mut gateway, HOST_A, "1"), "NewExternalPort"), "5002");
    assert_eq!(generic(&mut gateway, HOST_A, "2"), Err(713));
    assert_eq!(value(&generic(&mut gateway, HOST_B, "0"), "NewExternalPort"), "5001");
    let mut open = gateway_of_two(Policy::Open);
    assert_eq!(value(&generic(&mut open, HOST_B, "2"), "NewExternalPort"), "5002");
    assert_eq!(generic(&mut open, HOST_B, "3"), Err(713));
}

#[test]
fn an_entry_is_told_whole() {
    let mut gateway = gateway(Policy::OwnClient);
    let changes = [
        ("NewRemoteHost", "198.51.100.7"),
        ("NewPortMappingDescription", "<a> & b"),
        ("NewProtocol", "UDP"),
        ("NewInternalPort", "6000"),
    ];
    call(&mut gateway, HOST_A, "AddPortMapping", &with(&ADD, &changes)).unwrap();
    let expected = [
        ("NewRemoteHost", "198.51.100.7"),
        ("NewExternalPort", "5000"),
        ("NewProtocol", "UDP"),
        ("NewInternalPort", "6000"),
        ("NewInternalClient", "192.168.1.10"),
        ("NewEnabled", "1"),
        ("NewPortMappingDescription", "<a> & b"),
        ("NewLeaseDuration", "100"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(generic(&mut gateway, HOST_A, "0"), Ok(expected.to_vec()));
    let key =
        [("NewRemoteHost", "198.51.100.7"), ("NewExternalPort", "5000"), ("NewProtocol", "UDP")];
    let specific = "GetSpecificPortMappingEntry";
    assert_eq!(call(&mut gateway, HOST_A, specific, &key), Ok(expected[3..].to_vec()));
    // An empty RemoteHost finds only the mapping for any remote host.
    let any = with(&key, &[("NewRemoteHost", "")]);
    assert_eq!(call(&mut gateway, HOST_A, specific, &any), Err(714));
    assert_eq!(call(&mut gateway, HOST_B, specific, &key), Err(606));
}

#[test]
fn mappings_are_listed_as_the_schema_wants() {
    let mut gateway = gateway_of_two(Policy::Open);
    let mut list = |peer, manage, most| {
        let arguments = [
            ("NewStartPort", "5000"),
            ("NewEndPort", "6000"),
            ("NewProtocol", "TCP"),
            ("NewManage", manage),
            ("NewNumberOfPorts", most),
        ];
        let answer = call(&mut gateway, peer, "GetListOfPortMappings", &arguments)?;
        Ok::<_, u16>(answer[0].1.clone())
    };
    let all = list(HOST_A, "1", "0").unwrap();
    assert_eq!(all.matches("<p:PortMappingEntry>").count(), 3);
    assert!(all.contains(
        "<p:PortMappingEntry><p:NewRemoteHost></p:NewRemoteHost>\
         <p:NewExternalPort>5001</p:NewExternalPort><p:NewProtocol>TCP</p:NewProtocol>\
         <p:NewInternalPort>5000</p:NewInternalPort>\
         <p:NewInternalClient>192.168.1.11</p:NewInternalClient><p:NewEnabled>1</p:NewEnabled>\
         <p:NewDescription>test</p:NewDescription><p:NewLeaseTime>100</p:NewLeaseTime>\
         </p:PortMappingEntry>"
    ));
    assert_eq!(list(HOST_B, "0", "0").unwrap().matches("<p:PortMappingEntry>").count(), 1);
    assert_eq!(list(HOST_A, "1", "2").unwrap().matches("<p:PortMappingEntry>").count(), 2);
    assert_eq!(list(Ipv4Addr::new(192, 168, 1, 12), "0", "0"), Err(730));
}

#[test]
fn without_an_address_there_is_no_connection() {
    let mut gateway = gateway(Policy::OwnClient);
    let status = call(&mut gateway, HOST_A, "GetStatusInfo", &[]);
    assert_eq!(value(&status, "NewConnectionStatus"), "Connected");
    let address = call(&mut gateway, HOST_A, "GetExternalIPAddress", &[]);
    assert_eq!(value(&address, "NewExternalIPAddress"), "203.0.113.1");
    let mut uptime = |external, seconds| {
        gateway.path_mut().external = external;
        let service = V2;
        let now = NOW.plus_secs(seconds);
        let answer = call_at(&mut gateway, now, HOST_A, service, "GetStatusInfo", &[]);
        (value(&answer, "NewConnectionStatus"), value(&answer, "NewUptime"))
    };
    let external = Some(Ipv4Addr::new(203, 0, 113, 2));
    assert_eq!(uptime(external, 30), ("Connected".into(), "30".into()));
    assert_eq!(uptime(None, 31), ("Disconnected".into(), "0".into()));
    assert_eq!(uptime(external, 40), ("Connected".into(), "0".into()));
    assert_eq!(uptime(external, 45), ("Connected".into(), "5".into()));
    gateway.path_mut().external = None;
    let address = call(&mut gateway, HOST_A, "GetExternalIPAddress", &[]);
    assert_eq!(value(&address, "NewExternalIPAddress"), "");
}

#[test]
fn counters_run_over_at_four_bytes() {
    let mut gateway = gateway(Policy::OwnClient);
    gateway.set_traffic(TrafficTotals {
        bytes_sent: (1 << 32) + 5,
        bytes_received: 6,
        packets_sent: 7,
        packets_received: 8,
    });
    gateway.set_link(LinkProperties { upstream: 10, downstream: 20 });
    let mut read = |action: &str| {
        let service = ServiceKind::WanCommonInterfaceConfig(Tree::Igd2);
        let answer = call_at(&mut gateway, NOW, HOST_A, service, action, &[]).unwrap();
        answer.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(read("GetTotalBytesSent"), ["5"]);
    assert_eq!(read("GetTotalBytesReceived"), ["6"]);
    assert_eq!(read("GetTotalPacketsSent"), ["7"]);
    assert_eq!(read("GetTotalPacketsReceived"), ["8"]);
    assert_eq!(read("GetCommonLinkProperties"), ["Ethernet", "10", "20", "Up"]);
}

#[test]
fn the_only_connection_is_the_default_one() {
    let mut gateway = gateway(Policy::OwnClient);
    let service = ServiceKind::Layer3Forwarding(Tree::Igd2);
    let get = "GetDefaultConnectionService";
    let answer = call_at(&mut gateway, NOW, HOST_A, service, get, &[]);
    let default = value(&answer, "NewDefaultConnectionService");
    let (device, id) = default.split_once(',').unwrap();
    assert!(device.starts_with("uuid:") && device.ends_with(":WANConnectionDevice:2"));
    assert_eq!(id, "urn:upnp-org:serviceId:WANIPConn1");
    for (wanted, expected) in [
        (default.clone(), Ok(vec![])),
        (format!("{device},urn:upnp-org:serviceId:WANPPPConn1"), Err(721)),
        (format!("uuid:1:WANConnectionDevice:2,{id}"), Err(720)),
        (String::new(), Err(720)),
    ] {
        let arguments = [("NewDefaultConnectionService", wanted.as_str())];
        let set = "SetDefaultConnectionService";
        assert_eq!(call_at(&mut gateway, NOW, HOST_A, service, set, &arguments), expected);
    }
}

#[test]
fn an_operator_sees_mappings_as_json() {
    let mut gateway = gateway(Policy::OwnClient);
    call(&mut gateway, HOST_A, "AddPortMapping", &ADD).unwrap();
    let views: Vec<_> = gateway.mappings(NOW.plus_secs(1)).collect();
    let json = serde_json::to_value(&views).unwrap();
    let expected = serde_json::json!([{
        "protocol": "TCP", "external_port": 5000, "remote_host": null,
        "internal": "192.168.1.10:5000", "enabled": true, "description": "test", "via": "upnp",
            "lease_left": 99,
    }]);
    assert_eq!(json, expected);
}
