//! A network namespace, and ways to act inside it.

use super::process::{Finished, Process};
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long a command of the lab may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a socket of the lab waits for an answer unless told otherwise.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Room in a UDP socket of the lab for packets that wait to be read.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A network namespace under `/run/netns`, removed on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    kept: bool,
}

impl Namespace {
    /// Makes a namespace with its loopback up.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn new(name: String) -> Result<Self> {
        command("ip", &["netns", "add", &name])?;
        let namespace = Self { name, kept: false };
        // Addresses must be usable at once: no duplicate address detection.
        for scope in ["all", "default"] {
            namespace.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
        }
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The name that `ip netns` knows.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Leaves the namespace in place when the guard goes.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Runs `action` on a thread of its own inside the namespace. Sockets that it returns stay there.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or `action` panics.
    pub fn enter<T: Send>(&self, action: impl FnOnce() -> T + Send) -> Result<T> {
        let file = File::open(Path::new("/run/netns").join(&self.name))
            .with_context(|| format!("namespace {} is gone", self.name))?;
        std::thread::scope(|scope| {
            let entered = scope.spawn(move || -> Result<T> {
                setns(&file, CloneFlags::CLONE_NEWNET).context("setns")?;
                Ok(action())
            });
            match entered.join() {
                Ok(result) => result,
                Err(_) => bail!("a thread inside namespace {} panicked", self.name),
            }
        })
    }

    /// A command that will run inside the namespace; its process id is that of `program` itself.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a program inside and returns how it ended, whatever its status.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time.
    pub fn output(&self, program: &str, args: &[&str]) -> Result<Finished> {
        let mut command = self.command(program);
        command.args(args);
        Process::spawn(&mut command)?.finish(COMMAND_TIMEOUT)
    }

    /// Runs a program inside and returns what it printed on its standard output.
    ///
    /// # Errors
    /// As for [`Self::output`], and when its status is not 0.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        self.output(program, args)?.success()
    }

    /// Runs `ip` on this namespace.
    ///
    /// # Errors
    /// When it fails.
    pub fn ip(&self, args: &[&str]) -> Result<String> {
        command("ip", &[&["-n", self.name.as_str()], args].concat())
    }

    /// Makes an interface for a VLAN of another interface, with an address such as `192.168.79.1/24`, and
    /// returns its name. See [`Feature::VlanDevices`](super::Feature::VlanDevices).
    ///
    /// # Errors
    /// When `ip` fails, as on a kernel without VLAN devices.
    pub fn add_vlan(&self, interface: &str, id: u16, address: &str) -> Result<String> {
        let name = format!("{interface}.{id}");
        let kind = ["type", "vlan", "id", &id.to_string()];
        self.ip(&[&["link", "add", "link", interface, "name", &name], kind.as_slice()].concat())?;
        self.ip(&["address", "add", address, "dev", &name])?;
        self.ip(&["link", "set", &name, "up"])?;
        Ok(name)
    }

    /// Sets a variable under `/proc/sys`, named with slashes.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn sysctl(&self, variable: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(variable);
        self.enter(|| fs::write(&path, value))?
            .with_context(|| format!("cannot set {variable} to {value}"))
    }

    /// A UDP socket bound to `address`, which waits [`ANSWER_TIMEOUT`] for each packet.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn udp(&self, address: &str) -> Result<UdpSocket> {
        let socket = self
            .enter(|| UdpSocket::bind(address))?
            .with_context(|| format!("cannot bind UDP {address} in {}", self.name))?;
        // A busy machine may leave packets waiting for long.
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(socket)
    }

    /// A TCP listener on `address`.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn tcp_listener(&self, address: &str) -> Result<TcpListener> {
        self.enter(|| TcpListener::bind(address))?
            .with_context(|| format!("cannot listen on TCP {address} in {}", self.name))
    }

    /// Connects from `source` (port 0 for any) to `remote`. The outer result is about the lab, the
    /// inner one about the connection.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn tcp_connect_from(
        &self,
        source: SocketAddrV4,
        remote: SocketAddrV4,
        timeout: Duration,
    ) -> Result<io::Result<TcpStream>> {
        self.enter(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&source.into())?;
            socket.connect_timeout(&remote.into(), timeout)?;
            let stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
            Ok(stream)
        })
    }

    /// Connects to `remote` from whatever address the routing table says.
    ///
    /// # Errors
    /// As for [`Self::tcp_connect_from`], and when the connection fails.
    pub fn tcp_connect(&self, remote: SocketAddrV4) -> Result<TcpStream> {
        let any = SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0);
        self.tcp_connect_from(any, remote, ANSWER_TIMEOUT)?
            .with_context(|| format!("cannot connect from {} to {remote}", self.name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = command("ip", &["netns", "del", &self.name]) {
            eprintln!("namespace {} stays behind: {error:#}", self.name);
        }
    }
}

/// Runs a program outside of all namespaces and returns what it printed on its standard output.
///
/// # Errors
/// When it fails or does not end in time.
pub fn command(program: &str, args: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    Process::spawn(&mut command)?.finish(COMMAND_TIMEOUT)?.success()
}
