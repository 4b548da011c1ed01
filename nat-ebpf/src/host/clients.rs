//! What the daemon's sweep tells of internal clients.

use super::HostTables;
use crate::Tables;
use nat_common::BootTime;
use nat_common::NetAddr;
use nat_common::client::{Client, ClientRecord, Ended, Live};
use nat_common::ports::{Owner, SlotState};
use nat_common::session::{Session, charged, control};
use std::collections::HashMap;

impl HostTables {
    /// Says what of the clients' sessions and ports has ended, and forgets the clients that have none.
    pub fn sweep_clients(&mut self) {
        let now = self.now();
        let live = self.live(now);
        let mut ended = HashMap::new();
        self.clients
            .get_mut()
            .retain(|addr, client| live.contains_key(addr) || !record(client).is_silent(now));
        for addr in live.keys().chain(self.clients.borrow().keys()) {
            let begun = self.clients.borrow().get(addr).map(|client| record(client));
            let live = live.get(addr).copied().unwrap_or_default();
            ended.insert(*addr, Ended::of(&begun.unwrap_or_default(), live));
        }
        self.ended.replace(ended);
        if let Some(settings) = &mut self.settings {
            settings.swept_at = now.0;
        }
    }

    /// What each client has.
    fn live(&self, now: BootTime) -> HashMap<NetAddr, Live> {
        let mut live: HashMap<NetAddr, Live> = HashMap::new();
        for (key, session) in self.sessions.borrow().iter() {
            if let Some(client) = charged(key, session.control.get())
                && self.is_live(session, now)
            {
                live.entry(client).or_default().sessions += 1;
            }
        }
        for slot in self.slots.borrow().values() {
            if let SlotState::Held { owner, leased: false } = slot.state(now)
                && owner.has(Owner::OPENED_INSIDE)
            {
                live.entry(owner.endpoint().addr).or_default().ports += 1;
            }
        }
        live
    }

    fn is_live(&self, session: &Session, now: BootTime) -> bool {
        let bits = session.control.get();
        let generation = (bits >> control::GENERATION_SHIFT) as u32;
        let bound = bits & control::BOUND_TO_FORWARD != 0;
        let current = self.settings.is_some_and(|settings| settings.nat_generation == generation);
        session.deadline.get() > now.0 && (bound || current)
    }
}

fn record(client: &Client) -> ClientRecord {
    ClientRecord {
        sessions: client.sessions.get(),
        ports: client.ports.get(),
        window: client.window(),
        ..ClientRecord::default()
    }
}
