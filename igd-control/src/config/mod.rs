//! The configuration: a TOML file under the flags of the command line. Every key has a default.
//!
//! The keys are told to users by [`KEYS`] alone: `igd-control config` and docs/configuration.md are
//! made from that table, and a test holds it against the structs here.

mod check;
mod filtering;
mod keys;
mod page;
mod place;
mod pool;
mod static_mapping;
mod upstream;

pub use filtering::Filtering;
pub use keys::{KEYS, Key, TABLES, TableKeys};
pub use page::{default_file, docs_page};
pub use static_mapping::StaticMapping;
pub use upstream::{PrivateAddress, Upstream, UpstreamServer};

use crate::{
    datapath::XdpMode,
    igd::connection::ConnectionConfig,
    mapping::Limits,
    pcp,
    policy::{self, Mode, Rule},
};
use nat_common::{Protocol, settings::Settings, time::NANOS_PER_SEC};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where the NAT stands.
    pub interfaces: Interfaces,
    /// The packet path.
    pub nat: Nat,
    /// What UPnP clients see.
    pub upnp: Upnp,
    /// What clients of PCP and NAT-PMP see.
    pub pcp: Pcp,
    /// The NAT that we are behind.
    pub upstream: Upstream,
    /// What brings the connection up and down.
    pub connection: Connection,
    /// Who may map what.
    pub policy: Policy,
    /// The process.
    pub daemon: Daemon,
    /// What monitoring systems are told.
    pub metrics: Metrics,
    /// Mappings that are there whatever clients ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mapping: Vec<StaticMapping>,
}

/// `[interfaces]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Interfaces {
    /// Names of the LAN interfaces.
    pub lan: Vec<String>,
    /// Name of the WAN interface.
    pub wan: String,
    /// How the XDP program attaches.
    pub xdp_mode: XdpMode,
}

/// `[nat]`: times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Nat {
    /// Whether packets are translated here.
    pub enabled: bool,
    /// Most sessions at a time.
    pub max_sessions: u32,
    /// The external addresses; empty: the first one of the WAN interface.
    pub pool: Vec<String>,
    /// Most sessions of one internal client; 0: no limit.
    pub max_sessions_per_client: u32,
    /// Most external ports and identifiers of one internal client; 0: no limit.
    pub max_ports_per_client: u32,
    /// Most sessions that one internal client may open in a second; 0: no limit.
    pub new_sessions_per_second: u32,
    /// Keep the internal port outside when it is free.
    pub preserve_ports: bool,
    /// Who may send to a mapped UDP port.
    pub filtering_udp: Filtering,
    /// Who may send to a mapped TCP port.
    pub filtering_tcp: Filtering,
    /// Who may answer a mapped ICMP query identifier.
    pub filtering_icmp: Filtering,
    /// Idle time of a UDP session.
    pub udp_timeout: u32,
    /// Idle time of an established TCP connection.
    pub tcp_established_timeout: u32,
    /// Idle time of a TCP connection that opens or closes.
    pub tcp_transitory_timeout: u32,
    /// Idle time of an ICMP query session.
    pub icmp_timeout: u32,
    /// Largest TCP segment that a connection may offer.
    pub mss_clamp: MssClamp,
    /// File to which mappings are logged; empty: none.
    pub mapping_log: PathBuf,
}

/// `nat.mss-clamp`: a word, or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum MssClamp {
    /// By a word.
    Mode(MssMode),
    /// To so many bytes.
    Bytes(u16),
}

/// How the segment size is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MssMode {
    /// Not at all.
    Off,
    /// To what fits the links' MTU.
    Mtu,
}

