//! A small client of PCP (RFC 6887), for operators and tests.

use super::{query, table::Row};
use crate::{
    datapath::now,
    mapping::Random,
    upstream::{Backoff, default_gateway},
    wire::pcp::{
        Filter, MAX_MESSAGE, Mapping, Nonce, Operation, PcpOption, RemotePeer, Request, Response,
        ResponseError, SERVER_PORT,
    },
};
use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use ipnet::Ipv4Net;
use nat_common::BootTime;
use serde_json::json;
use socket2::{Domain, Socket, Type};
use std::{
    fmt, fs,
    io::{self, ErrorKind, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    str::FromStr,
    time::Duration,
};

/// How many leading bits an IPv4-mapped address has before those of the IPv4 address.
const MAPPED_PREFIX: u8 = 96;

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

/// A server's address, the interface by which it is reached if that is said, and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    address: IpAddr,
    interface: Option<String>,
    port: u16,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "an address, with an interface or a port or without".to_owned();
        let (address, port) = match (text.strip_prefix('['), text.rsplit_once(':')) {
            (Some(text), _) => match text.split_once(']').ok_or_else(wrong)? {
                (address, "") => (address, None),
                (address, port) => (address, Some(port.strip_prefix(':').ok_or_else(wrong)?)),
            },
            (None, Some((address, port))) if !address.contains(':') => (address, Some(port)),
            (None, _) => (text, None),
        };
        let (address, interface) = match address.split_once('%') {
            Some((_, "")) => return Err(wrong()),
            Some((address, interface)) => (address, Some(interface.to_owned())),
            None => (address, None),
        };
        let address = address.parse().map_err(|_| wrong())?;
        let port = port.map_or(Ok(SERVER_PORT), str::parse).map_err(|_| wrong())?;
        Ok(Self { address, interface, port })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, &self.interface) {
            (IpAddr::V6(address), Some(interface)) => {
                write!(f, "[{address}%{interface}]:{}", self.port)
            }
            (address, _) => SocketAddr::new(address, self.port).fmt(f),
        }
    }
}

impl Server {
    /// A socket that leads there, and to nobody else.
    fn socket(&self) -> io::Result<UdpSocket> {
        let domain = Domain::for_address(SocketAddr::new(self.address, self.port));
        let socket = Socket::new(domain, Type::DGRAM, Some(socket2::Protocol::UDP))?;
        if let Some(interface) = &self.interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        socket.connect(&SocketAddr::new(self.address, self.port).into())?;
        Ok(socket.into())
    }
}

/// A nonce in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NonceArg(Nonce);

impl FromStr for NonceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "24 hexadecimal digits".to_owned();
        let digits = text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits).ok_or_else(wrong)?;
        let [_, _, _, _, nonce @ ..] = number.to_be_bytes();
        Ok(Self(Nonce(nonce)))
    }
}

/// A filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FilterArg(Filter);

impl FromStr for FilterArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "0.0.0.0/none" {
            let address = Ipv4Addr::UNSPECIFIED.into();
            return Ok(Self(Filter { prefix: 0, port: 0, address }));
        }
        let wrong = || "a network, and a port if only that one: 192.0.2.0/24:53".to_owned();
        let (network, port) = match text.split_once(':') {
            Some((network, port)) => (network, port.parse().map_err(|_| wrong())?),
            None => (text, 0),
        };
        let network: Ipv4Net = match network.parse::<Ipv4Addr>() {
            Ok(host) => host.into(),
            Err(_) => network.parse().map_err(|_| wrong())?,
        };
        let prefix = MAPPED_PREFIX + network.prefix_len();
        Ok(Self(Filter { prefix, port, address: network.network().into() }))
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
            None => Server { address: gateway()?.into(), interface: None, port: SERVER_PORT },
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

/// Sends a request until it is answered, by the timer of RFC 6887 8.1.1; `None` when that is not before
/// `end`.
fn exchange(
    socket: &UdpSocket,
    request: &Request,
    end: BootTime,
) -> anyhow::Result<Option<Response>> {
    let mut random = Random::new(fastrand::u64(..));
    let message = request.encode();
    let mut timer = Backoff::start(now(), &mut random);
    let mut buffer = [0; MAX_MESSAGE + 1];
    loop {
        socket.send(&message)?;
        loop {
            let left = timer.due.min(end).nanos_from(now());
            if left == 0 {
                break;
            }
            socket.set_read_timeout(Some(Duration::from_nanos(left)))?;
            let length = match socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    bail!("there is no server");
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            match Response::decode(buffer.get(..length).unwrap_or_default()) {
                Ok(response) if answers(&response, request) => return Ok(Some(response)),
                Err(ResponseError::Version(version)) => {
                    bail!("it does not speak this version of PCP, but {version} (0 is NAT-PMP)");
                }
                _ => {}
            }
        }
        if now() >= end {
            return Ok(None);
        }
        timer = timer.again(now(), &mut random);
    }
}

