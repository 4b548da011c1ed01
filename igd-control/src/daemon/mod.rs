//! The running gateway: joins the data path, the gateway and everything that listens.

mod boot_ids;
mod epochs;
mod errands;
mod figures;
mod identity;
mod insight;
mod keeper;
mod lan;
mod logging;
mod reload;
mod resolve;
mod shared;
mod systemd;
mod upstream;
mod wan;

use crate::{
    config::{Config, Interfaces},
    control::{ControlSocket, Operator as _},
    datapath::{self, DataPath, DataPathConfig, Plane, Routed},
    http,
    igd::{Gateway, GatewayConfig},
    memory,
    metrics::MetricsSocket,
    policy::RequestRate,
    probe,
    shutdown::{Trigger, shutdown},
    store,
};
use anyhow::Context as _;
use epochs::Epochs;
use identity::Identity;
use insight::Insight;
use keeper::Keeper;
use lan::Lan;
use reload::InForce;

pub use reload::ConfigSource;
use shared::Shared;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::timeout,
};
use wan::Wan;

/// How long the parts may take to end: goodbyes to say, answers to write.
const STOPPING_TIME: Duration = Duration::from_secs(1);

/// Runs the gateway until SIGTERM or SIGINT. `source` reads the configuration again, at SIGHUP and
/// when the operator asks for it.
///
/// # Errors
/// It cannot start, or a part of it failed.
pub fn run(config: Config, source: ConfigSource) -> anyhow::Result<()> {
    memory::share_one_heap();
    logging::init(&config.daemon.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(until_signal(config, source));
    runtime.shutdown_timeout(STOPPING_TIME);
    result
}

async fn until_signal(config: Config, source: ConfigSource) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    probe::before_start(&config).await?;
    // What can be refused is asked for before the packet path is touched.
    let control = ControlSocket::bind(&config.daemon.control_socket)?;
    let metrics = metrics_socket(&config)?;
    let identity = Identity::new(&config);
    let lan = Lan::open(&config, &identity).await?;
    let data_path = tokio::select! {
        data_path = plane(&config) => data_path?,
        name = signals.received() => {
            tracing::info!("stopped by {name} before it served");
            return Ok(());
        }
    };

    let listeners = Listeners { control, metrics, lan };
    let (trigger, mut parts, insight) = start(&config, source, &identity, listeners, &*data_path);
    let result = tokio::select! {
        name = signals.received() => {
            tracing::info!("stopping: {name}");
            Ok(())
        }
        () = reload_when_told(&mut hangup, &insight) => Ok(()),
        Some(ended) = parts.join_next() => Err(match ended {
            Ok(()) => anyhow::anyhow!("a part of the daemon ended"),
            Err(error) => anyhow::anyhow!("a part of the daemon failed: {error}"),
        }),
    };
    systemd::stopping();
    drop(trigger);
    let all_ended = async { while parts.join_next().await.is_some() {} };
    if timeout(STOPPING_TIME, all_ended).await.is_err() {
        tracing::debug!("some parts did not end in time");
    }
    if let Some(store) = insight.shared.keeper().store() {
        store.close();
    }
    result
}

/// What is bound before the packet path is touched.
struct Listeners {
    control: ControlSocket,
    metrics: Option<MetricsSocket>,
    lan: Lan,
}

fn metrics_socket(config: &Config) -> anyhow::Result<Option<MetricsSocket>> {
    let bind = |address| {
        MetricsSocket::bind(address).with_context(|| {
            format!("cannot serve metrics at {address} (metrics.listen chooses another place)")
        })
    };
    config.metrics.listen().map(bind).transpose()
}

/// Reads the configuration again at each SIGHUP.
async fn reload_when_told(hangup: &mut Signal, insight: &Arc<Insight>) {
    while hangup.recv().await.is_some() {
        let insight = Arc::clone(insight);
        match tokio::task::spawn_blocking(move || insight.reload()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!("everything stays as it is: {error:#}"),
            Err(error) => tracing::error!("reading the configuration again failed: {error}"),
        }
    }
    std::future::pending::<()>().await;
}

