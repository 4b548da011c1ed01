//! Running other programs, each printed before it runs.

use anyhow::{Context as _, Result, bail};
use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says what happens next, on standard error.
pub(crate) fn say(text: &str) {
    eprintln!("{}", paint("1;36", &format!("==> {text}")));
}

/// Says what must not be overlooked, on standard error.
pub(crate) fn alert(text: &str) {
    eprintln!("{}", paint("1;33", text));
}

fn paint(colour: &str, text: &str) -> String {
    if std::io::stderr().is_terminal() {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Prints a command and runs it.
///
/// # Errors
/// When it cannot start or does not succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    say(&line);
    let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Asks a program something without printing the command; `None` unless it succeeds.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// The command as a shell would take it: variables that it sets, program, arguments.
pub(crate) fn line(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            let _ = write!(line, "{}={} ", name.to_string_lossy(), quoted(value));
        }
    }
    line.push_str(&quoted(command.get_program()));
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&quoted(argument));
    }
    line
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Every file of this name on `PATH`, and then in the folders of system programs, which an ordinary
/// user's `PATH` often lacks.
pub(crate) fn on_path(name: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let mut found: Vec<PathBuf> = Vec::new();
    for file in folders.map(|folder| folder.join(name)) {
        if is_program(&file) && !found.contains(&file) {
            found.push(file);
        }
    }
    found
}

pub(crate) fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Fails unless run by root, with the command that would do.
///
/// # Errors
/// When not root.
pub(crate) fn need_root(verb: &str, why: &str) -> Result<()> {
    if !is_root() {
        bail!(
            "{why}. Run it as root:\n\n    sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask {verb}\n"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_command_can_be_pasted_into_a_shell() {
        let mut command = Command::new("/usr/bin/cargo");
        command.env("RUSTFLAGS", "-D warnings").env_remove("RUSTC").args(["build", "it's", ""]);
        assert_eq!(line(&command), r"RUSTFLAGS='-D warnings' /usr/bin/cargo build 'it'\''s' ''");
    }

    #[test]
    fn a_failed_command_is_an_error_that_names_it() {
        let error = run(&mut Command::new("false")).unwrap_err().to_string();
        assert!(error.starts_with("`false` failed"), "{error}");
        assert!(run(&mut Command::new("true")).is_ok());
        assert_eq!(ask(&mut Command::new("false")), None);
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(!on_path("sh").is_empty());
        assert!(on_path("no-such-program-at-all").is_empty());
    }
}
