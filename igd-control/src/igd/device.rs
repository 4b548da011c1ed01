//! The device trees. The descriptions and SSDP's announcements both come from them.
//!
//! There are two, over one mapping table: control points that know version 1 only (consoles, Windows,
//! many libraries) stumble over a version 2 gateway, although it is meant to serve them, and others
//! want version 2's actions. Each tree has URLs of its own, so that the URL says which version is
//! spoken.
//!
//! Both leave out what the templates leave to the vendor: a LANDevice is there to hold
//! LANHostConfigManagement, which is about a DHCP server, and the gateway is none.

use super::spec::{ServiceKind, parse_version};
use uuid::Uuid;

/// What standard device types begin with.
pub const DEVICE_URN: &str = "urn:schemas-upnp-org:device:";

/// One of the gateway's device trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tree {
    /// InternetGatewayDevice:1.
    Igd1,
    /// InternetGatewayDevice:2.
    Igd2,
}

impl Tree {
    /// Both; the older one first, as control points that take the first answer should get it only
    /// when they ask for it.
    pub const ALL: [Self; 2] = [Self::Igd1, Self::Igd2];

    /// Version of its devices.
    pub const fn version(self) -> u16 {
        match self {
            Self::Igd1 => 1,
            Self::Igd2 => 2,
        }
    }

    /// Its root device.
    pub const fn root(self) -> &'static DeviceSpec {
        match self {
            Self::Igd1 => &IGD1,
            Self::Igd2 => &IGD2,
        }
    }

    /// Where its description is served.
    pub const fn description_path(self) -> &'static str {
        match self {
            Self::Igd1 => "/igd1/rootDesc.xml",
            Self::Igd2 => "/igd2/rootDesc.xml",
        }
    }

    /// The UUID of its root device: the gateway's own, or one derived from it.
    pub fn root_uuid(self, gateway: Uuid) -> Uuid {
        match self {
            Self::Igd1 => derived_uuid(gateway, &IGD1.urn()),
            Self::Igd2 => gateway,
        }
    }

    /// The UUID of one of its devices, which stays the same as long as the gateway's does.
    pub fn uuid(self, gateway: Uuid, device: &DeviceSpec) -> Uuid {
        let root = self.root_uuid(gateway);
        if device.name == self.root().name { root } else { derived_uuid(root, device.name) }
    }

    /// Layer3Forwarding's DefaultConnectionService: the UDN and type of the WANConnectionDevice, a
    /// comma, and the serviceId of the connection.
    pub fn default_connection_service(self, gateway: Uuid) -> String {
        let device = derived_uuid(self.root_uuid(gateway), WAN_CONNECTION_DEVICE);
        let service = ServiceKind::WanIpConnection(self).spec().id;
        format!("uuid:{device}:{WAN_CONNECTION_DEVICE}:{},{service}", self.version())
    }
}

/// A device with what it contains.
#[derive(Debug)]
pub struct DeviceSpec {
    /// Name in the device type, as in `urn:schemas-upnp-org:device:NAME:VERSION`.
    pub name: &'static str,
    /// Version in the device type.
    pub version: u16,
    /// Its services.
    pub services: &'static [ServiceKind],
    /// Its embedded devices.
    pub devices: &'static [DeviceSpec],
}

const WAN_CONNECTION_DEVICE: &str = "WANConnectionDevice";

macro_rules! tree {
    ($tree:expr) => {
        DeviceSpec {
            name: "InternetGatewayDevice",
            version: $tree.version(),
            services: &[ServiceKind::Layer3Forwarding($tree)],
            devices: &[DeviceSpec {
                name: "WANDevice",
                version: $tree.version(),
                services: &[ServiceKind::WanCommonInterfaceConfig($tree)],
                devices: &[DeviceSpec {
                    name: WAN_CONNECTION_DEVICE,
                    version: $tree.version(),
                    services: &[ServiceKind::WanIpConnection($tree)],
                    devices: &[],
                }],
            }],
        }
    };
}

static IGD1: DeviceSpec = tree!(Tree::Igd1);
static IGD2: DeviceSpec = tree!(Tree::Igd2);

impl DeviceSpec {
    /// The device type.
    pub fn urn(&self) -> String {
        format!("{DEVICE_URN}{}:{}", self.name, self.version)
    }

    /// This device and all within it, outermost first.
    pub fn flatten(&'static self) -> Vec<&'static DeviceSpec> {
        let mut found = vec![self];
        found.extend(self.devices.iter().flat_map(DeviceSpec::flatten));
        found
    }
}

fn derived_uuid(root: Uuid, name: &str) -> Uuid {
    Uuid::new_v5(&root, name.as_bytes())
}

/// A versioned URN without its version, and the version.
pub fn split_urn(urn: &str) -> Option<(&str, u16)> {
    let (kind, version) = urn.rsplit_once(':')?;
    Some((kind, parse_version(version)?))
}
