//! A subscriber to events (GENA), and the requests of one.

use super::http::{self, Response};
use crate::lab::{Namespace, StoppableThread};
use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A message to a subscriber.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its first line.
    pub start: String,
    /// Header fields, names as they came.
    pub headers: Vec<(String, String)>,
    /// The evented variables, in the order of the body.
    pub values: Vec<(String, String)>,
    /// From which address it came.
    pub peer: std::net::IpAddr,
}

impl Event {
    /// The header field of that name, in the case that the gateway writes.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of a variable.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// SEQ.
    pub fn seq(&self) -> Option<u32> {
        self.header("SEQ")?.parse().ok()
    }

    fn parse(text: &str, peer: std::net::IpAddr) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_owned();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let event = Self { start, headers, values: values(body), peer };
        let length: usize = event.header("CONTENT-LENGTH")?.parse().ok()?;
        (body.len() >= length).then_some(event)
    }
}

/// The properties of a body whose values hold no elements.
fn values(body: &str) -> Vec<(String, String)> {
    let properties = body.split("<e:property>").skip(1);
    properties
        .filter_map(|property| {
            let (name, rest) = property.strip_prefix('<')?.split_once('>')?;
            let (value, _) = rest.split_once(&format!("</{name}>"))?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect()
}

#[derive(Debug, Default)]
struct Shared {
    events: Mutex<Vec<Event>>,
    arrived: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a subscriber does with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Answers with this status.
    Answers(u16),
    /// Takes it and says nothing.
    Silent,
}

/// A subscriber: listens for events, and keeps them.
#[derive(Debug)]
pub struct Subscriber {
    shared: Arc<Shared>,
    /// Its delivery URL.
    pub url: String,
    _thread: StoppableThread,
}

impl Subscriber {
    /// Listens at `address` (port 0: any) and answers politely.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(namespace: &Namespace, address: &str) -> Result<Self> {
        Self::with_manner(namespace, address, Manner::Answers(200))
    }

    /// Listens at `address` (port 0: any).
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn with_manner(namespace: &Namespace, address: &str, manner: Manner) -> Result<Self> {
        let listener = namespace.tcp_listener(address)?;
        let url = format!("http://{}/events", listener.local_addr()?);
        let shared = Arc::new(Shared::default());
        let sink = Arc::clone(&shared);
        let thread = StoppableThread::spawn(move |stop| {
            // Those who wait for an answer in vain keep their connection.
            let mut kept = Vec::new();
            while stop.wait_readable(&listener) {
                let Ok((stream, from)) = listener.accept() else { continue };
                if let Some((stream, event)) = take(stream, from.ip(), manner) {
                    kept.extend((manner == Manner::Silent).then_some(stream));
                    sink.lock().push(event);
                    sink.arrived.notify_all();
                }
            }
        })?;
        Ok(Self { shared, url, _thread: thread })
    }

    /// The events so far.
    pub fn events(&self) -> Vec<Event> {
        self.shared.lock().clone()
    }

    /// Waits until the events so far are what `enough` wants, and returns them.
    ///
    /// # Errors
    /// When they are not within `timeout`.
    pub fn wait_until(
        &self,
        what: &str,
        timeout: Duration,
        enough: impl Fn(&[Event]) -> bool,
    ) -> Result<Vec<Event>> {
        let deadline = Instant::now() + timeout;
        let mut events = self.shared.lock();
        while !enough(&events) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{what}: not within {timeout:?}; there were {:#?}", *events);
            }
            let waited = self.shared.arrived.wait_timeout(events, left);
            events = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(events.clone())
    }

    /// Waits for an event that tells this value, from the first on.
    ///
    /// # Errors
    /// As [`Self::wait_until`].
    pub fn wait_for(&self, name: &str, value: &str, timeout: Duration) -> Result<Event> {
        let tells = |event: &Event| event.value(name) == Some(value);
        let what = format!("an event with {name} = {value}");
        let events = self.wait_until(&what, timeout, |events| events.iter().any(tells))?;
        events.into_iter().find(tells).context("it was there")
    }

    /// The value of a variable as the events so far tell it.
    pub fn latest(&self, name: &str) -> Option<String> {
        let events = self.shared.lock();
        events.iter().rev().find_map(|event| event.value(name)).map(str::to_owned)
    }
}

/// Reads an event and answers it.
fn take(
    mut stream: TcpStream,
    peer: std::net::IpAddr,
    manner: Manner,
) -> Option<(TcpStream, Event)> {
    stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    let mut text = String::new();
    let mut buffer = [0; 4096];
    let event = loop {
        if let Some(event) = Event::parse(&text, peer) {
            break event;
        }
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        text.push_str(&String::from_utf8_lossy(buffer.get(..length)?));
    };
    if let Manner::Answers(status) = manner {
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).ok()?;
    }
    Some((stream, event))
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// SID.
    pub sid: String,
    /// Seconds.
    pub timeout: u32,
}

/// Sends a request about events with these header lines.
///
/// # Errors
/// When the exchange fails.
pub fn request(
    from: &Namespace,
    server: SocketAddrV4,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Response> {
    let lines: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHOST: {server}\r\n{lines}Content-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
    http::exchange(from, server, request.as_bytes())
}

/// Subscribes.
///
/// # Errors
/// When the gateway does not grant it.
pub fn subscribe(
    from: &Namespace,
    server: SocketAddrV4,
    path: &str,
    url: &str,
) -> Result<Subscription> {
    let callback = format!("<{url}>");
    let headers =
        [("CALLBACK", callback.as_str()), ("NT", "upnp:event"), ("TIMEOUT", "Second-1800")];
    granted(&request(from, server, "SUBSCRIBE", path, &headers)?)
}

/// Reads what SUBSCRIBE was answered.
///
/// # Errors
/// When it is no grant.
pub fn granted(response: &Response) -> Result<Subscription> {
    ensure!(response.status == 200, "SUBSCRIBE: {response:?}");
    let header = |name| response.header(name).with_context(|| format!("no {name}: {response:?}"));
    let timeout = header("timeout")?.strip_prefix("Second-").context("TIMEOUT")?.parse()?;
    Ok(Subscription { sid: header("sid")?.to_owned(), timeout })
}
