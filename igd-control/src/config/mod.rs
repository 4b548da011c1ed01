//! The configuration: a TOML file under the flags of the command line. Every key has a default.
//!
//! The keys are told to users by [`KEYS`] alone: `igd-control config` and docs/configuration.md are
//! made from that table, and a test holds it against the structs here.

mod check;
mod filtering;
mod keys;
mod pool;

pub use filtering::Filtering;
pub use keys::{KEYS, Key, default_file, docs_page};

use crate::{datapath::XdpMode, igd, mapping::Limits};
use nat_common::{Protocol, settings::Settings, time::NANOS_PER_SEC};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};
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
    /// What brings the connection up and down.
    pub connection: Connection,
    /// Who may map what.
    pub policy: Policy,
    /// The process.
    pub daemon: Daemon,
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
    pub fn machine(&self) -> igd::connection::ConnectionConfig {
        igd::connection::ConnectionConfig {
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
    pub mode: igd::Policy,
    /// Most mappings in all.
    pub max_mappings: u32,
    /// Most mappings of one internal client.
    pub max_mappings_per_client: u32,
}

/// `[daemon]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Daemon {
    /// Directory of a BPF file system; empty: nothing is pinned.
    pub pin_dir: PathBuf,
    /// Where the daemon answers the command line.
    pub control_socket: PathBuf,
    /// Filter of the log.
    pub log: String,
}

/// Where the daemon answers the command line unless told otherwise.
pub const DEFAULT_CONTROL_SOCKET: &str = "/run/igd-control.sock";
/// Where program and maps are pinned unless told otherwise.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/igd-control";

impl Default for Nat {
    fn default() -> Self {
        Self {
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
        Self { mode: igd::Policy::OwnClient, max_mappings: 4096, max_mappings_per_client: 256 }
    }
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            pin_dir: PathBuf::from(DEFAULT_PIN_DIR),
            control_socket: PathBuf::from(DEFAULT_CONTROL_SOCKET),
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
            let key = key_at(text, offset).filter(|key| !key.contains(char::is_control));
            error(offset, key.as_deref(), failure.message())
        })?;
        check::values(&config).map_err(|(key, message)| {
            error(offset_of(text, key).unwrap_or(0), Some(key), &message)
        })?;
        Ok(config)
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

/// The key (`section.name`) in or at whose value byte `offset` lies.
fn key_at(text: &str, offset: usize) -> Option<String> {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut found = None;
    for (section, value) in table.get_ref() {
        if section.span().contains(&offset) || value.span().contains(&offset) {
            found = Some(section.get_ref().to_string());
        }
        let DeValue::Table(keys) = value.get_ref() else {
            continue;
        };
        for (key, value) in keys {
            if key.span().contains(&offset) || value.span().contains(&offset) {
                return Some(format!("{}.{}", section.get_ref(), key.get_ref()));
            }
        }
    }
    found
}

/// Where the key `section.name` stands.
fn offset_of(text: &str, key: &str) -> Option<usize> {
    let (table, _) = DeTable::parse_recoverable(text);
    let (section, name) = key.split_once('.')?;
    let DeValue::Table(keys) = table.get_ref().get(section)?.get_ref() else {
        return None;
    };
    keys.get_key_value(name).map(|(key, _)| key.span().start)
}

#[cfg(test)]
mod tests;
