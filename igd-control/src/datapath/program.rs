//! Loading the XDP program and attaching it, or taking over from the one that a former daemon left.

use super::XdpMode;
use anyhow::{Context as _, Result, anyhow, bail};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::SchedClassifierLink;
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, Xdp, tc};
use aya::{Ebpf, EbpfLoader};
use nat_common::Protocol;
use nat_common::maps::{
    self, LAYOUT_VERSION, PROGRAM_GUARD, PROGRAM_LAN, PROGRAM_NEIGHBOUR, PROGRAM_WAN,
};
use nat_common::ports::SLOTS_PER_ADDRESS;
use nat_common::session::Side;
use std::fs;
use std::path::{Path, PathBuf};

/// The compiled program; empty when this binary was built without it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/nat-xdp.o"));

/// All maps that must survive the daemon.
const PINNED: [&str; 10] = [
    maps::SESSIONS,
    maps::ENDPOINTS,
    maps::PORTS,
    maps::REMOTES,
    maps::EXTERNALS,
    maps::POOL,
    maps::LINKS,
    maps::LINK_INDEX,
    maps::SETTINGS,
    maps::COUNTERS,
];

/// What to do without a BPF file system.
const PIN_HINT: &str = "mount one (mount -t bpf bpf /sys/fs/bpf), choose another --pin-dir, \
                        or run with --no-pin";

/// The folder of one layout version within the pin directory.
pub(super) const LAYOUT_PREFIX: &str = "layout-";

/// The folder of this version.
pub(super) fn layout_name() -> String {
    format!("{LAYOUT_PREFIX}{LAYOUT_VERSION}")
}

/// How large the tables are to be.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Most sessions.
    pub sessions: u32,
    /// Most external addresses.
    pub addresses: u32,
}

/// Loads the program and its maps. With `pin_dir`, maps of this layout that are pinned there are
/// adopted, and the others are pinned. The flag tells whether sessions were adopted.
///
/// # Errors
/// When the directory is not on a BPF file system, holds another layout, or the kernel refuses the maps.
pub fn load(size: Size, pin_dir: Option<&Path>) -> Result<(Ebpf, bool)> {
    if OBJECT.is_empty() {
        bail!("this binary was built without the XDP program: build it with `cargo xtask build`");
    }
    let level = log_level();
    let folder = pin_dir.map(layout_folder).transpose()?;
    let adopted = folder.as_ref().is_some_and(|folder| folder.join(maps::SESSIONS).exists());
    let slots = size.addresses.saturating_mul(SLOTS_PER_ADDRESS);
    let mut loader = EbpfLoader::new();
    loader
        .override_global(aya_log::LEVEL, &level, false)
        .map_max_entries(maps::SESSIONS, size.sessions.saturating_mul(2))
        .map_max_entries(maps::ENDPOINTS, size.sessions.min(slots))
        .map_max_entries(maps::PORTS, slots)
        .map_max_entries(maps::HINTS, Protocol::COUNT * size.addresses);
    if let Some(folder) = &folder {
        for name in PINNED {
            loader.map_pin_path(name, folder.join(name));
        }
    }
    let ebpf = loader.load(OBJECT).context("the kernel does not take the XDP program's maps")?;
    Ok((ebpf, adopted))
}

fn log_level() -> u8 {
    use tracing::level_filters::LevelFilter;
    match LevelFilter::current() {
        LevelFilter::OFF => 0,
        LevelFilter::ERROR => 1,
        LevelFilter::WARN => 2,
        LevelFilter::INFO => 3,
        LevelFilter::DEBUG => 4,
        _ => 5,
    }
}

