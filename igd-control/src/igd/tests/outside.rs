//! Beneath another NAT.

use super::*;
use crate::mapping::MappingKey;
use nat_common::Protocol;

const GIVEN: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 9);

fn address(gateway: &mut Gateway<FakePath>) -> String {
    value(&call(gateway, HOST_A, "GetExternalIPAddress", &[]), "NewExternalIPAddress")
}

#[test]
fn the_external_address_is_the_one_upstream_while_that_is_in_service() {
    let mut gateway = gateway(Policy::OwnClient);
    assert_eq!(address(&mut gateway), "203.0.113.1");
    for (given, expected) in [(Some(GIVEN), "11.22.33.9"), (None, "")] {
        gateway.set_outside(Outside { upstream: Some(given), ..Outside::default() });
        assert_eq!(address(&mut gateway), expected);
        let events = gateway.evented(NOW, V2);
        assert!(events.contains(&("ExternalIPAddress", expected.to_owned())));
    }
    gateway.set_outside(Outside::default());
    assert_eq!(address(&mut gateway), "203.0.113.1");
}

#[test]
fn a_private_address_is_told_unless_it_is_to_be_hidden() {
    let mut gateway = gateway(Policy::OwnClient);
    gateway.path_mut().external = Some(Ipv4Addr::new(100, 64, 0, 2));
    assert_eq!(address(&mut gateway), "100.64.0.2");
    gateway.set_outside(Outside { private_address: PrivateAddress::Empty, ..Outside::default() });
    assert_eq!(address(&mut gateway), "");
    let by =
        |seen| Outside { private_address: PrivateAddress::Upstream, seen, ..Outside::default() };
    gateway.set_outside(by(None));
    assert_eq!(address(&mut gateway), "", "nobody knows it");
    gateway.set_seen(Some(Ipv4Addr::new(11, 22, 33, 8)));
    assert_eq!(address(&mut gateway), "11.22.33.8");
    gateway.set_outside(by(Some(Ipv4Addr::new(11, 22, 33, 7))));
    assert_eq!(address(&mut gateway), "11.22.33.7", "the server knows better");
    gateway.path_mut().external = Some(GIVEN);
    assert_eq!(address(&mut gateway), "11.22.33.9");
}

#[test]
fn subscribers_hear_of_no_mapping_that_may_yet_be_refused() {
    let mut gateway = gateway(Policy::Open);
    gateway.set_undecided(false);
    let told = |gateway: &Gateway<FakePath>| {
        let events = gateway.evented(NOW, V2);
        let value = |name| events.iter().find(|event| event.0 == name).unwrap().1.clone();
        (value("PortMappingNumberOfEntries"), value("SystemUpdateID"))
    };
    let before = told(&gateway);
    call(&mut gateway, HOST_A, "AddPortMapping", &ADD).unwrap();
    gateway.set_undecided(true);
    assert_eq!(told(&gateway), before);
    gateway.set_undecided(false);
    assert_eq!(told(&gateway), ("1".to_owned(), "1".to_owned()));
}

#[test]
fn nobody_has_every_port_beneath_another_nat() {
    let mut gateway = gateway(Policy::Open);
    let all = with(&ADD, &[("NewExternalPort", "0"), ("NewInternalPort", "5001")]);
    gateway.set_outside(Outside { upstream: Some(Some(GIVEN)), ..Outside::default() });
    for action in ["AddPortMapping", "AddAnyPortMapping"] {
        assert_eq!(call(&mut gateway, HOST_A, action, &all), Err(716), "{action}");
    }
    gateway.set_outside(Outside::default());
    assert!(call(&mut gateway, HOST_A, "AddPortMapping", &all).is_ok());
}

#[test]
fn an_action_says_what_the_server_upstream_must_hear_of() {
    let mut gateway = gateway(Policy::OwnClient);
    let named = |external_port| MappingKey { protocol: Protocol::Tcp, external_port, remote: None };
    call(&mut gateway, HOST_A, "AddPortMapping", &ADD).unwrap();
    assert_eq!(gateway.take_touched(), Some(Touched::Made { key: named(5_000), any: false }));
    assert_eq!(gateway.take_touched(), None, "once");
    let other = with(&ADD, &[("NewInternalPort", "5001")]);
    let port: u16 =
        value(&call(&mut gateway, HOST_A, "AddAnyPortMapping", &other), "NewReservedPort")
            .parse()
            .unwrap();
    assert_eq!(gateway.take_touched(), Some(Touched::Made { key: named(port), any: true }));
    call(&mut gateway, HOST_A, "GetSpecificPortMappingEntry", &key("5000")).unwrap();
    assert_eq!(gateway.take_touched(), None, "it is there");
    assert_eq!(call(&mut gateway, HOST_A, "GetSpecificPortMappingEntry", &key("7000")), Err(714));
    assert_eq!(gateway.take_touched(), Some(Touched::Missing(named(7_000))));
    assert_eq!(call(&mut gateway, HOST_A, "GetSpecificPortMappingEntry", &key("80")), Err(606));
    assert_eq!(gateway.take_touched(), None, "it may not ask");
}
