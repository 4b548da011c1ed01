//! `cargo xtask demo`: a UPnP client opens a port through the NAT, in a lab of namespaces.

use crate::workspace::Workspace;
use crate::{build, setup, steps};
use anyhow::Result;
use nat_tests::client::independent::Client;

/// Options of `cargo xtask demo`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Leave the lab up, and print how to enter it and how to take it down.
    #[arg(long)]
    keep: bool,
    /// Show a gateway that is itself beneath another NAT, with miniupnpd as that one's PCP server.
    #[arg(long, conflicts_with = "keep")]
    double_nat: bool,
}

/// Sets up, builds and plays the demo.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let again = match args {
        Args { keep: true, .. } => "demo --keep",
        Args { double_nat: true, .. } => "demo --double-nat",
        _ => "demo",
    };
    steps::need_root(again, "The demo makes network namespaces and loads BPF, which needs root")?;
    let toolchain = setup::ensure(workspace)?;
    let daemon = build::release(workspace, &toolchain)?;
    if args.double_nat {
        setup::clients::ensure_one(Client::Miniupnpd);
        return nat_tests::demo::run_beneath_carrier(&daemon);
    }
    nat_tests::demo::run(args.keep, &daemon)
}