/// Makes the folder of this layout; refuses a directory that holds another one.
fn layout_folder(pin_dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(pin_dir).with_context(|| {
        format!("cannot make the pin directory {} ({PIN_HINT})", pin_dir.display())
    })?;
    let kind = nix::sys::statfs::statfs(pin_dir)
        .with_context(|| format!("cannot look at {}", pin_dir.display()))?;
    if kind.filesystem_type() != nix::sys::statfs::BPF_FS_MAGIC {
        bail!("{} is not on a BPF file system: {PIN_HINT}", pin_dir.display(),);
    }
    let ours = layout_name();
    for entry in fs::read_dir(pin_dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(LAYOUT_PREFIX) && name != ours {
            bail!(
                "{} holds maps of another version ({name}, this is {ours}): \
                 `igd-control unload --pin-dir {0}` takes them away, sessions included",
                pin_dir.display(),
            );
        }
    }
    let folder = pin_dir.join(ours);
    if !folder.exists() {
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(folder)
}

/// Takes away what igd-control has pinned in `pin_dir`, of whatever version, and nothing else: the
/// programs detach when their links go.
///
/// # Errors
/// When something cannot be removed.
pub fn unload(pin_dir: &Path) -> Result<()> {
    if !pin_dir.exists() {
        return Ok(());
    }
    for folder in fs::read_dir(pin_dir)? {
        let folder = folder?;
        if !folder.file_name().to_string_lossy().starts_with(LAYOUT_PREFIX) {
            continue;
        }
        let folder = folder.path();
        // Links first: no program is to run while its maps go.
        let mut pins: Vec<PathBuf> =
            fs::read_dir(&folder)?.map(|pin| Ok(pin?.path())).collect::<Result<_>>()?;
        let is_link = |pin: &Path| {
            pin.file_name().is_some_and(|name| name.to_string_lossy().starts_with(LINK_PREFIX))
        };
        pins.sort_by_key(|pin| !is_link(pin));
        for pin in pins {
            fs::remove_file(&pin).with_context(|| format!("cannot remove {}", pin.display()))?;
        }
        fs::remove_dir(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    // Others may have pinned something here too.
    let _ = fs::remove_dir(pin_dir);
    Ok(())
}

const LINK_PREFIX: &str = "link-";

/// Where the link called `name` is pinned.
pub(super) fn link_pin(pin_dir: &Path, name: &str) -> PathBuf {
    // Dots are not allowed in names on a BPF file system.
    let name = format!("{LINK_PREFIX}{}", name.replace('.', "_"));
    pin_dir.join(layout_name()).join(name)
}

/// Attaches programs to interfaces.
pub struct Attacher<'a> {
    /// The loaded programs.
    pub ebpf: &'a mut Ebpf,
    /// Where links are pinned.
    pub pin_dir: Option<&'a Path>,
    /// How XDP programs are attached.
    pub mode: XdpMode,
}

impl Attacher<'_> {
    /// Loads all programs into the kernel, so that a verifier's refusal comes before anything is
    /// attached.
    ///
    /// # Errors
    /// The verifier's last words; all of them are in the log at level debug.
    pub fn verify(&mut self) -> Result<()> {
        for name in [PROGRAM_LAN, PROGRAM_WAN] {
            let program: &mut Xdp = program(self.ebpf, name)?;
            program.load().map_err(|error| refused(name, error))?;
        }
        for name in [PROGRAM_NEIGHBOUR, PROGRAM_GUARD] {
            let program: &mut SchedClassifier = program(self.ebpf, name)?;
            program.load().map_err(|error| refused(name, error))?;
        }
        Ok(())
    }

    /// Attaches the NAT to an interface.
    ///
    /// # Errors
    /// When the kernel refuses, usually because another XDP program is attached.
    pub fn xdp(&mut self, interface: &str, side: Side) -> Result<()> {
        let name = match side {
            Side::Lan => PROGRAM_LAN,
            Side::Wan => PROGRAM_WAN,
        };
        let pin = self.pin(&format!("xdp-{interface}"));
        let mode = self.mode;
        let program: &mut Xdp = program(self.ebpf, name)?;
        if let Some(link) = adopt::<XdpLink>(pin.as_deref()) {
            match program.attach_to_link(link) {
                Ok(id) => {
                    let link = program.take_link(id)?;
                    return keep(link.try_into().ok(), None);
                }
                Err(error) => forget(pin.as_deref(), &error),
            }
        }
        let native = aya::programs::XdpMode::Driver;
        let generic = aya::programs::XdpMode::Skb;
        let id = match mode {
            XdpMode::Generic => program.attach(interface, generic),
            XdpMode::Native => program.attach(interface, native),
            XdpMode::Auto => program.attach(interface, native).or_else(|error| {
                let id = program.attach(interface, generic)?;
                let reason = chain(&error);
                tracing::warn!(
                    interface,
                    reason,
                    "the driver cannot run XDP natively: generic mode, which is slower"
                );
                Ok(id)
            }),
        };
        let id = id.with_context(|| {
            format!("cannot attach to {interface} (is another XDP program there? `ip link show`)")
        })?;
        if pin.is_some() {
            let link = program.take_link(id)?;
            keep(link.try_into().ok(), pin.as_deref())?;
        }
        Ok(())
    }

    /// Attaches the guard to the WAN, or the neighbour resolver to any interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn classifier(
        &mut self,
        interface: &str,
        name: &'static str,
        direction: TcAttachType,
    ) -> Result<()> {
        let pin = self.pin(&format!("{name}-{interface}"));
        let program: &mut SchedClassifier = program(self.ebpf, name)?;
        if let Some(link) = adopt::<SchedClassifierLink>(pin.as_deref()) {
            match program.attach_to_link(link) {
                Ok(id) => {
                    let link = program.take_link(id)?;
                    return keep(link.try_into().ok(), None);
                }
                Err(error) => forget(pin.as_deref(), &error),
            }
        }
        // Before Linux 6.6 programs hang on this queueing discipline; later it is not needed.
        let _ = tc::qdisc_add_clsact(interface);
        let id = program
            .attach(interface, direction)
            .with_context(|| format!("cannot attach {name} to {interface}"))?;
        if pin.is_some() {
            let link = program.take_link(id)?;
            keep(link.try_into().ok(), pin.as_deref())?;
        }
        Ok(())
    }

    fn pin(&self, name: &str) -> Option<PathBuf> {
        self.pin_dir.map(|pin_dir| link_pin(pin_dir, name))
    }
}

