//! Reading the configuration again, and what the operator changes at run time.

use super::shared::Shared;
use crate::{
    config::{Config, ConfigError, StaticMapping},
    control::{Reloaded, StaticKey},
    mapping::{MapError, MappingKey, PacketPath},
    policy::RequestRate,
};
use std::sync::{Mutex, PoisonError};

/// Where the configuration comes from: its file, under the flags.
pub type ConfigSource = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// The configuration in force.
pub(super) struct InForce {
    config: Mutex<Config>,
    source: ConfigSource,
}

impl InForce {
    pub(super) fn new(config: Config, source: ConfigSource) -> Self {
        Self { config: Mutex::new(config), source }
    }

    /// Reads it again, and takes over policy, limits of mappings and requests, and static mappings.
    pub(super) fn reload<P: PacketPath>(&self, shared: &Shared<P>) -> anyhow::Result<Reloaded> {
        let mut wanted = (self.source)()?;
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let restart_for = differing(&config, &wanted);
        config.policy = wanted.policy;
        config.mapping = std::mem::take(&mut wanted.mapping);
        shared.limit_requests(RequestRate::new(config.policy.requests_per_second));
        shared.change(|now, gateway| {
            gateway.set_policy(config.policy.policy());
            gateway.set_limits(config.policy.limits());
            shared.keeper().configure(now, gateway, config.mapping.clone());
        });
        let reloaded = Reloaded {
            rules: config.policy.rule.len(),
            mappings: config.mapping.len(),
            restart_for,
        };
        tracing::info!(
            rules = reloaded.rules,
            mappings = reloaded.mappings,
            "read the configuration again"
        );
        if !reloaded.restart_for.is_empty() {
            let sections = reloaded.restart_for.join(", ");
            tracing::warn!("changes of these sections want a restart: {sections}");
        }
        Ok(reloaded)
    }
}

/// The sections that differ and are read at the start only.
fn differing(old: &Config, new: &Config) -> Vec<&'static str> {
    let sections = [
        ("interfaces", old.interfaces != new.interfaces),
        ("nat", old.nat != new.nat),
        ("upnp", old.upnp != new.upnp),
        ("pcp", old.pcp != new.pcp),
        ("upstream", old.upstream != new.upstream),
        ("daemon", old.daemon != new.daemon),
        ("metrics", old.metrics != new.metrics),
    ];
    sections.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// `igd-control mapping add`
pub(super) fn add<P: PacketPath>(
    shared: &Shared<P>,
    mapping: &StaticMapping,
) -> anyhow::Result<()> {
    mapping.check().map_err(|(key, why)| anyhow::anyhow!("{key}: {why}"))?;
    not_configured(shared, &mapping.key())?;
    shared.change(|now, gateway| gateway.add_static(now, &mapping.request())).map_err(|error| {
        match error {
            MapError::Conflict => anyhow::anyhow!(
                "another static mapping has the port, or sessions of another client use it"
            ),
            error => error.into(),
        }
    })
}

/// `igd-control mapping remove`
pub(super) fn remove<P: PacketPath>(shared: &Shared<P>, key: &StaticKey) -> anyhow::Result<()> {
    let key = MappingKey {
        protocol: key.protocol.into(),
        external_port: key.external_port,
        remote: key.remote_host,
    };
    not_configured(shared, &key)?;
    anyhow::ensure!(
        shared.change(|now, gateway| gateway.remove_static(now, &key)),
        "there is no such static mapping"
    );
    Ok(())
}

fn not_configured<P: PacketPath>(shared: &Shared<P>, key: &MappingKey) -> anyhow::Result<()> {
    anyhow::ensure!(
        !shared.keeper().is_configured(key),
        "the configuration file names this mapping: change it there, and `igd-control reload`"
    );
    Ok(())
}
