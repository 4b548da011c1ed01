//! The BPF maps. Sizes given here are the smallest; the daemon sets the real ones when it loads them.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use nat_common::NetAddr;
use nat_common::atomic::Word64;
use nat_common::client::{Client, Ended};
use nat_common::contact::{Contact, ContactKey};
use nat_common::counters::CounterRecord;
use nat_common::filters::Filters;
use nat_common::fragments::{BUDGET_PLACES, FragmentEntry, FragmentKey};
use nat_common::hints::PortHints;
use nat_common::link::{Link, MAX_LINKS, TaggedKey};
use nat_common::maps::{MAX_CLIENTS, MAX_PEERS, MAX_POOL, NO_CONTACTS};
use nat_common::peer::PeerRecord;
use nat_common::ports::{PortSlot, SLOTS_PER_ADDRESS};
use nat_common::protocol::Protocol;
use nat_common::session::{EndpointKey, RemoteKey, Session, SessionKey};
use nat_common::settings::Settings;
use nat_common::sweep::Progress;
use nat_ebpf::vlan::Arrival;

#[map]
pub(crate) static SESSIONS: HashMap<SessionKey, Session> = HashMap::with_max_entries(1024, 0);

#[map]
pub(crate) static ENDPOINTS: HashMap<EndpointKey, Word64> = HashMap::with_max_entries(1024, 0);

#[map]
pub(crate) static PORTS: Array<PortSlot> =
    Array::with_max_entries(SLOTS_PER_ADDRESS, BPF_F_MMAPABLE);

#[map]
pub(crate) static HINTS: Array<PortHints> =
    Array::with_max_entries(Protocol::COUNT, BPF_F_MMAPABLE);

/// One request at a time for each list, so it holds them all.
#[map]
pub(crate) static HINT_REQUESTS: RingBuf = RingBuf::with_byte_size(16 * 1024, 0);

#[map]
pub(crate) static MAPPING_NOTES: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

#[map]
pub(crate) static REMOTES: HashMap<RemoteKey, u64> = HashMap::with_max_entries(65_536, 0);

/// Made as they come, since few forwards have any.
#[map]
pub(crate) static FILTERS: HashMap<u32, Filters> =
    HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, FragmentEntry> =
    LruHashMap::with_max_entries(32_768, 0);

/// For a hundred long fragments at once; the daemon has them in its memory, twice.
#[map]
pub(crate) static FRAGMENT_NOTES: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

#[map]
pub(crate) static FRAGMENT_BUDGET: Array<Word64> = Array::with_max_entries(BUDGET_PLACES, 0);

#[map]
pub(crate) static CONTACTS: HashMap<ContactKey, Contact> =
    HashMap::with_max_entries(NO_CONTACTS, 0);

/// The daemon's alone. Made as they come, since few clients ask for any.
#[map]
pub(crate) static PEERS: HashMap<SessionKey, PeerRecord> =
    HashMap::with_max_entries(MAX_PEERS, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static CLIENTS: HashMap<NetAddr, Client> = HashMap::with_max_entries(MAX_CLIENTS, 0);

#[map]
pub(crate) static CLIENTS_ENDED: HashMap<NetAddr, Ended> =
    HashMap::with_max_entries(MAX_CLIENTS, 0);

#[map]
pub(crate) static EXTERNALS: HashMap<NetAddr, u32> = HashMap::with_max_entries(2 * MAX_POOL, 0);

#[map]
pub(crate) static POOL: Array<NetAddr> = Array::with_max_entries(MAX_POOL, 0);

#[map]
pub(crate) static LINKS: Array<Link> = Array::with_max_entries(MAX_LINKS, 0);

#[map]
pub(crate) static LINK_INDEX: HashMap<u32, u32> = HashMap::with_max_entries(MAX_LINKS, 0);

#[map]
pub(crate) static TAGGED_LINKS: HashMap<TaggedKey, u32> = HashMap::with_max_entries(MAX_LINKS, 0);

/// See [`nat_common::maps::TRUNK`].
#[map]
pub(crate) static TRUNK: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// What [`ARRIVAL`] holds.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Arrived {
    /// The tags that were taken off.
    pub(crate) arrival: Arrival,
    /// Index of the link by which the frame came in.
    pub(crate) link: u32,
}

#[map]
pub(crate) static ARRIVAL: PerCpuArray<Arrived> = PerCpuArray::with_max_entries(1, 0);

/// What [`CLOCK`] holds: the time when it was last read.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Read {
    /// The kernel's ticks then.
    pub(crate) tick: u64,
    /// Boot time then.
    pub(crate) now: u64,
}

#[map]
pub(crate) static CLOCK: PerCpuArray<Read> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static COUNTERS: PerCpuArray<CounterRecord> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static SWEEP: Array<Progress> = Array::with_max_entries(1, 0);
