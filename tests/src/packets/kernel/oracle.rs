//! The XDP program before the oracle.

use super::KernelMachine;
use crate::packets::machine::Action;
use anyhow::{Result, ensure};
use nat_common::session::{EndpointKey, ExternalEndpoint};
use nat_common::settings::Settings;
use nat_ebpf::host::Forward;
use nat_oracle::{EXTERNALS, Machine, Outcome};
use std::time::{Duration, Instant};

/// How much of its clock a sequence may take: with what passes beside the waits, less than a second.
const PATIENCE: Duration = Duration::from_millis(300);

impl Machine for KernelMachine<'_> {
    const BESIDE: u64 = 1;

    fn is_late(&self) -> bool {
        self.begun.elapsed() > PATIENCE
    }

    fn reset(&mut self, settings: Settings) -> Result<()> {
        self.maps.clear()?;
        self.maps.set_pool(&EXTERNALS)?;
        self.maps.change_settings(|own| *own = settings)?;
        self.begun = Instant::now();
        Ok(())
    }

    fn wait(&mut self, time: Duration) -> Result<()> {
        self.maps.bring_deadlines_forward(time)
    }

    fn settings(&mut self, change: &dyn Fn(&mut Settings)) -> Result<()> {
        self.maps.change_settings(change)
    }

    fn open_forward(&mut self, forward: &Forward) -> Result<bool> {
        self.maps.open_forward(forward)
    }

    fn close_forward(&mut self, forward: &Forward) -> Result<()> {
        self.maps.close_forward(forward)
    }

    fn sweep(&mut self) -> Result<()> {
        self.maps.sweep_clients()
    }

    fn external(&self, endpoint: &EndpointKey) -> Result<Option<ExternalEndpoint>> {
        self.maps.external(endpoint)
    }

    fn receive(&mut self, link: u8, frame: &[u8]) -> Result<Outcome> {
        let judged = self.judge(link, frame)?;
        let crate::packets::Outcome { action, link, frame, tags, .. } = judged;
        ensure!(tags.is_empty(), "tags on a link without: {tags:x?}");
        let action = match action {
            Action::Pass => nat_oracle::Action::Pass,
            Action::Drop => nat_oracle::Action::Drop,
            Action::Send => nat_oracle::Action::Send,
            Action::Broadcast => nat_oracle::Action::Broadcast,
            Action::Resolve => nat_oracle::Action::Other,
        };
        Ok(Outcome { action, link, frame })
    }
}
