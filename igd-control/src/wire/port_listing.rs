//! The list of port mappings in an answer to GetListOfPortMappings (WANIPConnection:2, section
//! 2.3.25).

use super::xml::XmlWriter;
use crate::igd::wan_ip_connection::MAX_LEASE;
use crate::mapping::PortMapping;
use nat_common::BootTime;

const NAMESPACE: &str = "urn:schemas-upnp-org:gw:WANIPConnection";
const SCHEMA: &str = "urn:schemas-upnp-org:gw:WANIPConnection \
                      http://www.upnp.org/schemas/gw/WANIPConnection-v2.xsd";

/// The document that lists `mappings`. In a SOAP answer it stands as text, escaped.
pub fn port_listing<'a>(
    now: BootTime,
    mappings: impl IntoIterator<Item = &'a PortMapping>,
) -> String {
    let attributes = [
        ("xmlns:p", NAMESPACE),
        ("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"),
        ("xsi:schemaLocation", SCHEMA),
    ];
    let mut xml = XmlWriter::document();
    xml.element_with("p:PortMappingList", &attributes, |xml| {
        for mapping in mappings {
            xml.element("p:PortMappingEntry", |xml| entry(xml, now, mapping));
        }
    });
    String::from_utf8(xml.finish()).unwrap_or_default()
}

fn entry(xml: &mut XmlWriter, now: BootTime, mapping: &PortMapping) {
    let key = &mapping.key;
    let remote = key.remote.map(|remote| remote.to_string()).unwrap_or_default();
    xml.text("p:NewRemoteHost", &remote);
    xml.text("p:NewExternalPort", &key.external_port.to_string());
    xml.text("p:NewProtocol", key.protocol.name());
    xml.text("p:NewInternalPort", &mapping.internal.port().to_string());
    xml.text("p:NewInternalClient", &mapping.internal.ip().to_string());
    xml.text("p:NewEnabled", if mapping.enabled { "1" } else { "0" });
    xml.text("p:NewDescription", &mapping.description);
    xml.text("p:NewLeaseTime", &mapping.lease_left(now).min(MAX_LEASE).to_string());
}
