//! bpf-linker. It reads the bitcode that rustc writes, so that its LLVM must be the compiler's.

use crate::steps;
use crate::workspace::Workspace;
use anyhow::{Context as _, Result, bail};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The bpf-linker that is built when none is found; its features name the LLVM to build it for.
pub(crate) const CRATE_VERSION: &str = "0.13.0";

/// A bpf-linker whose LLVM is the compiler's.
pub(crate) struct Linker {
    pub(crate) path: PathBuf,
}

impl Linker {
    /// Looks on `PATH` and among the tools that were built for this checkout.
    pub(crate) fn find(workspace: &Workspace, llvm: u32) -> Option<Self> {
        let built = folder(workspace, llvm).join("bin/bpf-linker");
        let mut places = steps::on_path("bpf-linker");
        places.push(built);
        let scratch = workspace.tools();
        let path = places.into_iter().find(|path| llvm_of(path, &scratch) == Some(llvm))?;
        Some(Self { path })
    }

    /// Builds one with the LLVM that is installed.
    ///
    /// # Errors
    /// When that LLVM is not there or the build fails.
    pub(crate) fn build(workspace: &Workspace, llvm: u32) -> Result<Self> {
        let prefix = llvm_prefix(llvm);
        if !prefix.join("bin/llvm-config").exists() {
            bail!(
                "no bpf-linker for LLVM {llvm}, and no LLVM {llvm} in {} to build it with: \
                 `cargo xtask setup` gets it",
                prefix.display()
            );
        }
        steps::say(&format!("Building bpf-linker for LLVM {llvm}, once"));
        let root = folder(workspace, llvm);
        let mut cargo = workspace.cargo_for_tools();
        cargo
            .env("LLVM_PREFIX", prefix)
            .args(["install", "bpf-linker", "--version", CRATE_VERSION, "--locked", "--force"])
            .args(["--no-default-features", "--features", &format!("llvm-{llvm}"), "--root"])
            .arg(root);
        steps::run(&mut cargo)
            .with_context(|| format!("bpf-linker {CRATE_VERSION} for LLVM {llvm}"))?;
        Self::find(workspace, llvm)
            .with_context(|| format!("the bpf-linker just built does not have LLVM {llvm}"))
    }
}

fn folder(workspace: &Workspace, llvm: u32) -> PathBuf {
    workspace.tools().join(format!("bpf-linker-llvm{llvm}"))
}

/// Where LLVM lies: `LLVM_PREFIX`, or Debian's place.
pub(crate) fn llvm_prefix(llvm: u32) -> PathBuf {
    let set = env::var_os("LLVM_PREFIX").map(PathBuf::from);
    set.unwrap_or_else(|| PathBuf::from(format!("/usr/lib/llvm-{llvm}")))
}

/// Major version of a bpf-linker's LLVM; `None` when it is no bpf-linker, or cannot start since its
/// LLVM is gone.
fn llvm_of(linker: &Path, scratch: &Path) -> Option<u32> {
    // LLVM's own option parser answers and exits before anything is linked. Should it ever not, the
    // output goes to a place of ours.
    let output = scratch.join("never-linked.o");
    let answer = steps::ask(
        Command::new(linker).arg("--llvm-args=--version").arg("-o").arg(output).arg("/dev/null"),
    )?;
    parse_llvm(&answer)
}

/// Reads LLVM's answer to `--version`.
pub(super) fn parse_llvm(answer: &str) -> Option<u32> {
    let (_, version) = answer.split_once("LLVM version ")?;
    version.split('.').next()?.parse().ok()
}
