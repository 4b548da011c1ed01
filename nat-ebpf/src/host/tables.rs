//! The tables in hash maps.

use super::network::Network;
use crate::Tables;
use crate::frame::Frame;
use crate::mapping;
use crate::mss;
use crate::open;
use crate::tables::{EndpointRequest, HoldRequest, InsertError};
use crate::verdict::Route;
use nat_common::atomic::Word64;
use nat_common::client::{Client, Ended};
use nat_common::contact::{Contact, ContactKey};
use nat_common::counters::{COUNTERS, CounterRecord};
use nat_common::filters::Filters;
use nat_common::fragments::{FragmentEntry, FragmentKey, Whole};
use nat_common::hints::{PortHints, list_index};
use nat_common::link::Link;
use nat_common::maps::NOT_IN_POOL;
use nat_common::ports::{Owner, PortSlot, SLOTS_PER_ADDRESS, slot_index};
use nat_common::session::{EndpointKey, RemoteKey, Session, SessionKey};
use nat_common::settings::Settings;
use nat_common::{BootTime, Counter, NetAddr, NetPort, Protocol};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// How many entries fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Session entries: two for each session.
    pub sessions: usize,
    /// Internal endpoints.
    pub endpoints: usize,
    /// Contacts.
    pub contacts: usize,
    /// Internal clients.
    pub clients: usize,
}

/// Maps, clock, random numbers, routes and counters in memory.
#[derive(Debug)]
pub struct HostTables {
    /// What the daemon has set; `None`: nothing yet.
    pub settings: Option<Settings>,
    /// What the kernel knows of links, routes, neighbours and sockets.
    pub network: Network,
    /// How many entries fit.
    pub capacity: Capacity,
    pool: Vec<NetAddr>,
    other_externals: Vec<NetAddr>,
    ingress: u8,
    clock: BootTime,
    random: Cell<u64>,
    fixed: Option<u32>,
    pub(super) sessions: RefCell<HashMap<SessionKey, Rc<Session>>>,
    endpoints: RefCell<HashMap<EndpointKey, Rc<Word64>>>,
    pub(crate) slots: RefCell<HashMap<u32, Rc<PortSlot>>>,
    hints: RefCell<HashMap<u32, Rc<PortHints>>>,
    hint_requests: Cell<u64>,
    remotes: RefCell<HashMap<RemoteKey, BootTime>>,
    filters: RefCell<HashMap<u32, Filters>>,
    fragments: RefCell<HashMap<FragmentKey, FragmentEntry>>,
    noted: RefCell<Vec<(u32, Owner)>>,
    contacts: RefCell<HashMap<ContactKey, Rc<Contact>>>,
    pub(super) clients: RefCell<HashMap<NetAddr, Rc<Client>>>,
    pub(super) ended: RefCell<HashMap<NetAddr, Ended>>,
    counters: RefCell<CounterRecord>,
}

impl HostTables {
    /// Empty tables with the default settings, some time after boot.
    pub fn new(network: Network, seed: u64) -> Self {
        Self {
            settings: Some(Settings::DEFAULT),
            network,
            capacity: Capacity {
                sessions: usize::MAX,
                endpoints: usize::MAX,
                contacts: usize::MAX,
                clients: usize::MAX,
            },
            pool: Vec::new(),
            other_externals: Vec::new(),
            ingress: 0,
            clock: BootTime(0).plus_secs(1_000),
            random: Cell::new(seed),
            fixed: None,
            sessions: RefCell::default(),
            endpoints: RefCell::default(),
            slots: RefCell::default(),
            hints: RefCell::default(),
            hint_requests: Cell::new(0),
            remotes: RefCell::default(),
            filters: RefCell::default(),
            fragments: RefCell::default(),
            noted: RefCell::default(),
            contacts: RefCell::default(),
            clients: RefCell::default(),
            ended: RefCell::default(),
            counters: RefCell::new([0; COUNTERS]),
        }
    }

    /// States the router's own addresses on the WAN: the pool, and the others.
    pub fn set_externals(&mut self, pool: Vec<NetAddr>, others: Vec<NetAddr>) {
        self.pool = pool;
        self.other_externals = others;
    }

