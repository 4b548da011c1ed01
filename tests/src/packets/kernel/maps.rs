//! The program's maps, filled as the daemon fills them.

use super::Router;
use super::clients::{self, Clients};
use super::slot::{SLOT, Slot};
use crate::packets::topology::{self, EXTERNAL, INTERFACES, MTU, OTHER_EXTERNAL, router_mac};
use anyhow::{Context as _, Result, bail, ensure};
use aya::Ebpf;
use aya::maps::{Array, HashMap as BpfMap, MapData, MapError, PerCpuArray};
use igd_control::datapath::{Mapped, PortTable};
use nat_common::client::Live;
use nat_common::contact::{ContactKey, ContactRecord};
use nat_common::counters::{COUNTERS, CounterRecord};
use nat_common::filters::Filters;
use nat_common::fragments::FragmentKey;
use nat_common::hints::{PortHints, list_index};
use nat_common::link::{Link, TaggedKey};
use nat_common::maps::{self, NOT_IN_POOL};
use nat_common::ports::{Endpoint, slot_index};
use nat_common::session::{
    EndpointKey, ExternalEndpoint, RemoteKey, SessionKey, SessionRecord, Side,
};
use nat_common::settings::Settings;
use nat_common::{BootTime, NetAddr, NetPort, Protocol};
use nat_ebpf::host::Forward;
use nix::time::{ClockId, clock_gettime};
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

type Bytes<const N: usize> = [u8; N];
const SESSION_KEY: usize = size_of::<SessionKey>();
const SESSION: usize = size_of::<SessionRecord>();
const ENDPOINT_KEY: usize = size_of::<EndpointKey>();
const REMOTE_KEY: usize = size_of::<RemoteKey>();
const FILTERS: usize = size_of::<Filters>();
const FRAGMENT_KEY: usize = size_of::<FragmentKey>();
const CONTACT_KEY: usize = size_of::<ContactKey>();
const CONTACT: usize = size_of::<ContactRecord>();
const SETTINGS: usize = size_of::<Settings>();

/// The maps that change from row to row.
pub(super) struct Maps {
    sessions: BpfMap<MapData, Bytes<SESSION_KEY>, Bytes<SESSION>>,
    endpoints: BpfMap<MapData, Bytes<ENDPOINT_KEY>, u64>,
    remotes: BpfMap<MapData, Bytes<REMOTE_KEY>, u64>,
    filters: BpfMap<MapData, u32, Bytes<FILTERS>>,
    /// Each with its deadline in the first word.
    fragments: BpfMap<MapData, Bytes<FRAGMENT_KEY>, [u64; 2]>,
    contacts: BpfMap<MapData, Bytes<CONTACT_KEY>, Bytes<CONTACT>>,
    pub(super) clients: Clients,
    ports: Array<MapData, Bytes<SLOT>>,
    settings: Array<MapData, Bytes<SETTINGS>>,
    hints: Mapped<PortHints>,
    /// The port table, in memory as the daemon has it.
    pub(super) table: PortTable,
    externals: BpfMap<MapData, Bytes<4>, u32>,
    pool: Array<MapData, Bytes<4>>,
    counters: PerCpuArray<MapData, CounterRecord>,
    /// Slots that may hold something, beside those that sessions and endpoints name.
    used_slots: HashSet<u32>,
}

pub(super) fn now() -> Result<BootTime> {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    let seconds = u64::try_from(time.tv_sec())?;
    Ok(BootTime(0).plus_secs(seconds).plus_nanos(u64::try_from(time.tv_nsec())?))
}

