//! The figures of sessions as a table and as JSON.

use super::{Memory, Opening, Sweep};
use crate::contestant::Kind;
use crate::report::{Stat, spread};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// All figures of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionsReport {
    /// New flows.
    pub openings: Vec<Opening>,
    /// Memory.
    pub memory: Vec<Memory>,
    /// Sweeping.
    pub sweep: Sweep,
}

impl SessionsReport {
    /// As a table for people, in Markdown.
    pub fn table(&self) -> String {
        let mut text =
            "\n| new UDP flows | this NAT, ns each | with pauses | times an empty table's | a second | nftables, ns each \
             | with pauses | times this NAT | lost |\n|---|---|---|---|---|---|---|---|---|\n"
                .to_owned();
        for ours in self.openings.iter().filter(|opening| opening.kind == Kind::Nat) {
            let mut others = self.openings.iter().filter(|other| other.flows == ours.flows);
            let Some(theirs) = others.find(|other| other.kind == Kind::Nftables) else { continue };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {:.0} | {} | {} | {} | {:.2} %, {:.2} % |",
                ours.flows.name(),
                spread(&ours.own, 0),
                spread(&ours.with_pauses, 0),
                spread(&ours.of_empty, 1),
                1e9 / ours.own.median,
                spread(&theirs.own, 0),
                spread(&theirs.with_pauses, 0),
                spread(&theirs.of_nat, 1),
                100.0 * ours.lost,
                100.0 * theirs.lost,
            );
        }
        text.push_str(
            "\n| sessions configured | MiB | bytes each, both directions | MiB of internal endpoints |\n\
             |---|---|---|---|\n",
        );
        for memory in &self.memory {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let Memory { sessions, bytes, endpoints } = *memory;
            let (each, bytes, endpoints) = (memory.each(), mib(bytes), mib(endpoints));
            let _ = writeln!(text, "| {sessions} | {bytes:.0} | {each:.0} | {endpoints:.0} |");
        }
        let Sweep { cpu, held_up, with_pauses, held_up_by_reading, away, away_before } =
            &self.sweep;
        let percent = |stat: &Stat| format!("{:.1} %", 100.0 * stat.median);
        let _ = writeln!(
            text,
            "\nSweeping a million sessions takes {} s of a CPU. On another CPU a packet takes {} times what it \
             took before, with all pauses {} times; while the one CPU only reads memory, {} times. The packets' \
             CPU was idle or the host's for {} of the sweep, and {} of the time before.",
            spread(cpu, 2),
            spread(held_up, 2),
            spread(with_pauses, 2),
            spread(held_up_by_reading, 2),
            percent(away),
            percent(away_before),
        );
        text
    }
}