    /// Names the link by which the next frames come in.
    pub fn set_ingress(&mut self, link: u8) {
        self.ingress = link;
    }

    /// Has every random number be this one, or random again.
    pub fn fix_random(&mut self, number: Option<u32>) {
        self.fixed = number;
    }

    /// Lets so many seconds pass.
    pub fn advance(&mut self, seconds: u64) {
        self.advance_by(Duration::from_secs(seconds));
    }

    /// Lets time pass.
    pub fn advance_by(&mut self, time: Duration) {
        self.clock = self.clock.plus_nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts a fragment that the daemon keeps, as the XDP program does.
    pub fn keep(&self, pass: bool) {
        self.count(if pass { Counter::PassLocal } else { Counter::HeldFragments }, 1);
    }

    /// The mappings that were noted since this was asked last: slots and owners.
    pub fn take_noted(&self) -> Vec<(u32, Owner)> {
        self.noted.take()
    }

    /// What a counter counts by now.
    pub fn counted(&self, counter: Counter) -> u64 {
        self.counters.borrow().get(counter as usize).copied().unwrap_or_default()
    }

    /// The counters.
    pub fn counters(&self) -> CounterRecord {
        *self.counters.borrow()
    }

    /// Fills what room there is for sessions with sessions that are long over.
    pub fn fill_sessions(&self) {
        let mut sessions = self.sessions.borrow_mut();
        let free = self.capacity.sessions.saturating_sub(sessions.len());
        for number in (0..u32::MAX).take(free) {
            // From 0.0.0.0/8, where no packet comes from.
            let src = (NetAddr::from_octets((number & 0x00ff_ffff).to_be_bytes()), NetPort(0));
            let key = SessionKey::new(nat_common::session::Side::Wan, Protocol::Udp, src, src);
            sessions.insert(key, Rc::new(over()));
        }
    }

    /// Fills what room there is for internal endpoints.
    pub fn fill_endpoints(&self) {
        let mut endpoints = self.endpoints.borrow_mut();
        let free = self.capacity.endpoints.saturating_sub(endpoints.len());
        for number in (0..u32::MAX).take(free) {
            let addr = NetAddr::from_octets((number & 0x00ff_ffff).to_be_bytes());
            let key = EndpointKey::new(Protocol::Udp, addr, NetPort(0));
            endpoints.insert(key, Rc::new(Word64::new(0)));
        }
    }

    /// Lists free ports of a protocol, as the daemon does. Tells how many there are.
    pub fn fill_hints(&self, protocol: Protocol) -> u32 {
        let settings = self.settings.unwrap_or(Settings::DEFAULT);
        (0..u32::from(settings.pool_len))
            .map(|address| {
                let slots = self.slots.borrow();
                let is_free = |port| {
                    let slot = slots.get(&slot_index(address, protocol, port));
                    slot.is_none_or(|slot| slot.looks_free(self.now()))
                };
                let below = |bound| ((u64::from(self.random()) * u64::from(bound)) >> 32) as u32;
                let mut hints = self.hints.borrow_mut();
                let hints = hints.entry(list_index(address, protocol)).or_default();
                hints.fill(settings.range(protocol), is_free, below)
            })
            .sum()
    }

    /// How often the packet path has asked for hints.
    pub fn hint_requests(&self) -> u64 {
        self.hint_requests.get()
    }

    /// Fills what room there is for contacts.
    pub fn fill_contacts(&self) {
        let mut contacts = self.contacts.borrow_mut();
        let free = self.capacity.contacts.saturating_sub(contacts.len());
        for slot in (0..u32::MAX).take(free) {
            let key = ContactKey::new(slot, NetAddr::UNSPECIFIED, NetPort(0));
            contacts.insert(key, Rc::new(Contact::new(0, BootTime(0))));
        }
    }

    /// Fills what room there is for internal clients.
    pub fn fill_clients(&self) {
        let mut clients = self.clients.borrow_mut();
        let free = self.capacity.clients.saturating_sub(clients.len());
        for number in (0..u32::MAX).take(free) {
            let addr = NetAddr::from_octets((number & 0x00ff_ffff).to_be_bytes());
            clients.insert(addr, Rc::default());
        }
    }

    pub(super) fn set_endpoint(&self, key: EndpointKey, external: u64) {
        self.endpoints.borrow_mut().insert(key, Rc::new(Word64::new(external)));
    }

    pub(super) fn set_remote(&self, key: RemoteKey, until: BootTime) {
        self.remotes.borrow_mut().insert(key, until);
    }

    /// States the filters of a slot.
    pub(super) fn set_filters(&self, slot: u32, filters: Option<Filters>) {
        match filters {
            Some(filters) => self.filters.borrow_mut().insert(slot, filters),
            None => self.filters.borrow_mut().remove(&slot),
        };
    }

    pub(super) fn remove_remotes(&self, slot: u32) {
        self.remotes.borrow_mut().retain(|key, _| key.slot != slot);
    }
}

/// A session that ended before everything.
fn over() -> Session {
    Session {
        deadline: Word64::new(0),
        hop: Word64::new(0),
        control: Word64::new(0),
        new_src: NetAddr::UNSPECIFIED,
        new_dst: NetAddr::UNSPECIFIED,
        new_src_port: NetPort(0),
        new_dst_port: NetPort(0),
        ip_delta: 0,
        l4_delta: 0,
    }
}

impl Tables for HostTables {
    type Session = Rc<Session>;
    type Slot = Rc<PortSlot>;
    type Hints = Rc<PortHints>;
    type Word = Rc<Word64>;
    type Contact = Rc<Contact>;
    type Client = Rc<Client>;

