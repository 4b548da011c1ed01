//! The file, and the thread that writes it.

use super::journal::Event;
use nat_common::{BootTime, Protocol};
use serde::Serialize;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Events that may wait for a slow disk. More are lost, with a warning.
const WAITING: usize = 65_536;

/// IANA's numbers of NAT events (RFC 8158, section 5.1): "NAT44 BIB create" and "NAT44 BIB delete".
const BEGIN: u8 = 8;
const END: u8 = 9;

/// A line of the file, by the names of the information elements.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    /// Since 1970, UTC.
    observation_time_milliseconds: u64,
    nat_event: u8,
    protocol_identifier: u8,
    #[serde(rename = "sourceIPv4Address")]
    source_ipv4_address: Ipv4Addr,
    /// Of a ping: its identifier.
    source_transport_port: u16,
    #[serde(rename = "postNATSourceIPv4Address")]
    post_nat_source_ipv4_address: Ipv4Addr,
    #[serde(rename = "postNAPTSourceTransportPort")]
    post_napt_source_transport_port: u16,
}

impl Line {
    /// `event`, told at the boot time `now`, which is the time `clock`.
    fn new(event: &Event, now: BootTime, clock: SystemTime) -> Self {
        let age = Duration::from_nanos(now.nanos_from(event.at));
        let at = clock.checked_sub(age).unwrap_or(clock).duration_since(UNIX_EPOCH);
        let (post_nat_source_ipv4_address, post_napt_source_transport_port) = event.external;
        Self {
            observation_time_milliseconds: at
                .map_or(0, |at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX)),
            nat_event: if event.begins { BEGIN } else { END },
            protocol_identifier: match event.protocol {
                Protocol::Icmp => 1,
                Protocol::Tcp => 6,
                Protocol::Udp => 17,
            },
            source_ipv4_address: event.internal.addr.into(),
            source_transport_port: event.internal.port.get(),
            post_nat_source_ipv4_address,
            post_napt_source_transport_port,
        }
    }
}

/// The file. What was given to it is written when it is dropped.
#[derive(Debug)]
pub(super) struct File {
    lines: Option<SyncSender<Line>>,
    writer: Option<JoinHandle<()>>,
}

impl File {
    /// Appends to the file at `path`, which is made if there is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut output = Output { path: path.to_owned(), file: None, failing: false };
        output.reopen()?;
        let (lines, waiting) = sync_channel(WAITING);
        let writer = thread::Builder::new()
            .name("mapping-log".to_owned())
            .spawn(move || write(&waiting, &mut output))?;
        Ok(Self { lines: Some(lines), writer: Some(writer) })
    }

    /// Has an event written, at the boot time `now`. Never waits.
    pub(super) fn write(&self, event: Event, now: BootTime) {
        let line = Line::new(&event, now, SystemTime::now());
        let Some(lines) = &self.lines else { return };
        if let Err(TrySendError::Full(line)) = lines.try_send(line) {
            tracing::warn!(?line, "the log of mappings cannot keep up: a line is lost");
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Writes what comes until nobody can send any more: what has come meanwhile by one call.
fn write(waiting: &Receiver<Line>, output: &mut Output) {
    while let Ok(line) = waiting.recv() {
        let mut text = Vec::new();
        for line in [line].into_iter().chain(waiting.try_iter().take(WAITING)) {
            // Numbers and addresses: nothing in it can fail, and memory is always room.
            let _ = serde_json::to_writer(&mut text, &line);
            text.push(b'\n');
        }
        output.append(&text);
    }
}

#[derive(Debug)]
struct Output {
    path: PathBuf,
    file: Option<fs::File>,
    failing: bool,
}

impl Output {
    fn append(&mut self, text: &[u8]) {
        let written = self.reopen().and_then(|file| file.write_all(text));
        match written {
            Ok(()) if self.failing => {
                tracing::info!("the log of mappings is written again");
                self.failing = false;
            }
            Ok(()) => {}
            Err(error) if !self.failing => {
                let path = self.path.display();
                tracing::error!("the log of mappings cannot be written to {path}: {error}");
                self.failing = true;
            }
            Err(_) => {}
        }
    }

    /// The file at the path, which is another one after it was rotated.
    fn reopen(&mut self) -> io::Result<&mut fs::File> {
        let is_there = |file: &fs::File| {
            let (Ok(open), Ok(there)) = (file.metadata(), fs::metadata(&self.path)) else {
                return false;
            };
            (open.dev(), open.ino()) == (there.dev(), there.ino())
        };
        let file = match self.file.take() {
            Some(file) if is_there(&file) => file,
            _ => OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)?,
        };
        Ok(self.file.insert(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nat_common::ports::Endpoint;
    use nat_common::time::NANOS_PER_SEC;
    use nat_common::{NetAddr, NetPort};

    const EVENT: Event = Event {
        at: BootTime(5 * NANOS_PER_SEC),
        begins: true,
        protocol: Protocol::Udp,
        internal: Endpoint {
            addr: NetAddr::from_octets([192, 168, 77, 2]),
            port: NetPort::new(5_000),
        },
        external: (Ipv4Addr::new(11, 22, 33, 1), 1_024),
    };

    #[test]
    fn a_line_has_the_information_elements_of_rfc_8158() {
        let clock = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let line = Line::new(&EVENT, BootTime(7 * NANOS_PER_SEC), clock);
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            "{\"observationTimeMilliseconds\":1699999998000,\"natEvent\":8,\
             \"protocolIdentifier\":17,\"sourceIPv4Address\":\"192.168.77.2\",\
             \"sourceTransportPort\":5000,\"postNATSourceIPv4Address\":\"11.22.33.1\",\
             \"postNAPTSourceTransportPort\":1024}"
        );
    }

    #[test]
    fn a_file_that_was_rotated_is_followed_by_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mappings");
        let mut output = Output { path: path.clone(), file: None, failing: false };
        output.append(b"one\n");
        fs::rename(&path, folder.path().join("mappings.1")).unwrap();
        output.append(b"two\n");
        assert_eq!(fs::read(&path).unwrap(), b"two\n");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        output.append(b"lost\n");
        fs::remove_dir(&path).unwrap();
        output.append(b"three\n");
        assert_eq!(fs::read(&path).unwrap(), b"three\n");
    }

    #[test]
    fn what_was_given_to_the_file_is_written_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mappings");
        let file = File::open(&path).unwrap();
        for _ in 0..1_000 {
            file.write(EVENT, EVENT.at);
        }
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1_000);
    }
}
