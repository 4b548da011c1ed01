//! The kernel, and what this process may do with it.

use super::Finding;
use std::{fs, path::Path};

/// What is to be known of the kernel and of this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// `5.10.0-28-amd64`
    pub(super) release: String,
    /// Whether the kernel describes its types; `None` where sysfs does not show it.
    pub(super) btf: Option<bool>,
    /// `net.core.bpf_jit_enable`; `None` where this network namespace does not show it.
    pub(super) jit: Option<u32>,
    /// The effective capabilities, a bit for each.
    pub(super) capabilities: u64,
    /// Whether this is root, with whatever capabilities.
    pub(super) root: bool,
}

/// The least kernel: BPF atomics with a result.
const LEAST: (u32, u32) = (5, 12);
/// The first kernel on which tc programs attach by links, which can be pinned.
const TCX: (u32, u32) = (6, 6);

/// As Debian has it.
const NEWER_KERNEL: &str =
    "apt-get install linux-image-amd64 # or your distribution's; then reboot";

const CAP_NET_ADMIN: u32 = 12;
/// Stands for the two below as well.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

impl Host {
    /// Looks at this machine.
    pub(super) fn gather() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let sysfs = Path::new("/sys/kernel").exists();
        Self {
            release: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            btf: sysfs.then(|| Path::new("/sys/kernel/btf/vmlinux").exists()),
            jit: read("/proc/sys/net/core/bpf_jit_enable").trim().parse().ok(),
            capabilities: effective(&read("/proc/self/status")),
            root: nix::unistd::geteuid().is_root(),
        }
    }

    /// Judges it.
    pub(super) fn findings(&self) -> Vec<Finding> {
        vec![self.kernel(), self.types(), self.jit(), self.privileges()]
    }

    fn kernel(&self) -> Finding {
        let release = &self.release;
        match version(release) {
            None => Finding::unchecked("kernel", format!("cannot make sense of {release:?}")),
            Some(found) if found < LEAST => Finding::failure(
                "kernel",
                format!("Linux {release} has no BPF atomics, which ports are claimed with: 5.12"),
            )
            .mend(NEWER_KERNEL),
            Some(found) if found < TCX => Finding::ok(
                "kernel",
                format!(
                    "Linux {release}; without links for tc programs (6.6), which attach as filters and \
                     stay when a daemon without pins is killed"
                ),
            ),
            Some(_) => Finding::ok("kernel", format!("Linux {release}")),
        }
    }

    fn types(&self) -> Finding {
        match self.btf {
            Some(true) => Finding::ok("btf", "the kernel describes its types"),
            Some(false) => Finding::warning(
                "btf",
                "/sys/kernel/btf/vmlinux is missing: translation does without, BPF tools do not",
            )
            .mend("# install a kernel that was built with CONFIG_DEBUG_INFO_BTF=y"),
            None => Finding::unchecked("btf", "sysfs is not mounted"),
        }
    }

    fn jit(&self) -> Finding {
        match self.jit {
            Some(0) => Finding::warning(
                "bpf jit",
                "BPF programs are interpreted, which is many times slower",
            )
            .mend("sysctl -w net.core.bpf_jit_enable=1"),
            Some(_) => Finding::ok("bpf jit", "BPF programs are compiled"),
            None => Finding::unchecked(
                "bpf jit",
                "net.core.bpf_jit_enable is not shown here, as in every network namespace but the \
                 first",
            ),
        }
    }

    fn privileges(&self) -> Finding {
        let has = |capability: u32| self.capabilities >> capability & 1 == 1;
        let bpf = [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")];
        let mut missing: Vec<_> = bpf
            .into_iter()
            .filter(|(capability, _)| !has(*capability) && !has(CAP_SYS_ADMIN))
            .map(|(_, name)| name)
            .collect();
        if !has(CAP_NET_ADMIN) {
            missing.push("CAP_NET_ADMIN");
        }
        if missing.is_empty() {
            return Finding::ok("capabilities", "may load BPF programs and change the network");
        }
        let missing = missing.join(" ");
        let finding = Finding::failure("capabilities", format!("missing: {missing}"));
        if self.root {
            finding.mend(format!(
                "systemctl edit igd-control # in [Service], CapabilityBoundingSet={missing}; of a \
                 container, --cap-add for each"
            ))
        } else {
            finding.mend("sudo igd-control run # as root, with the same arguments")
        }
    }
}

/// The first two numbers of a release.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The effective capabilities in the text of `/proc/self/status`.
pub(super) fn effective(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}
