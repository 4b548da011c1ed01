//! What drivers can do with XDP, asked of the kernel by generic netlink (family `netdev`, Linux 6.3),
//! and their offloads.

use super::{Finding, interface::Link};
use crate::datapath::{Offloads, XdpMode, offloads};
use rtnetlink::{
    packet_core::{NlaBuffer, NlasIterator},
    sys::{Socket, SocketAddr},
};
use std::io;

/// `NETDEV_XDP_ACT_*`
pub(super) const BASIC: u64 = 1;
pub(super) const REDIRECT: u64 = 2;
pub(super) const NDO_XMIT: u64 = 4;

const NETLINK_GENERIC: isize = 16;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// Of a netlink message and of generic netlink within it.
const HEADERS: usize = 16 + 4;

/// What an interface's driver has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Driver {
    /// `NETDEV_XDP_ACT_*`; `None` before Linux 6.3.
    pub(super) features: Option<u64>,
    /// `None` when the driver does not say.
    pub(super) offloads: Option<Offloads>,
}

impl Driver {
    /// Asks about an interface.
    pub(super) fn gather(link: &Link) -> Self {
        Self { features: features(link.index).ok(), offloads: offloads(&link.name).ok() }
    }

    /// Judges it.
    pub(super) fn findings(&self, link: &Link, mode: XdpMode) -> Vec<Finding> {
        let mut findings = vec![self.native(mode), self.lro(&link.name)];
        if link.carries_tags {
            findings.push(self.vlan_tags(link));
        }
        if link.veth {
            if mode != XdpMode::Generic {
                findings.push(self.veth_receive());
            }
            findings.push(self.veth_checksum(&link.name));
        }
        findings.into_iter().map(|finding| finding.on(&link.name)).collect()
    }

    fn native(&self, mode: XdpMode) -> Finding {
        const CHECK: &str = "xdp mode";
        if mode == XdpMode::Generic {
            return Finding::ok(CHECK, "generic, as configured");
        }
        let Some(features) = self.features else {
            return Finding::unchecked(CHECK, "kernels before 6.3 do not tell what drivers can do");
        };
        if features & (BASIC | REDIRECT) == BASIC | REDIRECT {
            return Finding::ok(CHECK, "native");
        }
        let mend = "# in the configuration file, [interfaces]: xdp-mode = \"generic\"";
        if mode == XdpMode::Native {
            let detail = "the driver cannot redirect in native XDP, which is configured";
            return Finding::failure(CHECK, detail).mend(mend);
        }
        Finding::warning(
            CHECK,
            "the driver cannot redirect in native XDP: generic mode, which is slower, and then all \
             interfaces should be in it",
        )
        .mend(mend)
    }

    fn lro(&self, name: &str) -> Finding {
        const CHECK: &str = "lro";
        match self.offloads {
            Some(Offloads { lro: false, .. }) => {
                Finding::ok(CHECK, "received packets are not merged")
            }
            Some(_) => Finding::warning(
                CHECK,
                "the driver merges received packets (large receive offload): many refuse native XDP",
            )
            .mend(format!("ethtool -K {name} lro off")),
            None => Finding::unchecked(CHECK, "the driver does not tell its offloads"),
        }
    }

    /// XDP finds a link by the tags in its frames.
    fn vlan_tags(&self, link: &Link) -> Finding {
        const CHECK: &str = "vlan tags";
        let name = &link.name;
        let mend = format!("ethtool -K {name} rxvlan off txvlan off");
        match self.offloads {
            // A veth takes no tags off, and puts none on: what matters is whether the other end does.
            Some(Offloads { tx_vlan: true, .. }) if link.veth => Finding::warning(
                CHECK,
                "ends of a veth pass VLAN tags beside the frame by default, where XDP cannot see them: \
                 nothing of these VLANs is translated (of the two ends only this one can be seen from \
                 here)",
            )
            .mend(format!("{mend} # and the same at the other end, in its namespace")),
            Some(Offloads { rx_vlan: true, .. }) if !link.veth => Finding::warning(
                CHECK,
                "the card takes VLAN tags out of received frames, where XDP cannot see them: nothing of \
                 these VLANs is translated",
            )
            .mend(mend),
            Some(_) => Finding::ok(CHECK, "in the frames"),
            None => Finding::unchecked(CHECK, "the driver does not tell its offloads"),
        }
    }

    fn veth_receive(&self) -> Finding {
        const CHECK: &str = "veth peer";
        match self.features {
            Some(features) if features & NDO_XMIT != 0 => {
                Finding::ok(CHECK, "takes redirected packets")
            }
            Some(_) => Finding::warning(
                CHECK,
                "the other end drops what XDP redirects to it, for it has no NAPI",
            )
            .mend("ethtool -K PEER gro on # PEER: the other end, in its namespace"),
            None => Finding::unchecked(CHECK, "kernels before 6.3 do not tell whether it has NAPI"),
        }
    }

    fn veth_checksum(&self, name: &str) -> Finding {
        const CHECK: &str = "veth checksum";
        match self.offloads {
            // The end that matters is the other one, which cannot be seen; it mostly is like this one.
            Some(Offloads { tx_checksum: true, .. }) => Finding::warning(
                CHECK,
                "ends of a veth send packets with half a checksum by default; redirected to a real \
                 interface they are wrong (of the two ends only this one can be seen from here)",
            )
            .mend(format!(
                "ethtool -K {name} tx off # and the same at the other end, in its namespace"
            )),
            Some(_) => Finding::ok(CHECK, "complete, at this end"),
            None => Finding::unchecked(CHECK, "the driver does not tell its offloads"),
        }
    }
}

/// The XDP features of the interface with this index.
fn features(index: u32) -> io::Result<u64> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // The kernel has answered before it returns from sending.
    socket.set_non_blocking(true)?;
    let name = attribute(CTRL_ATTR_FAMILY_NAME, b"netdev\0");
    let answer = ask(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &name)?;
    let family = value(&answer, CTRL_ATTR_FAMILY_ID).and_then(|id| id.try_into().ok());
    let family = u16::from_ne_bytes(family.ok_or(io::ErrorKind::InvalidData)?);
    let index = attribute(NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes());
    let answer = ask(&socket, family, NETDEV_CMD_DEV_GET, &index)?;
    let features = value(&answer, NETDEV_A_DEV_XDP_FEATURES).and_then(|bits| bits.try_into().ok());
    Ok(u64::from_ne_bytes(features.ok_or(io::ErrorKind::InvalidData)?))
}

/// Sends one request and returns the one answer.
fn ask(socket: &Socket, family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(HEADERS + attributes.len()).map_err(io::Error::other)?;
    let mut request = Vec::new();
    request.extend(length.to_ne_bytes());
    request.extend(family.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and sender, which nobody looks at; then command, version and two spare bytes.
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend(attributes);
    socket.send(&request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    match kind {
        None | Some(NLMSG_ERROR) => Err(io::ErrorKind::Unsupported.into()),
        Some(_) => Ok(answer),
    }
}

/// One attribute, padded.
fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    // Attributes here are of a few bytes.
    let length = 4 + content.len() as u16;
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The content of an answer's attribute.
fn value(answer: &[u8], kind: u16) -> Option<&[u8]> {
    let attributes: NlasIterator<&[u8]> = NlasIterator::new(answer.get(HEADERS..)?);
    for attribute in attributes {
        let attribute: NlaBuffer<&[u8]> = attribute.ok()?;
        if attribute.kind() == kind {
            let start = 4;
            let end = usize::from(attribute.length());
            return attribute.into_inner().get(start..end);
        }
    }
    None
}
