//! Discovery: SSDP on every LAN interface, and only there.
//!
//! One task per interface: it announces the gateway, answers searches of hosts in the interface's
//! own networks, and says goodbye at the end. Messages are made and read in [`crate::wire::ssdp`].

mod queue;
mod socket;
mod subnet;

pub use subnet::Subnet;

use crate::{
    shutdown::Shutdown,
    wire::ssdp::{Announcement, GROUP, SearchRequest, Sender, announcements},
};
use queue::{Queue, Queued, Waiting};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

/// Longest datagram that is looked at, bytes. Searches are far shorter.
const DATAGRAM: usize = 2048;
/// After the goodbyes that precede the first announcement.
const PAUSE: Duration = Duration::from_millis(100);
/// Between the first announcement and its repetition, since UDP may lose either.
const REPETITION: Duration = Duration::from_millis(300);
/// After a failed receive, so that the failure does not spin.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

/// An address of the interface, and where the gateway is described there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The address, and the network whose hosts may ask there.
    pub subnet: Subnet,
    /// What is said to them.
    pub sender: Sender,
}

/// SSDP on one LAN interface.
#[derive(Debug)]
pub struct Responder {
    interface: String,
    socket: UdpSocket,
    /// The address that announcements come from and lead to.
    primary: Endpoint,
    endpoints: Vec<Endpoint>,
    root: Uuid,
    announcements: Vec<Announcement>,
    interval: Duration,
    queue: Queue<Vec<Announcement>>,
}

impl Responder {
    /// Opens the socket of `interface`, which has `endpoints`, the primary address first. Announces
    /// the gateway whose root device is `root` every `interval`. Must run inside tokio.
    ///
    /// # Errors
    /// There is no endpoint, or the socket cannot be had.
    pub fn bind(
        interface: &str,
        endpoints: Vec<Endpoint>,
        root: Uuid,
        interval: Duration,
    ) -> io::Result<Self> {
        let primary = endpoints.first().cloned().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = socket::bind(interface, primary.subnet.address)?;
        Ok(Self {
            interface: interface.to_owned(),
            socket,
            primary,
            endpoints,
            root,
            announcements: announcements(root),
            interval,
            queue: Queue::new(),
        })
    }

    /// Announces and answers until `shutdown`, then says goodbye.
    pub async fn serve(mut self, mut shutdown: Shutdown) {
        // Whoever remembers an earlier run of the gateway forgets it first.
        self.say_goodbye().await;
        sleep(PAUSE).await;
        self.announce().await;
        let mut next = Instant::now() + REPETITION;
        let mut buffer = [0; DATAGRAM];
        loop {
            let due = self.queue.due();
            tokio::select! {
                () = shutdown.wait() => break,
                () = sleep_until(next) => {
                    self.announce().await;
                    next = Instant::now() + spread(self.interval);
                }
                () = sleep_until(due.unwrap_or(next)), if due.is_some() => self.answer().await,
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((length, SocketAddr::V4(client))) => {
                        self.hear(client, buffer.get(..length).unwrap_or_default());
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(interface = self.interface, "SSDP receive: {error}");
                        sleep(RECEIVE_PAUSE).await;
                    }
                },
            }
        }
        self.say_goodbye().await;
    }

    /// Takes a search in, if the datagram is one and its sender may ask.
    fn hear(&mut self, client: SocketAddrV4, datagram: &[u8]) {
        let Ok(search) = SearchRequest::parse(datagram) else {
            return;
        };
        let target = search.answers(self.root);
        if target.is_empty() {
            return;
        }
        if endpoint_for(&self.endpoints, *client.ip()).is_none() || client.port() == 0 {
            tracing::debug!(interface = self.interface, %client, "search from another network");
            return;
        }
        // A search without MX was sent to this address alone, and is answered at once.
        let mx = Duration::from_secs(search.max_wait.unwrap_or(0).into());
        let waiting = Waiting { client, target };
        if self.queue.push(Instant::now(), mx, fastrand::f32(), waiting) == Queued::Full {
            tracing::debug!(interface = self.interface, %client, "too many searches");
        }
    }

    /// Answers the searches that are due.
    async fn answer(&mut self) {
        while let Some(Waiting { client, target }) = self.queue.pop(Instant::now()) {
            let Some(endpoint) = endpoint_for(&self.endpoints, *client.ip()) else {
                continue;
            };
            for announcement in &target {
                self.send(&endpoint.sender.search_response(announcement), client).await;
            }
        }
    }

    async fn announce(&self) {
        for announcement in &self.announcements {
            self.send(&self.primary.sender.alive(announcement), GROUP).await;
        }
    }

    /// Twice, since UDP may lose either.
    async fn say_goodbye(&self) {
        for _ in 0..2 {
            for announcement in &self.announcements {
                self.send(&self.primary.sender.byebye(announcement), GROUP).await;
            }
        }
    }

    async fn send(&self, message: &[u8], to: SocketAddrV4) {
        if let Err(error) = self.socket.send_to(message, SocketAddr::V4(to)).await {
            tracing::debug!(interface = self.interface, %to, "SSDP send: {error}");
        }
    }
}

/// The endpoint in whose network `host` lies.
fn endpoint_for(endpoints: &[Endpoint], host: Ipv4Addr) -> Option<&Endpoint> {
    endpoints.iter().find(|endpoint| endpoint.subnet.reaches(host))
}

/// Somewhat less than `interval`, so that the devices of a network do not speak in step.
fn spread(interval: Duration) -> Duration {
    interval.mul_f32(0.9 + 0.1 * fastrand::f32())
}

#[cfg(test)]
mod tests;
