//! Who has which external port.

use super::Ticks;
use super::track::Need;
use nat_ebpf::host::packet::{Peer, protocol};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// Ports that the NAT may choose.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub first: u16,
    pub last: u16,
}

impl Range {
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// A port that somebody has, or had.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) owner: Peer,
    /// Until when sessions need it.
    hold: Ticks,
    pub(super) opened_inside: bool,
    /// Claimed by a flow that came in by the wildcard.
    by_wildcard: bool,
    /// Whom a port forward lets in until when; 0.0.0.0: everybody.
    leases: HashMap<Ipv4Addr, Ticks>,
    /// Of everybody only these; empty: all.
    filters: Vec<RemoteFilter>,
    /// Until when a disabled mapping holds it for nobody.
    reserved: Option<Ticks>,
}

/// Some of the remote hosts: the first bits of their addresses, and a port (0: all).
#[derive(Clone, Copy, Debug)]
pub struct RemoteFilter {
    pub network: Ipv4Addr,
    pub prefix: u8,
    pub port: u16,
}

impl RemoteFilter {
    fn takes(&self, (addr, port): Peer) -> bool {
        let bits = |addr: Ipv4Addr| format!("{:032b}", addr.to_bits());
        let len = usize::from(self.prefix);
        bits(addr)[..len] == bits(self.network)[..len] && (self.port == 0 || self.port == port)
    }
}

impl Port {
    /// Until when a remote host is let in by a port forward.
    pub(super) fn lets_in(&self, remote: Peer) -> Ticks {
        let of = |addr| self.leases.get(&addr).copied().unwrap_or(0);
        let everybody = self.filters.is_empty() || self.filters.iter().any(|it| it.takes(remote));
        of(remote.0).max(if everybody { of(Ipv4Addr::UNSPECIFIED) } else { 0 })
    }

    pub(super) fn is_leased(&self, now: Ticks) -> bool {
        self.leases.values().chain(&self.reserved).any(|until| *until > now)
    }

    /// Whether it is leased to let nobody in. Its owner's own flows may have held it before.
    fn is_reserved(&self, now: Ticks) -> bool {
        let held_from_inside = self.opened_inside && self.hold > now;
        self.is_leased(now) && self.leases.is_empty() && !held_from_inside
    }
}

/// On which terms a port forward is opened.
pub struct Terms {
    /// Whom it lets in until when; 0.0.0.0: everybody.
    pub leases: HashMap<Ipv4Addr, Ticks>,
    /// Who is meant by everybody; empty: everybody.
    pub filters: Vec<RemoteFilter>,
    /// Until when it holds its port for nobody.
    pub reserved: Option<Ticks>,
    /// Flows of the wildcard give way to it that hold the port until then at most.
    pub yielding: Ticks,
}

/// The ports of all protocols on all external addresses.
#[derive(Debug)]
pub struct PortTable {
    pub range: Range,
    ports: HashMap<(u8, Peer), Port>,
    /// The external endpoint that an internal one has, or had last.
    last: HashMap<(u8, Peer), Peer>,
    /// The external address of each client's own mappings.
    paired: HashMap<Ipv4Addr, Ipv4Addr>,
}

impl PortTable {
    pub fn new(range: Range) -> Self {
        Self { range, ports: HashMap::new(), last: HashMap::new(), paired: HashMap::new() }
    }

    /// Every external endpoint of a protocol that anybody ever had, in order.
    pub fn known(&self, protocol: u8) -> Vec<Peer> {
        let mut known: Vec<Peer> =
            self.ports.keys().filter(|key| key.0 == protocol).map(|key| key.1).collect();
        known.sort_unstable();
        known
    }

    /// A port that somebody has now.
    pub(super) fn held(&self, now: Ticks, protocol: u8, external: Peer) -> Option<&Port> {
        let entry = self.ports.get(&(protocol, external))?;
        (entry.hold > now || entry.is_leased(now)).then_some(entry)
    }

