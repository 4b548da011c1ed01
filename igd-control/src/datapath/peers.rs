//! PCP's PEER in the packet path: sessions that last as agreed, made and prolonged by the packet path's
//! own code ([`nat_common::peer`]), and what is remembered of them.
//!
//! The program for it is loaded when it is first needed, on no interface. What is agreed upon lies beside
//! the sessions, pinned as they are: a daemon that dies leaves both, and they end by the clock.

use super::maps::{Maps, bytes, lock};
use super::{Shared, lease, now};
use crate::mapping::{PathError, Peer, PeerHeld, PeerKey, PeerWish};
use crate::wire::pcp::Nonce;
use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use nat_common::maps::PROGRAM_PEER;
use nat_common::peer::{PEER_DONE, PEER_WORDS, PeerAction, PeerFrame, PeerRecord, refusal};
use nat_common::ports::{PortSlot, SlotState, pool_index, slot_index};
use nat_common::session::{EndpointKey, ExternalEndpoint, SessionKey, Side};
use nat_common::settings::Settings;
use nat_common::{BootTime, Counter, NetPort, Protocol};
use std::net::SocketAddrV4;
use std::sync::{Mutex, OnceLock, PoisonError, Weak};

const KEY: usize = size_of::<SessionKey>();
const RECORD: usize = size_of::<PeerRecord>();
const FRAME: usize = PEER_WORDS * 2;

/// What is remembered, and the program.
pub struct Peers {
    map: Mutex<HashMap<MapData, [u8; KEY], [u8; RECORD]>>,
    program: OnceLock<Weak<Mutex<Ebpf>>>,
}

impl Peers {
    pub(super) fn new(map: HashMap<MapData, [u8; KEY], [u8; RECORD]>) -> Self {
        Self { map: Mutex::new(map), program: OnceLock::new() }
    }

    /// Tells where the program is, once everything is attached.
    pub(super) fn run_by(&self, ebpf: Weak<Mutex<Ebpf>>) {
        let _ = self.program.set(ebpf);
    }

    /// All that is remembered.
    pub(super) fn all(&self) -> Vec<(SessionKey, PeerRecord)> {
        let map = lock(&self.map);
        let entries = map.iter().filter_map(std::result::Result::ok);
        entries
            .map(|(key, record)| {
                let record = bytemuck::pod_read_unaligned(&record);
                (bytemuck::cast::<[u8; KEY], SessionKey>(key), record)
            })
            .collect()
    }

    fn remembers(&self, key: &SessionKey) -> bool {
        lock(&self.map).get(&bytes(key), 0).is_ok()
    }

    fn remember(&self, key: &SessionKey, record: &PeerRecord) -> Result<()> {
        Ok(lock(&self.map).insert(bytes::<_, KEY>(key), bytes::<_, RECORD>(record), 0)?)
    }

    fn forget(&self, key: &SessionKey) {
        let _ = lock(&self.map).remove(&bytes(key));
    }

    /// Forgets a session and lets go of it. No sweep states it again in between, or afterwards.
    fn end(&self, key: &SessionKey) -> Result<()> {
        let mut map = lock(&self.map);
        let _ = map.remove(&bytes(key));
        self.run(PeerAction::LetGo, key, BootTime(0)).map(|_| ())
    }

    /// States a session again, unless it is forgotten by now.
    fn keep(&self, key: &SessionKey, until: BootTime) -> Result<()> {
        let map = lock(&self.map);
        if map.get(&bytes(key), 0).is_ok() {
            let _ = self.run(PeerAction::Keep, key, until)?;
        }
        Ok(())
    }

    /// Runs the program; the refusal's number where the packet path refuses.
    fn run(
        &self,
        action: PeerAction,
        key: &SessionKey,
        until: BootTime,
    ) -> Result<std::result::Result<PeerFrame, u32>> {
        let ebpf = self.program.get().and_then(Weak::upgrade).context("the data path has gone")?;
        let mut ebpf = ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let program: &mut Xdp =
            ebpf.program_mut(PROGRAM_PEER).context("no program for PEER")?.try_into()?;
        if program.fd().is_err() {
            program.load().context("the kernel does not take the program for PEER")?;
        }
        let request: [u8; FRAME] = bytemuck::cast(PeerFrame::new(action, key, until).words());
        let mut answer = [0; FRAME];
        let result = program.test_run(TestRunOptions {
            data_in: Some(&request),
            data_out: Some(&mut answer),
            ..TestRunOptions::default()
        })?;
        Ok(match result.return_value {
            PEER_DONE => Ok(PeerFrame::of_words(&bytemuck::pod_read_unaligned(&answer))),
            refused => Err(refused),
        })
    }
}

