//! The metrics, gathered from where they are kept.

use super::{insight::Insight, shared::lock, upstream::is_behind_nat};
use crate::{
    datapath,
    metrics::{Metric, Sample, tallied},
    store::Store,
    upstream::Seen,
};
use nat_common::{Counter, Protocol, counters::Kind, time::NANOS_PER_SEC};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

/// Everything.
pub(super) fn gather(insight: &Insight) -> anyhow::Result<Vec<Sample>> {
    let now = datapath::now();
    let inspector = &insight.inspector;
    let mut samples = tallied();
    let uptime = now.nanos_from(insight.started) / NANOS_PER_SEC;
    samples.push(Sample::new(Metric::Uptime, uptime as f64));
    let connected = inspector.external_address().is_some();
    samples.push(Sample::new(Metric::Connected, f64::from(u8::from(connected))));
    samples.extend(inspector.counters()?.into_iter().map(counter));
    samples.push(Sample::new(Metric::Sessions, inspector.sessions_swept() as f64));
    samples.push(Sample::new(Metric::SessionsLimit, inspector.max_sessions().into()));
    for (protocol, ports) in inspector.ports_in_use(now) {
        samples.push(Sample::of(Metric::PortsInUse, [label(protocol)], f64::from(ports)));
    }
    samples.extend(mappings(insight));
    for (protocol, peers) in insight.shared.peers() {
        samples.push(Sample::of(Metric::Peers, [label(protocol)], peers as f64));
    }
    let subscriptions = insight.shared.events().subscriptions();
    samples.push(Sample::new(Metric::Subscriptions, subscriptions as f64));
    samples.push(Sample::new(Metric::PcpEpoch, insight.shared.epoch().into()));
    samples.extend(upstream(insight));
    samples.extend(store(insight.shared.keeper().store()));
    Ok(samples)
}

/// A counter of the packet path, as the metric that it is part of.
fn counter((counter, value): (Counter, u64)) -> Sample {
    let (name, value) = (counter.name(), value as f64);
    let way = |end| name.strip_suffix(end).unwrap_or(name);
    match counter.kind() {
        Kind::Forwarded => Sample::of(Metric::Forwarded, [way("_packets")], value),
        Kind::Passed => {
            Sample::of(Metric::Passed, [name.strip_prefix("pass_").unwrap_or(name)], value)
        }
        Kind::Dropped => {
            Sample::of(Metric::Dropped, [name.strip_prefix("drop_").unwrap_or(name)], value)
        }
        Kind::Held | Kind::Event if name.ends_with("_bytes") => {
            Sample::of(Metric::ForwardedBytes, [way("_bytes")], value)
        }
        Kind::Held | Kind::Event => Sample::of(Metric::Events, [name], value),
    }
}

fn mappings(insight: &Insight) -> Vec<Sample> {
    let mut counts = BTreeMap::new();
    for protocol in ["tcp", "udp"] {
        for kind in ["leased", "static"] {
            counts.insert((protocol, kind), 0_u32);
        }
    }
    insight.shared.each_mapping(|mapping| {
        let kind = if mapping.is_static() { "static" } else { "leased" };
        *counts.entry((label(mapping.key.protocol), kind)).or_default() += 1;
    });
    let sample = |((protocol, kind), count): (_, u32)| {
        Sample::of(Metric::Mappings, [protocol, kind], count.into())
    };
    counts.into_iter().map(sample).collect()
}

fn upstream(insight: &Insight) -> Vec<Sample> {
    let (own, state) = (insight.inspector.external_address(), insight.shared.upstream_state());
    let given = state.as_ref().and_then(|state| state.address);
    let flag = |metric, truth| Sample::new(metric, f64::from(u8::from(truth)));
    let seen = *lock(insight.shared.seen());
    let address = seen.and_then(Seen::address);
    let mut samples = vec![flag(Metric::DoubleNat, is_behind_nat(own, given, address))];
    samples.extend(seen.map(|_| flag(Metric::StunAnswered, address.is_some())));
    if let Some(state) = state {
        samples.push(flag(Metric::UpstreamUp, state.in_service));
        for (label, count) in [("held", state.held), ("wanted", state.wanted)] {
            samples.push(Sample::of(Metric::UpstreamMappings, [label], count as f64));
        }
        samples.push(Sample::new(Metric::UpstreamLosses, state.losses as f64));
    }
    samples
}

fn store(store: Option<&Store>) -> Vec<Sample> {
    let Some(store) = store else { return Vec::new() };
    let figures = store.figures();
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
    vec![
        Sample::new(Metric::StoreFailing, f64::from(u8::from(store.failure().is_some()))),
        Sample::new(Metric::StoreErrors, read(&figures.errors)),
        Sample::new(Metric::StoreChanges, read(&figures.changes)),
        Sample::new(Metric::StoreCommits, read(&figures.commits)),
        Sample::new(Metric::StoreUnwaited, read(&figures.unwaited)),
    ]
}

fn label(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp => "icmp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_counter_of_the_packet_path_is_a_sample_of_its_own() {
        let mut seen = HashSet::new();
        for known in Counter::ALL {
            let sample = format!("{:?}", counter((*known, 0)));
            assert!(seen.insert(sample), "{known:?}");
        }
    }

    #[test]
    fn drops_are_named_by_their_reason() {
        let expected = Sample::of(Metric::Dropped, ["filtered"], 7.0);
        assert_eq!(counter((Counter::DropFiltered, 7)), expected);
        let expected = Sample::of(Metric::ForwardedBytes, ["outbound"], 9.0);
        assert_eq!(counter((Counter::OutboundBytes, 9)), expected);
    }
}
