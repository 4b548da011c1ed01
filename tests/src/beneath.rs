//! What the tests of a gateway beneath a carrier's NAT share.

use crate::client::Upnpc;
use crate::daemon::Daemon;
use crate::lab::{Carrier, FAR_HOST, LAN_HOST, Lab, WAN_FAR_SIDE, tcp_seen_as};
use crate::lease::udp_answers;
use anyhow::{Result, ensure};
use std::net::SocketAddrV4;
use std::time::Duration;

/// How long something may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);
/// How long a server that has lost its mappings may stay unnoticed: 5/8 of two minutes, and 5 seconds.
pub const NOTICED: Duration = Duration::from_secs(100);
/// Behind the mappings.
pub const INSIDE: &str = "192.168.77.2:5600";

/// A port of the carrier's, seen from the Internet.
pub const fn beyond(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(WAN_FAR_SIDE, port)
}

/// A daemon with this configuration, which finds its state of before.
///
/// # Errors
/// When it does not start.
pub fn start<'lab>(lab: &'lab Lab, configuration: &str) -> Result<Daemon<'lab>> {
    let state = lab.directory().join("state");
    Daemon::builder(lab).state(&state).configured(configuration)?.start()
}

/// The carrier with its PCP server, and a daemon that has found it.
///
/// # Errors
/// When either does not start.
pub fn served<'lab>(lab: &'lab Lab, configuration: &str) -> Result<(Carrier<'lab>, Daemon<'lab>)> {
    let mut carrier = Carrier::start(lab)?;
    carrier.serve(WAN_FAR_SIDE)?;
    let daemon = start(lab, configuration)?;
    says(&daemon, "0 of 0 mappings in force")?;
    Ok((carrier, daemon))
}

/// Opens port 6000 of the carrier to [`INSIDE`] by upnpc, for TCP and UDP, and has both come in from the Internet to
/// the reflectors that are there.
///
/// # Errors
/// When upnpc is told another address, or packets do not arrive and come back.
pub fn opened_by_upnpc<'lab>(
    lab: &'lab Lab,
    carrier: &Carrier<'_>,
    daemon: &Daemon<'_>,
) -> Result<Upnpc<'lab>> {
    let upnpc = Upnpc::searching(&lab.lan);
    for protocol in ["TCP", "UDP"] {
        let lan = LAN_HOST.to_string();
        let printed = upnpc.run(&["-a", &lan, "5600", "6000", protocol, "604800"])?;
        let redirected = format!("external {WAN_FAR_SIDE}:6000 {protocol} is redirected");
        ensure!(printed.contains(&redirected), "{printed}\n{}\n{}", carrier.log(), daemon.log());
    }
    let far = lab.far()?;
    let seen = tcp_seen_as(&mut far.tcp_connect(beyond(6000))?)?;
    ensure!(*seen.ip() == FAR_HOST, "{seen}");
    ensure!(udp_answers(far, beyond(6000))?, "no answer to UDP");
    Ok(upnpc)
}

/// Waits until `igd-control status` says this of the server.
///
/// # Errors
/// When it does not.
pub fn says(daemon: &Daemon<'_>, words: &str) -> Result<()> {
    daemon.wait_for_upstream(SOON, words)
}
