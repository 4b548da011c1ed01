//! The gateway as HTTP and the clock share it.

use super::{
    epochs::Epochs, identity::Identity, keeper::Keeper, resolve::Resolver, upstream::Upstream,
    wan::WanSource,
};
use crate::{
    gena::{Hub, Subscriber},
    http::{Place, Site},
    igd::{
        ControlRequest, ControlResponse, Gateway, Invocation, MappingView, ServiceKind,
        connection::Errand,
    },
    mapping::{PacketPath, PortMapping},
    metrics::{self, Limit},
    pcp::{self, AddressChange},
    policy::{Explanation, Question, RequestRate},
    shutdown::Shutdown,
    upstream::Seen,
    wire::gena::{EventError, Granted, SubscribeRequest},
};
use hyper::body::Bytes;
use nat_common::{BootTime, Protocol};
use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use uuid::Uuid;

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
    keeper: Keeper,
    rate: Mutex<RequestRate>,
    /// Who is told of changes.
    events: Hub<ServiceKind>,
    /// The server of PCP and NAT-PMP. Locked after the gateway.
    pcp: Mutex<pcp::Server>,
    epochs: Epochs,
    /// The NAT upstream, where one is configured. Locked after the gateway.
    upstream: Option<Upstream>,
    /// What a STUN server sees; `None` where none is asked.
    seen: Mutex<Option<Seen>>,
    /// Counts what all its clients are told.
    news: watch::Sender<u64>,
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
            keeper: Keeper::none(),
            rate: Mutex::default(),
            events: Hub::new(clock),
            pcp: Mutex::new(pcp::Server::new(pcp::Settings::default(), pcp::Epoch::new(clock()))),
            epochs: Epochs::none(),
            upstream: None,
            seen: Mutex::default(),
            news: watch::Sender::new(0),
        }
    }

    /// The same, with its server of PCP and where that one's epoch is kept.
    ///
    /// `sessions`: those of a former daemon are there.
    pub(super) fn controlled(
        self,
        settings: pcp::Settings,
        epochs: Epochs,
        sessions: bool,
    ) -> Self {
        let epoch = epochs.begin((self.clock)(), self.keeper.is_lossless(), sessions);
        Self { pcp: Mutex::new(pcp::Server::new(settings, epoch)), epochs, ..self }
    }

    /// The same, beneath another NAT.
    pub(super) fn beneath(self, upstream: Option<Upstream>) -> Self {
        Self { upstream, ..self }
    }

    /// The NAT upstream.
    pub(super) fn upstream(&self) -> Option<&Upstream> {
        self.upstream.as_ref()
    }

    /// What a STUN server sees; `None` where none is asked.
    pub(super) const fn seen(&self) -> &Mutex<Option<Seen>> {
        &self.seen
    }

    /// Has the NAT upstream know what has changed.
    fn relay(&self, now: BootTime, gateway: &mut Gateway<P>) {
        if let Some(upstream) = &self.upstream {
            upstream.follow(now, gateway);
        }
    }

    /// The clock.
    pub(super) const fn clock(&self) -> fn() -> BootTime {
        self.clock
    }

    /// Epoch Time of PCP and NAT-PMP.
    pub(super) fn epoch(&self) -> u32 {
        lock(&self.pcp).epoch().seconds((self.clock)())
    }

    /// Has the server of PCP know the external address, and its clients when it is another one.
    fn note_address(&self, now: BootTime, gateway: &mut Gateway<P>) {
        let mut server = lock(&self.pcp);
        let change = server.look_at_address(now, gateway);
        if change == AddressChange::None {
            return;
        }
        if change == AddressChange::Reset {
            tracing::info!("the external address is another one: clients of PCP are told");
        }
        self.epochs.keep(now, server.epoch());
        self.news.send_modify(|news| *news = news.wrapping_add(1));
    }

    /// The same, with what keeps its mappings.
    pub(super) fn kept_by(self, keeper: Keeper) -> Self {
        Self { keeper, ..self }
    }

    /// What keeps its mappings.
    pub(super) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// How many requests a client may send from now on.
    pub(super) fn limit_requests(&self, rate: RequestRate) {
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner) = rate;
    }

    /// Changes the gateway past the policy, for the operator, and has that kept.
    pub(super) fn change<T>(&self, change: impl FnOnce(BootTime, &mut Gateway<P>) -> T) -> T {
        let now = (self.clock)();
        let mut gateway = self.lock();
        let result = change(now, &mut gateway);
        self.relay(now, &mut gateway);
        self.keeper.keep(&mut gateway);
        self.publish(now, &gateway);
        drop(gateway);
        self.changed.notify_one();
        result
    }

    /// Gives the store the whole table whenever it wants it.
    pub(super) async fn feed_store(&self, mut shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.wait() => return,
                () = self.keeper.wanted() => self.keeper.begin(&mut self.lock()),
            }
        }
    }

    /// Who is told of changes.
    pub(super) fn events(&self) -> &Hub<ServiceKind> {
        &self.events
    }

    /// Port mappings in force.
    pub(super) fn mappings(&self) -> Vec<MappingView> {
        let now = (self.clock)();
        self.lock().mappings(now).collect()
    }

    /// Shows every mapping, oldest first.
    pub(super) fn each_mapping(&self, each: impl FnMut(&PortMapping)) {
        self.lock().table().iter().for_each(each);
    }

    /// How many sessions clients hold by PCP's PEER.
    pub(super) fn peers(&self) -> [(Protocol, usize); 2] {
        let gateway = self.lock();
        [Protocol::Tcp, Protocol::Udp].map(|protocol| {
            (protocol, gateway.peers().iter().filter(|peer| peer.key.protocol == protocol).count())
        })
    }

    /// What the policy says to a question.
    pub(super) fn explain(&self, question: &Question) -> Explanation {
        self.lock().policy().explain(question)
    }

    /// Takes mappings away as their leases end, until `shutdown`. The packet path lets nothing in
    /// after a lease's end even when this is late.
    ///
    /// `network` tells when addresses or links have changed, which subscribers are then told, too.
    pub(super) async fn expire(&self, mut network: watch::Receiver<()>, mut shutdown: Shutdown) {
        loop {
            network.mark_unchanged();
            let until_next = self.expire_once();
            tokio::select! {
                () = shutdown.wait() => return,
                () = sleep(until_next.min(LONGEST_SLEEP)) => {}
                () = self.changed.notified() => {}
                Ok(()) = network.changed() => {}
            }
        }
    }

    /// Takes away what has ended, notes whether there is a connection; returns the time until the next lease does.
    fn expire_once(&self) -> Duration {
        let now = (self.clock)();
        let mut gateway = self.lock();
        gateway.refresh(now);
        gateway.expire(now);
        self.keeper.retry(now, &mut gateway);
        self.relay(now, &mut gateway);
        self.note_address(now, &mut gateway);
        self.note_errand(&mut gateway);
        self.keeper.keep(&mut gateway);
        self.publish(now, &gateway);
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

    /// Tells subscribers what has changed.
    fn publish(&self, now: BootTime, gateway: &Gateway<P>) {
        self.events.publish(ServiceKind::ALL, |service| gateway.evented(now, service));
    }

    /// Never held across an await: calls on the gateway do not wait for anything.
    fn lock(&self) -> MutexGuard<'_, Gateway<P>> {
        self.gateway.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<P: PacketPath + Send + 'static> pcp::Site for Shared<P> {
    fn admits(&self, client: Ipv4Addr) -> bool {
        let admitted = lock(&self.rate).admits((self.clock)(), client.into());
        if !admitted {
            metrics::hit(Limit::RequestRate);
        }
        admitted
    }

    async fn answer(&self, requests: &[(Ipv4Addr, Vec<u8>)]) -> Vec<Option<Vec<u8>>> {
        let now = (self.clock)();
        let answers = self
            .relayed(requests, |gateway| {
                self.note_address(now, gateway);
                let server = *lock(&self.pcp);
                let answer = |(client, datagram): &(Ipv4Addr, Vec<u8>)| {
                    server.answer(now, gateway, *client, datagram)
                };
                let answers = requests.iter().map(answer).collect();
                let over = gateway.peers().last_deadline();
                self.epochs.note_peers(now, server.epoch(), over);
                answers
            })
            .await;
        self.keeper.settle().await;
        answers
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn announcements(&self) -> Vec<Vec<u8>> {
        let now = (self.clock)();
        let mut gateway = self.lock();
        lock(&self.pcp).announcements(now, &mut gateway)
    }

    fn updates(&self) -> Vec<(Ipv4Addr, Vec<u8>)> {
        let now = (self.clock)();
        let mut gateway = self.lock();
        lock(&self.pcp).updates(now, &mut gateway)
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
        let now = (self.clock)();
        let admitted = {
            let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
            rate.admits(now, request.peer.into())
        };
        if !admitted {
            metrics::hit(Limit::RequestRate);
            return ControlResponse::too_many_requests();
        }
        let mut invocation = match Invocation::read(request) {
            Ok(invocation) => invocation,
            Err(response) => return response,
        };
        for name in invocation.host_names() {
            if let Some(address) = self.resolver.resolve(&name).await {
                invocation.resolved(&name, address);
            }
        }
        // Resolving takes time.
        let now = (self.clock)();
        let (done, wait) = {
            let mut gateway = self.lock();
            if matches!(request.service, ServiceKind::WanCommonInterfaceConfig(_)) {
                gateway.set_traffic(self.wan.traffic());
                gateway.set_link(self.wan.link());
            }
            let done = gateway.act(now, &invocation);
            let wait = self.upstream.as_ref().and_then(|it| it.begin(now, &mut gateway));
            self.note_errand(&mut gateway);
            self.keeper.keep(&mut gateway);
            self.publish(now, &gateway);
            (done, wait)
        };
        self.changed.notify_one();
        self.keeper.settle().await;
        match wait {
            None => invocation.respond(done),
            Some(wait) => invocation.respond(self.settled(&invocation, done, wait).await),
        }
    }

    fn subscribe(
        &self,
        service: ServiceKind,
        who: Subscriber,
        request: SubscribeRequest,
    ) -> Result<Granted, EventError> {
        let now = (self.clock)();
        // Held meanwhile, so that no change comes between the first event and the subscription.
        let mut gateway = self.lock();
        gateway.refresh(now);
        gateway.expire(now);
        let values = || gateway.evented(now, service);
        self.events.subscribe(service, who, request, values)
    }

    fn unsubscribe(
        &self,
        service: ServiceKind,
        who: &Subscriber,
        sid: Uuid,
    ) -> Result<(), EventError> {
        self.events.unsubscribe(service, who, sid)
    }
}

#[cfg(test)]
mod tests;
