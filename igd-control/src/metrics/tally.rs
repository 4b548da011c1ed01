//! What is counted as it happens.
//!
//! The counts are the process's, so that a room which counts something needs nobody to hand it a
//! counter; no decision depends on them.

use super::{Metric, Sample};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

macro_rules! limits {
    ($($variant:ident = $name:literal, $help:literal;)*) => {
        /// A limit of the daemon.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Limit {
            $(#[doc = $help] $variant,)*
        }

        impl Limit {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in the metric's label.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it limits.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

limits! {
    Connections = "connections", "HTTP connections in all: another had to give way, or the new one.";
    ConnectionsPerClient = "connections_per_client", "HTTP connections of one client: another of its had to give way.";
    HeaderBytes = "header_bytes", "Size and number of a request's headers.";
    HeaderTime = "header_time", "Time until a request's headers are complete, the next one's on an idle connection too.";
    BodyBytes = "body_bytes", "Size of a request's body.";
    BodyTime = "body_time", "Time until a request's body is complete.";
    Subscriptions = "subscriptions", "Subscriptions to events in all: one that takes no events had to give way, or the new one.";
    SubscriptionsPerClient = "subscriptions_per_client", "The same for one client.";
    RequestRate = "request_rate", "Control requests of one client in a second.";
    Mappings = "mappings", "Port mappings in all.";
    MappingsPerClient = "mappings_per_client", "Port mappings of one internal client.";
    MappingsPerPort = "mappings_per_port", "Remote hosts that share one external port.";
}

static HITS: [AtomicU64; Limit::ALL.len()] = [const { AtomicU64::new(0) }; Limit::ALL.len()];
static EXPIRED: AtomicU64 = AtomicU64::new(0);
static SWEEPS: AtomicU64 = AtomicU64::new(0);
static SWEEP_NANOS: AtomicU64 = AtomicU64::new(0);
static LAST_SWEEP_NANOS: AtomicU64 = AtomicU64::new(0);
static REQUESTS: Mutex<BTreeMap<(&str, &str, u16), u64>> = Mutex::new(BTreeMap::new());

/// Something was refused because of a limit.
pub fn hit(limit: Limit) {
    if let Some(hits) = HITS.get(limit as usize) {
        hits.fetch_add(1, Ordering::Relaxed);
    }
}

/// Leases have ended.
pub fn leases_expired(leases: usize) {
    EXPIRED.fetch_add(leases as u64, Ordering::Relaxed);
}

/// A sweep has taken so much of a CPU.
pub fn swept(cpu: Duration) {
    let nanos = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX);
    SWEEPS.fetch_add(1, Ordering::Relaxed);
    SWEEP_NANOS.fetch_add(nanos, Ordering::Relaxed);
    LAST_SWEEP_NANOS.store(nanos, Ordering::Relaxed);
}

/// An action was answered. The names are those of the services' tables, so there is a bounded number.
pub fn answered(service: &'static str, action: &'static str, code: u16) {
    let mut requests = REQUESTS.lock().unwrap_or_else(PoisonError::into_inner);
    *requests.entry((service, action, code)).or_default() += 1;
}

/// All that was counted.
pub fn tallied() -> Vec<Sample> {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
    let seconds = |count: &AtomicU64| read(count) / 1e9;
    let mut samples = vec![
        Sample::new(Metric::Sweeps, read(&SWEEPS)),
        Sample::new(Metric::SweepCpu, seconds(&SWEEP_NANOS)),
        Sample::new(Metric::LastSweepCpu, seconds(&LAST_SWEEP_NANOS)),
        Sample::new(Metric::LeasesExpired, read(&EXPIRED)),
    ];
    let requests = REQUESTS.lock().unwrap_or_else(PoisonError::into_inner);
    for ((service, action, code), count) in requests.iter() {
        let labels = [*service, *action, &code.to_string()];
        samples.push(Sample::of(Metric::Requests, labels, *count as f64));
    }
    drop(requests);
    for (limit, hits) in Limit::ALL.iter().zip(&HITS) {
        samples.push(Sample::of(Metric::LimitsHit, [limit.name()], read(hits)));
    }
    samples
}
