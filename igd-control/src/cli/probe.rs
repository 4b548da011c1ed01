//! `igd-control probe`

use super::{
    columns,
    table::{Row, Table},
};
use crate::{
    config::Config,
    probe::{self, Finding, Status},
};
use std::{
    io::{self, BufWriter, Write as _},
    process::ExitCode,
};

/// Checks the machine and prints what was found. The exit code is 1 when the gateway cannot run.
pub(super) fn probe(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = runtime.block_on(probe::all(config));
    // A tool that was too slow is not waited for.
    runtime.shutdown_background();
    let mut out = BufWriter::new(io::stdout());
    if json {
        serde_json::to_writer_pretty(&mut out, &findings)?;
        writeln!(out)?;
    } else {
        tables(&mut out, &findings)?;
    }
    out.flush()?;
    let fails = findings.iter().any(|finding| finding.status == Status::Failure);
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What was found, and after it the commands, each as long as it has to be.
pub(super) fn tables(out: &mut impl io::Write, findings: &[Finding]) -> anyhow::Result<()> {
    let rows: Vec<Row> = serde_json::from_value(serde_json::to_value(findings)?)?;
    Table::fitting(columns::FINDINGS, &rows).all(out, &rows)?;
    let mending: Vec<Row> = rows
        .into_iter()
        .filter(|row| row.get("command").is_some_and(|command| !command.is_null()))
        .collect();
    if !mending.is_empty() {
        writeln!(out)?;
        Table::fitting(columns::MENDING, &mending).all(out, &mending)?;
    }
    Ok(())
}
