//! Asks the kernel for the interfaces.

use super::interface::{Attached, Link, Owner};
use crate::datapath::pins;
use futures_util::TryStreamExt as _;
use nat_common::maps::{PROGRAM_LAN, PROGRAM_WAN};
use netlink_packet_route::{
    address::AddressAttribute,
    link::{
        InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
        XdpAttached,
    },
};
use std::{net::IpAddr, path::Path};

/// The interfaces that have one of these names.
///
/// # Errors
/// When the kernel refuses.
pub(super) async fn gather(names: &[&str], pin_dir: Option<&Path>) -> anyhow::Result<Vec<Link>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    // Ends when the handle goes.
    tokio::spawn(connection);
    let mut found = Vec::new();
    let mut links = handle.link().get().execute();
    while let Some(message) = links.try_next().await? {
        found.extend(link(&message, names, pin_dir));
    }
    let mut addresses = handle.address().get().execute();
    while let Some(address) = addresses.try_next().await? {
        let of = found.iter_mut().find(|link: &&mut Link| link.index == address.header.index);
        let own = address.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(own)) => Some(*own),
            _ => None,
        });
        if let (Some(link), Some(own)) = (of, own) {
            link.addresses.push((own, address.header.prefix_len));
        }
    }
    Ok(found)
}

fn link(message: &LinkMessage, names: &[&str], pin_dir: Option<&Path>) -> Option<Link> {
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) if names.contains(&name.as_str()) => Some(name),
        _ => None,
    })?;
    let header = &message.header;
    let mut link = Link {
        name: name.clone(),
        index: header.index,
        ethernet: header.link_layer_type == LinkLayerType::Ether,
        up: header.flags.contains(LinkFlags::Up),
        carrier: header.flags.contains(LinkFlags::LowerUp),
        veth: false,
        addresses: Vec::new(),
        xdp: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::LinkInfo(infos) => {
                link.veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth));
            }
            LinkAttribute::Xdp(xdp) => link.xdp = attached(xdp, name, pin_dir),
            _ => {}
        }
    }
    Some(link)
}

fn attached(attributes: &[LinkXdp], interface: &str, pin_dir: Option<&Path>) -> Option<Attached> {
    let mut mode = "xdp";
    let mut id = None;
    for attribute in attributes {
        match attribute {
            LinkXdp::Attached(XdpAttached::None) => return None,
            LinkXdp::Attached(XdpAttached::Driver) => mode = "xdpdrv",
            LinkXdp::Attached(XdpAttached::SocketBuffer) => mode = "xdpgeneric",
            LinkXdp::Attached(XdpAttached::Hardware) => mode = "xdpoffload",
            LinkXdp::ProgId(number)
            | LinkXdp::DrvProgId(number)
            | LinkXdp::SkbProgId(number)
            | LinkXdp::HwProgId(number) => id = id.or(Some(*number)),
            _ => {}
        }
    }
    let id = id?;
    Some(Attached { mode, id, owner: owner(id, interface, pin_dir) })
}

fn owner(id: u32, interface: &str, pin_dir: Option<&Path>) -> Owner {
    if pin_dir.and_then(|pin_dir| pins::attached_program(pin_dir, interface)) == Some(id) {
        return Owner::Adoptable;
    }
    // Only those who may administer the whole machine are told names.
    let name = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned));
    match name {
        Some(name) if name == PROGRAM_LAN || name == PROGRAM_WAN => Owner::OtherGateway,
        name => Owner::Foreign(name),
    }
}