impl MssClamp {
    /// What the packet path is told.
    const fn limit(self) -> u16 {
        match self {
            Self::Mode(MssMode::Off) => 0,
            Self::Mode(MssMode::Mtu) => Settings::MSS_TO_MTU,
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// `[upnp]`: times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Upnp {
    /// TCP port of descriptions and control; 0 takes any.
    pub http_port: u16,
    /// The gateway's name in users' lists.
    pub friendly_name: String,
    /// UUID of the root device; empty: derived from the machine.
    pub uuid: String,
    /// How long an announcement holds.
    pub max_age: u32,
    /// Time between announcements.
    pub notify_interval: u32,
    /// The longest lease by version 1.
    pub longest_lease: u32,
    /// The name of the provider.
    pub access_provider: String,
}

/// `[pcp]`: times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pcp {
    /// Whether PCP is served.
    pub enabled: bool,
    /// Whether NAT-PMP is, beside it.
    pub nat_pmp: bool,
    /// Whether clients may ask for others, where the policy lets them.
    pub third_party: bool,
    /// Whether PEER is answered.
    pub peer: bool,
    /// The shortest mapping by PCP.
    pub min_lifetime: u32,
    /// The longest mapping.
    pub max_lifetime: u32,
}

impl Default for Pcp {
    fn default() -> Self {
        let pcp::Settings { nat_pmp, third_party, peer, min_lifetime, max_lifetime } =
            pcp::Settings::default();
        Self { enabled: true, nat_pmp, third_party, peer, min_lifetime, max_lifetime }
    }
}

impl Pcp {
    /// What the server is told.
    pub const fn settings(&self) -> pcp::Settings {
        let Self { nat_pmp, third_party, peer, min_lifetime, max_lifetime, .. } = *self;
        pcp::Settings { nat_pmp, third_party, peer, min_lifetime, max_lifetime }
    }
}

/// `[connection]`: times in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Connection {
    /// Program and arguments that bring the WAN link up.
    pub up_command: Vec<String>,
    /// Program and arguments that take it down.
    pub down_command: Vec<String>,
    /// How long either may take.
    pub command_time: u32,
    /// How long a connection may take to come up.
    pub setup_time: u32,
}

impl Default for Connection {
    fn default() -> Self {
        Self { up_command: Vec::new(), down_command: Vec::new(), command_time: 30, setup_time: 60 }
    }
}

impl Connection {
    /// What the connection is told.
    pub fn machine(&self) -> ConnectionConfig {
        ConnectionConfig {
            has_up: !self.up_command.is_empty(),
            has_down: !self.down_command.is_empty(),
            setup_time: self.setup_time,
        }
    }
}

/// `[policy]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// For whom a client may map.
    pub mode: Mode,
    /// What comes before the mode.
    pub rule: Vec<Rule>,
    /// Most mappings in all.
    pub max_mappings: u32,
    /// Most mappings of one internal client.
    pub max_mappings_per_client: u32,
    /// Most requests of one client in a second, in the long run; 0: no limit.
    pub requests_per_second: u32,
}

/// `[daemon]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Daemon {
    /// Directory of a BPF file system; empty: nothing is pinned.
    pub pin_dir: PathBuf,
    /// Where the daemon answers the command line.
    pub control_socket: PathBuf,
    /// Directory of the store; empty: nothing is kept.
    pub state_dir: PathBuf,
    /// Filter of the log.
    pub log: String,
}

/// `[metrics]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Metrics {
    /// Address and port; empty: on the control socket only.
    pub listen: String,
}

/// Where the daemon answers the command line unless told otherwise.
pub const DEFAULT_CONTROL_SOCKET: &str = "/run/igd-control.sock";
/// Where mappings are kept unless told otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/igd-control";
/// Where program and maps are pinned unless told otherwise.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/igd-control";

impl Default for Nat {
    fn default() -> Self {
        Self {
            enabled: true,
            max_sessions: 262_144,
            pool: Vec::new(),
            max_sessions_per_client: 65_536,
            max_ports_per_client: 16_384,
            new_sessions_per_second: 0,
            preserve_ports: true,
            filtering_udp: Filtering::default(),
            filtering_tcp: Filtering::default(),
            filtering_icmp: Filtering::default(),
            udp_timeout: 300,
            tcp_established_timeout: 7_440,
            tcp_transitory_timeout: 240,
            icmp_timeout: 60,
            mss_clamp: MssClamp::Mode(MssMode::Off),
            mapping_log: PathBuf::new(),
        }
    }
}

impl Default for Upnp {
    fn default() -> Self {
        Self {
            http_port: 5000,
            friendly_name: "Internet gateway (igd-control)".to_owned(),
            uuid: String::new(),
            max_age: 1800,
            notify_interval: 600,
            longest_lease: 604_800,
            access_provider: String::new(),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::OwnClient,
            rule: Vec::new(),
            max_mappings: 4096,
            max_mappings_per_client: 256,
            requests_per_second: 1_000,
        }
    }
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            pin_dir: PathBuf::from(DEFAULT_PIN_DIR),
            control_socket: PathBuf::from(DEFAULT_CONTROL_SOCKET),
            state_dir: PathBuf::from(DEFAULT_STATE_DIR),
            log: "info".to_owned(),
        }
    }
}

impl Nat {
    /// The external addresses that are named; none: whichever comes first on the WAN interface.
    pub fn pool(&self) -> Vec<Ipv4Addr> {
        // Checked when the configuration was read.
        pool::addresses(&self.pool).unwrap_or_default()
    }

