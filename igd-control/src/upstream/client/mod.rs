//! Mappings at one server of PCP or NAT-PMP, asked for and kept.

mod hear;
mod nat_pmp;
mod send;

use super::backoff::Backoff;
use super::epoch::ServerEpoch;
use super::lease::Lease;
use super::xlat::{Prefix, Xlat};
use crate::mapping::Random;
use crate::wire::pcp::{Filter, Nonce, ResultCode};
use nat_common::time::NANOS_PER_SEC;
use nat_common::{BootTime, Protocol};
use nat_pmp::NatPmp;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use uuid::Uuid;

/// First requests that may be without an answer at the same time: a server that has lost everything is
/// not buried in requests.
const WINDOW: usize = 32;
/// Mappings whose end is being said; those above end by themselves.
const ENDINGS: usize = 1_024;
/// How often the end of a mapping is said.
const SAYINGS: u32 = 4;
/// A server that has left requests unanswered for so long is silent, seconds.
const SILENCE: u64 = 10;
/// Until a short-lifetime error is asked about again, once, seconds (draft-ietf-pcp-upnp-igd-interworking
/// 5.7.1).
const RETRY: u64 = 30;
/// Seconds until what was refused is tried again where it is still wanted.
const REFUSED: (u64, u64) = (30, 1_800);
/// Until a server that speaks no PCP is asked again, seconds.
const NO_PCP: u64 = 600;
/// Those who hear an announcement together do not all ask together, seconds.
const SPREAD: u64 = 5;
/// The longest lifetime that is asked for, seconds.
const LONGEST: u32 = 86_400;

/// What a mapping is at the server: an internal endpoint, as the server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The endpoint; one of another address than the client's own takes THIRD_PARTY. That is every one
    /// when the server is asked by IPv6.
    pub internal: SocketAddrV4,
    /// The remote peer of a session that is asked for by PEER; `None`: it is asked for by MAP.
    pub remote: Option<SocketAddrV4>,
}

impl Key {
    /// A mapping for all remote hosts.
    pub const fn map(protocol: Protocol, internal: SocketAddrV4) -> Self {
        Self { protocol, internal, remote: None }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |key: &Self| (key.protocol as u8, key.internal, key.remote);
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A mapping that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The external port; 0: whichever.
    pub external_port: u16,
    /// That port and no other: PREFER_FAILURE, which is what PEER means anyway (section 12.2).
    pub exactly: bool,
    /// Until when. Leases that the server does not give for so long are renewed.
    pub until: BootTime,
    /// The longest lifetime to ask for, seconds.
    pub longest: u32,
    /// Whom to let in; empty: everybody.
    pub filters: Vec<Filter>,
}

impl Wanted {
    /// The external port, or none.
    pub fn exactly(external_port: u16, until: BootTime) -> Self {
        Self { exactly: true, ..Self::about(external_port, until) }
    }

    /// The external port if it can be had.
    pub fn about(external_port: u16, until: BootTime) -> Self {
        let filters = Vec::new();
        Self { external_port, exactly: false, until, longest: LONGEST, filters }
    }
}

/// Why a mapping that was in force is not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The server has answered no renewal.
    Unanswered,
    /// It has refused to renew it, or to make it again after it had lost its state.
    Refused(ResultCode),
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server has granted a mapping, or renewed it.
    Granted(Key, Lease),
    /// It has refused one that was not in force.
    Refused(Key, ResultCode),
    /// One that was in force is not any more.
    Ended(Key, EndReason),
    /// The server has lost its state: all mappings are made again.
    StateLost,
}

/// What is known about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// It has not answered yet, and may.
    Unknown,
    /// It speaks PCP.
    Pcp,
    /// It speaks NAT-PMP only.
    NatPmp,
    /// It speaks another version of PCP only.
    OtherVersion(u8),
    /// It does not answer.
    Silent,
}

/// What a client is told at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Our own address, as the NAT upstream sees it in packets.
    pub own: Ipv4Addr,
    /// Where requests come from, as the server sees it: the same, or an address of IPv6.
    pub client: IpAddr,
    /// The server.
    pub server: SocketAddr,
    /// What the nonces are made of. It is the same after a restart, so that mappings of before can be
    /// renewed (RFC 6887 11.2: by the original nonce).
    pub secret: Uuid,
    /// Where random pauses begin.
    pub seed: u64,
    /// How addresses are written where the server's NAT is a NAT64; `None`: as they are.
    pub xlat: Option<Xlat>,
}

impl ClientConfig {
    /// Behind which prefix internal addresses lie, as the server knows them.
    fn internal(&self) -> Option<Prefix> {
        self.xlat.map(|xlat| xlat.internal)
    }

    /// The same of remote peers.
    fn remote(&self) -> Option<Prefix> {
        self.xlat.map(|xlat| xlat.remote)
    }
}

