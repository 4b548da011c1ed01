//! What the sweep knows of sessions, whether the kernel walks over them or user space does.

use crate::session::{SessionKey, SessionRecord, Side, charged, control};
use crate::settings::Settings;
use crate::time::NANOS_PER_SEC;
use crate::{BootTime, NetAddr, NetPort, Protocol};

/// Whether a session can never count again. One that is bound to a forward may until its deadline,
/// whatever its generation is: see the packet path.
#[inline(always)]
pub const fn is_dead(record: &SessionRecord, settings: &Settings, past: BootTime) -> bool {
    let bound = record.control & control::BOUND_TO_FORWARD != 0;
    let generation = (record.control >> control::GENERATION_SHIFT) as u32;
    record.deadline <= past.0 || (!bound && generation != settings.nat_generation)
}

/// A live session, as the half tells that its internal client's packets use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Live {
    /// Address of the internal client.
    pub client: NetAddr,
    /// The external address.
    pub external: NetAddr,
    /// Boot time in seconds at which the session ends, rounded up.
    pub until: u32,
    /// The external port or identifier.
    pub port: NetPort,
    protocol: u8,
    kind: u8,
}

/// Kinds of what the kernel's walk tells: nothing, a session by the half of the client for which it counts,
/// or by that of another one, which was called from the LAN.
const NOTHING: u8 = 0;
const CHARGED: u8 = 1;
const CALLED: u8 = 2;

impl Live {
    /// What the walk tells when it has told nothing for a while, so that its reader has its turn.
    pub const NOTHING: Self = Self {
        client: NetAddr::UNSPECIFIED,
        external: NetAddr::UNSPECIFIED,
        until: 0,
        port: NetPort(0),
        protocol: 0,
        kind: NOTHING,
    };

    /// From a half; `None` for the half of the other direction.
    #[inline(always)]
    pub const fn of(key: &SessionKey, record: &SessionRecord) -> Option<Self> {
        if !matches!(key.side(), Side::Lan) {
            return None;
        }
        let until = record.deadline / NANOS_PER_SEC + 1;
        Some(Self {
            client: key.src,
            external: record.new_src,
            until: if until > u32::MAX as u64 { u32::MAX } else { until as u32 },
            port: record.new_src_port,
            protocol: key.protocol() as u8,
            kind: if charged(key, record.control).is_some() { CHARGED } else { CALLED },
        })
    }

    /// Whether it is a session, not [`Self::NOTHING`].
    pub const fn is_session(&self) -> bool {
        self.kind != NOTHING
    }

    /// The internal client for which the session counts, unless the other half tells it.
    pub fn charged(&self) -> Option<NetAddr> {
        (self.kind == CHARGED).then_some(self.client)
    }

    /// The protocol.
    pub const fn protocol(&self) -> Protocol {
        match self.protocol {
            0 => Protocol::Tcp,
            1 => Protocol::Udp,
            _ => Protocol::Icmp,
        }
    }
}

/// What a walk in the kernel is told, and what it has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Progress {
    /// Sessions that ended by then are dead (boot time, nanoseconds).
    pub past: u64,
    /// Entries seen.
    pub seen: u64,
    /// Entries removed.
    pub removed: u64,
}

#[cfg(all(test, feature = "user"))]
mod tests {
    use super::*;
    use bytemuck::Zeroable as _;

    const NOW: BootTime = BootTime(1_000 * NANOS_PER_SEC);

    #[test]
    fn a_session_bound_to_a_forward_is_swept_by_its_deadline_only() {
        let mut record = SessionRecord::zeroed();
        record.deadline = NOW.plus_secs(9).0;
        record.control = control::BOUND_TO_FORWARD;
        assert!(!is_dead(&record, &Settings::DEFAULT, NOW));
        assert!(is_dead(&record, &Settings::DEFAULT, NOW.plus_secs(9)));
        record.control = 0;
        assert!(is_dead(&record, &Settings::DEFAULT, NOW), "another generation");
    }

    #[test]
    fn a_session_is_told_by_its_clients_half() {
        let (client, remote) = (
            (NetAddr::from_octets([10, 0, 0, 2]), NetPort::new(40_000)),
            (NetAddr::from_octets([192, 0, 2, 9]), NetPort::new(80)),
        );
        let mut record = SessionRecord::zeroed();
        record.deadline = NOW.0 + 1;
        record.new_src = NetAddr::from_octets([11, 22, 33, 1]);
        record.new_src_port = NetPort::new(5_000);
        let key = |side, src, dst| SessionKey::new(side, Protocol::Udp, src, dst);
        let live = Live::of(&key(Side::Lan, client, remote), &record).unwrap();
        assert!(live.is_session() && !Live::NOTHING.is_session());
        assert_eq!(live.charged(), Some(client.0));
        assert_eq!((live.client, live.external), (client.0, record.new_src));
        assert_eq!((live.port.get(), live.until), (5_000, 1_001));
        assert_eq!(live.protocol(), Protocol::Udp);
        assert_eq!(Live::of(&key(Side::Wan, remote, client), &record), None);
        record.control = control::HAIRPIN | control::TOWARDS_INSIDE;
        let called = Live::of(&key(Side::Lan, client, remote), &record).unwrap();
        assert!(called.is_session() && called.charged().is_none());
    }
}
