//! A steady stream of numbered datagrams, to an end that sends each of them back.

use crate::lab::{Namespace, Receiver};
use anyhow::{Result, ensure};
use std::fmt;
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two datagrams, unless said otherwise.
pub const PACE: Duration = Duration::from_millis(5);

/// How long after the last datagram its return is waited for.
const LAST_RETURN: Duration = Duration::from_secs(1);

/// The number of a datagram, from its first eight bytes.
fn number(datagram: &[u8]) -> Option<usize> {
    let bytes = datagram.get(..8)?.try_into().ok()?;
    usize::try_from(u64::from_be_bytes(bytes)).ok()
}

/// When each datagram passed a place.
#[derive(Clone, Debug, Default)]
struct Passage(Arc<Mutex<Vec<Option<Instant>>>>);

impl Passage {
    fn lock(&self) -> MutexGuard<'_, Vec<Option<Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a datagram; false when it has passed before.
    fn note(&self, number: usize) -> bool {
        let mut times = self.lock();
        if times.len() <= number {
            times.resize(number + 1, None);
        }
        match times.get_mut(number) {
            Some(time) if time.is_none() => {
                *time = Some(Instant::now());
                true
            }
            _ => false,
        }
    }

    fn count(&self) -> usize {
        self.lock().iter().flatten().count()
    }
}

/// The far end: returns numbered datagrams to whoever sent them, and counts them.
#[derive(Debug)]
pub struct Echo {
    seen: Passage,
    doubles: Arc<AtomicUsize>,
    _receiver: Receiver,
}

impl Echo {
    /// Starts on `address` in `namespace`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(namespace: &Namespace, address: SocketAddrV4) -> Result<Self> {
        let seen = Passage::default();
        let doubles = Arc::new(AtomicUsize::new(0));
        let (passage, twice) = (seen.clone(), Arc::clone(&doubles));
        let socket = namespace.udp(&address.to_string())?;
        let receiver = Receiver::start(socket, move |socket, datagram, from| {
            if let Some(number) = number(datagram) {
                if !passage.note(number) {
                    twice.fetch_add(1, Ordering::Relaxed);
                }
                // Whoever has gone away needs no answer.
                let _ = socket.send_to(datagram, from);
            }
        })?;
        Ok(Self { seen, doubles, _receiver: receiver })
    }

    /// How many different datagrams have arrived.
    pub fn arrived(&self) -> usize {
        self.seen.count()
    }

    /// How many arrived again.
    pub fn doubles(&self) -> usize {
        self.doubles.load(Ordering::Relaxed)
    }
}

/// The near end: sends and takes the returns until it is finished or dropped.
#[derive(Debug)]
pub struct Stream {
    sent: Passage,
    returned: Passage,
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
    _receiver: Receiver,
}

impl Stream {
    /// Starts to send from a socket to an [`Echo`], one datagram every `pace`.
    ///
    /// # Errors
    /// When the socket cannot be used by two threads.
    pub fn start(socket: UdpSocket, to: SocketAddrV4, pace: Duration) -> Result<Self> {
        let (sent, returned) = (Passage::default(), Passage::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (sending, stopped) = (socket.try_clone()?, Arc::clone(&stop));
        let sent_here = sent.clone();
        let sender = std::thread::spawn(move || {
            for next in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let mut datagram = [0; 64];
                let number = u64::try_from(next).unwrap_or(u64::MAX);
                datagram[..8].copy_from_slice(&number.to_be_bytes());
                sent_here.note(next);
                // One that cannot even be sent is lost. On a busy machine there are fewer, and no bursts
                // that catch up.
                let _ = sending.send_to(&datagram, to);
                std::thread::sleep(pace);
            }
        });
        let passage = returned.clone();
        let receiver = Receiver::start(socket, move |_, datagram, _| {
            if let Some(number) = number(datagram) {
                passage.note(number);
            }
        })?;
        Ok(Self { sent, returned, stop, sender: Some(sender), _receiver: receiver })
    }

    /// How many have been sent so far.
    pub fn sent(&self) -> usize {
        self.sent.count()
    }

    /// Waits until `more` datagrams that are sent from now on have come back.
    ///
    /// # Errors
    /// When they do not within `timeout`.
    pub fn flows(&self, more: usize, timeout: Duration) -> Result<()> {
        let from = self.sent();
        crate::lab::wait_until("datagrams that come back", timeout, || {
            Ok(self.returned.lock().iter().skip(from).flatten().count() >= more)
        })
    }

    /// Stops sending, and tells what became of the datagrams once the last had time to come back.
    ///
    /// # Errors
    /// When the sending thread has failed.
    pub fn finish(mut self) -> Result<Journey> {
        self.stop();
        let deadline = Instant::now() + LAST_RETURN;
        while self.returned.count() < self.sent() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let returned = self.returned.lock().clone();
        let sent: Vec<Instant> = self.sent.lock().iter().flatten().copied().collect();
        ensure!(!sent.is_empty(), "nothing could be sent");
        Ok(Journey { sent, returned })
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What became of a stream.
#[derive(Clone)]
pub struct Journey {
    sent: Vec<Instant>,
    returned: Vec<Option<Instant>>,
}

impl Journey {
    /// How many datagrams were sent.
    pub fn sent(&self) -> usize {
        self.sent.len()
    }

    /// How many came back.
    pub fn returned(&self) -> usize {
        self.returned.iter().flatten().count()
    }

    /// The longest time without a way: from the sending of a lost datagram to that of the next one that
    /// came back.
    pub fn outage(&self) -> Duration {
        let (mut longest, mut lost_since) = (Duration::ZERO, None);
        let returned = self.returned.iter().copied().chain(std::iter::repeat(None));
        for (sent, back) in self.sent.iter().zip(returned) {
            let since = *lost_since.get_or_insert(*sent);
            longest = longest.max(sent.saturating_duration_since(since));
            if back.is_some() {
                lost_since = None;
            }
        }
        longest
    }
}

impl fmt::Debug for Journey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, returned) = (self.sent(), self.returned());
        write!(f, "{returned} of {sent} came back, longest outage {:?}", self.outage())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_from_a_lost_datagram_to_the_next_good_one() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let sent: Vec<Instant> = (0..6).map(|number| at(10 * number)).collect();
        let back = |good: bool| good.then(|| at(100));
        let journey = |good: [bool; 6]| Journey {
            sent: sent.clone(),
            returned: good.into_iter().map(back).collect(),
        };
        let outage = |good| journey(good).outage().as_millis();
        assert_eq!(outage([true; 6]), 0);
        assert_eq!(outage([true, false, false, true, true, true]), 20);
        assert_eq!(outage([true, true, false, false, false, false]), 30);
        assert_eq!(journey([true, false, true, true, false, true]).returned(), 4);
    }
}
