//! The kernel's pktgen, at work in a namespace.

use super::plan::{Line, Sent, Traffic, sent};
use anyhow::{Context as _, Result, bail};
use nat_tests::lab::{Namespace, command};
use std::fs;
use std::path::Path;

/// Where a namespace's pktgen is, for a thread in it.
const FOLDER: &str = "/proc/thread-self/net/pktgen";
const CONTROL: &str = "pgctrl";

/// The kernel's module; taken out again if it was brought in.
pub(super) struct Module {
    brought: bool,
}

impl Module {
    /// Whether the kernel has it already.
    pub(super) fn is_here() -> bool {
        Path::new(FOLDER).exists()
    }

    /// Brings it in, unless it is there.
    pub(super) fn load() -> Result<Self> {
        if Self::is_here() {
            return Ok(Self { brought: false });
        }
        if let Err(error) = command("modprobe", &["pktgen"]) {
            bail!(
                "this kernel (Linux {}) has no pktgen, neither built in nor as a module: {error:#}\n\
                 Debian's kernels have it; `cargo xtask vm pktgen` runs one in a virtual machine.",
                super::release()
            );
        }
        let module = Self { brought: true };
        if !Self::is_here() {
            bail!("the module pktgen is there, and {FOLDER} is not");
        }
        Ok(module)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.brought
            && let Err(error) = command("modprobe", &["-r", "pktgen"])
        {
            eprintln!("the module pktgen stays: {error:#}");
        }
    }
}

/// Has `packets` packets sent on each thread, by `eth0` of a namespace, and waits until they are.
pub(super) fn send(
    namespace: &Namespace,
    traffic: &Traffic,
    mac: [u8; 6],
    packets: u32,
) -> Result<Vec<Sent>> {
    namespace.enter(|| {
        traffic.lines("eth0", mac, packets).iter().try_for_each(write)?;
        write(&Line { file: CONTROL.to_owned(), text: "start".to_owned() })?;
        let results = traffic.results("eth0").into_iter().map(|file| {
            let path = Path::new(FOLDER).join(&file);
            sent(&fs::read_to_string(path).with_context(|| file.clone())?)
        });
        let results = results.collect::<Result<Vec<_>>>()?;
        traffic.forget().iter().try_for_each(write)?;
        Ok(results)
    })?
}

fn write(line: &Line) -> Result<()> {
    let Line { file, text } = line;
    fs::write(Path::new(FOLDER).join(file), format!("{text}\n"))
        .with_context(|| format!("pktgen's {file} does not take `{text}`"))
}
