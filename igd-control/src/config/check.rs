//! The ranges of the values, with the reason that a user is told.

use super::{Config, Interfaces, MssClamp};
use nat_common::client::MAX_RATE;
use std::{collections::HashSet, ops::RangeInclusive, path::Path};
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

/// A day: longer announcements outlive the gateway that made them.
const DAY: u32 = 86_400;
/// A week, the longest lease that the service grants; an idle session need not live longer.
const WEEK: u32 = 604_800;
/// For as long as this, nobody need remember a port that a client has forgotten.
const YEAR: u32 = 31_536_000;
/// Longest interface name (IFNAMSIZ without its NUL), bytes.
const INTERFACE_NAME: usize = 15;
/// Longest path of a Unix socket, bytes.
const SOCKET_PATH: usize = 107;

/// A key and what is wrong with its value.
pub(super) type Violation = (String, String);

/// Checks the values of a file.
pub(super) fn values(config: &Config) -> Result<(), Violation> {
    let Config { nat, upnp, policy, daemon, .. } = config;
    let sessions = (1_024..=16_777_216, "each takes about 240 bytes of kernel memory");
    range("nat.max-sessions", nat.max_sessions, sessions)?;
    if let Err(error) = super::pool::addresses(&nat.pool) {
        return violation("nat.pool", error);
    }
    let per_client = (0..=16_777_216, "0 is no limit");
    range("nat.max-sessions-per-client", nat.max_sessions_per_client, per_client.clone())?;
    range("nat.max-ports-per-client", nat.max_ports_per_client, per_client)?;
    let rate = (0..=MAX_RATE, "0 is no limit");
    range("nat.new-sessions-per-second", nat.new_sessions_per_second, rate)?;
    range("nat.udp-timeout", nat.udp_timeout, (120..=WEEK, "RFC 4787 REQ-5"))?;
    let established = (7_440..=WEEK, "RFC 5382 REQ-5");
    range("nat.tcp-established-timeout", nat.tcp_established_timeout, established)?;
    let transitory = (240..=WEEK, "RFC 5382 REQ-5");
    range("nat.tcp-transitory-timeout", nat.tcp_transitory_timeout, transitory)?;
    range("nat.icmp-timeout", nat.icmp_timeout, (60..=WEEK, "RFC 5508 REQ-2"))?;
    if let MssClamp::Bytes(bytes) = nat.mss_clamp {
        let segment = (536..=u32::from(u16::MAX), "RFC 9293 3.7.1");
        range("nat.mss-clamp", u32::from(bytes), segment)?;
    }
    if nat.mapping_log().is_some_and(Path::is_relative) {
        return violation("nat.mapping-log", "must be an absolute path, or empty");
    }
    range("upnp.max-age", upnp.max_age, (60..=DAY, "UPnP Device Architecture 1.1, 1.2.2"))?;
    let notify = (10..=upnp.max_age / 2, "at most half of max-age, so that one may be lost");
    range("upnp.notify-interval", upnp.notify_interval, notify)?;
    let lease = (120..=YEAR, "shorter ones end before old clients ask again");
    range("upnp.longest-lease", upnp.longest_lease, lease)?;
    let longest = (120..=YEAR, "shorter ones are renewed all the time");
    range("pcp.max-lifetime", config.pcp.max_lifetime, longest)?;
    let shortest = (1..=config.pcp.max_lifetime, "at most max-lifetime");
    range("pcp.min-lifetime", config.pcp.min_lifetime, shortest)?;
    if config.upstream.server().is_none() {
        let message = "must be \"none\", \"gateway\", or the name or address of a host";
        return violation("upstream.server", message);
    }
    let interface = &config.upstream.interface;
    if !interface.is_empty() && !is_interface(interface) {
        return violation("upstream.interface", "must be the name of an interface, or empty");
    }
    for (key, text) in [
        ("upstream.clat-prefix", &config.upstream.clat_prefix),
        ("upstream.nat64-prefix", &config.upstream.nat64_prefix),
    ] {
        if let Err(message) = text.parse::<crate::upstream::Prefix>()
            && !text.is_empty()
        {
            return violation(key, message);
        }
    }
    if config.upstream.nat64_prefix.is_empty() && !config.upstream.clat_prefix.is_empty() {
        return violation("upstream.clat-prefix", "needs a nat64-prefix beside it");
    }
    if !config.upstream.stun_server.is_empty() && config.upstream.stun_server().is_none() {
        let message = "must be a host's name or IPv4 address, with or without :PORT, or empty";
        return violation("upstream.stun-server", message);
    }
    if !nat.enabled && !config.upstream.is_on() {
        let message = "without a NAT here port mappings are those of a server upstream, and neither \
                       upstream.server nor upstream.server-file names one";
        return violation("nat.enabled", message);
    }
    if config.upstream.server_file().is_some_and(Path::is_relative) {
        return violation("upstream.server-file", "must be an absolute path, or empty");
    }
    let command = (1..=600, "nobody waits longer");
    range("connection.command-time", config.connection.command_time, command.clone())?;
    range("connection.setup-time", config.connection.setup_time, command)?;
    let mappings = (1..=65_535, "one per external port and protocol is the most that is useful");
    range("policy.max-mappings", policy.max_mappings, mappings)?;
    let per_client = (1..=policy.max_mappings, "at most max-mappings");
    range("policy.max-mappings-per-client", policy.max_mappings_per_client, per_client)?;
    let rate = (0..=1_000_000, "0 is no limit");
    range("policy.requests-per-second", policy.requests_per_second, rate)?;
    super::static_mapping::check(&config.mapping)?;

    let name = &upnp.friendly_name;
    if name.is_empty() || name.chars().count() > 63 || name.chars().any(char::is_control) {
        return violation("upnp.friendly-name", "must have 1 to 63 characters, none a control");
    }
    if !upnp.uuid.is_empty() && Uuid::parse_str(&upnp.uuid).is_err() {
        return violation("upnp.uuid", format!("{:?} is not a UUID", upnp.uuid));
    }
    if !daemon.pin_dir.as_os_str().is_empty() && daemon.pin_dir.is_relative() {
        return violation("daemon.pin-dir", "must be an absolute path, or empty");
    }
    if !daemon.state_dir.as_os_str().is_empty() && daemon.state_dir.is_relative() {
        return violation("daemon.state-dir", "must be an absolute path, or empty");
    }
    let listen = &config.metrics.listen;
    if !listen.is_empty() && config.metrics.listen().is_none() {
        let message = format!("{listen:?} is no address and port, as in 127.0.0.1:9469");
        return violation("metrics.listen", message);
    }
    let socket = daemon.control_socket.as_os_str();
    if socket.is_empty() || socket.len() > SOCKET_PATH {
        return violation("daemon.control-socket", "must be a path of at most 107 bytes");
    }
    if let Err(error) = EnvFilter::try_new(&daemon.log) {
        return violation("daemon.log", error.to_string());
    }
    Ok(())
}

