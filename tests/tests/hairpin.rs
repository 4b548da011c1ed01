//! LAN clients that ping each other by the external address.

use anyhow::Result;
use nat_tests::daemon::Daemon;
use nat_tests::lab::{EXTERNAL, Lab, Namespace, WAN_HOST};
use std::net::Ipv4Addr;

/// Pings twice with an identifier; tells what the last answer's TTL was.
fn ping(from: &Namespace, identifier: &str, target: Ipv4Addr) -> Result<u8> {
    let target = target.to_string();
    let args = ["-n", "-c", "2", "-i", "0.2", "-W", "3", "-e", identifier, &target];
    let output = from.run("ping", &args)?;
    let last = output.split("ttl=").last().unwrap_or_default();
    Ok(last.split(' ').next().unwrap_or_default().parse()?)
}

/// The router's own answers come with the kernel's TTL, those of a client with one hop less.
const ROUTERS: u8 = 64;
const CLIENTS: u8 = 63;

#[test]
fn a_client_s_identifier_is_pinged_by_the_external_address_from_both_lans() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = Daemon::start(&lab)?;
    let second = lab.second_lan()?;
    ping(&lab.lan, "4242", WAN_HOST)?;
    assert_eq!(ping(second, "4242", EXTERNAL)?, CLIENTS, "the other client answers");
    assert_eq!(daemon.counter("hairpin_packets")?, 4);
    assert_eq!(ping(second, "4243", EXTERNAL)?, ROUTERS, "nobody has this one");
    assert_eq!(ping(&lab.lan, "4242", EXTERNAL)?, ROUTERS, "its own");
    assert_eq!(ping(&lab.wan, "4242", EXTERNAL)?, ROUTERS, "from outside");
    // Both use one identifier for everything, and both are answered from everywhere.
    assert_eq!(ping(second, "4242", WAN_HOST)?, CLIENTS);
    assert_eq!(ping(&lab.lan, "4242", WAN_HOST)?, CLIENTS);
    assert_eq!(daemon.counter("hairpin_packets")?, 4);
    daemon.stop()?;
    lab.finish()
}
