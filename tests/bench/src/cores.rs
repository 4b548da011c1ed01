//! Two CPUs at once, each with a receive queue of its own: how much more they get done than one.

use crate::case::Case;
use crate::contestant::{Contestant, Kind};
use crate::report::{Stat, spread};
use anyhow::{Context as _, Result};
use nat_tests::lab::{Lab, Namespace};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::Path;

/// How many CPUs take part.
const CPUS: usize = 2;

/// Frames of a turn, on each CPU.
const FRAMES: u32 = 500_000;

const KINDS: [Kind; 2] = [Kind::Ceiling, Kind::Nat];

/// What a contestant does on several CPUs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Scaling {
    /// Who routes.
    pub kind: Kind,
    /// Packets a second on all CPUs, as a multiple of those on one.
    pub of_one: Stat,
}

/// All figures of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CoresReport {
    /// By contestant.
    pub figures: Vec<Scaling>,
}

impl CoresReport {
    /// As a table for people, in Markdown.
    pub fn table(&self) -> String {
        let mut text = format!("\n| | {CPUS} CPUs, times one |\n|---|---|\n");
        for figure in &self.figures {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {} | {} |", figure.kind.name(), spread(&figure.of_one, 2));
        }
        text
    }
}

/// Measures. `object`: the benchmark's programs.
///
/// # Errors
/// When a lab cannot be built, or the machine has too few CPUs.
pub fn cores(object: &Path, rounds: u32) -> Result<CoresReport> {
    let object =
        std::fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    let case = Case::flows(1_024, 1);
    let mut report = CoresReport::default();
    for kind in KINDS {
        let lab = Lab::builder().unwatched().build()?;
        for (host, interface) in
            [(&lab.lan, "eth0"), (&lab.router, "lan0"), (&lab.router, "wan0"), (&lab.wan, "eth0")]
        {
            queues(host, interface, CPUS)?;
        }
        let mut contestant = Contestant::new(kind, &lab, &object, 65_536)?;
        contestant.warm_up(&case)?;
        let gains = (0..rounds)
            .map(|_| {
                let one = contestant.send_on(1, FRAMES)?;
                Ok(CPUS as f64 * one / contestant.send_on(CPUS, FRAMES)?)
            })
            .collect::<Result<Vec<f64>>>()?;
        report.figures.push(Scaling { kind, of_one: Stat::of(gains) });
        contestant.finish()?;
        lab.finish()?;
    }
    Ok(report)
}

/// Gives an interface a queue for each CPU that takes part.
pub(crate) fn queues(host: &Namespace, interface: &str, cpus: usize) -> Result<()> {
    let number = cpus.to_string();
    host.run("ethtool", &["-L", interface, "rx", &number, "tx", &number]).map(drop)
}
