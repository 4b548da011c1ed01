//! The kernel's side of the pipeline: maps, clock, routes and sockets through BPF helpers.
#![allow(clippy::indexing_slicing, reason = "constant or checked; the verifier refuses all else")]

use crate::apart::{
    nat_clamp_mss, nat_external_endpoint, nat_hold_port, nat_listed, nat_local_socket, nat_route,
};
use crate::maps::Read;
use crate::{fragments, maps};
use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST, xdp_md};
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_jiffies64, bpf_ktime_get_boot_ns};
use core::arch::asm;
use core::ffi::c_void;
use core::ptr::null_mut;
use nat_common::atomic::Word64;
use nat_common::client::{Client, Ended};
use nat_common::contact::{Contact, ContactKey};
use nat_common::counters::COUNTERS;
use nat_common::fragments::{FragmentEntry, FragmentKey, Whole};
use nat_common::hints::PortHints;
use nat_common::link::Link;
use nat_common::mapping_note::MappingNote;
use nat_common::ports::{Owner, PortSlot};
use nat_common::session::{EndpointKey, RemoteKey, Session, SessionKey};
use nat_common::settings::Settings;
use nat_common::{BootTime, Counter, NetAddr, NetPort, Protocol};
use nat_ebpf::Tables;
use nat_ebpf::frame::Frame;
use nat_ebpf::tables::{EndpointRequest, HoldRequest, InsertError};
use nat_ebpf::verdict::Route;

/// Maps and helpers.
///
/// Behind a trunk, the link by which a frame came in is told by the record of its arrival, else by its
/// device. A parameter of the type and no field: the programs are short of stack.
pub(crate) struct Kernel<const TRUNK: bool = false> {
    ctx: *mut xdp_md,
}

const EEXIST: i32 = -17;

impl<const TRUNK: bool> Kernel<TRUNK> {
    /// For one run of an XDP program.
    #[inline(always)]
    pub(crate) const fn new(ctx: *mut xdp_md) -> Self {
        Self { ctx }
    }

    /// For a program of another kind, which asks for nothing but maps.
    #[inline(always)]
    pub(crate) const fn maps_only() -> Self {
        Self { ctx: null_mut() }
    }

    #[inline(always)]
    pub(crate) fn pointer(&self) -> *mut c_void {
        self.ctx.cast()
    }

    #[inline(always)]
    pub(crate) fn device(&self) -> u32 {
        // SAFETY: the kernel gave us the context for this run. Volatile, since the compiler must not
        // choose between this word and another by their addresses: the verifier wants to see which.
        unsafe { (&raw const (*self.ctx).ingress_ifindex).read_volatile() }
    }

    /// This CPU's value of a counter.
    #[inline(always)]
    pub(crate) fn counted(&self, number: u32) -> u64 {
        let index = opaque(number);
        match maps::COUNTERS.get(0) {
            Some(record) if index < COUNTERS => record[index],
            _ => 0,
        }
    }
}

/// References into maps are `'static`: values are never unmapped while a program runs, and what
/// changes in them concurrently is atomic.
impl<const TRUNK: bool> Tables for Kernel<TRUNK> {
    type Session = &'static Session;
    type Slot = &'static PortSlot;
    type Hints = &'static PortHints;
    type Word = &'static Word64;
    type Contact = &'static Contact;
    type Client = &'static Client;

    /// Read once in a tick of the kernel's (1 to 10 ms) on each CPU: the clock costs as much as half a
    /// session lookup, and the tick is one load.
    #[inline(always)]
    fn now(&self) -> BootTime {
        let Some(read) = maps::CLOCK.get_ptr_mut(0) else { return clock() };
        // SAFETY: a helper without arguments; the record is this CPU's own, and programs on it do not
        // interrupt each other.
        unsafe {
            let tick = bpf_jiffies64();
            if (*read).tick != tick {
                *read = Read { tick, now: clock().0 };
            }
            BootTime((*read).now)
        }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        maps::SETTINGS.get(0)
    }

