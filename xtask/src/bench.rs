//! `cargo xtask bench`: how fast it is, beside others.

use crate::workspace::Workspace;
use crate::{build, setup, steps};
use anyhow::{Context as _, Result, bail, ensure};
use nat_bench::{Comparison, ControlOptions, Kind, Options, PktgenOptions};
use std::fs;
use std::path::{Path, PathBuf};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The packet path beside the XDP ceiling, the kernel's routing and nftables, on one core.
    Data(Data),
    /// The control plane beside miniupnpd: adding, reading, listing and removing while the tables grow, memory,
    /// and when the first packet comes through.
    Control(Control),
    /// The packet path between interfaces of this box, by the kernel's pktgen, beside the same contestants. Says
    /// what it changes on the box, and puts it back.
    Pktgen(PktgenOptions),
    /// Two CPUs with a queue each, beside one.
    Cores {
        /// How often each number of CPUs has its turn.
        #[arg(long, default_value_t = 9)]
        rounds: u32,
    },
    /// TCP connections through the NAT, the kernel's routing and nftables.
    Tcp {
        /// How often each contestant has its turn.
        #[arg(long, default_value_t = 5)]
        rounds: u32,
    },
    /// New sessions beside nftables, also when ports are scarce, and the memory that each takes.
    Sessions {
        /// How often each contestant has its turn.
        #[arg(long, default_value_t = 9)]
        rounds: u32,
    },
}

#[derive(clap::Args)]
struct Data {
    /// How often each contestant has its turn.
    #[arg(long, default_value_t = 15)]
    rounds: u32,
    /// Without the million flows.
    #[arg(long)]
    quick: bool,
    /// Only the cases whose names have this in them, such as "1024 flows".
    #[arg(long, default_value = "")]
    only: String,
    /// Only these, by default all: ratios need the generator alone ("door") and the ceiling.
    #[arg(long, value_delimiter = ',')]
    contestants: Vec<Kind>,
    /// Compares with the figures in docs/performance.json, and fails when something got worse by more than
    /// chance explains: what the spread and the number of rounds of both runs leave open in one case of a hundred,
    /// and two fifths at least, since tables lie elsewhere in the memory of each run. Three rounds tell little; by
    /// default half as much again is found on a machine that is not too restless.
    #[arg(long)]
    check: bool,
    /// Writes the figures to docs/performance.json, and draws docs/performance.svg.
    #[arg(long, conflicts_with = "check")]
    save: bool,
}

#[derive(clap::Args)]
struct Control {
    /// How often each contestant has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Gives miniupnpd a minute and 1,000 mappings, and not an hour and 10,000.
    #[arg(long)]
    quick: bool,
    /// Compares with the figures in docs/performance-control.json, and fails when something got worse beside
    /// miniupnpd by more than chance explains, as in `bench data --check`, or a goal is met no more.
    #[arg(long)]
    check: bool,
    /// Writes the figures to docs/performance-control.json, and draws docs/performance-control.svg.
    #[arg(long, conflicts_with = "check")]
    save: bool,
}

/// Measures, and prints what it has found.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    steps::need_root("bench", "The benchmark makes network namespaces and loads BPF")?;
    match &args.what {
        What::Data(args) => data(workspace, args),
        What::Control(args) => control(workspace, args),
        What::Pktgen(options) => {
            let report = nat_bench::pktgen(options, &programs(workspace)?, steps::say)?;
            report.map_or(Ok(()), |report| tell(workspace, "pktgen", &report.table(), &report))
        }
        What::Cores { rounds } => {
            let report = nat_bench::cores(&programs(workspace)?, *rounds)?;
            tell(workspace, "cores", &report.table(), &report)
        }
        What::Tcp { rounds } => {
            build::release(workspace, &setup::ensure(workspace)?)?;
            let report = nat_bench::tcp(*rounds, steps::say)?;
            tell(workspace, "tcp", &report.table(), &report)
        }
        What::Sessions { rounds } => {
            let report = nat_bench::sessions(&programs(workspace)?, *rounds, steps::say)?;
            tell(workspace, "sessions", &report.table(), &report)
        }
    }
}

