//! `cargo xtask ci`: everything, with the time that each part took.

use crate::workspace::Workspace;
use crate::{demo, lint, setup, steps, test, vm};
use anyhow::{Result, anyhow};
use std::time::{Duration, Instant};

/// Runs the parts in order and stops at the first that fails.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    steps::need_root("ci", "The tests and the demo need root")?;
    let parts: [(&str, &dyn Fn() -> Result<()>); 5] = [
        ("setup", &|| setup::run(workspace, &setup::Args::default())),
        ("lint", &|| lint::run(workspace)),
        ("test", &|| test::run(workspace, &test::Args::default())),
        ("vm", &|| vm::run(workspace, &vm::Args::default())),
        ("demo", &|| demo::run(workspace, &demo::Args::default())),
    ];
    let mut times = Vec::new();
    let mut failed = None;
    for (name, part) in parts {
        let start = Instant::now();
        let result = part();
        times.push((name, start.elapsed()));
        if let Err(error) = result {
            failed = Some(anyhow!("{name}: {error:#}"));
            break;
        }
    }
    for (name, time) in times {
        println!("{name:<8}{:>8}", clock(time));
    }
    failed.map_or(Ok(()), Err)
}

fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_printed_in_minutes_and_seconds() {
        assert_eq!(clock(Duration::from_millis(125_900)), "2:05");
    }
}
