//! Service descriptions (UPnP Device Architecture, section 2.5).

use super::xml::XmlWriter;
use crate::igd::spec::{Allowed, ServiceSpec, VariableSpec};

/// The service's SCPD: its implemented actions, and the variables that they use or that are evented.
pub fn scpd(service: &ServiceSpec) -> Vec<u8> {
    let mut xml = XmlWriter::document();
    let attributes = [("xmlns", "urn:schemas-upnp-org:service-1-0")];
    xml.element_with("scpd", &attributes, |xml| {
        xml.element("specVersion", |xml| {
            xml.text("major", "1");
            xml.text("minor", "0");
        });
        xml.element("actionList", |xml| actions(xml, service));
        xml.element("serviceStateTable", |xml| {
            service.listed_variables().for_each(|spec| variable(xml, spec));
        });
    });
    xml.finish()
}

fn actions(xml: &mut XmlWriter, service: &ServiceSpec) {
    for action in service.implemented() {
        xml.element("action", |xml| {
            xml.text("name", action.name);
            // The argumentList must be left out when there are no arguments.
            if action.arguments.is_empty() {
                return;
            }
            xml.element("argumentList", |xml| {
                for argument in action.arguments {
                    xml.element("argument", |xml| {
                        xml.text("name", argument.name);
                        xml.text("direction", argument.direction.name());
                        xml.text("relatedStateVariable", argument.related.name);
                    });
                }
            });
        });
    }
}

fn variable(xml: &mut XmlWriter, spec: &VariableSpec) {
    let send_events = if spec.evented { "yes" } else { "no" };
    xml.element_with("stateVariable", &[("sendEvents", send_events)], |xml| {
        xml.text("name", spec.name);
        xml.text("dataType", spec.data_type.name());
        if let Some(default) = spec.default {
            xml.text("defaultValue", default);
        }
        match spec.allowed {
            Allowed::Any => {}
            Allowed::List(values) => xml.element("allowedValueList", |xml| {
                values.iter().for_each(|value| xml.text("allowedValue", value));
            }),
            Allowed::Range { minimum, maximum, .. } => xml.element("allowedValueRange", |xml| {
                xml.text("minimum", &minimum.to_string());
                xml.text("maximum", &maximum.to_string());
            }),
        }
    });
}
