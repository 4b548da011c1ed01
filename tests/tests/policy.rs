//! Rules, static mappings and metrics, as an operator has them.

use anyhow::{Context, Result, ensure};
use nat_tests::client::{
    Gateway, http,
    soap::{MAPPING, Mapping},
};
use nat_tests::daemon::{Daemon, binary};
use nat_tests::lab::{ANSWER_TIMEOUT, EXTERNAL, Lab, UdpReflector, wait_until};
use nat_tests::lease::{udp_answers, udp_is_silent};
use std::fs;
use std::net::SocketAddrV4;
use std::path::PathBuf;

/// Has the LAN host's port 5600 answer.
fn echo(lab: &Lab) -> Result<UdpReflector> {
    UdpReflector::start(&lab.lan, "192.168.77.2:5600")
}

/// Whether a UDP port leads to the LAN.
fn leads(lab: &Lab, port: u16) -> Result<bool> {
    udp_answers(&lab.wan, SocketAddrV4::new(EXTERNAL, port))
}

/// Whether it does not.
fn leads_nowhere(lab: &Lab, port: u16) -> Result<bool> {
    udp_is_silent(&lab.wan, SocketAddrV4::new(EXTERNAL, port))
}

fn config(lab: &Lab, text: &str) -> Result<PathBuf> {
    let file = lab.directory().join("edge.toml");
    fs::write(&file, text)?;
    Ok(file)
}

const RULES: &str = "
[[policy.rule]]
action = 'deny'
name = 'no games'
external-ports = ['7000-7999']
[[policy.rule]]
action = 'allow'
requesters = ['192.168.77.0/24']
external-ports = [80]
";

const STATIC: &str = "
[[mapping]]
protocol = 'udp'
external-port = 6000
client = '192.168.77.2'
internal-port = 5600
description = 'by the file'
";

#[test]
fn rules_decide_and_are_read_again_while_the_gateway_runs() -> Result<()> {
    let lab = Lab::home()?;
    let file = config(&lab, RULES)?;
    let argument = file.to_string_lossy();
    let daemon = Daemon::builder(&lab).argument("--config").argument(&argument).start()?;
    let gateway = Gateway::discover(&lab.lan)?;
    let add = |port| -> Result<_> {
        Ok(gateway.add(&Mapping { external_port: port, ..MAPPING })?.error_code())
    };
    let answers = || -> Result<_> { Ok([add("7500")?, add("80")?, add("81")?, add("8000")?]) };
    assert_eq!(answers()?, [Some(606), None, Some(606), None]);

    let check = ["policy", "check", "--requester", "192.168.77.2", "--protocol", "udp"];
    let port = ["--external-port", "7500"];
    let running = daemon.command(&[&check[..], &port].concat())?;
    ensure!(running.stdout.contains("denied: rule 1 (no games)"), "{running:?}");
    ensure!(running.status.code() == Some(1), "{running:?}");
    let binary = binary()?.to_string_lossy().into_owned();
    let offline = [&check[..], &port, &["--config", &argument]].concat();
    assert_eq!(lab.router.output(&binary, &offline)?.stdout, running.stdout);

    // A file that is wrong changes nothing; one that is right does, by the command and by SIGHUP.
    config(&lab, "[[policy.rule]]\naction = 'permit'\n")?;
    let refused = daemon.command(&["reload"])?;
    ensure!(!refused.status.success() && refused.stderr.contains("edge.toml:2"), "{refused:?}");
    assert_eq!(answers()?, [Some(606), None, Some(606), None]);
    config(&lab, &format!("[policy]\nmode = 'open'\n{RULES}"))?;
    let told = daemon.command(&["reload"])?.success()?;
    ensure!(told.contains("rules: 2, static mappings: 0"), "{told}");
    assert_eq!(answers()?, [Some(606), None, None, None]);
    config(&lab, "")?;
    daemon.hang_up()?;
    wait_until("the file to be read", ANSWER_TIMEOUT, || Ok(add("7500")?.is_none()))?;
    assert_eq!(add("81")?, Some(606));
    daemon.stop()?;
    lab.finish()
}

