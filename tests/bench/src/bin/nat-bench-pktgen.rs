//! `cargo xtask bench pktgen` as a program of its own, for machines that have no checkout: this file, the object
//! of the benchmark's programs, and the daemon, which `IGD_CONTROL_BIN` names.

#![expect(clippy::print_stdout, reason = "its report is what it was asked for")]

use anyhow::Result;
use clap::Parser;
use nat_bench::PktgenOptions;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: PktgenOptions,
    /// The object of the benchmark's programs.
    #[arg(long)]
    object: PathBuf,
    /// Prints the report as one line of JSON after this word, and no table.
    #[arg(long)]
    json: Option<String>,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(Cli { options, object, json }: Cli) -> Result<()> {
    let report = nat_bench::pktgen(&options, &object, |what| eprintln!("==> {what}"))?;
    match (report, json) {
        (Some(report), Some(word)) => println!("{word}{}", serde_json::to_string(&report)?),
        (Some(report), None) => println!("{}", report.table()),
        (None, _) => {}
    }
    Ok(())
}
