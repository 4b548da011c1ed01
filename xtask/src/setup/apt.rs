//! Debian's package manager.

use crate::steps;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

pub(super) fn is_here() -> bool {
    !steps::on_path("apt-get").is_empty()
}

/// Whether apt can install this package. Before the first `apt-get update` it knows none, and every
/// one is taken to be there.
pub(super) fn knows(package: &str) -> bool {
    !has_lists() || steps::ask(Command::new("apt-cache").args(["show", package])).is_some()
}

fn has_lists() -> bool {
    let is_list = |name: &str| name.contains("_Packages");
    Path::new("/var/lib/apt/lists").read_dir().is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| file.file_name().to_str().is_some_and(is_list)))
    })
}

/// # Errors
/// When apt fails.
pub(super) fn update() -> Result<()> {
    steps::run(apt_get().arg("update"))
}

/// # Errors
/// When apt fails, also when it would have to remove packages: rustup's own, for one, conflicts
/// with Debian's compilers.
pub(super) fn install(packages: &[String]) -> Result<()> {
    if Path::new("/run/systemd/system").exists() {
        for service in super::lack::services(packages) {
            steps::run(Command::new("systemctl").args(["mask", service]))?;
        }
    }
    steps::run(
        apt_get()
            .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
            .args(packages),
    )
}

fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").args([
        "-o",
        "DPkg::Lock::Timeout=300",
        "-o",
        "Acquire::Retries=3",
    ]);
    apt
}