/// One line instead of the verifier's whole report.
fn refused(name: &str, error: ProgramError) -> anyhow::Error {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return anyhow::Error::from(error).context(format!("cannot load the program {name}"));
    };
    let report = verifier_log.to_string();
    tracing::debug!(program = name, "the verifier's report:\n{report}");
    let statistics = ["processed ", "verification time", "stack depth"];
    let telling = |line: &&str| {
        !line.trim().is_empty() && !statistics.iter().any(|prefix| line.starts_with(prefix))
    };
    let last = report.lines().rfind(telling).unwrap_or("no report");
    anyhow!("the kernel refuses the program {name}: {io_error}: {last}")
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or_else(|| anyhow!("there is no program {name}"))?;
    Ok(program.try_into()?)
}

/// The link that a former daemon pinned, if there is one.
fn adopt<L: TryFrom<FdLink>>(pin: Option<&Path>) -> Option<L> {
    let pinned = PinnedLink::from_pin(pin?).ok()?;
    L::try_from(FdLink::from(pinned)).ok()
}

/// Lets go of a link without detaching: it is pinned already, or will be now. A link that cannot be
/// pinned, as before Linux 6.6, stays attached by itself.
fn keep(link: Option<FdLink>, pin: Option<&Path>) -> Result<()> {
    match (link, pin) {
        (Some(link), Some(pin)) => {
            link.pin(pin).with_context(|| format!("cannot pin {}", pin.display()))?;
        }
        (Some(link), None) => drop(link),
        (None, _) => {}
    }
    Ok(())
}

/// A pinned link whose interface is gone is of no use.
fn forget(pin: Option<&Path>, error: &ProgramError) {
    let Some(pin) = pin else { return };
    let reason = chain(error);
    tracing::info!(pin = %pin.display(), reason, "a pinned link is dead: attaching anew");
    let _ = fs::remove_file(pin);
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
