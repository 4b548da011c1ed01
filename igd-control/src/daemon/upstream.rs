//! The NAT upstream: its sockets, and who waits for its answers.

use super::shared::{Shared, lock};
use crate::{
    config::{self, PrivateAddress, UpstreamServer},
    igd::{Done, Gateway, Invocation, Outside, Touched, is_private},
    mapping::PacketPath,
    shutdown::Shutdown,
    upstream::{Client, Interworking, Outcome, Port, State, default_gateway, first_address, lan},
    wire::pcp::{CLIENT_PORT, ResultCode},
};
use nat_common::BootTime;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    sync::{Notify, oneshot, watch},
    time::{Instant, sleep, timeout_at},
};
use uuid::Uuid;

/// How long a control point may wait for the server's answer: one error is waited out meanwhile, for 30
/// seconds.
const CONTROL_TIME: Duration = Duration::from_secs(45);
/// How long a client of PCP or NAT-PMP may: it asks again by itself.
const PCP_TIME: Duration = Duration::from_secs(2);
/// Between looks for the server.
const LOOK: Duration = Duration::from_secs(30);
/// Longest datagram that is looked at, bytes.
const DATAGRAM: usize = 2_048;
/// After a failed receive, so that the failure does not spin.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);
/// The file of the secret in the directory of the daemon's state.
const SECRET: &str = "upstream-secret";

/// Whether the gateway is itself behind a NAT, by its own address and the one that a server upstream has
/// given.
pub(super) fn is_behind_nat(own: Option<Ipv4Addr>, given: Option<Ipv4Addr>) -> bool {
    own.is_some_and(|own| is_private(own) || given.is_some_and(|given| given != own))
}

/// The same, for people.
pub(super) fn behind_nat(own: Option<Ipv4Addr>, given: Option<Ipv4Addr>) -> &'static str {
    match own {
        Some(own) if given.is_some_and(|given| given != own) => "yes: the one upstream says so",
        Some(own) if is_private(own) => "yes: the address of the WAN interface is private",
        Some(_) => "no",
        None => "not known",
    }
}

type Waiters = HashMap<Port, Vec<oneshot::Sender<(Port, Outcome)>>>;

/// The mirror of the table, and who waits for what comes of it.
pub(super) struct Upstream {
    machine: Mutex<Interworking>,
    waiters: Mutex<Waiters>,
    /// There are datagrams to send.
    wake: Notify,
}

/// Somebody waits for the server.
pub(super) struct Wait {
    port: Port,
    receiver: oneshot::Receiver<(Port, Outcome)>,
    touched: Touched,
}

impl Upstream {
    /// The mirror, where one is configured. Nonces are made of a secret in `state_dir`.
    pub(super) fn new(config: &config::Upstream, state_dir: Option<&Path>) -> Option<Self> {
        if !config.is_on() {
            return None;
        }
        let hides = config.private_address == PrivateAddress::Empty;
        let machine = Interworking::new(secret(state_dir), fastrand::u64(..), hides);
        Some(Self { machine: Mutex::new(machine), waiters: Mutex::default(), wake: Notify::new() })
    }

    /// Where the server is, or that it is nowhere.
    pub(super) fn server_is(&self, server: Option<Ipv4Addr>) {
        lock(&self.machine).server_is(server);
    }

    /// What an operator is told.
    pub(super) fn state(&self) -> State {
        lock(&self.machine).state()
    }

    /// Brings table and server together, and tells who waits.
    pub(super) fn follow<P: PacketPath>(&self, now: BootTime, gateway: &mut Gateway<P>) {
        let mut machine = lock(&self.machine);
        let outcomes = machine.follow(now, gateway);
        if machine.client_mut().is_some_and(|client| client.has_datagrams()) {
            self.wake.notify_one();
        }
        let mut waiters = lock(&self.waiters);
        for (port, outcome) in outcomes {
            let waiting = waiters.remove(&port).unwrap_or_default();
            match outcome {
                Outcome::Moved(to) => waiters.entry(to).or_default().extend(waiting),
                outcome => {
                    for sender in waiting {
                        // Who has gone away needs no answer.
                        let _ = sender.send((port, outcome));
                    }
                }
            }
        }
        // The server has fallen silent, or somebody has removed what was waited for.
        waiters.retain(|port, waiting| {
            waiting.retain(|sender| !sender.is_closed());
            !waiting.is_empty() && machine.is_pending(*port)
        });
    }