/// Whether a response is about a request (RFC 6887 8.3, 11.4).
fn answers(response: &Response, request: &Request) -> bool {
    let Some(told) = response.operation() else { return !response.is_success() };
    let of = |mapping: &Mapping| (mapping.nonce, mapping.protocol, mapping.internal_port);
    told.opcode() == request.operation.opcode()
        && told.mapping().map(of) == request.operation.mapping().map(of)
}

/// The default gateway.
fn gateway() -> anyhow::Result<Ipv4Addr> {
    let routes = fs::read_to_string("/proc/net/route").context("cannot read the routes")?;
    let interfaces = routes.lines().filter_map(|line| line.split_whitespace().next());
    let mut gateways = interfaces.filter_map(|interface| default_gateway(&routes, interface));
    gateways.next().context("there is no default gateway: name the server by --server")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::pcp::{Payload, ResultCode};

    const SOON: u64 = 30;

    fn mapping() -> Mapping {
        let nonce = Nonce(*b"twelve bytes");
        let external = Ipv4Addr::UNSPECIFIED.into();
        Mapping { nonce, protocol: 17, internal_port: 5600, external_port: 6000, external }
    }

    fn response(mapping: Mapping) -> Response {
        let payload = Payload::Known(Operation::Map(mapping), Vec::new());
        Response { result: ResultCode::Success, lifetime: 600, epoch: 9, payload }
    }

    #[test]
    fn words_of_the_command_line_are_read() {
        let nonce: NonceArg = "000102030405060708090a0b".parse().unwrap();
        assert_eq!(nonce.0.0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(format!("{:?}", nonce.0), "000102030405060708090a0b");
        for wrong in ["", "0", "+00102030405060708090a0b", "000102030405060708090a0b0c"] {
            assert!(wrong.parse::<NonceArg>().is_err(), "{wrong}");
        }
        let filter = |text: &str| text.parse::<FilterArg>().map(|it| it.0);
        let of = |prefix, port, address: &str| {
            Ok(Filter { prefix, port, address: address.parse().unwrap() })
        };
        assert_eq!(filter("192.0.2.9/24:53"), of(120, 53, "192.0.2.0"));
        assert_eq!(filter("192.0.2.9"), of(128, 0, "192.0.2.9"));
        assert_eq!(filter("0.0.0.0/none"), of(0, 0, "0.0.0.0"));
        assert!(filter("192.0.2.0/33").is_err() && filter("192.0.2.0/24:x").is_err());
        let server = |text: &str| text.parse::<Server>().map(|it| it.to_string());
        assert_eq!(server("192.0.2.1"), Ok("192.0.2.1:5351".to_owned()));
        assert_eq!(server("192.0.2.1:77"), Ok("192.0.2.1:77".to_owned()));
        for (text, told) in [
            ("2001:db8::1", "[2001:db8::1]:5351"),
            ("[2001:db8::1]:77", "[2001:db8::1]:77"),
            ("fe80::1%wan0", "[fe80::1%wan0]:5351"),
            ("[fe80::1%wan0]", "[fe80::1%wan0]:5351"),
        ] {
            assert_eq!(server(text), Ok(told.to_owned()));
        }
        for wrong in ["x", "fe80::1%", "[::1", "[::1]77", "192.0.2.1:x", ""] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_to_somebody_elses_request_is_passed_over() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server.local_addr().unwrap()).unwrap();
        let client: IpAddr = Ipv4Addr::LOCALHOST.into();
        let operation = Operation::Map(mapping());
        let request = Request { lifetime: 600, client, operation, options: Vec::new() };
        let foreign = Mapping { nonce: Nonce([0; 12]), ..mapping() };
        for message in [b"x".to_vec(), response(foreign).encode(), response(mapping()).encode()] {
            server.send_to(&message, socket.local_addr().unwrap()).unwrap();
        }
        let answer = exchange(&socket, &request, now().plus_secs(SOON)).unwrap();
        assert_eq!(answer, Some(response(mapping())));
        assert_eq!(exchange(&socket, &request, now()).unwrap(), None);
    }

    #[test]
    fn a_server_of_another_version_is_told() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server.local_addr().unwrap()).unwrap();
        let client: IpAddr = Ipv4Addr::LOCALHOST.into();
        let operation = Operation::Announce;
        let request = Request { lifetime: 0, client, operation, options: Vec::new() };
        server.send_to(&[0, 0, 0, 1, 0, 0, 0, 9], socket.local_addr().unwrap()).unwrap();
        let told = exchange(&socket, &request, now().plus_secs(SOON)).unwrap_err().to_string();
        assert!(told.contains("but 0"), "{told}");
    }
}
