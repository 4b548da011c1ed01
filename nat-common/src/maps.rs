//! Names of the BPF maps and the version of their layout.

/// Version of everything that pinned maps hold. Raised whenever a key, a value or its meaning
/// changes; the daemon adopts only maps of its own version.
pub const LAYOUT_VERSION: u32 = 3;

/// Hash: [`crate::session::SessionKey`] to [`crate::session::Session`].
pub const SESSIONS: &str = "SESSIONS";
/// Hash: [`crate::session::EndpointKey`] to a packed [`crate::session::ExternalEndpoint`].
pub const ENDPOINTS: &str = "ENDPOINTS";
/// Memory-mapped array of [`crate::ports::PortSlot`], by [`crate::ports::slot_index`].
pub const PORTS: &str = "PORTS";
/// Hash: [`crate::session::RemoteKey`] to the lease's deadline (boot time, nanoseconds).
pub const REMOTES: &str = "REMOTES";
/// Hash: slot of the port table to [`crate::filters::Filters`].
pub const FILTERS: &str = "FILTERS";
/// Hash: [`crate::contact::ContactKey`] to [`crate::contact::Contact`].
pub const CONTACTS: &str = "CONTACTS";
/// Hash: [`crate::session::SessionKey`] of the client's packets to [`crate::peer::PeerRecord`]. The
/// daemon's alone.
pub const PEERS: &str = "PEERS";
/// Hash: address of an internal client to [`crate::client::Client`].
pub const CLIENTS: &str = "CLIENTS";
/// Hash: address of an internal client to [`crate::client::Ended`].
pub const CLIENTS_ENDED: &str = "CLIENTS_ENDED";
/// Hash: external or other own address on the WAN to its index in the pool, or [`NOT_IN_POOL`].
pub const EXTERNALS: &str = "EXTERNALS";
/// Array: index in the pool to external address.
pub const POOL: &str = "POOL";
/// Array of [`crate::link::Link`].
pub const LINKS: &str = "LINKS";
/// Hash: interface index to index in the links.
pub const LINK_INDEX: &str = "LINK_INDEX";
/// Hash: [`crate::link::TaggedKey`] to index in the links; also of the untagged ones.
pub const TAGGED_LINKS: &str = "TAGGED_LINKS";
/// Array of the programs behind [`PROGRAM_TRUNK`], by side.
pub const TRUNK: &str = "TRUNK";
/// Per-CPU array of one record: how the frame that is just being processed came in; not pinned.
pub const ARRIVAL: &str = "ARRIVAL";
/// Array of one [`crate::settings::Settings`].
pub const SETTINGS: &str = "SETTINGS";
/// Per-CPU array of one [`crate::counters::CounterRecord`].
pub const COUNTERS: &str = "COUNTERS";

/// Hash, least recently used first out: [`crate::fragments::FragmentKey`] to
/// [`crate::fragments::FragmentEntry`].
pub const FRAGMENTS: &str = "FRAGMENTS";
/// Ring buffer of [`crate::fragments::FragmentNote`], each before its frame if it has one.
pub const FRAGMENT_NOTES: &str = "FRAGMENT_NOTES";
/// Array: place in the budget to the second and the fragments that were kept in it.
pub const FRAGMENT_BUDGET: &str = "FRAGMENT_BUDGET";
/// Memory-mapped array of [`crate::hints::PortHints`], by [`crate::hints::list_index`]; not pinned.
pub const HINTS: &str = "HINTS";
/// Ring buffer: the packet path asks for another list of hints, by its index (8 bytes); not pinned.
pub const HINT_REQUESTS: &str = "HINT_REQUESTS";
/// Ring buffer of [`crate::mapping_note::MappingNote`]; not pinned.
pub const MAPPING_NOTES: &str = "MAPPING_NOTES";
/// Array of one [`crate::sweep::Progress`]; not pinned.
pub const SWEEP: &str = "SWEEP";

/// Value in [`EXTERNALS`] of an address that is the router's own but not the NAT's.
pub const NOT_IN_POOL: u32 = u32::MAX;

/// Entries of [`CONTACTS`] where all filtering is endpoint-independent and nobody asks for them.
pub const NO_CONTACTS: u32 = 16;

/// Most PEER requests that can be in force at a time.
pub const MAX_PEERS: u32 = 65_536;

/// Most internal clients whose limits are kept; others have none.
pub const MAX_CLIENTS: u32 = 16_384;

/// Most external addresses that a pool can hold.
pub const MAX_POOL: u32 = 256;

/// Name of the XDP program for LAN interfaces.
pub const PROGRAM_LAN: &str = "nat_lan";
/// Name of the XDP program for the WAN interface.
pub const PROGRAM_WAN: &str = "nat_wan";
/// Name of the XDP program for devices that carry VLANs: it takes the tags off and goes on with one of
/// the next two.
pub const PROGRAM_TRUNK: &str = "nat_trunk";
/// Name of the XDP program for what comes from a LAN on such a device.
pub const PROGRAM_TRUNK_LAN: &str = "trunk_lan";
/// Name of the XDP program for what comes from the WAN on such a device.
pub const PROGRAM_TRUNK_WAN: &str = "trunk_wan";
/// Name of the traffic-control program that sends translated packets whose neighbour is unresolved.
pub const PROGRAM_NEIGHBOUR: &str = "nat_neighbour";
/// Name of the traffic-control program that guards what the kernel sends from the WAN interface.
pub const PROGRAM_GUARD: &str = "wan_guard";
/// Name of the program, on no interface, that makes and prolongs sessions for the daemon.
pub const PROGRAM_PEER: &str = "nat_peer";
/// Name of the program that walks over the sessions.
pub const PROGRAM_SWEEP: &str = "sweep_sessions";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, Ended};
    use crate::contact::{Contact, ContactKey};
    use crate::session::{EndpointKey, RemoteKey, Session, SessionKey};
    use crate::{link::Link, ports::PortSlot, settings::Settings};

    /// Maps that another layout has pinned must not be adopted. Whoever has to change this line raises
    /// the version, once there has been a release with the old one.
    #[test]
    fn the_layout_version_stands_for_these_sizes() {
        let sizes = [
            size_of::<SessionKey>(),
            size_of::<Session>(),
            size_of::<EndpointKey>(),
            size_of::<PortSlot>(),
            size_of::<RemoteKey>(),
            size_of::<ContactKey>(),
            size_of::<Contact>(),
            size_of::<Client>(),
            size_of::<Ended>(),
            size_of::<Link>(),
            size_of::<Settings>(),
            size_of::<crate::fragments::FragmentKey>(),
            size_of::<crate::fragments::FragmentEntry>(),
            crate::counters::COUNTERS,
        ];
        assert_eq!(
            (LAYOUT_VERSION, sizes),
            (3, [16, 40, 8, 32, 8, 12, 16, 48, 16, 28, 96, 12, 16, 42])
        );
    }
}