    /// After an action: whoever has asked for it waits if the server has a say in it.
    pub(super) fn begin<P: PacketPath>(
        &self,
        now: BootTime,
        gateway: &mut Gateway<P>,
    ) -> Option<Wait> {
        let touched = gateway.take_touched();
        let mut port = None;
        match touched {
            Some(Touched::Made { key, any }) => {
                port = Some(Port::from(&key));
                if any {
                    lock(&self.machine).may_move(Port::from(&key));
                }
            }
            Some(Touched::Missing(key)) => {
                let asked = Port::from(&key);
                port = lock(&self.machine).probe(now, asked).then_some(asked);
            }
            None => {}
        }
        let Some((port, touched)) = port.zip(touched) else {
            self.follow(now, gateway);
            return None;
        };
        let receiver = self.wait_for(port);
        self.follow(now, gateway);
        Some(Wait { port, receiver, touched })
    }

    /// Tells what comes of a port, from the next time on that [`Self::follow`] is called; closed when
    /// there is nothing to wait for.
    fn wait_for(&self, port: Port) -> oneshot::Receiver<(Port, Outcome)> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiters).entry(port).or_default().push(sender);
        receiver
    }

    /// Whether a port's answer is still to come.
    fn is_pending(&self, port: Port) -> bool {
        lock(&self.machine).is_pending(port)
    }
}

/// An answer to a client of PCP or NAT-PMP that grants it a port.
struct Grant<'a> {
    request: &'a [u8],
    answer: &'a mut Option<Vec<u8>>,
    port: Port,
    receiver: oneshot::Receiver<(Port, Outcome)>,
}

impl Upstream {
    /// Before the table is mirrored after answers to clients of PCP and NAT-PMP: which of them the server
    /// has a say in.
    fn grants<'a>(
        &self,
        requests: &'a [(Ipv4Addr, Vec<u8>)],
        answers: &'a mut [Option<Vec<u8>>],
    ) -> Vec<Grant<'a>> {
        let pairs = requests.iter().zip(answers);
        let grants = pairs.filter_map(|((_, request), answer)| {
            let (port, chosen_here) = lan::granted(request, answer.as_ref()?)?;
            if chosen_here {
                lock(&self.machine).may_move(port);
            }
            Some(Grant { request, answer, port, receiver: self.wait_for(port) })
        });
        grants.collect()
    }

    /// Has answers say what the server says. Where it has not spoken in time nothing is answered: the
    /// client asks again.
    async fn settle(&self, clock: fn() -> BootTime, grants: Vec<Grant<'_>>) {
        let deadline = Instant::now() + PCP_TIME;
        for Grant { request, answer, port, receiver } in grants {
            let port = match timeout_at(deadline, receiver).await {
                Err(_) | Ok(Ok((_, Outcome::Lost))) => {
                    *answer = None;
                    continue;
                }
                Ok(Ok((_, Outcome::Refused(code)))) => {
                    *answer = answer.as_ref().map(|answer| lan::refused(request, answer, code));
                    continue;
                }
                Ok(Ok((port, _))) => port,
                Ok(Err(_)) => port,
            };
            let granted = lock(&self.machine).granted_for(clock(), port);
            if let (Some(answer), Some(seconds)) = (answer, granted) {
                *answer = lan::adjusted(answer, port, seconds);
            }
        }
    }
}

