//! Keeping the maps true to the kernel: interfaces, addresses and next hops; the XDP program's log
//! records.

use super::attached::Attached;
use super::network::{Announcements, Network};
use super::pool::Pool;
use super::watch::{Change, Watcher};
use super::{Interface, Shared};
use crate::igd::connection::WanLink;
use anyhow::Result;
use aya::Ebpf;
use aya_log::EbpfLogger;
use futures_util::StreamExt as _;
use nat_common::session::Side;
use nat_common::{BootTime, NetAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Announcements within this time are answered together.
const COALESCE: Duration = Duration::from_millis(50);

/// The generation after `generation`, never 0, which marks a next hop that is not known.
pub(super) fn next_generation(generation: u16) -> u16 {
    generation.checked_add(1).unwrap_or(1)
}

/// Reads the interfaces and writes what the packet path needs of them. A new external address voids
/// the sessions of the old one; port forwards move along.
pub(super) async fn refresh(shared: &Shared, network: &Network) -> Result<()> {
    let interfaces = network.interfaces().await?;
    let links: Vec<_> =
        interfaces.iter().map(|interface| interface.as_ref().map(Interface::link)).collect();
    shared.maps.set_links(&links)?;
    let wan = interfaces.iter().flatten().find(|interface| interface.side == Side::Wan);
    let (carrier, index) = (wan.is_some_and(|wan| wan.running), wan.map(|wan| wan.index));
    let addresses: Vec<NetAddr> = wan
        .map(|wan| wan.addresses.iter().map(|(addr, _)| NetAddr::from(*addr)).collect())
        .unwrap_or_default();
    // The map remembers the addresses across restarts, and while there is none for a moment.
    let before = shared.maps.externals()?;
    let pool = Pool::new(&shared.configured_pool, &addresses);
    let changed = pool.voids(&before);
    *shared.interfaces.lock().unwrap_or_else(PoisonError::into_inner) = interfaces;
    shared.set_pool(&pool);

    if changed {
        // Nothing is translated to an address that is no longer ours.
        shared.maps.change_settings(|settings| settings.connected = 0)?;
        let (before, after) = (list(&before), list(&pool.external));
        tracing::info!(before, after, "the external address has changed");
        for slot in shared.maps.ports.slots() {
            slot.shorten(slot.hold(), BootTime(0));
        }
    }
    shared.maps.set_externals(&pool.external, &pool.others)?;
    shared.maps.change_settings(|settings| {
        if changed {
            settings.nat_generation = settings.nat_generation.wrapping_add(1);
            settings.forward_generation = settings.forward_generation.wrapping_add(1);
        }
        settings.pool_len = u16::try_from(pool.external.len()).unwrap_or(u16::MAX);
        let permitted = shared.permitted.load(Ordering::Relaxed);
        settings.connected = u16::from(permitted && !pool.external.is_empty());
        settings.route_generation = next_generation(settings.route_generation);
    })?;
    if changed {
        shared.voided.notify_one();
    }
    let routed = match index {
        Some(index) => network.is_routed(index).await?,
        None => false,
    };
    let addressed = !pool.external.is_empty();
    tell(shared, WanLink { present: index.is_some(), carrier, addressed, routed });
    shared.refreshed.send_replace(());
    Ok(())
}

/// Looks whether a route still leads out of the WAN interface.
async fn reroute(shared: &Shared, network: &Network) -> Result<()> {
    shared.maps.change_settings(|settings| {
        settings.route_generation = next_generation(settings.route_generation);
    })?;
    let wan = {
        let interfaces = shared.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        interfaces.iter().flatten().find(|found| found.side == Side::Wan).map(|wan| wan.index)
    };
    if let Some(index) = wan {
        let routed = network.is_routed(index).await?;
        let link = shared.wan_link();
        if link.routed != routed {
            tell(shared, WanLink { routed, ..link });
            shared.refreshed.send_replace(());
        }
    }
    Ok(())
}

fn tell(shared: &Shared, link: WanLink) {
    *shared.wan_link.lock().unwrap_or_else(PoisonError::into_inner) = link;
}

/// Addresses for the log.
pub(super) fn list(addresses: &[NetAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Follows the kernel's announcements for ever. `routes_changed` is told of new ways. An interface that
/// comes back gets its programs at once: until then the kernel alone decides what leaves by it.
pub(super) async fn follow(
    shared: Arc<Shared>,
    network: Arc<Network>,
    attached: Weak<Mutex<Attached>>,
    mut news: Announcements,
    routes_changed: Arc<Notify>,
) {
    // What is announced meanwhile is judged afterwards.
    let mut watcher = match network.neighbours().await {
        Ok(neighbours) => Watcher::knowing(&neighbours),
        Err(_) => Watcher::default(),
    };
    let comes = |message: &_| network.announced(message).is_some_and(|index| !shared.knows(index));
    while let Some(message) = news.next().await {
        let mut change = watcher.judge(&message);
        if change == Change::None {
            continue;
        }
        let mut urgent = comes(&message);
        let pause = tokio::time::sleep(COALESCE);
        tokio::pin!(pause);
        while !urgent {
            tokio::select! {
                () = &mut pause => break,
                message = news.next() => match message {
                    Some(message) => {
                        change = change.max(watcher.judge(&message));
                        urgent = comes(&message);
                    }
                    None => break,
                },
            }
        }
        let result = match change {
            Change::Interfaces => match refresh(&shared, &network).await {
                Ok(()) => attach(&shared, &attached),
                Err(error) => Err(error),
            },
            Change::Routes => reroute(&shared, &network).await,
            _ => shared.maps.change_settings(|settings| {
                settings.route_generation = next_generation(settings.route_generation);
            }),
        };
        if let Err(error) = result {
            tracing::error!(error = format!("{error:#}"), "cannot follow a change of the network");
        }
        if change >= Change::Routes {
            routes_changed.notify_one();
        }
    }
    tracing::error!("the kernel's announcements have ended: next hops are not followed any more");
}

/// Attaches what interfaces that have come back lack.
fn attach(shared: &Shared, attached: &Weak<Mutex<Attached>>) -> Result<()> {
    // Without it the daemon is about to end.
    let Some(attached) = attached.upgrade() else { return Ok(()) };
    let interfaces = shared.interfaces.lock().unwrap_or_else(PoisonError::into_inner).clone();
    attached.lock().unwrap_or_else(PoisonError::into_inner).follow(&interfaces)
}

/// Has the XDP program's log records join the daemon's.
pub(super) fn log(ebpf: &mut Ebpf) -> Option<JoinHandle<()>> {
    let logger = EbpfLogger::init(ebpf).map_err(anyhow::Error::from);
    // SAFETY: the logger owns its descriptor, and the registration owns the logger.
    let logger = logger.and_then(|logger| Ok(unsafe { AsyncFd::register(logger) }?));
    match logger {
        Ok(mut logger) => Some(tokio::spawn(async move {
            while let Ok(mut ready) = logger.readable_mut().await {
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
        })),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "the XDP program's log cannot be read");
            None
        }
    }
}
