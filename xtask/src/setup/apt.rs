//! Debian's package manager.

use crate::steps;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Whether this system has apt.
pub(crate) fn is_here() -> bool {
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

/// Fetches the lists of packages.
///
/// # Errors
/// When apt fails.
pub(crate) fn update() -> Result<()> {
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

/// The packages whose names match a regular expression.
pub(crate) fn matching(pattern: &str) -> Vec<String> {
    let listed = steps::ask(Command::new("apt-cache").args(["search", "--names-only", pattern]));
    let names = listed.iter().flat_map(|text| text.lines());
    names.filter_map(|line| Some(line.split_once(" - ")?.0.to_owned())).collect()
}

/// Downloads a package into a folder, without installing it.
///
/// # Errors
/// When apt fails.
pub(crate) fn download(package: &str, folder: &Path) -> Result<()> {
    let mut apt = apt_get();
    if steps::is_root() {
        // apt's own user may not write there.
        apt.args(["-o", "APT::Sandbox::User=root"]);
    }
    steps::run(apt.arg("download").arg(package).current_dir(folder))
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
