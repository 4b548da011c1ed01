//! A router with several external addresses, so that a few percent of their ports are thousands: this NAT and
//! nftables with the same ports, and each client behind the same address in both.

use crate::contestant::{Contestant, Kind};
use crate::plan::FIRST_CLIENT;
use anyhow::Result;
use nat_bench_programs::CLIENTS;
use nat_common::NetAddr;
use nat_common::ports::pool_index;
use nat_tests::daemon::Daemon;
use nat_tests::lab::{EXTERNAL, Lab};
use std::fs;
use std::net::Ipv4Addr;

/// How many addresses: the clients are spread over so many evenly.
const ADDRESSES: u32 = 4;

/// The ports of each that the NAT may take. Those beyond are the router's own.
const FIRST_PORT: u32 = 1_024;
const LAST_PORT: u32 = 64_999;

/// How many that are.
pub(super) const PORTS: u32 = ADDRESSES * (LAST_PORT - FIRST_PORT + 1);

/// The further addresses are in a row before this number.
const FURTHER: u32 = 20;

/// Makes `kind` such a router.
pub(super) fn contestant<'lab>(
    kind: Kind,
    lab: &'lab Lab,
    object: &[u8],
) -> Result<Contestant<'lab>> {
    let local = format!("{} {}", LAST_PORT + 1, u16::MAX);
    lab.router.sysctl("net/ipv4/ip_local_port_range", &local)?;
    for index in 1..ADDRESSES {
        let address = format!("{}/24", external(index));
        lab.router.ip(&["address", "add", &address, "dev", "wan0"])?;
    }
    let contestant = Contestant::with(kind, lab, object, 0, || {
        let pool: Vec<_> = (0..ADDRESSES).map(|index| format!("\"{}\"", external(index))).collect();
        let config = lab.directory().join("config.toml");
        let text = format!(
            "[nat]\nmax-sessions = {}\nmax-sessions-per-client = 0\nmax-ports-per-client = 0\n\
             pool = [{}]\n",
            PORTS + PORTS / 8,
            pool.join(", ")
        );
        fs::write(&config, text)?;
        Daemon::builder(lab).argument("--config").argument(&config.to_string_lossy()).start()
    })?;
    if kind == Kind::Nftables {
        let file = lab.directory().join("many-ports");
        fs::write(&file, rules())?;
        lab.router.run("nft", &["-f", &file.to_string_lossy()])?;
    }
    Ok(contestant)
}

fn external(index: u32) -> Ipv4Addr {
    match index {
        0 => EXTERNAL,
        _ => Ipv4Addr::from((u32::from(EXTERNAL) & !0xff) + FURTHER + index),
    }
}

/// The place of a client's address among the external ones.
fn place(client: Ipv4Addr) -> u32 {
    pool_index(NetAddr::from(client), ADDRESSES)
}

fn clients() -> impl Iterator<Item = Ipv4Addr> {
    (0..CLIENTS).map(|number| Ipv4Addr::from(u32::from(FIRST_CLIENT) + number))
}

/// One lookup in a map, as for port forwards; instead of the rules that were there.
fn rules() -> String {
    let places: Vec<_> =
        clients().map(|client| format!("{client} : {}", external(place(client)))).collect();
    let places = places.join(", ");
    format!(
        "flush ruleset\ntable ip bench {{\nchain out {{\ntype nat hook postrouting priority 100 ;\n\
         oifname \"wan0\" ip protocol udp snat to ip saddr map {{ {places} }} : {FIRST_PORT}-{LAST_PORT}\n}}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_equally_many_clients() {
        for index in 0..ADDRESSES {
            let share = clients().filter(|client| place(*client) == index).count();
            assert_eq!(share, (CLIENTS / ADDRESSES) as usize, "address {index}");
        }
    }
}