    /// Whether an endpoint has an external port.
    pub(super) fn is_mapped(&self, now: Ticks, protocol: u8, endpoint: Peer) -> bool {
        let last = self.last.get(&(protocol, endpoint));
        let held = last.and_then(|port| self.held(now, protocol, *port));
        held.is_some_and(|held| held.owner == endpoint && !held.is_reserved(now))
    }

    /// The owners of all ports that they have claimed, sessions hold, and no port forward has.
    pub(super) fn held_by_sessions(&self, now: Ticks) -> impl Iterator<Item = Peer> {
        let held = self
            .ports
            .values()
            .filter(move |port| port.hold > now && !port.is_leased(now) && port.opened_inside);
        held.map(|port| port.owner)
    }

    /// Holds a port for longer, if it is still `owner`'s.
    pub(super) fn extend(
        &mut self,
        now: Ticks,
        protocol: u8,
        external: Peer,
        owner: Peer,
        until: Ticks,
    ) -> bool {
        if self.held(now, protocol, external).is_none_or(|held| held.owner != owner) {
            return false;
        }
        let port = self.ports.get_mut(&(protocol, external)).unwrap();
        port.hold = port.hold.max(until);
        true
    }

    /// The external port of an internal endpoint: the one that it has, or the one that the pipeline
    /// was observed to have chosen, if it might.
    pub(super) fn map(
        &mut self,
        now: Ticks,
        protocol: u8,
        endpoint: Peer,
        until: Ticks,
        observed: Option<Peer>,
    ) -> Result<Peer, String> {
        let last = self.last.get(&(protocol, endpoint)).copied();
        if let Some(external) = last
            && !self.held(now, protocol, external).is_some_and(|held| held.is_reserved(now))
            && self.extend(now, protocol, external, endpoint, until)
        {
            self.ports.get_mut(&(protocol, external)).unwrap().opened_inside = true;
            return Ok(external);
        }
        let range = if protocol == protocol::ICMP {
            Range { first: 0, last: u16::MAX }
        } else {
            self.range
        };
        let (addr, port) = observed.ok_or_else(|| format!("{endpoint:?} got no port"))?;
        // Paired pooling (RFC 4787 REQ-2).
        let paired = *self.paired.entry(endpoint.0).or_insert(addr);
        if addr != paired {
            return Err(format!("{endpoint:?} got the address {addr}, not {paired} as before"));
        }
        let is_free =
            |port| range.contains(port) && self.held(now, protocol, (addr, port)).is_none();
        let own = endpoint.1;
        let last = last.map(|(_, port)| port);
        let wanted = last.into_iter().chain([own]).find(|port| is_free(*port));
        if let Some(wanted) = wanted
            && port != wanted
        {
            return Err(format!("{endpoint:?} got port {port} though {wanted} was free"));
        }
        if !is_free(port) {
            return Err(format!("{endpoint:?} got port {port}, which is not to be had"));
        }
        if wanted.is_none() && port % 2 != own % 2 {
            return Err(format!("{endpoint:?} got port {port} of the wrong parity"));
        }
        let entry = Port {
            owner: endpoint,
            hold: until,
            opened_inside: true,
            by_wildcard: false,
            leases: HashMap::new(),
            filters: Vec::new(),
            reserved: None,
        };
        self.ports.insert((protocol, (addr, port)), entry);
        self.last.insert((protocol, endpoint), (addr, port));
        Ok((addr, port))
    }

    /// The forward of every port of an external address that is not otherwise mapped.
    fn wildcard(&self, now: Ticks, protocol: u8, addr: Ipv4Addr) -> Option<&Port> {
        self.held(now, protocol, (addr, 0)).filter(|held| held.is_leased(now))
    }

