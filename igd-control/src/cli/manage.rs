//! Asking the policy, and changing what the running daemon has.

use super::query::runtime;
use crate::{
    config::{Config, DEFAULT_CONTROL_SOCKET, StaticMapping},
    control::{Asked, StaticKey, client},
    policy::{Explanation, Question, Transport, Via},
};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::Value;
use std::{
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// TCP or UDP, as the command line has it.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
}

impl From<Protocol> for Transport {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

/// By which protocol a mapping is asked for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum AskedBy {
    Upnp,
    Pcp,
    NatPmp,
}

impl From<AskedBy> for Via {
    fn from(asked_by: AskedBy) -> Self {
        match asked_by {
            AskedBy::Upnp => Self::Upnp,
            AskedBy::Pcp => Self::Pcp,
            AskedBy::NatPmp => Self::NatPmp,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Tell whether a mapping would be allowed, and by which rule. Exit code 1: it would not.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Address of the client that asks.
    #[arg(long, value_name = "ADDRESS")]
    requester: IpAddr,
    /// Address that would get the packets; the requester's, if not given.
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// Protocol of the mapping.
    #[arg(long, value_enum)]
    protocol: Protocol,
    /// External port; 0: every port that is not otherwise mapped.
    #[arg(long, value_name = "PORT")]
    external_port: u16,
    /// Internal port; the external one, if not given.
    #[arg(long, value_name = "PORT")]
    internal_port: Option<u16>,
    /// The only remote host that would be let in.
    #[arg(long, value_name = "ADDRESS")]
    remote_host: Option<IpAddr>,
    /// By which protocol it is asked for.
    #[arg(long, value_enum, default_value = "upnp")]
    via: AskedBy,
    /// Ask this configuration file, instead of the running gateway.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The running gateway's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_CONTROL_SOCKET)]
    control_socket: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum MappingCommand {
    /// Make a static mapping in the running gateway; it outlives the daemon, by its store.
    Add(AddArgs),
    /// Remove a static mapping.
    Remove(RemoveArgs),
    /// List all mappings, those of clients too.
    List(super::QueryArgs),
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    #[command(flatten)]
    key: KeyArgs,
    /// Address of the host that gets the packets.
    #[arg(long, value_name = "ADDRESS")]
    client: Ipv4Addr,
    /// Its port; the external one, if not given.
    #[arg(long, value_name = "PORT")]
    internal_port: Option<u16>,
    /// What it is for.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    key: KeyArgs,
}

#[derive(Debug, Args)]
struct KeyArgs {
    /// Protocol of the mapping.
    #[arg(long, value_enum)]
    protocol: Protocol,
    /// External port; 0: every port that is not otherwise mapped.
    #[arg(long, value_name = "PORT")]
    external_port: u16,
    /// The only remote host that is let in; all, if not given.
    #[arg(long, value_name = "ADDRESS")]
    remote_host: Option<Ipv4Addr>,
    /// The running gateway's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_CONTROL_SOCKET)]
    control_socket: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    /// The running gateway's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_CONTROL_SOCKET)]
    control_socket: PathBuf,
}

/// `igd-control policy check`
pub(super) fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let asked = Asked {
        requester: args.requester,
        client: args.client,
        protocol: args.protocol.into(),
        external_port: args.external_port,
        internal_port: args.internal_port,
        remote_host: args.remote_host,
        via: args.via.into(),
    };
    let explanation: Explanation = match &args.config {
        Some(file) => Config::load(file)?.policy.policy().explain(&Question::from(&asked)),
        None => serde_json::from_value(post(&args.control_socket, "/policy/check", &asked)?)?,
    };
    let mut out = io::stdout();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&explanation)?)?;
    } else {
        writeln!(out, "{explanation}")?;
    }
    Ok(if explanation.allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `igd-control mapping add`
pub(super) fn add(args: AddArgs) -> anyhow::Result<()> {
    let AddArgs { key, client, internal_port, description } = args;
    let mapping = StaticMapping {
        protocol: key.protocol.into(),
        external_port: key.external_port,
        client,
        internal_port,
        remote_host: key.remote_host,
        description,
    };
    post(&key.control_socket, "/mappings/add", &mapping).map(drop)
}

/// `igd-control mapping remove`
pub(super) fn remove(RemoveArgs { key }: &RemoveArgs) -> anyhow::Result<()> {
    let named = StaticKey {
        protocol: key.protocol.into(),
        external_port: key.external_port,
        remote_host: key.remote_host,
    };
    post(&key.control_socket, "/mappings/remove", &named).map(drop)
}

/// `igd-control reload`
pub(super) fn reload(args: &ReloadArgs) -> anyhow::Result<()> {
    let told = post(&args.control_socket, "/reload", &Value::Null)?;
    let number = |key: &str| told.get(key).and_then(Value::as_u64).unwrap_or(0);
    let mut out = io::stdout();
    writeln!(out, "rules: {}, static mappings: {}", number("rules"), number("mappings"))?;
    let sections: Vec<_> = told
        .get("restart_for")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !sections.is_empty() {
        writeln!(out, "changed too, and read only at a start: {}", sections.join(", "))?;
    }
    Ok(())
}

fn post(socket: &Path, path: &'static str, body: &impl Serialize) -> anyhow::Result<Value> {
    let body = serde_json::to_vec(body)?.into();
    runtime()?.block_on(async {
        let answer = client::post(socket, path, body).await?.whole().await?;
        Ok(serde_json::from_slice(&answer)?)
    })
}
