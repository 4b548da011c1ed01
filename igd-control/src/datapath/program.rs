//! Loading the XDP program and attaching it, or taking over from the one that a former daemon left.

use super::XdpMode;
use super::classifiers::{self, Classifier, Filters};
use super::devices::Device;
use super::pins::{self, Shape};
use anyhow::{Context as _, Result, anyhow, bail};
use aya::maps::ProgramArray;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use nat_common::Protocol;
use nat_common::maps::{
    self, LAYOUT_VERSION, PROGRAM_GUARD, PROGRAM_LAN, PROGRAM_NEIGHBOUR, PROGRAM_TRUNK,
    PROGRAM_TRUNK_LAN, PROGRAM_TRUNK_WAN, PROGRAM_WAN,
};
use nat_common::ports::SLOTS_PER_ADDRESS;
use nat_common::session::Side;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The compiled program; empty when this binary was built without it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/nat-xdp.o"));

/// All maps that must survive the daemon.
const PINNED: [&str; 18] = [
    maps::SESSIONS,
    maps::ENDPOINTS,
    maps::PORTS,
    maps::REMOTES,
    maps::FILTERS,
    maps::FRAGMENTS,
    maps::CONTACTS,
    maps::PEERS,
    maps::CLIENTS,
    maps::CLIENTS_ENDED,
    maps::EXTERNALS,
    maps::POOL,
    maps::LINKS,
    maps::LINK_INDEX,
    maps::TAGGED_LINKS,
    maps::TRUNK,
    maps::SETTINGS,
    maps::COUNTERS,
];

/// What to do without a BPF file system.
const PIN_HINT: &str = "mount one (mount -t bpf bpf /sys/fs/bpf), choose another --pin-dir, \
                        or run with --no-pin";

/// Where aya-log has its messages.
const LOG_RING: &str = "AYA_LOGS";

/// Bytes of it: the program says little, and not often, and the daemon has them in its memory twice.
const LOG_RING_BYTES: u32 = 16 * 1024;

/// Bytes for what the packet path tells of mappings.
const NOTES_BYTES: u32 = 1 << 20;

/// The least that a ring buffer may have: aya makes it a page, where pages are larger.
const LEAST_RING_BYTES: u32 = 4 * 1024;

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
    /// Most port forwards.
    pub forwards: u32,
    /// Most external addresses.
    pub addresses: u32,
    /// Most contacts.
    pub contacts: u32,
    /// Whether the packet path tells of mappings, so that it needs room for that.
    pub logs_mappings: bool,
}

/// How many internal endpoints the index of endpoints has room for: one for each session, at most one for each
/// external port. Those of port forwards are in it too, and leave at least half of it to others, however many
/// there are.
pub fn endpoints(sessions: u32, forwards: u32, slots: u32) -> u32 {
    sessions.max(forwards.saturating_mul(2)).min(slots)
}

/// Loads the program and its maps. With `pin_dir`, maps of this layout that are pinned there are
/// adopted, and the others are pinned. The flag tells whether sessions were adopted.
///
/// # Errors
/// When the directory is not on a BPF file system, holds what cannot be adopted, or the kernel refuses
/// the maps.
pub fn load(size: Size, pin_dir: Option<&Path>) -> Result<(Ebpf, bool)> {
    if OBJECT.is_empty() {
        bail!("this binary was built without the XDP program: build it with `cargo xtask build`");
    }
    let level = log_level();
    let slots = size.addresses.saturating_mul(SLOTS_PER_ADDRESS);
    let sizes = [
        (LOG_RING, LOG_RING_BYTES),
        (maps::MAPPING_NOTES, if size.logs_mappings { NOTES_BYTES } else { LEAST_RING_BYTES }),
        (maps::SESSIONS, size.sessions.saturating_mul(2)),
        (maps::ENDPOINTS, endpoints(size.sessions, size.forwards, slots)),
        (maps::CONTACTS, size.contacts),
        (maps::PORTS, slots),
        (maps::HINTS, size.addresses.saturating_mul(Protocol::COUNT)),
    ];
    let folder = pin_dir.map(layout_folder).transpose()?;
    if let (Some(pin_dir), Some(folder)) = (pin_dir, &folder) {
        let others = pins::check_maps(folder, &shapes(&sizes)?).with_context(|| {
            format!("`igd-control unload --pin-dir {}` makes room", pin_dir.display())
        })?;
        if !others.is_empty() {
            let maps = others.join(", ");
            tracing::warn!(maps, "pinned maps keep their size until `igd-control unload`");
        }
    }
    let adopted = folder.as_ref().is_some_and(|folder| folder.join(maps::SESSIONS).exists());
    let mut loader = EbpfLoader::new();
    loader.override_global(aya_log::LEVEL, &level, false);
    for (name, size) in sizes {
        loader.map_max_entries(name, size);
    }
    if let Some(folder) = &folder {
        for name in PINNED {
            loader.map_pin_path(name, folder.join(name));
        }
    }
    let ebpf = loader.load(OBJECT).context("the kernel does not take the XDP program's maps")?;
    crate::memory::lay_aside(OBJECT);
    Ok((ebpf, adopted))
}

