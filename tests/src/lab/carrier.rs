//! The carrier's NAT, on the WAN host: nftables, with MiniUPnP's daemon as its PCP server.

use super::namespace::Namespace;
use super::process::Process;
use super::{CARRIER, Lab};
use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

/// How long the server may take to end.
const END: Duration = Duration::from_secs(10);

/// The carrier's NAT. What it is asked for it forgets with its end.
#[derive(Debug)]
pub struct Carrier<'lab> {
    lab: &'lab Lab,
    server: Option<Process>,
}

impl<'lab> Carrier<'lab> {
    /// Translates to the address of the far side. Without a PCP server as yet.
    ///
    /// # Errors
    /// When nftables refuses.
    pub fn start(lab: &'lab Lab) -> Result<Self> {
        let carrier = Self { lab, server: None };
        carrier.rules()?;
        Ok(carrier)
    }

    fn wan(&self) -> &Namespace {
        &self.lab.wan
    }

    /// The chains as miniupnpd wants them, empty.
    fn rules(&self) -> Result<()> {
        let rules = self.lab.directory().join("carrier.nft");
        fs::write(
            &rules,
            "table inet filter {}\ndelete table inet filter\n\
             table inet filter {\n\
             chain forward { type filter hook forward priority 0; jump miniupnpd; }\n\
             chain miniupnpd { }\n\
             chain prerouting { type nat hook prerouting priority -100; jump incoming; }\n\
             chain incoming { }\n\
             chain postrouting { type nat hook postrouting priority 100; jump outgoing; \
             oifname \"far0\" masquerade; }\n\
             chain outgoing { }\n}\n",
        )?;
        self.wan().run("nft", &["-f", &rules.to_string_lossy()]).map(drop)
    }

    /// Starts the PCP server, which tells `external` as its address.
    ///
    /// # Errors
    /// When it does not start.
    pub fn serve(&mut self, external: Ipv4Addr) -> Result<()> {
        let directory = self.lab.directory();
        let configuration = directory.join("miniupnpd.conf");
        fs::write(
            &configuration,
            format!(
                "ext_ifname=far0\next_ip={external}\nlistening_ip=eth0\nenable_natpmp=yes\n\
                 enable_upnp=no\npcp_allow_thirdparty=yes\nmin_lifetime=120\nmax_lifetime=86400\nsecure_mode=no\n\
                 upnp_table_name=filter\nupnp_nat_table_name=filter\n\
                 upnp_forward_chain=miniupnpd\nupnp_nat_chain=incoming\n\
                 upnp_nat_postrouting_chain=outgoing\n\
                 uuid=11111111-2222-3333-4444-555555555555\n\
                 allow 1-65535 0.0.0.0/0 1-65535\n"
            ),
        )?;
        let mut command = self.wan().command("miniupnpd");
        command.arg("-d").arg("-f").arg(&configuration);
        command.arg("-P").arg(directory.join("miniupnpd.pid"));
        let server = Process::spawn(&mut command)?;
        server.wait_for_line(END, |line| line.contains("Listening for NAT-PMP"))?;
        self.server = Some(server);
        Ok(())
    }

    /// Ends the PCP server, with all mappings.
    ///
    /// # Errors
    /// When it does not end.
    pub fn forget(&mut self) -> Result<()> {
        let server = self.server.take().context("it does not serve")?;
        server.signal(Signal::SIGKILL)?;
        server.finish(END)?;
        self.rules()
    }

    /// Where it serves.
    pub const fn address(&self) -> Ipv4Addr {
        CARRIER
    }

    /// Waits until the PCP server has said this.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_for(&self, words: &str) -> Result<()> {
        let server = self.server.as_ref().context("it does not serve")?;
        server.wait_for_line(END, |line| line.contains(words)).map(drop)
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.server.as_ref().map(Process::printed).unwrap_or_default()
    }
}
