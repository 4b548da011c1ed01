//! Keeping the packet path's hints at free ports: see [`nat_common::hints`].

use super::{Shared, now};
use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use nat_common::Protocol;
use nat_common::hints::{PortHints, list_index};
use nat_common::maps::HINT_REQUESTS;
use nat_common::ports::slot_index;
use nat_common::settings::Settings;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Shortest time between two answers to the packet path: when nothing is free it asks again and again.
const PAUSE: Duration = Duration::from_millis(50);

/// The packet path's requests.
pub(super) struct Requests(AsyncFd<RingBuf<MapData>>);

impl Requests {
    /// Takes the ring buffer of a loaded program.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let map = ebpf.take_map(HINT_REQUESTS).context("no map for requests")?;
        let ring = RingBuf::try_from(map).context(HINT_REQUESTS)?;
        // SAFETY: the ring buffer owns its descriptor, and the registration owns the ring buffer.
        Ok(Self(unsafe { AsyncFd::register(ring) }?))
    }

    /// The lists that are asked for; waits for one.
    async fn next(&mut self) -> std::io::Result<BTreeSet<u32>> {
        let mut lists = BTreeSet::new();
        while lists.is_empty() {
            let mut ready = self.0.readable_mut().await?;
            while let Some(request) = ready.get_inner_mut().next() {
                let number = request.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
                lists.extend(number.and_then(|number| u32::try_from(number).ok()));
            }
            ready.clear_ready();
        }
        Ok(lists)
    }
}

/// Answers requests for ever.
pub(super) async fn answer(shared: Arc<Shared>, mut requests: Requests) {
    loop {
        let answered = match requests.next().await {
            Ok(lists) => lists.into_iter().try_for_each(|list| fill(&shared, list)),
            Err(error) => {
                tracing::error!(%error, "the packet path's requests for ports cannot be read");
                return;
            }
        };
        if let Err(error) = answered {
            tracing::warn!(error = format!("{error:#}"), "cannot look for free ports");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Makes lists anew where ports are scarce: where more than half are held, or a list was asked for.
/// `held` tells how many are, by list.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn refresh(shared: &Shared, settings: &Settings, held: &[u32]) -> Result<()> {
    for (list, held) in (0..).zip(held) {
        let scarce = *held > settings.range(protocol_of(list)).size() / 2;
        let asked = shared.maps.hints.slot(list).is_some_and(PortHints::is_asked);
        if scarce || asked {
            fill(shared, list)?;
        }
    }
    Ok(())
}

fn fill(shared: &Shared, list: u32) -> Result<()> {
    let settings = shared.maps.settings()?;
    let Some(hints) = shared.maps.hints.slot(list) else { return Ok(()) };
    let (protocol, now) = (protocol_of(list), now());
    let first = slot_index(list / Protocol::COUNT, protocol, 0);
    let slots = shared.maps.ports.slots().get(first as usize..).unwrap_or_default();
    let is_free = |port| slots.get(usize::from(port)).is_some_and(|slot| slot.looks_free(now));
    let free = hints.fill(settings.range(protocol), is_free, |below| fastrand::u32(..below));
    tracing::debug!(
        address = list / Protocol::COUNT,
        protocol = protocol.name(),
        free,
        "free ports"
    );
    Ok(())
}

fn protocol_of(list: u32) -> Protocol {
    let is = |protocol: &Protocol| list_index(0, *protocol) == list % Protocol::COUNT;
    [Protocol::Tcp, Protocol::Udp].into_iter().find(is).unwrap_or(Protocol::Icmp)
}
