//! Where things lie in the checkout.

use anyhow::{Context as _, Result};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout that xtask works on.
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        // At run time first: a checkout can be moved without xtask being compiled again.
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask lies in no workspace")?;
        Ok(Self { root: root.to_owned() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The XDP program's object file. `IGD_XDP_OBJECT` in `.cargo/config.toml` names the same one.
    pub(crate) fn xdp_object(&self) -> PathBuf {
        self.root.join("target/xdp/nat-xdp.o")
    }

    /// Target folder of one build of the XDP program: its compiler is not the host's.
    pub(crate) fn xdp_target_dir(&self, name: &str) -> PathBuf {
        self.root.join("target").join(name)
    }

    /// Tools that were built for this checkout.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join("target/tools")
    }

    /// The daemon, as `cargo xtask build` leaves it.
    pub(crate) fn daemon(&self, profile: &str) -> PathBuf {
        let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.unwrap_or_else(|| PathBuf::from("target"));
        self.root.join(target).join(profile).join("igd-control")
    }

    /// The cargo that runs xtask, in the workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&self.root);
        command
    }

    /// The same cargo, to install a tool: without the flags and folders meant for the workspace.
    pub(crate) fn cargo_for_tools(&self) -> Command {
        let mut command = self.cargo();
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR"] {
            command.env_remove(name);
        }
        command
    }
}