impl Maps {
    /// Takes the maps of a loaded program, and states links and addresses.
    pub(super) fn take(ebpf: &mut Ebpf, router: &Router) -> Result<Self> {
        let mut take =
            |name: &'static str| ebpf.take_map(name).with_context(|| format!("no map {name}"));
        let mut links: Array<_, Bytes<{ size_of::<Link>() }>> = take(maps::LINKS)?.try_into()?;
        let mut tagged_links: BpfMap<_, Bytes<{ size_of::<TaggedKey>() }>, u32> =
            take(maps::TAGGED_LINKS)?.try_into()?;
        let mut link_index: BpfMap<_, u32, u32> = take(maps::LINK_INDEX)?.try_into()?;
        for (index, side) in INTERFACES.iter().filter_map(|interface| interface.link) {
            let ifindex = router.ifindex(index).context("an interface is missing")?;
            let (device, tags) = topology::tags(index);
            let device = router.ifindex(device).context("a device is missing")?;
            let link = Link::new(ifindex, router_mac(index), MTU, side).on(device, tags);
            links.set(u32::from(index), bytemuck::cast::<_, Bytes<_>>(link), 0)?;
            link_index.insert(ifindex, u32::from(index), 0)?;
            let key =
                bytemuck::cast::<_, Bytes<{ size_of::<TaggedKey>() }>>(TaggedKey { device, tags });
            tagged_links.insert(key, u32::from(index), 0)?;
        }
        let ports = take(maps::PORTS)?;
        let aya::maps::Map::Array(data) = &ports else { bail!("the port table is no array") };
        let table = PortTable::new(MapData::from_id(data.info()?.id())?)?;
        let aya::maps::Map::Array(hints) = take(maps::HINTS)? else { bail!("no array of hints") };
        Ok(Self {
            hints: Mapped::new(hints)?,
            table,
            externals: take(maps::EXTERNALS)?.try_into()?,
            pool: take(maps::POOL)?.try_into()?,
            sessions: take(maps::SESSIONS)?.try_into()?,
            endpoints: take(maps::ENDPOINTS)?.try_into()?,
            remotes: take(maps::REMOTES)?.try_into()?,
            filters: take(maps::FILTERS)?.try_into()?,
            fragments: take(maps::FRAGMENTS)?.try_into()?,
            contacts: take(maps::CONTACTS)?.try_into()?,
            clients: Clients::new(take(maps::CLIENTS)?, take(maps::CLIENTS_ENDED)?)?,
            ports: ports.try_into()?,
            settings: take(maps::SETTINGS)?.try_into()?,
            counters: take(maps::COUNTERS)?.try_into()?,
            used_slots: HashSet::new(),
        })
    }

    /// Forgets everything but links, addresses and counters.
    pub(super) fn clear(&mut self) -> Result<()> {
        let sessions = self.find_used_slots()?;
        self.hints.slots().iter().for_each(PortHints::clear);
        for slot in std::mem::take(&mut self.used_slots) {
            self.ports.set(slot, Slot::default().to_bytes(), 0)?;
        }
        for (key, _) in sessions {
            self.sessions.remove(&bytemuck::cast(key))?;
        }
        for key in self.endpoints.keys().collect::<Result<Vec<_>, _>>()? {
            self.endpoints.remove(&key)?;
        }
        for key in self.remotes.keys().collect::<Result<Vec<_>, _>>()? {
            self.remotes.remove(&key)?;
        }
        for slot in self.filters.keys().collect::<Result<Vec<_>, _>>()? {
            self.filters.remove(&slot)?;
        }
        for key in self.fragments.keys().collect::<Result<Vec<_>, _>>()? {
            self.fragments.remove(&key)?;
        }
        for key in self.contacts.keys().collect::<Result<Vec<_>, _>>()? {
            self.contacts.remove(&key)?;
        }
        self.clients.clear()?;
        self.settings.set(0, bytemuck::cast::<_, Bytes<_>>(Settings::DEFAULT), 0)?;
        self.set_pool(&[EXTERNAL])
    }

