//! The demonstration: the whole path of a packet and of a request, with real programs, step by step.

mod double;
mod report;
mod steps;

use crate::daemon::Daemon;
use crate::lab::{EXTERNAL, LAN_HOST, Lab};
use anyhow::{Result, ensure};
use report::Report;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Runs it with the program `igd_control`, and prints what each step does and what was seen. With
/// `keep` the lab and a daemon stay up, else nothing is left behind.
///
/// # Errors
/// When a step does not show what it should; everything is taken back then.
pub fn run(keep: bool, igd_control: &Path) -> Result<()> {
    let igd_control = igd_control.canonicalize()?;
    let mut report = begin()?;

    report.step("Build a lab of network namespaces: LAN host, router, WAN host")?;
    let mut lab = Lab::home()?;
    steps::show_lab(&mut report, &lab)?;
    all_steps(&mut report, &lab, &igd_control)?;

    if keep {
        return stay(&mut report, &mut lab, &igd_control);
    }
    report.step("Take the lab down")?;
    let names: Vec<_> = lab.namespaces().iter().map(|name| (*name).to_owned()).collect();
    let directory = lab.directory().to_owned();
    lab.finish()?;
    report.seen("while the daemon ran, no private address was seen on the WAN")?;
    let left = |name: &&String| Path::new("/run/netns").join(name).exists();
    ensure!(!names.iter().any(|name| left(&name)), "a namespace was left behind");
    ensure!(!directory.exists(), "{} was left behind", directory.display());
    report.seen("namespaces, processes and files are gone")?;
    report.end("The demonstration succeeded.")
}

/// The same for a gateway beneath another NAT: a port is mapped through both.
///
/// # Errors
/// As for [`run`], and without miniupnpd.
pub fn run_beneath_carrier(igd_control: &Path) -> Result<()> {
    double::play(&mut begin()?, &igd_control.canonicalize()?)
}

/// A report that ends early when this process is told to end.
fn begin() -> Result<Report> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The step under way ends as it can; the guards then take everything back.
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(Report::new(interrupted))
}

fn all_steps(report: &mut Report, lab: &Lab, igd_control: &Path) -> Result<()> {
    report.step("Start igd-control in the router")?;
    let daemon = Daemon::builder(lab).binary(igd_control).start()?;
    steps::show_daemon(report, &daemon)?;

    report.step("A UPnP client in the LAN finds the gateway (upnpc -s)")?;
    let upnpc = steps::discover(report, lab)?;

    report.step("It maps a TCP port and a UDP port with a lease of an hour (upnpc -a)")?;
    steps::add_mappings(report, &upnpc)?;

    report.step("It lists the mappings (upnpc -l)")?;
    steps::list_mappings(report, &upnpc)?;

    report.step("curl in the WAN fetches a page from an HTTP server in the LAN")?;
    steps::fetch_page(report, lab)?;

    report.step("A UDP datagram from the WAN bounces back from the LAN host")?;
    steps::bounce_udp(report, lab)?;

    report.step("The LAN host connects out by TCP and UDP, and pings")?;
    let _outgoing = steps::connect_out(report, lab)?;

    report.step("The sessions, as the packet path holds them (igd-control sessions)")?;
    report.seen(&daemon.table("sessions")?)?;

    report.step("A short lease runs out, and the port closes")?;
    steps::let_lease_expire(report, lab, &upnpc)?;

    report.step("The client deletes the UDP mapping (upnpc -d), and the port closes at once")?;
    steps::delete_mapping(report, lab, &upnpc)?;

    report.step("The mappings that are left, and the counters (igd-control mappings, counters)")?;
    report.seen(&daemon.table("mappings")?)?;
    report.seen(&daemon.table("counters")?)?;

    report.step("Stop the daemon with SIGTERM")?;
    daemon.stop()?;
    report.seen("it ended with status 0")
}

/// Starts another daemon, and leaves it and the lab up.
fn stay(report: &mut Report, lab: &mut Lab, igd_control: &Path) -> Result<()> {
    report.step("Start the daemon again, and leave everything up")?;
    let (pid, log) = Daemon::builder(lab).binary(igd_control).start_detached()?;
    lab.keep();
    let directory = lab.directory().display();
    let exec = |name: &str| format!("ip netns exec {name}");
    report.seen(&format!("its process id is {pid}, its log {}", log.display()))?;
    report.end(&format!(
        "The lab stays up. To enter it (as root):\n  \
         LAN host   {lan} bash\n  \
         router     {router} bash\n  \
         WAN host   {wan} bash\n\
         For instance, a server in the LAN, a port for it, and a visitor from the WAN:\n  \
         {lan} python3 -m http.server 8080 &\n  \
         {lan} upnpc -a {LAN_HOST} 8080 8080 TCP 600\n  \
         {wan} curl http://{EXTERNAL}:8080/\n  \
         {router} {igd_control} sessions --control-socket {directory}/control.sock\n\
         To remove it:\n  kill {pid}; {delete}; rm -r {directory}",
        lan = exec(lab.lan.name()),
        router = exec(lab.router.name()),
        wan = exec(lab.wan.name()),
        igd_control = igd_control.display(),
        delete = lab
            .namespaces()
            .iter()
            .map(|name| format!("ip netns del {name}"))
            .collect::<Vec<_>>()
            .join("; "),
    ))
}
