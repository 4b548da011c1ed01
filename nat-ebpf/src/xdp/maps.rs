//! The BPF maps. Sizes given here are the smallest; the daemon sets the real ones when it loads them.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use nat_common::NetAddr;
use nat_common::atomic::Word64;
use nat_common::contact::{Contact, ContactKey};
use nat_common::counters::CounterRecord;
use nat_common::link::{Link, MAX_LINKS};
use nat_common::maps::{MAX_POOL, NO_CONTACTS};
use nat_common::ports::{PortSlot, SLOTS_PER_ADDRESS};
use nat_common::session::{EndpointKey, RemoteKey, Session, SessionKey};
use nat_common::settings::Settings;

#[map]
pub(crate) static SESSIONS: HashMap<SessionKey, Session> = HashMap::with_max_entries(1024, 0);

#[map]
pub(crate) static ENDPOINTS: HashMap<EndpointKey, Word64> = HashMap::with_max_entries(1024, 0);

#[map]
pub(crate) static PORTS: Array<PortSlot> =
    Array::with_max_entries(SLOTS_PER_ADDRESS, BPF_F_MMAPABLE);

#[map]
pub(crate) static REMOTES: HashMap<RemoteKey, u64> = HashMap::with_max_entries(65_536, 0);

#[map]
pub(crate) static CONTACTS: HashMap<ContactKey, Contact> =
    HashMap::with_max_entries(NO_CONTACTS, 0);

#[map]
pub(crate) static EXTERNALS: HashMap<NetAddr, u32> = HashMap::with_max_entries(2 * MAX_POOL, 0);

#[map]
pub(crate) static POOL: Array<NetAddr> = Array::with_max_entries(MAX_POOL, 0);

#[map]
pub(crate) static LINKS: Array<Link> = Array::with_max_entries(MAX_LINKS, 0);

#[map]
pub(crate) static LINK_INDEX: HashMap<u32, u32> = HashMap::with_max_entries(MAX_LINKS, 0);

#[map]
pub(crate) static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static COUNTERS: PerCpuArray<CounterRecord> = PerCpuArray::with_max_entries(1, 0);
