//! All subscriptions, and whose turn it is.

use super::{
    Outcome, Values, limits,
    subscription::{Fate, Subscription},
};
use crate::metrics::{self, Limit};
use crate::{
    lan::{Client, LanAddress},
    wire::gena::{Callback, EventError, Granted, property_set},
};
use nat_common::BootTime;
use std::{collections::BTreeMap, net::IpAddr};
use uuid::Uuid;

/// Who asks, and by which of our addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Our address.
    pub at: LanAddress,
    /// Its address.
    pub peer: IpAddr,
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The subscription.
    pub sid: Uuid,
    /// The number of the message.
    pub seq: u32,
    /// The address to send from.
    pub from: LanAddress,
    /// Where to, in the order of trying.
    pub callbacks: Vec<Callback>,
    /// The body.
    pub body: Vec<u8>,
}

/// The subscriptions to topics, which are services of a device.
///
/// Each subscription has one message on its way at most. Changes meanwhile wait, in their order; when
/// too many wait, or when messages follow one another too fast, the later ones become one.
#[derive(Debug)]
pub struct Publisher<T> {
    subscriptions: BTreeMap<Uuid, Subscription<T>>,
}

impl<T> Default for Publisher<T> {
    fn default() -> Self {
        Self { subscriptions: BTreeMap::new() }
    }
}

impl<T: Copy + Eq> Publisher<T> {
    /// Adds a subscription called `sid`, whose subscriber is told `values` first.
    ///
    /// # Errors
    /// [`EventError::BadCallback`], [`EventError::Full`].
    pub fn subscribe(
        &mut self,
        now: BootTime,
        topic: T,
        Subscriber { at, peer }: Subscriber,
        (mut callbacks, seconds): (Vec<Callback>, Option<u32>),
        (sid, values): (Uuid, Values),
    ) -> Result<Granted, EventError> {
        self.expire(now);
        callbacks.retain(|callback| may_send(&at, callback));
        if callbacks.is_empty() {
            return Err(EventError::BadCallback);
        }
        self.make_room(Client::of(peer))?;
        let mut subscription = Subscription::new(now, topic, (at, peer), callbacks, values);
        let granted = grant(now, &mut subscription, sid, seconds);
        self.subscriptions.insert(sid, subscription);
        Ok(granted)
    }

    /// Gives a subscription more time.
    ///
    /// # Errors
    /// [`EventError::BadSid`], also for somebody else's subscription.
    pub fn renew(
        &mut self,
        now: BootTime,
        topic: T,
        who: &Subscriber,
        (sid, seconds): (Uuid, Option<u32>),
    ) -> Result<Granted, EventError> {
        self.expire(now);
        let subscription = self.owned(topic, who, sid)?;
        Ok(grant(now, subscription, sid, seconds))
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub fn unsubscribe(
        &mut self,
        now: BootTime,
        topic: T,
        who: &Subscriber,
        sid: Uuid,
    ) -> Result<(), EventError> {
        self.expire(now);
        self.owned(topic, who, sid)?;
        self.subscriptions.remove(&sid);
        Ok(())
    }

    /// Takes note of the values of a topic as they are now. What differs from before is told.
    pub fn publish(&mut self, topic: T, values: &Values) {
        let all = self.subscriptions.values_mut();
        all.filter(|subscription| subscription.topic == topic).for_each(|one| one.tell(values));
    }

    /// Whether anybody wants to hear of `topic`.
    pub fn has_subscribers(&self, topic: T) -> bool {
        self.subscriptions.values().any(|subscription| subscription.topic == topic)
    }

    /// Ends all subscriptions that were made by an address that is gone.
    pub fn forget(&mut self, address: &LanAddress) {
        self.subscriptions.retain(|_, subscription| subscription.from != *address);
    }

    /// The next message to be sent at `now`. [`Self::settle`] is to be told what became of it.
    pub fn next(&mut self, now: BootTime) -> Option<Delivery> {
        self.expire(now);
        let mut all = self.subscriptions.iter_mut();
        let (sid, subscription) = all.find(|(_, one)| one.due().is_some_and(|due| due <= now))?;
        let (seq, values) = subscription.begin(now)?;
        let body = property_set(values.iter().map(|(name, value)| (*name, value.as_str())));
        Some(Delivery {
            sid: *sid,
            seq,
            from: subscription.from.clone(),
            callbacks: subscription.callbacks.clone(),
            body,
        })
    }

    /// Takes note of what became of a message.
    pub fn settle(&mut self, now: BootTime, sid: Uuid, seq: u32, outcome: Outcome) {
        if let Some(subscription) = self.subscriptions.get_mut(&sid)
            && subscription.settle(now, seq, outcome) == Fate::Goes
        {
            self.subscriptions.remove(&sid);
        }
    }

    /// When [`Self::next`] has something to send without anything new.
    pub fn due(&self) -> Option<BootTime> {
        self.subscriptions.values().filter_map(Subscription::due).min()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    fn expire(&mut self, now: BootTime) {
        self.subscriptions.retain(|_, subscription| now < subscription.expires);
    }

    /// A subscription may be renewed and ended by who made it, and where it was made.
    fn owned(
        &mut self,
        topic: T,
        who: &Subscriber,
        sid: Uuid,
    ) -> Result<&mut Subscription<T>, EventError> {
        let found = self.subscriptions.get_mut(&sid);
        let owned = found.filter(|found| found.topic == topic && found.peer == who.peer);
        owned.ok_or(EventError::BadSid)
    }

    /// Sees to it that there is room for one more of `client`: those whose events nobody takes any more
    /// give way.
    fn make_room(&mut self, client: Client) -> Result<(), EventError> {
        let own = |one: &&Subscription<T>| Client::of(one.peer) == client;
        let share = client.share(limits::SUBSCRIPTIONS_PER_CLIENT, limits::SUBSCRIPTIONS);
        let only_own = self.subscriptions.values().filter(own).count() >= share;
        if !only_own && self.subscriptions.len() < limits::SUBSCRIPTIONS {
            return Ok(());
        }
        metrics::hit(if only_own { Limit::SubscriptionsPerClient } else { Limit::Subscriptions });
        let deaf = self
            .subscriptions
            .iter()
            .filter(|(_, one)| one.failures > 0 && (!only_own || own(one)));
        let worst = deaf.max_by_key(|(_, one)| one.failures).map(|(sid, _)| *sid);
        self.subscriptions.remove(&worst.ok_or(EventError::Full)?);
        Ok(())
    }

    /// For tests.
    #[cfg(test)]
    pub(super) fn get_mut(&mut self, sid: Uuid) -> Option<&mut Subscription<T>> {
        self.subscriptions.get_mut(&sid)
    }
}

/// Whether events may be sent there: to hosts of the network by which the subscription came, and to no
/// port of a host's own services. Otherwise whoever can reach us could have us speak to anybody
/// (CVE-2020-12695).
fn may_send(at: &LanAddress, callback: &Callback) -> bool {
    at.subnet.reaches(callback.address) && callback.port >= limits::LOWEST_PORT
}

fn grant<T>(
    now: BootTime,
    subscription: &mut Subscription<T>,
    sid: Uuid,
    seconds: Option<u32>,
) -> Granted {
    let (least, most) = (limits::LEAST_SECONDS, limits::MOST_SECONDS);
    let seconds = seconds.unwrap_or(least).clamp(least, most);
    subscription.expires =
        now.plus_nanos(u64::from(seconds).saturating_mul(nat_common::time::NANOS_PER_SEC));
    Granted { sid, seconds }
}
