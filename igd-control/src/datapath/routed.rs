//! Without a NAT of our own: the kernel routes, and what clients map is the business of the NAT upstream
//! (RFC 6970, section 5.5 of the draft).

use super::network::{Announcements, Interface, Kind, Network};
use super::watch::{Change, Watcher};
use super::{Inspect, LinkView, Plane, Tasks, pins};
use crate::igd::TrafficTotals;
use crate::igd::connection::WanLink;
use crate::mapping::{AnyPath, PacketPath, PathError, PeerHeld, PeerWish, PortForward};
use anyhow::{Result, bail};
use nat_common::session::Side;
use nat_common::{BootTime, Protocol};
use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout_at};

/// Announcements within this time are answered together.
const COALESCE: Duration = Duration::from_millis(50);

/// The kernel's routing, followed. Dropped, it is followed no more.
pub struct Routed {
    _tasks: Tasks,
    view: View,
}

/// What is known of the interfaces.
#[derive(Clone)]
struct View {
    wan: String,
    state: Arc<Mutex<State>>,
    refreshed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    interfaces: Vec<Interface>,
    wan_link: WanLink,
}

impl Routed {
    /// Starts to follow the kernel's interfaces. Must run within a tokio runtime.
    ///
    /// # Errors
    /// When an interface does not exist, the kernel refuses, or a NAT of a former daemon is still there.
    pub async fn start(lan: &[String], wan: &str, pin_dir: Option<&Path>) -> Result<Self> {
        if let Some(pin_dir) = pin_dir.filter(|pin_dir| pins::hold_sessions(pin_dir)) {
            bail!(
                "a NAT is pinned in {}, and would go on translating: `igd-control unload --pin-dir {0}` ends it",
                pin_dir.display()
            );
        }
        let mut names = vec![(wan.to_owned(), Side::Wan)];
        names.extend(lan.iter().map(|name| (name.clone(), Side::Lan)));
        let (network, announcements, connection) = Network::open(names.clone(), Kind::Any)?;
        let mut tasks = Tasks(vec![connection]);
        for (interface, (name, _)) in network.interfaces().await?.iter().zip(&names) {
            if interface.is_none() {
                bail!("there is no interface {name}");
            }
        }
        let view =
            View { wan: wan.to_owned(), state: Arc::default(), refreshed: watch::Sender::new(()) };
        view.refresh(&network).await?;
        tasks.0.push(tokio::spawn(view.clone().follow(network, announcements)));
        Ok(Self { _tasks: tasks, view })
    }
}

impl View {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn refresh(&self, network: &Network) -> Result<()> {
        let interfaces: Vec<Interface> =
            network.interfaces().await?.into_iter().flatten().collect();
        let wan = interfaces.iter().find(|interface| interface.side == Side::Wan);
        let (carrier, index) = (wan.is_some_and(|wan| wan.running), wan.map(|wan| wan.index));
        let addressed = wan.is_some_and(|wan| !wan.addresses.is_empty());
        let routed = match index {
            Some(index) => network.is_routed(index).await?,
            None => false,
        };
        let wan_link = WanLink { present: index.is_some(), carrier, addressed, routed };
        *self.state() = State { interfaces, wan_link };
        self.refreshed.send_replace(());
        Ok(())
    }

    /// Follows the kernel's announcements for ever.
    async fn follow(self, network: Network, mut news: Announcements) {
        use futures_util::StreamExt as _;
        let mut watcher = Watcher::default();
        while let Some(message) = news.next().await {
            if watcher.judge(&message) < Change::Routes {
                continue;
            }
            let until = tokio::time::Instant::now() + COALESCE;
            while let Ok(Some(_)) = timeout_at(until, news.next()).await {}
            while let Err(error) = self.refresh(&network).await {
                tracing::error!("cannot follow a change of the network: {error:#}");
                sleep(Duration::from_secs(1)).await;
            }
        }
        tracing::error!(
            "the kernel's announcements have ended: addresses are not followed any more"
        );
    }
}

impl Plane for Routed {
    fn path(&self) -> AnyPath {
        Box::new(Passing { view: self.view.clone(), ports: HashMap::new() })
    }

    fn adopted(&self, _now: BootTime) -> Option<Vec<PortForward>> {
        None
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.view.refreshed.subscribe()
    }

    fn inspector(&self) -> Arc<dyn Inspect> {
        Arc::new(self.view.clone())
    }
}

impl Inspect for View {
    fn links(&self) -> Vec<LinkView> {
        self.state().interfaces.iter().map(LinkView::from).collect()
    }

