//! The connection by its actions; its states are tested beside them.

use super::*;
use crate::igd::connection::Errand;

const COMMON: ServiceKind = ServiceKind::WanCommonInterfaceConfig(Tree::Igd2);

fn status(gateway: &mut Gateway<FakePath>) -> (String, String) {
    let answer = call(gateway, HOST_A, "GetStatusInfo", &[]);
    (value(&answer, "NewConnectionStatus"), value(&answer, "NewLastConnectionError"))
}

fn is(gateway: &mut Gateway<FakePath>, state: &str, error: &str) {
    assert_eq!(status(gateway), (state.into(), error.into()));
}

fn enable(gateway: &mut Gateway<FakePath>, enabled: &str) -> Answer {
    let arguments = [("NewEnabledForInternet", enabled)];
    call_at(gateway, NOW, HOST_A, COMMON, "SetEnabledForInternet", &arguments)
}

/// One whose operator has commands.
fn with_commands() -> Gateway<FakePath> {
    let connection = crate::igd::connection::ConnectionConfig {
        has_up: true,
        has_down: true,
        ..Default::default()
    };
    let config = GatewayConfig { policy: Policy::Open, connection, ..GatewayConfig::default() };
    Gateway::new(NOW, &config, FakePath::new())
}

#[test]
fn a_connection_is_ended_and_requested() {
    let mut gateway = gateway(Policy::Open);
    is(&mut gateway, "Connected", "ERROR_NONE");
    assert_eq!(call(&mut gateway, HOST_A, "RequestConnection", &[]), Ok(vec![]));
    for (action, error) in [
        ("RequestTermination", "ERROR_USER_DISCONNECT"),
        ("ForceTermination", "ERROR_FORCED_DISCONNECT"),
    ] {
        call(&mut gateway, HOST_A, action, &[]).unwrap();
        is(&mut gateway, "Disconnected", error);
        assert!(!gateway.path().transits, "no packets are transiting the gateway");
        let address = call(&mut gateway, HOST_A, "GetExternalIPAddress", &[]);
        assert_eq!(value(&address, "NewExternalIPAddress"), "");
        for action in ["RequestTermination", "ForceTermination"] {
            assert_eq!(call(&mut gateway, HOST_A, action, &[]), Err(711));
        }
        call(&mut gateway, HOST_A, "RequestConnection", &[]).unwrap();
        is(&mut gateway, "Connected", "ERROR_NONE");
        assert!(gateway.path().transits);
    }
}

#[test]
fn every_state_has_its_codes() {
    let mut gateway = with_commands();
    call(&mut gateway, HOST_A, "ForceTermination", &[]).unwrap();
    is(&mut gateway, "Disconnecting", "ERROR_FORCED_DISCONNECT");
    assert_eq!(gateway.take_errand(), Some(Errand::Down));
    for action in ["RequestConnection", "RequestTermination", "ForceTermination"] {
        assert_eq!(call(&mut gateway, HOST_A, action, &[]), Err(707), "{action}");
    }
    gateway.errand_ended(Errand::Down, true);
    gateway.path_mut().external = None;
    call(&mut gateway, HOST_A, "RequestConnection", &[]).unwrap();
    is(&mut gateway, "Connecting", "ERROR_FORCED_DISCONNECT");
    assert_eq!(gateway.take_errand(), Some(Errand::Up));
    assert_eq!(call(&mut gateway, HOST_A, "RequestConnection", &[]), Err(705));
    gateway.path_mut().external = Some(Ipv4Addr::new(203, 0, 113, 1));
    is(&mut gateway, "Connected", "ERROR_NONE");

    let delay = [("NewWarnDisconnectDelay", "5")];
    call(&mut gateway, HOST_A, "SetWarnDisconnectDelay", &delay).unwrap();
    call(&mut gateway, HOST_A, "RequestTermination", &[]).unwrap();
    is(&mut gateway, "PendingDisconnect", "ERROR_NONE");
    assert!(gateway.path().transits);
    assert_eq!(call(&mut gateway, HOST_A, "RequestTermination", &[]), Err(707));
    call(&mut gateway, HOST_A, "RequestConnection", &[]).unwrap();
    is(&mut gateway, "Connected", "ERROR_NONE");

    gateway.path_mut().gone = true;
    is(&mut gateway, "Unconfigured", "ERROR_IP_CONFIGURATION");
    for action in ["RequestConnection", "RequestTermination", "ForceTermination"] {
        assert_eq!(call(&mut gateway, HOST_A, action, &[]), Err(706), "{action}");
    }
}

#[test]
fn a_link_without_carrier_cannot_be_set_up() {
    let mut gateway = gateway(Policy::Open);
    gateway.path_mut().unplugged = true;
    is(&mut gateway, "Disconnected", "ERROR_NO_CARRIER");
    assert_eq!(call(&mut gateway, HOST_A, "RequestConnection", &[]), Err(704));
}

