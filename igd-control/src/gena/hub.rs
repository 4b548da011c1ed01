//! What the daemon shares of the publisher, and the task that has its messages sent.

use super::{
    Values,
    delivery::deliver,
    publisher::{Publisher, Subscriber},
};
use crate::{
    lan::LanAddress,
    shutdown::Shutdown,
    wire::gena::{EventError, Granted, SubscribeRequest},
};
use nat_common::BootTime;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, task::JoinSet, time::sleep};
use uuid::Uuid;

/// The longest sleep: timers stand still while the machine is suspended, subscriptions do not.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The publisher, with a clock.
#[derive(Debug)]
pub struct Hub<T> {
    publisher: Mutex<Publisher<T>>,
    changed: Notify,
    clock: fn() -> BootTime,
}

impl<T: Copy + Eq> Hub<T> {
    /// One without subscriptions.
    pub fn new(clock: fn() -> BootTime) -> Self {
        Self { publisher: Mutex::default(), changed: Notify::new(), clock }
    }

    /// Carries out a SUBSCRIBE; `values` are asked for when a new subscriber is to be told them.
    ///
    /// # Errors
    /// [`EventError`].
    pub fn subscribe(
        &self,
        topic: T,
        who: Subscriber,
        request: SubscribeRequest,
        values: impl FnOnce() -> Values,
    ) -> Result<Granted, EventError> {
        let now = (self.clock)();
        let granted = match request {
            SubscribeRequest::New { callbacks, seconds } => {
                let first = (Uuid::new_v4(), values());
                self.lock().subscribe(now, topic, who, (callbacks, seconds), first)?
            }
            SubscribeRequest::Renew { sid, seconds } => {
                self.lock().renew(now, topic, &who, (sid, seconds))?
            }
        };
        self.changed.notify_one();
        Ok(granted)
    }

    /// Carries out an UNSUBSCRIBE.
    ///
    /// # Errors
    /// [`EventError::BadSid`].
    pub fn unsubscribe(&self, topic: T, who: &Subscriber, sid: Uuid) -> Result<(), EventError> {
        self.lock().unsubscribe((self.clock)(), topic, who, sid)
    }

    /// Tells subscribers of `topics` what has changed. `values` are asked for those topics only that
    /// somebody wants to hear of.
    pub fn publish(
        &self,
        topics: impl IntoIterator<Item = T>,
        mut values: impl FnMut(T) -> Values,
    ) {
        let mut publisher = self.lock();
        if publisher.is_empty() {
            return;
        }
        for topic in topics {
            if publisher.has_subscribers(topic) {
                publisher.publish(topic, &values(topic));
            }
        }
        drop(publisher);
        self.changed.notify_one();
    }

    /// Ends the subscriptions that were made by an address that is gone.
    pub fn forget(&self, address: &LanAddress) {
        self.lock().forget(address);
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&self) -> usize {
        self.lock().len()
    }

    /// Has messages sent until `shutdown`.
    pub async fn run(&self, mut shutdown: Shutdown) {
        let mut sending = JoinSet::new();
        loop {
            let pause = self.pause(&mut sending);
            tokio::select! {
                () = shutdown.wait() => return,
                () = self.changed.notified() => {}
                () = sleep(pause) => {}
                Some(sent) = sending.join_next() => match sent {
                    Ok((sid, seq, outcome)) => {
                        tracing::debug!(%sid, seq, ?outcome, "event");
                        self.lock().settle((self.clock)(), sid, seq, outcome);
                    }
                    Err(error) => tracing::error!("an event could not be sent: {error}"),
                },
            }
        }
    }

    /// Begins to send what is due; returns the time until the next message is.
    fn pause(&self, sending: &mut JoinSet<(Uuid, u32, super::Outcome)>) -> Duration {
        let now = (self.clock)();
        let mut publisher = self.lock();
        while let Some(delivery) = publisher.next(now) {
            sending.spawn(async move {
                let outcome = deliver(&delivery).await;
                (delivery.sid, delivery.seq, outcome)
            });
        }
        let due = publisher.due().unwrap_or(BootTime::NEVER);
        Duration::from_nanos(due.nanos_from(now)).min(LONGEST_SLEEP)
    }

    /// Never held across an await.
    fn lock(&self) -> MutexGuard<'_, Publisher<T>> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
