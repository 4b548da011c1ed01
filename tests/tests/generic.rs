//! Interfaces whose drivers know no XDP: generic mode, in which the kernel runs the program later and
//! sends what it redirects by itself.

use anyhow::Result;
use nat_tests::client::{Gateway, soap::MAPPING};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, Lab, TcpReflector, UdpReflector, WAN_HOST, tcp_seen_as, udp_seen_as,
};
use serde_json::Value;
use std::net::SocketAddrV4;

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);

#[test]
fn packets_of_every_kind_cross_in_generic_mode() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let generic = "[interfaces]\nxdp-mode = \"generic\"\n";
    let daemon = Daemon::builder(&lab).configured(generic)?.start()?;
    let status = daemon.status()?;
    let interfaces = status["interfaces"].as_array().map(Vec::as_slice).unwrap_or_default();
    let generic = |interface: &Value| interface["mode"] == "generic";
    assert!(interfaces.len() == 3 && interfaces.iter().all(generic), "{status}");
    let _servers = (
        UdpReflector::start(&lab.wan, &SERVER.to_string())?,
        TcpReflector::start(&lab.wan, &SERVER.to_string())?,
        UdpReflector::start(&lab.lan, "192.168.77.2:5600")?,
    );

    // The first goes through the kernel, which asks for the MAC address.
    lab.router.ip(&["neighbour", "flush", "all"])?;
    for lan in [&lab.lan, lab.second_lan()?] {
        let socket = lan.udp("0.0.0.0:0")?;
        assert_eq!(*udp_seen_as(&socket, SERVER)?.ip(), EXTERNAL);
        assert_eq!(*tcp_seen_as(&mut lan.tcp_connect(SERVER)?)?.ip(), EXTERNAL);
        lan.run("ping", &["-n", "-c", "2", "-i", "0.2", "-W", "3", &WAN_HOST.to_string()])?;
        // Larger than the links' MTU: the kernel makes fragments, and each is translated by itself.
        lan.run("ping", &["-n", "-c", "1", "-W", "3", "-s", "4000", &WAN_HOST.to_string()])?;
    }

    assert!(daemon.counter("slow_neighbour")? >= 1);

    // From outside, and from one LAN to the other by the external address.
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    let forwarded = SocketAddrV4::new(EXTERNAL, 6000);
    let (caller, neighbour) =
        (lab.wan.udp("11.22.33.9:4444")?, lab.second_lan()?.udp("0.0.0.0:0")?);
    for socket in [&caller, &neighbour] {
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    }
    assert_eq!(udp_seen_as(&caller, forwarded)?, SocketAddrV4::new(WAN_HOST, 4444));
    assert_eq!(*udp_seen_as(&neighbour, forwarded)?.ip(), EXTERNAL);
    daemon.stop()?;
    lab.finish()
}