/// What an action of the packet path's was refused for.
fn refused(number: u32) -> PathError {
    let is = |counters: &[Counter]| counters.iter().any(|it| refusal(*it as u32) == number);
    if is(&[Counter::DropSessionLimit, Counter::DropPortLimit, Counter::DropRateLimit]) {
        PathError::Limit
    } else if is(&[Counter::PassLocal]) {
        PathError::NoPeer
    } else if is(&[Counter::DropTableFull, Counter::DropNoPort]) {
        PathError::Full
    } else {
        PathError::Failed
    }
}

fn session(key: &PeerKey) -> SessionKey {
    let end = |end: SocketAddrV4| ((*end.ip()).into(), NetPort::new(end.port()));
    SessionKey::new(Side::Lan, key.protocol, end(key.internal), end(key.remote))
}

fn peer(key: &SessionKey, record: &PeerRecord) -> Peer {
    let end = |addr: nat_common::NetAddr, port: NetPort| SocketAddrV4::new(addr.into(), port.get());
    Peer {
        key: PeerKey {
            protocol: key.protocol(),
            internal: end(key.src, key.src_port),
            remote: end(key.dst, key.dst_port),
        },
        nonce: Nonce(record.nonce),
        external: end(record.external, record.external_port),
        deadline: BootTime(record.deadline),
        wished_upstream: 0,
    }
}

/// Whether a record is in force.
const fn is_live(record: &PeerRecord, settings: &Settings, now: BootTime) -> bool {
    record.deadline > now.0 && record.nat_generation == settings.nat_generation
}

/// See [`crate::mapping::PacketPath::hold_peer`]. `held_by_router` tells whether a service of the router
/// has a port.
pub(super) fn hold(
    shared: &Shared,
    wish: &PeerWish,
    held_by_router: impl Fn(Protocol, u16) -> bool,
) -> Result<PeerHeld> {
    let settings = shared.maps.settings()?;
    if shared.is_in_lan(*wish.key.remote.ip()) {
        bail!(PathError::NoPeer);
    }
    lead(shared, &settings, wish, held_by_router)?;
    let key = session(&wish.key);
    let peers = &shared.maps.peers;
    let renewed = peers.remembers(&key);
    let held = peers.run(PeerAction::Hold, &key, wish.until)?.map_err(refused)?;
    let external = SocketAddrV4::new(held.external.into(), held.external_port.get());
    let give_back = || {
        if renewed {
            // What was agreed upon before holds.
            return Ok(());
        }
        peers.end(&key)?;
        let same = |(_, record): &(SessionKey, PeerRecord)| {
            record.external == held.external && record.external_port == held.external_port
        };
        let all = peers.all().into_iter().filter(same);
        let others = all.map(|(_, record)| BootTime(record.deadline)).max();
        release(shared, &settings, &wish.key, external, others.unwrap_or_default());
        anyhow::Ok(())
    };
    let Some(place) = shared.pool_index(held.external) else {
        // The address has changed this moment.
        give_back()?;
        bail!(PathError::Failed);
    };
    let other_port = wish.port != 0 && wish.port != external.port();
    if other_port || wish.address.is_some_and(|address| address != *external.ip()) {
        // Somebody else was quicker, or the session leaves from elsewhere.
        give_back()?;
        bail!(PathError::PortInUse);
    }
    let record = PeerRecord {
        deadline: wish.until.0,
        nonce: wish.nonce.0,
        external: held.external,
        external_port: held.external_port,
        pool_index: place as u16,
        nat_generation: settings.nat_generation,
    };
    if peers.remember(&key, &record).is_err() {
        give_back()?;
        bail!(PathError::Full);
    }
    Ok(PeerHeld { external, lasts: held.lasts() })
}

