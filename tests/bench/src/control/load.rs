//! The load: several control points of one host at once.

use super::http::{Answer, Kept, Service};
use anyhow::{Context as _, Result, bail};
use nat_tests::lab::{LAN_HOST, Namespace};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Requests that are under way at the same time.
const TOGETHER: usize = 4;

/// The port of the first mapping. One protocol only, since a list and a removal name one.
const FIRST_PORT: u16 = 2_000;

/// The port of a mapping.
pub(crate) fn port(mapping: u32) -> u16 {
    u16::try_from(u32::from(FIRST_PORT) + mapping).unwrap_or(u16::MAX)
}

/// What came of adding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    /// How many there are then.
    pub(crate) to: u32,
    /// Mappings a second.
    pub(crate) rate: f64,
}

/// Adds the mappings of `range`, over kept connections or each over one of its own, until `bound` has passed.
pub(crate) fn add(
    namespace: &Namespace,
    service: &Service,
    range: Range<u32>,
    keep: bool,
    bound: Duration,
) -> Result<Added> {
    let next = AtomicU32::new(range.start);
    let began = Instant::now();
    let work = || -> Result<()> {
        let mut kept = keep.then(|| Kept::new(service.server)).transpose()?;
        while began.elapsed() < bound {
            let mapping = next.fetch_add(1, Ordering::Relaxed);
            if mapping >= range.end {
                break;
            }
            let request = service.add(LAN_HOST, port(mapping), keep);
            let answer = match &mut kept {
                Some(kept) => kept.exchange(&request)?,
                None => service.exchange(&request)?,
            };
            accepted(&answer).with_context(|| format!("mapping {mapping}"))?;
        }
        Ok(())
    };
    namespace.enter(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..TOGETHER).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(_) => bail!("a control point panicked"),
            })
        })
    })??;
    let time = began.elapsed();
    let to = next.load(Ordering::Relaxed).min(range.end);
    Ok(Added { to, rate: f64::from(to - range.start) / time.as_secs_f64() })
}

/// The answer, if it is no fault.
pub(crate) fn accepted(answer: &Answer) -> Result<()> {
    match answer.status {
        200 => Ok(()),
        status => bail!("status {status}: {}", String::from_utf8_lossy(&answer.body)),
    }
}

/// Sends requests one after the other, each over a connection of its own; returns the microseconds of the
/// one in the middle.
pub(crate) fn latency(
    namespace: &Namespace,
    service: &Service,
    requests: &[Vec<u8>],
) -> Result<f64> {
    let times = namespace.enter(|| {
        let once = |request: &Vec<u8>| -> Result<f64> {
            let began = Instant::now();
            let answer = service.exchange(request)?;
            let time = began.elapsed();
            accepted(&answer)?;
            Ok(time.as_secs_f64() * 1e6)
        };
        requests.iter().map(once).collect::<Result<Vec<_>>>()
    })??;
    middle(times).context("no requests")
}

/// The one in the middle.
pub(crate) fn middle(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// So many of the first `entries` mappings, spread evenly over them.
pub(crate) fn spread(entries: u32, samples: u32) -> impl Iterator<Item = u32> {
    let step = f64::from(entries) / f64::from(samples.max(1));
    (0..samples).map(move |sample| (f64::from(sample) * step) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread_over_the_table() {
        assert_eq!(spread(10, 5).collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
        assert_eq!(spread(2, 4).collect::<Vec<_>>(), [0, 0, 1, 1]);
        assert!(spread(60_000, 500).all(|mapping| mapping < 60_000));
    }

    #[test]
    fn the_middle_is_no_mean() {
        assert_eq!(middle(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(middle(Vec::new()), None);
    }

    #[test]
    fn sixty_thousand_mappings_have_ports() {
        assert_eq!(port(0), 2_000);
        assert_eq!(port(59_999), 61_999);
    }
}
