//! What the pipeline asks of its surroundings: maps, clock, random numbers, routes, counters.

use crate::frame::Frame;
use crate::verdict::Route;
use core::ops::Deref;
use nat_common::atomic::Word64;
use nat_common::client::{Client, Ended};
use nat_common::contact::{Contact, ContactKey};
use nat_common::fragments::{FragmentEntry, FragmentKey, Whole};
use nat_common::hints::PortHints;
use nat_common::link::Link;
use nat_common::ports::{Endpoint, Owner, PortSlot};
use nat_common::session::{EndpointKey, ExternalEndpoint, RemoteKey, Session, SessionKey};
use nat_common::settings::Settings;
use nat_common::{BootTime, Counter, NetAddr, NetPort, Protocol};

/// Why an entry could not be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// There is one already.
    Exists,
    /// There is no room.
    Full,
}

/// Who wants an external endpoint. Plain words, which the XDP program hands over in registers.
#[derive(Clone, Copy, Debug)]
pub struct EndpointRequest {
    /// Now.
    pub now: BootTime,
    /// The protocol.
    pub protocol: Protocol,
    /// The internal endpoint.
    pub endpoint: Endpoint,
    /// Whom it talks to now.
    pub remote: (NetAddr, NetPort),
    /// Until when the external endpoint shall be held at least.
    pub hold: BootTime,
}

/// Who is called on a port that is to be held. Plain words, as for [`EndpointRequest`].
#[derive(Clone, Copy, Debug)]
pub struct HoldRequest {
    /// Now.
    pub now: BootTime,
    /// The protocol.
    pub protocol: Protocol,
    /// The external port that is called.
    pub called: ExternalEndpoint,
    /// Whom it leads to.
    pub client: Endpoint,
    /// Who calls.
    pub remote: NetAddr,
    /// Until when it is to be held at least.
    pub until: BootTime,
}

/// Maps, clock, random numbers, routes and counters. Everything takes `&self`: the maps are shared
/// between CPUs anyway.
pub trait Tables {
    /// A session in its map. It may be replaced or expire while it is held, never move.
    type Session: Deref<Target = Session>;
    /// A slot of the port table.
    type Slot: Deref<Target = PortSlot>;
    /// A list of free ports.
    type Hints: Deref<Target = PortHints>;
    /// A value of the endpoint index: a packed [`nat_common::session::ExternalEndpoint`].
    type Word: Deref<Target = Word64>;
    /// A contact in its map.
    type Contact: Deref<Target = Contact>;
    /// An internal client in its map.
    type Client: Deref<Target = Client>;

    /// Now, or some milliseconds ago.
    fn now(&self) -> BootTime;
    /// A random number.
    fn random(&self) -> u32;
    /// The daemon's settings.
    fn settings(&self) -> Option<&Settings>;

    /// The session of a packet.
    fn session(&self, key: &SessionKey) -> Option<Self::Session>;
    /// Inserts or replaces a session.
    ///
    /// # Errors
    /// [`InsertError::Full`].
    fn insert_session(&self, key: &SessionKey, session: Session) -> Result<(), InsertError>;
    /// Removes a session.
    fn remove_session(&self, key: &SessionKey);

    /// A slot of the port table, by [`nat_common::ports::slot_index`].
    fn slot(&self, index: u32) -> Option<Self::Slot>;
    /// Hints at free ports, by [`nat_common::hints::list_index`].
    fn hints(&self, list: u32) -> Option<Self::Hints>;
    /// Wakes user space, which makes another list of hints.
    fn ask_for_hints(&self, list: u32);
    /// The external endpoint of an internal one.
    fn endpoint(&self, key: &EndpointKey) -> Option<Self::Word>;
    /// Inserts the external endpoint of an internal one that has none.
    ///
    /// # Errors
    /// [`InsertError`].
    fn insert_endpoint(&self, key: &EndpointKey, external: u64) -> Result<(), InsertError>;
    /// Tells user space of a mapping that was made at `at`: the port of `slot` is `owner`'s.
    fn note_mapping(&self, at: BootTime, slot: u32, owner: Owner);
    /// Until when a port forward lets a remote host in.
    fn remote(&self, key: &RemoteKey) -> Option<BootTime>;
    /// [`crate::track::listed`], which the XDP program has verified apart from its callers.
    fn listed(&self, slot: u32, filtered: bool, remote: (NetAddr, NetPort)) -> BootTime;
    /// Until when the filters of a slot let a remote host and port in; `BootTime(0)`: not at all.
    fn filtered(&self, slot: u32, remote: (NetAddr, NetPort)) -> BootTime;

