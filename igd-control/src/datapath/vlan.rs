//! VLAN interfaces: on which device their frames are, and with which tags.

use anyhow::{Result, bail};
use nat_common::link::{DOT1AD, DOT1Q, Tag, Tags};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage, VlanProtocol,
};
use std::collections::HashMap;

/// What an interface is, seen from below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// How XDP is attached to it.
    pub xdp: &'static str,
    /// Of a VLAN, the interface below it and its tag.
    pub vlan: Option<(u32, Tag)>,
}

/// The interface below a VLAN, and its tag; `None` of any other interface.
pub fn vlan(message: &LinkMessage) -> Option<(u32, Tag)> {
    let mut below = None;
    let mut tag = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Link(index) => below = Some(*index),
            LinkAttribute::LinkInfo(infos) if infos.contains(&LinkInfo::Kind(InfoKind::Vlan)) => {
                tag = infos.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::Vlan(vlan)) => tag_of(vlan),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    below.zip(tag)
}

fn tag_of(vlan: &[InfoVlan]) -> Option<Tag> {
    let mut protocol = DOT1Q;
    let mut id = None;
    for info in vlan {
        match info {
            InfoVlan::Id(number) => id = Some(*number),
            InfoVlan::Protocol(VlanProtocol::Ieee8021Ad) => protocol = DOT1AD,
            _ => {}
        }
    }
    id.map(|id| Tag::new(protocol, id))
}

/// The device on which the frames of interface `index` are, and their tags there.
///
/// # Errors
/// When there are more than two tags.
pub fn device(known: &HashMap<u32, Known>, index: u32) -> Result<(u32, Tags)> {
    let mut device = index;
    let mut tags = Tags::NONE;
    while let Some((below, tag)) = known.get(&device).and_then(|known| known.vlan) {
        if tags.inner != Tag::NONE {
            let name = known.get(&index).map_or("?", |known| known.name.as_str());
            bail!("{name}: frames with more than two VLAN tags are not translated");
        }
        // What was found first is nearest to the packet.
        tags = Tags { outer: tag, inner: tags.outer };
        device = below;
    }
    Ok((device, tags))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(vlan: Option<(u32, Tag)>) -> Known {
        Known { name: "x".to_owned(), xdp: "none", vlan }
    }

    #[test]
    fn tags_are_found_from_the_packet_outwards() {
        let (customer, provider) = (Tag::new(DOT1Q, 20), Tag::new(DOT1AD, 100));
        let all = HashMap::from([
            (1, known(None)),
            (2, known(Some((1, provider)))),
            (3, known(Some((2, customer)))),
            (4, known(Some((3, customer)))),
        ]);
        assert_eq!(device(&all, 1).unwrap(), (1, Tags::NONE));
        assert_eq!(device(&all, 2).unwrap(), (1, Tags { outer: provider, inner: Tag::NONE }));
        assert_eq!(device(&all, 3).unwrap(), (1, Tags { outer: provider, inner: customer }));
        assert!(device(&all, 4).is_err());
    }
}
