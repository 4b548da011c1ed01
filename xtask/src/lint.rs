//! `cargo xtask lint`: everything that reads the code without running it.

use crate::toolchain::{BENCH, NAT, Toolchain};
use crate::workspace::Workspace;
use crate::{setup, steps};
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// Not `--all-features`: `nat-ebpf/xdp` is for the BPF targets.
const FEATURES: [&str; 2] = ["--features", "nat-ebpf/host,nat-common/user"];

/// The cargo-deny that is built when none is on `PATH`.
const CARGO_DENY: &str = "0.20.2";

/// Checks formatting, host code, BPF code, documentation and dependencies, in this order.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    steps::run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    clippy(workspace)?;
    xdp(workspace, &setup::ensure_toolchain(workspace)?)?;
    steps::run(
        workspace
            .cargo()
            .env("RUSTDOCFLAGS", "-Dwarnings")
            .args(["doc", "--workspace", "--no-deps"])
            .args(FEATURES),
    )?;
    dependencies(workspace)
}

fn clippy(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["clippy", "--workspace", "--all-targets"]).args(FEATURES);
    steps::run(cargo.args(["--", "-Dwarnings"]))
}

/// The XDP programs: rustc's warnings with the compiler that builds them, which often comes without
/// clippy; and clippy as if the host were their target.
fn xdp(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let target_dir = workspace.xdp_target_dir("xdp-lint");
    for object in [NAT, BENCH] {
        let flags = &["-Dwarnings"];
        steps::run(&mut toolchain.cargo(workspace, object, "check", &target_dir, flags))?;
        steps::run(
            workspace
                .cargo()
                .env("RUSTC_BOOTSTRAP", "1")
                .args(["clippy", "--package", object.package, "--bin", object.bin])
                .args(["--features", "xdp", "--profile", "xdp", "--target-dir"])
                .arg(&target_dir)
                .args(["--", "-Dwarnings"]),
        )?;
    }
    Ok(())
}

/// Licences, sources and doubles of every dependency, by `deny.toml`; known vulnerabilities where
/// their database can be had.
fn dependencies(workspace: &Workspace) -> Result<()> {
    let cargo_deny = cargo_deny(workspace)?;
    let deny = || {
        let mut command = Command::new(&cargo_deny);
        command.current_dir(workspace.root());
        command
    };
    steps::run(deny().args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))?;
    if let Err(why) = steps::run(deny().args(["fetch", "db"])) {
        steps::alert(&format!(
            "SKIPPED: known vulnerabilities of the dependencies were not checked, since the \
             advisory database cannot be fetched ({why:#})"
        ));
        return Ok(());
    }
    steps::run(deny().args(["check", "advisories"]))
}

fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.tools().join("cargo-deny");
    let built = root.join("bin/cargo-deny");
    if let Some(found) = steps::on_path("cargo-deny").into_iter().next() {
        return Ok(found);
    }
    if !steps::is_program(&built) {
        steps::say("Building cargo-deny, once");
        let mut cargo = workspace.cargo_for_tools();
        cargo.args(["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--root"]);
        steps::run(cargo.arg(&root)).context("cannot build cargo-deny")?;
    }
    if !steps::is_program(&built) {
        bail!("cargo install left no {}", built.display());
    }
    Ok(built)
}
