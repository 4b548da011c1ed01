//! The guest's file system: everything that it runs, in an archive that the kernel unpacks.

use super::kernel::Kernel;
use super::modules::{Dependencies, MODULES};
use crate::steps;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder that becomes the archive.
pub(super) struct Image {
    root: PathBuf,
}

/// What modprobe reads.
const LISTS: [&str; 4] = ["modules.dep", "modules.alias", "modules.symbols", "modules.builtin"];

impl Image {
    /// An empty one, but for busybox, which is modprobe and most of the rest, and for bash: busybox's
    /// own shell prefers what busybox has to what is on `PATH`.
    pub(super) fn new(root: PathBuf) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| root.display().to_string())?;
        }
        let image = Self { root };
        image.tool("busybox")?;
        image.tool("bash")?;
        for (program, at) in [("/bin/bash", "bin/sh"), ("/bin/busybox", "sbin/modprobe")] {
            symlink(program, image.place(at)?).context(at)?;
        }
        Ok(image)
    }

    /// A program of the host's, in `/bin`.
    pub(super) fn tool(&self, name: &str) -> Result<()> {
        let found = steps::on_path(name).into_iter().next();
        let program = found.with_context(|| format!("there is no {name} on PATH"))?;
        copy(&program, &self.place(&format!("bin/{name}"))?)?;
        self.libraries(&program)
    }

    /// A program that was built here, without what only debuggers read.
    pub(super) fn program(&self, program: &Path, at: &str) -> Result<()> {
        let place = self.place(at)?;
        let mut strip = Command::new("strip");
        strip.arg("-o").args([place.as_path(), program]);
        ensure!(strip.status()?.success(), "cannot strip {}", program.display());
        self.libraries(program)
    }

    /// A file as it is.
    pub(super) fn file(&self, file: &Path, at: &str) -> Result<()> {
        copy(file, &self.place(at)?)
    }

    /// A script or a list.
    pub(super) fn text(&self, text: &str, at: &str) -> Result<()> {
        let place = self.place(at)?;
        fs::write(&place, text)?;
        Ok(fs::set_permissions(place, fs::Permissions::from_mode(0o755))?)
    }

    /// The kernel's modules that the lab can ask for; the kernel loads them when it does.
    pub(super) fn modules(&self, kernel: &Kernel) -> Result<()> {
        let from = kernel.modules();
        let list = fs::read_to_string(from.join("modules.dep"))?;
        let files = Dependencies::parse(&list).files(&MODULES)?;
        for file in files.into_iter().chain(LISTS) {
            let to = format!("lib/modules/{}/{file}", kernel.release);
            copy(&from.join(file), &self.place(&to)?)?;
        }
        Ok(())
    }

    /// Writes the archive.
    pub(super) fn pack(&self, archive: &Path) -> Result<()> {
        let mut cpio = Command::new("busybox");
        cpio.args(["sh", "-c", "find . | cpio -o -H newc"]);
        cpio.current_dir(&self.root).stdout(fs::File::create(archive)?).stderr(Stdio::null());
        ensure!(cpio.status()?.success(), "`{}` failed", steps::line(&cpio));
        Ok(())
    }

    /// The shared libraries of a program, where it looks for them.
    fn libraries(&self, program: &Path) -> Result<()> {
        // A program that is linked statically makes ldd fail.
        let listed = steps::ask(Command::new("ldd").arg(program)).unwrap_or_default();
        for line in listed.lines() {
            if line.contains("not found") {
                bail!("{} needs a library that is missing: {line}", program.display());
            }
            let Some(library) = library(line) else { continue };
            let place = self.place(library.trim_start_matches('/'))?;
            if !place.exists() {
                copy(Path::new(library), &place)?;
            }
        }
        Ok(())
    }

    /// Where something goes, in a folder that is there.
    fn place(&self, at: &str) -> Result<PathBuf> {
        let place = self.root.join(at);
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        Ok(place)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// The file in a line of ldd's: `libc.so.6 => /lib/libc.so.6 (0x…)`, `/lib64/ld-linux.so.2 (0x…)`.
fn library(line: &str) -> Option<&str> {
    let line = line.split_once("=> ").map_or(line, |(_, file)| file);
    line.split_whitespace().next().filter(|file| file.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_prints() {
        let libc = "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0000000000)";
        assert_eq!(library(libc), Some("/lib/x86_64-linux-gnu/libc.so.6"));
        let loader = "\t/lib64/ld-linux-x86-64.so.2 (0x00007f0000000000)";
        assert_eq!(library(loader), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007fff00000000)"), None);
        assert_eq!(library("\tstatically linked"), None);
    }
}
