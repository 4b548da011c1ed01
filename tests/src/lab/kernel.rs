//! What some tests need of the kernel, and not every kernel has.

use super::{Namespace, unique_prefix};
use anyhow::{Result, ensure};
use std::io::Write as _;

/// What a kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Interfaces for the VLANs of another one (802.1Q).
    VlanDevices,
    /// IPv4 in IPv6, as routes of segment routing make it.
    Softwire,
}

/// Set where a missing feature is a failure: in the machine of `cargo xtask vm`, which runs what other
/// kernels cannot.
const MUST_HAVE: &str = "IGD_KERNEL_MUST_HAVE_ALL";

impl Feature {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::VlanDevices, Self::Softwire];

    /// What is needed of it, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::VlanDevices => "VLAN devices (8021q)",
            Self::Softwire => "segment routing (IPV6_SEG6_LWTUNNEL, Linux 6.0)",
        }
    }

    /// Why it cannot be had of the running kernel; `None` where it can.
    ///
    /// # Errors
    /// Without root.
    pub fn missing(self) -> Result<Option<String>> {
        let trial = Namespace::new(format!("{}-trial", unique_prefix()))?;
        trial.ip(&["link", "add", "veth0", "up", "type", "veth", "peer", "name", "veth1"])?;
        let tried = match self {
            Self::VlanDevices => trial.add_vlan("veth0", 1, "192.168.79.1/24"),
            Self::Softwire => {
                let into =
                    ["encap", "seg6", "mode", "encap.red", "segs", "fd00::1", "dev", "veth0"];
                trial.ip(&[["route", "add", "192.168.79.0/24"].as_slice(), &into].concat())
            }
        };
        Ok(tried.err().map(|error| format!("this kernel lacks {}: {error:#}", self.name())))
    }

    /// Whether a test that needs it can run. When it cannot, says so past the test runner, which would
    /// keep it to itself.
    ///
    /// # Errors
    /// As for [`Self::missing`], and where every test must run.
    pub fn lets_run(self) -> Result<bool> {
        let Some(why) = self.missing()? else { return Ok(true) };
        ensure!(std::env::var_os(MUST_HAVE).is_none(), "{why}");
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        let _ = writeln!(std::io::stderr(), "NOT RUN here, but by `cargo xtask vm`: {test}: {why}");
        Ok(false)
    }
}
