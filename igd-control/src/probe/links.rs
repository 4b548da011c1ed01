//! Asks the kernel for the interfaces.

use super::interface::{Attached, Link, Owner};
use crate::datapath::pins;
use crate::datapath::vlan::{Known, device, vlan};
use futures_util::TryStreamExt as _;
use nat_common::maps::{PROGRAM_LAN, PROGRAM_TRUNK, PROGRAM_WAN};
use netlink_packet_route::{
    address::AddressAttribute,
    link::{
        InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
        XdpAttached,
    },
};
use std::{collections::HashMap, net::IpAddr, path::Path};

/// The interfaces that have one of these names, and those that have the frames of one that is a VLAN.
///
/// # Errors
/// When the kernel refuses.
pub(super) async fn gather(names: &[&str], pin_dir: Option<&Path>) -> anyhow::Result<Vec<Link>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    // Ends when the handle goes.
    tokio::spawn(connection);
    let messages: Vec<_> = handle.link().get().execute().try_collect().await?;
    let mut found = found(&messages, names, pin_dir);
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

fn found(messages: &[LinkMessage], names: &[&str], pin_dir: Option<&Path>) -> Vec<Link> {
    let known = messages.iter().filter_map(|message| {
        let known = Known { name: name(message)?.to_owned(), xdp: "", vlan: vlan(message) };
        Some((message.header.index, known))
    });
    let known: HashMap<_, _> = known.collect();
    let is_named =
        |index: u32| known.get(&index).is_some_and(|at| names.contains(&at.name.as_str()));
    let below: Vec<u32> = known
        .keys()
        .filter(|index| is_named(**index))
        .filter_map(|index| device(&known, *index).ok())
        .filter_map(|(device, tags)| (!tags.is_none()).then_some(device))
        .collect();
    let mut found = Vec::new();
    for message in messages {
        let index = message.header.index;
        if !is_named(index) && !below.contains(&index) {
            continue;
        }
        let Some(link) = link(message, pin_dir) else { continue };
        let device = device(&known, index).ok().map(|(device, _)| device);
        found.push(Link { device, carries_tags: below.contains(&index), ..link });
    }
    found
}

fn name(message: &LinkMessage) -> Option<&str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn link(message: &LinkMessage, pin_dir: Option<&Path>) -> Option<Link> {
    let name = name(message)?;
    let header = &message.header;
    let mut link = Link {
        name: name.to_owned(),
        index: header.index,
        ethernet: header.link_layer_type == LinkLayerType::Ether,
        up: header.flags.contains(LinkFlags::Up),
        carrier: header.flags.contains(LinkFlags::LowerUp),
        veth: false,
        addresses: Vec::new(),
        xdp: None,
        device: None,
        carries_tags: false,
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
        Some(name) if [PROGRAM_LAN, PROGRAM_WAN, PROGRAM_TRUNK].contains(&name.as_str()) => {
            Owner::OtherGateway
        }
        name => Owner::Foreign(name),
    }
}
