//! The guest's kernel: one of Debian's, taken out of its package and not installed.

use crate::setup::apt;
use crate::steps;
use crate::workspace::Workspace;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel that is unpacked.
pub(super) struct Kernel {
    /// As `uname -r` prints it.
    pub(super) release: String,
    folder: PathBuf,
}

impl Kernel {
    /// The newest of a series, such as `6.1`, that was unpacked before, or else that apt has.
    pub(super) fn find(workspace: &Workspace, series: &str) -> Result<Self> {
        ensure!(
            cfg!(target_arch = "x86_64"),
            "the virtual machine runs x86-64 kernels, for which the tests must be built"
        );
        let folder = workspace.root().join("target/vm/kernels");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let unpacked = folder.read_dir()?.flatten();
        let names = unpacked.filter_map(|entry| entry.file_name().into_string().ok());
        if let Some(name) = newest(names, series) {
            return Self::at(&folder, &name);
        }
        let name = packaged(series)?;
        unpack(&name, &folder).with_context(|| format!("cannot get {name}"))?;
        Self::at(&folder, &name)
    }

    fn at(folder: &Path, name: &str) -> Result<Self> {
        let release = name.strip_prefix(PREFIX).context("no name of a kernel's package")?;
        Ok(Self { release: release.to_owned(), folder: folder.join(name) })
    }

    /// What QEMU boots.
    pub(super) fn image(&self) -> PathBuf {
        self.folder.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// The folder of the modules.
    pub(super) fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules").join(&self.release)
    }
}

const PREFIX: &str = "linux-image-";
/// The flavour without drivers for real hardware.
const FLAVOUR: &str = "-cloud-amd64";

/// The name of the newest package that apt has.
fn packaged(series: &str) -> Result<String> {
    if !apt::is_here() {
        bail!("the kernel for the virtual machine comes by apt, from Debian, and there is no apt");
    }
    let pattern = format!("^{PREFIX}{}\\.[0-9].*{FLAVOUR}$", series.replace('.', "\\."));
    let known = || newest(apt::matching(&pattern).into_iter(), series);
    if let Some(name) = known() {
        return Ok(name);
    }
    if steps::is_root() {
        apt::update()?;
    }
    known().with_context(|| {
        format!(
            "apt has no kernel of Linux {series} for virtual machines ({pattern}): \
             try `apt-get update`, or another one with --kernel"
        )
    })
}

/// Downloads and unpacks a package. What is half done does not carry its name.
fn unpack(name: &str, folder: &Path) -> Result<()> {
    let new = folder.join("new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    fs::create_dir(&new)?;
    apt::download(name, &new)?;
    let package = new.read_dir()?.next().context("apt has downloaded nothing")??.path();
    let tree = new.join("tree");
    steps::run(Command::new("dpkg-deb").arg("--extract").args([&package, &tree]))?;
    // Newer kernels come with compressed modules. busybox loads them, but the kernel complains.
    let decompress = r#"find "$0" -name '*.ko.xz' -exec unxz {} +"#;
    steps::run(Command::new("busybox").args(["sh", "-c", decompress]).arg(&tree))?;
    // The package has no list of dependencies: it is made when a kernel is installed.
    let release = name.strip_prefix(PREFIX).unwrap_or(name);
    steps::run(Command::new("busybox").args(["depmod", "-b"]).arg(&tree).arg(release))?;
    fs::rename(&tree, folder.join(name))?;
    fs::remove_dir_all(&new)?;
    Ok(())
}

/// The package of a series with the highest version.
fn newest(names: impl Iterator<Item = String>, series: &str) -> Option<String> {
    let prefix = format!("{PREFIX}{series}.");
    names
        .filter(|name| name.starts_with(&prefix) && name.ends_with(FLAVOUR))
        .max_by_key(|name| numbers(name))
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str], series: &str) -> Option<String> {
        newest(names.iter().map(|&name| name.to_owned()), series)
    }

    #[test]
    fn the_newest_kernel_of_a_series_is_taken() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-57-cloud-amd64-unsigned",
            "linux-image-6.12.99+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12-cloud-amd64",
        ];
        assert_eq!(of(&names, "6.1").as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(of(&names, "6.12").as_deref(), Some("linux-image-6.12.117+deb12-cloud-amd64"));
        assert_eq!(of(&names, "5.10"), None);
    }
}