/// What is being done about a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It waits for its turn.
    Queued,
    /// It has been asked for.
    Asking(Backoff),
    /// A short-lifetime error has come: it is asked for once more then.
    Pausing(BootTime),
    /// It is in force; when to ask for its renewal.
    Held(Option<BootTime>),
    /// It was refused, or has ended; asked for again then.
    Refused(BootTime),
}

#[derive(Clone, Debug)]
struct Entry {
    wanted: Wanted,
    phase: Phase,
    /// What the server has granted; it may have forgotten it since.
    lease: Option<Lease>,
    /// A short-lifetime error has been waited out.
    retried: bool,
    /// The server may have other filters for it, which have to go first.
    refiltered: bool,
    /// The server may know it.
    asked: bool,
    /// The end of that one has to be said first.
    after: Option<Key>,
    /// When something is to be done, as in the client's schedule.
    at: BootTime,
}

#[derive(Clone, Copy, Debug)]
struct Ending {
    timer: Backoff,
    said: u32,
}

/// The client. After each call that takes `now`, what it wants is in [`Client::take_datagrams`],
/// [`Client::take_events`] and [`Client::next`].
#[derive(Clone, Debug)]
pub struct Client {
    config: ClientConfig,
    random: Random,
    service: Service,
    epoch: ServerEpoch,
    /// While the server is spoken to by NAT-PMP.
    nat_pmp: Option<NatPmp>,
    entries: BTreeMap<Key, Entry>,
    endings: BTreeMap<Key, Ending>,
    schedule: BTreeSet<(BootTime, Key)>,
    queue: VecDeque<Key>,
    /// Entries that are [`Phase::Asking`].
    asking: usize,
    /// Nothing new is asked before.
    opens: BootTime,
    /// Since when requests have been without an answer.
    waiting: Option<BootTime>,
    datagrams: Vec<Vec<u8>>,
    events: Vec<Event>,
}

impl Client {
    /// One that wants nothing yet.
    pub fn new(config: ClientConfig) -> Self {
        Self {
            config,
            random: Random::new(config.seed),
            service: Service::Unknown,
            epoch: ServerEpoch::default(),
            nat_pmp: None,
            entries: BTreeMap::new(),
            endings: BTreeMap::new(),
            schedule: BTreeSet::new(),
            queue: VecDeque::new(),
            asking: 0,
            opens: BootTime(0),
            waiting: None,
            datagrams: Vec::new(),
            events: Vec::new(),
        }
    }

    /// What it was told at its start.
    pub const fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// What is known about the server.
    pub const fn service(&self) -> Service {
        self.service
    }

