//! What is announced, and the messages that say it.

use super::Scope;
use crate::igd::Tree;
use crate::wire::SERVER;
use uuid::Uuid;

/// One thing that the gateway announces and answers searches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// NT of a notification, ST of an answer.
    pub target: String,
    /// USN.
    pub usn: String,
    /// The tree that it belongs to, and whose description tells more.
    pub tree: Tree,
}

impl Announcement {
    /// Of something that a device is or has.
    fn of_type(tree: Tree, target: String, uuid: Uuid) -> Self {
        let usn = format!("uuid:{uuid}::{target}");
        Self { target, usn, tree }
    }
}

/// Everything that the gateway announces: of each tree the root device, and each device with its
/// UUID, its type and the types of its services. Version 2 types are announced in version 2 only,
/// since the other tree is there for control points that know the older one.
pub fn announcements(gateway: Uuid) -> Vec<Announcement> {
    Tree::ALL.into_iter().flat_map(|tree| of_tree(tree, gateway)).collect()
}

fn of_tree(tree: Tree, gateway: Uuid) -> Vec<Announcement> {
    let of_type = |target, uuid| Announcement::of_type(tree, target, uuid);
    let mut all = vec![of_type("upnp:rootdevice".into(), tree.root_uuid(gateway))];
    for device in tree.root().flatten() {
        let uuid = tree.uuid(gateway, device);
        let own = format!("uuid:{uuid}");
        all.push(Announcement { target: own.clone(), usn: own, tree });
        all.push(of_type(device.urn(), uuid));
        let services = device.services.iter().map(|kind| kind.spec());
        all.extend(services.map(|service| of_type(service.urn(service.version), uuid)));
    }
    all
}

/// What every message of one interface says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// To whom announcements are made.
    pub scope: Scope,
    /// Host and port of the gateway's HTTP, as the network of that interface reaches it.
    pub server: String,
    /// Seconds that an announcement holds.
    pub max_age: u32,
    /// BOOTID.UPNP.ORG: higher after every start.
    pub boot_id: u32,
    /// CONFIGID.UPNP.ORG of each tree: [`crate::wire::description::config_id`].
    pub config_ids: [(Tree, u32); 2],
}

impl Sender {
    /// The answer to a search.
    pub fn search_response(&self, announcement: &Announcement) -> Vec<u8> {
        self.message(
            announcement.tree,
            "HTTP/1.1 200 OK",
            &[
                ("CACHE-CONTROL", &self.cache_control()),
                ("EXT", ""),
                ("LOCATION", &self.location(announcement.tree)),
                ("SERVER", SERVER),
                ("ST", &announcement.target),
                ("USN", &announcement.usn),
            ],
        )
    }

    /// `ssdp:alive`.
    pub fn alive(&self, announcement: &Announcement) -> Vec<u8> {
        self.message(
            announcement.tree,
            "NOTIFY * HTTP/1.1",
            &[
                ("HOST", self.scope.host()),
                ("CACHE-CONTROL", &self.cache_control()),
                ("LOCATION", &self.location(announcement.tree)),
                ("NT", &announcement.target),
                ("NTS", "ssdp:alive"),
                ("SERVER", SERVER),
                ("USN", &announcement.usn),
            ],
        )
    }

    /// `ssdp:byebye`.
    pub fn byebye(&self, announcement: &Announcement) -> Vec<u8> {
        self.message(
            announcement.tree,
            "NOTIFY * HTTP/1.1",
            &[
                ("HOST", self.scope.host()),
                ("NT", &announcement.target),
                ("NTS", "ssdp:byebye"),
                ("USN", &announcement.usn),
            ],
        )
    }

    /// `ssdp:update`: who has known the gateway by the BOOTID `before` shall know it by this one (UPnP
    /// Device Architecture 1.1, 1.2.4).
    pub fn update(&self, announcement: &Announcement, before: u32) -> Vec<u8> {
        Self { boot_id: before, ..self.clone() }.message(
            announcement.tree,
            "NOTIFY * HTTP/1.1",
            &[
                ("HOST", self.scope.host()),
                ("LOCATION", &self.location(announcement.tree)),
                ("NT", &announcement.target),
                ("NTS", "ssdp:update"),
                ("USN", &announcement.usn),
                ("NEXTBOOTID.UPNP.ORG", &self.boot_id.to_string()),
            ],
        )
    }

    /// URL of the description of a tree.
    pub fn location(&self, tree: Tree) -> String {
        format!("http://{}{}", self.server, tree.description_path())
    }

    fn config_id(&self, tree: Tree) -> u32 {
        self.config_ids.iter().find(|(of, _)| *of == tree).map_or(0, |(_, id)| *id)
    }

    fn cache_control(&self) -> String {
        format!("max-age={}", self.max_age)
    }

    fn message(&self, tree: Tree, start_line: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let ids = [
            ("BOOTID.UPNP.ORG", self.boot_id.to_string()),
            ("CONFIGID.UPNP.ORG", self.config_id(tree).to_string()),
        ];
        let ids = ids.iter().map(|(name, value)| (*name, value.as_str()));
        let mut message = String::with_capacity(512);
        message.push_str(start_line);
        message.push_str("\r\n");
        for (name, value) in headers.iter().copied().chain(ids) {
            message.push_str(name);
            message.push_str(if value.is_empty() { ":" } else { ": " });
            message.push_str(value);
            message.push_str("\r\n");
        }
        message.push_str("\r\n");
        message.into_bytes()
    }
}