impl<P: PacketPath + Send + 'static> Shared<P> {
    /// Answers clients of PCP and NAT-PMP, under `act`, as far as the server upstream lets them have it.
    pub(super) async fn relayed(
        &self,
        requests: &[(Ipv4Addr, Vec<u8>)],
        act: impl FnOnce(&mut Gateway<P>) -> Vec<Option<Vec<u8>>>,
    ) -> Vec<Option<Vec<u8>>> {
        let Some(upstream) = self.upstream() else { return self.change(|_, gateway| act(gateway)) };
        let mut answers = Vec::new();
        let grants = self.change(|_, gateway| {
            answers = act(gateway);
            upstream.grants(requests, &mut answers)
        });
        upstream.settle(self.clock(), grants).await;
        answers
    }

    /// What an action comes to once the server upstream has spoken.
    pub(super) async fn settled(&self, invocation: &Invocation, done: Done, wait: Wait) -> Done {
        let Wait { port, receiver, touched } = wait;
        let any = matches!(touched, Touched::Made { any: true, .. });
        let heard = timeout_at(Instant::now() + CONTROL_TIME, receiver).await;
        match (touched, heard) {
            (Touched::Made { .. }, Err(_)) => {
                self.give_up(port);
                Done::unanswered()
            }
            (Touched::Made { .. }, Ok(Ok((port, Outcome::Granted)))) if any => {
                Done::reserved(port.number)
            }
            (Touched::Made { .. }, Ok(Ok((_, Outcome::Refused(code))))) => {
                Done::refused_upstream(invocation.tree(), code)
            }
            (Touched::Made { .. }, Ok(Ok((_, Outcome::Lost)))) => Done::unanswered(),
            // Somebody else's at the NAT upstream, whom we do not see.
            (
                Touched::Missing(_),
                Ok(Ok((_, Outcome::Refused(code @ ResultCode::CannotProvideExternal)))),
            ) => Done::refused_upstream(invocation.tree(), code),
            _ => done,
        }
    }

    /// Nobody waits any more for a mapping that the server has not granted.
    fn give_up(&self, port: Port) {
        self.change(|now, gateway| {
            let Some(upstream) = self.upstream() else { return };
            if upstream.is_pending(port) {
                gateway.drop_leased(now, port.protocol, port.number);
                upstream.follow(now, gateway);
            }
        });
    }

    /// What an operator is told of the server; `None` where none is configured.
    pub(super) fn upstream_state(&self) -> Option<State> {
        self.upstream().map(Upstream::state)
    }

    /// Has the client of the server do something, and brings table and server together. Returns what is
    /// to be sent from which address where, and when there is more to do.
    pub(super) fn turn(&self, act: impl FnOnce(BootTime, &mut Client)) -> Turn {
        self.change(|now, gateway| {
            let Some(upstream) = self.upstream() else { return Turn::default() };
            if let Some(client) = lock(&upstream.machine).client_mut() {
                act(now, client);
            }
            upstream.follow(now, gateway);
            let mut machine = lock(&upstream.machine);
            let Some(client) = machine.client_mut() else { return Turn::default() };
            Turn {
                ends: Some((client.config().own, client.config().server)),
                datagrams: client.take_datagrams(),
                next: client.next().map(|next| Duration::from_nanos(next.nanos_from(now))),
            }
        })
    }
}

/// What the socket has to do.
#[derive(Debug, Default)]
pub(super) struct Turn {
    ends: Option<(Ipv4Addr, SocketAddrV4)>,
    pub(super) datagrams: Vec<Vec<u8>>,
    next: Option<Duration>,
}

/// What carries the datagrams.
pub(super) struct Carrier {
    wan: String,
    server: UpstreamServer,
    file: Option<PathBuf>,
    sockets: Option<Sockets>,
}

struct Sockets {
    own: Ipv4Addr,
    socket: UdpSocket,
    /// For announcements; without it, they are not heard.
    announcements: Option<UdpSocket>,
}

impl Carrier {
    pub(super) fn new(config: &config::Upstream, wan: &str) -> Self {
        Self {
            wan: wan.to_owned(),
            server: config.server().unwrap_or(UpstreamServer::None),
            file: config.server_file().map(Path::to_owned),
            sockets: None,
        }
    }

    /// Carries datagrams until `shutdown`.
    pub(super) async fn run<P: PacketPath + Send + 'static>(
        mut self,
        shared: Arc<Shared<P>>,
        mut network: watch::Receiver<()>,
        mut shutdown: Shutdown,
    ) {
        let Some(upstream) = shared.upstream() else { return shutdown.wait().await };
        let mut looked: Option<Instant> = None;
        let mut heard: Option<(bool, SocketAddrV4, Vec<u8>)> = None;
        let (mut buffer, mut overheard) = ([0; DATAGRAM], [0; DATAGRAM]);
        loop {
            if looked.is_none_or(|at| at.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                network.mark_unchanged();
                upstream.server_is(self.server());
            }
            let turn = shared.turn(|now, client| match heard.take() {
                Some((false, from, datagram)) => client.hear(now, from, &datagram),
                Some((true, from, datagram)) => client.overhear(now, from, &datagram),
                None => {}
            });
            self.send(&turn).await;
            let next = turn.next.unwrap_or(LOOK).min(LOOK);
            tokio::select! {
                () = shutdown.wait() => return,
                () = sleep(next) => {}
                () = upstream.wake.notified() => {}
                Ok(()) = network.changed() => looked = None,
                got = receive(self.sockets.as_ref().map(|own| &own.socket), &mut buffer) => {
                    heard = got.map(|(from, datagram)| (false, from, datagram));
                }
                got = receive(
                    self.sockets.as_ref().and_then(|own| own.announcements.as_ref()),
                    &mut overheard,
                ) => {
                    heard = got.map(|(from, datagram)| (true, from, datagram));
                }
            }
        }
    }

    /// Where the server is.
    fn server(&self) -> Option<Ipv4Addr> {
        let by_file = self.file.as_ref().and_then(|path| {
            let text = fs::read_to_string(path).ok()?;
            first_address(&text)
        });
        by_file.or_else(|| match self.server {
            UpstreamServer::None => None,
            UpstreamServer::At(address) => Some(address),
            UpstreamServer::Gateway => {
                default_gateway(&fs::read_to_string("/proc/net/route").ok()?, &self.wan)
            }
        })
    }

    async fn send(&mut self, turn: &Turn) {
        let Some((own, server)) = turn.ends else {
            self.sockets = None;
            return;
        };
        if self.sockets.as_ref().is_none_or(|sockets| sockets.own != own) {
            self.sockets = match Sockets::open(&self.wan, own) {
                Ok(sockets) => Some(sockets),
                Err(error) => {
                    tracing::warn!("cannot ask the NAT upstream from {own}: {error}");
                    None
                }
            };
        }
        let Some(sockets) = &self.sockets else { return };
        for datagram in &turn.datagrams {
            if let Err(error) = sockets.socket.send_to(datagram, server).await {
                tracing::debug!(%server, "PCP send: {error}");
            }
        }
    }
}

