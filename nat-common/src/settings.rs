//! What the daemon tells the packet path: one record, read once for every packet.

use crate::{BootTime, Protocol, time::NANOS_PER_SEC};

/// Which ports the NAT may take by itself, host byte order, both ends included. The hole keeps the
/// kernel's own local ports apart; port forwards may lie anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
    /// Lowest port of the hole; with `hole_last` below it there is none.
    pub hole_first: u16,
    /// Highest port of the hole.
    pub hole_last: u16,
}

impl PortRange {
    /// How many ports it has.
    #[inline(always)]
    pub const fn size(&self) -> u32 {
        (self.last as u32 + 1).saturating_sub(self.first as u32).saturating_sub(self.hole())
    }

    #[inline(always)]
    const fn hole(&self) -> u32 {
        (self.hole_last as u32 + 1).saturating_sub(self.hole_first as u32)
    }

    /// The port that a random number chooses (RFC 6056: simple port randomisation).
    #[inline(always)]
    pub const fn pick(&self, random: u32) -> u16 {
        let offset = ((random as u64 * self.size() as u64) >> 32) as u32;
        let port = self.first as u32 + offset;
        let beyond = self.hole() > 0 && port >= self.hole_first as u32;
        (if beyond { port + self.hole() } else { port }) as u16
    }

    /// Whether the NAT may take `port`.
    #[inline(always)]
    pub const fn contains(&self, port: u16) -> bool {
        port >= self.first && port <= self.last && (port < self.hole_first || port > self.hole_last)
    }
}

/// The record. Times are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Settings {
    /// Idle time of a UDP session (RFC 4787 REQ-5).
    pub udp_timeout: u64,
    /// Idle time of an ICMP query session (RFC 5508 REQ-2).
    pub icmp_timeout: u64,
    /// Idle time of an established TCP connection (RFC 5382 REQ-5).
    pub tcp_established_timeout: u64,
    /// Idle time of a TCP connection that is opening or closing (RFC 5382 REQ-5, RFC 7857 2.1).
    pub tcp_transitory_timeout: u64,
    /// Boot time of the daemon's last sweep: limits of clients count only while it counts what ends.
    pub swept_at: u64,
    /// Sessions of another generation are void: raised when the external address changes.
    pub nat_generation: u32,
    /// Sessions bound to a forward are void in another generation: raised when a forward goes away.
    pub forward_generation: u32,
    /// Next hops of another generation are looked up anew: raised when routes, neighbours or links
    /// change. Never 0.
    pub route_generation: u16,
    /// How many external addresses the pool holds.
    pub pool_len: u16,
    /// 1 while packets are translated; 0 drops what would be.
    pub connected: u16,
    /// 1 to give a session its internal port outside too when it is free.
    pub preserve_ports: u16,
    /// Ports to choose from.
    pub ports: PortRange,
    /// Identifiers of ICMP queries to choose from.
    pub identifiers: PortRange,
    /// [`Filtering`] of each protocol, by its number.
    pub filtering: [u8; 4],
    /// Largest TCP segment that a SYN may offer, bytes: 0 as it comes, [`Self::MSS_TO_MTU`] what the
    /// links' MTU leaves.
    pub mss: u16,
    /// Always 0.
    pub reserved: u16,
    /// Most sessions of one internal client; 0: no limit (RFC 6888 REQ-4).
    pub max_sessions_per_client: u32,
    /// Most external ports and identifiers of one internal client; 0: no limit (RFC 6888 REQ-4).
    pub max_ports_per_client: u32,
    /// Most sessions that one internal client may open in a second; 0: no limit (RFC 6888 REQ-4).
    pub new_sessions_per_second: u32,
    /// 1 to have the daemon told of every mapping that is made.
    pub note_mappings: u32,
}

/// Who may send to a mapped port (RFC 4787 REQ-8, RFC 5382 REQ-3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Filtering {
    /// Everybody.
    #[default]
    EndpointIndependent = 0,
    /// Hosts to which the internal endpoint has sent.
    AddressDependent = 1,
    /// Endpoints to which it has sent.
    AddressAndPortDependent = 2,
}

impl Settings {
    /// The defaults of the RFCs, for a connected gateway with one external address.
    pub const DEFAULT: Self = Self {
        udp_timeout: 300 * NANOS_PER_SEC,
        icmp_timeout: 60 * NANOS_PER_SEC,
        tcp_established_timeout: 7_440 * NANOS_PER_SEC,
        tcp_transitory_timeout: 240 * NANOS_PER_SEC,
        swept_at: 0,
        nat_generation: 1,
        forward_generation: 1,
        route_generation: 1,
        pool_len: 1,
        connected: 1,
        preserve_ports: 1,
        ports: PortRange { first: 1_024, last: 65_535, hole_first: 1, hole_last: 0 },
        identifiers: PortRange { first: 0, last: 65_535, hole_first: 1, hole_last: 0 },
        filtering: [Filtering::EndpointIndependent as u8; 4],
        mss: 0,
        reserved: 0,
        max_sessions_per_client: 0,
        max_ports_per_client: 0,
        new_sessions_per_second: 0,
        note_mappings: 0,
    };

    /// [`Self::mss`] for clamping to the links' MTU.
    pub const MSS_TO_MTU: u16 = 1;

