//! Discovery: SSDP on every LAN interface, and only there.
//!
//! One task for each interface and [`Scope`]: it announces the gateway, answers searches of hosts in the
//! interface's own networks, and says goodbye at the end. Messages are made and read in
//! [`crate::wire::ssdp`].

mod queue;
mod socket;

use crate::{
    lan::LanAddress,
    shutdown::Shutdown,
    wire::ssdp::{Announcement, Scope, SearchRequest, Sender, announcements},
};
use queue::{Queue, Queued, Waiting};
use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    task::Poll,
    time::Duration,
};
use tokio::{
    io::ReadBuf,
    net::UdpSocket,
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

/// Longest datagram that is looked at, bytes. Searches are far shorter.
const DATAGRAM: usize = 2048;
/// After the goodbyes that precede the first announcement.
const PAUSE: Duration = Duration::from_millis(100);
/// Between announcements that say the same, since UDP may lose some.
const REPETITION: Duration = Duration::from_millis(300);
/// How often the first announcement is repeated (UPnP Device Architecture 1.1, 1.2.2: no more than three
/// times in all).
const REPETITIONS: u32 = 2;
/// After a failed receive, so that the failure does not spin.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

/// An address of the interface, and how the gateway is described there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address, and the network whose hosts may ask there.
    pub at: LanAddress,
    /// What is said to them.
    pub sender: Sender,
}

/// An endpoint with its socket.
#[derive(Debug)]
struct Voice {
    endpoint: Endpoint,
    socket: UdpSocket,
}

impl Voice {
    fn open(endpoint: Endpoint, scope: Scope) -> io::Result<Self> {
        let socket = socket::speaking(&endpoint.at, scope)?;
        Ok(Self { endpoint, socket })
    }
}

/// SSDP in one scope of one LAN interface.
#[derive(Debug)]
pub struct Responder {
    scope: Scope,
    /// Hears the group.
    hearing: UdpSocket,
    /// Announcements come from the first one, and lead to it.
    voices: Vec<Voice>,
    gateway: Uuid,
    announcements: Vec<Announcement>,
    interval: Duration,
    queue: Queue<Vec<Announcement>>,
}

impl Responder {
    /// Opens the sockets of an interface that has `endpoints` in `scope`, the primary first. Announces
    /// the gateway with this UUID every `interval`. Must run inside tokio.
    ///
    /// # Errors
    /// There is no endpoint, or a socket cannot be had.
    pub fn bind(
        scope: Scope,
        endpoints: Vec<Endpoint>,
        gateway: Uuid,
        interval: Duration,
    ) -> io::Result<Self> {
        let primary = endpoints.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let hearing = socket::hearing(&primary.at, scope)?;
        let open = |endpoint| Voice::open(endpoint, scope);
        Ok(Self {
            scope,
            hearing,
            voices: endpoints.into_iter().map(open).collect::<io::Result<_>>()?,
            gateway,
            announcements: announcements(gateway),
            interval,
            queue: Queue::new(),
        })
    }

    /// Announces and answers until `shutdown`, then says goodbye. Takes over what `endpoints` are later.
    pub async fn serve(
        mut self,
        mut endpoints: watch::Receiver<Vec<Endpoint>>,
        mut shutdown: Shutdown,
    ) {
        // Whoever remembers an earlier run of the gateway forgets it first (WANIPConnection:2, 2.3.23).
        self.say_goodbye().await;
        sleep(PAUSE).await;
        self.say(Sender::alive).await;
        let mut repetitions = REPETITIONS;
        let mut next = Instant::now() + REPETITION;
        let mut buffer = [0; DATAGRAM];
        loop {
            let due = self.queue.due();
            tokio::select! {
                () = shutdown.wait() => break,
                Ok(()) = endpoints.changed() => {
                    let latest = endpoints.borrow_and_update().clone();
                    self.change(latest).await;
                    self.say(Sender::alive).await;
                    repetitions = REPETITIONS;
                    next = Instant::now() + REPETITION;
                }
                () = sleep_until(next) => {
                    self.say(Sender::alive).await;
                    repetitions = repetitions.saturating_sub(1);
                    let pause = if repetitions > 0 { REPETITION } else { spread(self.interval) };
                    next = Instant::now() + pause;
                }
                () = sleep_until(due.unwrap_or(next)), if due.is_some() => self.answer().await,
                received = receive(&self.hearing, &self.voices, &mut buffer) => match received {
                    Ok((way, length, client)) => {
                        self.hear(way, client, buffer.get(..length).unwrap_or_default());
                    }
                    Err(error) => {
                        tracing::debug!(at = self.name(), "SSDP receive: {error}");
                        sleep(RECEIVE_PAUSE).await;
                    }
                },
            }
        }
        self.say_goodbye().await;
    }

