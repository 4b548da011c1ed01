//! The data path: the XDP program, its maps, and what user space must do for them.
//!
//! [`DataPath::start`] loads or adopts, attaches, and follows the kernel's interfaces and routes;
//! [`Forwards`] writes port forwards; [`Inspector`] reads; a sweeper returns what has expired. Where there
//! shall be no NAT, [`Routed`] stands in its place: both are a [`Plane`]. All
//! `unsafe` of the daemon is in this folder and in [`crate::memory`]: the memory-mapped port table, the
//! system call `bpf`, the pages of the embedded program, and the registration of ring buffers with the
//! event loop.

mod attached;
mod batch;
mod classifiers;
mod clients;
mod clock;
mod contacts;
mod devices;
mod follow;
mod forwards;
mod fragments;
mod hints;
mod inspect;
mod lease;
mod mapping_log;
mod maps;
mod neighbours;
mod network;
mod offload;
mod peers;
pub(crate) mod pins;
mod plane;
mod pool;
mod port_table;
mod program;
mod ring;
mod routed;
mod shelf;
mod sweep;
pub(crate) mod sysctl;
mod unload;
mod view;
pub(crate) mod vlan;
mod watch;

pub use clock::now;
pub use forwards::Forwards;
pub use inspect::Inspector;
pub(crate) use offload::{Offloads, offloads};
pub use plane::{Inspect, Plane};
pub use port_table::{Mapped, PortTable};
pub use program::endpoints;
pub use routed::Routed;
pub use sweep::Swept;
pub use unload::unload;
pub use view::{ClientView, LinkView, SessionView};

use crate::igd::connection::WanLink;
use crate::mapping::{AnyPath, PortForward};
use anyhow::{Context as _, Result, bail};
use attached::Attached;
use mapping_log::MappingLog;
use nat_common::maps as names;
use nat_common::session::Side;
use nat_common::settings::Settings;
use nat_common::{BootTime, NetAddr};
use network::{Interface, Kind, Network};
use pool::Pool;
use ring::Ring;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::Notify;
use tokio::sync::watch as latest;
use tokio::task::JoinHandle;

/// How XDP programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum XdpMode {
    /// Natively where the driver can, else generically with a warning.
    #[default]
    Auto,
    /// Natively, or not at all.
    Native,
    /// Generically.
    Generic,
}

/// What the data path needs to know to start.
#[derive(Clone, Debug)]
pub struct DataPathConfig {
    /// Names of the LAN interfaces.
    pub lan: Vec<String>,
    /// Name of the WAN interface.
    pub wan: String,
    /// Where maps and links are pinned; `None`: everything ends with the process.
    pub pin_dir: Option<PathBuf>,
    /// Most sessions.
    pub max_sessions: u32,
    /// Most port forwards.
    pub max_forwards: u32,
    /// External addresses; none: the WAN interface's first.
    pub pool: Vec<Ipv4Addr>,
    /// Where mappings are logged; `None`: nowhere.
    pub mapping_log: Option<PathBuf>,
    /// How XDP programs are attached.
    pub xdp_mode: XdpMode,
    /// What the configuration says; the rest is filled in.
    pub settings: Settings,
}

/// What the parts of the data path share.
struct Shared {
    maps: maps::Maps,
    interfaces: Mutex<Vec<Option<Interface>>>,
    /// External addresses that there should be; none: the WAN interface's first.
    configured_pool: Vec<NetAddr>,
    pool: Mutex<Pool>,
    /// `None` where the kernel cannot walk over the sessions itself.
    walker: Option<sweep::Walker>,
    mapping_log: Option<MappingLog>,
    /// Told when sessions were made void all at once.
    voided: Notify,
    /// What the WAN link is like.
    wan_link: Mutex<WanLink>,
    /// Whether the connection lets packets transit.
    permitted: AtomicBool,
    /// How many sessions the last sweep has left.
    sessions_swept: AtomicU64,
    /// Told when interfaces and addresses were read anew.
    refreshed: latest::Sender<()>,
}

impl Shared {
    /// The external address of port forwards.
    fn external_address(&self) -> Option<Ipv4Addr> {
        self.external_addresses().first().copied()
    }