#[test]
fn static_mappings_come_from_the_file_and_the_command_line_and_stay() -> Result<()> {
    let lab = Lab::home()?;
    let (bpffs, _echo) = (lab.bpffs()?, echo(&lab)?);
    let state = lab.directory().join("state");
    let file = config(&lab, STATIC)?;
    let argument = file.to_string_lossy();
    let start = || {
        let daemon = Daemon::builder(&lab).pinned(&bpffs).state(&state);
        daemon.argument("--config").argument(&argument).start()
    };
    let daemon = start()?;
    ensure!(leads(&lab, 6000)?, "the mapping of the file is not in force");
    let gateway = Gateway::discover(&lab.lan)?;
    let key = |port| [("NewRemoteHost", ""), ("NewExternalPort", port), ("NewProtocol", "UDP")];
    let entry = gateway.call("GetSpecificPortMappingEntry", &key("6000"))?.success()?;
    assert_eq!(entry.value("NewLeaseDuration"), Some("0"));
    assert_eq!(entry.value("NewPortMappingDescription"), Some("by the file"));
    assert_eq!(gateway.add(&MAPPING)?.error_code(), Some(718));
    assert_eq!(gateway.call("DeletePortMapping", &key("6000"))?.error_code(), Some(606));

    // The operator's word comes before a client's lease.
    gateway.add(&Mapping { external_port: "6001", internal_port: "9999", ..MAPPING })?.success()?;
    let by_hand = ["--protocol", "udp", "--external-port", "6001"];
    let add = ["mapping", "add", "--client", "192.168.77.2", "--internal-port", "5600"];
    daemon.command(&[&add[..], &by_hand, &["--description", "by hand"]].concat())?.success()?;
    ensure!(leads(&lab, 6001)?);
    let taken = ["--protocol", "udp", "--external-port", "6000"];
    let refused = daemon.command(&[&add[..], &taken].concat())?;
    ensure!(refused.stderr.contains("configuration file names this mapping"), "{refused:?}");
    let listed = daemon.command(&["mapping", "list"])?.success()?;
    ensure!(listed.contains("by the file") && listed.contains("by hand"), "{listed}");

    // They survive restarts; those of the file go with it.
    daemon.kill()?;
    let daemon = start()?;
    ensure!(leads(&lab, 6000)? && leads(&lab, 6001)?);
    config(&lab, "")?;
    daemon.command(&["reload"])?.success()?;
    ensure!(leads_nowhere(&lab, 6000)? && leads(&lab, 6001)?);
    config(&lab, STATIC)?;
    daemon.command(&["reload"])?.success()?;
    ensure!(leads(&lab, 6000)?);
    daemon.kill()?;
    config(&lab, "")?;
    let daemon = start()?;
    ensure!(leads_nowhere(&lab, 6000)?, "the file does not name it any more");
    let listed = daemon.mappings()?;
    ensure!(listed.len() == 1 && listed[0]["description"] == "by hand", "{listed:?}");
    daemon.command(&[&["mapping", "remove"], &by_hand[..]].concat())?.success()?;
    ensure!(leads_nowhere(&lab, 6001)? && daemon.mappings()?.is_empty());
    let again = daemon.command(&[&["mapping", "remove"], &by_hand[..]].concat())?;
    ensure!(again.stderr.contains("no such static mapping"), "{again:?}");
    daemon.stop()?;
    drop(bpffs);
    lab.finish()
}

#[test]
fn metrics_tell_what_happened() -> Result<()> {
    let lab = Lab::home()?;
    let _echo = echo(&lab)?;
    let file = config(
        &lab,
        "[metrics]\nlisten = '192.168.77.1:9469'\n[policy]\nmax-mappings-per-client = 2\n\
         requests-per-second = 2\n",
    )?;
    let argument = file.to_string_lossy();
    let daemon = Daemon::builder(&lab).argument("--config").argument(&argument).start()?;
    let gateway = Gateway::discover(&lab.lan)?;
    gateway.add(&MAPPING)?.success()?;
    ensure!(leads(&lab, 6000)?);
    gateway.add(&Mapping { external_port: "6001", lease: "1", ..MAPPING })?.success()?;
    let third = gateway.add(&Mapping { external_port: "6002", ..MAPPING })?;
    assert_eq!(third.error_code(), Some(728));
    wait_until("the end of a lease", ANSWER_TIMEOUT, || Ok(daemon.mappings()?.len() == 1))?;
    // Twenty at once, and those before have used some of them up.
    let mut refused = 0;
    for _ in 0..40 {
        refused += usize::from(gateway.call("GetExternalIPAddress", &[])?.0.status == 503);
    }
    ensure!((10..40).contains(&refused), "{refused} requests of 40 were refused");

    let text = daemon.command(&["metrics"])?.success()?;
    let server = SocketAddrV4::new("192.168.77.1".parse()?, 9469);
    let served = http::get(&lab.lan, server, "/metrics")?;
    ensure!(served.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    for text in [&text, &served.body] {
        for line in [
            "igd_connected 1.0",
            "igd_mappings{protocol=\"udp\",kind=\"leased\"} 1.0",
            "igd_leases_expired_total 1.0",
            "igd_requests_total{service=\"WANIPConnection\",action=\"AddPortMapping\",code=\"0\"} 2.0",
            "igd_requests_total{service=\"WANIPConnection\",action=\"AddPortMapping\",code=\"728\"} 1.0",
            "igd_limits_hit_total{limit=\"mappings_per_client\"} 1.0",
            "igd_sessions_limit 262144.0",
        ] {
            ensure!(text.lines().any(|told| told == line), "no {line} in\n{text}");
        }
        let of = |name: &str| -> Result<f64> {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(value.with_context(|| format!("no {name} in\n{text}"))?.parse()?)
        };
        assert_eq!(of("igd_limits_hit_total{limit=\"request_rate\"}")?, refused as f64);
        ensure!(of("igd_forwarded_packets_total{way=\"inbound\"}")? >= 1.0);
        ensure!(of("igd_ports_in_use{protocol=\"udp\"}")? >= 1.0);
        ensure!(of("igd_sweep_cpu_seconds_total")? > 0.0);
    }
    daemon.stop()?;
    lab.finish()
}