/// Builds what is measured and the benchmark's own programs; tells where those are.
fn programs(workspace: &Workspace) -> Result<PathBuf> {
    let toolchain = setup::ensure(workspace)?;
    build::release(workspace, &toolchain)?;
    build::bench(workspace, &toolchain)
}

fn data(workspace: &Workspace, args: &Data) -> Result<()> {
    let options = Options {
        object: programs(workspace)?,
        rounds: args.rounds,
        quick: args.quick,
        only: args.only.clone(),
        contestants: args.contestants.clone(),
    };
    let report = nat_bench::data(&options, steps::say)?;
    println!("{}", report.table());
    let folder = workspace.root().join("target/bench");
    let draw = |file: &Path| nat_bench::curve(&report, file);
    write(&report, draw, &folder.join("data"))?;
    let baseline = workspace.root().join("docs/performance");
    if args.save {
        write(&report, draw, &baseline)?;
    }
    if args.check {
        check(&baseline, |before| report.beside(&before))?;
    }
    Ok(())
}

/// Judges a run beside the one that was saved as `name`.
fn check<R: serde::de::DeserializeOwned>(
    name: &Path,
    beside: impl FnOnce(R) -> Comparison,
) -> Result<()> {
    let json = name.with_extension("json");
    let json = json.display();
    let before = fs::read(name.with_extension("json"))
        .with_context(|| format!("cannot read {json}: --save makes it"))?;
    let comparison = beside(serde_json::from_slice(&before)?);
    for what in &comparison.left_out {
        steps::alert(&format!("not compared: {what}"));
    }
    if !comparison.worse.is_empty() {
        bail!("worse than {json}:\n{}", comparison.worse.join("\n"));
    }
    ensure!(comparison.compared > 0, "nothing could be compared with {json}");
    let compared = comparison.compared;
    steps::say(&format!("Nothing of {compared} figures got worse by more than chance explains"));
    Ok(())
}

fn control(workspace: &Workspace, args: &Control) -> Result<()> {
    let toolchain = setup::ensure_contenders(workspace)?;
    build::release(workspace, &toolchain)?;
    let options = ControlOptions { rounds: args.rounds, quick: args.quick };
    let report = nat_bench::control(&options, steps::say)?;
    println!("{}", report.table());
    let draw = |file: &Path| nat_bench::adds(&report, file);
    write(&report, draw, &workspace.root().join("target/bench/control"))?;
    let baseline = workspace.root().join("docs/performance-control");
    if args.save {
        write(&report, draw, &baseline)?;
    }
    if args.check {
        check(&baseline, |before| report.beside(&before))?;
    }
    Ok(())
}

/// Prints a table, and leaves the report beside the others.
fn tell(
    workspace: &Workspace,
    name: &str,
    table: &str,
    report: &impl serde::Serialize,
) -> Result<()> {
    println!("{table}");
    let file = workspace.root().join("target/bench").join(name).with_extension("json");
    write_json(report, &file)?;
    steps::say(&format!("Wrote {}", file.display()));
    Ok(())
}

/// Writes a report to `name` with `.json`, and has it drawn to the same with `.svg`.
fn write(
    report: &impl serde::Serialize,
    draw: impl Fn(&Path) -> Result<()>,
    name: &Path,
) -> Result<()> {
    let (json, svg) = (name.with_extension("json"), name.with_extension("svg"));
    write_json(report, &json)?;
    draw(&svg)?;
    steps::say(&format!("Wrote {} and {}", json.display(), svg.display()));
    Ok(())
}

fn write_json(report: &impl serde::Serialize, file: &Path) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, serde_json::to_vec_pretty(report)?)
        .with_context(|| format!("cannot write {}", file.display()))
}