    /// The filtering of a protocol.
    #[inline(always)]
    pub const fn filtering(&self, protocol: Protocol) -> Filtering {
        // A shift and no index: the compiler knows that one is in bounds, the verifier does not.
        match (u32::from_le_bytes(self.filtering) >> (8 * protocol as u32)) as u8 {
            0 => Filtering::EndpointIndependent,
            1 => Filtering::AddressDependent,
            _ => Filtering::AddressAndPortDependent,
        }
    }

    /// The ports, or identifiers, that the NAT may give away.
    #[inline(always)]
    pub const fn range(&self, protocol: Protocol) -> &PortRange {
        match protocol {
            Protocol::Icmp => &self.identifiers,
            _ => &self.ports,
        }
    }

    /// Sets the filtering of a protocol.
    pub fn set_filtering(&mut self, protocol: Protocol, filtering: Filtering) {
        if let Some(mode) = self.filtering.get_mut(protocol as usize) {
            *mode = filtering as u8;
        }
    }

    /// Whether some protocol's filtering asks to whom a client has sent.
    pub fn needs_contacts(&self) -> bool {
        let needs = |protocol| self.filtering(protocol) != Filtering::EndpointIndependent;
        Protocol::ALL.into_iter().any(needs)
    }

    /// Whether some limit holds for each internal client.
    #[inline(always)]
    pub const fn has_client_limits(&self) -> bool {
        self.max_sessions_per_client | self.max_ports_per_client | self.new_sessions_per_second != 0
    }

    /// How long after a sweep it is believed what of the clients' sessions and ports has ended: longer
    /// than a daemon with large tables rests between sweeps.
    pub const SWEEP_HOLDS: u64 = 90 * NANOS_PER_SEC;

    /// Whether the daemon has swept of late.
    #[inline(always)]
    pub const fn is_swept(&self, now: BootTime) -> bool {
        now.0 < self.swept_at.saturating_add(Self::SWEEP_HOLDS) && self.swept_at != 0
    }

    /// Idle time of a session of `protocol`.
    #[inline(always)]
    pub const fn timeout(&self, protocol: Protocol, established: bool) -> u64 {
        match protocol {
            Protocol::Udp => self.udp_timeout,
            Protocol::Icmp => self.icmp_timeout,
            Protocol::Tcp if established => self.tcp_established_timeout,
            Protocol::Tcp => self.tcp_transitory_timeout,
        }
    }

    /// Until when flows of a wildcard may hold a port at most that a port forward of its own takes
    /// over: only an established TCP connection holds one for longer.
    #[inline]
    pub const fn yielding(&self, now: BootTime, protocol: Protocol) -> BootTime {
        match protocol {
            // A packet's time is this much later at most, for the generation that it carries.
            Protocol::Tcp => {
                self.deadline(now.plus_nanos(BootTime::MARKS), self.timeout(protocol, false))
            }
            _ => BootTime::NEVER,
        }
    }

    /// Deadlines are moved only when they would move by more than this fraction of the idle time, so
    /// that entries stay shared between the CPUs' caches; it is added to the idle time, which is thus
    /// never cut short.
    pub const REFRESH_SHIFT: u32 = 4;

    /// The deadline of a session that is used at `now`.
    #[inline(always)]
    pub const fn deadline(&self, now: BootTime, timeout: u64) -> BootTime {
        now.plus_nanos(timeout + (timeout >> Self::REFRESH_SHIFT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hole_is_not_in_the_range() {
        let range = PortRange { first: 1024, last: 65_535, hole_first: 32_768, hole_last: 60_999 };
        assert!(range.contains(1024) && range.contains(32_767) && range.contains(61_000));
        assert!(!range.contains(1023) && !range.contains(32_768) && !range.contains(60_999));
        assert!(Settings::DEFAULT.ports.contains(40_000));
    }

    #[test]
    fn picks_cover_the_range() {
        let range = PortRange { first: 1024, last: 65_535, hole_first: 32_768, hole_last: 60_999 };
        assert_eq!(range.size(), 36_280);
        assert_eq!(range.pick(0), 1024);
        assert_eq!(range.pick(u32::MAX), 65_535);
        assert_eq!(Settings::DEFAULT.identifiers.size(), 65_536);
        for range in [range, Settings::DEFAULT.ports, Settings::DEFAULT.identifiers] {
            for random in (0..=u32::MAX).step_by(65_537) {
                assert!(range.contains(range.pick(random)), "{random}");
            }
        }
    }

    #[test]
    fn each_protocol_has_a_filtering_of_its_own() {
        let filtering = [0, 1, 2, 0];
        let settings = Settings { filtering, ..Settings::DEFAULT };
        assert_eq!(settings.filtering(Protocol::Tcp), Filtering::EndpointIndependent);
        assert_eq!(settings.filtering(Protocol::Udp), Filtering::AddressDependent);
        assert_eq!(settings.filtering(Protocol::Icmp), Filtering::AddressAndPortDependent);
        assert!(settings.needs_contacts() && !Settings::DEFAULT.needs_contacts());
    }

    #[test]
    fn layout_has_no_padding() {
        assert_eq!(core::mem::size_of::<Settings>(), 5 * 8 + 2 * 4 + 4 * 2 + 2 * 8 + 2 * 4 + 4 * 4);
    }
}
