//! The command line.

mod columns;
mod manage;
mod pcp;
mod probe;
mod query;
mod table;

use crate::{
    config::{self, Config, ConfigError, DEFAULT_CONTROL_SOCKET, DEFAULT_PIN_DIR},
    daemon,
    datapath::{self, sysctl},
};
use clap::{ArgAction, Args, Parser, Subcommand};
use manage::{MappingCommand, PolicyCommand, ReloadArgs};
use pcp::PcpCommand;
use std::{
    io::{self, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::ExitCode,
};

/// The exit code of a command line that cannot be understood, as clap has it.
const USAGE: u8 = 2;

/// UPnP Internet Gateway Device and NAT in XDP.
#[derive(Debug, Parser)]
#[command(name = "igd-control", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway in the foreground.
    Run(RunArgs),
    /// Check whether and how well the gateway would run on this machine.
    Probe(ProbeArgs),
    /// Show the state of the running gateway.
    Status(QueryArgs),
    /// List the port mappings.
    Mappings(QueryArgs),
    /// List the sessions of the NAT.
    Sessions(QueryArgs),
    /// List the internal clients with what each has, and how often a limit refused it more.
    Clients(QueryArgs),
    /// Show the packet path's counters.
    Counters(QueryArgs),
    /// Print the metrics for monitoring systems.
    Metrics(MetricsArgs),
    /// Ask the policy about port mappings.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Make, remove and list static port mappings.
    #[command(subcommand)]
    Mapping(MappingCommand),
    /// Ask a server of PCP, this gateway or another.
    #[command(subcommand)]
    Pcp(PcpCommand),
    /// Have the running gateway read policy and static mappings of its configuration again.
    Reload(ReloadArgs),
    /// Take away what a daemon has pinned: translation and sessions end.
    Unload(UnloadArgs),
    /// Print a configuration file with every key, its default and what it does.
    Config,
}

#[derive(Clone, Debug, Default, Args)]
struct RunArgs {
    /// LAN interfaces; may be repeated.
    #[arg(long, value_name = "IFACE", num_args = 1.., action = ArgAction::Append)]
    lan: Vec<String>,
    /// WAN interface.
    #[arg(long, value_name = "IFACE")]
    wan: Option<String>,
    /// Configuration file; flags come before it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// TCP port of UPnP description and control; 0 takes any free port.
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
    /// Directory of a BPF file system in which program and maps outlive the daemon.
    #[arg(long, value_name = "DIR", conflicts_with = "no_pin")]
    pin_dir: Option<PathBuf>,
    /// Pin nothing: translation ends with the daemon.
    #[arg(long)]
    no_pin: bool,
    /// Directory in which port mappings are kept across reboots.
    #[arg(long, value_name = "DIR", conflicts_with = "no_state")]
    state_dir: Option<PathBuf>,
    /// Keep no port mappings on disk.
    #[arg(long)]
    no_state: bool,
    /// Unix socket for status, mappings, sessions, clients and counters.
    #[arg(long, value_name = "PATH")]
    control_socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ProbeArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct QueryArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The running gateway's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_CONTROL_SOCKET)]
    control_socket: PathBuf,
}

#[derive(Debug, Args)]
struct MetricsArgs {
    /// The running gateway's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_CONTROL_SOCKET)]
    control_socket: PathBuf,
}

#[derive(Debug, Args)]
struct UnloadArgs {
    /// Directory of a BPF file system in which program and maps are pinned.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_DIR)]
    pin_dir: PathBuf,
    /// Leave IPv4 forwarding on: the kernel goes on to forward, untranslated.
    #[arg(long)]
    keep_forwarding: bool,
    /// Control socket of the daemon that must not be running any more.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_CONTROL_SOCKET)]
    control_socket: PathBuf,
}

impl RunArgs {
    /// The configuration file, if any, under the flags.
    fn config(self) -> Result<Config, ConfigError> {
        let mut config = self.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        if !self.lan.is_empty() {
            config.interfaces.lan = self.lan;
        }
        replace(&mut config.interfaces.wan, self.wan);
        replace(&mut config.upnp.http_port, self.http_port);
        replace(&mut config.daemon.pin_dir, self.pin_dir);
        replace(&mut config.daemon.state_dir, self.state_dir);
        replace(&mut config.daemon.control_socket, self.control_socket);
        if self.no_state {
            config.daemon.state_dir = PathBuf::new();
        }
        if self.no_pin {
            config.daemon.pin_dir = PathBuf::new();
        }
        config.complete()?;
        Ok(config)
    }
}

fn replace<T>(value: &mut T, flag: Option<T>) {
    if let Some(flag) = flag {
        *value = flag;
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done when not even stderr can be written.
            let _ = writeln!(io::stderr(), "igd-control: {error:#}");
            match error.downcast_ref() {
                Some(ConfigError::Incomplete(_)) => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Probe(args) => return probe::probe(&args.run.config()?, args.json),
        Command::Policy(PolicyCommand::Check(args)) => return manage::check(&args),
        Command::Run(args) => {
            let config = args.clone().config()?;
            daemon::run(config, Box::new(move || args.clone().config()))
        }
        Command::Status(args) => query::status(&args.control_socket, args.json),
        Command::Mappings(args) => query::mappings(&args.control_socket, args.json),
        Command::Sessions(args) => query::sessions(&args.control_socket, args.json),
        Command::Clients(args) => query::clients(&args.control_socket, args.json),
        Command::Counters(args) => query::counters(&args.control_socket, args.json),
        Command::Metrics(args) => query::metrics(&args.control_socket),
        Command::Mapping(MappingCommand::Add(args)) => manage::add(args),
        Command::Mapping(MappingCommand::Remove(args)) => manage::remove(&args),
        Command::Mapping(MappingCommand::List(args)) => {
            query::mappings(&args.control_socket, args.json)
        }
        Command::Pcp(command) => pcp::run(&command),
        Command::Reload(args) => manage::reload(&args),
        Command::Unload(args) => unload(&args),
        Command::Config => Ok(io::stdout().write_all(config::default_file().as_bytes())?),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// `igd-control unload`
fn unload(args: &UnloadArgs) -> anyhow::Result<()> {
    anyhow::ensure!(
        UnixStream::connect(&args.control_socket).is_err(),
        "a daemon answers at {}: stop it first",
        args.control_socket.display()
    );
    let mut out = io::stdout();
    for interface in datapath::unload(&args.pin_dir, args.keep_forwarding)? {
        let command = sysctl::forwarding_command(&interface);
        writeln!(out, "IPv4 forwarding is off on {interface} now; to switch it on: {command}")?;
    }
    Ok(())
}

/// Whether the reader of our output (`| head`) has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests;
