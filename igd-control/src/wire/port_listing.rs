//! The list of port mappings in an answer to GetListOfPortMappings (WANIPConnection:2, section
//! 2.3.25).
//!
//! A list may have 65,535 entries, of half a kilobyte each as XML in XML. So it is written in parts,
//! while it is sent, from rows that are copied out of the table at one moment: nobody who reads it
//! sees half a change.

use super::soap;
use super::xml::XmlWriter;
use crate::igd::wan_ip_connection::MAX_LEASE;
use crate::mapping::{MappingKey, PortMapping};
use nat_common::BootTime;
use std::net::SocketAddrV4;
use std::sync::Arc;

const NAMESPACE: &str = "urn:schemas-upnp-org:gw:WANIPConnection";
const SCHEMA: &str = "urn:schemas-upnp-org:gw:WANIPConnection \
                      http://www.upnp.org/schemas/gw/WANIPConnection-v2.xsd";
const LIST_END: &str = "</p:PortMappingList>";
/// Rows of one part of an answer.
const ROWS_OF_A_PART: usize = 64;
/// Stands for the list while the message around it is written.
const PLACE: &str = "\u{fffd}";

/// Port mappings as they were at one moment.
#[derive(Clone, Debug)]
pub struct PortListing {
    rows: Vec<Row>,
    /// Held as long as the rows are.
    _share: Arc<()>,
}

#[derive(Clone, Debug)]
struct Row {
    key: MappingKey,
    internal: SocketAddrV4,
    enabled: bool,
    lease: u32,
    description: Box<str>,
}

impl PortListing {
    /// Copies mappings. `share` is given back when the list is written or given up.
    pub fn new<'a>(
        now: BootTime,
        mappings: impl Iterator<Item = &'a PortMapping>,
        share: Arc<()>,
    ) -> Self {
        let row = |mapping: &PortMapping| Row {
            key: mapping.key,
            internal: mapping.internal,
            enabled: mapping.enabled,
            lease: mapping.lease_left(now).min(MAX_LEASE),
            description: mapping.description.as_str().into(),
        };
        Self { rows: mappings.map(row).collect(), _share: share }
    }

    /// Whether it is short enough to be written at once.
    pub fn is_short(&self) -> bool {
        self.rows.len() <= ROWS_OF_A_PART
    }

    /// Whether it lists nothing.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The answer that has it as its argument `name`, in parts.
    pub fn answer(
        self,
        service_type: &str,
        action: &str,
        name: &str,
    ) -> impl Iterator<Item = Vec<u8>> + Send + use<> {
        let message = soap::encode_response(service_type, action, [(name, PLACE.to_owned())]);
        let message = String::from_utf8(message).unwrap_or_default();
        let (before, after) = message.split_once(PLACE).unwrap_or_default();
        let list = empty_list();
        let start = list.strip_suffix(LIST_END).unwrap_or_default();
        let head = [before.as_bytes(), &escaped(start)].concat();
        let tail = [&escaped(LIST_END), after.as_bytes()].concat();
        let mut next = 0;
        let body = std::iter::from_fn(move || {
            let end = (next + ROWS_OF_A_PART).min(self.rows.len());
            let part = self.rows.get(next..end).filter(|part| !part.is_empty())?;
            next = end;
            let mut xml = XmlWriter::fragment();
            part.iter().for_each(|row| xml.element("p:PortMappingEntry", |xml| entry(xml, row)));
            Some(escaped(&String::from_utf8(xml.finish()).unwrap_or_default()))
        });
        std::iter::once(head).chain(body).chain(std::iter::once(tail))
    }
}

/// The document without entries.
fn empty_list() -> String {
    let attributes = [
        ("xmlns:p", NAMESPACE),
        ("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"),
        ("xsi:schemaLocation", SCHEMA),
    ];
    let mut xml = XmlWriter::document();
    xml.element_with("p:PortMappingList", &attributes, |_| {});
    String::from_utf8(xml.finish()).unwrap_or_default()
}

