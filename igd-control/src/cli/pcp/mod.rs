//! A small client of PCP (RFC 6887), for operators and tests.

mod exchange;
mod words;

use super::{query, table::Row};
use crate::{
    datapath::now,
    upstream::default_gateway,
    wire::pcp::{Mapping, Nonce, Operation, PcpOption, RemotePeer, Request, Response},
};
use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand, ValueEnum};
use exchange::exchange;
use serde_json::json;
use std::{
    fs,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};
use words::{FilterArg, NonceArg, Server};

#[derive(Debug, Subcommand)]
pub(super) enum PcpCommand {
    /// Ask for an external port for all who want to come in, or renew one by its nonce.
    Map(MapArgs),
    /// End what `map` has made.
    Unmap(UnmapArgs),
    /// Ask for an external port towards one remote peer.
    Peer(PeerArgs),
    /// Ask since when the server has known all that it should know.
    Announce(ServerArgs),
    /// List the mappings that clients of the running gateway have made by PCP and NAT-PMP.
    List(super::QueryArgs),
}

#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// The server, with a port if it is not 5351, and with an interface behind an address of the link, as
    /// in fe80::1%eth0 or [fe80::1%eth0]:5351; the default gateway, if not given.
    #[arg(long, value_name = "ADDRESS")]
    server: Option<Server>,
    /// Seconds until it is given up.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct MapArgs {
    #[command(flatten)]
    mapping: MappingArgs,
    /// This external port and address, or none.
    #[arg(long)]
    prefer_failure: bool,
    /// Let in only this network, and only one port of its hosts, as in 192.0.2.0/24:53; may be repeated.
    /// 0.0.0.0/none takes all filters away that there were before.
    #[arg(long, value_name = "NETWORK[:PORT]")]
    filter: Vec<FilterArg>,
}

#[derive(Debug, Args)]
pub(super) struct PeerArgs {
    #[command(flatten)]
    mapping: MappingArgs,
    /// The remote peer.
    #[arg(long, value_name = "ADDRESS:PORT")]
    remote: SocketAddr,
}

#[derive(Debug, Args)]
struct MappingArgs {
    #[command(flatten)]
    internal: InternalArgs,
    /// External port that would be liked; 0: whichever.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    external_port: u16,
    /// External address that would be liked.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    external_address: IpAddr,
    /// Seconds that it is to last.
    #[arg(long, value_name = "SECONDS", default_value_t = 7_200)]
    lifetime: u32,
    /// Nonce of the mapping, in hexadecimal; a new one, if not given.
    #[arg(long, value_name = "NONCE")]
    nonce: Option<NonceArg>,
}

#[derive(Debug, Args)]
pub(super) struct UnmapArgs {
    #[command(flatten)]
    internal: InternalArgs,
    /// Nonce of the mapping, as `map` has printed it.
    #[arg(long, value_name = "NONCE")]
    nonce: NonceArg,
}

#[derive(Debug, Args)]
struct InternalArgs {
    /// Protocol of the mapping; `all` has port 0.
    #[arg(value_enum)]
    protocol: Protocol,
    /// Internal port; 0: all of them.
    internal_port: u16,
    /// Host that the mapping is for, if it is not this one.
    #[arg(long, value_name = "ADDRESS")]
    third_party: Option<IpAddr>,
    #[command(flatten)]
    server: ServerArgs,
}

/// An upper-layer protocol.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
    All,
}

impl Protocol {
    const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::All => 0,
        }
    }
}

/// `igd-control pcp ...`
pub(super) fn run(command: &PcpCommand) -> anyhow::Result<()> {
    match command {
        PcpCommand::Map(args) => {
            let mut options: Vec<_> =
                args.filter.iter().map(|filter| PcpOption::Filter(filter.0)).collect();
            if args.prefer_failure {
                options.push(PcpOption::PreferFailure);
            }
            let operation = Operation::Map(args.mapping.mapping());
            tell(&args.mapping.internal, operation, args.mapping.lifetime, options)
        }
        PcpCommand::Peer(args) => {
            let remote = RemotePeer { port: args.remote.port(), address: args.remote.ip() };
            let operation = Operation::Peer(args.mapping.mapping(), remote);
            tell(&args.mapping.internal, operation, args.mapping.lifetime, Vec::new())
        }
        PcpCommand::Unmap(args) => {
            let mapping = args.internal.mapping(args.nonce.0);
            tell(&args.internal, Operation::Map(mapping), 0, Vec::new())
        }
        PcpCommand::Announce(server) => {
            let response = server.ask(Operation::Announce, 0, Vec::new())?;
            let epoch = response.epoch;
            print(server.json, &[("epoch", json!(epoch))])
        }
        PcpCommand::List(args) => {
            let by_pcp =
                |row: &Row| row.get("via").is_some_and(|via| *via == "pcp" || *via == "nat-pmp");
            query::some_mappings(&args.control_socket, args.json, by_pcp)
        }
    }
}

