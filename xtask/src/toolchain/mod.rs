//! The tools that compile the XDP program. They are found, not pinned: any `rustc` that has `core`
//! for the BPF target or its source, and the bpf-linker of that compiler's LLVM.

mod compiler;
mod environment;
mod linker;
mod machine;

#[cfg(test)]
mod tests;

pub(crate) use compiler::Compiler;
pub(crate) use linker::{CRATE_VERSION as LINKER_VERSION, Linker, llvm_prefix};
pub(crate) use machine::find_compiler;

use crate::workspace::Workspace;
use anyhow::Result;
use compiler::Core;
use std::path::Path;
use std::process::Command;

/// The BPF target of this machine's byte order.
pub(crate) const TARGET: &str =
    if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// `v3` has the atomics that return the old value, and compare-and-exchange. rustc hands it on to
/// bpf-linker as `--cpu`.
const CPU: &str = "v3";

/// A command for a program of another toolchain than the one that runs xtask.
pub(crate) fn clean_command(program: &str) -> Command {
    let mut command = Command::new(program);
    environment::scrub(&mut command);
    command
}

/// Compiler and linker for the XDP program.
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: Linker,
}

/// An object file for the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object {
    pub(crate) package: &'static str,
    pub(crate) bin: &'static str,
}

/// The NAT's programs.
pub(crate) const NAT: Object = Object { package: "nat-ebpf", bin: "nat-xdp" };

/// The benchmark's.
pub(crate) const BENCH: Object = Object { package: "nat-bench-programs", bin: "nat-bench-xdp" };

impl Toolchain {
    /// Finds the compiler, and finds the linker or builds it.
    ///
    /// # Errors
    /// When there is no usable compiler, or no linker and no LLVM to build it with.
    pub(crate) fn find(workspace: &Workspace) -> Result<Self> {
        let compiler = find_compiler()?;
        let llvm = compiler.version.llvm;
        let linker = match Linker::find(workspace, llvm) {
            Some(linker) => linker,
            None => Linker::build(workspace, llvm)?,
        };
        Ok(Self { compiler, linker })
    }

    /// Cargo with this compiler and linker, for one object. `flags` are rustc's, added to those that
    /// all of them need.
    pub(crate) fn cargo(
        &self,
        workspace: &Workspace,
        object: Object,
        verb: &str,
        target_dir: &Path,
        flags: &[&str],
    ) -> Command {
        let always = [&format!("-Ctarget-cpu={CPU}") as &str, "-Cdebuginfo=2", "-Clink-arg=--btf"];
        let linker = format!("CARGO_TARGET_{}_LINKER", TARGET.to_uppercase().replace('-', "_"));
        let mut command = self.compiler.cargo();
        command
            .current_dir(workspace.root())
            .env(linker, &self.linker.path)
            .env("RUSTFLAGS", [&always, flags].concat().join(" "));
        command
            .args([verb, "--package", object.package, "--bin", object.bin, "--features", "xdp"])
            .args(["--profile", "xdp", "--target", TARGET, "--target-dir"])
            .arg(target_dir);
        if self.compiler.core == Core::Source {
            command.args(["-Z", "build-std=core"]);
        }
        command
    }
}