fn entry(xml: &mut XmlWriter, row: &Row) {
    let remote = row.key.remote.map(|remote| remote.to_string()).unwrap_or_default();
    xml.text("p:NewRemoteHost", &remote);
    xml.text("p:NewExternalPort", &row.key.external_port.to_string());
    xml.text("p:NewProtocol", row.key.protocol.name());
    xml.text("p:NewInternalPort", &row.internal.port().to_string());
    xml.text("p:NewInternalClient", &row.internal.ip().to_string());
    xml.text("p:NewEnabled", if row.enabled { "1" } else { "0" });
    xml.text("p:NewDescription", &row.description);
    xml.text("p:NewLeaseTime", &row.lease.to_string());
}

/// As text in another document.
fn escaped(xml: &str) -> Vec<u8> {
    quick_xml::escape::partial_escape(xml).into_owned().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::soap::SoapRequest;
    use crate::wire::tokens::{Token, Tokens};
    use nat_common::Protocol;

    const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:2";

    fn listing(rows: u16, description: &str) -> PortListing {
        let row = |port| Row {
            key: MappingKey { protocol: Protocol::Udp, external_port: port, remote: None },
            internal: SocketAddrV4::new([192, 0, 2, 1].into(), 5000),
            enabled: true,
            lease: 60,
            description: description.into(),
        };
        let rows = (0..rows).map(row).collect();
        PortListing { rows, _share: Arc::default() }
    }

    /// The list in an answer.
    fn list_in(parts: impl Iterator<Item = Vec<u8>>) -> String {
        let whole: Vec<u8> = parts.flatten().collect();
        let body = String::from_utf8(whole).unwrap();
        let (_, rest) = body.split_once("<NewPortListing>").unwrap();
        let (text, _) = rest.split_once("</NewPortListing>").unwrap();
        quick_xml::escape::unescape(text).unwrap().into_owned()
    }

    #[test]
    fn parts_make_one_well_formed_document() {
        for rows in [0, 1, 64, 65, 200] {
            let listing = listing(rows, "a <b> & \"c\" ]]> \u{1}");
            let text = list_in(listing.answer(SERVICE, "GetListOfPortMappings", "NewPortListing"));
            let mut tokens = Tokens::new(text.as_bytes()).unwrap();
            let (mut entries, mut words) = (0, String::new());
            loop {
                match tokens.next().unwrap() {
                    Token::Open { name, namespace } => {
                        assert_eq!(namespace.as_deref(), Some(NAMESPACE));
                        entries += usize::from(name == "PortMappingEntry");
                    }
                    Token::Text(text) => words.push_str(&text),
                    Token::Close => {}
                    Token::End => break,
                }
            }
            assert_eq!(entries, usize::from(rows));
            let described = words.matches("a <b> & \"c\" ]]> \u{fffd}").count();
            assert_eq!(described, usize::from(rows));
        }
    }

    #[test]
    fn a_short_list_is_an_argument_like_any_other() {
        let parts = listing(3, "x").answer(SERVICE, "GetListOfPortMappings", "NewPortListing");
        let whole: Vec<u8> = parts.flatten().collect();
        let answer = SoapRequest::parse(&whole).unwrap();
        assert_eq!(answer.arguments[0].0, "NewPortListing");
        assert!(answer.arguments[0].1.ends_with("</p:PortMappingEntry></p:PortMappingList>"));
    }

    #[test]
    fn no_part_is_large() {
        let parts = listing(u16::MAX, &"&".repeat(256)).answer(SERVICE, "a", "NewPortListing");
        let (mut sum, mut largest) = (0, 0);
        for part in parts {
            sum += part.len();
            largest = largest.max(part.len());
        }
        assert!(sum > 65_535 * 500 && largest < 64 * 4_096, "{sum} {largest}");
    }
}
