//! The lab itself, with the kernel's own routing and masquerading as the router.

use anyhow::Result;
use nat_tests::lab::{
    EXTERNAL, Feature, LAN_HOST, Lab, OTHER_WAN_HOST, TcpReflector, UdpReflector, WAN_HOST,
    packet::protocol, tcp_seen_as, udp_seen_as,
};
use nat_tests::lease::watch_udp_close;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{Duration, Instant};

const MASQUERADE: &str = "add table ip nat; \
    add chain ip nat post { type nat hook postrouting priority 100; }; \
    add rule ip nat post oifname wan0 masquerade";

#[test]
fn both_remote_hosts_see_the_masquerading_router() -> Result<()> {
    let lab = Lab::home()?;
    lab.router.run("nft", &[MASQUERADE])?;
    let _udp = UdpReflector::start(&lab.wan, "11.22.33.9:7000")?;
    let _other = UdpReflector::start(&lab.wan, "11.22.33.10:7000")?;
    let _tcp = TcpReflector::start(&lab.wan, "11.22.33.9:7000")?;

    let socket = lab.lan.udp("0.0.0.0:0")?;
    assert_eq!(*udp_seen_as(&socket, SocketAddrV4::new(WAN_HOST, 7000))?.ip(), EXTERNAL);
    let other = lab.lan.udp("0.0.0.0:0")?;
    assert_eq!(*udp_seen_as(&other, SocketAddrV4::new(OTHER_WAN_HOST, 7000))?.ip(), EXTERNAL);
    let mut stream = lab.lan.tcp_connect(SocketAddrV4::new(WAN_HOST, 7000))?;
    assert_eq!(*tcp_seen_as(&mut stream)?.ip(), EXTERNAL);
    lab.lan.run("ping", &["-n", "-c", "1", "-W", "3", &WAN_HOST.to_string()])?;
    lab.finish()
}

#[test]
fn a_private_source_on_the_wan_is_noticed_and_not_answered() -> Result<()> {
    let lab = Lab::home()?;
    let socket = lab.lan.udp("0.0.0.0:0")?;
    socket.send_to(b"untranslated", SocketAddrV4::new(WAN_HOST, 7000))?;
    let seen =
        lab.on_wan().wait_for("the packet", 1, nat_tests::lab::ANSWER_TIMEOUT, |packet| {
            packet.protocol == protocol::UDP
        })?;
    assert_eq!(seen[0].source, LAN_HOST);
    let verdict = lab.finish().unwrap_err().to_string();
    assert!(verdict.contains("192.168.77.2"), "{verdict}");
    Ok(())
}

#[test]
fn a_lab_takes_back_what_it_made() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let directory = lab.directory().to_owned();
    let bpffs = lab.bpffs()?;
    let names: Vec<_> = lab.namespaces().iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names.len(), 4);
    let exists = |name: &String| Path::new("/run/netns").join(name).exists();
    assert!(names.iter().all(exists) && directory.exists());
    drop(bpffs);
    drop(lab);
    assert!(!names.iter().any(exists) && !directory.exists());
    Ok(())
}

#[test]
fn the_closing_of_a_port_is_timed() -> Result<()> {
    let lab = Lab::home()?;
    let port = SocketAddrV4::new(WAN_HOST, 7000);
    let server = UdpReflector::start(&lab.wan, &port.to_string())?;
    let (stopped, closing) = std::thread::scope(|scope| {
        let stopping = scope.spawn(move || {
            std::thread::sleep(Duration::from_secs(1));
            drop(server);
            Instant::now()
        });
        let closing = watch_udp_close(&lab.router, port, Duration::from_secs(10));
        (stopping.join(), closing)
    });
    let stopped = stopped.map_err(|_| anyhow::anyhow!("the thread panicked"))?;
    let closing = closing?;
    assert!(closing.last_open <= stopped && closing.first_closed > closing.last_open);
    assert!(stopped.saturating_duration_since(closing.last_open) < Duration::from_millis(500));
    lab.finish()
}

#[test]
fn vlans_of_the_lan_reach_the_router() -> Result<()> {
    if !Feature::VlanDevices.lets_run()? {
        return Ok(());
    }
    let lab = Lab::home()?;
    assert_eq!(lab.router.add_vlan("lan0", 10, "192.168.79.1/24")?, "lan0.10");
    lab.lan.add_vlan("eth0", 10, "192.168.79.2/24")?;
    lab.lan.run("ping", &["-n", "-c", "1", "-W", "3", "192.168.79.1"])?;
    lab.finish()
}
