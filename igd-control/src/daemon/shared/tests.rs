use super::*;
use crate::{
    config::Config,
    daemon::shutdown,
    igd::{GatewayConfig, LinkProperties, TrafficTotals, Tree},
    mapping::fake::FakePath,
};
use nat_common::Protocol;
use std::{net::Ipv4Addr, sync::Arc};
use tokio::time::Instant;

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 7);

struct FakeWan;

impl WanSource for FakeWan {
    fn traffic(&self) -> TrafficTotals {
        TrafficTotals { bytes_sent: 1234, ..Default::default() }
    }

    fn link(&self) -> LinkProperties {
        LinkProperties::default()
    }
}

thread_local! {
    static START: Instant = Instant::now();
}

/// The runtime's own clock, which stands still while the test works.
fn clock() -> BootTime {
    let passed = START.with(Instant::elapsed);
    BootTime(1).plus_nanos(passed.as_nanos() as u64)
}

fn shared() -> Arc<Shared<FakePath>> {
    let gateway = Gateway::new(clock(), &GatewayConfig::default(), FakePath::new());
    let identity = Identity::new(&Config::default());
    Arc::new(Shared::new(gateway, clock, &identity, FakeWan))
}

async fn control(
    shared: &Shared<FakePath>,
    service: ServiceKind,
    action: &str,
    arguments: &[(&str, &str)],
) -> (u16, String) {
    let urn = service.spec().urn(service.spec().version);
    let arguments: String =
        arguments.iter().map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
    let body = format!(
        "<?xml version=\"1.0\"?>\
         <s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
         <u:{action} xmlns:u=\"{urn}\">{arguments}</u:{action}></s:Body></s:Envelope>"
    );
    let soap_action = format!("\"{urn}#{action}\"");
    let request = ControlRequest {
        peer: CLIENT,
        service,
        soap_action: Some(&soap_action),
        body: body.as_bytes(),
    };
    let response = shared.control(&request).await;
    (response.status, String::from_utf8(response.body.into_bytes()).unwrap())
}

async fn map_port(shared: &Shared<FakePath>, port: u16, lease: u32) {
    let (port, lease) = (port.to_string(), lease.to_string());
    let (status, body) = control(
        shared,
        ServiceKind::WanIpConnection(Tree::Igd2),
        "AddPortMapping",
        &[
            ("NewRemoteHost", ""),
            ("NewExternalPort", &port),
            ("NewProtocol", "TCP"),
            ("NewInternalPort", "8080"),
            ("NewInternalClient", &CLIENT.to_string()),
            ("NewEnabled", "1"),
            ("NewPortMappingDescription", "a test"),
            ("NewLeaseDuration", &lease),
        ],
    )
    .await;
    assert_eq!(status, 200, "{body}");
}

/// A network in which nothing happens.
fn quiet() -> watch::Receiver<()> {
    watch::channel(()).1
}

fn is_open(shared: &Shared<FakePath>, port: u16) -> bool {
    shared.lock().path().forward(Protocol::Tcp, port).is_some()
}

#[tokio::test(start_paused = true)]
async fn a_mapping_is_open_when_it_is_answered_and_closed_when_its_lease_ends() {
    let shared = shared();
    let (trigger, shutdown) = shutdown();
    let expiry = tokio::spawn({
        let shared = Arc::clone(&shared);
        async move { shared.expire(quiet(), shutdown).await }
    });
    // The expiry sleeps already, for longer than the lease.
    sleep(Duration::from_secs(1)).await;
    map_port(&shared, 4000, 10).await;
    assert!(is_open(&shared, 4000));
    sleep(Duration::from_millis(9_990)).await;
    assert!(is_open(&shared, 4000));
    sleep(Duration::from_millis(20)).await;
    assert!(!is_open(&shared, 4000));
    assert!(shared.mappings().is_empty());
    drop(trigger);
    expiry.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn leases_end_in_their_own_order() {
    let shared = shared();
    let (_trigger, shutdown) = shutdown();
    map_port(&shared, 4001, 100).await;
    map_port(&shared, 4002, 200).await;
    map_port(&shared, 4003, 5).await;
    tokio::spawn({
        let shared = Arc::clone(&shared);
        async move { shared.expire(quiet(), shutdown).await }
    });
    for (wait, open) in [(6, 2), (95, 1), (100, 0)] {
        sleep(Duration::from_secs(wait)).await;
        assert_eq!(shared.mappings().len(), open);
    }
}

#[tokio::test]
async fn every_url_of_the_description_leads_somewhere() {
    let shared = shared();
    let documents = Tree::ALL.into_iter().map(Tree::description_path);
    for path in documents.chain(ServiceKind::ALL.map(|kind| kind.paths().scpd)) {
        assert!(matches!(shared.at(path), Some(Place::Document(_))), "{path}");
    }
    for kind in ServiceKind::ALL {
        assert_eq!(shared.at(kind.paths().control), Some(Place::Control(kind)));
        assert_eq!(shared.at(kind.paths().event), Some(Place::Events(kind)));
    }
    assert_eq!(shared.at("/"), None);
}

#[tokio::test]
async fn traffic_is_read_when_it_is_asked_for() {
    let shared = shared();
    let service = ServiceKind::WanCommonInterfaceConfig(Tree::Igd1);
    let (_, body) = control(&shared, service, "GetTotalBytesSent", &[]).await;
    assert!(body.contains(">1234<"), "{body}");
}
