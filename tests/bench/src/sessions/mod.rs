//! What sessions cost: how fast new ones are opened, beside the kernel's NAT, also when ports are scarce, how
//! much memory each takes, and what it takes to sweep them.

mod many_ports;
mod memory;
mod opening;
mod report;
mod sweep;

pub use memory::Memory;
pub use opening::Opening;
pub use report::SessionsReport;
pub use sweep::Sweep;

use anyhow::{Context as _, Result};
use std::path::Path;

/// Measures; `progress` is told what is being done. `object`: the benchmark's programs.
///
/// # Errors
/// When a lab cannot be built, or a contestant loses packets.
pub fn sessions(
    object: &Path,
    rounds: u32,
    mut progress: impl FnMut(&str),
) -> Result<SessionsReport> {
    let object =
        std::fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    let memory = memory::measure(&mut progress)?;
    let openings = opening::measure(&object, rounds, &mut progress)?;
    let sweep = sweep::measure(&object, rounds, &mut progress)?;
    Ok(SessionsReport { openings, memory, sweep })
}