    #[inline(always)]
    fn session(&self, key: &SessionKey) -> Option<&'static Session> {
        // SAFETY: see the note on the impl. A preallocated element may be given to another key while
        // we hold it; the worst is one packet translated by a session that was just deleted.
        unsafe { maps::SESSIONS.get(key) }
    }

    #[inline(always)]
    fn insert_session(&self, key: &SessionKey, session: Session) -> Result<(), InsertError> {
        maps::SESSIONS.insert(key, &session, 0).map_err(|_| InsertError::Full)
    }

    #[inline(always)]
    fn remove_session(&self, key: &SessionKey) {
        let _ = maps::SESSIONS.remove(key);
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<&'static PortSlot> {
        maps::PORTS.get(index)
    }

    #[inline(always)]
    fn hints(&self, list: u32) -> Option<&'static PortHints> {
        maps::HINTS.get(list)
    }

    #[inline(always)]
    fn ask_for_hints(&self, list: u32) {
        // Without room there are requests that wait to be read.
        let _ = maps::HINT_REQUESTS.output::<u64>(u64::from(list), 0);
    }

    #[inline(always)]
    fn endpoint(&self, key: &EndpointKey) -> Option<&'static Word64> {
        // SAFETY: see the note on the impl.
        unsafe { maps::ENDPOINTS.get(key) }
    }

    #[inline(always)]
    fn insert_endpoint(&self, key: &EndpointKey, external: u64) -> Result<(), InsertError> {
        let value = Word64::new(external);
        maps::ENDPOINTS.insert(key, &value, BPF_NOEXIST as u64).map_err(|error| match error {
            EEXIST => InsertError::Exists,
            _ => InsertError::Full,
        })
    }

    #[inline(always)]
    fn note_mapping(&self, at: BootTime, slot: u32, owner: Owner) {
        note_mapping(at.0, slot, owner.word());
    }

    #[inline(always)]
    fn remote(&self, key: &RemoteKey) -> Option<BootTime> {
        // SAFETY: see the note on the impl.
        unsafe { maps::REMOTES.get(key) }.map(|deadline| BootTime(*deadline))
    }

    #[inline(always)]
    fn listed(&self, slot: u32, filtered: bool, remote: (NetAddr, NetPort)) -> BootTime {
        let slot = u64::from(filtered) << 32 | u64::from(slot);
        BootTime(nat_listed(slot, u64::from(remote.0.to_be32()) << 16 | u64::from(remote.1.0)))
    }

    #[inline(always)]
    fn filtered(&self, slot: u32, (addr, port): (NetAddr, NetPort)) -> BootTime {
        // SAFETY: see the note on the impl.
        match unsafe { maps::FILTERS.get(slot) } {
            Some(filters) => filters.let_in_until(addr, port),
            None => BootTime(0),
        }
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey, now: BootTime) -> Option<Whole> {
        // SAFETY: see the note on the impl.
        unsafe { maps::FRAGMENTS.get(key) }?.whole(now)
    }

    #[inline(always)]
    fn set_fragment(&self, key: &FragmentKey, entry: FragmentEntry) -> Result<(), InsertError> {
        maps::FRAGMENTS.insert(key, &entry, BPF_ANY as u64).map_err(|_| InsertError::Full)
    }

    #[inline(always)]
    fn await_fragment(&self, key: &FragmentKey, entry: FragmentEntry) -> Result<(), InsertError> {
        // What has ended does not count, though it is there.
        // SAFETY: see the note on the impl.
        let ended = unsafe { maps::FRAGMENTS.get(key) }.is_some();
        let flags = if ended { BPF_ANY } else { BPF_NOEXIST };
        maps::FRAGMENTS.insert(key, &entry, flags as u64).map_err(|error| match error {
            EEXIST => InsertError::Exists,
            _ => InsertError::Full,
        })
    }

    #[inline(always)]
    fn release_fragments(&self, key: &FragmentKey, forget: bool) {
        fragments::release(key, forget);
    }

    #[inline(always)]
    fn contact(&self, key: &ContactKey) -> Option<&'static Contact> {
        // SAFETY: see the note on the impl.
        unsafe { maps::CONTACTS.get(key) }
    }

    #[inline(always)]
    fn insert_contact(&self, key: &ContactKey, contact: Contact) -> Result<(), InsertError> {
        maps::CONTACTS.insert(key, &contact, 0).map_err(|_| InsertError::Full)
    }

    #[inline(always)]
    fn client(&self, addr: &NetAddr) -> Option<&'static Client> {
        // SAFETY: see the note on the impl. The sweep may remove an entry while it is held; the worst is
        // one session counted for another client, until the next sweep.
        unsafe { maps::CLIENTS.get(addr) }
    }

    #[inline(always)]
    fn insert_client(&self, addr: &NetAddr) -> Result<(), InsertError> {
        insert_client(addr)
    }

    #[inline(always)]
    fn ended(&self, addr: &NetAddr) -> Ended {
        // SAFETY: see the note on the impl.
        unsafe { maps::CLIENTS_ENDED.get(addr) }.copied().unwrap_or_default()
    }

    #[inline(always)]
    fn external_index(&self, addr: NetAddr) -> Option<u32> {
        // SAFETY: see the note on the impl.
        unsafe { maps::EXTERNALS.get(addr) }.copied()
    }

    #[inline(always)]
    fn pool_address(&self, index: u32) -> Option<NetAddr> {
        maps::POOL.get(index).copied()
    }

    #[inline(always)]
    fn link(&self, index: u8) -> Option<&Link> {
        maps::LINKS.get(u32::from(index))
    }

    #[inline(always)]
    fn ingress(&self) -> Option<&Link> {
        if TRUNK {
            return maps::LINKS.get(maps::ARRIVAL.get(0)?.link);
        }
        // SAFETY: see the note on the impl.
        let index = unsafe { maps::LINK_INDEX.get(self.device()) }?;
        maps::LINKS.get(*index)
    }

    #[inline(always)]
    fn route(&self, src: NetAddr, dst: NetAddr) -> Route {
        self.count(Counter::RouteLookups, 1);
        let addresses = u64::from(src.to_be32()) << 32 | u64::from(dst.to_be32());
        Route::from_word(nat_route(self.ctx, addresses, u64::from(TRUNK)))
    }

    #[inline(always)]
    fn local_socket(
        &self,
        protocol: Protocol,
        local: (NetAddr, NetPort),
        remote: (NetAddr, NetPort),
    ) -> bool {
        let pack =
            |addr: NetAddr, port: NetPort| u64::from(addr.to_be32()) << 16 | u64::from(port.0);
        let local = (protocol as u64) << 48 | pack(local.0, local.1);
        nat_local_socket(self.ctx, local, pack(remote.0, remote.1)) != 0
    }

    #[inline(always)]
    fn external_endpoint(&self, request: &EndpointRequest) -> u64 {
        let pack =
            |addr: NetAddr, port: NetPort| u64::from(addr.to_be32()) << 16 | u64::from(port.0);
        let protocol = (request.protocol as u64) << 48;
        nat_external_endpoint(
            self.ctx,
            protocol | pack(request.endpoint.addr, request.endpoint.port),
            pack(request.remote.0, request.remote.1),
            request.now.0,
            request.hold.0,
        )
    }

    #[inline(always)]
    fn hold_port(&self, request: &HoldRequest) -> bool {
        let client = request.client;
        let protocol = (request.protocol as u64) << 48;
        let HoldRequest { called, remote, .. } = request;
        let held = nat_hold_port(
            protocol | u64::from(client.addr.to_be32()) << 16 | u64::from(client.port.0),
            u64::from(remote.to_be32()) << 32 | called.pack(),
            request.now.0,
            request.until.0,
        );
        held != 0
    }

    #[inline(always)]
    fn clamp_mss<F: Frame>(&self, _frame: &mut F, payload: usize, limit: u16) -> u16 {
        nat_clamp_mss(self.ctx, payload as u64, u64::from(limit)) as u16
    }

    #[inline(always)]
    fn count(&self, counter: Counter, amount: u64) {
        if let Some(record) = maps::COUNTERS.get_ptr_mut(0) {
            // SAFETY: the record is this CPU's own, and programs on it do not interrupt each other.
            unsafe { (*record)[counter as usize] += amount };
        }
    }

    #[inline(always)]
    fn count_packet(&self, packets: Counter, octets: Counter, bytes: u16) {
        if let Some(record) = maps::COUNTERS.get_ptr_mut(0) {
            // SAFETY: as for `count`.
            unsafe {
                (*record)[packets as usize] += 1;
                (*record)[octets as usize] += u64::from(bytes);
            }
        }
    }

    #[inline(always)]
    fn count_number(&self, number: u32) {
        let index = opaque(number);
        if let (Some(record), true) = (maps::COUNTERS.get_ptr_mut(0), index < COUNTERS) {
            // SAFETY: as for `count`; the index was checked.
            unsafe { (*record)[index] += 1 };
        }
    }
}

