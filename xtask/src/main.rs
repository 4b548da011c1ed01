//! The project's own commands: `cargo xtask <verb>`, one file per verb.
//!
//! [`toolchain`] finds the compiler and the linker for the XDP program; [`steps`] runs other
//! programs and prints each before it runs.

#![expect(clippy::print_stdout, reason = "what a verb was asked for goes to standard output")]

mod bench;
mod build;
mod ci;
mod demo;
mod fuzz;
mod lint;
mod setup;
mod slim;
mod steps;
mod test;
mod toolchain;
mod vm;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use workspace::Workspace;

/// Builds, tests and shows the NAT.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Installs what the other verbs need; where it cannot, prints the commands and fails.
    Setup(setup::Args),
    /// Compiles the XDP program and the daemon that embeds it.
    Build(build::Args),
    /// Opens a port through the NAT in a lab of network namespaces. Needs root.
    Demo(demo::Args),
    /// Measures the packet path beside what it is compared with. Needs root.
    Bench(bench::Args),
    /// Runs every test. Needs root.
    Test(test::Args),
    /// Looks for inputs that break the parsers or the packet path, with libFuzzer.
    Fuzz(fuzz::Args),
    /// Runs packet rows and tests of the whole gateway on an older kernel, in a virtual machine.
    Vm(vm::Args),
    /// Checks formatting, lints, documentation, licences and advisories.
    Lint,
    /// Runs setup, lint, test, vm and demo, and tells how long each took. Needs root.
    Ci,
}

fn main() -> ExitCode {
    let verb = Cli::parse().verb;
    let done = Workspace::find().and_then(|workspace| match verb {
        Verb::Setup(args) => setup::run(&workspace, &args),
        Verb::Build(args) => build::run(&workspace, &args),
        Verb::Demo(args) => demo::run(&workspace, &args),
        Verb::Bench(args) => bench::run(&workspace, &args),
        Verb::Test(args) => test::run(&workspace, &args),
        Verb::Fuzz(args) => fuzz::run(&workspace, &args),
        Verb::Vm(args) => vm::run(&workspace, &args),
        Verb::Lint => lint::run(&workspace),
        Verb::Ci => ci::run(&workspace),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            steps::alert(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
