//! The kernel's pktgen as the generator: over cables between interfaces of the box, which are lent to a lab for
//! as long, or over the lab's own links, as in a virtual machine.
//!
//! Over virtual links each contestant has a lab of its own, and one CPU sends, routes and counts, as in
//! [`data`](crate::data). Over cables there is one lab, and the contestants come and go with their turns; sender
//! and router have CPUs of their own then, and what gets through is compared.

mod home;
mod plan;
mod report;
mod sender;
mod wires;

pub use report::{PktgenFigure, PktgenReport};
pub use wires::Wires;

use crate::contestant::{Contestant, Kind};
use crate::cores::queues;
use crate::rounds::Rounds;
use anyhow::{Context as _, Result, bail, ensure};
use nat_tests::lab::{ANSWER_TIMEOUT, Lab, wait_until};
use plan::Traffic;
use report::Turn;
use sender::{Module, send};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wires::Lent;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct PktgenOptions {
    /// Which interfaces take part.
    #[command(flatten)]
    pub wires: Wires,
    /// How often each contestant has its turn.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// Packets of a turn, on each thread.
    #[arg(long, default_value_t = 2_000_000)]
    pub packets: u32,
    /// Lengths of frames, bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 512, 1_514])]
    pub sizes: Vec<u32>,
    /// Numbers of flows.
    #[arg(long, value_delimiter = ',', default_values_t = [1_024])]
    pub flows: Vec<u32>,
    /// Numbers of pktgen's threads, each on a CPU of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [1])]
    pub threads: Vec<u32>,
    /// Only these contestants, by default all: ratios need the generator alone ("door") and the ceiling.
    #[arg(long, value_delimiter = ',')]
    pub contestants: Vec<Kind>,
    /// Only says what would be changed on the box.
    #[arg(long)]
    pub plan: bool,
}

/// The kernel's release, as `uname -r` prints it.
fn release() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    text.map_or_else(|_| "?".to_owned(), |text| text.trim().to_owned())
}

/// Packets by which sessions are opened, for each flow.
const WARM_UP: u32 = 4;

/// The most flows: each has a port of its own.
const MOST_FLOWS: u32 = 60_000;

/// Measures; `None` when only the plan was asked for. `object`: the benchmark's programs; `progress` is told what
/// is being done, and before anything what will change.
///
/// # Errors
/// When an interface may not be taken, the kernel has no pktgen, or the operator interrupts.
pub fn pktgen(
    options: &PktgenOptions,
    object: &PathBuf,
    mut progress: impl FnMut(&str),
) -> Result<Option<PktgenReport>> {
    let cases = cases(options)?;
    let homes = options.wires.look()?;
    progress(&options.wires.changes("igd…-lan, -router and -wan", &homes, Module::is_here()));
    if options.plan {
        return Ok(None);
    }
    let object =
        std::fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    // In this order: the module goes last, when no namespace has its threads any more.
    let _module = Module::load()?;
    let report =
        PktgenReport { kernel: release(), cables: !options.wires.veth, ..PktgenReport::default() };
    let run = Run { options, cases, object, stop, report };
    if options.wires.veth {
        run.virtually(&mut progress)
    } else {
        run.over_cables(homes, &mut progress)
    }
    .map(Some)
}

/// All cases, on the last of the CPUs: the first has most of everything else.
fn cases(options: &PktgenOptions) -> Result<Vec<Traffic>> {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u32;
    let mut cases = Vec::new();
    for &threads in &options.threads {
        ensure!((1..=cpus).contains(&threads), "{threads} threads, and there are {cpus} CPUs");
        for &flows in &options.flows {
            ensure!((1..=MOST_FLOWS).contains(&flows), "flows: 1 to {MOST_FLOWS}, not {flows}");
            for &frame in &options.sizes {
                ensure!((64..=1_514).contains(&frame), "sizes: 64 to 1514, not {frame}");
                cases.push(Traffic { frame, flows, threads, first_cpu: cpus - threads });
            }
        }
    }
    ensure!(!cases.is_empty(), "no sizes, flows or threads");
    Ok(cases)
}

struct Run<'a> {
    options: &'a PktgenOptions,
    cases: Vec<Traffic>,
    object: Vec<u8>,
    stop: Arc<AtomicBool>,
    report: PktgenReport,
}

