//! Two players behind one gateway, with one game that wants one port.

use anyhow::{Context, Result, ensure};
use nat_tests::client::soap::{MAPPING, Mapping};
use nat_tests::client::{Gateway, Upnpc};
use nat_tests::daemon::Daemon;
use nat_tests::lab::{
    EXTERNAL, LAN_HOST, Lab, Namespace, OTHER_WAN_HOST, SECOND_LAN_HOST, UdpReflector, WAN_HOST,
    udp_seen_as,
};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

const GAME: u16 = 3074;
/// Two servers of the game, or one server and a player elsewhere.
const SERVERS: [SocketAddrV4; 2] =
    [SocketAddrV4::new(WAN_HOST, 7000), SocketAddrV4::new(OTHER_WAN_HOST, 7001)];

/// The game's socket on a player's host.
fn game(host: &Namespace, address: Ipv4Addr) -> Result<UdpSocket> {
    host.udp(&SocketAddrV4::new(address, GAME).to_string())
}

/// The players' games, which have these external ports, can be called from the WAN and from each
/// other, and leave by those ports whomever they talk to.
fn play(lab: &Lab, ports: [u16; 2]) -> Result<()> {
    let _servers = (
        UdpReflector::start(&lab.wan, &SERVERS[0].to_string())?,
        UdpReflector::start(&lab.wan, &SERVERS[1].to_string())?,
    );
    let games = [game(&lab.lan, LAN_HOST)?, game(lab.second_lan()?, SECOND_LAN_HOST)?];
    let mut buffer = [0; 64];
    for (game, port) in games.iter().zip(ports) {
        let outside = SocketAddrV4::new(EXTERNAL, port);
        for server in SERVERS {
            assert_eq!(udp_seen_as(game, server)?, outside);
        }
        let caller = lab.wan.udp("11.22.33.9:0")?;
        caller.send_to(b"join", outside)?;
        let (length, from) = game.recv_from(&mut buffer).context("nobody joins")?;
        game.send_to(buffer.get(..length).unwrap_or_default(), from)?;
        let (_, answered) = caller.recv_from(&mut buffer).context("no answer")?;
        assert_eq!(answered, outside.into());
    }
    let [one, other] = &games;
    let [one_port, other_port] = ports.map(|port| SocketAddrV4::new(EXTERNAL, port));
    for (caller, from, called, to) in
        [(one, one_port, other, other_port), (other, other_port, one, one_port)]
    {
        caller.send_to(b"hello", to)?;
        let (_, seen) = called.recv_from(&mut buffer).context("players do not meet")?;
        assert_eq!(seen, from.into());
    }
    Ok(())
}

#[test]
fn two_players_of_one_game_each_get_a_port_of_their_own() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = Daemon::start(&lab)?;
    let players = [Gateway::discover(&lab.lan)?, Gateway::discover(lab.second_lan()?)?];
    let wanted = Mapping { external_port: "3074", internal_port: "3074", ..MAPPING };
    let second = Mapping { client: "192.168.78.2", ..wanted };
    players[0].add(&wanted)?.success()?;
    assert_eq!(players[1].add(&second)?.error_code(), Some(718), "ConflictInMappingEntry");
    let reserved = players[1].add_any(&second)?.success()?;
    let port: u16 = reserved.value("NewReservedPort").context("no port")?.parse()?;
    assert_ne!(port, GAME);
    // Asking again is no reason to get another.
    players[0].add(&wanted)?.success()?;
    assert_eq!(daemon.mappings()?.len(), 2);
    play(&lab, [GAME, port])?;
    daemon.stop()?;
    lab.finish()
}

#[test]
fn two_players_with_upnpc_each_get_a_port_of_their_own() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = Daemon::start(&lab)?;
    let there = lab.second_lan()?;
    let urls = [Gateway::discover(&lab.lan)?.location, Gateway::discover(there)?.location];
    let players = [Upnpc::at(&lab.lan, &urls[0]), Upnpc::at(there, &urls[1])];
    players[0].run(&["-a", "192.168.77.2", "3074", "3074", "UDP", "3600"])?;
    let refused = players[1].output(&["-a", "192.168.78.2", "3074", "3074", "UDP", "3600"])?;
    let printed = format!("{}{}", refused.stdout, refused.stderr);
    ensure!(printed.contains("718"), "{printed}");
    let printed = players[1].run(&["-n", "192.168.78.2", "3074", "3074", "UDP", "3600"])?;
    let port = printed
        .lines()
        .find_map(|line| line.strip_prefix("external 11.22.33.1:")?.split(' ').next())
        .with_context(|| format!("no port in {printed}"))?;
    play(&lab, [GAME, port.parse()?])?;
    daemon.stop()?;
    lab.finish()
}

/// The other way round: the game has played before anybody asks for a port.
#[test]
fn a_player_who_has_played_already_moves_to_the_port_that_he_gets() -> Result<()> {
    let lab = Lab::builder().second_lan().build()?;
    let daemon = Daemon::start(&lab)?;
    let _server = UdpReflector::start(&lab.wan, &SERVERS[0].to_string())?;
    let early = game(lab.second_lan()?, SECOND_LAN_HOST)?;
    let before = udp_seen_as(&early, SERVERS[0])?;
    let player = Gateway::discover(lab.second_lan()?)?;
    let wanted = Mapping {
        external_port: "30740",
        internal_port: "3074",
        client: "192.168.78.2",
        ..MAPPING
    };
    player.add(&wanted)?.success()?;
    // The running flow keeps its port, or its server would lose it; new ones use the forwarded one.
    assert_eq!(udp_seen_as(&early, SERVERS[0])?, before);
    let _other = UdpReflector::start(&lab.wan, &SERVERS[1].to_string())?;
    assert_eq!(udp_seen_as(&early, SERVERS[1])?, SocketAddrV4::new(EXTERNAL, 30_740));
    daemon.stop()?;
    lab.finish()
}
