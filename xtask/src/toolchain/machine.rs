//! The compilers that this machine has.

use super::compiler::{Candidate, Compiler, Core, NoCompiler, RustcVersion, choose, parse_release};
use super::{TARGET, environment};
use crate::steps;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the one `rustc` to use.
const OVERRIDE: &str = "IGD_BPF_RUSTC";

/// Looks at the machine's compilers and takes the best one.
///
/// # Errors
/// When none will do.
pub(crate) fn find_compiler() -> Result<Compiler, NoCompiler> {
    let oldest = parse_release(env!("CARGO_PKG_RUST_VERSION")).unwrap_or_default();
    let mut candidates: Vec<Candidate> = Vec::new();
    for rustc in places() {
        let candidate = look_at(&rustc);
        if !candidates.iter().any(|known| known.rustc == candidate.rustc) {
            candidates.push(candidate);
        }
    }
    choose(&candidates, oldest)
}

fn places() -> Vec<PathBuf> {
    if let Some(only) = env::var_os(OVERRIDE) {
        return vec![only.into()];
    }
    let mut places = steps::on_path("rustc");
    let system = ["/usr/bin/rustc", "/usr/local/bin/rustc"].map(PathBuf::from);
    places.extend(system.into_iter().filter(|rustc| steps::is_program(rustc)));
    places.extend(rustup_nightly());
    places
}

/// Rustup's nightly, if it is installed; asking must not install it.
fn rustup_nightly() -> Option<PathBuf> {
    let mut rustup = Command::new("rustup");
    environment::scrub(&mut rustup);
    rustup.env("RUSTUP_AUTO_INSTALL", "0").args(["which", "--toolchain", "nightly", "rustc"]);
    steps::ask(&mut rustup).map(|path| PathBuf::from(path.trim()))
}

fn look_at(rustc: &Path) -> Candidate {
    // A file on PATH may be rustup's proxy; the sysroot leads to the compiler itself.
    let sysroot = question(rustc, &["--print", "sysroot"]).map(|path| PathBuf::from(path.trim()));
    let inside = sysroot.as_ref().map(|sysroot| sysroot.join("bin/rustc"));
    let rustc = inside.filter(|file| steps::is_program(file)).unwrap_or_else(|| rustc.to_owned());
    let cargo = rustc.parent().map(|folder| folder.join("cargo"));
    Candidate {
        cargo: cargo.filter(|file| steps::is_program(file)),
        version: question(&rustc, &["-vV"]).and_then(|text| RustcVersion::parse(&text)),
        core: sysroot.map_or(Core::Absent, |sysroot| core_in(&sysroot)),
        rustc,
    }
}

fn question(rustc: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(rustc);
    environment::scrub(&mut command);
    steps::ask(command.env("RUSTUP_AUTO_INSTALL", "0").args(arguments))
}

fn core_in(sysroot: &Path) -> Core {
    let rustlib = sysroot.join("lib/rustlib");
    let is_core = |name: &str| name.starts_with("libcore-") && name.ends_with(".rlib");
    let compiled = rustlib.join(TARGET).join("lib").read_dir().is_ok_and(|files| {
        files.flatten().any(|file| file.file_name().to_str().is_some_and(is_core))
    });
    if compiled {
        Core::Compiled
    } else if rustlib.join("src/rust/library/core/src/lib.rs").is_file() {
        Core::Source
    } else {
        Core::Absent
    }
}