    /// As exact as packets have it, lest those of the same moment come before what the daemon does in it.
    fn now(&self) -> BootTime {
        self.clock.in_generation(0)
    }

    /// SplitMix64.
    fn random(&self) -> u32 {
        if let Some(number) = self.fixed {
            return number;
        }
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 32) as u32
    }

    fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    fn session(&self, key: &SessionKey) -> Option<Rc<Session>> {
        self.sessions.borrow().get(key).cloned()
    }

    fn insert_session(&self, key: &SessionKey, session: Session) -> Result<(), InsertError> {
        let mut sessions = self.sessions.borrow_mut();
        if !sessions.contains_key(key) && sessions.len() >= self.capacity.sessions {
            return Err(InsertError::Full);
        }
        sessions.insert(*key, Rc::new(session));
        Ok(())
    }

    fn remove_session(&self, key: &SessionKey) {
        self.sessions.borrow_mut().remove(key);
    }

    fn slot(&self, index: u32) -> Option<Rc<PortSlot>> {
        if index as usize >= self.pool.len().max(1) * SLOTS_PER_ADDRESS as usize {
            return None;
        }
        Some(Rc::clone(self.slots.borrow_mut().entry(index).or_default()))
    }

    fn hints(&self, list: u32) -> Option<Rc<PortHints>> {
        Some(Rc::clone(self.hints.borrow_mut().entry(list).or_default()))
    }

    fn ask_for_hints(&self, _list: u32) {
        self.hint_requests.set(self.hint_requests.get() + 1);
    }

    fn note_mapping(&self, _at: BootTime, slot: u32, owner: Owner) {
        self.noted.borrow_mut().push((slot, owner));
    }

    fn endpoint(&self, key: &EndpointKey) -> Option<Rc<Word64>> {
        self.endpoints.borrow().get(key).cloned()
    }

    fn insert_endpoint(&self, key: &EndpointKey, external: u64) -> Result<(), InsertError> {
        let mut endpoints = self.endpoints.borrow_mut();
        if endpoints.contains_key(key) {
            return Err(InsertError::Exists);
        }
        if endpoints.len() >= self.capacity.endpoints {
            return Err(InsertError::Full);
        }
        endpoints.insert(*key, Rc::new(Word64::new(external)));
        Ok(())
    }

    fn remote(&self, key: &RemoteKey) -> Option<BootTime> {
        self.remotes.borrow().get(key).copied()
    }

