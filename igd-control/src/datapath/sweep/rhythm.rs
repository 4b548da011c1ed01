//! When to sweep.

use super::{Swept, sweep};
use crate::datapath::Shared;
use crate::metrics;
use nat_common::Counter;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Shortest time between sweeps.
const SHORTEST: Duration = Duration::from_secs(5);

/// Longest time between sweeps.
const LONGEST: Duration = Duration::from_secs(60);

/// A sweep is followed by a pause so many times as long as the time that it has taken of a CPU: full
/// tables that hardly change are not walked over all the time.
const PAUSES: u32 = 50;

/// Sweeps for ever; `swept` is what the last sweep has done.
pub(in crate::datapath) async fn sweep_regularly(shared: Arc<Shared>, mut swept: Swept) {
    loop {
        until_due(&shared, pause(swept.cpu)).await;
        swept = sweep_once(&shared).await;
    }
}

/// Sweeps, and says how that went.
pub(in crate::datapath) async fn sweep_once(shared: &Arc<Shared>) -> Swept {
    let sweeping = Arc::clone(shared);
    let swept = match tokio::task::spawn_blocking(move || sweep(&sweeping)).await {
        Ok(Ok(swept)) => swept,
        Ok(Err(error)) => {
            tracing::warn!(error = format!("{error:#}"), "cannot sweep");
            Swept::default()
        }
        Err(_) => {
            tracing::error!("the sweep has failed");
            Swept::default()
        }
    };
    let Swept { seen, sessions, endpoints, ports, contacts, clients, cpu } = swept;
    metrics::swept(cpu);
    // A session is two entries.
    shared.sessions_swept.store((seen.saturating_sub(sessions) / 2) as u64, Ordering::Relaxed);
    let cpu_us = cpu.as_micros();
    if swept.is_something() {
        tracing::debug!(seen, sessions, endpoints, ports, contacts, clients, cpu_us, "swept");
    } else {
        tracing::trace!(seen, cpu_us, "nothing to sweep");
    }
    swept
}

/// Waits for as long as the pause is, but no longer than until something is short: room for sessions,
/// or ports. Sessions that are void all at once are swept at once.
async fn until_due(shared: &Shared, pause: Duration) {
    let before = lacking(shared);
    let mut waited = Duration::ZERO;
    while waited < pause && lacking(shared) == before {
        tokio::select! {
            () = shared.voided.notified() => return,
            () = tokio::time::sleep(SHORTEST) => waited += SHORTEST,
        }
    }
}

/// How many packets were dropped for want of room or ports.
fn lacking(shared: &Shared) -> u64 {
    let counts = |counter| matches!(counter, Counter::DropTableFull | Counter::DropNoPort);
    let counters = shared.maps.counters().unwrap_or_default();
    counters.iter().filter(|(counter, _)| counts(*counter)).map(|(_, count)| count).sum()
}

fn pause(cpu: Duration) -> Duration {
    (cpu * PAUSES).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeping_takes_two_percent_of_a_cpu_at_most_until_the_longest_pause() {
        assert_eq!(pause(Duration::ZERO), SHORTEST);
        assert_eq!(pause(Duration::from_millis(400)), Duration::from_secs(20));
        assert_eq!(pause(Duration::from_secs(10)), LONGEST);
    }
}
