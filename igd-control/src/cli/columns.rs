//! Which members of the daemon's answers the tables show.

use super::table::Column;

/// `sessions`. Rows come as a stream, so the widths are those of the longest values.
pub(super) const SESSIONS: &[Column] = &[
    Column::text("PROTO", "protocol"),
    Column::text("INTERNAL", "internal").wide(21),
    Column::text("EXTERNAL", "external").wide(21),
    Column::text("REMOTE", "remote").wide(21),
    Column::text("OPENED", "opened").wide(7),
    Column::text("STATE", "state").wide(11),
    Column::number("EXPIRES", "expires_in").wide(7),
];

/// `mappings`.
pub(super) const MAPPINGS: &[Column] = &[
    Column::text("PROTO", "protocol"),
    Column::number("EXTERNAL", "external_port"),
    Column::text("REMOTE", "remote_host"),
    Column::text("INTERNAL", "internal"),
    Column::text("ENABLED", "enabled"),
    Column::number("LEASE", "lease_left"),
    Column::text("BY", "via"),
    Column::text("DESCRIPTION", "description"),
];

/// `clients`.
pub(super) const CLIENTS: &[Column] = &[
    Column::text("CLIENT", "address"),
    Column::number("SESSIONS", "sessions"),
    Column::number("PORTS", "ports"),
    Column::number("OVER SESSIONS", "over_sessions"),
    Column::number("OVER PORTS", "over_ports"),
    Column::number("OVER RATE", "over_rate"),
];

/// `counters`.
pub(super) const COUNTERS: &[Column] = &[
    Column::text("COUNTER", "name"),
    Column::number("VALUE", "value"),
    Column::text("WHAT IT COUNTS", "help"),
];

/// `probe`, what was found.
pub(super) const FINDINGS: &[Column] = &[
    Column::text("RESULT", "status"),
    Column::text("CHECK", "check"),
    Column::text("INTERFACE", "interface"),
    Column::text("WHAT WAS FOUND", "detail"),
];

/// `probe`, how to mend it.
pub(super) const MENDING: &[Column] = &[
    Column::text("RESULT", "status"),
    Column::text("CHECK", "check"),
    Column::text("INTERFACE", "interface"),
    Column::text("TO MEND IT", "command"),
];

/// The interfaces in `status`.
pub(super) const INTERFACES: &[Column] = &[
    Column::text("INTERFACE", "name"),
    Column::text("SIDE", "side"),
    Column::text("XDP", "mode"),
    Column::text("ADDRESSES", "addresses"),
];

/// The single values of `status`, with what they are called there.
pub(super) const STATUS: &[(&str, &str)] = &[
    ("version", "version"),
    ("process", "pid"),
    ("uptime (s)", "uptime"),
    ("external address", "external_address"),
    ("behind a NAT", "behind_nat"),
    ("seen from outside", "seen_from_outside"),
    ("upstream", "upstream"),
    ("pool", "pool"),
    ("UPnP device", "uuid"),
    ("UPnP served at", "http"),
    ("port mappings", "mappings"),
    ("sessions", "sessions"),
    ("sessions at most", "max_sessions"),
    ("store", "store"),
];