#[test]
fn the_connection_type_is_read_only() {
    let mut gateway = gateway(Policy::Open);
    let set = |gateway: &mut Gateway<FakePath>, service, kind| {
        let arguments = [("NewConnectionType", kind)];
        call_at(gateway, NOW, HOST_A, service, "SetConnectionType", &arguments)
    };
    assert_eq!(set(&mut gateway, V2, "IP_Bridged"), Err(703));
    assert_eq!(set(&mut gateway, V2, "IP_Magic"), Err(601));
    call(&mut gateway, HOST_A, "ForceTermination", &[]).unwrap();
    assert_eq!(set(&mut gateway, V2, "IP_Bridged"), Err(731));
    assert_eq!(set(&mut gateway, V1, "IP_Bridged"), Err(501));
    assert_eq!(set(&mut gateway, V2, "IP_Routed"), Ok(vec![]));
    let info = call(&mut gateway, HOST_A, "GetConnectionTypeInfo", &[]);
    assert_eq!(value(&info, "NewConnectionType"), "IP_Routed");
}

#[test]
fn what_everybody_feels_is_not_for_unauthorized_control_points() {
    let mut gateway = gateway(Policy::OwnClient);
    for (action, arguments) in [
        ("SetConnectionType", &[("NewConnectionType", "IP_Routed")][..]),
        ("RequestTermination", &[]),
        ("ForceTermination", &[]),
        ("SetAutoDisconnectTime", &[("NewAutoDisconnectTime", "1")]),
        ("SetIdleDisconnectTime", &[("NewIdleDisconnectTime", "1")]),
        ("SetWarnDisconnectDelay", &[("NewWarnDisconnectDelay", "1")]),
    ] {
        for service in [V1, V2] {
            let answer = call_at(&mut gateway, NOW, HOST_A, service, action, arguments);
            assert_eq!(answer, Err(606), "{action}");
        }
    }
    assert_eq!(enable(&mut gateway, "0"), Err(606));
    assert_eq!(call(&mut gateway, HOST_A, "RequestConnection", &[]), Ok(vec![]));
}

#[test]
fn times_are_kept_and_told() {
    let mut gateway = gateway(Policy::Open);
    for name in ["AutoDisconnectTime", "IdleDisconnectTime", "WarnDisconnectDelay"] {
        let argument = format!("New{name}");
        for seconds in ["4294967295", "0"] {
            let set = [(argument.as_str(), seconds)];
            call(&mut gateway, HOST_A, &format!("Set{name}"), &set).unwrap();
            let answer = call(&mut gateway, HOST_A, &format!("Get{name}"), &[]);
            assert_eq!(value(&answer, &argument), seconds);
        }
        let bad = [(argument.as_str(), "-1")];
        assert_eq!(call(&mut gateway, HOST_A, &format!("Set{name}"), &bad), Err(402));
    }
}

#[test]
fn internet_access_gates_the_connection() {
    let mut gateway = gateway(Policy::Open);
    let read = |gateway: &mut Gateway<FakePath>, action: &str, arguments: &[(&str, &str)]| {
        call_at(gateway, NOW, HOST_A, COMMON, action, arguments)
    };
    let index = [("NewActiveConnectionIndex", "0")];
    let active = read(&mut gateway, "GetActiveConnections", &index);
    assert!(value(&active, "NewActiveConnDeviceContainer").ends_with(":WANConnectionDevice:2"));
    let id = "urn:upnp-org:serviceId:WANIPConn1";
    assert_eq!(value(&active, "NewActiveConnectionServiceID"), id);
    let beyond = [("NewActiveConnectionIndex", "1")];
    assert_eq!(read(&mut gateway, "GetActiveConnections", &beyond), Err(713));

    enable(&mut gateway, "0").unwrap();
    is(&mut gateway, "Disconnected", "ERROR_NOT_ENABLED_FOR_INTERNET");
    assert!(!gateway.path().transits);
    assert_eq!(call(&mut gateway, HOST_A, "RequestConnection", &[]), Err(709));
    assert_eq!(read(&mut gateway, "GetActiveConnections", &index), Err(713));
    let answer = read(&mut gateway, "GetEnabledForInternet", &[]);
    assert_eq!(value(&answer, "NewEnabledForInternet"), "0");
    enable(&mut gateway, "1").unwrap();
    is(&mut gateway, "Connected", "ERROR_NONE");
    let answer = read(&mut gateway, "GetMaximumActiveConnections", &[]);
    assert_eq!(value(&answer, "NewMaximumActiveConnections"), "1");
    let answer = read(&mut gateway, "GetWANAccessProvider", &[]);
    assert_eq!(value(&answer, "NewWANAccessProvider"), "");
}