/// Sees to it that the wished external endpoint is the one that a packet would get: it is asked for first
/// when it is the one that the endpoint index has last known.
fn lead(
    shared: &Shared,
    settings: &Settings,
    wish: &PeerWish,
    held_by_router: impl Fn(Protocol, u16) -> bool,
) -> Result<()> {
    let PeerKey { protocol, internal, .. } = wish.key;
    let endpoint = lease::internal_endpoint(internal);
    let key = EndpointKey::new(protocol, endpoint.addr, endpoint.port);
    let slot = |external: ExternalEndpoint| shared.maps.ports.slot(external.slot(protocol));
    let holds = |slot: &PortSlot| matches!(slot.state(now()), SlotState::Held { owner, .. } if owner.endpoint() == endpoint);
    let known = shared.maps.endpoint(&key).filter(|known| slot(*known).is_some_and(holds));
    let place = match known {
        Some(known) => u32::from(known.pool_index),
        None => pool_index(endpoint.addr, u32::from(settings.pool_len)),
    };
    let address = shared.external_addresses().get(place as usize).copied();
    if wish.address.is_some_and(|wished| Some(wished) != address) {
        bail!(PathError::PortInUse);
    }
    match known {
        _ if wish.port == 0 => Ok(()),
        Some(known) if known.port.get() == wish.port => Ok(()),
        Some(_) => bail!(PathError::PortInUse),
        None => {
            let index = slot_index(place, protocol, wish.port);
            let is_free = shared.maps.ports.slot(index).is_some_and(|slot| slot.looks_free(now()));
            let ours = settings.range(protocol).contains(wish.port);
            if !is_free || !ours {
                bail!(PathError::PortInUse);
            }
            if held_by_router(protocol, wish.port) {
                bail!(PathError::HeldByRouter);
            }
            let external =
                ExternalEndpoint { port: NetPort::new(wish.port), pool_index: place as u16 };
            shared.maps.set_endpoint(&key, external).map_err(|_| PathError::Full.into())
        }
    }
}

/// See [`crate::mapping::PacketPath::let_go_of_peer`].
pub(super) fn let_go(shared: &Shared, peer: &Peer, others: BootTime) -> Result<()> {
    shared.maps.peers.end(&session(&peer.key))?;
    release(shared, &shared.maps.settings()?, &peer.key, peer.external, others);
    Ok(())
}

/// Has an external port be held for no longer than sessions of UDP last that nobody has asked for, and
/// than `others`. The sweep lets go of TCP ports, since it sees all sessions.
fn release(
    shared: &Shared,
    settings: &Settings,
    key: &PeerKey,
    external: SocketAddrV4,
    others: BootTime,
) {
    if key.protocol == Protocol::Tcp {
        return;
    }
    let longest = settings.deadline(now(), settings.timeout(key.protocol, true));
    let place = shared.pool_index((*external.ip()).into());
    let index = place.map(|place| slot_index(place, key.protocol, external.port()));
    let endpoint = lease::internal_endpoint(key.internal);
    if let Some(slot) = index.and_then(|index| shared.maps.ports.slot(index))
        && matches!(slot.state(now()), SlotState::Held { owner, .. } if owner.endpoint() == endpoint)
    {
        slot.shorten(slot.hold(), longest.max(others));
    }
}

/// See [`crate::mapping::PacketPath::peers`].
pub(super) fn in_force(maps: &Maps, now: BootTime) -> Result<Vec<Peer>> {
    let settings = maps.settings()?;
    let all = maps.peers.all().into_iter();
    let live = all.filter(|(_, record)| is_live(record, &settings, now));
    Ok(live.map(|(key, record)| peer(&key, &record)).collect())
}

/// A port that is held by PEER: the place of its address in the pool, its number, until when.
pub(super) type HeldPort = (u32, u16, BootTime);

/// States sessions again whose deadlines have moved nearer, as those of TCP do when their state changes;
/// forgets what is over. Tells which ports of TCP are held, and until when.
pub(super) fn restate(maps: &Maps, settings: &Settings, now: BootTime) -> Vec<HeldPort> {
    let mut held = Vec::new();
    for (key, record) in maps.peers.all() {
        if !is_live(&record, settings, now) {
            maps.peers.forget(&key);
            continue;
        }
        if let Err(error) = maps.peers.keep(&key, BootTime(record.deadline)) {
            tracing::warn!(error = format!("{error:#}"), "a session cannot be held for PEER");
        }
        if key.protocol() == Protocol::Tcp {
            let port = record.external_port.get();
            held.push((record.pool_index.into(), port, BootTime(record.deadline)));
        }
    }
    held
}
