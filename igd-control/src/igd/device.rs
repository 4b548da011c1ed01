//! The device tree. The description and SSDP's announcements both come from it.

use super::spec::{ServiceKind, parse_version};
use uuid::Uuid;

/// What standard device types begin with.
pub const DEVICE_URN: &str = "urn:schemas-upnp-org:device:";

/// A device with what it contains.
#[derive(Debug)]
pub struct DeviceSpec {
    /// Name in the device type, as in `urn:schemas-upnp-org:device:NAME:VERSION`.
    pub name: &'static str,
    /// Version in the device type; older versions are announced and answered too.
    pub version: u16,
    /// Its services.
    pub services: &'static [ServiceKind],
    /// Its embedded devices.
    pub devices: &'static [DeviceSpec],
}

/// The gateway: InternetGatewayDevice:2.
pub static ROOT_DEVICE: DeviceSpec = DeviceSpec {
    name: "InternetGatewayDevice",
    version: 2,
    services: &[ServiceKind::Layer3Forwarding],
    devices: &[DeviceSpec {
        name: "WANDevice",
        version: 2,
        services: &[ServiceKind::WanCommonInterfaceConfig],
        devices: &[DeviceSpec {
            name: WAN_CONNECTION_DEVICE,
            version: 2,
            services: &[ServiceKind::WanIpConnection],
            devices: &[],
        }],
    }],
};

const WAN_CONNECTION_DEVICE: &str = "WANConnectionDevice";

impl DeviceSpec {
    /// The device type in a version.
    pub fn urn(&self, version: u16) -> String {
        format!("{DEVICE_URN}{}:{version}", self.name)
    }

    /// The device's UUID: the root's own, or one derived from it and the device's name, so that it
    /// stays the same as long as the root's does.
    pub fn uuid(&self, root: Uuid) -> Uuid {
        if self.name == ROOT_DEVICE.name { root } else { derived_uuid(root, self.name) }
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

/// Layer3Forwarding's DefaultConnectionService: the UDN and type of the WANConnectionDevice, a
/// comma, and the serviceId of the connection.
pub fn default_connection_service(root: Uuid) -> String {
    let device = format!("uuid:{}", derived_uuid(root, WAN_CONNECTION_DEVICE));
    let service = ServiceKind::WanIpConnection.spec().id;
    format!("{device}:{WAN_CONNECTION_DEVICE}:2,{service}")
}

/// A versioned URN without its version, and the version.
pub fn split_urn(urn: &str) -> Option<(&str, u16)> {
    let (kind, version) = urn.rsplit_once(':')?;
    Some((kind, parse_version(version)?))
}