    /// Takes over other endpoints. When their BOOTID is another, those who know us are told first that it
    /// is the same gateway all the same (UPnP Device Architecture 1.1, 1.2.4).
    async fn change(&mut self, endpoints: Vec<Endpoint>) {
        let mut before = std::mem::take(&mut self.voices);
        let old = before.first().map(|voice| voice.endpoint.sender.boot_id);
        for endpoint in endpoints {
            let known = before.iter().position(|voice| voice.endpoint.at == endpoint.at);
            let voice = match known {
                Some(index) => Ok(Voice { endpoint, ..before.swap_remove(index) }),
                None => Voice::open(endpoint, self.scope),
            };
            match voice {
                Ok(voice) => self.voices.push(voice),
                Err(error) => tracing::warn!(at = self.name(), "cannot serve SSDP: {error}"),
            }
        }
        let new = self.voices.first().map(|voice| voice.endpoint.sender.boot_id);
        if let Some(old) = old.filter(|_| old != new) {
            self.say(|sender, announcement| sender.update(announcement, old)).await;
        }
    }

    /// Takes a search in, if the datagram is one and its sender may ask.
    fn hear(&mut self, way: Way, client: SocketAddr, datagram: &[u8]) {
        let Ok(search) = SearchRequest::parse(datagram) else {
            return;
        };
        let wait = match (way, search.max_wait) {
            // UPnP Device Architecture 1.1, 1.3.3: it is answered within a second.
            (Way::Alone, _) => Duration::ZERO,
            (Way::Group, Some(seconds)) => Duration::from_secs(seconds.into()),
            // 1.3.3 again: without MX it is silently discarded.
            (Way::Group, None) => return,
        };
        let target = search.answers(self.gateway);
        if target.is_empty() {
            return;
        }
        if self.voice_for(client.ip()).is_none() || client.port() == 0 {
            tracing::debug!(at = self.name(), %client, "search from another network");
            return;
        }
        let waiting = Waiting { client, target };
        if self.queue.push(Instant::now(), wait, fastrand::f32(), waiting) == Queued::Full {
            tracing::debug!(at = self.name(), %client, "too many searches");
        }
    }

    /// Answers the searches that are due.
    async fn answer(&mut self) {
        while let Some(Waiting { client, target }) = self.queue.pop(Instant::now()) {
            let Some(voice) = self.voice_for(client.ip()) else {
                continue;
            };
            for announcement in &target {
                let message = voice.endpoint.sender.search_response(announcement);
                self.send(&voice.socket, &message, client).await;
            }
        }
    }

    /// Says something of everything to the group, from the primary address.
    async fn say(&self, message: impl Fn(&Sender, &Announcement) -> Vec<u8>) {
        let Some(Voice { endpoint, socket }) = self.voices.first() else {
            return;
        };
        for announcement in &self.announcements {
            let message = message(&endpoint.sender, announcement);
            self.send(socket, &message, self.scope.group()).await;
        }
    }

    /// Twice, since UDP may lose either.
    async fn say_goodbye(&self) {
        for _ in 0..2 {
            self.say(Sender::byebye).await;
        }
    }

    async fn send(&self, socket: &UdpSocket, message: &[u8], to: SocketAddr) {
        if let Err(error) = socket.send_to(message, to).await {
            tracing::debug!(at = self.name(), %to, "SSDP send: {error}");
        }
    }

    /// The voice in whose network `host` lies.
    fn voice_for(&self, host: IpAddr) -> Option<&Voice> {
        self.voices.iter().find(|voice| voice.endpoint.at.subnet.reaches(host))
    }

    fn name(&self) -> String {
        self.voices.first().map(|voice| voice.endpoint.at.to_string()).unwrap_or_default()
    }
}

/// How a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To the group.
    Group,
    /// To this address.
    Alone,
}

/// The next datagram of any of the sockets: how it came, its length and its sender.
async fn receive(
    hearing: &UdpSocket,
    voices: &[Voice],
    buffer: &mut [u8],
) -> io::Result<(Way, usize, SocketAddr)> {
    let alone = voices.iter().map(|voice| (Way::Alone, &voice.socket));
    let sockets: Vec<_> = alone.chain([(Way::Group, hearing)]).collect();
    poll_fn(|context| {
        for (way, socket) in &sockets {
            let mut buffer = ReadBuf::new(buffer);
            if let Poll::Ready(received) = socket.poll_recv_from(context, &mut buffer) {
                return Poll::Ready(received.map(|from| (*way, buffer.filled().len(), from)));
            }
        }
        Poll::Pending
    })
    .await
}

/// Somewhat less than `interval`, so that the devices of a network do not speak in step.
fn spread(interval: Duration) -> Duration {
    interval.mul_f32(0.9 + 0.1 * fastrand::f32())
}

#[cfg(test)]
mod tests;
