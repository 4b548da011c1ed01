//! What an operator is told.

use super::{
    figures,
    lan::Places,
    reload,
    reload::InForce,
    shared::{Shared, lock},
    upstream::{behind_nat, told},
};
use crate::{
    config::StaticMapping,
    control::{Operator, Reloaded, StaticKey, Status},
    datapath::{self, ClientView, Inspect, SessionView},
    igd::MappingView,
    mapping::AnyPath,
    metrics,
    policy::{Explanation, Question},
    upstream::Seen,
};
use nat_common::{BootTime, Counter};
use std::sync::Arc;
use uuid::Uuid;

/// The daemon, as its operator may look at it.
pub(super) struct Insight {
    pub(super) shared: Arc<Shared<AnyPath>>,
    pub(super) inspector: Arc<dyn Inspect>,
    pub(super) started: BootTime,
    pub(super) uuid: Uuid,
    pub(super) http: Places,
    pub(super) max_sessions: u32,
    pub(super) in_force: InForce,
}

impl metrics::Source for Insight {
    fn metrics(&self) -> anyhow::Result<String> {
        Ok(metrics::text(figures::gather(self)?))
    }
}

impl Operator for Insight {
    fn status(&self) -> anyhow::Result<Status> {
        let now = datapath::now();
        let mut sessions = 0;
        self.inspector.sessions(now, &mut |_| sessions += 1)?;
        let (own, upstream) = (self.inspector.external_address(), self.shared.upstream_state());
        let given = upstream.as_ref().and_then(|state| state.address);
        let seen = *lock(self.shared.seen());
        Ok(Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime: now.nanos_from(self.started) / nat_common::time::NANOS_PER_SEC,
            pool: self.inspector.external_addresses(),
            external_address: given.or(own),
            behind_nat: behind_nat(own, given, seen.and_then(Seen::address)),
            seen_from_outside: told(seen),
            upstream: upstream.map_or_else(|| "off".to_owned(), |state| state.to_string()),
            interfaces: self.inspector.links(),
            uuid: self.uuid.to_string(),
            http: self.http.now(),
            subscriptions: self.shared.events().subscriptions(),
            mappings: self.shared.mappings().len(),
            sessions,
            max_sessions: self.max_sessions,
            store: match self.shared.keeper().store() {
                None => "off".to_owned(),
                Some(store) => store.failure().unwrap_or_else(|| "ok".to_owned()),
            },
        })
    }

    fn mappings(&self) -> Vec<MappingView> {
        self.shared.mappings()
    }

    fn sessions(&self, each: &mut dyn FnMut(SessionView)) -> anyhow::Result<()> {
        self.inspector.sessions(datapath::now(), each)
    }

    fn clients(&self) -> anyhow::Result<Vec<ClientView>> {
        self.inspector.clients(datapath::now())
    }

    fn counters(&self) -> anyhow::Result<Vec<(Counter, u64)>> {
        self.inspector.counters()
    }

    fn metrics(&self) -> anyhow::Result<String> {
        metrics::Source::metrics(self)
    }

    fn add_mapping(&self, mapping: &StaticMapping) -> anyhow::Result<()> {
        reload::add(&self.shared, mapping)
    }

    fn remove_mapping(&self, key: &StaticKey) -> anyhow::Result<()> {
        reload::remove(&self.shared, key)
    }

    fn explain(&self, question: &Question) -> Explanation {
        self.shared.explain(question)
    }

    fn reload(&self) -> anyhow::Result<Reloaded> {
        self.in_force.reload(&self.shared)
    }
}
