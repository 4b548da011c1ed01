//! Two CPUs at once on the same ports.

use super::KernelMachine;
use anyhow::{Result, anyhow, ensure};
use nat_common::ports::{Endpoint, PortSlot};
use nat_common::session::{SessionKey, SessionRecord, Side};
use nat_common::{NetAddr, NetPort, Protocol};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What one of two threads does at a step.
pub type Racer<'a> = &'a (dyn Fn(usize) -> Result<()> + Sync);

/// An external port with several internal endpoints, or an internal endpoint with several ports.
#[derive(Debug, Default)]
pub struct Shared {
    /// External address and port, and whose it is.
    pub ports: Vec<(Protocol, NetAddr, NetPort)>,
    /// Internal address and port.
    pub endpoints: Vec<(Protocol, NetAddr, NetPort)>,
}

impl Shared {
    /// Whether there is any.
    pub fn is_any(&self) -> bool {
        !self.ports.is_empty() || !self.endpoints.is_empty()
    }
}

impl KernelMachine<'_> {
    /// Two CPUs that this thread may use; `None` when there is one only.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn two_cpus() -> Result<Option<[usize; 2]>> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut cpus = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
        Ok(cpus.next().zip(cpus.next()).map(|(one, other)| [one, other]))
    }

    /// Has both go through as many steps at the same time, each on a CPU of its own.
    ///
    /// # Errors
    /// The first error of either.
    pub fn race(cpus: [usize; 2], steps: usize, racers: [Racer<'_>; 2]) -> Result<()> {
        let arrived = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let run = |own: usize| -> Result<()> {
            let (Some(cpu), Some(racer)) = (cpus.get(own), racers.get(own)) else { return Ok(()) };
            let mut set = CpuSet::new();
            set.set(*cpu)?;
            sched_setaffinity(Pid::from_raw(0), &set)?;
            let mut result = Ok(());
            for step in 0..steps {
                // One that has failed still keeps step with the other.
                if let Some(counter) = arrived.get(own) {
                    counter.store(step + 1, Ordering::SeqCst);
                }
                let mut turns = 0_u32;
                while arrived.iter().any(|counter| counter.load(Ordering::SeqCst) <= step) {
                    turns += 1;
                    // The other one is not running.
                    if turns.is_multiple_of(1 << 14) {
                        std::thread::yield_now();
                    }
                    std::hint::spin_loop();
                }
                result = result.and_then(|()| racer(step));
            }
            result
        };
        std::thread::scope(|scope| {
            let both = [scope.spawn(|| run(0)), scope.spawn(|| run(1))];
            both.into_iter().try_for_each(|thread| {
                thread.join().map_err(|_| anyhow!("a racing thread panicked"))?
            })
        })
    }

    /// A frame comes in by a link; nobody looks at what becomes of it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn throw(&self, link: u8, frame: &[u8]) -> Result<()> {
        self.run(link, frame).map(|_| ())
    }

    /// A slot of the port table, in memory that the program shares.
    pub fn slot(&self, index: u32) -> Option<&PortSlot> {
        self.maps.table.slot(index)
    }

    /// The internal endpoints whose sessions leave from an external port.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn users(&self, port: NetPort) -> Result<Vec<Endpoint>> {
        let user = |(key, record): &(SessionKey, SessionRecord)| {
            let uses = matches!(key.side(), Side::Lan) && record.new_src_port == port;
            uses.then_some(Endpoint { addr: key.src, port: key.src_port })
        };
        Ok(self.maps.sessions()?.iter().filter_map(user).collect())
    }

    /// What sessions share and must not.
    ///
    /// # Errors
    /// When there are no sessions, or the kernel refuses.
    pub fn shared(&self) -> Result<Shared> {
        let sessions = self.maps.sessions()?;
        ensure!(!sessions.is_empty(), "there are no sessions");
        Ok(shared(&sessions))
    }
}

fn shared(sessions: &[(SessionKey, SessionRecord)]) -> Shared {
    type End = (Protocol, NetAddr, NetPort);
    let (mut owners, mut ports): (HashMap<End, HashSet<End>>, HashMap<End, HashSet<End>>) =
        Default::default();
    for (key, record) in sessions {
        let end = |addr, port| (key.protocol(), addr, port);
        let (internal, external) = match key.side() {
            Side::Lan => (end(key.src, key.src_port), end(record.new_src, record.new_src_port)),
            Side::Wan => (end(record.new_dst, record.new_dst_port), end(key.dst, key.dst_port)),
        };
        owners.entry(external).or_default().insert(internal);
        ports.entry(internal).or_default().insert(external);
    }
    let several = |map: HashMap<End, HashSet<End>>| {
        map.into_iter().filter(|(_, ends)| ends.len() > 1).map(|(end, _)| end).collect()
    };
    Shared { ports: several(owners), endpoints: several(ports) }
}
