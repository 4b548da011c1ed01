//! Port mappings by UPnP, with `upnpc` and with SOAP by hand.

use anyhow::{Context, Result};
use nat_tests::client::{
    Gateway, Upnpc, description_url,
    soap::{MAPPING, Mapping},
};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, LAN_HOST, Lab, OTHER_WAN_HOST, TcpReflector, UdpReflector, WAN_HOST,
    tcp_seen_as, udp_seen_as,
};
use nat_tests::lease::{tcp_is_shut, tcp_opens, udp_answers, udp_is_silent};
use std::net::SocketAddrV4;

const fn external(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(EXTERNAL, port)
}

#[test]
fn upnpc_discovers_adds_lists_and_deletes() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _servers = (
        TcpReflector::start(&lab.lan, "192.168.77.2:5600")?,
        UdpReflector::start(&lab.lan, "192.168.77.2:5600")?,
    );
    let printed = Upnpc::searching(&lab.lan).run(&["-s"])?;
    assert!(printed.contains("ExternalIPAddress = 11.22.33.1"), "{printed}");
    assert!(printed.contains("Status : Connected"), "{printed}");
    let upnpc = Upnpc::at(&lab.lan, description_url(&printed).context("no URL")?);

    for protocol in ["TCP", "UDP"] {
        upnpc.run(&["-a", "192.168.77.2", "5600", "6000", protocol, "3600"])?;
    }
    let mut stream = lab.wan.tcp_connect(external(6000))?;
    assert_eq!(*tcp_seen_as(&mut stream)?.ip(), WAN_HOST);
    let client = lab.wan.udp("11.22.33.9:4444")?;
    assert_eq!(udp_seen_as(&client, external(6000))?, SocketAddrV4::new(WAN_HOST, 4444));

    let listed = upnpc.run(&["-l"])?;
    assert!(listed.contains("TCP  6000->192.168.77.2:5600"), "{listed}");
    assert!(listed.contains("UDP  6000->192.168.77.2:5600"), "{listed}");
    assert_eq!(daemon.mappings()?.len(), 2);

    upnpc.run(&["-d", "6000", "UDP"])?;
    assert!(udp_is_silent(&lab.wan, external(6000))?, "the deleted mapping is still open");
    assert!(client.send_to(b"again", external(6000)).is_ok());
    client.set_read_timeout(Some(std::time::Duration::from_millis(300)))?;
    assert!(client.recv(&mut [0; 64]).is_err(), "the deleted mapping's UDP flow goes on");
    assert!(tcp_opens(&lab.wan, external(6000))?, "the other mapping has gone, too");
    upnpc.run(&["-d", "6000", "TCP"])?;
    assert!(tcp_is_shut(&lab.wan, external(6000))?);
    assert_eq!(*tcp_seen_as(&mut stream)?.ip(), WAN_HOST, "its open TCP connections go on");
    assert_eq!(daemon.mappings()?.len(), 0);

    let again = upnpc.output(&["-d", "6000", "TCP"])?;
    assert!(again.stdout.contains("714"), "NoSuchEntryInArray: {}", again.stdout);
    drop(stream);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_mapping_is_in_force_when_its_answer_comes() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _server = UdpReflector::start(&lab.lan, "192.168.77.2:5600")?;
    let gateway = Gateway::discover(&lab.lan)?;
    for port in 6000..6020_u16 {
        let port_text = port.to_string();
        gateway.add(&Mapping { external_port: &port_text, ..MAPPING })?.success()?;
        assert!(udp_answers(&lab.wan, external(port))?, "{port}");
        let arguments =
            [("NewRemoteHost", ""), ("NewExternalPort", &port_text), ("NewProtocol", "UDP")];
        gateway.call("DeletePortMapping", &arguments)?.success()?;
        assert!(udp_is_silent(&lab.wan, external(port))?, "{port}");
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_remote_host_forward_lets_only_that_host_in() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _servers = (
        TcpReflector::start(&lab.lan, "192.168.77.2:5600")?,
        UdpReflector::start(&lab.lan, "192.168.77.2:5600")?,
    );
    let gateway = Gateway::discover(&lab.lan)?;
    for protocol in ["TCP", "UDP"] {
        gateway.add(&Mapping { remote_host: "11.22.33.9", protocol, ..MAPPING })?.success()?;
    }
    let listed = lab.wan.udp("11.22.33.9:0")?;
    assert_eq!(*udp_seen_as(&listed, external(6000))?.ip(), WAN_HOST);
    let stranger = lab.wan.udp("11.22.33.10:0")?;
    stranger.set_read_timeout(Some(std::time::Duration::from_millis(300)))?;
    assert!(udp_seen_as(&stranger, external(6000)).is_err(), "UDP from another host got in");

    let from = |address| {
        let source = SocketAddrV4::new(address, 0);
        lab.wan.tcp_connect_from(source, external(6000), std::time::Duration::from_millis(800))
    };
    assert!(from(OTHER_WAN_HOST)?.is_err(), "TCP from another host got in");
    assert_eq!(*tcp_seen_as(&mut from(WAN_HOST)??)?.ip(), WAN_HOST);
    assert!(daemon.counter("drop_filtered")? >= 2);
    daemon.stop()?;
    lab.finish()
}

