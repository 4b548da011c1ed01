//! `cargo xtask demo`: a UPnP client opens a port through the NAT, in a lab of namespaces.

use crate::workspace::Workspace;
use crate::{build, setup, steps};
use anyhow::Result;

/// Options of `cargo xtask demo`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Leave the lab up, and print how to enter it and how to take it down.
    #[arg(long)]
    keep: bool,
}

/// Sets up, builds and plays the demo.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let again = if args.keep { "demo --keep" } else { "demo" };
    steps::need_root(again, "The demo makes network namespaces and loads BPF, which needs root")?;
    let toolchain = setup::ensure(workspace)?;
    let daemon = build::release(workspace, &toolchain)?;
    nat_tests::demo::run(args.keep, &daemon)
}