    /// What is known at `now` of the packet to which fragments belong.
    fn fragment(&self, key: &FragmentKey, now: BootTime) -> Option<Whole>;
    /// Notes what became of a first fragment, instead of what was noted before.
    ///
    /// # Errors
    /// [`InsertError::Full`].
    fn set_fragment(&self, key: &FragmentKey, entry: FragmentEntry) -> Result<(), InsertError>;
    /// Notes that fragments have come before the first one, unless something is noted.
    ///
    /// # Errors
    /// [`InsertError`].
    fn await_fragment(&self, key: &FragmentKey, entry: FragmentEntry) -> Result<(), InsertError>;
    /// Tells the daemon that the first fragment has come: those that it keeps are to be sent through
    /// here again or, with `forget`, thrown away, since the kernel has got them all.
    fn release_fragments(&self, key: &FragmentKey, forget: bool);

    /// To whom the holder of an external port has sent.
    fn contact(&self, key: &ContactKey) -> Option<Self::Contact>;
    /// Inserts or replaces a contact.
    ///
    /// # Errors
    /// [`InsertError::Full`].
    fn insert_contact(&self, key: &ContactKey, contact: Contact) -> Result<(), InsertError>;

    /// What an internal client has begun.
    fn client(&self, addr: &NetAddr) -> Option<Self::Client>;
    /// Inserts an internal client that has begun nothing.
    ///
    /// # Errors
    /// [`InsertError`].
    fn insert_client(&self, addr: &NetAddr) -> Result<(), InsertError>;
    /// How much of what an internal client has begun has ended, as far as the daemon has said.
    fn ended(&self, addr: &NetAddr) -> Ended;

    /// The pool index of an external address; [`nat_common::maps::NOT_IN_POOL`] for the router's
    /// other addresses on the WAN; `None` for everybody else's.
    fn external_index(&self, addr: NetAddr) -> Option<u32>;
    /// An external address of the pool.
    fn pool_address(&self, index: u32) -> Option<NetAddr>;
    /// A link by its index.
    fn link(&self, index: u8) -> Option<&Link>;
    /// The link by which the packet came in.
    fn ingress(&self) -> Option<&Link>;
    /// Asks the kernel's routing and neighbour tables for a packet that came in by [`Self::ingress`].
    fn route(&self, src: NetAddr, dst: NetAddr) -> Route;
    /// Whether a socket of the router itself would receive from `remote` on `local`.
    fn local_socket(
        &self,
        protocol: Protocol,
        local: (NetAddr, NetPort),
        remote: (NetAddr, NetPort),
    ) -> bool;

    /// Finds or makes an external endpoint: [`crate::mapping::external_endpoint`], which the XDP program
    /// has verified apart from its callers.
    fn external_endpoint(&self, request: &EndpointRequest) -> u64;

    /// Holds a port that is called: [`crate::open::hold_port`], verified apart as well.
    fn hold_port(&self, request: &HoldRequest) -> bool;

    /// Lowers what a SYN offers: [`crate::mss::clamp`], which the XDP program has verified apart from its
    /// callers too.
    fn clamp_mss<F: Frame>(&self, frame: &mut F, payload: usize, limit: u16) -> u16;

    /// Adds to a counter that the caller names.
    fn count(&self, counter: Counter, amount: u64);
    /// Counts a packet of `bytes` IP bytes.
    fn count_packet(&self, packets: Counter, octets: Counter, bytes: u16) {
        self.count(packets, 1);
        self.count(octets, u64::from(bytes));
    }
    /// Adds one to the counter of this number.
    fn count_number(&self, number: u32);
}
