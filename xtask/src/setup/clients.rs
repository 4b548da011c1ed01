//! Clients of others', which tests run where the machine has them. Without them nothing fails.

use super::apt;
use super::lack::services;
use crate::steps;
use anyhow::Result;
use nat_tests::client::independent::Client;
use std::fmt::Write as _;

/// Those that this machine lacks.
pub(super) fn missing() -> Vec<Client> {
    Client::ALL.into_iter().filter(|client| !client.is_here()).collect()
}

/// Installs what is missing as far as that goes from here, and says what stays away.
pub(crate) fn ensure() {
    let mut lacking = missing();
    if !lacking.is_empty() && steps::is_root() && apt::is_here() {
        steps::say("Installing with apt the clients that tests run");
        if let Err(error) = install(&lacking) {
            steps::alert(&format!("{error:#}"));
        }
        lacking = missing();
    }
    for client in &lacking {
        let packages = client.packages().join(", ");
        steps::alert(&format!("NOT RUN: tests with {client:?}, which needs Debian's {packages}"));
    }
    if !lacking.is_empty() {
        print!("{}", commands(&lacking, steps::is_root()));
    }
}

/// One after the other: a client that cannot be installed does not keep others away.
fn install(clients: &[Client]) -> Result<()> {
    apt::update()?;
    let wanted = clients.iter().map(|client| client.packages());
    wanted
        .filter(|packages| packages.iter().all(|package| apt::knows(package)))
        .map(|packages| apt::install(&packages.iter().map(ToString::to_string).collect::<Vec<_>>()))
        .fold(Ok(()), Result::and)
}

/// Shell commands that get them on Debian.
pub(super) fn commands(clients: &[Client], root: bool) -> String {
    let packages = clients.iter().flat_map(|client| client.packages());
    let packages: Vec<_> = packages.map(ToString::to_string).collect();
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
        let commands = commands(&[Client::Gupnp, Client::Transmission], false);
        assert_eq!(
            commands,
            "test ! -d /run/systemd/system || sudo systemctl mask transmission-daemon.service  \
             # the lab runs it\n\
             sudo apt-get install --yes --no-install-recommends gir1.2-gupnp-1.6 python3-gi \
             transmission-daemon\n"
        );
    }
}
