//! The packet path's counters: every packet is counted once under what became of it.
//!
//! Names, descriptions and the layout of the per-CPU record all come from the one table below.

macro_rules! counters {
    ($($(#[$meta:meta])* $variant:ident = $name:literal, $kind:ident, $help:literal;)*) => {
        /// A counter of the packet path. The number is its place in the per-CPU record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Counter {
            $(#[doc = $help] $variant,)*
        }

        impl Counter {
            /// All counters, in the order of the record.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name under which users meet it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it counts.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }

            /// What kind of event it counts.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }
        }
    };
}

/// What a counter stands for in the balance of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Packets translated and sent on.
    Forwarded,
    /// Packets left to the kernel.
    Passed,
    /// Packets dropped.
    Dropped,
    /// Packets kept for a while.
    Held,
    /// Not packets, or packets that another counter counts too.
    Event,
}

counters! {
    OutboundPackets = "outbound_packets", Forwarded, "packets translated from the LAN to the WAN";
    OutboundBytes = "outbound_bytes", Event, "IP bytes of those packets";
    InboundPackets = "inbound_packets", Forwarded, "packets translated from the WAN to the LAN";
    InboundBytes = "inbound_bytes", Event, "IP bytes of those packets";
    HairpinPackets = "hairpin_packets", Forwarded, "packets translated from the LAN back to the LAN";
    HairpinBytes = "hairpin_bytes", Event, "IP bytes of those packets";
    SlowNeighbour = "slow_neighbour", Event, "forwarded packets handed to the kernel because the next hop's MAC address was not known";
    IcmpErrors = "icmp_errors", Event, "ICMP errors among the translated packets";
    PassNotIpv4 = "pass_not_ipv4", Passed, "frames other than untagged IPv4: ARP, IPv6, VLAN";
    PassLocal = "pass_local", Passed, "packets for the router itself, broadcasts and multicasts";
    PassOtherStation = "pass_other_station", Passed, "frames sent to another station's MAC address";
    PassOtherRoute = "pass_other_route", Passed, "packets whose route does not cross the NAT";
    PassTtl = "pass_ttl", Passed, "packets towards the WAN whose TTL ends here: the kernel answers them";
    PassTooBig = "pass_too_big", Passed, "packets over the WAN's MTU: the kernel answers them";
    PassNoRoute = "pass_no_route", Passed, "packets without a route: the kernel answers them";
    DropMalformed = "drop_malformed", Dropped, "truncated or contradictory headers, and source addresses that no packet may have";
    DropFragment = "drop_fragment", Dropped, "fragments that would have to be translated";
    DropProtocol = "drop_protocol", Dropped, "packets towards the WAN of a protocol that is not translated";
    DropIcmp = "drop_icmp", Dropped, "ICMP messages towards the WAN that are neither echo requests nor errors about a session";
    DropSpoofed = "drop_spoofed", Dropped, "packets from the LAN with an external address as their source, and from the WAN with the router's or an internal one";
    DropFiltered = "drop_filtered", Dropped, "packets from the WAN to a mapped port that its filtering does not let in";
    DropUnmapped = "drop_unmapped", Dropped, "packets from the WAN to a port of the NAT that nobody has mapped, or to an internal address";
    DropNoSession = "drop_no_session", Dropped, "TCP resets of connections that are not known, and packets of sessions whose port was given to a port forward";
    DropNoPort = "drop_no_port", Dropped, "packets of new flows for which no free external port was found";
    DropTableFull = "drop_table_full", Dropped, "packets of new flows for which a table had no room";
    DropSessionLimit = "drop_session_limit", Dropped, "packets of new flows of an internal client that has as many sessions as it may";
    DropPortLimit = "drop_port_limit", Dropped, "packets of new flows of an internal client that has as many external ports as it may";
    DropRateLimit = "drop_rate_limit", Dropped, "packets of new flows of an internal client that opens more in a second than it may";
    DropDisconnected = "drop_disconnected", Dropped, "packets to translate while the connection is down";
    DropNoRoute = "drop_no_route", Dropped, "packets for an internal client that no LAN interface leads to";
    DropNeighbour = "drop_neighbour", Dropped, "packets whose next hop's MAC address is not known and could not be asked for; they are counted as forwarded too";
    DropTtl = "drop_ttl", Dropped, "packets towards the LAN whose TTL ends here";
    DropTooBig = "drop_too_big", Dropped, "packets over the LAN's MTU";
    DropInternal = "drop_internal", Dropped, "packets for which the NAT's own tables were incomplete";
    HeldFragments = "held_fragments", Held, "fragments kept by the daemon until the first one of their packet comes; then they are counted again";
    LateFragments = "late_fragments", Event, "held fragments that the daemon has thrown away: their first one did not come in time, or too many waited";
    DropLeak = "drop_leak", Dropped, "packets that the kernel was about to send from the WAN with a source that is no address of the WAN interface";
    EgressPackets = "egress_packets", Event, "packets and fragments that the kernel forwards by itself, translated on their way out of the WAN";
    SessionsCreated = "sessions_created", Event, "sessions created";
    MappingsCreated = "mappings_created", Event, "external ports claimed";
    ClaimLost = "claim_lost", Event, "external ports given back because another CPU mapped the same endpoint first";
    RouteLookups = "route_lookups", Event, "questions to the kernel's routing table";
}

/// How many counters there are.
pub const COUNTERS: usize = Counter::ALL.len();

/// One CPU's counters, as the map holds them.
pub type CounterRecord = [u64; COUNTERS];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_numbered_in_order() {
        let names: HashSet<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        assert_eq!(names.len(), COUNTERS);
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
        }
    }

    #[test]
    fn the_prefix_of_a_name_tells_its_kind() {
        for counter in Counter::ALL {
            let prefixed = |prefix| counter.name().starts_with(prefix);
            assert_eq!(counter.kind() == Kind::Dropped, prefixed("drop_"), "{}", counter.name());
            assert_eq!(counter.kind() == Kind::Passed, prefixed("pass_"), "{}", counter.name());
        }
    }
}
