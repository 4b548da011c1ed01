//! What is compared with the reference.

use crate::world::topology;
use anyhow::Result;
use nat_common::Protocol;
use nat_common::session::{EndpointKey, ExternalEndpoint};
use nat_common::settings::Settings;
use nat_ebpf::host::{Forward, HostFrame, HostTables};
use nat_ebpf::{Decision, Tables, Verdict, process};
use std::time::Duration;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Left to the kernel.
    Pass,
    /// Dropped.
    Drop,
    /// Sent.
    Send,
    /// Sent to everybody in every LAN.
    Broadcast,
    /// Something that none of these packets needs.
    Other,
}

/// What became of a frame, and what it looks like now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What became of it.
    pub action: Action,
    /// The link that sends it, where the machine tells.
    pub link: Option<u8>,
    /// Its bytes.
    pub frame: Vec<u8>,
}

/// A NAT in the oracle's surroundings: three links, with 0 the WAN and 1 and 2 the LANs.
pub trait Machine {
    /// How many 256ths of a second pass beside the seconds of each wait. With a clock that runs by itself
    /// some must, so that nothing ends in the very moment in which it is looked at.
    const BESIDE: u64;

    /// Whether it has taken so long since the reset that its clock may be beyond where it is thought to be.
    fn is_late(&self) -> bool {
        false
    }

    /// Forgets everything, and starts with these settings.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn reset(&mut self, settings: Settings) -> Result<()>;

    /// Time passes.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn wait(&mut self, time: Duration) -> Result<()>;

    /// The daemon changes its settings.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn settings(&mut self, change: &dyn Fn(&mut Settings)) -> Result<()>;

    /// Opens a port forward; `false` when its port is somebody else's.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn open_forward(&mut self, forward: &Forward) -> Result<bool>;

    /// Closes a port forward.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn close_forward(&mut self, forward: &Forward) -> Result<()>;

    /// The daemon counts what each client has.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn sweep(&mut self) -> Result<()>;

    /// The external endpoint that it says an internal one has, or had.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn external(&self, endpoint: &EndpointKey) -> Result<Option<ExternalEndpoint>>;

    /// Has a frame come in by a link.
    ///
    /// # Errors
    /// When the kernel refuses, or what it did makes no sense.
    fn receive(&mut self, link: u8, frame: &[u8]) -> Result<Outcome>;
}

/// The pipeline in memory.
#[derive(Debug)]
pub struct HostMachine {
    tables: HostTables,
    seed: u64,
}

impl HostMachine {
    /// Without state; its random numbers begin here.
    pub fn new(seed: u64) -> Self {
        Self { tables: topology::tables(seed), seed }
    }

    /// Has the next port that it chooses be this one, or a random one again.
    pub fn choose(&mut self, protocol: Protocol, port: Option<u16>) {
        let settings = self.tables.settings.unwrap_or(Settings::DEFAULT);
        let range = settings.range(protocol);
        self.tables.fix_random(port.map(|port| {
            // The least number for which `PortRange::pick` tells this port; there are no holes here.
            let offset = u64::from(port.saturating_sub(range.first)) << 32;
            u32::try_from(offset.div_ceil(u64::from(range.size()))).unwrap_or(u32::MAX)
        }));
    }

    /// Has a frame come in, and tells the verdict on it and its bytes.
    pub(crate) fn process(&mut self, link: u8, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let mut frame = HostFrame::new(frame);
        self.tables.set_ingress(link);
        let verdict = process(&mut frame, &self.tables, topology::side_of(link));
        (verdict, frame.to_bytes())
    }
}

impl Machine for HostMachine {
    const BESIDE: u64 = 0;

    fn reset(&mut self, settings: Settings) -> Result<()> {
        *self = Self::new(self.seed);
        self.tables.settings = Some(settings);
        Ok(())
    }

    fn wait(&mut self, time: Duration) -> Result<()> {
        self.tables.advance_by(time);
        Ok(())
    }

    fn settings(&mut self, change: &dyn Fn(&mut Settings)) -> Result<()> {
        if let Some(settings) = &mut self.tables.settings {
            change(settings);
        }
        Ok(())
    }

    fn open_forward(&mut self, forward: &Forward) -> Result<bool> {
        Ok(self.tables.open_forward(forward).is_ok())
    }

    fn close_forward(&mut self, forward: &Forward) -> Result<()> {
        self.tables.close_forward(forward);
        Ok(())
    }

    fn sweep(&mut self) -> Result<()> {
        self.tables.sweep_clients();
        Ok(())
    }

    fn external(&self, endpoint: &EndpointKey) -> Result<Option<ExternalEndpoint>> {
        Ok(self.tables.endpoint(endpoint).map(|word| ExternalEndpoint::unpack(word.get())))
    }

    fn receive(&mut self, link: u8, frame: &[u8]) -> Result<Outcome> {
        let (verdict, frame) = self.process(link, frame);
        let (action, link) = match verdict.decision() {
            Decision::Pass(_) => (Action::Pass, None),
            Decision::Drop(_) => (Action::Drop, None),
            Decision::Send { link } => (Action::Send, Some(link)),
            Decision::Broadcast => (Action::Broadcast, None),
            Decision::Resolve { .. } | Decision::Keep { .. } => (Action::Other, None),
        };
        Ok(Outcome { action, link, frame })
    }
}
