//! What hangs on the interfaces when one daemon follows another, on kernels with and without links for
//! tc programs.

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use nat_tests::daemon::{self, Daemon};
use nat_tests::lab::{EXTERNAL, Lab, UdpReflector, WAN_HOST, udp_seen_as};
use std::net::SocketAddrV4;

/// Where the gateway's tc programs hang in the plain lab.
const HOOKS: [(&str, TcAttachType, &str); 3] = [
    ("wan0", TcAttachType::Egress, "wan_guard"),
    ("wan0", TcAttachType::Ingress, "nat_neighbour"),
    ("lan0", TcAttachType::Ingress, "nat_neighbour"),
];

/// The numbers of the gateway's programs on each hook.
fn attached(lab: &Lab) -> Result<Vec<Vec<u32>>> {
    HOOKS.iter().map(|(interface, hook, name)| on_hook(lab, interface, *hook, name)).collect()
}

fn on_hook(lab: &Lab, interface: &str, hook: TcAttachType, name: &str) -> Result<Vec<u32>> {
    // Kernels without links for tc programs do not know the question.
    let linked = lab.router.enter(|| SchedClassifier::query_tcx(interface, hook))?;
    let (_, linked) = linked.unwrap_or_default();
    let mut numbers: Vec<_> = linked
        .iter()
        .filter(|program| program.name_as_str() == Some(name))
        .map(aya::programs::ProgramInfo::id)
        .collect();
    let hook = if hook == TcAttachType::Egress { "egress" } else { "ingress" };
    let filters = lab.router.run("tc", &["filter", "show", "dev", interface, hook])?;
    for filter in filters.lines().filter(|line| line.contains(name)) {
        let (_, number) = filter.split_once(" id ").context("a filter without a program")?;
        let number = number.split_whitespace().next().context("a program without a number")?;
        numbers.push(number.parse()?);
    }
    Ok(numbers)
}

/// Sees to it that there is one program on each hook, and none of a former daemon's.
fn one_each(lab: &Lab, former: &[Vec<u32>]) -> Result<Vec<Vec<u32>>> {
    let now = attached(lab)?;
    ensure!(now.iter().all(|hook| hook.len() == 1), "not one program on each hook: {now:?}");
    let kept = now.iter().zip(former).any(|(new, old)| new == old);
    ensure!(!kept, "a program of the former daemon is still there: {former:?}, {now:?}");
    Ok(now)
}

/// A packet to a neighbour that the kernel has to find: it goes through the tc programs.
fn translates(lab: &Lab) -> Result<()> {
    let server = SocketAddrV4::new(WAN_HOST, 7000);
    let _server = UdpReflector::start(&lab.wan, &server.to_string())?;
    lab.router.ip(&["neigh", "flush", "all"])?;
    let socket = lab.lan.udp("0.0.0.0:0")?;
    ensure!(*udp_seen_as(&socket, server)?.ip() == EXTERNAL);
    Ok(())
}

#[test]
fn a_new_daemon_replaces_the_programs_and_unload_takes_them_away() -> Result<()> {
    let lab = Lab::home()?;
    let bpffs = lab.bpffs()?;
    let first = Daemon::builder(&lab).pinned(&bpffs).start()?;
    let former = one_each(&lab, &[])?;
    first.kill()?;
    ensure!(attached(&lab)? == former, "the programs outlive the daemon");
    translates(&lab)?;

    let second = Daemon::builder(&lab).pinned(&bpffs).start()?;
    let last = one_each(&lab, &former)?;
    translates(&lab)?;
    second.stop()?;
    ensure!(attached(&lab)? == last, "the programs outlive the daemon");

    let pin_dir = bpffs.path().join("igd-control");
    let binary = daemon::binary()?;
    let unload = ["unload", "--pin-dir", &pin_dir.to_string_lossy()];
    lab.router.run(&binary.to_string_lossy(), &unload)?;
    let left = attached(&lab)?;
    ensure!(left.iter().all(Vec::is_empty) && !pin_dir.exists(), "unload has left {left:?}");
    drop(bpffs);
    lab.finish()
}

#[test]
fn a_killed_daemon_without_pins_is_followed_by_another() -> Result<()> {
    let lab = Lab::home()?;
    Daemon::start(&lab)?.kill()?;
    let former = attached(&lab)?;
    ensure!(former.iter().all(|hook| hook.len() <= 1), "{former:?}");

    let second = Daemon::start(&lab)?;
    one_each(&lab, &former)?;
    translates(&lab)?;
    second.stop()?;
    let left = attached(&lab)?;
    ensure!(left.iter().all(Vec::is_empty), "a daemon that ends in order has left {left:?}");
    lab.finish()
}