/// Starts everything that serves.
fn start(
    config: &Config,
    source: ConfigSource,
    identity: &Identity,
    Listeners { control, metrics, lan }: Listeners,
    data_path: &dyn Plane,
) -> (Trigger, JoinSet<()>, Arc<Insight>) {
    let gateway_config = GatewayConfig {
        root_uuid: identity.uuid,
        policy: config.policy.mode,
        limits: config.policy.limits(),
        longest_lease: config.upnp.longest_lease,
        connection: config.connection.machine(),
        access_provider: config.upnp.access_provider.clone(),
        seed: fastrand::u64(..),
    };
    let held = data_path.adopted(datapath::now());
    let mut gateway = Gateway::new(datapath::now(), &gateway_config, data_path.path());
    gateway.set_policy(config.policy.policy());
    gateway.set_outside(upstream::at_start(&config.upstream));
    let now = datapath::now();
    let keeper = Keeper::recover(config, now, datapath::now, &mut gateway, held.as_deref());
    let wan = Wan::new(&config.interfaces.wan, data_path.inspector());
    let shared = Shared::new(gateway, datapath::now, identity, wan).kept_by(keeper);
    let epochs = Epochs::of(config.daemon.state_dir(), store::clock(datapath::now));
    let upstream =
        upstream::Upstream::new(&config.upstream, config.nat.enabled, config.daemon.state_dir());
    let sessions = held.is_some();
    let shared = shared.controlled(config.pcp.settings(), epochs, sessions).beneath(upstream);
    let shared = Arc::new(shared);
    shared.limit_requests(RequestRate::new(config.policy.requests_per_second));
    let connection = &config.connection;
    let insight = Insight {
        shared: Arc::clone(&shared),
        inspector: data_path.inspector(),
        started: datapath::now(),
        uuid: identity.uuid,
        http: lan.places(),
        max_sessions: data_path.inspector().max_sessions(),
        in_force: InForce::new(config.clone(), source),
    };
    let insight = Arc::new(insight);
    let places = lan.places().now();
    let places: Vec<_> = places.iter().map(|place| format!("http://{place}")).collect();

    let (trigger, shutdown) = shutdown();
    let mut parts = JoinSet::new();
    let (server, stop) = (http::Server::new(Arc::clone(&shared)), shutdown.clone());
    let (subscribers, port_control) = (Arc::clone(&shared), Arc::clone(&shared));
    parts.spawn(async move {
        lan.serve(server, port_control, |gone| subscribers.events().forget(gone), stop).await;
    });
    let (publisher, stop) = (Arc::clone(&shared), shutdown.clone());
    parts.spawn(async move { publisher.events().run(stop).await });
    let (mut stop, operator) = (shutdown.clone(), Arc::clone(&insight));
    parts.spawn(async move {
        tokio::select! {
            () = stop.wait() => {}
            () = control.serve(Arc::clone(&operator)) => {}
        }
    });
    let errands = errands::Errands::new(connection, &config.interfaces.wan);
    parts.spawn(errands.run(Arc::clone(&shared), shutdown.clone()));
    if config.upstream.is_on() {
        let carrier = upstream::Carrier::new(&config.upstream, &config.interfaces.wan);
        let (network, stop) = (data_path.changes(), shutdown.clone());
        parts.spawn(carrier.run(Arc::clone(&shared), network, stop));
    }
    if let Some(stun) = upstream::Stun::new(&config.upstream, &config.interfaces.wan) {
        let (network, stop) = (data_path.changes(), shutdown.clone());
        let inspector = data_path.inspector();
        let own = move || inspector.external_address();
        parts.spawn(stun.run(Arc::clone(&shared), own, network, stop));
    }
    if let Some(metrics) = metrics {
        let (mut stop, insight) = (shutdown.clone(), Arc::clone(&insight));
        parts.spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = metrics.serve(insight) => {}
            }
        });
    }
    let (feeder, stop) = (Arc::clone(&shared), shutdown.clone());
    parts.spawn(async move { feeder.feed_store(stop).await });
    let network = data_path.changes();
    parts.spawn(async move { shared.expire(network, shutdown).await });

    let interfaces = &config.interfaces;
    let status = format!(
        "{} from {} to {}, serving UPnP at {}",
        if config.nat.enabled { "translating" } else { "no NAT" },
        interfaces.lan.join(", "),
        interfaces.wan,
        if places.is_empty() { "no address".to_owned() } else { places.join(", ") },
    );
    memory::give_back();
    memory::lay_code_aside();
    tracing::info!("ready: {status}");
    systemd::ready(&status);
    (trigger, parts, insight)
}

/// What carries the packets.
async fn plane(config: &Config) -> anyhow::Result<Box<dyn Plane>> {
    if config.nat.enabled {
        return Ok(Box::new(DataPath::start(data_path_config(config)).await?));
    }
    let Interfaces { lan, wan, .. } = &config.interfaces;
    Ok(Box::new(Routed::start(lan, wan, config.daemon.pin_dir()).await?))
}

fn data_path_config(config: &Config) -> DataPathConfig {
    DataPathConfig {
        lan: config.interfaces.lan.clone(),
        wan: config.interfaces.wan.clone(),
        pin_dir: config.daemon.pin_dir().map(Path::to_owned),
        max_sessions: config.nat.max_sessions,
        max_forwards: config.max_forwards(),
        pool: config.nat.pool(),
        mapping_log: config.nat.mapping_log().map(Path::to_owned),
        xdp_mode: config.interfaces.xdp_mode,
        settings: config.nat.settings(),
    }
}

/// The signals that end the daemon.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for one, and says which.
    async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests;
