//! What carries packets between LAN and WAN: our own NAT, or the kernel alone.

use super::{ClientView, LinkView, SessionView};
use crate::igd::TrafficTotals;
use crate::mapping::{AnyPath, PortForward};
use anyhow::Result;
use nat_common::{BootTime, Counter, Protocol};
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::sync::watch;

/// What carries the packets. Dropped, it ends what does not outlive the daemon.
pub trait Plane {
    /// For the mapping table. To be called once: there is one writer of forwards.
    fn path(&self) -> AnyPath;

    /// The forwards of a former daemon, where they have outlived it.
    fn adopted(&self, now: BootTime) -> Option<Vec<PortForward>>;

    /// Hears when interfaces or addresses may be others, after the packet path has taken note.
    fn changes(&self) -> watch::Receiver<()>;

    /// For the operator.
    fn inspector(&self) -> Arc<dyn Inspect>;
}

/// What an operator sees of it. What only a NAT has, there is none of unless it is told.
pub trait Inspect: Send + Sync {
    /// The interfaces.
    fn links(&self) -> Vec<LinkView>;

    /// Our own addresses towards the WAN, that of port forwards first.
    fn external_addresses(&self) -> Vec<Ipv4Addr>;

    /// Traffic between LAN and WAN since the start.
    fn traffic(&self) -> TrafficTotals;

    /// Our own address towards the WAN; `None` while there is none.
    fn external_address(&self) -> Option<Ipv4Addr> {
        self.external_addresses().first().copied()
    }

    /// The counters, summed over the CPUs.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        Ok(Vec::new())
    }

    /// Calls `each` for every live session. A session that begins or ends meanwhile may be missed.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn sessions(&self, _now: BootTime, _each: &mut dyn FnMut(SessionView)) -> Result<()> {
        Ok(())
    }

    /// The internal clients that have anything, or are remembered; who has most first.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn clients(&self, _now: BootTime) -> Result<Vec<ClientView>> {
        Ok(Vec::new())
    }

    /// How many sessions the last sweep has left.
    fn sessions_swept(&self) -> u64 {
        0
    }

    /// How many ports, or identifiers, of each protocol are held.
    fn ports_in_use(&self, _now: BootTime) -> Vec<(Protocol, u32)> {
        Vec::new()
    }

    /// Most sessions that fit.
    fn max_sessions(&self) -> u32 {
        0
    }
}
