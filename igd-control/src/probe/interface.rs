//! The interfaces, their addresses, and the XDP programs that are attached to them already.

use super::Finding;
use nat_common::session::Side;
use std::net::Ipv4Addr;

/// What is to be known of an interface.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) ethernet: bool,
    pub(super) up: bool,
    pub(super) carrier: bool,
    pub(super) veth: bool,
    /// IPv4 addresses with their prefix lengths.
    pub(super) addresses: Vec<(Ipv4Addr, u8)>,
    pub(super) xdp: Option<Attached>,
    /// Index of the interface that has its frames: of a VLAN the one below, else itself. `None` when that
    /// takes more tags than can be.
    pub(super) device: Option<u32>,
    /// Whether frames of others that are served are on it with VLAN tags.
    pub(super) carries_tags: bool,
}

/// An XDP program that is attached already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    /// What `ip link set dev IFACE` calls its mode.
    pub(super) mode: &'static str,
    /// Its number.
    pub(super) id: u32,
    /// Whose it is.
    pub(super) owner: Owner,
}

/// Whose program is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Pinned in the configured directory: it will be taken over.
    Adoptable,
    /// Of an igd-control that runs, or pins elsewhere.
    OtherGateway,
    /// Somebody else's, with its name as far as it may be known.
    Foreign(Option<String>),
}

/// Judges an interface that is there, or not.
pub(super) fn findings(name: &str, side: Side, link: Option<&Link>) -> Vec<Finding> {
    let Some(link) = link else { return vec![missing(name)] };
    let addresses = match side {
        Side::Wan => wan_address(link),
        Side::Lan => lan_address(link),
    };
    let mut findings = vec![state(link), addresses];
    if link.device.is_none() {
        let detail = "frames with more than two VLAN tags are not translated";
        let command = format!("ip -d link show dev {name} # choose one with two tags at most");
        findings.push(Finding::failure("vlan tags", detail).mend(command));
    }
    findings.into_iter().map(|finding| finding.on(name)).collect()
}

/// Judges an interface whose packets the kernel alone routes: of any kind, and with any address.
pub(super) fn routed(name: &str, side: Side, link: Option<&Link>) -> Vec<Finding> {
    let Some(link) = link else { return vec![missing(name)] };
    let address = match (side, link.addresses.first()) {
        (Side::Wan, Some((address, prefix))) => {
            Finding::ok("address", format!("{address}/{prefix}"))
        }
        (Side::Wan, None) => {
            let detail = "no IPv4 address from which to ask the server upstream";
            Finding::warning("address", detail).mend(format!(
                "ip address add ADDRESS/PREFIX dev {name} # or start its DHCP client"
            ))
        }
        (Side::Lan, _) => lan_address(link),
    };
    [carrier(link), address].into_iter().map(|finding| finding.on(name)).collect()
}

fn missing(name: &str) -> Finding {
    let detail = "there is no such interface";
    Finding::failure("interface", detail).mend("ip -br link # choose one of these").on(name)
}

fn state(link: &Link) -> Finding {
    if link.ethernet {
        return carrier(link);
    }
    let detail = "not Ethernet, and translated packets need MAC addresses";
    Finding::failure("interface", detail).mend("ip -br link # choose an Ethernet interface")
}

fn carrier(link: &Link) -> Finding {
    const CHECK: &str = "interface";
    let name = &link.name;
    if !link.up {
        Finding::warning(CHECK, "it is down").mend(format!("ip link set dev {name} up"))
    } else if !link.carrier {
        Finding::warning(CHECK, "it has no carrier: the cable, or the other end, is off")
            .mend(format!("ip link show dev {name} # after the other end has been seen to"))
    } else {
        let kind = if link.ethernet { "Ethernet, " } else { "" };
        Finding::ok(CHECK, format!("{kind}up, with a carrier"))
    }
}

