//! What outlives requests and processes: the store, and the operator's own mappings.

use crate::{
    config::{Config, StaticMapping},
    igd::{Gateway, Recovered},
    mapping::{Change, MappingKey, PacketPath, PortForward, Remembered},
    store::{self, Store},
};
use nat_common::BootTime;
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Description of a mapping that was in force before the daemon started, and of which the store knows
/// nothing.
const RESTORED: &str = "restored";

/// Seconds between attempts to make a configured mapping whose port is in use.
const PAUSE: u64 = 30;

/// Keeps mappings.
pub(super) struct Keeper {
    store: Option<Store>,
    /// The mappings of the configuration file. The store does not keep them: the file does.
    configured: Mutex<Vec<StaticMapping>>,
    /// When those that are not there were tried last.
    tried: Mutex<BootTime>,
    /// Whether everything that a former daemon has kept is there again.
    lossless: bool,
}

impl Keeper {
    /// Fills a gateway with the mappings of a former daemon: those that the packet path holds, if it
    /// was `adopted`, else those of the store; and with those of the configuration.
    pub(super) fn recover<P: PacketPath>(
        config: &Config,
        now: BootTime,
        clock: fn() -> BootTime,
        gateway: &mut Gateway<P>,
        adopted: Option<&[PortForward]>,
    ) -> Self {
        let (store, remembered, readable) = match config.daemon.state_dir() {
            Some(directory) => {
                let (store, remembered, error) = Store::open(directory, store::clock(clock));
                if let Some(error) = &error {
                    tracing::error!("kept port mappings cannot be read: {error}");
                }
                (Some(store), remembered, error.is_none())
            }
            None => (None, Vec::new(), false),
        };
        let Recovered { mappings, nameless, lost } = match adopted {
            Some(held) => gateway.take_over(held, &remembered, RESTORED),
            None => gateway.restore(now, &remembered),
        };
        if mappings + lost > 0 {
            let from = if adopted.is_some() { "the packet path" } else { "the store" };
            tracing::info!(mappings, nameless, lost, "took port mappings over from {from}");
        }
        let keeper = Self { store, lossless: readable && lost == 0, ..Self::none() };
        // The operator's own are those of the store, and those that the file names now.
        let own: HashSet<MappingKey> = remembered
            .iter()
            .filter(|own| own.mapping.is_static())
            .map(|own| own.mapping.key)
            .collect();
        for key in gateway.statics() {
            if !own.contains(&key) {
                gateway.remove_static(now, &key);
            }
        }
        keeper.configure(now, gateway, config.mapping.clone());
        if keeper.store.is_some() {
            gateway.keep_changes();
        }
        keeper.begin(gateway);
        keeper
    }

    /// A keeper that keeps nothing.
    pub(super) fn none() -> Self {
        Self { store: None, configured: Mutex::default(), tried: Mutex::default(), lossless: false }
    }

    /// Whether everything that a former daemon has kept is there again.
    pub(super) const fn is_lossless(&self) -> bool {
        self.lossless
    }

    /// Makes the mappings of the configuration, in the place of those that it had before.
    pub(super) fn configure<P: PacketPath>(
        &self,
        now: BootTime,
        gateway: &mut Gateway<P>,
        wanted: Vec<StaticMapping>,
    ) {
        let mut configured = self.configured();
        for old in configured.iter().filter(|old| !wanted.contains(old)) {
            gateway.remove_static(now, &old.key());
        }
        *configured = wanted;
        drop(configured);
        self.make(now, gateway, true);
    }

    /// Makes those mappings of the configuration that are not there: another client's sessions had
    /// their port.
    pub(super) fn retry<P: PacketPath>(&self, now: BootTime, gateway: &mut Gateway<P>) {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= tried.plus_secs(PAUSE) {
            *tried = now;
            self.make(now, gateway, false);
        }
    }

    fn make<P: PacketPath>(&self, now: BootTime, gateway: &mut Gateway<P>, first: bool) {
        for mapping in self.configured().iter() {
            let request = mapping.request();
            let there = gateway.table().get(&request.key).is_some_and(|there| {
                there.is_static()
                    && there.internal == request.internal
                    && there.description == request.description
            });
            if there {
                continue;
            }
            if let Err(error) = gateway.add_static(now, &request)
                && first
            {
                let (port, protocol) = (request.key.external_port, request.key.protocol.name());
                tracing::warn!(port, protocol, "a configured mapping cannot be made yet: {error}");
            }
        }
    }

    /// Whether a mapping is one of the configuration's.
    pub(super) fn is_configured(&self, key: &MappingKey) -> bool {
        self.configured().iter().any(|mapping| mapping.key() == *key)
    }

    /// Has the gateway's changes written. To be called before anybody else changes the gateway.
    pub(super) fn keep<P: PacketPath>(&self, gateway: &mut Gateway<P>) {
        let Some(store) = &self.store else { return };
        let changes = gateway.take_changes();
        if changes.is_empty() {
            return;
        }
        let configured = self.configured_keys();
        let kept = |change| match change {
            Change::Put(mapping) if configured.contains(&mapping.mapping.key) => {
                Change::Gone(mapping.mapping.key)
            }
            change => change,
        };
        store.submit(changes.into_iter().map(kept).collect());
    }

    /// Gives the store the whole table.
    pub(super) fn begin<P: PacketPath>(&self, gateway: &mut Gateway<P>) {
        let Some(store) = &self.store else { return };
        // They are in the table.
        gateway.take_changes();
        let configured = self.configured_keys();
        let kept = |mapping: &Remembered| !configured.contains(&mapping.mapping.key);
        store.replace(gateway.table().remember().into_iter().filter(kept).collect());
    }

    /// Waits until what was changed so far survives this process.
    pub(super) async fn settle(&self) {
        if let Some(store) = &self.store {
            store.settle().await;
        }
    }

    /// Returns when the store wants the whole table.
    pub(super) async fn wanted(&self) {
        match &self.store {
            Some(store) => store.wanted().await,
            None => std::future::pending().await,
        }
    }

    /// The store, if there is one.
    pub(super) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    fn configured(&self) -> MutexGuard<'_, Vec<StaticMapping>> {
        self.configured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn configured_keys(&self) -> HashSet<MappingKey> {
        self.configured().iter().map(StaticMapping::key).collect()
    }
}
