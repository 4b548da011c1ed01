//! Keeping the packet path's hints at free ports: see [`nat_common::hints`].

use super::ring::Ring;
use super::{Shared, now};
use anyhow::Result;
use nat_common::Protocol;
use nat_common::hints::{HINTS, PortHints, list_index};
use nat_common::ports::slot_index;
use nat_common::settings::Settings;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Shortest time between two answers to the packet path while there are more free ports than a list holds:
/// new flows may come by the ten thousands, and a look at all ports takes a fraction of a millisecond.
const SHORT_PAUSE: Duration = Duration::from_millis(2);

/// The same when nearly nothing is free: it asks again and again.
const PAUSE: Duration = Duration::from_millis(50);

/// The lists that the packet path asks for; waits for one.
async fn asked(requests: &mut Ring) -> std::io::Result<BTreeSet<u32>> {
    let mut lists = BTreeSet::new();
    while lists.is_empty() {
        let read = |request: &[u8]| {
            let number = request.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
            lists.extend(number.and_then(|number| u32::try_from(number).ok()));
        };
        requests.read(read).await?;
    }
    Ok(lists)
}

/// Answers requests for ever.
pub(super) async fn answer(shared: Arc<Shared>, mut requests: Ring) {
    loop {
        let lists = match asked(&mut requests).await {
            Ok(lists) => lists,
            Err(error) => {
                tracing::error!(%error, "the packet path's requests for ports cannot be read");
                return;
            }
        };
        let fewest = lists.into_iter().map(|list| fill(&shared, list)).collect::<Result<Vec<_>>>();
        let pause = match fewest.map(|free| free.into_iter().min()) {
            Ok(Some(fewest)) if fewest > HINTS as u32 => SHORT_PAUSE,
            Ok(_) => PAUSE,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "cannot look for free ports");
                PAUSE
            }
        };
        tokio::time::sleep(pause).await;
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

/// Makes a list anew; tells how many ports are free.
fn fill(shared: &Shared, list: u32) -> Result<u32> {
    let settings = shared.maps.settings()?;
    let Some(hints) = shared.maps.hints.slot(list) else { return Ok(0) };
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
    Ok(free)
}

fn protocol_of(list: u32) -> Protocol {
    let is = |protocol: &Protocol| list_index(0, *protocol) == list % Protocol::COUNT;
    [Protocol::Tcp, Protocol::Udp].into_iter().find(is).unwrap_or(Protocol::Icmp)
}
