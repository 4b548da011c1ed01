//! The gateway as HTTP and the clock share it.

use super::{identity::Identity, resolve::Resolver, wan::WanSource};
use crate::{
    http::{Place, Site},
    igd::{
        ControlRequest, ControlResponse, Gateway, Invocation, MappingView, ServiceKind,
        connection::{Errand, WanLink},
    },
    mapping::PacketPath,
    shutdown::Shutdown,
};
use hyper::body::Bytes;
use nat_common::BootTime;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

/// Longest sleep of the expiry. Timers stand still while the machine is suspended, leases do not.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The gateway, and what is served of it.
pub(super) struct Shared<P: PacketPath> {
    gateway: Mutex<Gateway<P>>,
    /// The table may have changed, and with it the next deadline.
    changed: Notify,
    clock: fn() -> BootTime,
    wan: Box<dyn WanSource>,
    documents: HashMap<&'static str, Bytes>,
    resolver: Resolver,
    /// The command to run; a newer one replaces it.
    errand: Mutex<Option<Errand>>,
    errand_waits: Notify,
}

impl<P: PacketPath> Shared<P> {
    pub(super) fn new(
        gateway: Gateway<P>,
        clock: fn() -> BootTime,
        identity: &Identity,
        wan: impl WanSource,
    ) -> Self {
        Self {
            gateway: Mutex::new(gateway),
            changed: Notify::new(),
            clock,
            wan: Box::new(wan),
            documents: identity.documents.clone(),
            resolver: Resolver::default(),
            errand: Mutex::default(),
            errand_waits: Notify::new(),
        }
    }

    /// Port mappings in force.
    pub(super) fn mappings(&self) -> Vec<MappingView> {
        let now = (self.clock)();
        self.lock().mappings(now).collect()
    }

    /// Takes mappings away as their leases end, until `shutdown`. The packet path lets nothing in
    /// after a lease's end even when this is late.
    pub(super) async fn expire(&self, mut link: watch::Receiver<WanLink>, mut shutdown: Shutdown) {
        loop {
            link.mark_unchanged();
            let until_next = self.expire_once();
            tokio::select! {
                () = shutdown.wait() => return,
                () = sleep(until_next.min(LONGEST_SLEEP)) => {}
                () = self.changed.notified() => {}
                Ok(()) = link.changed() => {}
            }
        }
    }

    /// Takes away what has ended, notes whether there is a connection; returns the time until the next lease does.
    fn expire_once(&self) -> Duration {
        let now = (self.clock)();
        let mut gateway = self.lock();
        gateway.refresh(now);
        gateway.expire(now);
        self.note_errand(&mut gateway);
        let next = gateway.next_deadline().unwrap_or(BootTime::NEVER);
        Duration::from_nanos(next.nanos_from(now))
    }

    /// The next command of the operator's to run.
    pub(super) async fn errand(&self) -> Errand {
        loop {
            self.errand_waits.notified().await;
            let errand = self.errand.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(errand) = errand {
                return errand;
            }
        }
    }

    /// A command has ended.
    pub(super) fn errand_ended(&self, errand: Errand, well: bool) {
        self.lock().errand_ended(errand, well);
        self.changed.notify_one();
    }

    fn note_errand(&self, gateway: &mut Gateway<P>) {
        if let Some(errand) = gateway.take_errand() {
            *self.errand.lock().unwrap_or_else(PoisonError::into_inner) = Some(errand);
            self.errand_waits.notify_one();
        }
    }

    /// Never held across an await: calls on the gateway do not wait for anything.
    fn lock(&self) -> MutexGuard<'_, Gateway<P>> {
        self.gateway.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: PacketPath + Send + 'static> Site for Shared<P> {
    fn at(&self, path: &str) -> Option<Place> {
        if let Some(document) = self.documents.get(path) {
            return Some(Place::Document(document.clone()));
        }
        let control = ServiceKind::by_control_path(path).map(Place::Control);
        control.or_else(|| ServiceKind::by_event_path(path).map(Place::Events))
    }

    async fn control(&self, request: &ControlRequest<'_>) -> ControlResponse {
        let mut invocation = match Invocation::read(request) {
            Ok(invocation) => invocation,
            Err(response) => return response,
        };
        for name in invocation.host_names() {
            if let Some(address) = self.resolver.resolve(&name).await {
                invocation.resolved(&name, address);
            }
        }
        let now = (self.clock)();
        let response = {
            let mut gateway = self.lock();
            if matches!(request.service, ServiceKind::WanCommonInterfaceConfig(_)) {
                gateway.set_traffic(self.wan.traffic());
                gateway.set_link(self.wan.link());
            }
            let response = gateway.carry_out(now, &invocation);
            self.note_errand(&mut gateway);
            response
        };
        self.changed.notify_one();
        response
    }
}

#[cfg(test)]
mod tests;
