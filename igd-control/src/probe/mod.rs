//! Checks the machine before the gateway runs on it.
//!
//! Every check is in two halves: one that looks (`gather`), and one that judges what was seen, which
//! touches nothing and returns [`Finding`]s.

mod driver;
mod finding;
mod firewall;
mod host;
mod interface;
mod links;
mod memory;
mod place;
mod settings;

pub use finding::{Finding, Status};

use crate::{
    config::Config,
    datapath::{pins, sysctl},
};
use driver::Driver;
use host::Host;
use interface::Link;
use memory::{Memory, Tables};
use nat_common::session::Side;
use place::PinDir;
use settings::Forwarding;
use std::collections::BTreeSet;

/// All checks. Must run inside tokio.
pub async fn all(config: &Config) -> Vec<Finding> {
    let mut findings = machine(config).await;
    findings.extend(firewall(config).await);
    findings
}

/// The checks before a start: logs what is only unfortunate, and what the firewall does as soon as it
/// has been asked. Must run inside tokio.
///
/// # Errors
/// All failures at once.
pub async fn before_start(config: &Config) -> anyhow::Result<()> {
    let findings = machine(config).await;
    warn(&findings);
    let failures: Vec<_> = findings
        .iter()
        .filter(|finding| finding.status == Status::Failure)
        .map(|failure| format!("\n  {failure}"))
        .collect();
    if !failures.is_empty() {
        anyhow::bail!("the gateway cannot run here:{}", failures.concat());
    }
    // Listing a large ruleset takes long, and no rule keeps the gateway from running.
    let config = config.clone();
    tokio::spawn(async move { warn(&firewall(&config).await) });
    Ok(())
}

fn warn(findings: &[Finding]) {
    for finding in findings {
        match finding.status {
            Status::Warning => tracing::warn!("{finding}"),
            Status::Unchecked => tracing::debug!("{finding}"),
            Status::Ok | Status::Failure => {}
        }
    }
}

async fn firewall(config: &Config) -> Vec<Finding> {
    let names: Vec<_> = sides(config).map(|(name, _)| name).collect();
    firewall::findings(&config.interfaces.wan, &names).await
}

/// Everything but the firewall.
async fn machine(config: &Config) -> Vec<Finding> {
    let pin_dir = config.daemon.pin_dir();
    if !config.nat.enabled {
        return routed(config).await;
    }
    let mut findings = Host::gather().findings();
    let names: Vec<_> = sides(config).map(|(name, _)| name).collect();
    match links::gather(&names, pin_dir).await {
        Ok(links) => findings.extend(interfaces(config, &links)),
        Err(error) => findings.push(unlisted(&error)),
    }
    findings.push(settings::local_ports(sysctl::local_ports()));
    findings.extend(pin_dir.map(|pin_dir| PinDir::gather(pin_dir).finding()));
    let pinned = pin_dir.is_some_and(pins::hold_sessions);
    let tables = Tables {
        max_sessions: config.nat.max_sessions,
        max_forwards: config.max_forwards(),
        addresses: config.nat.addresses(),
        contacts: config.nat.settings().needs_contacts(),
    };
    findings.push(Memory::gather(pinned).finding(tables));
    findings.extend(config.daemon.state_dir().map(place::state_dir));
    findings.push(place::control_socket(&config.daemon.control_socket));
    findings
}

/// What there is to check where packets are not translated.
async fn routed(config: &Config) -> Vec<Finding> {
    let names: Vec<_> = sides(config).map(|(name, _)| name).collect();
    let mut findings = Vec::new();
    match links::gather(&names, None).await {
        Ok(links) => {
            for (name, side) in sides(config) {
                let link = links.iter().find(|link| link.name == name);
                findings.extend(interface::routed(name, side, link));
                findings.extend(link.map(|_| Forwarding::gather(name).finding(name)));
            }
        }
        Err(error) => findings.push(unlisted(&error)),
    }
    if let Some(pin_dir) = config.daemon.pin_dir().filter(|pin_dir| pins::hold_sessions(pin_dir)) {
        let detail = "a NAT of a former daemon goes on translating, and shall not any more";
        let unload = format!("igd-control unload --pin-dir {}", pin_dir.display());
        findings.push(Finding::failure("pinned NAT", detail).mend(unload));
    }
    findings.extend(config.daemon.state_dir().map(place::state_dir));
    findings.push(place::control_socket(&config.daemon.control_socket));
    findings
}

fn unlisted(error: &anyhow::Error) -> Finding {
    Finding::failure("interface", format!("the kernel does not list its interfaces: {error:#}"))
}

fn interfaces(config: &Config, links: &[Link]) -> Vec<Finding> {
    let called = |name: &str| links.iter().find(|link| link.name == name);
    let mut findings = Vec::new();
    let mut judged = BTreeSet::new();
    for (name, side) in sides(config) {
        let link = called(name);
        findings.extend(interface::findings(name, side, link));
        let Some(link) = link else { continue };
        // Several VLANs may be on one device, and XDP is there.
        let device = links.iter().find(|device| link.device == Some(device.index));
        if let Some(device) = device.filter(|device| judged.insert(device.index)) {
            findings.push(interface::program(device));
            findings.extend(Driver::gather(device).findings(device, config.interfaces.xdp_mode));
        }
        findings.push(Forwarding::gather(name).finding(name));
    }
    let wan = &config.interfaces.wan;
    if let Some(link) = called(wan) {
        findings.extend(interface::pool(link, &config.nat.pool()));
        findings.push(settings::judge_reverse_path(wan, settings::reverse_path(wan)));
    }
    let lan: Vec<_> = config.interfaces.lan.iter().filter_map(|name| called(name)).collect();
    findings.push(interface::overlap(&lan, called(wan)));
    findings
}

/// The interfaces of a configuration, the WAN first.
fn sides(config: &Config) -> impl Iterator<Item = (&str, Side)> {
    let lan = config.interfaces.lan.iter().map(|name| (name.as_str(), Side::Lan));
    [(config.interfaces.wan.as_str(), Side::Wan)].into_iter().chain(lan)
}

#[cfg(test)]
mod tests;
