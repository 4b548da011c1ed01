//! `cargo xtask vm pktgen`: the benchmark with pktgen on another kernel.

use super::kernel::Kernel;
use super::run::Machine;
use super::{SERIES, image};
use crate::workspace::Workspace;
use crate::{build, setup, steps};
use anyhow::{Context as _, Result, bail};
use nat_bench::PktgenReport;
use std::fs;

/// Options of `cargo xtask vm pktgen`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The series of Debian's kernels to boot.
    #[arg(long, default_value = SERIES)]
    kernel: String,
    /// How long it may take altogether.
    #[arg(long, default_value_t = 1_500)]
    seconds: u64,
    /// How often each contestant has its turn.
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// Packets of a turn, on each thread.
    #[arg(long, default_value_t = 50_000)]
    packets: u32,
    /// Other options of `cargo xtask bench pktgen`, such as `--sizes 64 --threads 1,2`.
    #[arg(last = true)]
    options: Vec<String>,
}

/// The program in the guest.
const PROGRAM: &str = "nat-bench-pktgen";

/// Before the report, on the guest's console.
const REPORT: &str = "report: ";

const SCRIPT: &str = include_str!("guest/pktgen.sh");

/// Sets up, builds, boots and measures. The guest reports in JSON, the table is made here.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let toolchain = setup::ensure_vm(workspace)?;
    let kernel = Kernel::find(workspace, &args.kernel)?;
    let daemon = build::release(workspace, &toolchain)?;
    let object = build::bench(workspace, &toolchain)?;
    steps::run(workspace.cargo().args(["build", "--package", "nat-bench", "--bin", PROGRAM]))?;

    let image = image(workspace, &kernel, &daemon)?;
    let program = workspace.daemon("debug").with_file_name(PROGRAM);
    image.program(&program, &format!("vm/{PROGRAM}"))?;
    image.file(&object, "vm/nat-bench.o")?;
    let (rounds, packets) = (args.rounds.to_string(), args.packets.to_string());
    let words = ["--rounds", &rounds, "--packets", &packets];
    let words = words.into_iter().chain(args.options.iter().map(String::as_str));
    image.text(&words.collect::<Vec<_>>().join(" "), "vm/plan")?;
    image.text(SCRIPT, "vm/work")?;
    let archive = workspace.root().join("target/vm/image.cpio");
    image.pack(&archive)?;

    let release = &kernel.release;
    steps::say(&format!("Booting Linux {release}"));
    let (status, printed) = Machine { kernel: &kernel, archive: &archive }.work(args.seconds)?;
    if status != 0 {
        bail!("the benchmark failed on Linux {release}");
    }
    let report = printed.lines().rev().find_map(|line| line.strip_prefix(REPORT));
    let report: PktgenReport =
        serde_json::from_str(report.context("the guest has reported nothing")?)?;
    println!("{}", report.table());
    let file = workspace.root().join("target/bench/vm-pktgen.json");
    fs::create_dir_all(workspace.root().join("target/bench"))?;
    fs::write(&file, serde_json::to_vec_pretty(&report)?)?;
    steps::say(&format!("Emulated: only ratios mean something. Wrote {}", file.display()));
    Ok(())
}
