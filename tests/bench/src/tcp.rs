//! Whole TCP connections: `iperf3` from a LAN host to one behind the WAN, by segments of several sizes, so that
//! acknowledgements, retransmissions and the hosts' own stacks have their part.

use crate::contestant::{Kind, masquerade, nat};
use crate::report::{Stat, spread};
use crate::rounds::{Rounds, at};
use anyhow::{Context as _, Result, bail};
use nat_tests::lab::{ANSWER_TIMEOUT, Lab, Process, WAN_HOST};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Write as _;

/// Largest segments, bytes: those of the packet sizes 1500, 576 and 128. The kernel sends no smaller ones.
const SEGMENTS: [u32; 3] = [1_460, 536, 88];

/// How long a turn lasts, seconds.
const SECONDS: &str = "2";

const KINDS: [Kind; 3] = [Kind::Nat, Kind::Routing, Kind::Nftables];

/// What a contestant lets through.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Throughput {
    /// Largest segment, bytes.
    pub segment: u32,
    /// Who routes.
    pub kind: Kind,
    /// Megabits a second.
    pub megabits: Stat,
    /// How many times nftables' that is.
    pub of_nftables: Stat,
}

/// All figures of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TcpReport {
    /// By segment, then contestant.
    pub figures: Vec<Throughput>,
}

impl TcpReport {
    /// As a table for people, in Markdown.
    pub fn table(&self) -> String {
        let mut text =
            "\n| largest segment | | Mbit/s | times nftables |\n|---|---|---|---|\n".to_owned();
        for figure in &self.figures {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                figure.segment,
                figure.kind.name(),
                spread(&figure.megabits, 0),
                spread(&figure.of_nftables, 2)
            );
        }
        text
    }
}

/// Measures; `progress` is told what is being done.
///
/// # Errors
/// When a lab cannot be built, or `iperf3` fails.
pub fn tcp(rounds: u32, mut progress: impl FnMut(&str)) -> Result<TcpReport> {
    let labs = KINDS.map(|kind| Lab::builder().unwatched().build().map(|lab| (kind, lab)));
    let labs = labs.into_iter().collect::<Result<Vec<_>>>()?;
    let mut daemons = Vec::new();
    let mut servers = Vec::new();
    for (kind, lab) in &labs {
        for host in [&lab.lan, &lab.wan] {
            // Each segment is a packet of its own, as on a wire. GRO stays on at the ends: it gives a veth the
            // NAPI without which it takes nothing that XDP redirects.
            host.run("ethtool", &["-K", "eth0", "tso", "off", "gso", "off"])?;
        }
        match kind {
            Kind::Nat => daemons.push(nat(lab, 1_024)?.start()?),
            Kind::Nftables => masquerade(lab)?,
            _ => lab.wan.ip(&["route", "add", "192.168.77.0/24", "via", "11.22.33.1"]).map(drop)?,
        }
        let mut server = lab.wan.command("iperf3");
        let server = Process::spawn(server.args(["--server", "--forceflush"]))?;
        server.wait_for_line(ANSWER_TIMEOUT, |line| line.contains("listening"))?;
        servers.push(server);
    }
    let mut report = TcpReport::default();
    for segment in SEGMENTS {
        progress(&format!("TCP segments of {segment} bytes"));
        let turns = || labs.iter().map(|(_, lab)| turn(lab, segment)).collect();
        let rounds = Rounds::play(rounds, turns)?;
        report.figures.extend(KINDS.into_iter().enumerate().map(|(place, kind)| Throughput {
            segment,
            kind,
            megabits: rounds.stat(|round| at(round, place)),
            of_nftables: rounds.stat(|round| at(round, place) / at(round, KINDS.len() - 1)),
        }));
    }
    drop(servers);
    for daemon in daemons {
        daemon.stop()?;
    }
    labs.into_iter().try_for_each(|(_, lab)| lab.finish())?;
    Ok(report)
}

/// Megabits a second that arrive.
fn turn(lab: &Lab, segment: u32) -> Result<f64> {
    let (server, segment) = (WAN_HOST.to_string(), segment.to_string());
    let arguments = ["--client", &server, "--json", "--time", SECONDS, "--set-mss", &segment];
    let text = lab.lan.run("iperf3", &arguments)?;
    let result: Value = serde_json::from_str(&text).context("what iperf3 says")?;
    match result.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64) {
        Some(bits) => Ok(bits / 1e6),
        None => bail!("iperf3 says nothing of what arrived: {text}"),
    }
}
