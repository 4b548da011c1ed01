//! The LAN side: what listens on the addresses of its interfaces, which come, go and change.

mod addresses;

use super::{boot_ids::BootIds, identity::Identity};
use crate::{
    config::Config,
    http::{Listener, Server, Site},
    igd::Tree,
    lan::LanAddress,
    pcp,
    shutdown::{Shutdown, Trigger, shutdown},
    ssdp::{Endpoint, Responder},
    wire::ssdp::{Scope, Sender},
};
use addresses::Addresses;
use anyhow::Context as _;
use nix::net::if_::if_nametoindex;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{sync::watch, task::JoinSet, time::sleep};
use uuid::Uuid;

/// Changes within this time are answered together: an interface that comes up has several.
const COALESCE: Duration = Duration::from_millis(100);
/// When what could not be had is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// Where HTTP is served at the moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<Vec<SocketAddr>>>);

impl Places {
    pub(super) fn now(&self) -> Vec<SocketAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, places: Vec<SocketAddr>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = places;
    }
}

/// What listens on the LAN interfaces.
pub(super) struct Lan {
    addresses: Addresses,
    settings: Settings,
    boot_ids: BootIds,
    /// HTTP, by address.
    doors: BTreeMap<LanAddress, Door>,
    /// SSDP, by interface and scope.
    voices: BTreeMap<(Arc<str>, Scope), Voice>,
    /// PCP and NAT-PMP, by address.
    responders: BTreeMap<LanAddress, Trigger>,
    /// What has been bound and is to be served yet.
    bound: Vec<Bound>,
    places: Places,
    /// Something could not be had.
    lacking: bool,
}

/// What does not change.
struct Settings {
    http_port: u16,
    pcp: bool,
    max_age: u32,
    interval: Duration,
    uuid: Uuid,
    config_ids: [(Tree, u32); 2],
}

struct Door {
    port: u16,
    _stop: Trigger,
}

struct Voice {
    endpoints: watch::Sender<Vec<Endpoint>>,
    _stop: Trigger,
}

enum Bound {
    Door(Listener, Shutdown),
    Voice(Responder, watch::Receiver<Vec<Endpoint>>, Shutdown),
    Pcp(pcp::Responder, Shutdown),
}

impl Lan {
    /// Binds HTTP, SSDP and PCP on every LAN interface. Must run inside tokio.
    ///
    /// # Errors
    /// An interface does not exist, or the port of an IPv4 address cannot be had.
    pub(super) async fn open(config: &Config, identity: &Identity) -> anyhow::Result<Self> {
        let interfaces = &config.interfaces;
        for name in interfaces.lan.iter().chain([&interfaces.wan]) {
            if_nametoindex(name.as_str())
                .with_context(|| format!("there is no interface called {name}"))?;
        }
        let upnp = &config.upnp;
        let mut lan = Self {
            addresses: Addresses::open(&interfaces.lan)?,
            settings: Settings {
                http_port: upnp.http_port,
                pcp: config.pcp.enabled,
                max_age: upnp.max_age,
                interval: Duration::from_secs(upnp.notify_interval.into()),
                uuid: identity.uuid,
                config_ids: identity.config_ids,
            },
            boot_ids: BootIds::begin(config.daemon.state_dir(), SystemTime::now()),
            doors: BTreeMap::new(),
            voices: BTreeMap::new(),
            responders: BTreeMap::new(),
            bound: Vec::new(),
            places: Places::default(),
            lacking: false,
        };
        let addresses = lan.addresses.read().await?;
        for interface in &interfaces.lan {
            let here = |at: &LanAddress| *at.interface == **interface && at.ip().is_ipv4();
            if !addresses.iter().any(here) {
                tracing::warn!("{interface} has no IPv4 address yet: UPnP waits for one there");
            }
        }
        lan.open_doors(&addresses, true)?;
        lan.raise_voices(&addresses, true)?;
        lan.place_responders(&addresses, true)?;
        Ok(lan)
    }

    /// Where HTTP is served, now and later.
    pub(super) fn places(&self) -> Places {
        self.places.clone()
    }

    /// Serves until `shutdown`, and follows the addresses. `gone` is told which have gone.
    pub(super) async fn serve<S: Site, C: pcp::Site>(
        mut self,
        server: Server<S>,
        port_control: Arc<C>,
        gone: impl Fn(&LanAddress),
        mut shutdown: Shutdown,
    ) {
        let server = Arc::new(server);
        let mut tasks = JoinSet::new();
        loop {
            for bound in self.bound.drain(..) {
                let (server, port_control) = (Arc::clone(&server), Arc::clone(&port_control));
                tasks.spawn(async move {
                    match bound {
                        Bound::Door(listener, stop) => server.serve(listener, stop).await,
                        Bound::Voice(responder, endpoints, stop) => {
                            responder.serve(endpoints, stop).await;
                        }
                        Bound::Pcp(responder, stop) => responder.serve(port_control, stop).await,
                    }
                });
            }
            while tasks.try_join_next().is_some() {}
            tokio::select! {
                () = shutdown.wait() => break,
                Some(()) = self.addresses.changed() => {
                    sleep(COALESCE).await;
                    // All that has come meanwhile is seen now.
                    while let Some(Some(())) = futures_util::FutureExt::now_or_never(self.addresses.changed()) {}
                }
                () = sleep(RETRY), if self.lacking => {}
            }
            match self.addresses.read().await {
                Ok(addresses) => self.follow(&addresses, &gone),
                Err(error) => tracing::warn!("the LAN's addresses cannot be read: {error:#}"),
            }
        }
        self.doors.clear();
        self.voices.clear();
        self.responders.clear();
        while tasks.join_next().await.is_some() {}
    }