    fn external_addresses(&self) -> Vec<Ipv4Addr> {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.external.iter().map(|addr| Ipv4Addr::from(*addr)).collect()
    }

    /// The place of an external address in the pool.
    fn pool_index(&self, addr: NetAddr) -> Option<u32> {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        (0..).zip(&pool.external).find(|(_, external)| **external == addr).map(|(index, _)| index)
    }

    /// Whether an address lies in one of the LANs.
    fn is_in_lan(&self, addr: Ipv4Addr) -> bool {
        let interfaces = self.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        let lans = interfaces.iter().flatten().filter(|interface| interface.side == Side::Lan);
        lans.flat_map(|lan| &lan.addresses).any(|(own, prefix)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or_default();
            (own.to_bits() ^ addr.to_bits()) & mask == 0
        })
    }

    fn wan_link(&self) -> WanLink {
        *self.wan_link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets packets transit, or none; those of no pool never do.
    fn permit(&self, transit: bool) -> Result<()> {
        self.permitted.store(transit, Ordering::Relaxed);
        self.maps.change_settings(|settings| {
            settings.connected = u16::from(transit && settings.pool_len > 0);
        })
    }

    fn set_pool(&self, pool: &Pool) {
        let mut current = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.missing != current.missing && !pool.missing.is_empty() {
            let missing = follow::list(&pool.missing);
            tracing::warn!(missing, "addresses of the pool that the WAN interface does not have");
        }
        pool.clone_into(&mut current);
    }

    /// The name of the XDP program on a device.
    fn program_of(&self, index: u32) -> Option<&'static str> {
        let interfaces = self.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = devices::devices(&interfaces);
        devices.iter().find(|device| device.index == index).map(|device| device.program)
    }

    /// Whether this is one of the interfaces as they were when last looked at.
    fn knows(&self, index: u32) -> bool {
        let interfaces = self.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        interfaces.iter().flatten().any(|interface| interface.index == index)
    }

    fn links(&self) -> Vec<LinkView> {
        let interfaces = self.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        interfaces.iter().flatten().map(LinkView::from).collect()
    }
}

/// The running data path. Dropped, it detaches what is not pinned.
pub struct DataPath {
    // The order matters: first nothing follows any more, then the programs go.
    _tasks: Tasks,
    _attached: Arc<Mutex<Attached>>,
    shared: Arc<Shared>,
    adopted: bool,
}

