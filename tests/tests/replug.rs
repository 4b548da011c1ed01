//! Interfaces that go and come back while the daemon runs, as USB modems and adapters do.

use anyhow::{Result, ensure};
use nat_tests::client::{Gateway, soap::MAPPING};
use nat_tests::daemon::{Daemon, unload};
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, Lab, UdpReflector, WAN_HOST, udp_seen_as, wait_until,
};
use nat_tests::stream::{Echo, PACE, Stream};
use std::net::SocketAddrV4;
use std::time::Duration;

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
const FORWARDED: SocketAddrV4 = SocketAddrV4::new(EXTERNAL, 6000);
const SOON: Duration = Duration::from_secs(1);

fn has_xdp(lab: &Lab, interface: &str) -> Result<bool> {
    Ok(lab.router.ip(&["-json", "link", "show", "dev", interface])?.contains("\"xdp\""))
}

/// Pulls the link out and plugs it in again; sessions and forwards go on where they were. The lab watches
/// the WAN for what the kernel would forward meanwhile.
fn goes_and_comes_back(lab: &Lab, daemon: &Daemon<'_>, interface: &str) -> Result<()> {
    let stream = Stream::start(lab.lan.udp("192.168.77.2:5700")?, SERVER, PACE)?;
    stream.flows(20, ANSWER_TIMEOUT)?;
    lab.unplug(interface)?;
    daemon.wait_for_line(ANSWER_TIMEOUT, |line| {
        line.contains("it is gone") && line.contains(interface)
    })?;
    lab.plug(interface, || {
        // A WAN has its address later than its programs, as one has that asks for it.
        wait_until("programs on the new interface", SOON, || has_xdp(lab, interface))
    })?;
    stream.flows(50, SOON + ANSWER_TIMEOUT)?;
    let journey = stream.finish()?;
    eprintln!("{interface}: {journey:?}");
    let caller = lab.wan.udp("11.22.33.9:4444")?;
    assert_eq!(udp_seen_as(&caller, FORWARDED)?, SocketAddrV4::new(WAN_HOST, 4444));
    Ok(())
}

#[test]
fn interfaces_that_go_and_come_back_are_served_again() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    let _inside = UdpReflector::start(&lab.lan, "192.168.77.2:5600")?;
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    for interface in ["wan0", "lan0", "wan0"] {
        goes_and_comes_back(&lab, &daemon, interface)?;
    }
    daemon.stop()?;
    for interface in ["wan0", "lan0"] {
        ensure!(!has_xdp(&lab, interface)?, "{interface} has its program still");
    }
    lab.finish()
}

#[test]
fn pins_of_an_interface_that_came_back_outlive_the_daemon_and_go_by_unload() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    let _inside = UdpReflector::start(&lab.lan, "192.168.77.2:5600")?;
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    for interface in ["wan0", "lan0"] {
        goes_and_comes_back(&lab, &daemon, interface)?;
    }
    daemon.kill()?;
    let caller = lab.wan.udp("11.22.33.9:4445")?;
    udp_seen_as(&caller, FORWARDED)?;
    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    udp_seen_as(&caller, FORWARDED)?;
    daemon.stop()?;
    unload(&lab, &bpffs, &[])?.success()?;
    for interface in ["wan0", "lan0"] {
        ensure!(!has_xdp(&lab, interface)?, "{interface} has its program still");
    }
    drop(bpffs);
    lab.finish()
}
