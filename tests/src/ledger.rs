//! The counters' books: every frame that comes in is in them once.

use crate::daemon::Daemon;
use crate::lab::{ANSWER_TIMEOUT, Lab, wait_until};
use anyhow::{Context, Result, ensure};
use nat_common::Counter;
use nat_common::counters::Kind;
use serde_json::Value;
use std::fmt;

/// What the counters and the interfaces said at one moment.
#[derive(Clone, Debug)]
pub struct Ledger {
    counters: Vec<(Counter, u64)>,
    frames: u64,
}

impl Ledger {
    /// Reads them.
    ///
    /// # Errors
    /// When the daemon or `ip` does not answer.
    pub fn open(lab: &Lab, daemon: &Daemon<'_>) -> Result<Self> {
        let mut looked = Self { counters: Vec::new(), frames: Self::frames(lab)? };
        // A frame that comes between two looks would be in one of them only.
        wait_until("a moment without frames", ANSWER_TIMEOUT, || {
            looked.counters = Self::counters(daemon)?;
            let before = std::mem::replace(&mut looked.frames, Self::frames(lab)?);
            Ok(looked.frames == before)
        })?;
        Ok(looked)
    }

    fn counters(daemon: &Daemon<'_>) -> Result<Vec<(Counter, u64)>> {
        let all = daemon.json("counters")?;
        let value = |counter: &Counter| {
            let value = all.get(counter.name()).and_then(Value::as_u64);
            Ok((*counter, value.with_context(|| format!("no counter {}", counter.name()))?))
        };
        Counter::ALL.iter().map(value).collect()
    }

    /// How many the router's interfaces have received.
    fn frames(lab: &Lab) -> Result<u64> {
        let mut frames = 0;
        for interface in lab.lan_interfaces().iter().chain(&["wan0"]) {
            let listed = lab.router.ip(&["-json", "-s", "link", "show", "dev", interface])?;
            let listed: Value = serde_json::from_str(&listed)?;
            let received = listed.pointer("/0/stats64/rx/packets").and_then(Value::as_u64);
            frames += received.with_context(|| format!("no statistics of {interface}"))?;
        }
        Ok(frames)
    }

    /// What has happened since, once the books are closed: every frame that the router's interfaces
    /// have received was forwarded, left to the kernel or dropped, and counted as that. The lab must be
    /// quiet by then.
    ///
    /// # Errors
    /// When frames are missing in the counters, or are in them twice.
    pub fn close(&self, lab: &Lab, daemon: &Daemon<'_>) -> Result<Balance> {
        let mut balance = Balance { changes: Vec::new(), frames: 0 };
        let closed = wait_until("closed books", ANSWER_TIMEOUT, || {
            let now = Self::open(lab, daemon)?;
            let pairs = now.counters.iter().zip(&self.counters);
            balance = Balance {
                changes: pairs.map(|((counter, now), (_, then))| (*counter, now - then)).collect(),
                frames: now.frames - self.frames,
            };
            Ok(balance.seen() == balance.frames)
        });
        closed.with_context(|| format!("{balance:?}"))?;
        Ok(balance)
    }
}

/// What has happened between two looks at the counters.
#[derive(Clone)]
pub struct Balance {
    changes: Vec<(Counter, u64)>,
    frames: u64,
}

impl Balance {
    /// How much a counter has moved.
    pub fn of(&self, wanted: Counter) -> u64 {
        self.changes.iter().find(|(counter, _)| *counter == wanted).map_or(0, |(_, more)| *more)
    }

    /// All that was dropped.
    pub fn dropped(&self) -> u64 {
        let drops = self.changes.iter().filter(|(counter, _)| counter.kind() == Kind::Dropped);
        drops.map(|(_, more)| more).sum()
    }

    /// Checks that what did not come back of `sent` packets was dropped, for these reasons and no others.
    ///
    /// # Errors
    /// When the numbers differ.
    pub fn explain(&self, sent: usize, returned: usize, reasons: &[Counter]) -> Result<()> {
        let lost = u64::try_from(sent - returned)?;
        let for_them: u64 = reasons.iter().map(|reason| self.of(*reason)).sum();
        ensure!(
            lost == for_them && self.dropped() == for_them,
            "{lost} of {sent} are lost, of which {for_them} are explained by {reasons:?}: {self:?}"
        );
        Ok(())
    }

    /// The frames that the counters of the XDP programs tell of.
    fn seen(&self) -> u64 {
        let of_frames = |counter: Counter| match counter {
            // Counted on the way out of the kernel, or beside what became of the packet before.
            Counter::DropLeak | Counter::DropNeighbour => false,
            _ => counter.kind() != Kind::Event,
        };
        self.changes.iter().filter(|(counter, _)| of_frames(*counter)).map(|(_, more)| more).sum()
    }
}

impl fmt::Debug for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames received, {} counted:", self.frames, self.seen())?;
        for (counter, more) in self.changes.iter().filter(|(_, more)| *more > 0) {
            write!(f, " {}={more}", counter.name())?;
        }
        Ok(())
    }
}
