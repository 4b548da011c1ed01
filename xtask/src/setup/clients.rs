//! Clients of others', which tests run where the machine has them. Without them nothing fails.

use super::apt;
use super::lack::services;
use crate::steps;
use anyhow::Result;
use nat_tests::client::independent::{Client, NPM, PYPI, PYTHON, npm_folder, pypi_folder};
use std::fmt::Write as _;
use std::process::Command;

/// Those that this machine lacks.
pub(super) fn missing() -> Vec<Client> {
    Client::ALL.into_iter().filter(|client| !client.is_here()).collect()
}

/// Installs what is missing as far as that goes from here, and says what stays away.
pub(crate) fn ensure() {
    let mut tried = Vec::new();
    let mut lacking = from_registries(missing(), &mut tried);
    if lacking.iter().any(|client| !client.packages().is_empty())
        && steps::is_root()
        && apt::is_here()
    {
        steps::say("Installing with apt the clients that tests run");
        if let Err(error) = install(&lacking) {
            steps::alert(&format!("{error:#}"));
        }
        // apt may have brought what a registry's client needs.
        lacking = from_registries(missing(), &mut tried);
    }
    for client in &lacking {
        steps::alert(&format!("NOT RUN: tests with {client:?}, which needs {}", client.needs()));
    }
    if lacking.iter().any(|client| !client.packages().is_empty()) {
        print!("{}", commands(&lacking, steps::is_root()));
    }
}

/// Installs one of them, if that goes from here and it is not there.
pub(crate) fn ensure_one(client: Client) {
    if client.is_here() || !steps::is_root() || !apt::is_here() {
        return;
    }
    if let Err(error) = install(&[client]) {
        steps::alert(&format!("{error:#}"));
    }
}

/// One after the other: a client that cannot be installed does not keep others away.
fn install(clients: &[Client]) -> Result<()> {
    apt::update()?;
    let wanted = clients.iter().map(|client| client.packages());
    wanted
        .filter(|packages| !packages.is_empty())
        .filter(|packages| packages.iter().all(|package| apt::knows(package)))
        .map(|packages| apt::install(&packages.iter().map(ToString::to_string).collect::<Vec<_>>()))
        .fold(Ok(()), Result::and)
}

/// Gets those that come from a registry of a language's, each once, where the registry's own client is
/// there, and returns what is lacking then.
fn from_registries(lacking: Vec<Client>, tried: &mut Vec<Client>) -> Vec<Client> {
    let before = tried.len();
    for client in &lacking {
        let installed = match client {
            Client::Npm if !tried.contains(client) && has_npm() => install_from_npm(),
            Client::AsyncUpnp if !tried.contains(client) && has_venv() => install_from_pypi(),
            _ => continue,
        };
        tried.push(*client);
        if let Err(error) = installed {
            steps::alert(&format!("{error:#}"));
        }
    }
    if tried.len() == before { lacking } else { missing() }
}

fn has_npm() -> bool {
    !steps::on_path("npm").is_empty()
}

fn has_venv() -> bool {
    steps::ask(Command::new(PYTHON).args(["-c", "import ensurepip, venv"])).is_some()
}

/// Into the folder of the workspace's own tools. No package runs a script of its own.
fn install_from_npm() -> Result<()> {
    let folder = npm_folder();
    std::fs::create_dir_all(&folder)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]);
    steps::run(npm.arg(&folder).args(NPM))
}

/// Into a virtual environment among the workspace's own tools. No package is built, which would run its
/// own script.
fn install_from_pypi() -> Result<()> {
    let folder = pypi_folder();
    steps::run(Command::new(PYTHON).args(["-m", "venv"]).arg(&folder))?;
    let mut pip = Command::new(folder.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]);
    steps::run(pip.args(["--only-binary=:all:", PYPI]))
}

/// Shell commands that get them on Debian.
pub(super) fn commands(clients: &[Client], root: bool) -> String {
    let packages = clients.iter().flat_map(|client| client.packages());
    let mut packages: Vec<_> = packages.map(ToString::to_string).collect();
    packages.sort();
    packages.dedup();
    let sudo = if root { "" } else { "sudo " };
    let mut text = String::new();
    for service in services(&packages) {
        let _ = writeln!(
            text,
            "test ! -d /run/systemd/system || {sudo}systemctl mask {service}  # the lab runs it"
        );
    }
    let _ = writeln!(
        text,
        "{sudo}apt-get install --yes --no-install-recommends {}",
        packages.join(" ")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_packages_and_keep_their_services_from_starting() {
        let commands =
            commands(&[Client::Gupnp, Client::GupnpIgd, Client::Transmission, Client::Npm], false);
        assert_eq!(
            commands,
            "test ! -d /run/systemd/system || sudo systemctl mask transmission-daemon.service  \
             # the lab runs it\n\
             sudo apt-get install --yes --no-install-recommends gir1.2-gupnp-1.6 \
             gir1.2-gupnpigd-1.0 python3-gi transmission-daemon\n"
        );
    }

    #[test]
    fn a_registry_is_asked_once() {
        let mut tried = vec![Client::Npm, Client::AsyncUpnp];
        let lacking = vec![Client::Npm, Client::Qbittorrent, Client::AsyncUpnp];
        assert_eq!(from_registries(lacking.clone(), &mut tried), lacking);
        assert_eq!(tried.len(), 2);
    }
}
