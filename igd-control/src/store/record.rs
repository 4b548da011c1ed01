//! How mappings are written down: JSON, a checksum before it where nothing else guards it.

use super::Moment;
use crate::mapping::{Change, MappingKey, MappingRequest, Origin, Remembered, RemoteFilter};
use crate::policy::Transport;
use crate::wire::pcp::Nonce;
use nat_common::{BootTime, Protocol};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddrV4};

/// A mapping's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Key {
    protocol: Transport,
    external_port: u16,
    remote_host: Option<Ipv4Addr>,
}

/// A mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Row {
    key: Key,
    internal: SocketAddrV4,
    enabled: bool,
    description: String,
    /// Nanoseconds of `CLOCK_BOOTTIME`; none for what stays.
    deadline: Option<u64>,
    sequence: u64,
    /// Rows from before there were others have none.
    #[serde(default, skip_serializing_if = "By::is_upnp")]
    by: By,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    filters: Vec<Filter>,
}

/// Who has made a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum By {
    #[default]
    Upnp,
    NatPmp,
    /// With the mapping's nonce.
    Pcp([u8; 12]),
    Unknown,
}

impl By {
    fn is_upnp(&self) -> bool {
        *self == Self::Upnp
    }
}

/// Whom a mapping lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Filter {
    network: Ipv4Addr,
    prefix: u8,
    port: u16,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    /// The first one: when the journal begins.
    Begins(Moment),
    /// A mapping is there now, like this.
    Put(Row),
    /// A mapping is gone.
    Gone(Key),
}

impl From<&MappingKey> for Key {
    fn from(key: &MappingKey) -> Self {
        let protocol = match key.protocol {
            Protocol::Udp => Transport::Udp,
            _ => Transport::Tcp,
        };
        Self { protocol, external_port: key.external_port, remote_host: key.remote }
    }
}

impl From<Key> for MappingKey {
    fn from(key: Key) -> Self {
        let Key { protocol, external_port, remote_host } = key;
        Self { protocol: protocol.into(), external_port, remote: remote_host }
    }
}

impl From<&Remembered> for Row {
    fn from(Remembered { mapping, sequence }: &Remembered) -> Self {
        Self {
            key: Key::from(&mapping.key),
            internal: mapping.internal,
            enabled: mapping.enabled,
            description: mapping.description.clone(),
            deadline: (!mapping.is_static()).then_some(mapping.deadline.0),
            sequence: *sequence,
            by: mapping.origin.into(),
            filters: mapping.filters.iter().map(Filter::from).collect(),
        }
    }
}

impl From<Origin> for By {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Upnp => Self::Upnp,
            Origin::NatPmp => Self::NatPmp,
            Origin::Pcp(nonce) => Self::Pcp(nonce.0),
            Origin::Unknown => Self::Unknown,
        }
    }
}

impl From<By> for Origin {
    fn from(by: By) -> Self {
        match by {
            By::Upnp => Self::Upnp,
            By::NatPmp => Self::NatPmp,
            By::Pcp(nonce) => Self::Pcp(Nonce(nonce)),
            By::Unknown => Self::Unknown,
        }
    }
}

impl From<&RemoteFilter> for Filter {
    fn from(&RemoteFilter { network, prefix, port }: &RemoteFilter) -> Self {
        Self { network, prefix, port }
    }
}

impl From<Filter> for RemoteFilter {
    fn from(Filter { network, prefix, port }: Filter) -> Self {
        Self::new(network, prefix, port)
    }
}

impl Row {
    /// Its identity.
    pub(super) fn key(&self) -> MappingKey {
        self.key.into()
    }

    /// The mapping as it is at `now`; `None` when its lease has ended.
    pub(super) fn read(self, now: &Moment, written: &Moment) -> Option<Remembered> {
        let deadline = self.deadline.map_or(BootTime::NEVER, BootTime);
        let mapping = MappingRequest {
            key: self.key.into(),
            internal: self.internal,
            enabled: self.enabled,
            description: self.description,
            deadline: now.translate(deadline, written)?,
            origin: self.by.into(),
            filters: self.filters.into_iter().map(RemoteFilter::from).collect(),
        };
        Some(Remembered { mapping, sequence: self.sequence })
    }
}

impl From<&Change> for Line {
    fn from(change: &Change) -> Self {
        match change {
            Change::Put(mapping) => Self::Put(mapping.into()),
            Change::Gone(key) => Self::Gone(key.into()),
        }
    }
}