/// Background tasks, stopped on drop.
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl DataPath {
    /// Loads the programs, or takes over from a former daemon; attaches them; starts following the
    /// kernel. Must run within a tokio runtime.
    ///
    /// # Errors
    /// When an interface does not exist or is no Ethernet, the kernel refuses the program, or
    /// something else is attached already.
    pub async fn start(config: DataPathConfig) -> Result<Self> {
        let ports = sysctl::nat_ports()?;
        let mut names = vec![(config.wan.clone(), Side::Wan)];
        names.extend(config.lan.iter().map(|name| (name.clone(), Side::Lan)));
        let (network, announcements, connection) = Network::open(names.clone(), Kind::Ethernet)?;
        let mut tasks = Tasks(vec![connection]);
        let interfaces = network.interfaces().await?;
        for (interface, (name, _)) in interfaces.iter().zip(&names) {
            if interface.is_none() {
                bail!("there is no interface {name}");
            }
        }
        if let Some(pin_dir) = &config.pin_dir
            && let Some(other) = pins::other_wan(pin_dir, &config.wan)
        {
            bail!(
                "{} belongs to a NAT whose WAN is {other}: `igd-control unload --pin-dir {0}` ends it",
                pin_dir.display()
            );
        }
        let size = program::Size {
            sessions: config.max_sessions,
            forwards: config.max_forwards,
            addresses: u32::try_from(config.pool.len())?.max(1),
            contacts: contacts::wanted(&config.settings, config.max_sessions),
            logs_mappings: config.mapping_log.is_some(),
        };
        let adopted_ports = config.pin_dir.as_deref().is_some_and(pins::hold_ports);
        let (mut ebpf, adopted) = program::load(size, config.pin_dir.as_deref())?;
        tasks.0.extend(follow::log(&mut ebpf));
        let requests = Ring::take(&mut ebpf, names::HINT_REQUESTS)?;
        // One that nobody reads stays where it is: programs that are loaded later name it by its descriptor.
        let mapping_notes =
            size.logs_mappings.then(|| Ring::take(&mut ebpf, names::MAPPING_NOTES)).transpose()?;
        let maps = maps::Maps::take(&mut ebpf)?;
        let slots = maps.ports.slots().len();
        let mapping_log = config.mapping_log.as_deref();
        let mapping_log = mapping_log.map(|path| MappingLog::open(path, slots)).transpose()?;
        maps.contacts.check(&config.settings)?;
        maps.change_settings(|settings| {
            let old = *settings;
            let note_mappings = u32::from(mapping_log.is_some());
            *settings = Settings { ports, note_mappings, ..config.settings };
            if adopted && old.route_generation != 0 {
                settings.nat_generation = old.nat_generation;
                settings.forward_generation = old.forward_generation;
                settings.route_generation = follow::next_generation(old.route_generation);
                settings.connected = old.connected;
                settings.pool_len = old.pool_len;
            }
        })?;
        let walker = maps.walker(&mut ebpf);
        let shared = Arc::new(Shared {
            maps,
            interfaces: Mutex::default(),
            configured_pool: config.pool.iter().map(|addr| NetAddr::from(*addr)).collect(),
            pool: Mutex::default(),
            walker,
            mapping_log,
            voided: Notify::new(),
            wan_link: Mutex::default(),
            permitted: AtomicBool::new(true),
            sessions_swept: AtomicU64::new(0),
            refreshed: latest::Sender::new(()),
        });
        follow::refresh(&shared, &network).await?;

        if !classifiers::has_links() {
            tracing::info!(
                "this kernel has no links for tc programs, which come with Linux 6.6: they attach as \
                 filters, which stay when a daemon without pins is killed"
            );
        }
        let notes = Ring::take(&mut ebpf, names::FRAGMENT_NOTES)?;
        let mut attached = Attached::new(ebpf, config.pin_dir, config.xdp_mode);
        attached.attach(&interfaces)?;
        attached.drop_others()?;
        follow::refresh(&shared, &network).await.context("after attaching")?;
        attached.take_over();

        let program = Arc::downgrade(attached.ebpf());
        shared.maps.peers.run_by(Weak::clone(&program));
        tasks.0.push(tokio::spawn(fragments::keep(Arc::clone(&shared), notes, program)));
        let attached = Arc::new(Mutex::new(attached));
        let network = Arc::new(network);
        let routes_changed = Arc::new(Notify::new());
        tasks.0.push(tokio::spawn(follow::follow(
            Arc::clone(&shared),
            Arc::clone(&network),
            Arc::downgrade(&attached),
            announcements,
            Arc::clone(&routes_changed),
        )));
        tasks.0.push(tokio::spawn(neighbours::keep(Arc::clone(&shared), network, routes_changed)));
        tasks.0.push(tokio::spawn(hints::answer(Arc::clone(&shared), requests)));
        if let Some(notes) = mapping_notes {
            tasks.0.push(tokio::spawn(mapping_log::follow(Arc::clone(&shared), notes)));
        }
        // The limits of clients hold from the first sweep on.
        let swept = sweep::sweep_once(&shared).await;
        tasks.0.push(tokio::spawn(sweep::sweep_regularly(Arc::clone(&shared), swept)));
        if adopted {
            tracing::info!("took over the sessions and mappings of a former daemon");
        }
        Ok(Self { _tasks: tasks, _attached: attached, shared, adopted: adopted_ports })
    }
}

impl Plane for DataPath {
    fn path(&self) -> AnyPath {
        Box::new(Forwards::new(Arc::clone(&self.shared)))
    }

    fn adopted(&self, now: BootTime) -> Option<Vec<PortForward>> {
        self.adopted.then(|| Forwards::new(Arc::clone(&self.shared)).in_force(now))
    }

    fn changes(&self) -> latest::Receiver<()> {
        self.shared.refreshed.subscribe()
    }

    fn inspector(&self) -> Arc<dyn Inspect> {
        Arc::new(Inspector::new(Arc::clone(&self.shared)))
    }
}
