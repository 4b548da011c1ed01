//! The kernel's settings.

use super::Finding;
use crate::datapath::sysctl;
use std::{fs, path::PathBuf};

/// What is to be known of an interface's settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forwarding {
    /// `forwarding`; `None` when it cannot be read.
    pub(super) on: Option<bool>,
    /// Whether this process may write it.
    pub(super) writable: bool,
}

impl Forwarding {
    /// Looks at an interface.
    pub(super) fn gather(interface: &str) -> Self {
        let path = setting(interface, "forwarding");
        Self {
            on: fs::read_to_string(&path).ok().map(|text| text.trim() == "1"),
            // Opened for writing, a setting does not change.
            writable: fs::OpenOptions::new().write(true).open(&path).is_ok(),
        }
    }

    /// Judges it.
    pub(super) fn finding(self, interface: &str) -> Finding {
        const CHECK: &str = "forwarding";
        let finding = match (self.on, self.writable) {
            (None, _) => Finding::unchecked(CHECK, "the setting cannot be read"),
            (Some(true), _) => Finding::ok(CHECK, "on"),
            (Some(false), true) => Finding::ok(CHECK, "off; `run` switches it on"),
            (Some(false), false) => {
                Finding::failure(CHECK, "off, and this process may not switch it on")
                    .mend(sysctl::forwarding_command(interface))
            }
        };
        finding.on(interface)
    }
}

/// `rp_filter` of the WAN, as the kernel applies it; `None` when it cannot be read.
pub(super) fn reverse_path(interface: &str) -> Option<u8> {
    let read =
        |name| fs::read_to_string(setting(name, "rp_filter")).ok()?.trim().parse::<u8>().ok();
    Some(read("all")?.max(read(interface)?))
}

/// Judges it.
pub(super) fn judge_reverse_path(interface: &str, filter: Option<u8>) -> Finding {
    const CHECK: &str = "rp_filter";
    let finding = match filter {
        None => Finding::unchecked(CHECK, "the setting cannot be read"),
        Some(0) => Finding::ok(CHECK, "off"),
        Some(1) => Finding::ok(
            CHECK,
            "strict: with several WANs it costs the router itself packets that come in by another \
             than its route; translated packets do not pass it",
        ),
        Some(_) => Finding::ok(CHECK, "loose"),
    };
    finding.on(interface)
}

/// Judges the kernel's own local ports, first and last.
pub(super) fn local_ports(range: anyhow::Result<(u16, u16)>) -> Finding {
    const CHECK: &str = "local ports";
    match range.map(|(first, last)| (first, last, sysctl::outside(first, last))) {
        Ok((first, last, Ok(range))) => Finding::ok(
            CHECK,
            format!("{first}-{last} are the kernel's; {} are left to the NAT", range.size()),
        ),
        Ok((.., Err(error))) => {
            Finding::failure(CHECK, error.to_string()).mend(sysctl::NARROWER_LOCAL_PORTS)
        }
        Err(error) => {
            Finding::failure(CHECK, format!("{error:#}")).mend("mount -t proc proc /proc")
        }
    }
}

fn setting(interface: &str, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/ipv4/conf/{interface}/{name}"))
}
