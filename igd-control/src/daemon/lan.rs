//! The LAN side: the addresses of its interfaces, and what listens there.

use super::identity::Identity;
use crate::{
    config::Config,
    http::Listener,
    ssdp::{Endpoint, Responder, Subnet},
    wire::ssdp::Sender,
};
use anyhow::Context as _;
use nix::{
    ifaddrs::getifaddrs,
    net::if_::if_nametoindex,
    sys::socket::{SockaddrIn, SockaddrStorage},
};
use std::{io, time::Duration};

/// What listens on the LAN interfaces, bound and ready to serve.
#[derive(Debug)]
pub(super) struct Lan {
    /// One for each address.
    pub(super) listeners: Vec<Listener>,
    /// One for each interface that has an address.
    pub(super) responders: Vec<Responder>,
}

impl Lan {
    /// Binds HTTP and SSDP on every LAN interface. Must run inside tokio.
    ///
    /// # Errors
    /// An interface does not exist, or a port cannot be had.
    pub(super) fn open(config: &Config, identity: &Identity) -> anyhow::Result<Self> {
        let interfaces = &config.interfaces;
        for name in interfaces.lan.iter().chain([&interfaces.wan]) {
            if_nametoindex(name.as_str())
                .with_context(|| format!("there is no interface called {name}"))?;
        }
        let mut lan = Self { listeners: Vec::new(), responders: Vec::new() };
        for interface in &interfaces.lan {
            lan.open_one(interface, config, identity)?;
        }
        Ok(lan)
    }

    fn open_one(
        &mut self,
        interface: &str,
        config: &Config,
        identity: &Identity,
    ) -> anyhow::Result<()> {
        let subnets = subnets(interface)
            .with_context(|| format!("the addresses of {interface} cannot be read"))?;
        if subnets.is_empty() {
            tracing::warn!("{interface} has no IPv4 address: UPnP is not served there");
            return Ok(());
        }
        let upnp = &config.upnp;
        let mut endpoints = Vec::new();
        for subnet in subnets {
            let (address, port) = (subnet.address, upnp.http_port);
            let listener = Listener::bind(interface, address, port).with_context(|| {
                format!(
                    "cannot serve HTTP at {address}:{port} on {interface} \
                     (--http-port or upnp.http-port choose another port)"
                )
            })?;
            let sender = Sender {
                server: listener.local(),
                max_age: upnp.max_age,
                boot_id: identity.boot_id,
                config_ids: identity.config_ids,
            };
            endpoints.push(Endpoint { subnet, sender });
            self.listeners.push(listener);
        }
        let interval = Duration::from_secs(upnp.notify_interval.into());
        let responder = Responder::bind(interface, endpoints, identity.uuid, interval)
            .with_context(|| format!("cannot serve SSDP on {interface}"))?;
        self.responders.push(responder);
        Ok(())
    }
}

/// The subnets of an interface, its primary address first.
fn subnets(interface: &str) -> io::Result<Vec<Subnet>> {
    let v4 = |address: Option<SockaddrStorage>| {
        address.as_ref().and_then(|address| address.as_sockaddr_in()).map(SockaddrIn::ip)
    };
    let of_it = getifaddrs()?.filter(|entry| entry.interface_name == interface);
    Ok(of_it
        .filter_map(|entry| Some(Subnet { address: v4(entry.address)?, mask: v4(entry.netmask)? }))
        .collect())
}
