//! The pipeline in memory.

use super::machine::{
    Action, Change, MAX_CLIENTS, MAX_CONTACTS, MAX_ENDPOINTS, MAX_SESSION_ENTRIES, Machine,
    Outcome, check_peer,
};
use super::topology::{self, EGRESS, EXTERNAL, OTHER_EXTERNAL, network, side};
use anyhow::{Context, Result, anyhow, ensure};
use nat_common::ports::InUse;
use nat_common::{NetAddr, NetPort};
use nat_ebpf::host::{Capacity, HostFrame, HostTables, LocalSocket};
use nat_ebpf::{Decision, Tables as _, egress, peer, process};

/// The pipeline on [`HostTables`].
#[derive(Debug)]
pub struct HostMachine {
    tables: HostTables,
}

/// Where its random numbers start.
const SEED: u64 = 2;

impl Default for HostMachine {
    fn default() -> Self {
        let mut tables = HostTables::new(network(), SEED);
        tables.set_externals(vec![EXTERNAL.into()], vec![OTHER_EXTERNAL.into()]);
        tables.capacity = Capacity {
            sessions: MAX_SESSION_ENTRIES as usize,
            endpoints: MAX_ENDPOINTS as usize,
            contacts: MAX_CONTACTS as usize,
            clients: MAX_CLIENTS as usize,
        };
        Self { tables }
    }
}

impl Machine for HostMachine {
    fn name(&self) -> &'static str {
        "the host"
    }

    fn shortest_frame(&self) -> usize {
        0
    }

    fn reset(&mut self) -> Result<()> {
        *self = Self::default();
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<()> {
        let tables = &mut self.tables;
        let free = |result: Result<(), InUse>| result.map_err(|_| anyhow!("the port is in use"));
        match change {
            Change::Wait(seconds) => tables.advance(*seconds),
            Change::Settings(change) => {
                if let Some(settings) = &mut tables.settings {
                    change(settings);
                }
            }
            Change::OpenForward(forward) => free(tables.open_forward(forward))?,
            Change::CloseForward(forward) => tables.close_forward(forward),
            Change::MarkForward(forward) => {
                let generation = tables.settings.context("no settings")?.forward_generation;
                let slot = tables.slot(forward.slot_index()).context("no slot")?;
                ensure!(slot.end_with(forward.client, generation), "no such forward");
            }
            Change::OpenSocket(protocol, addr, port) => {
                tables.network.open_socket(LocalSocket {
                    protocol: *protocol,
                    addr: NetAddr::from(*addr),
                    port: NetPort::new(*port),
                    remote: None,
                });
            }
            Change::Peer(..) | Change::PeerRefused(..) => {
                tables.set_ingress(topology::LAN);
                if let Some((frame, wanted)) = change.peer(tables.now()) {
                    let returned = peer::answer(&mut HostFrame::new(&frame), tables);
                    check_peer(change, returned, wanted)?;
                }
            }
            Change::TakePort(protocol, port, owner, seconds) => {
                free(tables.take_port(*protocol, *port, *owner, *seconds))?;
            }
            Change::TakePorts(protocol, ports, but, owner, seconds) => {
                for port in ports.clone().filter(|port| Some(*port) != *but) {
                    free(tables.take_port(*protocol, port, *owner, *seconds))?;
                }
            }
            Change::Pool(pool) => {
                let external = pool.iter().map(|addr| NetAddr::from(*addr)).collect();
                tables.set_externals(external, vec![OTHER_EXTERNAL.into()]);
                if let Some(settings) = &mut tables.settings {
                    settings.pool_len = u16::try_from(pool.len())?;
                }
            }
            Change::FillHints(protocol) => {
                tables.fill_hints(*protocol);
            }
            Change::FillSessions => tables.fill_sessions(),
            Change::FillEndpoints => tables.fill_endpoints(),
            Change::FillContacts => tables.fill_contacts(),
            Change::FillClients => tables.fill_clients(),
            Change::Sweep => tables.sweep_clients(),
        }
        Ok(())
    }

    fn receive(&mut self, link: u8, frame: &[u8]) -> Result<Outcome> {
        let before = self.tables.counters();
        let ingress = link;
        self.tables.set_ingress(link);
        let mut host_frame = HostFrame::new(frame);
        let (action, link) = if link == EGRESS {
            let leaves = egress::may_leave(&mut host_frame, &self.tables);
            (if leaves { Action::Pass } else { Action::Drop }, None)
        } else {
            match process(&mut host_frame, &self.tables, side(link)).decision() {
                Decision::Pass(_) => (Action::Pass, None),
                Decision::Drop(_) => (Action::Drop, None),
                Decision::Send { link } => (Action::Send, Some(link)),
                Decision::Resolve { link } => (Action::Resolve, Some(link)),
                Decision::Broadcast => (Action::Broadcast, None),
                Decision::Keep { pass } => {
                    self.tables.keep(pass);
                    (if pass { Action::Pass } else { Action::Drop }, None)
                }
            }
        };
        let mut counted = self.tables.counters();
        for (after, before) in counted.iter_mut().zip(before) {
            *after -= before;
        }
        let arrival = topology::arrival(ingress);
        let tags = match (action, link) {
            (Action::Send, Some(link)) => topology::words(arrival.leaving(topology::tags(link).1)),
            (Action::Pass, _) => topology::words(arrival.words()),
            _ => Vec::new(),
        };
        Ok(Outcome { action, link, frame: host_frame.to_bytes(), tags, counted })
    }
}