impl Run<'_> {
    fn kinds(&self) -> Vec<Kind> {
        let chosen = &self.options.contestants;
        let takes_part = |kind: &Kind| chosen.is_empty() || chosen.contains(kind);
        Kind::ALL.into_iter().filter(takes_part).collect()
    }

    /// Sessions that there must be room for.
    fn sessions(&self) -> u32 {
        let most = self.cases.iter().map(|case| case.flows).max().unwrap_or_default();
        (most + most / 4).max(65_536)
    }

    fn virtually(mut self, progress: &mut impl FnMut(&str)) -> Result<PktgenReport> {
        let kinds = self.kinds().into_iter();
        let labs = kinds.map(|kind| Ok((kind, Lab::builder().unwatched().build()?)));
        let labs = labs.collect::<Result<Vec<_>>>()?;
        let threads = self.cases.iter().map(|case| case.threads).max().unwrap_or(1) as usize;
        let mut contestants = Vec::new();
        for (kind, lab) in &labs {
            self.go_on()?;
            progress(&format!("setting up: {}", kind.name()));
            if threads > 1 {
                for (host, interface) in [
                    (&lab.lan, "eth0"),
                    (&lab.router, "lan0"),
                    (&lab.router, "wan0"),
                    (&lab.wan, "eth0"),
                ] {
                    queues(host, interface, threads)?;
                }
            }
            match Contestant::new(*kind, lab, &self.object, self.sessions()) {
                Ok(contestant) => contestants.push((lab, contestant)),
                Err(error) => self.left_out(*kind, error)?,
            }
        }
        for case in self.cases.clone() {
            progress(&named(&case));
            for (lab, contestant) in &contestants {
                self.warm_up(lab, contestant, &case)?;
            }
            let rounds = Rounds::play(self.options.rounds, || {
                let turns = contestants.iter().map(|(lab, contestant)| {
                    self.go_on()?;
                    self.turn(lab, contestant, &case)
                });
                turns.collect()
            })?;
            self.report.add(&case, &rounds);
        }
        contestants.into_iter().try_for_each(|(_, contestant)| contestant.finish())?;
        labs.into_iter().try_for_each(|(_, lab)| lab.finish())?;
        Ok(self.report)
    }

    fn over_cables(
        mut self,
        homes: Vec<home::Home>,
        progress: &mut impl FnMut(&str),
    ) -> Result<PktgenReport> {
        let lab = Lab::builder().unwatched().build()?;
        // After the lab, so that they leave before it goes.
        let lent = self.options.wires.lend(&lab, homes)?;
        let mut kinds = Vec::new();
        for kind in self.kinds() {
            self.go_on()?;
            progress(&format!("trying: {}", kind.name()));
            match self.contestant(kind, &lab, &lent) {
                Ok(contestant) => {
                    contestant.finish()?;
                    kinds.push(kind);
                }
                Err(error) => self.left_out(kind, error)?,
            }
        }
        for case in self.cases.clone() {
            progress(&named(&case));
            let rounds = Rounds::play(self.options.rounds, || {
                let turns = kinds.iter().map(|kind| {
                    self.go_on()?;
                    let contestant = self.contestant(*kind, &lab, &lent)?;
                    self.warm_up(&lab, &contestant, &case)?;
                    let turn = self.turn(&lab, &contestant, &case)?;
                    contestant.finish()?;
                    Ok(turn)
                });
                turns.collect()
            })?;
            self.report.add(&case, &rounds);
        }
        drop(lent);
        lab.finish()?;
        Ok(self.report)
    }

    /// Makes a contestant the router of a lab that others have had before.
    fn contestant<'lab>(
        &self,
        kind: Kind,
        lab: &'lab Lab,
        lent: &[Lent<'_>],
    ) -> Result<Contestant<'lab>> {
        lab.router.run("nft", &["flush", "ruleset"])?;
        let contestant = Contestant::new(kind, lab, &self.object, self.sessions())?;
        lent.iter().try_for_each(Lent::wait_for_carrier)?;
        Ok(contestant)
    }

    /// Not every kernel has a flowtable. Everybody else must take part.
    fn left_out(&mut self, kind: Kind, error: anyhow::Error) -> Result<()> {
        if kind != Kind::Flowtable {
            return Err(error.context(kind.name()));
        }
        self.report.left_out.push(format!("{}: {error:#}", kind.name()));
        Ok(())
    }

    fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            bail!("interrupted: all is being put back");
        }
        Ok(())
    }

    fn warm_up(&self, lab: &Lab, contestant: &Contestant<'_>, case: &Traffic) -> Result<()> {
        let packets = WARM_UP * case.flows.div_ceil(case.threads);
        send(&lab.lan, case, contestant.mac(), packets.max(1_024)).map(drop)
    }

    fn turn(&self, lab: &Lab, contestant: &Contestant<'_>, case: &Traffic) -> Result<Turn> {
        let before = contestant.arrived()?;
        let sent = send(&lab.lan, case, contestant.mac(), self.options.packets)?;
        // The last may still be on their way: until two looks, some time apart, see the same.
        let mut arrived = u64::MAX;
        wait_until("packets under way", ANSWER_TIMEOUT, || {
            let now = contestant.arrived()?;
            Ok(std::mem::replace(&mut arrived, now) == now)
        })?;
        Ok(Turn::new(contestant.kind, &sent, arrived - before))
    }
}

fn named(case: &Traffic) -> String {
    let Traffic { frame, flows, threads, .. } = case;
    format!("{frame} bytes, {flows} flows, {threads} of pktgen's threads")
}