    /// To whom the wildcard leads a caller of a port, and until when it lets him in.
    pub(super) fn by_wildcard(
        &self,
        now: Ticks,
        protocol: u8,
        external: Peer,
        remote: Peer,
    ) -> Option<(Peer, Ticks)> {
        let (addr, port) = external;
        let wildcard = self.wildcard(now, protocol, addr)?;
        let (client, until) = ((wildcard.owner.0, port), wildcard.lets_in(remote));
        let free = self
            .held(now, protocol, external)
            .is_none_or(|held| held.owner == client && !held.is_leased(now));
        // Answers to DHCP clients are the router's.
        let is_dhcp = (protocol, port) == (protocol::UDP, 68);
        (free && until > now && !is_dhcp).then_some((client, until))
    }

    /// Holds a port that was called by the wildcard, for its client.
    pub(super) fn hold_by_wildcard(
        &mut self,
        now: Ticks,
        protocol: u8,
        external: Peer,
        client: Peer,
        until: Ticks,
    ) -> bool {
        if self.held(now, protocol, external).is_some() {
            return self.extend(now, protocol, external, client, until);
        }
        let entry = Port {
            owner: client,
            hold: until,
            opened_inside: false,
            by_wildcard: true,
            leases: HashMap::new(),
            filters: Vec::new(),
            reserved: None,
        };
        self.ports.insert((protocol, external), entry);
        let last = self.last.get(&(protocol, client)).copied();
        let has = |last| self.held(now, protocol, last).is_some_and(|held| held.owner == client);
        if !last.is_some_and(has) {
            self.last.insert((protocol, client), external);
        }
        true
    }

    /// Until when a port forward lets in a caller of a session, by its own port or by the wildcard.
    pub(super) fn let_in_until(&self, now: Ticks, protocol: u8, need: &Need) -> Ticks {
        let (addr, port) = need.external;
        match self.held(now, protocol, need.external) {
            Some(held) if held.owner != need.owner => 0,
            Some(held) if held.is_leased(now) => held.lets_in(need.remote),
            Some(_) => match self.wildcard(now, protocol, addr) {
                Some(wildcard) if (wildcard.owner.0, port) == need.owner => {
                    wildcard.lets_in(need.remote)
                }
                _ => 0,
            },
            None => 0,
        }
    }

    /// Opens a port forward; `false` when the port is somebody else's.
    pub fn open_forward(
        &mut self,
        now: Ticks,
        protocol: u8,
        external: Peer,
        client: Peer,
        Terms { leases, filters, reserved, yielding }: Terms,
    ) -> bool {
        let yields = |held: &Port| {
            held.by_wildcard && !held.opened_inside && !held.is_leased(now) && held.hold <= yielding
        };
        let held = self.held(now, protocol, external);
        if held.is_some_and(|held| held.owner != client && !yields(held)) {
            return false;
        }
        let own = held.filter(|held| held.owner == client);
        let (hold, opened_inside, by_wildcard) =
            own.map_or((0, false, false), |held| (held.hold, held.opened_inside, held.by_wildcard));
        let leads = !leases.is_empty() && external.1 != 0 && !client.0.is_broadcast();
        let entry =
            Port { owner: client, hold, opened_inside, by_wildcard, leases, filters, reserved };
        self.ports.insert((protocol, external), entry);
        let led = self.last.get(&(protocol, client)).is_some_and(|last| {
            self.held(now, protocol, *last).is_some_and(|held| {
                held.owner == client && held.is_leased(now) && !held.leases.is_empty()
            })
        });
        if leads && !led {
            self.last.insert((protocol, client), external);
        }
        true
    }

    /// Closes a port forward, if it is still the client's.
    pub(super) fn close_forward(&mut self, now: Ticks, protocol: u8, external: Peer, client: Peer) {
        if self
            .held(now, protocol, external)
            .is_some_and(|held| held.owner == client && held.is_leased(now))
        {
            let port = self.ports.get_mut(&(protocol, external)).unwrap();
            port.leases.clear();
            port.filters.clear();
            port.reserved = None;
        }
    }
}