impl Line {
    /// Appends the line to a buffer.
    pub(super) fn write(&self, buffer: &mut Vec<u8>) {
        // Neither a map with odd keys nor a failing writer is in there: it cannot fail.
        let json = serde_json::to_vec(self).unwrap_or_default();
        buffer.extend_from_slice(format!("{:08x} ", crc32fast::hash(&json)).as_bytes());
        buffer.extend_from_slice(&json);
        buffer.push(b'\n');
    }

    /// Reads a line; `None` when it is not whole.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let (sum, json) = line.split_at_checked(9)?;
        let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
        if u32::from_str_radix(sum, 16).ok()? != crc32fast::hash(json) {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

/// Mappings in the order of a [`MappingKey`], as bytes.
pub(super) fn key_bytes(key: &MappingKey) -> [u8; 8] {
    let [high, low] = key.external_port.to_be_bytes();
    let [a, b, c, d] = key.remote.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
    [key.protocol as u8, high, low, u8::from(key.remote.is_some()), a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered() -> Remembered {
        Remembered {
            mapping: MappingRequest {
                key: MappingKey {
                    protocol: Protocol::Udp,
                    external_port: 6000,
                    remote: Some(Ipv4Addr::new(198, 51, 100, 1)),
                },
                internal: "192.168.1.10:5600".parse().unwrap(),
                enabled: false,
                description: "a \"game\"\nof \u{1f3b2}".to_owned(),
                deadline: BootTime(77_000_000_000),
                origin: Origin::Pcp(Nonce(*b"twelve bytes")),
                filters: vec![RemoteFilter::new(Ipv4Addr::new(198, 51, 100, 0), 24, 53)],
            },
            sequence: 9,
        }
    }

    fn now() -> Moment {
        Moment { boot_id: "a".to_owned(), boot: 5, wall: 6 }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let put = Change::Put(remembered());
        let gone = Change::Gone(remembered().mapping.key);
        for line in [Line::Begins(now()), Line::from(&put), Line::from(&gone)] {
            let mut buffer = Vec::new();
            line.write(&mut buffer);
            let written = buffer.strip_suffix(b"\n").unwrap();
            assert!(!written.contains(&b'\n'), "one line");
            assert_eq!(Line::read(written), Some(line.clone()));
        }
        let row = Row::from(&remembered());
        assert_eq!(row.read(&now(), &now()), Some(remembered()));
    }

    #[test]
    fn a_line_that_is_not_whole_is_not_read() {
        let mut buffer = Vec::new();
        Line::from(&Change::Put(remembered())).write(&mut buffer);
        let whole = buffer.strip_suffix(b"\n").unwrap();
        for length in 0..whole.len() {
            assert_eq!(Line::read(&whole[..length]), None);
        }
        for place in 0..whole.len() {
            let mut changed = whole.to_vec();
            changed[place] ^= 0x10;
            // The sum is hexadecimal, in either case.
            let same = changed.eq_ignore_ascii_case(whole) && place < 8;
            assert_eq!(Line::read(&changed).is_some(), same, "byte {place}");
        }
    }

    #[test]
    fn a_row_from_before_pcp_is_read_as_upnps() {
        let row = r#"{"key":{"protocol":"udp","external-port":6000,"remote-host":null},
            "internal":"192.168.1.10:5600","enabled":true,"description":"","deadline":null,
            "sequence":1}"#;
        let row: Row = serde_json::from_str(row).unwrap();
        let read = row.read(&now(), &now()).unwrap().mapping;
        assert_eq!((read.origin, read.filters.len()), (Origin::Upnp, 0));
        // And what is UPnP's is written as it was then.
        let mut plain = remembered();
        (plain.mapping.origin, plain.mapping.filters) = (Origin::Upnp, Vec::new());
        let json = serde_json::to_string(&Row::from(&plain)).unwrap();
        assert!(!json.contains("by") && !json.contains("filters"), "{json}");
    }

    #[test]
    fn every_origin_is_read_as_it_was_written() {
        for origin in [Origin::Upnp, Origin::NatPmp, Origin::Pcp(Nonce([0; 12])), Origin::Unknown] {
            assert_eq!(Origin::from(By::from(origin)), origin);
        }
    }

    #[test]
    fn a_static_mapping_has_no_deadline() {
        let mut fixed = remembered();
        fixed.mapping.deadline = BootTime::NEVER;
        let row = Row::from(&fixed);
        assert_eq!(row.deadline, None);
        assert_eq!(row.read(&now(), &now()), Some(fixed));
    }
}
