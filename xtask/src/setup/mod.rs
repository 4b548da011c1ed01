//! `cargo xtask setup`: what the other verbs need, installed or at least named.

pub(crate) mod apt;
pub(crate) mod clients;
mod lack;

#[cfg(test)]
mod tests;

use crate::steps;
use crate::toolchain::{Toolchain, find_compiler};
use crate::workspace::Workspace;
use anyhow::{Result, anyhow};
use lack::{CONTENDERS, Lack, Missing, TOOLS, Tool, VM_TOOLS};

/// Options of `cargo xtask setup`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Only print the commands.
    #[arg(long)]
    print: bool,
}

/// Installs what is missing, or prints the commands that do.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.print {
        let lack = Lack::look(workspace, &TOOLS);
        let clients = clients::missing();
        if lack == Lack::default() && clients.is_empty() {
            steps::say("Nothing is missing");
        }
        if clients.iter().any(|client| !client.packages().is_empty()) {
            print!("{}", clients::commands(&clients, steps::is_root()));
        }
        if lack != Lack::default() {
            print_commands(&lack);
        }
        return Ok(());
    }
    let toolchain = ensure(workspace)?;
    clients::ensure();
    steps::say(&format!(
        "Everything is there; the XDP program is compiled by {} and linked by {}",
        toolchain.compiler.rustc.display(),
        toolchain.linker.path.display()
    ));
    Ok(())
}

/// Sees to it that everything is there: compiler, linker and the lab's programs.
///
/// # Errors
/// When something is missing that cannot be installed from here; the commands have been printed.
pub(crate) fn ensure(workspace: &Workspace) -> Result<Toolchain> {
    install(&TOOLS, workspace)
}

/// As [`ensure`], without the lab's programs.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_toolchain(workspace: &Workspace) -> Result<Toolchain> {
    install(&[], workspace)
}

/// As [`ensure`], with what the virtual machine takes besides.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_vm(workspace: &Workspace) -> Result<Toolchain> {
    install(&[&TOOLS[..], &VM_TOOLS].concat(), workspace)
}

/// As [`ensure`], with the daemon that the benchmark compares with.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_contenders(workspace: &Workspace) -> Result<Toolchain> {
    install(&[&TOOLS[..], &CONTENDERS].concat(), workspace)
}

/// The names of the lab's programs.
pub(crate) fn lab_tools() -> impl Iterator<Item = &'static str> {
    TOOLS.iter().map(|tool| tool.command)
}

fn install(tools: &[Tool], workspace: &Workspace) -> Result<Toolchain> {
    let mut lack = Lack::look(workspace, tools);
    if lack.needs_packages() && steps::is_root() && apt::is_here() {
        steps::say("Installing with apt what the build and the lab lack");
        apt::update()?;
        // In rounds: which LLVM the linker needs is known only once the compiler is there.
        loop {
            let packages = lack.packages(&apt::knows);
            if packages.is_empty() {
                break;
            }
            apt::install(&packages)?;
            let rest = Lack::look(workspace, tools);
            if rest == lack {
                break;
            }
            lack = rest;
        }
    }
    if lack.needs_packages() {
        steps::alert(
            "Something is missing that cannot be installed from here. Commands to get it:",
        );
        print_commands(&lack);
        return Err(match find_compiler() {
            Err(none) if lack.toolchain == Missing::Compiler => none.into(),
            _ => anyhow!("not everything is there that the build and the lab need"),
        });
    }
    Toolchain::find(workspace)
}

fn print_commands(lack: &Lack) {
    let apt: Option<lack::Knows<'_>> = if apt::is_here() { Some(&apt::knows) } else { None };
    print!("{}", lack.commands(apt, steps::is_root()));
}
