use super::*;
use crate::{
    config::{self, Config},
    daemon::shutdown,
    igd::{GatewayConfig, LinkProperties, TrafficTotals, Tree},
    mapping::fake::FakePath,
    upstream::tests::server::{OWN, PLACE, SERVER, Server},
    wire::pcp::ResultCode,
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
    let (status, body) = ask_for_port(shared, port, lease).await;
    assert_eq!(status, 200, "{body}");
}

async fn ask_for_port(shared: &Shared<FakePath>, port: u16, lease: u32) -> (u16, String) {
    let (port, lease) = (port.to_string(), lease.to_string());
    control(
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
    .await
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

/// A gateway beneath a server, which hears it a tenth of a second later, or not at all when there is none.
async fn beneath(server: Arc<Mutex<Option<Server>>>) -> Arc<Shared<FakePath>> {
    beneath_with(server, true).await
}

/// The same, with a NAT of its own or without.
async fn beneath_with(server: Arc<Mutex<Option<Server>>>, nat: bool) -> Arc<Shared<FakePath>> {
    let path = FakePath { external: Some(OWN), ..FakePath::new() };
    let gateway = Gateway::new(clock(), &GatewayConfig::default(), path);
    let identity = Identity::new(&Config::default());
    let config = config::Upstream { server: SERVER.ip().to_string(), ..Default::default() };
    let upstream = Upstream::new(&config, nat, None).unwrap();
    upstream.server_is(Some(PLACE));
    let shared = Shared::new(gateway, clock, &identity, FakeWan).beneath(Some(upstream));
    let shared = Arc::new(shared);
    tokio::spawn({
        let shared = Arc::clone(&shared);
        async move {
            loop {
                let mut datagrams = shared.turn(|_, _| {}).datagrams;
                sleep(Duration::from_millis(100)).await;
                while let Some(datagram) = datagrams.pop() {
                    let heard = |server: &mut Server| server.answer(clock(), &datagram);
                    if let Some(answer) = lock(&server).as_mut().and_then(heard) {
                        let turn = shared.turn(|now, client| client.hear(now, SERVER, &answer));
                        datagrams.extend(turn.datagrams);
                    }
                }
            }
        }
    });
    sleep(Duration::from_secs(1)).await;
    shared
}

#[tokio::test(start_paused = true)]
async fn a_control_point_waits_for_the_server_upstream_and_out_a_short_error() {
    for (failures, status, code) in [(0, 200, ""), (1, 200, ""), (2, 500, ">728<")] {
        let server = Arc::new(Mutex::new(Some(Server::new(clock()))));
        let shared = beneath(Arc::clone(&server)).await;
        if let Some(server) = lock(&server).as_mut() {
            server.fails = Some((ResultCode::NoResources, failures));
        }
        let asked = Instant::now();
        let (answered, body) = ask_for_port(&shared, 4000, 600).await;
        assert_eq!(answered, status, "{body}");
        assert!(body.contains(code), "{body}");
        assert_eq!(is_open(&shared, 4000), status == 200);
        let waited = asked.elapsed();
        let expected = if failures == 0 { 0..1 } else { 30..31 };
        assert!(expected.contains(&waited.as_secs()), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_control_point_does_not_wait_for_a_server_that_is_silent() {
    let server = Arc::new(Mutex::new(Some(Server::new(clock()))));
    let shared = beneath(Arc::clone(&server)).await;
    *lock(&server) = None;
    let asked = Instant::now();
    map_port(&shared, 4000, 600).await;
    assert!((9..=11).contains(&asked.elapsed().as_secs()), "it may still answer");
    let asked = Instant::now();
    map_port(&shared, 4001, 600).await;
    assert_eq!(asked.elapsed().as_secs(), 0);
    assert!(is_open(&shared, 4000) && is_open(&shared, 4001));
}

#[tokio::test(start_paused = true)]
async fn without_a_nat_here_a_control_point_gets_nothing_from_a_server_that_is_silent() {
    let server = Arc::new(Mutex::new(Some(Server::new(clock()))));
    let shared = beneath_with(Arc::clone(&server), false).await;
    map_port(&shared, 4000, 600).await;
    *lock(&server) = None;
    for seconds in [9..=11, 0..=0] {
        let asked = Instant::now();
        let (status, body) = ask_for_port(&shared, 4001, 600).await;
        assert!(status == 500 && body.contains(">501<"), "{body}");
        assert!(
            seconds.contains(&asked.elapsed().as_secs()),
            "it may still answer, the first time"
        );
        assert!(!is_open(&shared, 4001));
    }
    assert!(is_open(&shared, 4000), "what it has granted holds");
}

#[tokio::test(start_paused = true)]
async fn subscribers_are_told_of_a_mapping_when_the_server_has_granted_it() {
    let server = Arc::new(Mutex::new(Some(Server::new(clock()))));
    let shared = beneath(Arc::clone(&server)).await;
    if let Some(server) = lock(&server).as_mut() {
        server.fails = Some((ResultCode::NoResources, 1));
    }
    let told = || {
        let events = shared.lock().evented(clock(), ServiceKind::WanIpConnection(Tree::Igd2));
        let number = events.iter().find(|(name, _)| *name == "PortMappingNumberOfEntries");
        number.unwrap().1.clone()
    };
    let look = async {
        sleep(Duration::from_secs(5)).await;
        assert_eq!(told(), "0", "it has not agreed yet");
    };
    tokio::join!(map_port(&shared, 4000, 600), look);
    assert_eq!(told(), "1");
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_about_and_not_there_is_asked_about_upstream() {
    let server = Arc::new(Mutex::new(Some(Server::new(clock()))));
    let shared = beneath(Arc::clone(&server)).await;
    if let Some(server) = lock(&server).as_mut() {
        server.taken.push(4000);
    }
    for (port, code) in [("4000", ">718<"), ("4001", ">714<")] {
        let key = [("NewRemoteHost", ""), ("NewExternalPort", port), ("NewProtocol", "TCP")];
        let service = ServiceKind::WanIpConnection(Tree::Igd2);
        let (_, body) = control(&shared, service, "GetSpecificPortMappingEntry", &key).await;
        assert!(body.contains(code), "{port}: {body}");
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(lock(&server).as_ref().map(|server| server.mappings.len()), Some(1), "the address");
}
