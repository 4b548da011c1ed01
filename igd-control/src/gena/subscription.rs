//! One subscription: what its subscriber knows, and what it is to be told.

use super::{Outcome, Values, limits};
use crate::{lan::LanAddress, wire::gena::Callback};
use nat_common::BootTime;
use std::{collections::VecDeque, net::IpAddr, time::Duration};

/// A message that is being sent, or that waits to be sent once more.
#[derive(Debug)]
struct Message {
    seq: u32,
    values: Values,
    attempts: u32,
}

/// A subscription to the events of `topic`.
#[derive(Debug)]
pub(super) struct Subscription<T> {
    pub(super) topic: T,
    /// By which address it was made, and by which events leave.
    pub(super) from: LanAddress,
    pub(super) peer: IpAddr,
    pub(super) callbacks: Vec<Callback>,
    pub(super) expires: BootTime,
    /// Messages given up in a row.
    pub(super) failures: u32,
    /// What the subscriber knows when all of the queue has arrived.
    told: Values,
    /// Changes that wait, oldest first.
    queue: VecDeque<Values>,
    /// What was in messages that were given up.
    missed: Values,
    message: Option<Message>,
    sending: bool,
    next_seq: u32,
    not_before: BootTime,
    /// When the messages so far would all have been sent at the allowed pace.
    paced_until: BootTime,
}

/// What becomes of a subscription after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Goes,
    Stays,
}

impl<T> Subscription<T> {
    /// A new one, whose subscriber is told everything first.
    pub(super) fn new(
        now: BootTime,
        topic: T,
        (from, peer): (LanAddress, IpAddr),
        callbacks: Vec<Callback>,
        values: Values,
    ) -> Self {
        Self {
            topic,
            from,
            peer,
            callbacks,
            expires: now,
            failures: 0,
            told: values.clone(),
            queue: VecDeque::from([values]),
            missed: Vec::new(),
            message: None,
            sending: false,
            next_seq: 0,
            not_before: plus(now, limits::FIRST_EVENT),
            paced_until: now,
        }
    }

    /// Takes note of the values as they are now.
    pub(super) fn tell(&mut self, values: &Values) {
        let known = |change: &&(&str, String)| !self.told.contains(*change);
        let changes: Values = values.iter().filter(known).cloned().collect();
        if changes.is_empty() {
            return;
        }
        self.told.clone_from(values);
        let full = self.queue.len() >= limits::QUEUE;
        match self.queue.back_mut() {
            Some(last) if full => merge(last, changes),
            _ => self.queue.push_back(changes),
        }
    }

    /// When the next message is to be sent.
    pub(super) fn due(&self) -> Option<BootTime> {
        if self.sending {
            return None;
        }
        let ahead = nanos(limits::PACE).saturating_mul(limits::BURST);
        let paced = BootTime(self.paced_until.0.saturating_sub(ahead));
        match &self.message {
            Some(_) => Some(self.not_before),
            None if self.queue.is_empty() => None,
            None => Some(self.not_before.max(paced)),
        }
    }

    /// Begins to send the next message: its number and what it tells.
    pub(super) fn begin(&mut self, now: BootTime) -> Option<(u32, &Values)> {
        if self.message.is_none() {
            let mut values = std::mem::take(&mut self.missed);
            merge(&mut values, self.queue.pop_front()?);
            let seq = self.next_seq;
            // UPnP Device Architecture 1.1, 4.3.2: 0 is for the first event alone.
            self.next_seq = seq.checked_add(1).unwrap_or(1);
            self.message = Some(Message { seq, values, attempts: 0 });
            self.paced_until = plus(self.paced_until.max(now), limits::PACE);
        }
        let message = self.message.as_mut()?;
        message.attempts += 1;
        self.sending = true;
        Some((message.seq, &message.values))
    }

    /// Takes note of what became of message `seq`.
    pub(super) fn settle(&mut self, now: BootTime, seq: u32, outcome: Outcome) -> Fate {
        let current = self.message.take_if(|message| self.sending && message.seq == seq);
        let Some(message) = current else {
            return Fate::Stays;
        };
        self.sending = false;
        let again = match outcome {
            Outcome::Delivered => {
                self.failures = 0;
                return Fate::Stays;
            }
            // UPnP Device Architecture 1.1, 4.3.2: the subscription ends. To the first event it may only
            // mean that the answer to SUBSCRIBE was not read yet.
            Outcome::Unknown if seq != 0 => return Fate::Goes,
            Outcome::Unknown | Outcome::Unreached => message.attempts < limits::ATTEMPTS,
            // A second time under the same number would be one time too many, if the first has arrived.
            Outcome::Unanswered => false,
        };
        if again {
            self.not_before = plus(now, backoff(message.attempts - 1));
            self.message = Some(message);
        } else {
            // The subscription stays (4.3.2), the next event tells this too, and its number tells that
            // one is missing.
            self.not_before = plus(now, backoff(self.failures));
            self.failures = self.failures.saturating_add(1);
            let values = std::mem::replace(&mut self.missed, message.values);
            debug_assert!(values.is_empty(), "every message takes what was missed before");
        }
        Fate::Stays
    }

    /// For tests: as if so many messages had been sent.
    #[cfg(test)]
    pub(super) fn set_next_seq(&mut self, seq: u32) {
        self.next_seq = seq;
    }
}

/// Puts later values in the place of earlier ones.
fn merge(values: &mut Values, later: Values) {
    for (name, value) in later {
        match values.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => values.push((name, value)),
        }
    }
}

fn backoff(failures: u32) -> Duration {
    limits::BACKOFF.saturating_mul(1 << failures.min(16)).min(limits::LONGEST_BACKOFF)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn plus(time: BootTime, more: Duration) -> BootTime {
    time.plus_nanos(nanos(more))
}
