//! `igd-control probe`, and the same checks when the daemon starts.

use anyhow::{Context, Result, ensure};
use nat_tests::daemon::{Daemon, binary};
use nat_tests::lab::{Finished, Lab};
use serde_json::Value;
use std::time::{Duration, Instant};

/// `igd-control VERB` on the lab's router, at a control socket where nobody answers.
fn igd_control(lab: &Lab, verb: &str, arguments: &[&str]) -> Result<Finished> {
    igd_control_at(lab, "silent.sock", verb, arguments)
}

/// `igd-control VERB` on the lab's router, at this control socket of the lab.
fn igd_control_at(lab: &Lab, socket: &str, verb: &str, arguments: &[&str]) -> Result<Finished> {
    let binary = binary()?;
    let socket = lab.directory().join(socket);
    let (binary, socket) = (binary.to_string_lossy(), socket.to_string_lossy());
    let usual = [verb, "--wan", "wan0", "--lan", "lan0", "--control-socket", &socket];
    lab.router.output(&binary, &[&usual, arguments].concat())
}

/// What the probe finds, and whether it lets the gateway run.
struct Probed {
    passed: bool,
    findings: Vec<Value>,
}

fn probe(lab: &Lab, arguments: &[&str]) -> Result<Probed> {
    probed(&igd_control(lab, "probe", &[&["--json"], arguments].concat())?)
}

fn probed(finished: &Finished) -> Result<Probed> {
    let findings = serde_json::from_str(&finished.stdout)
        .with_context(|| format!("{}{}", finished.stdout, finished.stderr))?;
    Ok(Probed { passed: finished.status.success(), findings })
}

impl Probed {
    /// Everything of this status.
    fn all(&self, status: &str) -> Vec<&Value> {
        self.findings.iter().filter(|finding| finding["status"] == status).collect()
    }

    /// The finding of a check, on an interface or on none.
    fn of(&self, check: &str, interface: Option<&str>) -> Result<&Value> {
        self.findings
            .iter()
            .find(|finding| finding["check"] == check && finding["interface"].as_str() == interface)
            .with_context(|| format!("no {check} of {interface:?} in {:?}", self.findings))
    }
}

/// Does to the router what a finding says.
fn mend(lab: &Lab, finding: &Value) -> Result<()> {
    let command = finding["command"].as_str().context("no command")?;
    lab.router.run("sh", &["-ec", command])?;
    Ok(())
}

#[test]
fn a_sound_router_passes_quickly_without_bpffs() -> Result<()> {
    let lab = Lab::home()?;
    let started = Instant::now();
    let probed = probe(&lab, &["--no-pin"])?;
    let took = started.elapsed();
    ensure!(probed.passed && probed.all("failure").is_empty(), "{:?}", probed.findings);
    ensure!(probed.all("warning").is_empty(), "{:?}", probed.findings);
    ensure!(took < Duration::from_secs(1), "{took:?}");
    lab.finish()
}

#[test]
fn the_commands_mend_what_they_are_printed_for() -> Result<()> {
    let lab = Lab::home()?;
    let masquerade = "add table ip nat; \
        add chain ip nat post { type nat hook postrouting priority 100; }; \
        add rule ip nat post oifname wan0 masquerade";
    lab.router.run("nft", &[masquerade])?;
    lab.router.ip(&["link", "set", "dev", "lan0", "down"])?;
    lab.router.run("ethtool", &["-K", "wan0", "tx", "on"])?;
    lab.router.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
    let broken = probe(&lab, &["--no-pin"])?;
    ensure!(!broken.passed, "{:?}", broken.findings);
    let faults = [
        ("firewall", None, "warning"),
        ("interface", Some("lan0"), "warning"),
        ("veth checksum", Some("wan0"), "warning"),
        ("local ports", None, "failure"),
    ];
    for (check, interface, status) in faults {
        let finding = broken.of(check, interface)?;
        ensure!(finding["status"] == status, "{finding}");
        mend(&lab, finding)?;
    }
    let mended = probe(&lab, &["--no-pin"])?;
    ensure!(mended.passed && mended.all("warning").is_empty(), "{:?}", mended.findings);
    lab.finish()
}

#[test]
fn a_veth_peer_without_napi_is_warned_of() -> Result<()> {
    let lab = Lab::home()?;
    lab.wan.run("ethtool", &["-K", "eth0", "gro", "off"])?;
    let probed = probe(&lab, &["--no-pin"])?;
    assert_eq!(probed.of("veth peer", Some("wan0"))?["status"], "warning");
    assert_eq!(probed.of("veth peer", Some("lan0"))?["status"], "ok");
    lab.finish()
}

#[test]
fn the_daemon_refuses_with_all_failures_at_once() -> Result<()> {
    let lab = Lab::home()?;
    lab.router.ip(&["address", "add", "11.22.33.77/28", "dev", "lan0"])?;
    let pin_dir = lab.directory().join("no-bpffs/igd-control");
    let pin_dir = pin_dir.to_string_lossy();
    let refused = igd_control(&lab, "run", &["--lan", "nope", "--pin-dir", &pin_dir])?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    for part in
        ["nope", "overlaps", "not on a BPF file system", "mount -t bpf bpf", "ip address del"]
    {
        ensure!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    lab.finish()
}

#[test]
fn the_daemon_logs_warnings_with_their_command_and_runs() -> Result<()> {
    let lab = Lab::home()?;
    lab.router.run("ethtool", &["-K", "wan0", "tx", "on"])?;
    let daemon = Daemon::start(&lab)?;
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("ethtool -K wan0 tx off"));
    ensure!(line.is_some_and(|line| line.contains("WARN")), "{log}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn programs_of_a_running_gateway_are_told_from_those_of_a_former_one() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let beside = probe(&lab, &["--no-pin"])?;
    for interface in ["wan0", "lan0"] {
        let program = beside.of("xdp program", Some(interface))?;
        ensure!(program["status"] == "failure", "{program}");
        ensure!(program["detail"].as_str().is_some_and(|text| text.contains("igd-control")));
    }
    let there = igd_control_at(&lab, "control.sock", "probe", &["--no-pin", "--json"])?;
    let there = probed(&there)?;
    assert_eq!(there.of("daemon", None)?["status"], "failure");
    daemon.stop()?;

    let bpffs = lab.bpffs()?;
    Daemon::builder(&lab).pinned(&bpffs).start()?.kill()?;
    let pin_dir = bpffs.path().join("igd-control");
    let here = probe(&lab, &["--pin-dir", &pin_dir.to_string_lossy()])?;
    ensure!(here.passed, "{:?}", here.findings);
    assert_eq!(here.of("xdp program", Some("wan0"))?["status"], "ok");
    let elsewhere = probe(&lab, &["--no-pin"])?;
    assert_eq!(elsewhere.of("xdp program", Some("wan0"))?["status"], "failure");
    drop(bpffs);
    lab.finish()
}

#[test]
fn people_get_a_table_and_below_it_the_commands() -> Result<()> {
    let lab = Lab::home()?;
    lab.router.ip(&["address", "flush", "dev", "wan0"])?;
    let finished = igd_control(&lab, "probe", &["--no-pin"])?;
    ensure!(finished.status.success(), "{finished:?}");
    let (found, mending) = finished.stdout.split_once("\n\n").context("one table only")?;
    ensure!(found.starts_with("RESULT") && found.contains("\nok  "), "{found}");
    ensure!(mending.contains("TO MEND IT") && mending.contains("ip address add"), "{mending}");
    lab.finish()
}