/// The kernel's clock.
#[inline(always)]
fn clock() -> BootTime {
    // SAFETY: a helper without arguments.
    BootTime(unsafe { bpf_ktime_get_boot_ns() })
}

/// A number of which the compiler knows nothing: it would leave out a check of the bounds that it can
/// prove, and the verifier cannot.
#[inline(always)]
pub(crate) fn opaque(number: u32) -> usize {
    let mut index = number as usize;
    // SAFETY: a register is copied to itself. No instruction at all would do for the compiler, but not for
    // the line information, in which the kernel wants each line to have one.
    unsafe { asm!("{0} = {0}", inout(reg) index, options(nomem, nostack)) };
    index
}

/// Tells the daemon of a mapping. When there is no room it finds the mapping in the port table.
///
/// Not inlined: its callers are short of stack.
#[inline(never)]
fn note_mapping(at: u64, slot: u32, owner: u64) {
    if let Some(mut entry) = maps::MAPPING_NOTES.reserve::<MappingNote>(0) {
        entry.write(MappingNote { at, owner, slot, reserved: 0 });
        entry.submit(0);
    }
}

/// Not inlined: a new entry takes stack, for a moment.
#[inline(never)]
fn insert_client(addr: &NetAddr) -> Result<(), InsertError> {
    match maps::CLIENTS.insert(addr, Client::default(), u64::from(BPF_NOEXIST)) {
        Ok(()) => Ok(()),
        Err(EEXIST) => Err(InsertError::Exists),
        Err(_) => Err(InsertError::Full),
    }
}
