//! The device description (UPnP Device Architecture, section 2.3).

use super::scpd::scpd;
use super::xml::XmlWriter;
use crate::igd::ServiceKind;
use crate::igd::device::{DeviceSpec, Tree};
use uuid::Uuid;

/// What the description says about this gateway beyond its device tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptionInfo {
    /// The gateway's UUID. Those of the devices are derived from it.
    pub root_uuid: Uuid,
    /// Short name for users.
    pub friendly_name: String,
    /// Maker.
    pub manufacturer: String,
    /// Model.
    pub model_name: String,
    /// Version of the model.
    pub model_number: String,
    /// A page for users, if there is one.
    pub presentation_url: Option<String>,
}

/// The device description of a tree. All URLs are relative to its own.
pub fn description(tree: Tree, info: &DescriptionInfo) -> Vec<u8> {
    write(tree, info, Some(config_id(tree, info)))
}

/// CONFIGID.UPNP.ORG (UPnP Device Architecture 1.1, section 2.1): another number, below 2^24,
/// whenever the description or an SCPD is another.
pub fn config_id(tree: Tree, info: &DescriptionInfo) -> u32 {
    let mut documents = write(tree, info, None);
    for kind in ServiceKind::of(tree) {
        documents.extend_from_slice(&scpd(kind.spec()));
    }
    let [first, second, third, ..] = *Uuid::new_v5(&info.root_uuid, &documents).as_bytes();
    u32::from_be_bytes([0, first, second, third])
}

fn write(tree: Tree, info: &DescriptionInfo, config_id: Option<u32>) -> Vec<u8> {
    let config_id = config_id.map(|id| id.to_string());
    let mut attributes = vec![("xmlns", "urn:schemas-upnp-org:device-1-0")];
    attributes.extend(config_id.as_deref().map(|id| ("configId", id)));
    let mut xml = XmlWriter::document();
    xml.element_with("root", &attributes, |xml| {
        xml.element("specVersion", |xml| {
            xml.text("major", "1");
            xml.text("minor", "1");
        });
        device(xml, tree, info, tree.root());
    });
    xml.finish()
}

fn device(xml: &mut XmlWriter, tree: Tree, info: &DescriptionInfo, spec: &DeviceSpec) {
    xml.element("device", |xml| {
        xml.text("deviceType", &spec.urn());
        xml.text("friendlyName", &info.friendly_name);
        xml.text("manufacturer", &info.manufacturer);
        xml.text("modelName", &info.model_name);
        xml.text("modelNumber", &info.model_number);
        xml.text("UDN", &format!("uuid:{}", tree.uuid(info.root_uuid, spec)));
        xml.element("serviceList", |xml| {
            spec.services.iter().for_each(|kind| service(xml, *kind));
        });
        if !spec.devices.is_empty() {
            xml.element("deviceList", |xml| {
                spec.devices.iter().for_each(|embedded| device(xml, tree, info, embedded));
            });
        }
        if let Some(url) = &info.presentation_url {
            xml.text("presentationURL", url);
        }
    });
}

fn service(xml: &mut XmlWriter, kind: ServiceKind) {
    let (spec, paths) = (kind.spec(), kind.paths());
    xml.element("service", |xml| {
        xml.text("serviceType", &spec.urn(spec.version));
        xml.text("serviceId", spec.id);
        xml.text("SCPDURL", paths.scpd);
        xml.text("controlURL", paths.control);
        xml.text("eventSubURL", paths.event);
    });
}

#[cfg(test)]
#[path = "description_tests.rs"]
mod tests;