impl Sockets {
    fn open(wan: &str, own: Ipv4Addr) -> io::Result<Self> {
        let open = |address: Ipv4Addr, port: u16, shared: bool| {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            socket.bind_device(Some(wan.as_bytes()))?;
            socket.set_reuse_address(shared)?;
            socket.bind(&SocketAddrV4::new(address, port).into())?;
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket.into())
        };
        let announcements = open(Ipv4Addr::UNSPECIFIED, CLIENT_PORT, true);
        if let Err(error) = &announcements {
            tracing::info!("announcements of the NAT upstream are not heard: {error}");
        }
        Ok(Self { own, socket: open(own, 0, false)?, announcements: announcements.ok() })
    }
}

/// The next datagram of a socket; never, if there is none.
async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> Option<(SocketAddrV4, Vec<u8>)> {
    let Some(socket) = socket else { return std::future::pending().await };
    match socket.recv_from(buffer).await {
        Ok((length, SocketAddr::V4(from))) => {
            Some((from, buffer.get(..length).unwrap_or_default().to_vec()))
        }
        Ok(_) => None,
        Err(error) => {
            // An ICMP error about a request tells nothing: it is asked again anyway.
            if error.kind() != ErrorKind::ConnectionRefused {
                tracing::debug!("PCP receive: {error}");
            }
            sleep(RECEIVE_PAUSE).await;
            None
        }
    }
}

/// The secret of before, or a new one, which is kept if that can be.
fn secret(state_dir: Option<&Path>) -> Uuid {
    let file = state_dir.map(|directory| directory.join(SECRET));
    let kept = file.as_ref().and_then(|file| fs::read_to_string(file).ok());
    if let Some(secret) = kept.and_then(|text| Uuid::parse_str(text.trim()).ok()) {
        return secret;
    }
    let secret = random().map_or_else(|_| Uuid::from_u128(fastrand::u128(..)), Uuid::from_bytes);
    if let Some(file) = file
        && let Err(error) = keep(&file, secret)
    {
        tracing::warn!(
            "the secret of upstream mappings cannot be kept in {}: {error}",
            file.display()
        );
    }
    secret
}

fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn keep(file: &Path, secret: Uuid) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let new = file.with_extension("new");
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600);
    open.open(&new)?.write_all(secret.to_string().as_bytes())?;
    fs::rename(new, file)
}

/// What the gateway says of the world beyond at its start.
pub(super) fn at_start(config: &config::Upstream) -> Outside {
    let hides_private = config.private_address == PrivateAddress::Empty;
    Outside { upstream: config.is_on().then_some(None), hides_private }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_the_same_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let first = secret(Some(&path));
        assert_eq!(secret(Some(&path)), first);
        assert_ne!(secret(None), first);
        fs::write(path.join(SECRET), "x").unwrap();
        assert_ne!(secret(Some(&path)), first, "unreadable");
    }

    #[test]
    fn a_private_address_or_another_one_upstream_is_a_nat() {
        let public = Some(Ipv4Addr::new(11, 22, 33, 1));
        let private = Some(Ipv4Addr::new(100, 64, 0, 2));
        for (own, given, expected) in [
            (public, None, false),
            (public, public, false),
            (private, None, true),
            (private, public, true),
            (public, Some(Ipv4Addr::new(11, 22, 33, 9)), true),
            (None, None, false),
        ] {
            assert_eq!(is_behind_nat(own, given), expected);
            assert_eq!(behind_nat(own, given).starts_with("yes"), expected);
        }
    }
}