fn wan_address(link: &Link) -> Finding {
    const CHECK: &str = "address";
    let name = &link.name;
    let Some((address, prefix)) = link.addresses.first() else {
        return Finding::warning(
            CHECK,
            "no IPv4 address: nothing is translated until there is one",
        )
        .mend(format!("ip address add ADDRESS/PREFIX dev {name} # or start its DHCP client"));
    };
    match unreachable(*address) {
        Some(why) => Finding::warning(
            CHECK,
            format!(
                "{address} is {why}, so another NAT stands before this one: ports opened here are \
                 not open to the Internet"
            ),
        )
        .mend(
            "# let the router upstream run as a bridge, or ask the provider for a public address",
        ),
        None => Finding::ok(CHECK, format!("{address}/{prefix}")),
    }
}

/// Whether the WAN interface has the addresses of the pool.
pub(super) fn pool(link: &Link, pool: &[Ipv4Addr]) -> Option<Finding> {
    const CHECK: &str = "pool";
    let has = |addr: &&Ipv4Addr| link.addresses.iter().any(|(own, _)| own == *addr);
    let missing: Vec<String> =
        pool.iter().filter(|addr| !has(addr)).map(Ipv4Addr::to_string).collect();
    let first = missing.first()?;
    let detail = format!("not on the interface, and left out: {}", missing.join(", "));
    Some(
        Finding::warning(CHECK, detail)
            .mend(format!("ip address add {first}/32 dev {}", link.name)),
    )
}

/// Why the Internet cannot reach an address.
fn unreachable(address: Ipv4Addr) -> Option<&'static str> {
    let [first, second, ..] = address.octets();
    if address.is_private() {
        Some("a private address (RFC 1918)")
    } else if first == 100 && second & 0xc0 == 64 {
        Some("an address of a carrier's NAT (RFC 6598)")
    } else if address.is_link_local() {
        Some("a link-local address (RFC 3927)")
    } else {
        None
    }
}

fn lan_address(link: &Link) -> Finding {
    const CHECK: &str = "address";
    match link.addresses.first() {
        Some((address, prefix)) => Finding::ok(CHECK, format!("{address}/{prefix}")),
        None => Finding::warning(CHECK, "no IPv4 address: no UPnP, and no gateway for its hosts")
            .mend(format!("ip address add 192.168.1.1/24 dev {}", link.name)),
    }
}

/// Judges what is attached to a device.
pub(super) fn program(device: &Link) -> Finding {
    const CHECK: &str = "xdp program";
    let name = &device.name;
    let Some(Attached { mode, id, owner }) = &device.xdp else {
        return Finding::ok(CHECK, "none attached").on(name);
    };
    let finding = match owner {
        Owner::Adoptable => Finding::ok(CHECK, "that of a former daemon, which is taken over"),
        Owner::OtherGateway => Finding::failure(
            CHECK,
            format!("that of an igd-control that runs, or has pinned elsewhere (program {id})"),
        )
        .mend("igd-control unload # with the --pin-dir of that one, after it was stopped"),
        Owner::Foreign(program) => {
            let named = program.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            let detail = format!("program {id}{named} is attached, and there is room for one");
            Finding::failure(CHECK, detail).mend(format!("ip link set dev {name} {mode} off"))
        }
    };
    finding.on(name)
}

/// Internal and external networks must not overlap (RFC 4787 REQ-7 is about what happens if they do).
pub(super) fn overlap(lan: &[&Link], wan: Option<&Link>) -> Finding {
    const CHECK: &str = "networks";
    for (outer, outer_prefix) in wan.iter().flat_map(|wan| &wan.addresses) {
        for link in lan {
            for (inner, inner_prefix) in &link.addresses {
                let bits = (*inner_prefix).min(*outer_prefix);
                if network(*inner, bits) == network(*outer, bits) {
                    let detail = format!(
                        "{inner}/{inner_prefix} of the LAN overlaps {outer}/{outer_prefix} of the \
                         WAN: hosts in one cannot be told from hosts in the other"
                    );
                    let command = format!(
                        "ip address del {inner}/{inner_prefix} dev {} # then give the LAN another \
                         network",
                        link.name
                    );
                    return Finding::failure(CHECK, detail).mend(command);
                }
            }
        }
    }
    Finding::ok(CHECK, "LAN and WAN do not overlap")
}

fn network(address: Ipv4Addr, bits: u8) -> u32 {
    address.to_bits().checked_shr(32 - u32::from(bits.min(32))).unwrap_or(0)
}
