//! What is announced, and the messages that say it.

use super::GROUP;
use crate::igd::device::ROOT_DEVICE;
use crate::wire::SERVER;
use uuid::Uuid;

/// One thing that the gateway announces and answers searches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// NT of a notification, ST of an answer.
    pub target: String,
    /// USN.
    pub usn: String,
}

impl Announcement {
    /// Of something that a device is or has.
    fn of_type(target: String, uuid: Uuid) -> Self {
        let usn = format!("uuid:{uuid}::{target}");
        Self { target, usn }
    }
}

/// Everything that the gateway announces: the root device, and each device of the tree with its UUID,
/// its type and the types of its services. Types come in every version from ours down to 1, for
/// control points that know only the older one.
pub fn announcements(root: Uuid) -> Vec<Announcement> {
    let mut all = vec![Announcement::of_type("upnp:rootdevice".into(), root)];
    for device in ROOT_DEVICE.flatten() {
        let uuid = device.uuid(root);
        let own = format!("uuid:{uuid}");
        all.push(Announcement { target: own.clone(), usn: own });
        let versions = (1..=device.version).rev();
        all.extend(versions.map(|version| Announcement::of_type(device.urn(version), uuid)));
        for service in device.services.iter().map(|kind| kind.spec()) {
            let versions = (1..=service.version).rev();
            all.extend(versions.map(|version| Announcement::of_type(service.urn(version), uuid)));
        }
    }
    all
}

/// What every message of one interface says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// URL of the description, as the network of that interface reaches it.
    pub location: String,
    /// Seconds that an announcement holds.
    pub max_age: u32,
    /// BOOTID.UPNP.ORG: higher after every start.
    pub boot_id: u32,
    /// CONFIGID.UPNP.ORG: [`crate::wire::description::config_id`].
    pub config_id: u32,
}

impl Sender {
    /// The answer to a search.
    pub fn search_response(&self, announcement: &Announcement) -> Vec<u8> {
        self.message(
            "HTTP/1.1 200 OK",
            &[
                ("CACHE-CONTROL", &self.cache_control()),
                ("EXT", ""),
                ("LOCATION", &self.location),
                ("SERVER", SERVER),
                ("ST", &announcement.target),
                ("USN", &announcement.usn),
            ],
        )
    }

    /// `ssdp:alive`.
    pub fn alive(&self, announcement: &Announcement) -> Vec<u8> {
        self.message(
            "NOTIFY * HTTP/1.1",
            &[
                ("HOST", &GROUP.to_string()),
                ("CACHE-CONTROL", &self.cache_control()),
                ("LOCATION", &self.location),
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
            "NOTIFY * HTTP/1.1",
            &[
                ("HOST", &GROUP.to_string()),
                ("NT", &announcement.target),
                ("NTS", "ssdp:byebye"),
                ("USN", &announcement.usn),
            ],
        )
    }

    fn cache_control(&self) -> String {
        format!("max-age={}", self.max_age)
    }

    fn message(&self, start_line: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let ids = [
            ("BOOTID.UPNP.ORG", self.boot_id.to_string()),
            ("CONFIGID.UPNP.ORG", self.config_id.to_string()),
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