    fn listed(&self, slot: u32, filtered: bool, remote: (NetAddr, NetPort)) -> BootTime {
        crate::track::listed(self, slot, filtered, remote)
    }

    fn filtered(&self, slot: u32, (addr, port): (NetAddr, NetPort)) -> BootTime {
        let filters = self.filters.borrow().get(&slot).copied().unwrap_or_default();
        filters.let_in_until(addr, port)
    }

    fn fragment(&self, key: &FragmentKey, now: BootTime) -> Option<Whole> {
        self.fragments.borrow().get(key)?.whole(now)
    }

    fn set_fragment(&self, key: &FragmentKey, entry: FragmentEntry) -> Result<(), InsertError> {
        self.fragments.borrow_mut().insert(*key, entry);
        Ok(())
    }

    fn await_fragment(&self, key: &FragmentKey, entry: FragmentEntry) -> Result<(), InsertError> {
        if self.fragment(key, self.clock).is_some() {
            return Err(InsertError::Exists);
        }
        self.set_fragment(key, entry)
    }

    /// There is no daemon, and nobody keeps fragments.
    fn release_fragments(&self, _key: &FragmentKey, _forget: bool) {}

    fn contact(&self, key: &ContactKey) -> Option<Rc<Contact>> {
        self.contacts.borrow().get(key).cloned()
    }

    fn insert_contact(&self, key: &ContactKey, contact: Contact) -> Result<(), InsertError> {
        let mut contacts = self.contacts.borrow_mut();
        if !contacts.contains_key(key) && contacts.len() >= self.capacity.contacts {
            return Err(InsertError::Full);
        }
        contacts.insert(*key, Rc::new(contact));
        Ok(())
    }

    fn client(&self, addr: &NetAddr) -> Option<Rc<Client>> {
        self.clients.borrow().get(addr).cloned()
    }

    fn insert_client(&self, addr: &NetAddr) -> Result<(), InsertError> {
        let mut clients = self.clients.borrow_mut();
        if clients.contains_key(addr) {
            return Err(InsertError::Exists);
        }
        if clients.len() >= self.capacity.clients {
            return Err(InsertError::Full);
        }
        clients.insert(*addr, Rc::default());
        Ok(())
    }

    fn ended(&self, addr: &NetAddr) -> Ended {
        self.ended.borrow().get(addr).copied().unwrap_or_default()
    }

    fn external_index(&self, addr: NetAddr) -> Option<u32> {
        if let Some((index, _)) = (0_u32..).zip(&self.pool).find(|(_, own)| **own == addr) {
            return Some(index);
        }
        self.other_externals.contains(&addr).then_some(NOT_IN_POOL)
    }

    fn pool_address(&self, index: u32) -> Option<NetAddr> {
        self.pool.get(index as usize).copied()
    }

    fn link(&self, index: u8) -> Option<&Link> {
        self.network.link(index)
    }

    fn ingress(&self) -> Option<&Link> {
        self.network.link(self.ingress)
    }

    fn route(&self, _src: NetAddr, dst: NetAddr) -> Route {
        self.count(Counter::RouteLookups, 1);
        self.network.route(dst)
    }

    fn local_socket(
        &self,
        protocol: Protocol,
        local: (NetAddr, NetPort),
        remote: (NetAddr, NetPort),
    ) -> bool {
        self.network.has_socket(protocol, local, remote)
    }

    fn external_endpoint(&self, request: &EndpointRequest) -> u64 {
        mapping::external_endpoint(self, request)
    }

    fn hold_port(&self, request: &HoldRequest) -> bool {
        open::hold_port(self, request)
    }

    fn clamp_mss<F: Frame>(&self, frame: &mut F, payload: usize, limit: u16) -> u16 {
        mss::clamp(frame, payload, limit, |frame, at| mss::step(frame, payload, at))
    }

    fn count(&self, counter: Counter, amount: u64) {
        if let Some(value) = self.counters.borrow_mut().get_mut(counter as usize) {
            *value += amount;
        }
    }

    fn count_number(&self, number: u32) {
        if let Some(value) = self.counters.borrow_mut().get_mut(number as usize) {
            *value += 1;
        }
    }
}