/// Whether an interface can have this name.
fn is_interface(name: &str) -> bool {
    let odd = |c: char| c == '/' || c.is_whitespace();
    !(name.is_empty() || name.len() > INTERFACE_NAME || name.contains(odd))
}

/// Checks the interfaces that file and flags name together.
pub(super) fn interfaces(interfaces: &Interfaces) -> Result<(), String> {
    let Interfaces { lan, wan, .. } = interfaces;
    if lan.is_empty() {
        return Err("no LAN interface: name one by --lan, or by `lan` in [interfaces]".to_owned());
    }
    if wan.is_empty() {
        return Err("no WAN interface: name it by --wan, or by `wan` in [interfaces]".to_owned());
    }
    let mut seen = HashSet::new();
    for name in lan.iter().chain([wan]) {
        if !is_interface(name) {
            return Err(format!("{name:?} cannot be the name of an interface"));
        }
        if !seen.insert(name) {
            return Err(format!("interface {name} is named twice"));
        }
    }
    Ok(())
}

fn range(
    key: &str,
    value: u32,
    (allowed, reason): (RangeInclusive<u32>, &str),
) -> Result<(), Violation> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let (least, most) = (allowed.start(), allowed.end());
    violation(key, format!("{value} is not between {least} and {most} ({reason})"))
}

fn violation(key: &str, message: impl Into<String>) -> Result<(), Violation> {
    Err((key.to_owned(), message.into()))
}
