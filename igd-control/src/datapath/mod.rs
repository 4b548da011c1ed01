//! stub
use std::path::PathBuf;
use std::net::{Ipv4Addr, SocketAddrV4};
use crate::mapping::{PacketPath, PathError, PortForward};
use nat_common::{BootTime, Counter};

/// How to attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum XdpMode {
    /// Native where the driver can, else generic with a warning.
    #[default]
    Auto,
    /// Native or fail.
    Native,
    /// Generic.
    Generic,
}

/// What the data path needs to know to start.
#[derive(Clone, Debug)]
pub struct DataPathConfig {
    /// LAN interface names.
    pub lan: Vec<String>,
    /// WAN interface name.
    pub wan: String,
    /// Where maps and links are pinned; `None`: nothing is pinned, everything ends with the process.
    pub pin_dir: Option<PathBuf>,
    /// Most sessions.
    pub max_sessions: u32,
    /// Attach mode.
    pub xdp_mode: XdpMode,
    /// Idle times, port preservation.
    pub settings: nat_common::settings::Settings,
}

/// One session, as an operator sees it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SessionView {
    /// TCP, UDP or ICMP.
    pub protocol: &'static str,
    /// Internal endpoint.
    pub internal: SocketAddrV4,
    /// External endpoint.
    pub external: SocketAddrV4,
    /// Remote endpoint.
    pub remote: SocketAddrV4,
    /// "inside" or "outside": who opened it.
    pub opened: &'static str,
    /// TCP state, or "-" .
    pub state: &'static str,
    /// Seconds until it ends if idle.
    pub expires_in: u64,
}

/// One interface, as an operator sees it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LinkView {
    /// Name.
    pub name: String,
    /// "lan" or "wan".
    pub side: &'static str,
    /// IPv4 addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// "native" or "generic".
    pub mode: &'static str,
}

/// The running data path. Owns programs and links; dropped, it detaches what is not pinned.
pub struct DataPath;

/// Reads what the data path holds. Cheap to clone; every call reads the kernel's maps.
#[derive(Clone)]
pub struct Inspector;

/// Writes port forwards.
pub struct Forwards;

impl DataPath {
    /// Loads or adopts, attaches, starts following routes and sweeping. Must run inside tokio.
    pub async fn start(_config: DataPathConfig) -> anyhow::Result<Self> { todo!() }
    /// For the mapping table.
    pub fn forwards(&self) -> Forwards { todo!() }
    /// For the operator.
    pub fn inspector(&self) -> Inspector { todo!() }
    /// LAN interfaces' own IPv4 addresses with interface name, to serve on.
    pub fn lan_addresses(&self) -> Vec<(String, Ipv4Addr)> { todo!() }
}

impl Inspector {
    /// Sums over CPUs.
    pub fn counters(&self) -> anyhow::Result<Vec<(Counter, u64)>> { todo!() }
    /// Live sessions, calling back for each.
    pub fn sessions(&self, _now: BootTime, _each: &mut dyn FnMut(SessionView)) -> anyhow::Result<()> { todo!() }
    /// Interfaces.
    pub fn links(&self) -> Vec<LinkView> { todo!() }
}

impl PacketPath for Forwards {
    fn external_address(&self) -> Option<Ipv4Addr> { todo!() }
    fn open(&mut self, _now: BootTime, _forward: &PortForward) -> Result<(), PathError> { todo!() }
    fn close(&mut self, _now: BootTime, _forward: &PortForward) { todo!() }
}

/// Now, on `CLOCK_BOOTTIME`.
pub fn now() -> BootTime { todo!() }
