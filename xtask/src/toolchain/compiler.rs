//! Which compiler can build the XDP program.

use super::{TARGET, environment};
use std::fmt;
use std::path::PathBuf;
use std::process::Command;

/// What `rustc -vV` says that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RustcVersion {
    /// Major and minor number of the release.
    pub(crate) release: (u32, u32),
    /// Major version of its LLVM.
    pub(crate) llvm: u32,
}

impl RustcVersion {
    /// Reads the output of `rustc -vV`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
        let release = parse_release(field("release: ")?)?;
        let llvm = field("LLVM version: ")?.split('.').next()?.trim().parse().ok()?;
        Some(Self { release, llvm })
    }
}

/// Major and minor number of a version such as `1.95` or `1.98.0-nightly`.
pub(super) fn parse_release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Where `core` for the BPF target comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// Compiled, in the toolchain (Debian's `libstd-rust-web-dev-bpf`).
    Compiled,
    /// Its source is in the toolchain (rustup's `rust-src`): cargo compiles it.
    Source,
    /// The toolchain has neither.
    Absent,
}

/// A `rustc`, as a look at it shows.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) rustc: PathBuf,
    /// The cargo of the same toolchain.
    pub(crate) cargo: Option<PathBuf>,
    /// `None`: it does not run, or says nothing that we understand.
    pub(crate) version: Option<RustcVersion>,
    pub(crate) core: Core,
}

/// A compiler for the XDP program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    pub(crate) version: RustcVersion,
    pub(crate) core: Core,
}

impl Compiler {
    /// This toolchain's cargo, with nothing of the one that runs xtask.
    pub(super) fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        environment::scrub(&mut command);
        // aya-ebpf needs one unstable feature, and so does `-Z build-std`.
        command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", &self.rustc);
        command
    }
}

/// The first candidate that has `core` compiled, else the first that has its source.
///
/// # Errors
/// When there is none: what was wrong with each.
pub(super) fn choose(candidates: &[Candidate], oldest: (u32, u32)) -> Result<Compiler, NoCompiler> {
    let mut usable = Vec::new();
    let mut rejected = Vec::new();
    for candidate in candidates {
        match judge(candidate, oldest) {
            Ok(compiler) => usable.push(compiler),
            Err(reason) => rejected.push((candidate.rustc.clone(), reason)),
        }
    }
    let compiled = usable.iter().position(|compiler| compiler.core == Core::Compiled);
    match usable.into_iter().nth(compiled.unwrap_or(0)) {
        Some(compiler) => Ok(compiler),
        None => Err(NoCompiler { rejected }),
    }
}

fn judge(candidate: &Candidate, oldest: (u32, u32)) -> Result<Compiler, String> {
    let version = candidate.version.ok_or("`rustc -vV` says nothing that we understand")?;
    if version.release < oldest {
        let (major, minor) = version.release;
        return Err(format!("is {major}.{minor}; {}.{} is needed", oldest.0, oldest.1));
    }
    if candidate.core == Core::Absent {
        return Err(format!("has neither `core` for {TARGET} nor its source"));
    }
    let cargo = candidate.cargo.clone().ok_or("has no cargo beside it")?;
    Ok(Compiler { rustc: candidate.rustc.clone(), cargo, version, core: candidate.core })
}

/// No compiler on this machine can build the XDP program.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct NoCompiler {
    /// What was looked at, and why it will not do.
    pub(crate) rejected: Vec<(PathBuf, String)>,
}

impl fmt::Display for NoCompiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no rustc here can compile for {TARGET} (`cargo xtask setup` gets one)")?;
        for (rustc, reason) in &self.rejected {
            write!(f, "\n  {}: {reason}", rustc.display())?;
        }
        Ok(())
    }
}