    /// For how many external addresses the tables are made.
    pub fn addresses(&self) -> u32 {
        u32::try_from(self.pool().len()).unwrap_or(u32::MAX).max(1)
    }

    /// Where mappings are logged; `None` when they are not.
    pub fn mapping_log(&self) -> Option<&Path> {
        (!self.mapping_log.as_os_str().is_empty()).then_some(self.mapping_log.as_path())
    }

    /// What the packet path is told.
    pub fn settings(&self) -> Settings {
        let nanos = |seconds: u32| u64::from(seconds) * NANOS_PER_SEC;
        let mut settings = Settings {
            udp_timeout: nanos(self.udp_timeout),
            icmp_timeout: nanos(self.icmp_timeout),
            tcp_established_timeout: nanos(self.tcp_established_timeout),
            tcp_transitory_timeout: nanos(self.tcp_transitory_timeout),
            preserve_ports: u16::from(self.preserve_ports),
            mss: self.mss_clamp.limit(),
            max_sessions_per_client: self.max_sessions_per_client,
            max_ports_per_client: self.max_ports_per_client,
            new_sessions_per_second: self.new_sessions_per_second,
            ..Settings::DEFAULT
        };
        settings.set_filtering(Protocol::Udp, self.filtering_udp.into());
        settings.set_filtering(Protocol::Tcp, self.filtering_tcp.into());
        settings.set_filtering(Protocol::Icmp, self.filtering_icmp.into());
        settings
    }
}

impl Upnp {
    /// The configured UUID; `None` when it is to be derived.
    pub fn uuid(&self) -> Option<Uuid> {
        Uuid::parse_str(&self.uuid).ok()
    }
}

impl Policy {
    /// What requests are asked about.
    pub fn policy(&self) -> policy::Policy {
        policy::Policy { mode: self.mode, rules: self.rule.clone() }
    }

    /// What the table of port mappings is told.
    pub fn limits(&self) -> Limits {
        Limits {
            mappings: self.max_mappings as usize,
            per_client: self.max_mappings_per_client as usize,
            ..Limits::default()
        }
    }
}

impl Daemon {
    /// Where maps and programs are pinned; `None` when nothing is.
    pub fn pin_dir(&self) -> Option<&Path> {
        Some(self.pin_dir.as_path()).filter(|path| !path.as_os_str().is_empty())
    }

    /// Where mappings are kept; `None` when they are not.
    pub fn state_dir(&self) -> Option<&Path> {
        Some(self.state_dir.as_path()).filter(|path| !path.as_os_str().is_empty())
    }
}

impl Metrics {
    /// Where they are served by TCP; `None` when they are not.
    pub fn listen(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Something in the file is wrong.
    #[error("{path}:{line}: {message}")]
    File {
        /// The file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong, after the key (`section.name`) as far as it is known.
        message: String,
    },
    /// The flags and the file together do not make a gateway.
    #[error("{0}")]
    Incomplete(String),
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, has an unknown key or a value out of its range.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&name, &text),
            Err(source) => Err(ConfigError::Read { path: name, source }),
        }
    }

    /// Reads and checks the text of a file called `name`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let error = |offset: usize, key: Option<&str>, message: &str| {
            let message = message.trim().replace('\n', "; ");
            ConfigError::File {
                path: name.to_owned(),
                line: text.get(..offset).unwrap_or(text).matches('\n').count() + 1,
                message: key.map(|key| format!("{key}: {message}")).unwrap_or(message),
            }
        };
        let config: Self = toml::from_str(text).map_err(|failure| {
            let offset = failure.span().map_or(0, |span| span.start);
            // Of a broken file, half a line may be taken for a key.
            let key = place::key_at(text, offset).filter(|key| !key.contains(char::is_control));
            error(offset, key.as_deref(), failure.message())
        })?;
        check::values(&config).map_err(|(key, message)| {
            error(place::offset_of(text, &key).unwrap_or(0), Some(&key), &message)
        })?;
        Ok(config)
    }

    /// Most port forwards that there can be.
    pub fn max_forwards(&self) -> u32 {
        let of_operator = u32::try_from(self.mapping.len()).unwrap_or(u32::MAX);
        self.policy.max_mappings.saturating_add(of_operator)
    }

    /// Checks what flags and file say together.
    ///
    /// # Errors
    /// An interface is missing or named twice, or a flag's value is out of its range.
    pub fn complete(&self) -> Result<(), ConfigError> {
        check::interfaces(&self.interfaces).map_err(ConfigError::Incomplete)?;
        check::values(self)
            .map_err(|(key, message)| ConfigError::Incomplete(format!("{key}: {message}")))
    }
}

#[cfg(test)]
mod tests;
