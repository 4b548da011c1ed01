//! The counters explain every packet: what was sent was received, or dropped and counted by its reason.

use anyhow::{Result, ensure};
use nat_common::Counter;
use nat_tests::client::{Gateway, soap::MAPPING};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    ANSWER_TIMEOUT, EXTERNAL, LAN_HOST, Lab, SECOND_LAN_HOST, TcpReflector, WAN_HOST, tcp_seen_as,
    wait_until,
};
use nat_tests::ledger::Ledger;
use nat_tests::stream::{Echo, PACE, Stream};
use std::net::SocketAddrV4;

const SERVER: SocketAddrV4 = SocketAddrV4::new(WAN_HOST, 7000);
const FORWARDED: SocketAddrV4 = SocketAddrV4::new(EXTERNAL, 6000);

#[test]
fn every_packet_of_streams_both_ways_and_of_a_connection_is_counted_once() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = Daemon::start(&lab)?;
    Gateway::discover(&lab.lan)?.add(&MAPPING)?.success()?;
    let inside = SocketAddrV4::new(LAN_HOST, 5600);
    let _echoes = (Echo::start(&lab.wan, SERVER)?, Echo::start(&lab.lan, inside)?);
    let _server = TcpReflector::start(&lab.wan, &SERVER.to_string())?;
    let ledger = Ledger::open(&lab, &daemon)?;
    let there = SocketAddrV4::new(SECOND_LAN_HOST, 5700).to_string();
    let streams = [
        Stream::start(lab.lan.udp("192.168.77.2:5700")?, SERVER, PACE)?,
        Stream::start(lab.wan.udp("11.22.33.9:0")?, FORWARDED, PACE)?,
        // One LAN calls the other by the external address.
        Stream::start(lab.second_lan()?.udp(&there)?, FORWARDED, PACE)?,
    ];
    for stream in &streams {
        stream.flows(100, ANSWER_TIMEOUT)?;
    }
    tcp_seen_as(&mut lab.lan.tcp_connect(SERVER)?)?;
    let (mut sent, mut returned, mut hairpins) = (0, 0, 0);
    for stream in streams {
        let journey = stream.finish()?;
        (sent, returned) = (sent + journey.sent(), returned + journey.returned());
        hairpins = journey.sent();
    }
    let balance = ledger.close(&lab, &daemon)?;
    balance.explain(sent, returned, &[])?;
    assert_eq!(balance.of(Counter::HairpinPackets), u64::try_from(2 * hairpins)?);
    ensure!(balance.of(Counter::OutboundPackets) > u64::try_from(sent - hairpins)?, "and TCP's");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn packets_without_an_external_address_are_counted_as_such() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let _echo = Echo::start(&lab.wan, SERVER)?;
    let ledger = Ledger::open(&lab, &daemon)?;
    // The routes outlast the address.
    lab.router.ip(&["address", "add", "11.22.33.77/32", "dev", "lo"])?;
    lab.router.ip(&["route", "add", "11.22.33.0/25", "dev", "wan0", "src", "11.22.33.77"])?;
    let stream = Stream::start(lab.lan.udp("192.168.77.2:5700")?, SERVER, PACE)?;
    stream.flows(50, ANSWER_TIMEOUT)?;
    lab.router.ip(&["address", "del", "11.22.33.1/24", "dev", "wan0"])?;
    wait_until("drops", ANSWER_TIMEOUT, || Ok(daemon.counter("drop_disconnected")? > 50))?;
    lab.router.ip(&["address", "add", "11.22.33.1/24", "dev", "wan0"])?;
    stream.flows(50, ANSWER_TIMEOUT)?;
    let journey = stream.finish()?;
    let balance = ledger.close(&lab, &daemon)?;
    eprintln!("{journey:?}: {balance:?}");
    ensure!(balance.of(Counter::DropDisconnected) > 50);
    // The answers that were under way when the address went are the router's own, and nobody's.
    let lost = u64::try_from(journey.sent() - journey.returned())?;
    let explained = balance.dropped() + balance.of(Counter::PassLocal);
    ensure!(lost <= explained + balance.of(Counter::PassOtherRoute), "{journey:?}: {balance:?}");
    daemon.stop()?;
    lab.finish()
}

#[test]
fn what_nobody_has_mapped_is_counted_packet_by_packet() -> Result<()> {
    let lab = Lab::home()?;
    let daemon = Daemon::start(&lab)?;
    let remote_only = nat_tests::client::soap::Mapping { remote_host: "11.22.33.10", ..MAPPING };
    Gateway::discover(&lab.lan)?.add(&remote_only)?.success()?;
    let ledger = Ledger::open(&lab, &daemon)?;
    let unmapped = SocketAddrV4::new(EXTERNAL, 6001);
    let mut sent = 0;
    for to in [unmapped, FORWARDED] {
        let stream = Stream::start(lab.wan.udp("11.22.33.9:0")?, to, PACE)?;
        wait_until("a hundred packets", ANSWER_TIMEOUT, || Ok(stream.sent() >= 100))?;
        sent += stream.finish()?.sent();
    }
    let balance = ledger.close(&lab, &daemon)?;
    balance.explain(sent, 0, &[Counter::DropUnmapped, Counter::DropFiltered])?;
    ensure!(balance.of(Counter::DropUnmapped) >= 100 && balance.of(Counter::DropFiltered) >= 100);
    daemon.stop()?;
    lab.finish()
}
