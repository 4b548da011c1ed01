//! What fuzzing needs beside the workspace: a nightly compiler, for its sanitizers; a C++ compiler,
//! for libFuzzer; and cargo-fuzz.

use crate::steps;
use crate::toolchain::clean_command;
use crate::workspace::Workspace;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};

/// The cargo-fuzz that is built when none is on `PATH`.
const CARGO_FUZZ: &str = "0.13.2";

/// The C++ compiler that libfuzzer-sys is built with unless `CXX` names another.
const CXX: &str = "c++";

/// Everything that is needed.
#[derive(Debug)]
pub(super) struct Tools {
    cargo_fuzz: PathBuf,
    /// The nightly's own target.
    host: String,
}

/// What is missing and cannot be built from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) nightly: bool,
    pub(super) cxx: bool,
}

impl Tools {
    /// Finds them; builds cargo-fuzz when it is not there.
    ///
    /// # Errors
    /// A compiler is missing; the message says how to get it.
    pub(super) fn find(workspace: &Workspace) -> Result<Self> {
        let host = nightly_host();
        let cxx = std::env::var_os("CXX").is_some() || !steps::on_path(CXX).is_empty();
        let lack = Lack { nightly: host.is_none(), cxx: !cxx };
        match host {
            Some(host) if lack == Lack::default() => {
                Ok(Self { cargo_fuzz: cargo_fuzz(workspace)?, host })
            }
            _ => bail!("{}", lack.hint(steps::is_root())),
        }
    }

    /// Builds all targets; returns the folder with their binaries.
    pub(super) fn build(&self, workspace: &Workspace, package: &Path) -> Result<PathBuf> {
        let target_dir = workspace.root().join("target/fuzz-build");
        let mut command = clean_command("rustup");
        command
            .current_dir(workspace.root())
            .env("RUSTUP_AUTO_INSTALL", "0")
            .args(["run", "nightly"])
            .arg(&self.cargo_fuzz)
            .args(["fuzz", "build", "--target", &self.host, "--fuzz-dir"])
            .arg(package)
            .arg("--target-dir")
            .arg(&target_dir);
        steps::run(&mut command)?;
        Ok(target_dir.join(&self.host).join("release"))
    }
}

impl Lack {
    /// What is missing, and the commands that get it.
    pub(super) fn hint(self, root: bool) -> String {
        let mut text = String::from("fuzzing needs more than the other verbs. To get it:\n");
        if self.nightly {
            text.push_str("\n    rustup toolchain install nightly --profile minimal");
        }
        if self.cxx {
            let sudo = if root { "" } else { "sudo " };
            text.push_str(&format!(
                "\n    {sudo}apt-get install g++    # or another C++ compiler, named by CXX"
            ));
        }
        text.push('\n');
        text
    }
}

/// The nightly's target, if rustup has one; asking must not install it.
fn nightly_host() -> Option<String> {
    let mut rustc = clean_command("rustup");
    rustc.env("RUSTUP_AUTO_INSTALL", "0").args(["run", "nightly", "rustc", "-vV"]);
    parse_host(&steps::ask(&mut rustc)?)
}

/// Reads `rustc -vV`.
pub(super) fn parse_host(about: &str) -> Option<String> {
    about.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

fn cargo_fuzz(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(found) = steps::on_path("cargo-fuzz").into_iter().next() {
        return Ok(found);
    }
    let root = workspace.tools().join("cargo-fuzz");
    let built = root.join("bin/cargo-fuzz");
    if !steps::is_program(&built) {
        steps::say("Building cargo-fuzz, once");
        let mut cargo = workspace.cargo_for_tools();
        cargo.args(["install", "cargo-fuzz", "--version", CARGO_FUZZ, "--locked", "--root"]);
        steps::run(cargo.arg(&root)).context("cannot build cargo-fuzz")?;
    }
    if !steps::is_program(&built) {
        bail!("cargo install left no {}", built.display());
    }
    Ok(built)
}
