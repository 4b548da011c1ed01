//! This NAT on links whose frames carry VLAN tags, without the kernel's VLAN devices, which not every kernel has.
//!
//! The daemon is started on plain interfaces. Then its maps are told that the links have tags, and the program
//! for devices that carry VLANs takes the place of the plain ones: as the daemon itself does where an interface
//! is a VLAN. What a packet goes through is the same.

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, HashMap, ProgramArray};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{Xdp, xdp::XdpLink};
use aya::{Ebpf, EbpfLoader};
use nat_common::Protocol;
use nat_common::link::{DOT1AD, DOT1Q, Link, MAX_LINKS, Tag, TaggedKey, Tags};
use nat_common::maps::{
    HINTS, LAYOUT_VERSION, LINKS, MAX_POOL, PROGRAM_TRUNK, PROGRAM_TRUNK_LAN, PROGRAM_TRUNK_WAN,
    TAGGED_LINKS, TRUNK,
};
use nat_common::session::Side;
use nat_tests::daemon::PIN_DIR;
use nat_tests::lab::BpfFs;
use nat_tests::packets::kernel::object;
use std::fs;

/// A side of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Lan,
    Wan,
}

/// What pins of links begin with; all others are of maps.
const LINK: &str = "link-";

const LINK_SIZE: usize = size_of::<Link>();
const KEY_SIZE: usize = size_of::<TaggedKey>();

/// So many tags of frames on a side, as words of a frame.
pub(crate) fn tags(port: Port, count: usize) -> [u16; 4] {
    let Tags { outer, inner } = link_tags(port, count);
    [outer.protocol, outer.id, inner.protocol, inner.id]
}

/// The outer one of two is the provider's.
fn link_tags(port: Port, count: usize) -> Tags {
    let (provider, customer) = match port {
        Port::Lan => (100, 10),
        Port::Wan => (200, 7),
    };
    let customer = Tag::new(DOT1Q, customer);
    match count {
        0 => Tags::NONE,
        1 => Tags { outer: customer, inner: Tag::NONE },
        _ => Tags { outer: Tag::new(DOT1AD, provider), inner: customer },
    }
}

/// Has the daemon whose maps and links are pinned in `bpffs` serve the router's interfaces as devices that carry
/// VLANs, with so many tags. `devices`: indices of the interfaces. What is returned must live as long as that.
pub(crate) fn carry_tags(
    bpffs: &BpfFs<'_>,
    devices: [(Port, u32); 2],
    count: usize,
) -> Result<Ebpf> {
    let folder = bpffs.path().join(PIN_DIR).join(format!("layout-{LAYOUT_VERSION}"));
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with(LINK) {
            names.push(name);
        }
    }
    let mut loader = EbpfLoader::new();
    for name in &names {
        loader.map_pin_path(name.as_str(), folder.join(name));
    }
    // Not pinned, and of no use to flows that keep their port.
    loader.map_max_entries(HINTS, MAX_POOL * Protocol::COUNT);
    let mut ebpf = loader.load(&object()?)?;
    for name in [PROGRAM_TRUNK, PROGRAM_TRUNK_LAN, PROGRAM_TRUNK_WAN] {
        let program: &mut Xdp = ebpf.program_mut(name).context(name)?.try_into()?;
        program.load()?;
    }
    for (name, side) in [(PROGRAM_TRUNK_LAN, Side::Lan), (PROGRAM_TRUNK_WAN, Side::Wan)] {
        let program: &Xdp = ebpf.program(name).context(name)?.try_into()?;
        let fd = program.fd()?.try_clone()?;
        let trunk = ebpf.map_mut(TRUNK).context(TRUNK)?;
        ProgramArray::try_from(trunk)?.set(side as u32, &fd, 0)?;
    }
    tell(&mut ebpf, devices, count)?;
    for interface in ["lan0", "wan0"] {
        let pin = PinnedLink::from_pin(folder.join(format!("{LINK}xdp-{interface}")))?;
        let link = XdpLink::try_from(FdLink::from(pin))?;
        let program = ebpf.program_mut(PROGRAM_TRUNK).context(PROGRAM_TRUNK)?;
        <&mut Xdp>::try_from(program)?.attach_to_link(link)?;
    }
    Ok(ebpf)
}

/// Writes the links with their tags.
fn tell(ebpf: &mut Ebpf, devices: [(Port, u32); 2], count: usize) -> Result<()> {
    let mut tagged = Vec::new();
    let links = ebpf.map_mut(LINKS).context(LINKS)?;
    let mut links = Array::<_, [u8; LINK_SIZE]>::try_from(links)?;
    for index in 0..MAX_LINKS {
        let link: Link = bytemuck::cast(links.get(&index, 0)?);
        let port = devices.iter().find(|(_, device)| *device == link.ifindex);
        let Some((port, device)) = port.copied() else { continue };
        let tags = link_tags(port, count);
        links.set(index, bytemuck::cast::<_, [u8; LINK_SIZE]>(link.on(device, tags)), 0)?;
        tagged.push((TaggedKey { device, tags }, index));
    }
    ensure!(tagged.len() == devices.len(), "the daemon does not serve both interfaces");
    let map = ebpf.map_mut(TAGGED_LINKS).context(TAGGED_LINKS)?;
    let mut map = HashMap::<_, [u8; KEY_SIZE], u32>::try_from(map)?;
    for (key, index) in tagged {
        map.insert(bytemuck::cast::<_, [u8; KEY_SIZE]>(key), index, 0)?;
    }
    Ok(())
}