    fn external_addresses(&self) -> Vec<Ipv4Addr> {
        let state = self.state();
        let wan = state.interfaces.iter().find(|interface| interface.side == Side::Wan);
        wan.into_iter().flat_map(|wan| wan.addresses.first()).map(|(address, _)| *address).collect()
    }

    /// The interface's own figures, the router's packets among them.
    fn traffic(&self) -> TrafficTotals {
        let figures = Path::new("/sys/class/net").join(&self.wan).join("statistics");
        let read = |name: &str| {
            let text = fs::read_to_string(figures.join(name)).unwrap_or_default();
            text.trim().parse().unwrap_or(0)
        };
        TrafficTotals {
            bytes_sent: read("tx_bytes"),
            bytes_received: read("rx_bytes"),
            packets_sent: read("tx_packets"),
            packets_received: read("rx_packets"),
        }
    }
}

/// What the mapping table has in the place of a packet path: nothing is to be done to let packets in, as
/// soon as the NAT upstream does.
struct Passing {
    view: View,
    /// The external port of each internal endpoint.
    ports: HashMap<(Protocol, SocketAddrV4), u16>,
}

impl PacketPath for Passing {
    fn external_address(&self) -> Option<Ipv4Addr> {
        self.view.external_address()
    }

    /// A mapping of PCP is an internal endpoint's, and so it has one external port (RFC 6887 11).
    fn open(&mut self, _now: BootTime, forward: &PortForward) -> Result<(), PathError> {
        let everybody = forward.internal.ip().is_broadcast();
        // Nobody here keeps packets from going where a disabled mapping leads, and PCP has no such thing.
        if !forward.leads() || everybody || !forward.disabled.is_empty() {
            return Err(PathError::NeedsNat);
        }
        let port = self.ports.entry((forward.protocol, forward.internal));
        if *port.or_insert(forward.external_port) == forward.external_port {
            Ok(())
        } else {
            Err(PathError::EndpointMapped)
        }
    }

    fn close(&mut self, _now: BootTime, forward: &PortForward) {
        self.ports.remove(&(forward.protocol, forward.internal));
    }

    fn external_port(
        &self,
        _now: BootTime,
        protocol: Protocol,
        internal: SocketAddrV4,
    ) -> Option<u16> {
        self.ports.get(&(protocol, internal)).copied()
    }

    /// There is nothing to hold here: packets leave from the internal endpoint.
    fn hold_peer(&mut self, _now: BootTime, wish: &PeerWish) -> Result<PeerHeld, PathError> {
        Ok(PeerHeld { external: wish.key.internal, lasts: wish.until })
    }

    fn wan_link(&self) -> WanLink {
        self.view.state().wan_link
    }

    fn packets(&self) -> u64 {
        let TrafficTotals { packets_sent, packets_received, .. } = self.view.traffic();
        packets_sent + packets_received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing() -> Passing {
        let view =
            View { wan: String::new(), state: Arc::default(), refreshed: watch::Sender::new(()) };
        Passing { view, ports: HashMap::new() }
    }

    fn forward(external_port: u16, internal: &str) -> PortForward {
        PortForward {
            protocol: Protocol::Tcp,
            external_port,
            internal: internal.parse().unwrap(),
            any_remote: Some(BootTime(9)),
            filters: Vec::new(),
            remotes: Vec::new(),
            disabled: Vec::new(),
        }
    }

    #[test]
    fn an_internal_endpoint_has_one_external_port() {
        let (mut path, first) = (passing(), forward(6000, "192.168.77.2:80"));
        let second = forward(6001, "192.168.77.2:80");
        assert_eq!(path.open(BootTime(1), &first), Ok(()));
        assert_eq!(path.open(BootTime(1), &first), Ok(()), "stated again");
        assert_eq!(path.open(BootTime(1), &second), Err(PathError::EndpointMapped));
        assert_eq!(path.external_port(BootTime(1), Protocol::Tcp, first.internal), Some(6000));
        path.close(BootTime(1), &first);
        assert_eq!(path.open(BootTime(1), &second), Ok(()));
    }

    #[test]
    fn what_only_a_nat_can_do_is_refused() {
        let broadcast = forward(6000, "255.255.255.255:80");
        let wildcard = forward(0, "192.168.77.2:80");
        let until = BootTime(9);
        let off =
            PortForward { disabled: vec![(None, until)], any_remote: None, ..wildcard.clone() };
        let off = PortForward { external_port: 6000, ..off };
        for forward in [broadcast, wildcard, off] {
            assert_eq!(passing().open(BootTime(1), &forward), Err(PathError::NeedsNat));
        }
    }
}