/// The maps to pin, as they would be made with these sizes.
fn shapes(sizes: &[(&str, u32)]) -> Result<Vec<(&'static str, Shape)>> {
    let object = aya_obj::Object::parse(OBJECT).context("the XDP program cannot be read")?;
    let shape = |name: &'static str| {
        let map = object.maps.get(name)?;
        let size = sizes.iter().find(|(sized, _)| *sized == name).map(|(_, size)| *size);
        let shape = Shape {
            entries: [map.map_type(), map.key_size(), map.value_size()],
            capacity: size.unwrap_or(map.max_entries()),
            flags: map.map_flags(),
        };
        Some((name, shape))
    };
    Ok(PINNED.into_iter().filter_map(shape).collect())
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

/// What the names of pinned links begin with.
pub(super) const LINK_PREFIX: &str = "link-";

/// Where the link called `name` is pinned.
pub(super) fn link_pin(pin_dir: &Path, name: &str) -> PathBuf {
    pin_dir.join(layout_name()).join(format!("{LINK_PREFIX}{}", pin_name(name)))
}

/// A name as it can be on a BPF file system, which allows no dots.
pub(super) fn pin_name(name: &str) -> String {
    name.replace('.', "_")
}

/// Attaches programs to interfaces.
pub struct Attacher<'a> {
    /// The loaded programs.
    pub ebpf: &'a mut Ebpf,
    /// What hangs on filters.
    pub filters: &'a mut Filters,
    /// XDP links that are not pinned, by the name of their device.
    pub links: &'a mut HashMap<String, FdLink>,
    /// Where links are pinned.
    pub pin_dir: Option<&'a Path>,
    /// How XDP programs are attached.
    pub mode: XdpMode,
}

impl Attacher<'_> {
    /// Loads all programs into the kernel that are not there yet, so that a verifier's refusal comes
    /// before anything is attached.
    ///
    /// # Errors
    /// The verifier's last words; all of them are in the log at level debug.
    pub fn verify(&mut self, devices: &[Device]) -> Result<()> {
        // Verifying takes its time: only what is needed.
        for name in [PROGRAM_LAN, PROGRAM_WAN, PROGRAM_TRUNK] {
            if devices.iter().any(|device| device.program == name) {
                self.load_xdp(name)?;
            }
        }
        if devices.iter().any(|device| device.program == PROGRAM_TRUNK) {
            for (name, side) in [(PROGRAM_TRUNK_LAN, Side::Lan), (PROGRAM_TRUNK_WAN, Side::Wan)] {
                let fd = self.load_xdp(name)?.fd()?.try_clone()?;
                let trunk = self.ebpf.map_mut(maps::TRUNK).context(maps::TRUNK)?;
                ProgramArray::try_from(trunk)?.set(side as u32, &fd, 0)?;
            }
        }
        for name in [PROGRAM_NEIGHBOUR, PROGRAM_GUARD] {
            let program: &mut SchedClassifier = program(self.ebpf, name)?;
            if program.fd().is_err() {
                program.load().map_err(|error| refused(name, error))?;
            }
        }
        Ok(())
    }

    fn load_xdp(&mut self, name: &'static str) -> Result<&mut Xdp> {
        let program: &mut Xdp = program(self.ebpf, name)?;
        if program.fd().is_err() {
            program.load().map_err(|error| refused(name, error))?;
        }
        Ok(program)
    }

    /// Attaches the NAT to a device, or replaces the program that is there.
    ///
    /// # Errors
    /// When the kernel refuses, usually because another XDP program is attached.
    pub fn xdp(&mut self, device: &Device) -> Result<()> {
        let Device { name: interface, program: name, .. } = device;
        let pin = self.pin(&format!("xdp-{interface}"));
        let mode = self.mode;
        let program: &mut Xdp = program(self.ebpf, name)?;
        let held = self.links.remove(interface).and_then(|link| XdpLink::try_from(link).ok());
        if let Some(link) = adopt::<XdpLink>(pin.as_deref()).or(held) {
            match program.attach_to_link(link) {
                Ok(id) => {
                    let link = program.take_link(id)?.try_into().ok();
                    if pin.is_none() {
                        self.links.extend(link.map(|link| (interface.clone(), link)));
                        return Ok(());
                    }
                    return keep(link, None);
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
        let link: Option<FdLink> = program.take_link(id)?.try_into().ok();
        if pin.is_some() {
            return keep(link, pin.as_deref());
        }
        self.links.extend(link.map(|link| (interface.clone(), link)));
        Ok(())
    }

    /// Attaches the guard to the WAN, or the neighbour resolver to any interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn classifier(&mut self, interface: &str, which: Classifier) -> Result<()> {
        let pin = self.pin(&format!("{}-{interface}", which.name()));
        classifiers::attach(self.ebpf, self.filters, interface, which, pin.as_deref())
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

/// One of the object's programs.
pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or_else(|| anyhow!("there is no program {name}"))?;
    Ok(program.try_into()?)
}

/// The link that a former daemon pinned, if there is one.
pub(super) fn adopt<L: TryFrom<FdLink>>(pin: Option<&Path>) -> Option<L> {
    let pinned = PinnedLink::from_pin(pin?).ok()?;
    L::try_from(FdLink::from(pinned)).ok()
}

/// Lets go of a link without detaching: it is pinned already, or will be now. A link that cannot be
/// pinned, as before Linux 6.6, stays attached by itself.
pub(super) fn keep(link: Option<FdLink>, pin: Option<&Path>) -> Result<()> {
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
pub(super) fn forget(pin: Option<&Path>, error: &ProgramError) {
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
