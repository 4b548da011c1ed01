//! Which XDP program each device gets: that of its side, or the one for trunks where frames carry tags.

use super::network::Interface;
use nat_common::link::Tags;
use nat_common::maps::{PROGRAM_LAN, PROGRAM_TRUNK, PROGRAM_WAN};
use nat_common::session::Side;

/// A device that has frames of one or more of the NAT's interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The name of its XDP program.
    pub program: &'static str,
}

/// The devices of these interfaces.
pub fn devices(interfaces: &[Option<Interface>]) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for interface in interfaces.iter().flatten() {
        let program = match (interface.tags, interface.side) {
            (Tags::NONE, Side::Lan) => PROGRAM_LAN,
            (Tags::NONE, Side::Wan) => PROGRAM_WAN,
            _ => PROGRAM_TRUNK,
        };
        match devices.iter_mut().find(|device| device.index == interface.device) {
            Some(device) => device.program = PROGRAM_TRUNK,
            None => devices.push(Device {
                index: interface.device,
                name: interface.device_name.clone(),
                program,
            }),
        }
    }
    devices
}

#[cfg(test)]
mod tests {
    use super::*;
    use nat_common::link::{DOT1Q, Tag};

    fn interface(name: &str, side: Side, device: u32, tag: Option<u16>) -> Option<Interface> {
        let outer = tag.map_or(Tag::NONE, |id| Tag::new(DOT1Q, id));
        Some(Interface {
            name: name.to_owned(),
            side,
            index: device + u32::from(tag.unwrap_or(0)),
            device,
            device_name: format!("eth{device}"),
            tags: Tags { outer, inner: Tag::NONE },
            mac: [0; 6],
            mtu: 1500,
            running: true,
            xdp: "none",
            addresses: Vec::new(),
        })
    }

    #[test]
    fn a_device_with_tagged_frames_is_a_trunk() {
        let programs = |interfaces: &[Option<Interface>]| {
            devices(interfaces).iter().map(|device| device.program).collect::<Vec<_>>()
        };
        let (lan, wan) = (Side::Lan, Side::Wan);
        let plain = [interface("eth1", wan, 1, None), interface("eth2", lan, 2, None)];
        assert_eq!(programs(&plain), [PROGRAM_WAN, PROGRAM_LAN]);
        let one_armed = [interface("a", wan, 1, Some(7)), interface("b", lan, 1, Some(10))];
        assert_eq!(programs(&one_armed), [PROGRAM_TRUNK]);
        let mixed = [
            interface("a", wan, 1, None),
            interface("b", lan, 2, None),
            interface("c", lan, 2, Some(10)),
        ];
        assert_eq!(programs(&mixed), [PROGRAM_WAN, PROGRAM_TRUNK]);
    }
}
