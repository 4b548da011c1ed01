//! Who takes part: this daemon and miniupnpd, each in a router of its own; and a server that does nothing, which
//! tells what the load itself can do.

use super::http::{Answer, Service, parse};
use anyhow::{Context as _, Result};
use nat_tests::client::Gateway as Description;
use nat_tests::daemon::Daemon;
use nat_tests::lab::{Lab, ROUTER_LAN, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// This daemon.
    Ours,
    /// Debian's miniupnpd, which writes nftables' rules.
    Miniupnpd,
    /// A server that reads a request, answers it and does nothing.
    Nothing,
}

impl Kind {
    /// As a reader knows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "igd-control",
            Self::Miniupnpd => "miniupnpd",
            Self::Nothing => "load alone",
        }
    }
}

/// How long a daemon may take to serve.
const START_TIME: Duration = Duration::from_secs(30);

/// Requests and mappings are not limited, and everything is kept on disk, as it would be.
const OURS: &str = "[policy]\nrequests-per-second = 0\nmax-mappings = 65535\n\
                    max-mappings-per-client = 65535\n";

/// As the package's own script makes it, with what a home gateway has besides.
const NFTABLES: &str = "table inet filter {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname \"lan0\" accept
    jump miniupnpd
  }
  chain miniupnpd { }
  chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }
  chain postrouting {
    type nat hook postrouting priority 100;
    jump postrouting_miniupnpd
    oifname \"wan0\" masquerade
  }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
}
";

/// A gateway that serves.
pub(crate) struct Gateway<'lab> {
    pub(crate) kind: Kind,
    pub(crate) lab: &'lab Lab,
    pub(crate) service: Service,
    process: Running<'lab>,
}