#[test]
fn packets_of_the_forwarded_endpoint_leave_from_the_forwarded_port() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let remotes = [SocketAddrV4::new(WAN_HOST, 7000), SocketAddrV4::new(OTHER_WAN_HOST, 7000)];
    let gateway = Gateway::discover(&lab.lan)?;
    for protocol in ["TCP", "UDP"] {
        gateway.add(&Mapping { protocol, ..MAPPING })?.success()?;
    }
    let endpoint = SocketAddrV4::new(LAN_HOST, 5600);
    let socket = lab.lan.udp(&endpoint.to_string())?;
    for remote in remotes {
        let _udp = UdpReflector::start(&lab.wan, &remote.to_string())?;
        let _tcp = TcpReflector::start(&lab.wan, &remote.to_string())?;
        assert_eq!(udp_seen_as(&socket, remote)?, external(6000), "UDP to {remote}");
        let mut stream = lab.lan.tcp_connect_from(endpoint, remote, ANSWER_TIMEOUT)??;
        assert_eq!(tcp_seen_as(&mut stream)?, external(6000), "TCP to {remote}");
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_port_that_another_host_has_is_refused_with_718_and_any_gives_another() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = Daemon::start(&lab)?;
    let _server = UdpReflector::start(lab.second_lan()?, "192.168.78.2:5600")?;
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;

    let gateway = Gateway::discover(lab.second_lan()?)?;
    let wanted = Mapping { client: "192.168.78.2", ..MAPPING };
    let refused = gateway.add(&wanted)?;
    assert_eq!((refused.0.status, refused.error_code()), (500, Some(718)), "{refused:?}");

    let given = gateway.add_any(&wanted)?.success()?;
    let port: u16 = given.value("NewReservedPort").context("no NewReservedPort")?.parse()?;
    assert_ne!(port, 6000);
    assert!(udp_answers(&lab.wan, external(port))?, "{port} is not open");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_client_maps_for_itself_alone() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = Daemon::start(&lab)?;
    let gateway = Gateway::discover(&lab.lan)?;
    let refused = gateway.add(&Mapping { client: "192.168.78.2", ..MAPPING })?;
    assert_eq!((refused.0.status, refused.error_code()), (500, Some(606)), "{refused:?}");
    let refused = gateway.add(&Mapping { external_port: "80", ..MAPPING })?;
    assert_eq!((refused.0.status, refused.error_code()), (500, Some(606)), "{refused:?}");
    assert!(daemon.mappings()?.is_empty());
    daemon.stop()?;
    lab.finish()
}

#[test]
fn a_port_on_which_the_router_listens_is_refused_with_729() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _services = (
        TcpReflector::start(&lab.router, "0.0.0.0:6000")?,
        UdpReflector::start(&lab.router, "0.0.0.0:6000")?,
    );
    let gateway = Gateway::discover(&lab.lan)?;
    for protocol in ["TCP", "UDP"] {
        let refused = gateway.add(&Mapping { protocol, ..MAPPING })?;
        assert_eq!((refused.0.status, refused.error_code()), (500, Some(729)), "{refused:?}");
        let given = gateway.add_any(&Mapping { protocol, ..MAPPING })?.success()?;
        assert_ne!(given.value("NewReservedPort"), Some("6000"), "{protocol}");
    }
    assert!(udp_answers(&lab.wan, external(6000))?, "the router's own service answers still");
    daemon.stop()?;
    lab.finish()
}
