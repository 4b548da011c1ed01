//! Who the gateway is, and the documents that say so.

use crate::{
    config::Config,
    igd::{ServiceKind, Tree},
    wire::{
        description::{self, DescriptionInfo},
        scpd,
    },
};
use hyper::body::Bytes;
use std::{collections::HashMap, fs, path::Path};
use uuid::Uuid;

/// The name space of the derived UUIDs; the value has no meaning beyond being ours.
const NAMESPACE: Uuid = Uuid::from_u128(0x6b1f_0d5e_63a4_4d0c_9c1e_5a7c_2f80_e311);

/// What does not change while the gateway runs.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// UUID of the gateway: of the root device of version 2, from which the others follow.
    pub(super) uuid: Uuid,
    /// CONFIGID.UPNP.ORG of each tree.
    pub(super) config_ids: [(Tree, u32); 2],
    /// The descriptions, by path.
    pub(super) documents: HashMap<&'static str, Bytes>,
}

impl Identity {
    pub(super) fn new(config: &Config) -> Self {
        let interface = config.interfaces.lan.first().map_or("", String::as_str);
        let uuid = config.upnp.uuid().unwrap_or_else(|| derive(interface));
        let info = DescriptionInfo {
            root_uuid: uuid,
            friendly_name: config.upnp.friendly_name.clone(),
            manufacturer: env!("CARGO_PKG_NAME").to_owned(),
            model_name: env!("CARGO_PKG_NAME").to_owned(),
            model_number: env!("CARGO_PKG_VERSION").to_owned(),
            presentation_url: None,
        };
        let mut documents = HashMap::new();
        for tree in Tree::ALL {
            let description = description::description(tree, &info);
            documents.insert(tree.description_path(), description.into());
        }
        for kind in ServiceKind::ALL {
            documents.insert(kind.paths().scpd, scpd::scpd(kind.spec()).into());
        }
        Self {
            uuid,
            config_ids: Tree::ALL.map(|tree| (tree, description::config_id(tree, &info))),
            documents,
        }
    }
}

/// The UUID of the gateway on this machine whose first LAN interface is `interface`: from the
/// machine's id, the interface's name and its MAC address, as far as each is known.
fn derive(interface: &str) -> Uuid {
    let sys = Path::new("/sys/class/net").join(interface).join("address");
    from_parts(&[&read(Path::new("/etc/machine-id")), interface, &read(&sys)])
}

fn from_parts(parts: &[&str]) -> Uuid {
    Uuid::new_v5(&NAMESPACE, parts.join("\n").as_bytes())
}

/// A one-line file's content; nothing when it cannot be read.
fn read(path: &Path) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_machine_and_interface_keep_their_uuid() {
        let parts = ["0123456789abcdef", "lan0", "02:00:00:00:00:01"];
        assert_eq!(from_parts(&parts), from_parts(&parts));
        assert_ne!(from_parts(&parts), from_parts(&["0123456789abcdef", "lan1", parts[2]]));
        assert_eq!(from_parts(&parts).get_version_num(), 5);
    }

    #[test]
    fn a_configured_uuid_comes_first() {
        let mut config = Config::default();
        config.upnp.uuid = "9b1d5ee4-6a0c-4e2d-8b1f-0123456789ab".to_owned();
        assert_eq!(Identity::new(&config).uuid.to_string(), config.upnp.uuid);
    }

    #[test]
    fn every_description_is_served() {
        let identity = Identity::new(&Config::default());
        assert_eq!(identity.documents.len(), Tree::ALL.len() + ServiceKind::ALL.len());
    }
}