    /// The keys of all mappings that are wanted.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.entries.keys().copied()
    }

    /// What the server has granted for a mapping, if it is in force.
    pub fn lease(&self, key: &Key) -> Option<&Lease> {
        self.entries.get(key).and_then(|entry| entry.lease.as_ref())
    }

    /// What it has granted.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.entries.values().filter_map(|entry| entry.lease.as_ref())
    }

    /// Whether a mapping is wanted.
    pub fn wants(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether the answer about a mapping is still to come.
    pub fn is_pending(&self, key: &Key) -> bool {
        self.entries.get(key).is_some_and(|entry| {
            entry.lease.is_none()
                && matches!(entry.phase, Phase::Queued | Phase::Asking(_) | Phase::Pausing(_))
        })
    }

    /// How many mappings are in force, and how many are wanted; by PEER, or else by MAP.
    pub fn figures(&self, peer: bool) -> (usize, usize) {
        let meant = self.entries.iter().filter(|(key, _)| key.remote.is_some() == peer);
        let held = meant.clone().filter(|(_, entry)| entry.lease.is_some());
        (held.count(), meant.count())
    }

    /// Has a mapping, or has it otherwise than before.
    pub fn want(&mut self, now: BootTime, key: Key, wanted: Wanted) {
        self.want_after(now, key, wanted, None);
    }

    /// The same, when the server has heard that another one has ended.
    pub fn want_after(&mut self, now: BootTime, key: Key, wanted: Wanted, after: Option<Key>) {
        if after != Some(key) {
            self.endings.remove(&key);
        }
        let Some(entry) = self.entries.get_mut(&key) else {
            let entry = Entry {
                wanted,
                // Until it is queued below.
                phase: Phase::Refused(BootTime::NEVER),
                lease: None,
                retried: false,
                refiltered: false,
                asked: false,
                after,
                at: BootTime::NEVER,
            };
            self.entries.insert(key, entry);
            self.set(key, Phase::Queued);
            self.tick(now);
            return;
        };
        if entry.wanted == wanted {
            return;
        }
        // An endpoint keeps the port that it has at the server until that one is given back.
        let another = entry.wanted.external_port != wanted.external_port;
        if another && entry.lease.is_some_and(|lease| lease.port != wanted.external_port) {
            self.forget(now, &key);
            return self.want_after(now, key, wanted, Some(key));
        }
        let Wanted { until, exactly, external_port, .. } = entry.wanted;
        // Who has the port may as well insist on it.
        let has_it = entry.lease.is_some_and(|lease| lease.port == wanted.external_port);
        let exactly = if has_it { exactly } else { wanted.exactly };
        let external_port = if has_it { external_port } else { wanted.external_port };
        let same = Wanted { until, exactly, external_port, ..wanted.clone() } == entry.wanted;
        entry.refiltered |= entry.asked && wanted.filters != entry.wanted.filters;
        let sooner = wanted.until < entry.wanted.until;
        entry.wanted = wanted;
        let lease = entry.lease;
        match (entry.phase, lease) {
            // It may have been left to end.
            (Phase::Held(_), Some(lease))
                if same && !(sooner && entry.wanted.until < lease.until) =>
            {
                let renewal = self.renewal_of(now, &key, &lease);
                self.set(key, Phase::Held(renewal));
            }
            (Phase::Asking(_) | Phase::Pausing(_) | Phase::Queued, _) if same => {}
            _ => self.set(key, Phase::Queued),
        }
        self.tick(now);
    }

    /// Has a mapping no more.
    pub fn forget(&mut self, now: BootTime, key: &Key) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.unschedule(key, &entry);
        let refused = matches!(entry.phase, Phase::Refused(_));
        if entry.asked && !refused {
            self.end(now, *key);
        }
        self.tick(now);
    }

    /// When [`Self::tick`] has something to do.
    pub fn next(&self) -> Option<BootTime> {
        let timers = self.endings.values().map(|ending| ending.timer.due).min();
        let silent = self.waiting.filter(|_| self.service != Service::Silent);
        let opens = (!self.queue.is_empty() && self.asking < WINDOW).then_some(self.opens);
        let moments = [
            self.schedule.first().map(|(at, _)| *at),
            timers,
            silent.map(|since| since.plus_secs(SILENCE)),
            opens.filter(|opens| *opens > BootTime(0)),
            self.nat_pmp.filter(|_| !self.entries.is_empty()).map(|nat_pmp| nat_pmp.next()),
        ];
        moments.into_iter().flatten().min()
    }

    /// Whether there are datagrams for the server.
    pub fn has_datagrams(&self) -> bool {
        !self.datagrams.is_empty()
    }

    /// Datagrams for the server.
    pub fn take_datagrams(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.datagrams)
    }

    /// What has happened, oldest first.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The nonce of a mapping: nobody can guess it who does not know the secret.
    fn nonce(&self, key: &Key) -> Nonce {
        let mut name = vec![key.protocol as u8];
        name.extend_from_slice(&key.internal.ip().octets());
        name.extend_from_slice(&key.internal.port().to_be_bytes());
        if let Some(remote) = key.remote {
            name.extend_from_slice(&remote.ip().octets());
            name.extend_from_slice(&remote.port().to_be_bytes());
        }
        let digest = Uuid::new_v5(&self.config.secret, &name);
        let mut nonce = [0; 12];
        nonce.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
        Nonce(nonce)
    }

    /// When to ask for the renewal of a lease: not when it lasts as long as it is wanted.
    fn renewal_of(&mut self, now: BootTime, key: &Key, lease: &Lease) -> Option<BootTime> {
        let wanted = self.entries.get(key)?.wanted.until;
        // The server counts whole seconds.
        let longer = wanted.nanos_from(lease.until) > NANOS_PER_SEC;
        longer.then(|| lease.renewal(now, &mut self.random))?
    }

    /// Has something else done about a mapping.
    fn set(&mut self, key: Key, phase: Phase) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        self.schedule.remove(&(entry.at, key));
        self.asking -= usize::from(matches!(entry.phase, Phase::Asking(_)));
        self.asking += usize::from(matches!(phase, Phase::Asking(_)));
        if phase == Phase::Queued && entry.phase != Phase::Queued {
            self.queue.push_back(key);
        }
        entry.phase = phase;
        let at = match phase {
            Phase::Queued => BootTime::NEVER,
            Phase::Asking(timer) => timer.due,
            Phase::Held(renewal) => renewal.unwrap_or(BootTime::NEVER),
            Phase::Pausing(until) | Phase::Refused(until) => until,
        };
        let ends = entry.lease.map_or(BootTime::NEVER, |lease| lease.until);
        entry.at = at.min(ends);
        if entry.at < BootTime::NEVER {
            self.schedule.insert((entry.at, key));
        }
    }

    fn unschedule(&mut self, key: &Key, entry: &Entry) {
        self.schedule.remove(&(entry.at, *key));
        self.asking -= usize::from(matches!(entry.phase, Phase::Asking(_)));
        self.queue.retain(|queued| queued != key);
    }
}
