//! `cargo xtask test`: every test of the workspace.

use crate::workspace::Workspace;
use crate::{build, setup, steps};
use anyhow::{Context as _, Result, bail};
use nat_tests::lab::Feature;
use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// Options of `cargo xtask test`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Run only the tests that need neither root, nor BPF, nor network namespaces.
    #[arg(long)]
    unprivileged: bool,
    /// Arguments for the test runner, such as a filter.
    #[arg(last = true)]
    runner: Vec<String>,
}

/// The package whose tests load BPF programs and make network namespaces.
const PRIVILEGED: &str = "nat-tests";

/// Sets up, builds and tests. The runner's count comes last.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let toolchain = if args.unprivileged {
        steps::alert(&format!(
            "NOT RUN: the tests in {PRIVILEGED}, which load BPF programs and make network \
             namespaces, since --unprivileged was given"
        ));
        setup::ensure_toolchain(workspace)?
    } else {
        steps::need_root(
            "test",
            "The BPF and network-namespace tests cannot run without root \
             (`cargo xtask test --unprivileged` runs all others)",
        )?;
        let toolchain = setup::ensure(workspace)?;
        setup::clients::ensure();
        for feature in Feature::ALL {
            if feature.missing()?.is_some() {
                steps::alert(&format!(
                    "NOT RUN: tests of {}, which this kernel lacks; `cargo xtask vm` runs them",
                    feature.name()
                ));
            }
        }
        toolchain
    };
    let daemon = build::release(workspace, &toolchain)?;
    let cargo = |words: &[&str]| {
        let mut cargo = workspace.cargo();
        cargo.env("IGD_CONTROL_BIN", &daemon).args(words).arg("--workspace");
        if args.unprivileged {
            cargo.args(["--exclude", PRIVILEGED]);
        }
        cargo
    };
    if steps::ask(workspace.cargo().args(["nextest", "--version"])).is_some() {
        let examples = if args.runner.is_empty() {
            steps::run(&mut cargo(&["test", "--doc"]))
        } else {
            Ok(())
        };
        steps::run(cargo(&["nextest", "run", "--no-fail-fast"]).args(&args.runner)).and(examples)
    } else {
        run_and_count(cargo(&["test", "--no-fail-fast"]).arg("--").args(&args.runner))
    }
}

/// Runs `cargo test`, and adds up what each of its test programs counts.
fn run_and_count(command: &mut Command) -> Result<()> {
    let line = steps::line(command);
    steps::say(&line);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run `{line}`"))?;
    let mut total = Count::default();
    if let Some(output) = child.stdout.take() {
        for text in BufReader::new(output).split(b'\n') {
            let text = text.context("cannot read what the tests print")?;
            let text = String::from_utf8_lossy(&text);
            println!("{text}");
            total.add(&text);
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    println!("\n{total}");
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// What the test programs that printed this count altogether.
pub(crate) fn count(printed: &str) -> Count {
    let mut total = Count::default();
    printed.lines().for_each(|line| total.add(line));
    total
}

/// How many tests ended how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Count {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split(';') {
            let mut words = count.split_whitespace();
            let number = words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            match words.next() {
                Some("passed") => self.passed += number,
                Some("failed") => self.failed += number,
                Some("ignored") => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} ignored", self.passed, self.failed, self.ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_test_programs_add_up() {
        let printed = "running 3 tests\n\
            test a ... ok\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
            finished in 0.01s\n\
            test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; \
            finished in 1.50s\n";
        assert_eq!(count(printed), Count { passed: 8, failed: 2, ignored: 1 });
    }
}
