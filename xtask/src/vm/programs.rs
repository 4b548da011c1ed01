//! The test programs, built and found.

use crate::steps;
use crate::workspace::Workspace;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The package whose tests run in the guest.
const PACKAGE: &str = "nat-tests";

/// A test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// The name of its file in `tests/tests`.
    pub(super) name: String,
    pub(super) file: PathBuf,
}

/// Builds all. Of the whole workspace, as `cargo xtask test` does: for one package alone cargo would
/// choose other features, and build everything twice.
pub(super) fn build(workspace: &Workspace) -> Result<Vec<Program>> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--workspace", "--test", "*", "--no-run"]);
    cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let line = steps::line(&cargo);
    steps::say(&line);
    let output = cargo.output().with_context(|| format!("cannot run `{line}`"))?;
    ensure!(output.status.success(), "`{line}` failed: {}", output.status);
    Ok(programs(&String::from_utf8_lossy(&output.stdout)))
}

impl Program {
    /// Whether any of its tests is chosen by these arguments.
    pub(super) fn has(&self, arguments: &[String]) -> bool {
        let mut command = Command::new(&self.file);
        command.args(["--list", "--format", "terse"]).args(arguments);
        steps::ask(&mut command)
            .is_some_and(|list| list.lines().any(|line| line.ends_with(": test")))
    }
}

/// The test programs among cargo's messages, each on a line.
fn programs(messages: &str) -> Vec<Program> {
    let program = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_test = message.pointer("/profile/test")?.as_bool()?;
        let file = message.get("executable")?.as_str()?;
        let name = message.pointer("/target/name")?.as_str()?;
        let package = message.get("package_id")?.as_str()?;
        let is_ours = is_test && package.contains(&format!("#{PACKAGE}@"));
        is_ours.then(|| Program { name: name.to_owned(), file: file.into() })
    };
    messages.lines().filter_map(program).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","package_id":"registry+https://x#nix@0.31.0","target":{"kind":["lib"],"name":"nix"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","package_id":"path+file:///tests#nat-tests@0.1.0","target":{"kind":["test"],"name":"lease"},"profile":{"test":true},"executable":"/t/lease-1"}
{"reason":"compiler-artifact","package_id":"path+file:///nat-ebpf#0.1.0","target":{"kind":["test"],"name":"pipeline"},"profile":{"test":true},"executable":"/t/pipeline-1"}
{"reason":"build-finished","success":true}"#;
        let lease = Program { name: "lease".to_owned(), file: "/t/lease-1".into() };
        assert_eq!(programs(messages), [lease]);
    }
}