    /// Takes over the addresses as they are now.
    fn follow(&mut self, addresses: &[LanAddress], gone: impl Fn(&LanAddress)) {
        self.doors.retain(|address, _| {
            let stays = addresses.contains(address);
            if !stays {
                tracing::info!("UPnP is no longer served at {address}: the address is gone");
                gone(address);
            }
            stays
        });
        let before = self.doors.len();
        self.lacking = false;
        let opened = self.open_doors(addresses, false);
        debug_assert!(opened.is_ok(), "only the start fails");
        // UPnP Device Architecture 1.1, 1.2.4: an address that is new to a gateway that was there before.
        if self.doors.len() > before {
            self.boot_ids.advance(SystemTime::now());
        }
        let raised = self.raise_voices(addresses, false);
        debug_assert!(raised.is_ok(), "only the start fails");
        let placed = self.place_responders(addresses, false);
        debug_assert!(placed.is_ok(), "only the start fails");
    }

    /// Listens at addresses that have no listener yet. `strict`: for IPv4 it has to work.
    fn open_doors(&mut self, addresses: &[LanAddress], strict: bool) -> anyhow::Result<()> {
        for address in addresses {
            if self.doors.contains_key(address) {
                continue;
            }
            let port = self.settings.http_port;
            let listener = Listener::bind(address, port).with_context(|| {
                format!(
                    "cannot serve HTTP at {}:{port} on {} \
                     (--http-port or upnp.http-port choose another port)",
                    address.ip(),
                    address.interface
                )
            });
            match listener {
                Ok(listener) => {
                    let (stop, stopped) = shutdown();
                    let port = listener.port();
                    if !strict {
                        tracing::info!("UPnP is served at {address}, too");
                    }
                    self.doors.insert(address.clone(), Door { port, _stop: stop });
                    self.bound.push(Bound::Door(listener, stopped));
                }
                Err(error) if strict && address.ip().is_ipv4() => return Err(error),
                Err(error) => self.lack(&error),
            }
        }
        let place = |(address, door): (&LanAddress, &Door)| address.at(door.port);
        self.places.set(self.doors.iter().map(place).collect());
        Ok(())
    }

    /// Has SSDP speak for the addresses that have a listener. `strict`: for IPv4 it has to work.
    fn raise_voices(&mut self, addresses: &[LanAddress], strict: bool) -> anyhow::Result<()> {
        let mut wanted: BTreeMap<(Arc<str>, Scope), Vec<Endpoint>> = BTreeMap::new();
        for address in addresses {
            if let Some(door) = self.doors.get(address) {
                let scope = Scope::of(address.ip());
                let endpoint = Endpoint {
                    at: address.clone(),
                    sender: Sender {
                        scope,
                        server: address.authority(door.port),
                        max_age: self.settings.max_age,
                        boot_id: self.boot_ids.current(),
                        config_ids: self.settings.config_ids,
                    },
                };
                wanted.entry((Arc::clone(&address.interface), scope)).or_default().push(endpoint);
            }
        }
        self.voices.retain(|key, _| wanted.contains_key(key));
        for ((interface, scope), endpoints) in wanted {
            let key = (interface, scope);
            // An interface that was made anew under its name has another index: its sockets hear nothing.
            let index = |endpoints: &[Endpoint]| endpoints.first().map(|one| one.at.index);
            if let Some(voice) = self.voices.get(&key) {
                let known = voice.endpoints.borrow().clone();
                if index(&known) == index(&endpoints) {
                    voice.endpoints.send_if_modified(|current| {
                        let other = *current != endpoints;
                        *current = endpoints;
                        other
                    });
                    continue;
                }
            }
            let (uuid, interval) = (self.settings.uuid, self.settings.interval);
            let responder = Responder::bind(scope, endpoints.clone(), uuid, interval)
                .with_context(|| format!("cannot serve SSDP on {}", key.0));
            match responder {
                Ok(responder) => {
                    let (sender, receiver) = watch::channel(endpoints);
                    let (stop, stopped) = shutdown();
                    self.voices.insert(key, Voice { endpoints: sender, _stop: stop });
                    self.bound.push(Bound::Voice(responder, receiver, stopped));
                }
                Err(error) if strict && scope == Scope::V4 => return Err(error),
                Err(error) => self.lack(&error),
            }
        }
        Ok(())
    }

    /// Has PCP served at the IPv4 addresses. `strict`: it has to work.
    fn place_responders(&mut self, addresses: &[LanAddress], strict: bool) -> anyhow::Result<()> {
        self.responders.retain(|address, _| addresses.contains(address));
        let wanted = addresses.iter().filter(|address| address.ip().is_ipv4());
        for address in wanted.filter(|_| self.settings.pcp) {
            if self.responders.contains_key(address) {
                continue;
            }
            let responder = pcp::Responder::bind(address).with_context(|| {
                format!("cannot serve PCP at {address} (pcp.enabled = false does without)")
            });
            match responder {
                Ok(responder) => {
                    let (stop, stopped) = shutdown();
                    self.responders.insert(address.clone(), stop);
                    self.bound.push(Bound::Pcp(responder, stopped));
                }
                Err(error) if strict => return Err(error),
                Err(error) => {
                    tracing::warn!("{error:#}");
                    self.lacking = true;
                }
            }
        }
        Ok(())
    }

    /// Says what could not be had; it is tried again.
    fn lack(&mut self, error: &anyhow::Error) {
        tracing::warn!("{error:#}");
        self.lacking = true;
    }
}
