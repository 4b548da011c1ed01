//! `cargo xtask fuzz`: libFuzzer looks for inputs that break a target.
//!
//! What it finds worth keeping goes to `target/fuzz-corpus`, so that the next run goes on from
//! there; the committed inputs are only read. An input that breaks a target is copied among those:
//! from then on every test run replays it.

mod artifacts;
mod tools;

#[cfg(test)]
mod tests;

use crate::steps;
use crate::workspace::Workspace;
use anyhow::{Context as _, Result, bail};
use artifacts::Artifacts;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tools::Tools;

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this target; without it all of them, one after another.
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Runs the targets, all of them even if one breaks.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let folder = workspace.root().join("tests/fuzz");
    let targets = chosen(targets(&folder)?, args.target.as_deref())?;
    let programs = Tools::find(workspace)?.build(workspace, &folder.join("libfuzzer"))?;
    let mut broken = Vec::new();
    for target in targets {
        let fuzzing = Fuzzing {
            program: programs.join(&target),
            found: workspace.root().join("target/fuzz-corpus").join(&target),
            artifacts: Artifacts::new(workspace.root().join("target/fuzz-artifacts").join(&target)),
            committed: folder.join("corpus").join(&target),
            name: target,
        };
        if let Err(error) = fuzzing.run(args.seconds) {
            steps::alert(&format!("{}: {error:#}", fuzzing.name));
            broken.push(fuzzing.name);
        }
    }
    if !broken.is_empty() {
        bail!("broken: {}", broken.join(", "));
    }
    Ok(())
}

/// The names of all targets, by their files.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("libfuzzer/fuzz_targets");
    let entries = folder.read_dir().with_context(|| folder.display().to_string())?;
    let mut names: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// All targets, or the one that was asked for.
fn chosen(all: Vec<String>, wanted: Option<&str>) -> Result<Vec<String>> {
    match wanted {
        None => Ok(all),
        Some(name) if all.iter().any(|known| known == name) => Ok(vec![name.to_owned()]),
        Some(name) => bail!("there is no target {name}; there are: {}", all.join(", ")),
    }
}

/// One target.
struct Fuzzing {
    name: String,
    /// Its binary.
    program: PathBuf,
    /// Where new inputs go.
    found: PathBuf,
    /// The committed inputs.
    committed: PathBuf,
    /// Where libFuzzer leaves what broke the target.
    artifacts: Artifacts,
}

impl Fuzzing {
    fn run(&self, seconds: u32) -> Result<()> {
        fs::create_dir_all(&self.found).with_context(|| self.found.display().to_string())?;
        self.artifacts.clear()?;
        let Err(failure) = steps::run(&mut self.command(seconds)) else {
            return Ok(());
        };
        let broke = self.artifacts.list()?;
        if broke.is_empty() {
            return Err(failure);
        }
        let mut told = String::from("broken by");
        for artifact in broke {
            let kept = artifact.keep(&self.committed)?;
            told.push_str(&format!("\n    {}", kept.display()));
        }
        bail!("{told}\nTo replay:\n    {REPLAY}");
    }

    /// libFuzzer writes new inputs into the first folder, and only reads the second.
    fn command(&self, seconds: u32) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", self.artifacts.folder().display()))
            .arg(format!("-timeout={INPUT_SECONDS}"))
            .args(["-print_final_stats=1", "-print_funcs=0", "-verbosity=0"])
            .arg(&self.found)
            .arg(&self.committed);
        command
    }
}

/// An input that takes longer, in seconds, is a fault: most take less than a millisecond.
const INPUT_SECONDS: u32 = 20;

/// Replays what is committed, without libFuzzer.
const REPLAY: &str = "cargo test --package nat-fuzz";