    /// The counters, summed over the CPUs.
    pub(super) fn counters(&self) -> Result<CounterRecord> {
        let mut sums: CounterRecord = [0; COUNTERS];
        for record in self.counters.get(&0, 0)?.iter() {
            for (sum, value) in sums.iter_mut().zip(record) {
                *sum += value;
            }
        }
        Ok(sums)
    }

    pub(super) fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) -> Result<()> {
        let mut settings: Settings = bytemuck::pod_read_unaligned(&self.settings.get(&0, 0)?);
        change(&mut settings);
        Ok(self.settings.set(0, bytemuck::cast::<_, Bytes<_>>(settings), 0)?)
    }

    /// Brings all deadlines forward, as if so much time had passed.
    pub(super) fn bring_deadlines_forward(&mut self, time: Duration) -> Result<()> {
        let nanos = u64::try_from(time.as_nanos())?;
        let now = now()?.0;
        let sessions = self.find_used_slots()?;
        for index in &self.used_slots {
            let mut slot = Slot::from_bytes(self.ports.get(index, 0)?);
            // What is over stays over.
            if slot.is_taken(BootTime(now)) {
                slot.bring_forward(nanos);
                self.ports.set(*index, slot.to_bytes(), 0)?;
            }
        }
        for (key, mut record) in sessions {
            if record.deadline > now {
                record.deadline = record.deadline.saturating_sub(nanos);
                let record: Bytes<SESSION> = bytemuck::cast(record);
                self.sessions.insert(bytemuck::cast::<_, Bytes<SESSION_KEY>>(key), record, 0)?;
            }
        }
        for (key, until) in self.remotes.iter().collect::<Result<Vec<_>, _>>()? {
            self.remotes.insert(key, until.saturating_sub(nanos), 0)?;
        }
        for (slot, filters) in self.filters.iter().collect::<Result<Vec<_>, _>>()? {
            let mut filters: Filters = bytemuck::pod_read_unaligned(&filters);
            filters.until = filters.until.saturating_sub(nanos);
            self.filters.insert(slot, bytemuck::cast::<_, Bytes<FILTERS>>(filters), 0)?;
        }
        for (key, [until, whole]) in self.fragments.iter().collect::<Result<Vec<_>, _>>()? {
            self.fragments.insert(key, [until.saturating_sub(nanos), whole], 0)?;
        }
        for (key, record) in self.contacts.iter().collect::<Result<Vec<_>, _>>()? {
            let mut record: ContactRecord = bytemuck::pod_read_unaligned(&record);
            record.deadline = record.deadline.saturating_sub(nanos);
            self.contacts.insert(key, bytemuck::cast::<_, Bytes<CONTACT>>(record), 0)?;
        }
        self.clients.bring_forward(nanos)?;
        self.change_settings(|settings| settings.swept_at = settings.swept_at.saturating_sub(nanos))
    }

    /// Opens a port forward; `false` when its port is somebody else's.
    pub(super) fn open_forward(&mut self, forward: &Forward) -> Result<bool> {
        let now = now()?;
        let index = forward.slot_index();
        let mut slot = Slot::from_bytes(self.ports.get(&index, 0)?);
        let settings: Settings = bytemuck::pod_read_unaligned(&self.settings.get(&0, 0)?);
        slot.take_from_wildcard(now, forward.client, settings.yielding(now, forward.protocol));
        if slot.is_others(now, forward.client) {
            return Ok(false);
        }
        slot.lease(now, forward.client, forward.flags(), forward.deadline(now));
        self.ports.set(index, slot.to_bytes(), 0)?;
        for (key, until) in forward.listed(now) {
            self.remotes.insert(bytemuck::cast::<_, Bytes<_>>(key), until.0, 0)?;
        }
        if let Some(filters) = forward.filters(now) {
            self.filters.insert(index, bytemuck::cast::<_, Bytes<FILTERS>>(filters), 0)?;
        }
        let key: Bytes<ENDPOINT_KEY> = bytemuck::cast(forward.endpoint_key());
        let led = match self.endpoints.get(&key, 0) {
            Ok(word) => {
                let other = ExternalEndpoint::unpack(word).slot(forward.protocol);
                self.used_slots.insert(other);
                let slot = Slot::from_bytes(self.ports.get(&other, 0)?);
                slot.is_leased_to(now, forward.client) && slot.is_open()
            }
            Err(MapError::KeyNotFound) => false,
            Err(error) => return Err(error.into()),
        };
        if !led && forward.leads() {
            self.endpoints.insert(key, forward.external().pack(), 0)?;
        }
        self.used_slots.insert(index);
        Ok(true)
    }

    /// The external endpoint that an internal one has, or had.
    pub(super) fn external(&self, endpoint: &EndpointKey) -> Result<Option<ExternalEndpoint>> {
        match self.endpoints.get(&bytemuck::cast(*endpoint), 0) {
            Ok(word) => Ok(Some(ExternalEndpoint::unpack(word))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn close_forward(&mut self, forward: &Forward) -> Result<()> {
        let index = forward.slot_index();
        let mut slot = Slot::from_bytes(self.ports.get(&index, 0)?);
        if slot.is_leased_to(now()?, forward.client) {
            slot.end_lease();
            self.ports.set(index, slot.to_bytes(), 0)?;
        }
        for (key, _) in forward.listed(BootTime(0)) {
            self.remotes.remove(&bytemuck::cast::<_, Bytes<REMOTE_KEY>>(key))?;
        }
        if forward.filters(BootTime(0)).is_some() {
            self.filters.remove(&index)?;
        }
        self.change_settings(|settings| settings.forward_generation += 1)
    }

    pub(super) fn mark_forward(&mut self, forward: &Forward) -> Result<()> {
        let index = forward.slot_index();
        let mut slot = Slot::from_bytes(self.ports.get(&index, 0)?);
        self.change_settings(|settings| slot.end_with(settings.forward_generation))?;
        self.ports.set(index, slot.to_bytes(), 0)?;
        Ok(())
    }

    pub(super) fn take_port(
        &mut self,
        protocol: Protocol,
        port: u16,
        owner: Endpoint,
        seconds: u64,
    ) -> Result<()> {
        let now = now()?;
        let index = slot_index(0, protocol, port);
        let mut slot = Slot::from_bytes(self.ports.get(&index, 0)?);
        ensure!(!slot.is_others(now, owner), "port {port} is in use");
        slot.hold(owner, now.plus_secs(seconds));
        self.ports.set(index, slot.to_bytes(), 0)?;
        self.used_slots.insert(index);
        Ok(())
    }

    /// States the external addresses.
    pub(super) fn set_pool(&mut self, pool: &[Ipv4Addr]) -> Result<()> {
        for known in self.externals.keys().collect::<Result<Vec<_>, _>>()? {
            self.externals.remove(&known)?;
        }
        for (index, addr) in (0..).zip(pool) {
            self.externals.insert(addr.octets(), index, 0)?;
            self.pool.set(index, addr.octets(), 0)?;
        }
        self.externals.insert(OTHER_EXTERNAL.octets(), NOT_IN_POOL, 0)?;
        let len = u16::try_from(pool.len())?;
        self.change_settings(|settings| settings.pool_len = len)
    }

    /// The sessions.
    pub(super) fn sessions(&self) -> Result<Vec<(SessionKey, SessionRecord)>> {
        let entries = self.sessions.iter().map(|entry| {
            let (key, record) = entry?;
            Ok((bytemuck::cast(key), bytemuck::pod_read_unaligned(&record)))
        });
        entries.collect()
    }

    /// Lists free ports, as the daemon does.
    pub(super) fn fill_hints(&mut self, protocol: Protocol) -> Result<()> {
        let now = now()?;
        let settings: Settings = bytemuck::pod_read_unaligned(&self.settings.get(&0, 0)?);
        let is_free = |port| {
            let slot = self.ports.get(&slot_index(0, protocol, port), 0);
            slot.is_ok_and(|slot| !Slot::from_bytes(slot).is_taken(now))
        };
        let hints = self.hints.slot(list_index(0, protocol)).context("no such list")?;
        // Any choice will do.
        hints.fill(settings.range(protocol), is_free, |below| below / 2);
        Ok(())
    }

    /// Fills what room there is for sessions with sessions that are long over.
    pub(super) fn fill_sessions(&mut self) -> Result<()> {
        let over = [0; SESSION];
        fill(|number| {
            // From 0.0.0.0/8, where no packet comes from.
            let src = (NetAddr::from(Ipv4Addr::from_bits(number)), NetPort(0));
            let key = SessionKey::new(Side::Wan, Protocol::Udp, src, src);
            self.sessions.insert(bytemuck::cast::<_, Bytes<_>>(key), over, 0)
        })
    }

    /// Fills what room there is for internal endpoints.
    pub(super) fn fill_endpoints(&mut self) -> Result<()> {
        fill(|number| {
            let addr = NetAddr::from(Ipv4Addr::from_bits(number));
            let key = EndpointKey::new(Protocol::Udp, addr, NetPort(0));
            self.endpoints.insert(bytemuck::cast::<_, Bytes<_>>(key), 0, 0)
        })
    }

    /// Fills what room there is for contacts.
    pub(super) fn fill_contacts(&mut self) -> Result<()> {
        fill(|number| {
            let key = ContactKey::new(number, NetAddr::UNSPECIFIED, NetPort(0));
            self.contacts.insert(bytemuck::cast::<_, Bytes<_>>(key), [0; CONTACT], 0)
        })
    }

    /// Says what of the clients' sessions and ports has ended, as the daemon's sweep does.
    pub(super) fn sweep_clients(&mut self) -> Result<()> {
        let sessions = self.find_used_slots()?;
        let now = now()?;
        let settings: Settings = bytemuck::pod_read_unaligned(&self.settings.get(&0, 0)?);
        let mut live = HashMap::<NetAddr, Live>::new();
        for (key, record) in &sessions {
            if let Some(client) = clients::counts_for(key, record, &settings, now) {
                live.entry(client).or_default().sessions += 1;
            }
        }
        for index in &self.used_slots {
            let slot = Slot::from_bytes(self.ports.get(index, 0)?);
            if let Some(owner) = slot.session_holder(now) {
                live.entry(owner).or_default().ports += 1;
            }
        }
        self.clients.sweep(&live)?;
        self.change_settings(|settings| settings.swept_at = now.0)
    }

    /// Notes the slots that sessions and endpoints name, and returns the sessions.
    fn find_used_slots(&mut self) -> Result<Vec<(SessionKey, SessionRecord)>> {
        for entry in &self.endpoints {
            let (key, word) = entry?;
            let key: EndpointKey = bytemuck::cast(key);
            self.used_slots.insert(ExternalEndpoint::unpack(word).slot(key.protocol()));
        }
        let externals: HashMap<_, _> = self.externals.iter().collect::<Result<_, _>>()?;
        let sessions = self.sessions()?;
        for (key, record) in &sessions {
            let (addr, port) = match key.side() {
                Side::Lan => (record.new_src, record.new_src_port),
                Side::Wan => (key.dst, key.dst_port),
            };
            if let Some(index) = externals.get(&addr.octets()) {
                self.used_slots.insert(slot_index(*index, key.protocol(), port.get()));
            }
        }
        Ok(sessions)
    }
}

/// Inserts entries until the map takes no more.
pub(super) fn fill(mut insert: impl FnMut(u32) -> Result<(), MapError>) -> Result<()> {
    for number in 0..u32::MAX {
        match insert(number) {
            Ok(()) => {}
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(nix::libc::E2BIG) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