impl MappingArgs {
    fn mapping(&self) -> Mapping {
        let nonce = self.nonce.map_or_else(new_nonce, |nonce| nonce.0);
        Mapping {
            external_port: self.external_port,
            external: self.external_address,
            ..self.internal.mapping(nonce)
        }
    }
}

impl InternalArgs {
    fn mapping(&self, nonce: Nonce) -> Mapping {
        Mapping {
            nonce,
            protocol: self.protocol.number(),
            internal_port: self.internal_port,
            external_port: 0,
            external: Ipv4Addr::UNSPECIFIED.into(),
        }
    }
}

/// 96 bits that nobody guesses.
fn new_nonce() -> Nonce {
    let mut nonce = [0; 12];
    // The kernel's random numbers; without them, those of this process.
    if fs::File::open("/dev/urandom")
        .and_then(|mut file| io::Read::read_exact(&mut file, &mut nonce))
        .is_err()
    {
        fastrand::fill(&mut nonce);
    }
    Nonce(nonce)
}

/// Asks for a mapping, and prints what is granted.
fn tell(
    internal: &InternalArgs,
    operation: Operation,
    lifetime: u32,
    mut options: Vec<PcpOption>,
) -> anyhow::Result<()> {
    let third_party = internal.third_party.map(PcpOption::ThirdParty);
    options.splice(0..0, third_party);
    let response = internal.server.ask(operation, lifetime, options)?;
    let mapping = response.operation().and_then(Operation::mapping);
    let mapping = mapping.context("the server has answered something else")?;
    let mut lines = Vec::new();
    if response.lifetime > 0 {
        lines.push(("external_address", json!(mapping.external)));
        lines.push(("external_port", json!(mapping.external_port)));
    }
    lines.push(("lifetime", json!(response.lifetime)));
    lines.push(("epoch", json!(response.epoch)));
    lines.push(("nonce", json!(format!("{:?}", mapping.nonce))));
    print(internal.server.json, &lines)
}

fn print(as_json: bool, lines: &[(&str, serde_json::Value)]) -> anyhow::Result<()> {
    let mut out = io::stdout();
    if as_json {
        let object: Row =
            lines.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        return Ok(writeln!(out, "{}", serde_json::to_string(&object)?)?);
    }
    for (key, value) in lines {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        writeln!(out, "{:17} {value}", key.replace('_', " "))?;
    }
    Ok(())
}

impl ServerArgs {
    /// Asks the server, as often as it takes, and returns what it grants.
    fn ask(
        &self,
        operation: Operation,
        lifetime: u32,
        options: Vec<PcpOption>,
    ) -> anyhow::Result<Response> {
        let server = match &self.server {
            Some(server) => server.clone(),
            None => gateway()?.into(),
        };
        let socket = server.socket().with_context(|| format!("{server} cannot be reached"))?;
        let client = socket.local_addr()?.ip();
        let request = Request { lifetime, client, operation, options };
        let end = now().plus_secs(self.timeout.into());
        let response = exchange(&socket, &request, end)
            .with_context(|| format!("asking {server} by PCP"))?
            .with_context(|| format!("{server} does not answer by PCP"))?;
        ensure!(
            response.is_success(),
            "{server} answers {}; asking again may help after {} seconds",
            response.result,
            response.lifetime
        );
        Ok(response)
    }
}

/// The default gateway.
fn gateway() -> anyhow::Result<Ipv4Addr> {
    let routes = fs::read_to_string("/proc/net/route").context("cannot read the routes")?;
    let interfaces = routes.lines().filter_map(|line| line.split_whitespace().next());
    let mut gateways = interfaces.filter_map(|interface| default_gateway(&routes, interface));
    gateways.next().context("there is no default gateway: name the server by --server")
}
