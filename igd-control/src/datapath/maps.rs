//! The maps that the daemon shares with the XDP program, typed.

use super::batch::{self, Chunks};
use super::clients::Clients;
use super::contacts::Contacts;
use super::peers::Peers;
use super::port_table::{Mapped, PortTable};
use super::sweep::Walker;
use anyhow::{Context as _, Result, anyhow};
use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use nat_common::counters::{COUNTERS, CounterRecord};
use nat_common::filters::Filters;
use nat_common::hints::PortHints;
use nat_common::link::{Link, TaggedKey};
use nat_common::session::{EndpointKey, ExternalEndpoint, RemoteKey, SessionKey, SessionRecord};
use nat_common::settings::Settings;
use nat_common::{BootTime, Counter, NetAddr, maps};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

type Bytes<const N: usize> = [u8; N];
const ENDPOINT: usize = size_of::<EndpointKey>();
const REMOTE: usize = size_of::<RemoteKey>();
const FILTERS: usize = size_of::<Filters>();
const LINK: usize = size_of::<Link>();
const TAGGED: usize = size_of::<TaggedKey>();
const SETTINGS: usize = size_of::<Settings>();

/// All maps. Shared: the kernel synchronises them, and the locks here only order the daemon's own
/// writers.
pub struct Maps {
    /// The port table.
    pub ports: PortTable,
    /// Hints at free ports.
    pub hints: Mapped<PortHints>,
    /// To whom internal clients have sent.
    pub contacts: Contacts,
    /// What internal clients have begun, and how much of it has ended.
    pub clients: Clients,
    /// What PCP's PEER has asked for.
    pub peers: Peers,
    sessions: MapData,
    endpoints: Mutex<HashMap<MapData, Bytes<ENDPOINT>, u64>>,
    endpoints_fd: OwnedFd,
    remotes: Mutex<HashMap<MapData, Bytes<REMOTE>, u64>>,
    filters: Mutex<HashMap<MapData, u32, Bytes<FILTERS>>>,
    externals: Mutex<HashMap<MapData, Bytes<4>, u32>>,
    pool: Mutex<Array<MapData, Bytes<4>>>,
    links: Mutex<Array<MapData, Bytes<LINK>>>,
    link_index: Mutex<HashMap<MapData, u32, u32>>,
    tagged_links: Mutex<HashMap<MapData, Bytes<TAGGED>, u32>>,
    settings: Mutex<Array<MapData, Bytes<SETTINGS>>>,
    counters: PerCpuArray<MapData, CounterRecord>,
    /// What the daemon itself counts, beside the packet path: [`Counter::LateFragments`].
    pub late_fragments: AtomicU64,
    /// Most sessions that fit: two entries each.
    pub max_sessions: u32,
}

