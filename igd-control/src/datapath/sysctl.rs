//! The kernel settings that the NAT depends on.

use anyhow::{Context as _, Result, bail};
use nat_common::settings::PortRange;
use std::fs;
use std::path::PathBuf;

/// Fewest ports that the kernel's own local range must leave to the NAT.
const FEWEST_PORTS: u32 = 1024;
/// Lowest port that the NAT takes by itself.
const FIRST_PORT: u16 = 1024;

/// A command that leaves the NAT enough ports.
pub(crate) const NARROWER_LOCAL_PORTS: &str =
    "sysctl -w net.ipv4.ip_local_port_range='32768 60999'";

/// IPv4 forwarding that was switched on; put back as it was on drop.
#[derive(Debug, Default)]
pub struct Forwarding {
    changed: Vec<String>,
}

impl Forwarding {
    /// Switches forwarding on for an interface: without it the kernel's routing table answers nothing.
    /// Where it is on already because a daemon was killed (`left_on`), it goes off at the end too.
    ///
    /// # Errors
    /// When the setting cannot be written.
    pub fn enable(&mut self, interface: &str, left_on: bool) -> Result<()> {
        let on = forwards(interface)?;
        if !on {
            fs::write(forwarding_path(interface), "1").with_context(|| {
                format!("cannot switch on forwarding: {}", forwarding_command(interface))
            })?;
            tracing::info!(interface, "IPv4 forwarding switched on");
        }
        if !on || left_on {
            self.changed.push(interface.to_owned());
        }
        Ok(())
    }

    /// Leaves everything as it is now.
    pub fn keep(&mut self) {
        self.changed.clear();
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        for interface in &self.changed {
            match switch_forwarding_off(interface) {
                Ok(_) => tracing::info!(interface, "IPv4 forwarding switched off"),
                Err(error) => tracing::warn!("{error:#}"),
            }
        }
    }
}

fn forwarding_path(interface: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/ipv4/conf/{interface}/forwarding"))
}

fn forwards(interface: &str) -> Result<bool> {
    let path = forwarding_path(interface);
    let now =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(now.trim() == "1")
}

/// Switches forwarding off for an interface; tells whether it was on.
///
/// # Errors
/// When the setting cannot be written.
pub(super) fn switch_forwarding_off(interface: &str) -> Result<bool> {
    let on = forwards(interface)?;
    if on {
        fs::write(forwarding_path(interface), "0")
            .with_context(|| format!("cannot switch off forwarding on {interface}"))?;
    }
    Ok(on)
}

/// The command that switches forwarding on for an interface.
pub(crate) fn forwarding_command(interface: &str) -> String {
    // A dot in the name would be taken for a separator; sysctl takes slashes for those as well.
    if interface.contains('.') {
        format!("sysctl -w net/ipv4/conf/{interface}/forwarding=1")
    } else {
        format!("sysctl -w net.ipv4.conf.{interface}.forwarding=1")
    }
}

/// The ports that the NAT may take: all from 1024, but for those that the kernel gives to the
/// router's own connections.
///
/// # Errors
/// When the kernel's range leaves too few.
pub fn nat_ports() -> Result<PortRange> {
    let (first, last) = local_ports()?;
    outside(first, last).with_context(|| format!("narrow them, for example {NARROWER_LOCAL_PORTS}"))
}

/// The first and the last port that the kernel gives to the router's own connections.
///
/// # Errors
/// When the kernel does not say.
pub(crate) fn local_ports() -> Result<(u16, u16)> {
    let path = "/proc/sys/net/ipv4/ip_local_port_range";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(first)), Some(Ok(last))) = (numbers.next(), numbers.next()) else {
        bail!("cannot make sense of {path}: {text:?}");
    };
    Ok((first, last))
}

/// All ports from 1024 but for these.
///
/// # Errors
/// When too few are left.
pub(crate) fn outside(local_first: u16, local_last: u16) -> Result<PortRange> {
    let range = PortRange {
        first: FIRST_PORT,
        last: u16::MAX,
        hole_first: local_first.max(FIRST_PORT),
        hole_last: local_last,
    };
    let left = (FIRST_PORT..=u16::MAX).filter(|port| range.contains(*port)).count();
    if left < FEWEST_PORTS as usize {
        bail!(
            "the kernel's local ports {local_first}-{local_last} (net.ipv4.ip_local_port_range) \
             leave only {left} to the NAT"
        );
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nat_ports_lie_outside_the_kernels_own() {
        let range = outside(32_768, 60_999).unwrap();
        assert!(range.contains(1024) && range.contains(65_535));
        assert!(!range.contains(32_768) && !range.contains(60_999) && !range.contains(80));
    }

    #[test]
    fn a_local_range_that_leaves_nothing_is_refused() {
        let error = outside(1024, 65_535).unwrap_err().to_string();
        assert!(error.contains("ip_local_port_range"), "{error}");
    }
}
