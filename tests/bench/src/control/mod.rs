//! The benchmark of the control plane: this daemon and miniupnpd, each in a lab of its own, take turns while
//! their tables grow.

mod chart;
mod figures;
mod first_packet;
mod gateway;
mod http;
mod load;
mod round;

pub use chart::adds;
pub use figures::{ControlFigure, ControlReport, Goal, Measure};
pub use gateway::Kind as Contender;

use anyhow::Result;
use gateway::Kind;
use nat_tests::lab::Lab;
use std::time::Duration;

/// As many mappings as there are at most.
pub(crate) const FULL: u32 = 60_000;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct ControlOptions {
    /// How often each contestant has its turn.
    pub rounds: u32,
    /// Gives miniupnpd a minute to add mappings, and not an hour.
    pub quick: bool,
}

impl ControlOptions {
    /// How long miniupnpd may take to add mappings, and how many it is given.
    const fn patience(&self) -> (Duration, u32) {
        if self.quick {
            (Duration::from_secs(60), 1_000)
        } else {
            (Duration::from_secs(3_600), 10_000)
        }
    }
}

/// Measures the control plane; `progress` is told what is being done.
///
/// # Errors
/// When a lab cannot be built, or a gateway refuses what it should do.
pub fn control(options: &ControlOptions, mut progress: impl FnMut(&str)) -> Result<ControlReport> {
    let before = load_average();
    let (ours, other, nothing) = (Lab::home()?, Lab::home()?, Lab::home()?);
    let labs = [(Kind::Ours, &ours), (Kind::Miniupnpd, &other), (Kind::Nothing, &nothing)];
    let (mut samples, mut left_out) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let mut turn =
            round::Round { number: round, options, samples: Vec::new(), left_out: Vec::new() };
        turn.run(&labs, &mut |what| progress(&format!("round {}: {what}", round + 1)))?;
        samples.extend(turn.samples);
        for one in turn.left_out {
            if !left_out.contains(&one) {
                left_out.push(one);
            }
        }
    }
    Ok(ControlReport::new(&samples, left_out, (before, load_average())))
}

fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}
