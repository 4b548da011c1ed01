//! The running gateway: joins the data path, the gateway and everything that listens.

mod errands;
mod identity;
mod insight;
mod lan;
mod logging;
mod resolve;
mod shared;
mod systemd;
mod wan;

use crate::{
    config::Config,
    control::ControlSocket,
    datapath::{self, DataPath, DataPathConfig},
    http,
    igd::{Gateway, GatewayConfig},
    probe,
    shutdown::{Trigger, shutdown},
};
use anyhow::Context as _;
use identity::Identity;
use insight::Insight;
use lan::Lan;
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

/// Description of a mapping that was in force before the daemon started: the packet path keeps no
/// descriptions.
const RESTORED: &str = "restored";

/// Runs the gateway until SIGTERM or SIGINT.
///
/// # Errors
/// It cannot start, or a part of it failed.
pub fn run(config: Config) -> anyhow::Result<()> {
    logging::init(&config.daemon.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(until_signal(config));
    runtime.shutdown_timeout(STOPPING_TIME);
    result
}

async fn until_signal(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    probe::before_start(&config).await?;
    // What can be refused is asked for before the packet path is touched.
    let control = ControlSocket::bind(&config.daemon.control_socket)?;
    let identity = Identity::new(&config);
    let lan = Lan::open(&config, &identity)?;
    let data_path = tokio::select! {
        data_path = DataPath::start(data_path_config(&config)) => data_path?,
        name = signals.received() => {
            tracing::info!("stopped by {name} before it served");
            return Ok(());
        }
    };

    let (trigger, mut parts) = start(&config, &identity, control, lan, &data_path);
    let result = tokio::select! {
        name = signals.received() => {
            tracing::info!("stopping: {name}");
            Ok(())
        }
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
    result
}

/// Starts everything that serves.
fn start(
    config: &Config,
    identity: &Identity,
    control: ControlSocket,
    lan: Lan,
    data_path: &DataPath,
) -> (Trigger, JoinSet<()>) {
    let gateway_config = GatewayConfig {
        root_uuid: identity.uuid,
        policy: config.policy.mode,
        limits: config.policy.limits(),
        longest_lease: config.upnp.longest_lease,
        connection: config.connection.machine(),
        access_provider: config.upnp.access_provider.clone(),
        seed: fastrand::u64(..),
    };
    let forwards = data_path.forwards();
    let held = forwards.in_force(datapath::now());
    let mut gateway = Gateway::new(datapath::now(), &gateway_config, forwards);
    for forward in &held {
        if let Err(error) = gateway.adopt(forward, RESTORED) {
            tracing::warn!(?forward, "a port forward in force has no place in the table: {error}");
        }
    }
    let wan = Wan::new(&config.interfaces.wan, data_path.inspector());
    let shared = Arc::new(Shared::new(gateway, datapath::now, identity, wan));
    let connection = &config.connection;
    let insight = Insight {
        shared: Arc::clone(&shared),
        inspector: data_path.inspector(),
        started: datapath::now(),
        uuid: identity.uuid,
        http: lan.listeners.iter().map(http::Listener::local).collect(),
        max_sessions: data_path.inspector().max_sessions(),
    };
    let places: Vec<_> = insight.http.iter().map(|place| format!("http://{place}")).collect();

    let (trigger, shutdown) = shutdown();
    let mut parts = JoinSet::new();
    parts.spawn(http::serve(lan.listeners, Arc::clone(&shared), shutdown.clone()));
    for responder in lan.responders {
        parts.spawn(responder.serve(shutdown.clone()));
    }
    let mut stop = shutdown.clone();
    parts.spawn(async move {
        tokio::select! {
            () = stop.wait() => {}
            () = control.serve(Arc::new(insight)) => {}
        }
    });
    let errands = errands::Errands::new(connection, &config.interfaces.wan);
    parts.spawn(errands.run(Arc::clone(&shared), shutdown.clone()));
    let link = data_path.wan_link();
    parts.spawn(async move { shared.expire(link, shutdown).await });

    let interfaces = &config.interfaces;
    let status = format!(
        "translating from {} to {}, serving UPnP at {}",
        interfaces.lan.join(", "),
        interfaces.wan,
        if places.is_empty() { "no address".to_owned() } else { places.join(", ") },
    );
    tracing::info!("ready: {status}");
    systemd::ready(&status);
    (trigger, parts)
}

fn data_path_config(config: &Config) -> DataPathConfig {
    DataPathConfig {
        lan: config.interfaces.lan.clone(),
        wan: config.interfaces.wan.clone(),
        pin_dir: config.daemon.pin_dir().map(Path::to_owned),
        max_sessions: config.nat.max_sessions,
        pool: config.nat.pool(),
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
