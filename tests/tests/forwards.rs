//! Port forwards of the less common kinds, by SOAP and with real packets.

use anyhow::Result;
use nat_tests::client::{
    Gateway,
    soap::{MAPPING, Mapping},
};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{EXTERNAL, Lab, TcpReflector, UdpReflector, WAN_HOST, udp_seen_as};
use nat_tests::lease::{tcp_opens, udp_answers};
use std::net::SocketAddrV4;

const fn external(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(EXTERNAL, port)
}

#[test]
fn a_disabled_mapping_holds_its_port_in_silence_until_it_is_enabled() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let bpffs = lab.bpffs()?;
    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    let _servers = (
        TcpReflector::start(&lab.lan, "192.168.77.2:5600")?,
        UdpReflector::start(&lab.lan, "192.168.77.2:5600")?,
    );
    let server = SocketAddrV4::new(WAN_HOST, 7000);
    let _server = UdpReflector::start(&lab.wan, &server.to_string())?;
    let gateway = Gateway::discover(&lab.lan)?;
    let disabled = Mapping { enabled: "0", ..MAPPING };
    let listed = Mapping { remote_host: "11.22.33.9", ..disabled };
    gateway.add(&disabled)?.success()?;
    gateway.add(&listed)?.success()?;
    gateway.add(&Mapping { protocol: "TCP", ..disabled })?.success()?;

    // A new daemon finds it as it was.
    daemon.kill()?;
    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    let mappings = daemon.mappings()?;
    assert_eq!(mappings.len(), 3, "{mappings:?}");
    assert!(mappings.iter().all(|mapping| mapping["enabled"] == false), "{mappings:?}");
    assert!(mappings.iter().any(|mapping| mapping["remote_host"] == "11.22.33.9"), "{mappings:?}");

    assert!(!udp_answers(&lab.wan, external(6000))?);
    assert!(!tcp_opens(&lab.wan, external(6000))?);
    assert!(daemon.counter("drop_filtered")? >= 2);
    let second = Gateway::discover(lab.second_lan()?)?;
    let refused = second.add(&Mapping { client: "192.168.78.2", ..MAPPING })?;
    assert_eq!((refused.0.status, refused.error_code()), (500, Some(718)), "{refused:?}");
    let rival = lab.second_lan()?.udp("192.168.78.2:6000")?;
    assert_ne!(udp_seen_as(&rival, server)?, external(6000), "the NAT has given the port away");

    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&MAPPING)?.success()?;
    let client = lab.wan.udp("11.22.33.9:4444")?;
    assert_eq!(udp_seen_as(&client, external(6000))?, SocketAddrV4::new(WAN_HOST, 4444));
    assert!(!tcp_opens(&lab.wan, external(6000))?, "the other protocol's is disabled still");

    gateway.add(&disabled)?.success()?;
    client.set_read_timeout(Some(std::time::Duration::from_millis(300)))?;
    assert!(udp_seen_as(&client, external(6000)).is_err(), "its flow goes on, though disabled");
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}
