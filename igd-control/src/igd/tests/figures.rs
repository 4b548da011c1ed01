//! Figures 2-3 and 2-4 of WANIPConnection:2, row by row: what becomes of a second mapping, whose
//! protocol, external port, remote host and internal client are those of the first one, or others.

use super::*;

/// Protocol, ExternalPort, RemoteHost, InternalClient: the same as the first mapping's?
type Row = [bool; 4];

/// All sixteen, in the order of the figures.
fn rows() -> impl Iterator<Item = Row> {
    (0..16).map(|row| [row & 8 != 0, row & 4 != 0, row & 2 != 0, row & 1 != 0])
}

/// The second mapping's arguments, and who asks for it.
fn second([protocol, port, remote, client]: Row) -> (Ipv4Addr, Vec<(&'static str, &'static str)>) {
    let pick = |same: bool, first, other| if same { first } else { other };
    let changes = [
        ("NewProtocol", pick(protocol, "TCP", "UDP")),
        ("NewExternalPort", pick(port, "5000", "5001")),
        ("NewRemoteHost", pick(remote, "198.51.100.7", "198.51.100.8")),
        ("NewInternalClient", pick(client, "192.168.1.10", "192.168.1.11")),
    ];
    (if client { HOST_A } else { HOST_B }, with(&ADD, &changes))
}

/// A gateway that has the first mapping.
fn first(policy: Policy) -> Gateway<FakePath> {
    let mut gateway = gateway(policy);
    let arguments = with(&ADD, &[("NewRemoteHost", "198.51.100.7")]);
    call(&mut gateway, HOST_A, "AddPortMapping", &arguments).unwrap();
    gateway
}

#[test]
fn add_port_mapping_ends_as_figure_2_3_says() {
    for policy in [Policy::OwnClient, Policy::Open] {
        for row in rows() {
            let (peer, arguments) = second(row);
            let mut gateway = first(policy);
            let answer = call(&mut gateway, peer, "AddPortMapping", &arguments);
            let (expected, mappings) = match row {
                [true, true, _, false] => (Err(718), 1),
                // Several remote hosts may share a port of one client: the vendor's choice.
                [true, true, false, true] => (Ok(vec![]), 2),
                [true, true, true, true] => (Ok(vec![]), 1),
                _ => (Ok(vec![]), 2),
            };
            assert_eq!((answer, gateway.mappings(NOW).count()), (expected, mappings), "{row:?}");
        }
    }
}

#[test]
fn add_any_port_mapping_ends_as_figure_2_4_says() {
    for policy in [Policy::OwnClient, Policy::Open] {
        for row in rows() {
            let (peer, arguments) = second(row);
            let mut gateway = first(policy);
            let answer = call(&mut gateway, peer, "AddAnyPortMapping", &arguments);
            let reserved = value(&answer, "NewReservedPort");
            let wanted = arguments.iter().find(|(name, _)| *name == "NewExternalPort").unwrap().1;
            let moved = matches!(row, [true, true, _, false]);
            assert_eq!(reserved != wanted, moved, "{row:?}");
            let overwritten = row == [true; 4];
            assert_eq!(gateway.mappings(NOW).count(), if overwritten { 1 } else { 2 }, "{row:?}");
        }
    }
}

#[test]
fn an_update_overwrites_what_may_change() {
    let mut gateway = gateway(Policy::OwnClient);
    call(&mut gateway, HOST_A, "AddPortMapping", &ADD).unwrap();
    let changes = [
        ("NewInternalPort", "6000"),
        ("NewEnabled", "0"),
        ("NewPortMappingDescription", "other"),
        ("NewLeaseDuration", "200"),
    ];
    call(&mut gateway, HOST_A, "AddPortMapping", &with(&ADD, &changes)).unwrap();
    let entry = call(&mut gateway, HOST_A, "GetSpecificPortMappingEntry", &key("5000"));
    for (name, expected) in changes {
        assert_eq!(value(&entry, name), expected);
    }
    // The same port asked for again and again, and by both protocols at once.
    for _ in 0..4 {
        for protocol in ["TCP", "UDP"] {
            let again = with(&ADD, &[("NewProtocol", protocol)]);
            call(&mut gateway, HOST_A, "AddPortMapping", &again).unwrap();
        }
    }
    assert_eq!(gateway.mappings(NOW).count(), 2);
}