impl Maps {
    /// Takes the maps out of a loaded program.
    ///
    /// # Errors
    /// When one is missing or has another layout.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let mut take = |name: &str| {
            ebpf.take_map(name).ok_or_else(|| anyhow!("the XDP program has no map {name}"))
        };
        let ports = match take(maps::PORTS)? {
            Map::Array(data) => PortTable::new(data)?,
            _ => return Err(anyhow!("the port table is not an array")),
        };
        let hints = match take(maps::HINTS)? {
            Map::Array(data) => Mapped::new(data)?,
            _ => return Err(anyhow!("the hints are not an array")),
        };
        let sessions = hash(take(maps::SESSIONS)?)?;
        let endpoints = hash(take(maps::ENDPOINTS)?)?;
        Ok(Self {
            ports,
            hints,
            clients: Clients::new(hash(take(maps::CLIENTS)?)?, hash(take(maps::CLIENTS_ENDED)?)?)?,
            peers: Peers::new(take(maps::PEERS)?.try_into().context(maps::PEERS)?),
            contacts: Contacts::new(hash(take(maps::CONTACTS)?)?)?,
            max_sessions: sessions.info()?.max_entries() / 2,
            sessions,
            endpoints_fd: endpoints.fd().as_fd().try_clone_to_owned()?,
            endpoints: Mutex::new(Map::HashMap(endpoints).try_into().context(maps::ENDPOINTS)?),
            remotes: Mutex::new(take(maps::REMOTES)?.try_into().context(maps::REMOTES)?),
            filters: Mutex::new(take(maps::FILTERS)?.try_into().context(maps::FILTERS)?),
            externals: Mutex::new(take(maps::EXTERNALS)?.try_into().context(maps::EXTERNALS)?),
            pool: Mutex::new(take(maps::POOL)?.try_into().context(maps::POOL)?),
            links: Mutex::new(take(maps::LINKS)?.try_into().context(maps::LINKS)?),
            link_index: Mutex::new(take(maps::LINK_INDEX)?.try_into().context(maps::LINK_INDEX)?),
            tagged_links: Mutex::new(
                take(maps::TAGGED_LINKS)?.try_into().context(maps::TAGGED_LINKS)?,
            ),
            settings: Mutex::new(take(maps::SETTINGS)?.try_into().context(maps::SETTINGS)?),
            counters: take(maps::COUNTERS)?.try_into().context(maps::COUNTERS)?,
            late_fragments: AtomicU64::new(0),
        })
    }

    /// The settings as the packet path sees them; all zero before the first [`Self::change_settings`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn settings(&self) -> Result<Settings> {
        Ok(bytemuck::pod_read_unaligned(&lock(&self.settings).get(&0, 0)?))
    }

    /// Changes the settings; no other change comes between reading and writing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) -> Result<()> {
        let mut map = lock(&self.settings);
        let mut settings = bytemuck::pod_read_unaligned(&map.get(&0, 0)?);
        change(&mut settings);
        map.set(0, bytes(&settings), 0)?;
        Ok(())
    }

    /// The counters, summed over the CPUs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        let mut sums: CounterRecord = [0; COUNTERS];
        for record in self.counters.get(&0, 0)?.iter() {
            for (sum, value) in sums.iter_mut().zip(record) {
                *sum = sum.wrapping_add(*value);
            }
        }
        let late = self.late_fragments.load(Ordering::Relaxed);
        let all = Counter::ALL.iter().copied().zip(sums);
        Ok(all
            .map(|(counter, sum)| {
                (counter, if counter == Counter::LateFragments { late } else { sum })
            })
            .collect())
    }

    /// Walks over the sessions.
    pub fn sessions(&self) -> Chunks<'_, SessionKey, SessionRecord> {
        Chunks::new(self.sessions.fd().as_fd())
    }

    /// Has the kernel walk over the sessions, if it can.
    pub fn walker(&self, ebpf: &mut Ebpf) -> Option<Walker> {
        let walker = Walker::load(ebpf, self.sessions.fd().as_fd());
        if let Err(error) = &walker {
            let error = format!("{error:#}");
            tracing::info!(
                error,
                "the kernel cannot walk over sessions: sweeps cost twice as much"
            );
        }
        walker.ok()
    }

    /// Removes sessions, and tells how many of them were there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_sessions(&self, keys: &[SessionKey]) -> Result<usize> {
        Ok(batch::delete(self.sessions.fd().as_fd(), keys)?)
    }

    /// Walks over the endpoint index.
    pub fn endpoints(&self) -> Chunks<'_, EndpointKey, u64> {
        Chunks::new(self.endpoints_fd.as_fd())
    }

    /// The external endpoint of an internal one.
    pub fn endpoint(&self, key: &EndpointKey) -> Option<ExternalEndpoint> {
        lock(&self.endpoints).get(&bytes(key), 0).ok().map(ExternalEndpoint::unpack)
    }

    /// Sets the external endpoint of an internal one.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_endpoint(&self, key: &EndpointKey, external: ExternalEndpoint) -> Result<()> {
        Ok(lock(&self.endpoints).insert(bytes::<_, ENDPOINT>(key), external.pack(), 0)?)
    }

    /// Removes internal endpoints from the index, and tells how many of them were there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_endpoints(&self, keys: &[EndpointKey]) -> Result<usize> {
        Ok(batch::delete(self.endpoints_fd.as_fd(), keys)?)
    }

    /// Lets a remote host in until a deadline.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_remote(&self, key: &RemoteKey, deadline: BootTime) -> Result<()> {
        Ok(lock(&self.remotes).insert(bytes::<_, REMOTE>(key), deadline.0, 0)?)
    }

    /// Lets a remote host in no longer.
    pub fn remove_remote(&self, key: &RemoteKey) {
        let _ = lock(&self.remotes).remove(&bytes(key));
    }

    /// All remote hosts that are let in, with their deadlines.
    pub fn remotes(&self) -> Vec<(RemoteKey, BootTime)> {
        let map = lock(&self.remotes);
        let entries = map.iter().filter_map(Result::ok);
        entries
            .map(|(key, deadline)| (bytemuck::cast::<Bytes<REMOTE>, _>(key), BootTime(deadline)))
            .collect()
    }

    /// States the filters of a slot.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_filters(&self, slot: u32, filters: &Filters) -> Result<()> {
        Ok(lock(&self.filters).insert(slot, bytes::<_, FILTERS>(filters), 0)?)
    }

    /// Takes the filters of a slot away.
    pub fn remove_filters(&self, slot: u32) {
        let _ = lock(&self.filters).remove(&slot);
    }

    /// All filters, by slot.
    pub fn filters(&self) -> std::collections::HashMap<u32, Filters> {
        let map = lock(&self.filters);
        let entries = map.iter().filter_map(Result::ok);
        entries.map(|(slot, filters)| (slot, bytemuck::pod_read_unaligned(&filters))).collect()
    }

    /// States the router's own addresses on the WAN: the pool first, then the others.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_externals(&self, pool: &[NetAddr], others: &[NetAddr]) -> Result<()> {
        let mut map = lock(&self.externals);
        let mut array = lock(&self.pool);
        let known: Vec<Bytes<4>> = map.keys().filter_map(Result::ok).collect();
        for (index, addr) in (0_u32..).zip(pool) {
            array.set(index, addr.octets(), 0)?;
            map.insert(addr.octets(), index, 0)?;
        }
        for addr in others {
            map.insert(addr.octets(), maps::NOT_IN_POOL, 0)?;
        }
        // What follows is of a longer pool before; an empty one is not remembered.
        if let (false, Ok(len)) = (pool.is_empty(), u32::try_from(pool.len()))
            && len < array.len()
        {
            array.set(len, NetAddr::UNSPECIFIED.octets(), 0)?;
        }
        let wanted = |known: &Bytes<4>| {
            let addr = NetAddr::from_octets(*known);
            pool.contains(&addr) || others.contains(&addr)
        };
        for old in known.iter().filter(|known| !wanted(known)) {
            let _ = map.remove(old);
        }
        Ok(())
    }

    /// The pool that was stated last, if it was not empty: it is remembered while there is none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn externals(&self) -> Result<Vec<NetAddr>> {
        let map = lock(&self.pool);
        let mut pool = Vec::new();
        for index in 0..map.len() {
            let addr = NetAddr::from_octets(map.get(&index, 0)?);
            if addr.is_unspecified() {
                break;
            }
            pool.push(addr);
        }
        Ok(pool)
    }

    /// States the links, each at its index.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_links(&self, links: &[Option<Link>]) -> Result<()> {
        let mut array = lock(&self.links);
        let mut map = lock(&self.link_index);
        let mut tagged = lock(&self.tagged_links);
        let known: Vec<u32> = map.keys().filter_map(Result::ok).collect();
        let known_tagged: Vec<Bytes<TAGGED>> = tagged.keys().filter_map(Result::ok).collect();
        for (index, link) in (0_u32..).zip(links) {
            let Some(link) = link else { continue };
            array.set(index, bytes::<_, LINK>(link), 0)?;
            map.insert(link.ifindex, index, 0)?;
            tagged.insert(bytes::<_, TAGGED>(&tagged_key(link)), index, 0)?;
        }
        let wanted = |known: &u32| links.iter().flatten().any(|link| link.ifindex == *known);
        for old in known.iter().filter(|known| !wanted(known)) {
            let _ = map.remove(old);
        }
        let wanted = |known: &Bytes<TAGGED>| {
            links.iter().flatten().any(|link| bytes::<_, TAGGED>(&tagged_key(link)) == *known)
        };
        for old in known_tagged.iter().filter(|known| !wanted(known)) {
            let _ = tagged.remove(old);
        }
        Ok(())
    }
}

/// By which key frames of a link find it.
const fn tagged_key(link: &Link) -> TaggedKey {
    TaggedKey { device: link.device, tags: link.tags }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of a key or value, whose length the caller's types fix.
pub(super) fn bytes<T: bytemuck::Pod, const N: usize>(value: &T) -> [u8; N] {
    const { assert!(size_of::<T>() == N) };
    bytemuck::cast(*value)
}

fn hash(map: Map) -> Result<MapData> {
    match map {
        Map::HashMap(data) => Ok(data),
        _ => Err(anyhow!("not a hash map")),
    }
}
