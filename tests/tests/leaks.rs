//! Nothing private leaves the WAN, whenever the daemon starts and however it ends. The lab's watcher
//! sees every packet.

use anyhow::{Result, ensure};
use nat_tests::daemon::{Daemon, unload};
use nat_tests::lab::{ANSWER_TIMEOUT, Lab, WAN_HOST};
use nat_tests::stream::{Echo, Stream};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{SocketAddrV4, UdpSocket};
use std::time::Duration;

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);

/// A lab whose router does not forward by itself.
fn quiet_lab() -> Result<Lab> {
    let lab = Lab::home()?;
    for interface in ["lan0", "wan0"] {
        lab.router.sysctl(&format!("net/ipv4/conf/{interface}/forwarding"), "0")?;
    }
    Ok(lab)
}

fn forwards(lab: &Lab, interface: &str) -> Result<bool> {
    let name = format!("net.ipv4.conf.{interface}.forwarding");
    Ok(lab.router.run("sysctl", &["-n", &name])?.trim() == "1")
}

/// Our filters and links on an interface.
fn classifiers(lab: &Lab, interface: &str) -> Result<String> {
    let mut found = String::new();
    for hook in ["ingress", "egress"] {
        found += &lab.router.run("tc", &["filter", "show", "dev", interface, hook])?;
    }
    Ok(found)
}

/// Keeps the LAN host sending towards the WAN what the NAT translates, and what it does not.
struct Traffic {
    stream: Stream,
    stranger: Socket,
    fragmented: UdpSocket,
}

impl Traffic {
    fn start(lab: &Lab) -> Result<Self> {
        const GRE: i32 = 47;
        let socket = lab.lan.udp("192.168.77.2:5700")?;
        let stranger =
            lab.lan.enter(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(GRE))))??;
        stranger.connect(&SocketAddrV4::new(WAN_HOST, 0).into())?;
        let stream = Stream::start(socket, SERVER, Duration::from_micros(300))?;
        Ok(Self { stream, stranger, fragmented: lab.lan.udp("192.168.77.2:5701")? })
    }

    /// Has everything go for a while longer.
    fn go_on(&self) -> Result<()> {
        let from = self.stream.sent();
        nat_tests::lab::wait_until("more traffic", ANSWER_TIMEOUT, || {
            // What the host cannot send does no harm.
            let _ = self.stranger.send(b"translate this");
            let _ = self.fragmented.send_to(&[0; 4_000], SERVER);
            Ok(self.stream.sent() > from + 300)
        })
    }
}

#[test]
fn nothing_private_leaves_through_start_kill_restart_and_unload() -> Result<()> {
    let lab = quiet_lab()?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    let traffic = Traffic::start(&lab)?;
    traffic.go_on()?;
    let bpffs = lab.bpffs()?;
    for _ in 0..2 {
        let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
        traffic.go_on()?;
        traffic.stream.flows(100, ANSWER_TIMEOUT)?;
        daemon.kill()?;
        traffic.go_on()?;
        let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
        traffic.go_on()?;
        daemon.stop()?;
        traffic.stream.flows(100, ANSWER_TIMEOUT)?;
        ensure!(forwards(&lab, "lan0")? && forwards(&lab, "wan0")?);

        let printed = unload(&lab, &bpffs, &[])?.success()?;
        for interface in ["lan0", "wan0"] {
            ensure!(!forwards(&lab, interface)?, "{interface}");
            let command = format!("sysctl -w net.ipv4.conf.{interface}.forwarding=1");
            ensure!(printed.contains(&command), "{printed}");
        }
        traffic.go_on()?;
    }
    drop(bpffs);
    lab.finish()
}

#[test]
fn nothing_private_leaves_after_a_daemon_without_pins_was_killed() -> Result<()> {
    let lab = quiet_lab()?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    let traffic = Traffic::start(&lab)?;
    for _ in 0..2 {
        let daemon = Daemon::start(&lab)?;
        traffic.stream.flows(100, ANSWER_TIMEOUT)?;
        daemon.kill()?;
        ensure!(forwards(&lab, "lan0")?, "the kernel would forward");
        traffic.go_on()?;
    }
    let daemon = Daemon::start(&lab)?;
    traffic.stream.flows(100, ANSWER_TIMEOUT)?;
    let finished = daemon.stop()?;
    ensure!(finished.stderr.contains("IPv4 forwarding switched off"), "{}", finished.stderr);
    // The daemon switched off what its killed forerunner had switched on.
    ensure!(!forwards(&lab, "lan0")? && !forwards(&lab, "wan0")?);
    lab.on_wan().arm();
    traffic.go_on()?;
    for interface in ["lan0", "wan0"] {
        let left = classifiers(&lab, interface)?;
        ensure!(left.trim().is_empty(), "{left}");
    }
    lab.finish()
}

#[test]
fn unload_takes_away_what_a_killed_daemon_without_pins_has_left() -> Result<()> {
    let lab = quiet_lab()?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    let traffic = Traffic::start(&lab)?;
    let daemon = Daemon::start(&lab)?;
    traffic.stream.flows(100, ANSWER_TIMEOUT)?;
    daemon.kill()?;
    ensure!(classifiers(&lab, "wan0")?.contains("wan_guard"));
    let bpffs = lab.bpffs()?;
    let printed = unload(&lab, &bpffs, &[])?.success()?;
    ensure!(printed.contains("lan0") && printed.contains("wan0"), "{printed}");
    traffic.go_on()?;
    for interface in ["lan0", "wan0"] {
        ensure!(!forwards(&lab, interface)?);
        let left = classifiers(&lab, interface)?;
        ensure!(left.trim().is_empty(), "{left}");
    }
    drop(bpffs);
    lab.finish()
}

#[test]
fn a_daemon_with_pins_replaces_the_guard_that_a_killed_one_without_has_left() -> Result<()> {
    let lab = quiet_lab()?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    let traffic = Traffic::start(&lab)?;
    Daemon::start(&lab)?.kill()?;
    let bpffs = lab.bpffs()?;
    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    traffic.stream.flows(100, ANSWER_TIMEOUT)?;
    let left = classifiers(&lab, "wan0")?;
    ensure!(left.trim().is_empty(), "{left}");
    traffic.go_on()?;
    daemon.stop()?;
    unload(&lab, &bpffs, &[])?.success()?;
    traffic.go_on()?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn unload_keeps_forwarding_when_told_and_refuses_beside_a_daemon() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let daemon = Daemon::builder(&lab).pinned(&bpffs).start()?;
    let refused = unload(&lab, &bpffs, &[])?;
    ensure!(!refused.status.success() && refused.stderr.contains("stop it first"), "{refused:?}");
    ensure!(daemon.status().is_ok());
    daemon.stop()?;
    let printed = unload(&lab, &bpffs, &["--keep-forwarding"])?.success()?;
    ensure!(printed.is_empty() && forwards(&lab, "lan0")? && forwards(&lab, "wan0")?, "{printed}");
    drop(bpffs);
    lab.finish()
}
