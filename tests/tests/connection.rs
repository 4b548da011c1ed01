//! The connection as a control point sees and changes it: its states, what transits in each, and the
//! operator's commands.

use anyhow::{Context, Result};
use nat_tests::client::{
    Gateway,
    soap::{MAPPING, WAN_IP_CONNECTION, WAN_IP_CONNECTION_1},
};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{ANSWER_TIMEOUT, EXTERNAL, Lab, UdpReflector, wait_until};
use nat_tests::lease::{SILENT_FOR, answers, crosses};
use std::net::SocketAddrV4;
use std::thread;
use std::time::Duration;

const COMMON: &str = "urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1";
const OPEN: &str = "[policy]\nmode = \"open\"\n";

fn wait_for(gateway: &Gateway<'_>, state: &str, error: &str) -> Result<()> {
    wait_until(&format!("{state}, {error}"), ANSWER_TIMEOUT, || {
        let (found, why, _) = gateway.status()?;
        Ok(found == state && why == error)
    })
}

#[test]
fn no_packet_transits_while_disconnected() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::builder(&lab).configured(OPEN)?.start()?;
    let _inside = UdpReflector::start(&lab.lan, "192.168.77.2:5600")?;
    let _outside = UdpReflector::start(&lab.wan, "11.22.33.9:9999")?;
    let caller = lab.wan.udp("11.22.33.9:0")?;
    let inside = SocketAddrV4::new(EXTERNAL, 6000);
    let comes_in = |patience| answers(&caller, inside, patience);
    for (version, action, error) in [
        (WAN_IP_CONNECTION, "ForceTermination", "ERROR_FORCED_DISCONNECT"),
        (WAN_IP_CONNECTION_1, "RequestTermination", "ERROR_USER_DISCONNECT"),
    ] {
        let gateway = Gateway::discover_by(&lab.lan, version)?;
        gateway.add(&MAPPING)?.success()?;
        assert_eq!(gateway.status()?.0, "Connected");
        // A live session, not only a new one.
        assert!(comes_in(ANSWER_TIMEOUT)? && crosses(&lab, ANSWER_TIMEOUT)?);
        gateway.call(action, &[])?.success()?;
        let (state, why, uptime) = gateway.status()?;
        assert_eq!((state.as_str(), why.as_str(), uptime), ("Disconnected", error, 0));
        assert!(!comes_in(SILENT_FOR)? && !crosses(&lab, SILENT_FOR)?);
        assert!(daemon.counter("drop_disconnected")? > 0);
        let address = gateway.call("GetExternalIPAddress", &[])?.success()?;
        assert_eq!(address.value("NewExternalIPAddress"), Some(""));
        for action in ["RequestTermination", "ForceTermination"] {
            assert_eq!(gateway.call(action, &[])?.error_code(), Some(711));
        }
        // The lease goes on meanwhile, and mappings can be made.
        gateway.add(&MAPPING)?.success()?;
        gateway.call("RequestConnection", &[])?.success()?;
        assert_eq!(gateway.status()?.1, "ERROR_NONE");
        assert!(comes_in(ANSWER_TIMEOUT)? && crosses(&lab, ANSWER_TIMEOUT)?);
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn the_connection_follows_the_wan_link() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    wait_for(&gateway, "Connected", "ERROR_NONE")?;
    let common = gateway.at(COMMON)?;
    let link = || -> Result<String> {
        let reply = common.call("GetCommonLinkProperties", &[])?.success()?;
        Ok(reply.value("NewPhysicalLinkStatus").context("no link")?.to_owned())
    };
    assert_eq!(link()?, "Up");
    lab.wan.ip(&["link", "set", "eth0", "down"])?;
    wait_for(&gateway, "Disconnected", "ERROR_NO_CARRIER")?;
    assert_eq!(link()?, "Down");
    assert_eq!(gateway.call("RequestConnection", &[])?.error_code(), Some(704));
    lab.wan.ip(&["link", "set", "eth0", "up"])?;
    wait_for(&gateway, "Connected", "ERROR_NONE")?;

    lab.router.ip(&["address", "flush", "dev", "wan0"])?;
    wait_for(&gateway, "Disconnected", "ERROR_ISP_DISCONNECT")?;
    gateway.call("RequestConnection", &[])?.success()?;
    assert_eq!(gateway.status()?.0, "Connecting");
    assert_eq!(gateway.call("RequestConnection", &[])?.error_code(), Some(705));
    lab.router.ip(&["address", "add", "11.22.33.1/24", "dev", "wan0"])?;
    wait_for(&gateway, "Connected", "ERROR_NONE")?;
    assert!(gateway.status()?.2 < 10, "Uptime begins anew");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn the_operators_commands_bring_the_link_up_and_down() -> Result<()> {
    let lab = Lab::home()?;
    let config = format!(
        "{OPEN}[connection]\nup-command = [\"ip\", \"link\", \"set\", \"wan0\", \"up\"]\n\
         down-command = [\"sh\", \"-c\", \"ip link set $IGD_WAN down\"]\n"
    );
    let daemon = Daemon::builder(&lab).configured(&config)?.start()?;
    let gateway = Gateway::discover(&lab.lan)?;
    wait_for(&gateway, "Connected", "ERROR_NONE")?;
    gateway.call("ForceTermination", &[])?.success()?;
    wait_for(&gateway, "Disconnected", "ERROR_FORCED_DISCONNECT")?;
    assert!(lab.router.ip(&["link", "show", "wan0"])?.contains("state DOWN"));
    gateway.call("RequestConnection", &[])?.success()?;
    wait_for(&gateway, "Connected", "ERROR_NONE")?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_command_that_hangs_is_ended_and_delays_nobody() -> Result<()> {
    let lab = Lab::home()?;
    let config =
        format!("{OPEN}[connection]\ndown-command = [\"sleep\", \"600\"]\ncommand-time = 2\n");
    let daemon = Daemon::builder(&lab).configured(&config)?.start()?;
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.call("ForceTermination", &[])?.success()?;
    assert_eq!(gateway.status()?.0, "Disconnecting");
    for action in ["RequestConnection", "RequestTermination", "ForceTermination"] {
        assert_eq!(gateway.call(action, &[])?.error_code(), Some(707));
    }
    wait_for(&gateway, "Disconnected", "ERROR_FORCED_DISCONNECT")?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn the_connection_ends_by_its_times() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::builder(&lab).configured(OPEN)?.start()?;
    let _outside = UdpReflector::start(&lab.wan, "11.22.33.9:9999")?;
    let gateway = Gateway::discover(&lab.lan)?;
    let set = |name: &str, seconds: &str| -> Result<()> {
        let argument = format!("New{name}");
        gateway.call(&format!("Set{name}"), &[(&argument, seconds)])?.success()?;
        let reply = gateway.call(&format!("Get{name}"), &[])?.success()?;
        assert_eq!(reply.value(&argument), Some(seconds));
        Ok(())
    };
    set("WarnDisconnectDelay", "2")?;
    set("AutoDisconnectTime", "1")?;
    wait_for(&gateway, "PendingDisconnect", "ERROR_NONE")?;
    assert!(crosses(&lab, ANSWER_TIMEOUT)?, "packets flow while it is pending");
    assert_eq!(gateway.call("RequestTermination", &[])?.error_code(), Some(707));
    set("AutoDisconnectTime", "0")?;
    gateway.call("RequestConnection", &[])?.success()?;
    assert_eq!(gateway.status()?.0, "Connected", "called off");

    set("WarnDisconnectDelay", "0")?;
    set("IdleDisconnectTime", "2")?;
    for _ in 0..15 {
        assert!(crosses(&lab, ANSWER_TIMEOUT)?);
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(gateway.status()?.0, "Connected", "it was not idle");
    wait_for(&gateway, "Disconnected", "ERROR_IDLE_DISCONNECT")?;
    assert!(!crosses(&lab, SILENT_FOR)?);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn the_connection_type_can_be_read_and_not_set() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::builder(&lab).configured(OPEN)?.start()?;
    let gateway = Gateway::discover(&lab.lan)?;
    let set = |kind| gateway.call("SetConnectionType", &[("NewConnectionType", kind)]);
    assert_eq!(set("IP_Bridged")?.error_code(), Some(703));
    assert_eq!(set("Bridged")?.error_code(), Some(601));
    gateway.call("ForceTermination", &[])?.success()?;
    assert_eq!(set("IP_Bridged")?.error_code(), Some(731));
    set("IP_Routed")?.success()?;
    let info = gateway.call("GetConnectionTypeInfo", &[])?.success()?;
    assert_eq!(info.value("NewConnectionType"), Some("IP_Routed"));
    assert_eq!(info.value("NewPossibleConnectionTypes"), Some("IP_Routed"));
    let nat = gateway.call("GetNATRSIPStatus", &[])?.success()?;
    assert_eq!((nat.value("NewRSIPAvailable"), nat.value("NewNATEnabled")), (Some("0"), Some("1")));
    daemon.stop()?;
    lab.finish()
}