enum Running<'lab> {
    Ours(Daemon<'lab>),
    /// Gone with this guard.
    Miniupnpd(Ended),
    Nothing(#[expect(dead_code, reason = "ends when it is dropped")] Server),
}

impl<'lab> Gateway<'lab> {
    pub(crate) fn start(kind: Kind, lab: &'lab Lab) -> Result<Self> {
        // One host stands for many here, and has as many connections.
        lab.lan.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
        let process = match kind {
            Kind::Ours => Running::Ours(ours(lab)?),
            Kind::Miniupnpd => Running::Miniupnpd(miniupnpd(lab)?),
            Kind::Nothing => {
                let server = Server::start(lab)?;
                let service = Service {
                    server: server.at,
                    path: "/".to_owned(),
                    kind: "urn:schemas-upnp-org:service:WANIPConnection:2".to_owned(),
                };
                return Ok(Self { kind, lab, service, process: Running::Nothing(server) });
            }
        };
        // miniupnpd tells nobody when it has begun to listen.
        let mut found = Description::discover(&lab.lan);
        wait_until("the gateway's answer to M-SEARCH", START_TIME, || {
            if found.is_err() {
                found = Description::discover(&lab.lan);
            }
            Ok(found.is_ok())
        })?;
        let found = found?;
        let service =
            Service { server: found.server, path: found.control, kind: found.service_type };
        Ok(Self { kind, lab, service, process })
    }

    /// KiB of memory that are resident, now and at most since it was last asked.
    pub(crate) fn resident(&self) -> Result<(f64, f64)> {
        let pid = match &self.process {
            Running::Ours(daemon) => daemon.pid().context("the daemon has ended")?,
            Running::Miniupnpd(process) => process.0.as_raw().unsigned_abs(),
            Running::Nothing(_) => return Ok((f64::NAN, f64::NAN)),
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let most = kib(&status, "VmHWM").context("no VmHWM")?;
        let now = kib(&status, "VmRSS").context("no VmRSS")?;
        // Resets the most (proc_pid_clear_refs(5)).
        fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
        Ok((now, most))
    }

    /// Ends it as it should end.
    pub(crate) fn stop(self) -> Result<()> {
        match self.process {
            Running::Ours(daemon) => daemon.stop().map(drop),
            Running::Miniupnpd(_) | Running::Nothing(_) => Ok(()),
        }
    }
}

/// A line of /proc/PID/status.
fn kib(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn ours(lab: &Lab) -> Result<Daemon<'_>> {
    let config = lab.directory().join("config.toml");
    fs::write(&config, OURS)?;
    let state = lab.directory().join("state");
    if state.exists() {
        fs::remove_dir_all(&state)?;
    }
    fs::create_dir(&state)?;
    let config = config.to_string_lossy();
    Daemon::builder(lab).argument("--config").argument(&config).state(&state).start()
}

/// Its process, which has left its parent: killed by its id.
struct Ended(Pid);

impl Drop for Ended {
    fn drop(&mut self) {
        // At SIGTERM it takes its rules away, one after the other; they go with the table.
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

fn miniupnpd(lab: &Lab) -> Result<Ended> {
    let file = |name: &str| lab.directory().join(name);
    let (rules, config, pid) = (file("rules.nft"), file("miniupnpd.conf"), file("miniupnpd.pid"));
    fs::write(&rules, format!("table inet filter\ndelete table inet filter\n{NFTABLES}"))?;
    lab.router.run("nft", &["-f", &rules.to_string_lossy()])?;
    let text = "ext_ifname=wan0\nlistening_ip=lan0\nhttp_port=5000\nenable_upnp=yes\n\
                enable_natpmp=no\nsecure_mode=yes\nsystem_uptime=yes\n\
                uuid=00000000-0000-4000-8000-000000000001\n\
                allow 1024-65535 192.168.77.0/24 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n";
    fs::write(&config, text)?;
    let _ = fs::remove_file(&pid);
    let (config, pid_file) = (config.to_string_lossy(), pid.to_string_lossy());
    lab.router.run("miniupnpd", &["-f", &config, "-P", &pid_file])?;
    let mut number = None;
    wait_until("miniupnpd's process", START_TIME, || {
        let text = fs::read_to_string(&pid).unwrap_or_default();
        number = text.trim().parse().ok();
        Ok(number.is_some())
    })?;
    Ok(Ended(Pid::from_raw(number.context("no process")?)))
}

/// The server that does nothing.
struct Server {
    at: SocketAddrV4,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What it answers.
const NOTHING: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

impl Server {
    fn start(lab: &Lab) -> Result<Self> {
        let at = SocketAddrV4::new(ROUTER_LAN, 5_000);
        let listener = lab.router.tcp_listener(&at.to_string())?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || serve(&listener, &told));
        Ok(Self { at, stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, stop: &AtomicBool) {
    let _ = listener.set_nonblocking(true);
    let mut buffer = [0; 4_096];
    while !stop.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            let mut polled = [nix::poll::PollFd::new(
                std::os::fd::AsFd::as_fd(listener),
                nix::poll::PollFlags::POLLIN,
            )];
            let _ = nix::poll::poll(&mut polled, nix::poll::PollTimeout::from(100_u8));
            continue;
        };
        let _ = stream.set_nonblocking(false);
        let mut request = Vec::new();
        while !is_whole(&request) {
            match stream.read(&mut buffer) {
                Ok(length) if length > 0 => {
                    request.extend_from_slice(buffer.get(..length).unwrap_or_default());
                }
                _ => break,
            }
        }
        let _ = stream.write_all(NOTHING);
    }
}

/// A request has the form of an answer, as far as its length matters.
fn is_whole(request: &[u8]) -> bool {
    let as_answer = [b"HTTP/1.1 200 OK\r\n", request].concat();
    matches!(parse(&as_answer, false), Ok(Some((Answer { .. }, _))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read() {
        let status = "Name:\tx\nVmHWM:\t   45020 kB\nVmRSS:\t   29972 kB\n";
        assert_eq!(kib(status, "VmRSS"), Some(29_972.0));
        assert_eq!(kib(status, "VmHWM"), Some(45_020.0));
        assert_eq!(kib(status, "RssAnon"), None);
    }

    #[test]
    fn the_end_of_a_request_is_known() {
        let service = Service {
            server: SocketAddrV4::new(ROUTER_LAN, 5_000),
            path: "/".to_owned(),
            kind: "urn:x".to_owned(),
        };
        let request = service.request("GetX", "", false);
        assert!(is_whole(&request));
        assert!(!is_whole(&request[..request.len() - 1]));
    }
}
