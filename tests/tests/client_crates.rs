//! Rust's own crates for control points: igd-next, which most of them open ports with, and rupnp, which
//! knows any device by its descriptions.

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _};
use igd_next::{PortMappingProtocol, SearchOptions};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    EXTERNAL, LAN_HOST, Lab, Namespace, TcpReflector, UdpReflector, WAN_HOST, tcp_seen_as,
    udp_seen_as,
};
use nat_tests::lease::{tcp_is_shut, udp_is_silent};
use rupnp::ssdp::{SearchTarget, URN};
use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::pin::pin;
use std::time::Duration;

/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The host's side of every port mapping here.
const INTERNAL: SocketAddrV4 = SocketAddrV4::new(LAN_HOST, 5600);

const fn external(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(EXTERNAL, port)
}

/// Runs a client to its end inside a namespace.
fn inside<F: Future<Output = Result<()>>>(
    namespace: &Namespace,
    client: impl FnOnce() -> F + Send,
) -> Result<()> {
    namespace.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(client())
    })?
}

#[test]
fn igd_next_opens_the_port_that_it_asks_for_and_any() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _servers = (
        TcpReflector::start(&lab.lan, &INTERNAL.to_string())?,
        UdpReflector::start(&lab.lan, &INTERNAL.to_string())?,
    );
    let wan = &lab.wan;
    inside(&lab.lan, || async move {
        let gateway = igd_next::aio::tokio::search_gateway(SearchOptions::default()).await?;
        assert_eq!(gateway.get_external_ip().await?, EXTERNAL);
        let (tcp, udp) = (PortMappingProtocol::TCP, PortMappingProtocol::UDP);
        gateway.add_port(tcp, 6000, INTERNAL.into(), 3600, "a game").await?;
        assert_eq!(*tcp_seen_as(&mut wan.tcp_connect(external(6000))?)?.ip(), WAN_HOST);
        let any = gateway.add_any_port(udp, INTERNAL.into(), 0, "for ever").await?;
        let caller = wan.udp("11.22.33.9:4444")?;
        assert_eq!(udp_seen_as(&caller, external(any))?, SocketAddrV4::new(WAN_HOST, 4444));

        let mut listed = Vec::new();
        while let Ok(entry) =
            gateway.get_generic_port_mapping_entry(u32::try_from(listed.len())?).await
        {
            assert_eq!((&*entry.internal_client, entry.enabled), ("192.168.77.2", true));
            listed.push((entry.external_port, entry.port_mapping_description));
        }
        listed.sort();
        let mut wanted = [(6000, "a game".to_owned()), (any, "for ever".to_owned())];
        wanted.sort();
        assert_eq!(listed, wanted);

        gateway.remove_port(tcp, 6000).await?;
        gateway.remove_port(udp, any).await?;
        ensure!(tcp_is_shut(wan, external(6000))?, "the deleted mapping is still open");
        ensure!(udp_is_silent(wan, external(any))?, "the other one is still open");
        let again = gateway.remove_port(tcp, 6000).await;
        ensure!(matches!(again, Err(igd_next::RemovePortError::NoSuchPortMapping)), "{again:?}");
        Ok(())
    })?;
    assert!(daemon.mappings()?.is_empty());
    daemon.stop()?;
    lab.finish()
}

/// rupnp as a control point of one version of the gateway.
fn rupnp_manages_a_mapping(version: u32) -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _server = TcpReflector::start(&lab.lan, &INTERNAL.to_string())?;
    let wan = &lab.wan;
    inside(&lab.lan, || async move {
        let target = URN::device("schemas-upnp-org", "InternetGatewayDevice", version);
        let search = SearchTarget::URN(target.clone());
        let mut found = pin!(rupnp::discover(&search, Duration::from_secs(3), None).await?);
        let device = found.try_next().await?.context("nobody answers")?;
        assert_eq!(*device.device_type(), target);
        let kind = URN::service("schemas-upnp-org", "WANIPConnection", version);
        let service = device.find_service(&kind).context("no WANIPConnection")?;
        let description = service.scpd(device.url()).await?;
        let newer = description.actions().iter().any(|it| it.name() == "AddAnyPortMapping");
        assert_eq!(newer, version == 2);

        let (sid, events) = service.subscribe(device.url(), 300).await?;
        let mut events = pin!(events);
        let mut event = async || -> Result<HashMap<String, String>> {
            let next = tokio::time::timeout(PATIENCE, events.next()).await?;
            Ok(next.context("no more events")??)
        };
        let first = event().await?;
        assert_eq!(first.get("ConnectionStatus").map(String::as_str), Some("Connected"));
        assert_eq!(first.get("PortMappingNumberOfEntries").map(String::as_str), Some("0"));
        assert_eq!(first.contains_key("SystemUpdateID"), version == 2);

        let entry = "<NewRemoteHost></NewRemoteHost><NewExternalPort>6000</NewExternalPort>\
                     <NewProtocol>TCP</NewProtocol>";
        let rest = "<NewInternalPort>5600</NewInternalPort>\
                    <NewInternalClient>192.168.77.2</NewInternalClient><NewEnabled>1</NewEnabled>\
                    <NewPortMappingDescription>rupnp</NewPortMappingDescription>\
                    <NewLeaseDuration>3600</NewLeaseDuration>";
        let added = format!("{entry}{rest}");
        service.action(device.url(), "AddPortMapping", &added).await?;
        let changed = event().await?;
        assert_eq!(changed.get("PortMappingNumberOfEntries").map(String::as_str), Some("1"));
        assert_eq!(*tcp_seen_as(&mut wan.tcp_connect(external(6000))?)?.ip(), WAN_HOST);
        service.renew_subscription(device.url(), &sid, 300).await?;

        let first = "<NewPortMappingIndex>0</NewPortMappingIndex>";
        let listed = service.action(device.url(), "GetGenericPortMappingEntry", first).await?;
        assert_eq!(listed.get("NewInternalClient").map(String::as_str), Some("192.168.77.2"));
        service.action(device.url(), "DeletePortMapping", entry).await?;
        let changed = event().await?;
        assert_eq!(changed.get("PortMappingNumberOfEntries").map(String::as_str), Some("0"));
        ensure!(tcp_is_shut(wan, external(6000))?, "the deleted mapping is still open");
        // It does not read what the fault says.
        let again = service.action(device.url(), "DeletePortMapping", entry).await;
        ensure!(matches!(again, Err(rupnp::Error::HttpErrorCode(_))), "{again:?}");
        service.unsubscribe(device.url(), &sid).await?;
        Ok(())
    })?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn rupnp_sees_version_1_and_its_events() -> Result<()> {
    rupnp_manages_a_mapping(1)
}

#[test]
fn rupnp_sees_version_2_and_its_events() -> Result<()> {
    rupnp_manages_a_mapping(2)
}
