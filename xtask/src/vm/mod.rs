//! `cargo xtask vm`: the tests on another kernel, in a virtual machine.
//!
//! Debian's kernel boots in QEMU, emulated in software, from an archive with the test programs, the
//! daemon and the tools of the lab. The guest has no disk and no network, and nothing of it stays.
//! `cargo xtask vm pktgen` runs a benchmark there, with what that kernel has and others may lack.

mod image;
mod kernel;
mod modules;
mod pktgen;
mod plan;
mod programs;
mod run;

use crate::workspace::Workspace;
use crate::{build, setup, steps, test};
use anyhow::{Result, bail};
use image::Image;
use kernel::Kernel;
use run::Machine;
use std::path::Path;

/// The oldest kernels that the gateway is tested on: Debian 12's.
const SERIES: &str = "6.1";
/// Time enough for the smoke tests on a busy machine.
const SECONDS: u64 = 1_500;

/// Options of `cargo xtask vm`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// A shell in the guest instead of tests.
    #[arg(long)]
    shell: bool,
    /// The series of Debian's kernels to boot.
    #[arg(long, default_value = SERIES)]
    kernel: String,
    /// How long the tests may take altogether.
    #[arg(long, default_value_t = SECONDS)]
    seconds: u64,
    /// Names of test programs, or filters and other arguments for them.
    #[arg(last = true)]
    tests: Vec<String>,
}

#[derive(clap::Subcommand)]
enum What {
    /// The packet path beside the XDP ceiling, and the kernel's routing, nftables and flowtable, by pktgen over
    /// virtual links. Emulated: only ratios mean something.
    Pktgen(pktgen::Args),
}

impl Default for Args {
    fn default() -> Self {
        let (kernel, seconds) = (SERIES.to_owned(), SECONDS);
        Self { what: None, shell: false, kernel, seconds, tests: Vec::new() }
    }
}

/// The guest's first process, which runs one of the scripts below.
const INIT: &str = include_str!("guest/init.sh");
const TESTS: &str = include_str!("guest/tests.sh");
const SHELL: &str = include_str!("guest/shell.sh");

/// Of the lab's tools, what the guest goes without. `python3` would need a library of modules, and
/// `xmllint` brings tables of characters that are larger than all the rest; what runs them is no matter
/// of the kernel's.
const LEFT_OUT: [&str; 2] = ["python3", "xmllint"];

/// Sets up, builds, boots and tests. The count comes last.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if let Some(What::Pktgen(args)) = &args.what {
        return pktgen::run(workspace, args);
    }
    let toolchain = setup::ensure_vm(workspace)?;
    let kernel = Kernel::find(workspace, &args.kernel)?;
    let daemon = build::release(workspace, &toolchain)?;
    let programs = programs::build(workspace)?;

    let folder = workspace.root().join("target/vm");
    let image = image(workspace, &kernel, &daemon)?;
    for program in &programs {
        image.program(&program.file, &format!("vm/tests/{}", program.name))?;
    }
    let machine = Machine { kernel: &kernel, archive: &folder.join("image.cpio") };
    if args.shell {
        image.text(SHELL, "vm/work")?;
        image.pack(machine.archive)?;
        return machine.shell();
    }
    let runs = plan::plan(&programs, &args.tests, programs::Program::has)?;
    image.text(&plan::lines(&runs), "vm/plan")?;
    image.text(TESTS, "vm/work")?;
    image.pack(machine.archive)?;
    tests(&machine, args.seconds)
}

/// What every guest has: modules, the lab's tools, and the daemon.
fn image(workspace: &Workspace, kernel: &Kernel, daemon: &Path) -> Result<Image> {
    let image = Image::new(workspace.root().join("target/vm/root"))?;
    image.modules(kernel)?;
    for tool in setup::lab_tools().filter(|tool| !LEFT_OUT.contains(tool)).chain(["tc"]) {
        image.tool(tool)?;
    }
    image.program(daemon, "vm/igd-control")?;
    image.file(&workspace.xdp_object(), "vm/nat-xdp.o")?;
    image.text(INIT, "init")?;
    Ok(image)
}

fn tests(machine: &Machine<'_>, seconds: u64) -> Result<()> {
    let release = &machine.kernel.release;
    steps::say(&format!("Booting Linux {release}"));
    let (status, printed) = machine.work(seconds)?;
    println!("\nLinux {release}: {}", test::count(&printed));
    if status != 0 {
        bail!("tests failed on Linux {release}");
    }
    Ok(())
}
