//! What monitoring systems are told.
//!
//! [`Metric`] is the one place that names a metric: docs/metrics.md is made from it, and nothing else
//! can be told. Most values are read from where they are kept anyway when somebody asks; what is kept
//! nowhere else is counted by `tally`.

mod docs;
mod serve;
mod tally;
mod text;

#[cfg(test)]
mod tests;

pub use docs::docs_page;
pub use serve::{MetricsSocket, Source};
pub use tally::{Limit, answered, hit, leases_expired, swept, tallied};
pub use text::{PROMETHEUS, text};

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the daemon or (the packet path's) the maps start anew.
    Counter,
    /// It goes up and down.
    Gauge,
}

macro_rules! metrics {
    ($($variant:ident = $name:literal, $kind:ident, [$($label:literal),*], $help:literal;)*) => {
        /// A metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Its kind.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// The names of its labels.
            pub const fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($label),*],)* }
            }

            /// What it tells.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

metrics! {
    Uptime = "igd_uptime_seconds", Gauge, [], "Time since the daemon began to serve.";
    Connected = "igd_connected", Gauge, [], "Whether there is an external address (1) or not (0).";
    Forwarded = "igd_forwarded_packets_total", Counter, ["way"], "Packets translated and sent on: outbound, inbound, hairpin.";
    ForwardedBytes = "igd_forwarded_bytes_total", Counter, ["way"], "IP bytes of those packets.";
    Passed = "igd_passed_packets_total", Counter, ["reason"], "Packets left to the kernel.";
    Dropped = "igd_dropped_packets_total", Counter, ["reason"], "Packets dropped.";
    Events = "igd_datapath_events_total", Counter, ["event"], "What else the packet path counts; `igd-control counters` says what each means.";
    Sessions = "igd_sessions", Gauge, [], "Sessions of the NAT that the last sweep has seen.";
    SessionsLimit = "igd_sessions_limit", Gauge, [], "Most sessions at a time.";
    PortsInUse = "igd_ports_in_use", Gauge, ["protocol"], "External ports, and identifiers of pings, that are held, on all external addresses.";
    Sweeps = "igd_sweeps_total", Counter, [], "Sweeps of the tables.";
    SweepCpu = "igd_sweep_cpu_seconds_total", Counter, [], "Time of a CPU that they took.";
    LastSweepCpu = "igd_last_sweep_cpu_seconds", Gauge, [], "Time of a CPU that the last one took.";
    Mappings = "igd_mappings", Gauge, ["protocol", "kind"], "Port mappings: leased or static.";
    Peers = "igd_pcp_peers", Gauge, ["protocol"], "Sessions that clients hold by PCP's PEER.";
    Subscriptions = "igd_subscriptions", Gauge, [], "Subscriptions to events.";
    LeasesExpired = "igd_leases_expired_total", Counter, [], "Port mappings removed at the end of their lease.";
    Requests = "igd_requests_total", Counter, ["service", "action", "code"], "Control requests answered, by the error or result code of UPnP, PCP (MAP, ...) or NAT-PMP (map, address); 0 is success.";
    PcpEpoch = "igd_pcp_epoch_seconds", Gauge, [], "Epoch time of PCP and NAT-PMP: since when no mapping was lost and the external address is this one.";
    DoubleNat = "igd_double_nat", Gauge, [], "Whether the gateway is itself behind a NAT, as far as can be seen (1) or not (0).";
    StunAnswered = "igd_stun_answered", Gauge, [], "Whether the STUN server has answered last (1) or not (0); only where one is configured.";
    UpstreamUp = "igd_upstream_in_service", Gauge, [], "Whether the PCP server upstream is in service (1) or not (0); only where one is configured.";
    UpstreamMappings = "igd_upstream_mappings", Gauge, ["state"], "Port mappings at the PCP server upstream: in force (held), and all that are wanted there.";
    UpstreamLosses = "igd_upstream_losses_total", Counter, [], "How often the PCP server upstream had lost its state.";
    LimitsHit = "igd_limits_hit_total", Counter, ["limit"], "How often a limit of the daemon was reached, and something refused or ended.";
    StoreFailing = "igd_store_failing", Gauge, [], "Whether port mappings cannot be kept at the moment (1) or can (0).";
    StoreErrors = "igd_store_errors_total", Counter, [], "What went wrong with the store.";
    StoreChanges = "igd_store_changes_total", Counter, [], "Changes written to the store.";
    StoreCommits = "igd_store_commits_total", Counter, [], "Durable commits of the store.";
    StoreUnwaited = "igd_store_unwaited_total", Counter, [], "Answers given although the store had not written their change within a second.";
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    metric: Metric,
    labels: Vec<String>,
    value: f64,
}

impl Sample {
    /// A value of a metric without labels.
    pub fn new(metric: Metric, value: f64) -> Self {
        Self::of(metric, [], value)
    }

    /// A value of a metric for these labels, in the order of [`Metric::labels`].
    pub fn of<const N: usize>(metric: Metric, labels: [&str; N], value: f64) -> Self {
        debug_assert_eq!(metric.labels().len(), N, "{metric:?}");
        Self { metric, labels: labels.map(str::to_owned).to_vec(), value }
    }
}
