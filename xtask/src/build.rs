//! `cargo xtask build`: the XDP program, then the daemon that embeds it.

use crate::slim::without_dwarf;
use crate::steps;
use crate::toolchain::{BENCH, NAT, Object, TARGET, Toolchain};
use crate::workspace::Workspace;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Options of `cargo xtask build`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build the daemon without optimisation, into target/debug. The XDP program is always
    /// optimised: the kernel takes no other.
    #[arg(long)]
    debug: bool,
}

/// Builds, and prints where the daemon lies.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let toolchain = Toolchain::find(workspace)?;
    xdp(workspace, &toolchain)?;
    let daemon = daemon(workspace, if args.debug { "debug" } else { "release" })?;
    steps::say(&format!("Built {}", daemon.display()));
    Ok(())
}

/// Builds both; returns the daemon's path.
pub(crate) fn release(workspace: &Workspace, toolchain: &Toolchain) -> Result<PathBuf> {
    xdp(workspace, toolchain)?;
    daemon(workspace, "release")
}

/// Builds the benchmark's programs; returns their object file.
pub(crate) fn bench(workspace: &Workspace, toolchain: &Toolchain) -> Result<PathBuf> {
    object(workspace, toolchain, BENCH)
}

fn xdp(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let built = object(workspace, toolchain, NAT)?;
    let object = workspace.xdp_object();
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    write_if_changed(&without_dwarf(&bytes)?, &object)
        .with_context(|| format!("cannot write {}", object.display()))
}

fn object(workspace: &Workspace, toolchain: &Toolchain, object: Object) -> Result<PathBuf> {
    let target_dir = workspace.xdp_target_dir("xdp-build");
    steps::run(&mut toolchain.cargo(workspace, object, "build", &target_dir, &[]))?;
    Ok(target_dir.join(TARGET).join("xdp").join(object.bin))
}

fn daemon(workspace: &Workspace, profile: &str) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "igd-control"]);
    if profile == "release" {
        cargo.arg("--release");
    }
    steps::run(&mut cargo)?;
    Ok(workspace.daemon(profile))
}

/// Leaves an equal file alone, so that nothing which embeds it is built again.
fn write_if_changed(bytes: &[u8], to: &Path) -> std::io::Result<()> {
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    // Whole or not at all: a build that embeds it may run at the same time.
    let new = to.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(new, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_object_keeps_its_time() {
        let folder = std::env::temp_dir().join(format!("xtask-write-{}", std::process::id()));
        let to = folder.join("xdp/nat-xdp.o");
        write_if_changed(b"one", &to).unwrap();
        let old = std::time::UNIX_EPOCH;
        fs::File::options().append(true).open(&to).unwrap().set_modified(old).unwrap();

        write_if_changed(b"one", &to).unwrap();
        assert_eq!(to.metadata().unwrap().modified().unwrap(), old);

        write_if_changed(b"two", &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"two");
        fs::remove_dir_all(&folder).unwrap();
    }
}
