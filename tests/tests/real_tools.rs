//! Tools that people have, through the NAT.

use anyhow::{Context, Result, ensure};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, FAR_HOST, Lab, Process, UdpReflector, WAN_HOST, udp_seen_as,
};
use serde_json::Value;
use std::net::SocketAddrV4;
use std::time::Duration;

/// How long a tool may take to serve, or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs iperf3 between the LAN and the WAN for a second, and returns the client's report.
fn iperf3(lab: &Lab, arguments: &[&str]) -> Result<Value> {
    let server = WAN_HOST.to_string();
    let mut command = lab.wan.command("iperf3");
    command.args(["--server", "--one-off", "--forceflush", "--bind", &server]);
    let serving = Process::spawn(&mut command)?;
    serving.wait_for_line(PATIENCE, |line| line.contains("listening"))?;
    let client = ["--client", &server, "--time", "1", "--json"];
    let printed = lab.lan.run("iperf3", &[&client, arguments].concat())?;
    serving.finish(PATIENCE)?.success()?;
    serde_json::from_str(&printed).with_context(|| format!("not JSON: {printed}"))
}

fn number(report: &Value, path: &str) -> Result<f64> {
    report.pointer(path).and_then(Value::as_f64).with_context(|| format!("no {path} in {report}"))
}

#[test]
fn iperf3_measures_tcp_both_ways() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    for direction in [&[][..], &["--reverse"]] {
        let report = iperf3(&lab, direction)?;
        for end in ["/end/sum_sent/bytes", "/end/sum_received/bytes"] {
            ensure!(number(&report, end)? > 1e6, "{direction:?}: {report}");
        }
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn iperf3_measures_udp_both_ways() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    for direction in [&[][..], &["--reverse"]] {
        // Little enough for a busy machine to keep up with.
        let udp = ["--udp", "--bitrate", "2M", "--length", "1200"];
        let report = iperf3(&lab, &[&udp, direction].concat())?;
        let (sent, lost) = (number(&report, "/end/sum/packets")?, "/end/sum/lost_packets");
        ensure!(sent > 100.0 && number(&report, lost)? < sent / 50.0, "{direction:?}: {report}");
    }
    daemon.stop()?;
    lab.finish()
}

#[test]
fn tracepath_sees_the_router_the_hops_beyond_and_the_smallest_mtu() -> Result<()> {
    let lab = Lab::builder().far_host(1280).build()?;
    let daemon = Daemon::start(&lab)?;
    let printed = lab.lan.run("tracepath", &["-n", "-m", "5", &FAR_HOST.to_string()])?;
    for seen in ["192.168.77.1", "11.22.33.9", "pmtu 1280", "11.22.44.2", "reached"] {
        ensure!(printed.contains(seen), "no {seen} in:\n{printed}");
    }
    ensure!(printed.contains("Resume: pmtu 1280 hops 3"), "{printed}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn conntrack_knows_nothing_of_translated_flows() -> Result<()> {
    let lab = Lab::home()?;
    // A rule that asks for a connection's state has the kernel track what it sees.
    let rules = "add table ip track; \
        add chain ip track in { type filter hook input priority 0; }; \
        add chain ip track through { type filter hook forward priority 0; }; \
        add chain ip track out { type filter hook output priority 0; }; \
        add rule ip track in ct state invalid drop; \
        add rule ip track through ct state invalid drop; \
        add rule ip track out ct state invalid drop";
    lab.router.run("nft", &[rules])?;
    let daemon = Daemon::start(&lab)?;
    let server = SocketAddrV4::new(WAN_HOST, 7000);
    let _server = UdpReflector::start(&lab.wan, &server.to_string())?;
    // The first packet takes the way through the kernel.
    lab.router.ip(&["neighbour", "flush", "all"])?;
    let socket = lab.lan.udp("192.168.77.2:5700")?;
    for _ in 0..10 {
        assert_eq!(*udp_seen_as(&socket, server)?.ip(), EXTERNAL);
    }
    lab.lan.run("ping", &["-n", "-c", "2", "-i", "0.2", "-W", "3", "11.22.33.9"])?;
    let own = lab.router.udp("0.0.0.0:0")?;
    udp_seen_as(&own, server)?;

    let tracked = lab.router.run("conntrack", &["-L"])?;
    ensure!(tracked.contains(&format!("sport={}", own.local_addr()?.port())), "{tracked}");
    for ours in ["192.168.77.2", "dport=5700", "icmp"] {
        ensure!(!tracked.contains(ours), "{ours} is tracked:\n{tracked}");
    }
    daemon.stop()?;
    lab.finish()
}

/// What a client of RFC 5780 finds about the NAT, which filters UDP like that.
fn behaviour(filtering: &str) -> Result<String> {
    let lab = Lab::home()?;
    let config = format!("[nat]\nfiltering-udp = \"{filtering}\"\n");
    let daemon = Daemon::builder(&lab).configured(&config)?.start()?;
    let pid_file = lab.directory().join("turnserver.pid").to_string_lossy().into_owned();
    let mut command = lab.wan.command("turnserver");
    command.args([
        "-n",
        "--stun-only",
        "--no-cli",
        "--no-tls",
        "--no-dtls",
        "--log-file",
        "stdout",
    ]);
    command.args(["-L", "11.22.33.9", "-L", "11.22.33.10", "--pidfile", &pid_file]);
    let server = Process::spawn(&mut command)?;
    server.wait_for_line(PATIENCE, |line| line.contains("Total General servers"))?;
    let client = ["-m", "-f", "-L", "192.168.77.2", "11.22.33.9"];
    let found = lab.lan.output("turnutils_natdiscovery", &client)?;
    drop(server);
    daemon.stop()?;
    lab.finish()?;
    Ok(format!("{}{}", found.stdout, found.stderr))
}

/// Mapping is endpoint-independent in any case.
fn stun_finds(filtering: &str, fact: &str) -> Result<()> {
    let found = behaviour(filtering)?;
    for fact in ["NAT with Endpoint Independent Mapping!", fact] {
        ensure!(found.contains(fact), "not \"{fact}\" but:\n{found}");
    }
    Ok(())
}

#[test]
fn stun_finds_endpoint_independent_mapping_and_filtering() -> Result<()> {
    stun_finds("endpoint-independent", "NAT with Endpoint Independent Filtering!")
}

#[test]
fn stun_finds_address_dependent_filtering() -> Result<()> {
    stun_finds("address-dependent", "NAT with Address Dependent Filtering!")
}

#[test]
fn stun_finds_address_and_port_dependent_filtering() -> Result<()> {
    stun_finds("address-and-port-dependent", "NAT with Address and Port Dependent Filtering!")
}

#[test]
fn ping_finds_the_path_mtu() -> Result<()> {
    let lab = Lab::builder().far_host(1280).build()?;
    let daemon = Daemon::start(&lab)?;
    let far = FAR_HOST.to_string();
    let too_big = ["-n", "-c", "1", "-W", "3", "-M", "do", "-s", "1400", far.as_str()];
    let told = lab.lan.output("ping", &too_big)?;
    ensure!(told.stdout.contains("mtu = 1280") || told.stderr.contains("mtu"), "{told:?}");
    lab.lan.run("ping", &["-n", "-c", "1", "-W", "3", "-M", "do", "-s", "1252", &far])?;
    nat_tests::lab::wait_until("a translated error", ANSWER_TIMEOUT, || {
        Ok(daemon.counter("icmp_errors")? >= 1)
    })?;
    daemon.stop()?;
    lab.finish()
}
