//! The maps of internal clients.

use super::maps::fill;
use anyhow::Result;
use aya::maps::{HashMap as BpfMap, Map, MapData};
use nat_common::client::{ClientRecord, Ended, Live};
use nat_common::session::{SessionKey, SessionRecord, charged, control};
use nat_common::settings::Settings;
use nat_common::{BootTime, NetAddr};
use std::collections::HashMap;
use std::net::Ipv4Addr;

type Bytes<const N: usize> = [u8; N];
const RECORD: usize = size_of::<ClientRecord>();
const ENDED: usize = size_of::<Ended>();

/// Both maps.
pub(super) struct Clients {
    begun: BpfMap<MapData, Bytes<4>, Bytes<RECORD>>,
    ended: BpfMap<MapData, Bytes<4>, Bytes<ENDED>>,
}

impl Clients {
    pub(super) fn new(begun: Map, ended: Map) -> Result<Self> {
        Ok(Self { begun: begun.try_into()?, ended: ended.try_into()? })
    }

    /// Forgets all clients.
    pub(super) fn clear(&mut self) -> Result<()> {
        for key in self.begun.keys().collect::<Result<Vec<_>, _>>()? {
            self.begun.remove(&key)?;
        }
        for key in self.ended.keys().collect::<Result<Vec<_>, _>>()? {
            self.ended.remove(&key)?;
        }
        Ok(())
    }

    /// Fills what room there is.
    pub(super) fn fill(&mut self) -> Result<()> {
        fill(|number| self.begun.insert(Ipv4Addr::from_bits(number).octets(), [0; RECORD], 0))
    }

    /// Brings the seconds in which they open sessions forward.
    pub(super) fn bring_forward(&mut self, nanos: u64) -> Result<()> {
        for (key, record) in self.begun.iter().collect::<Result<Vec<_>, _>>()? {
            let mut record: ClientRecord = bytemuck::pod_read_unaligned(&record);
            record.bring_forward(nanos);
            self.begun.insert(key, bytemuck::cast::<_, Bytes<RECORD>>(record), 0)?;
        }
        Ok(())
    }

    /// Says what has ended, when this lives.
    pub(super) fn sweep(&mut self, live: &HashMap<NetAddr, Live>) -> Result<()> {
        let mut begun: HashMap<NetAddr, ClientRecord> =
            live.keys().map(|addr| (*addr, ClientRecord::default())).collect();
        for entry in &self.begun {
            let (key, record) = entry?;
            begun.insert(NetAddr::from_octets(key), bytemuck::pod_read_unaligned(&record));
        }
        for (addr, record) in begun {
            let ended = Ended::of(&record, live.get(&addr).copied().unwrap_or_default());
            self.ended.insert(addr.octets(), bytemuck::cast::<_, Bytes<ENDED>>(ended), 0)?;
        }
        Ok(())
    }
}

/// The client for which an entry counts, if it is the right half of a live session.
pub(super) fn counts_for(
    key: &SessionKey,
    record: &SessionRecord,
    settings: &Settings,
    now: BootTime,
) -> Option<NetAddr> {
    let bound = record.control & control::BOUND_TO_FORWARD != 0;
    let generation = record.control >> control::GENERATION_SHIFT;
    let current = bound || generation == u64::from(settings.nat_generation);
    charged(key, record.control).filter(|_| current && record.deadline() > now)
}
