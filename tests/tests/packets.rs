//! Every packet row, on the host's pipeline and on the kernel's XDP program.

use anyhow::Result;
use nat_tests::packets::host::HostMachine;
use nat_tests::packets::kernel::{KernelMachine, Router};
use nat_tests::packets::{Report, play_all, rows};
use std::collections::HashSet;
use std::fmt::Display;
use std::io::Write as _;

/// Says what was shown, past the test runner, which would keep it to itself: what was not run must be
/// seen.
fn show(report: &impl Display) {
    let _ = writeln!(std::io::stderr(), "{report}");
}

#[test]
fn every_row_holds_on_the_host() {
    let report = play_all(&mut HostMachine::default(), &rows::all());
    show(&report);
    assert!(report.failed.is_empty(), "{} rows failed", report.failed.len());
}

#[test]
fn every_row_holds_in_the_kernel() -> Result<()> {
    let router = Router::new()?;
    let report = router.enter(|| -> Result<Report> {
        let mut machine = KernelMachine::load(&router)?;
        machine.verified().iter().for_each(show);
        Ok(play_all(&mut machine, &rows::all()))
    })??;
    show(&report);
    assert!(report.failed.is_empty(), "{} rows failed", report.failed.len());
    Ok(())
}

#[test]
fn rows_have_names_of_their_own() {
    let rows = rows::all();
    let names: HashSet<_> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len());
}
