//! Random packets through the XDP program in the kernel, the pipeline in memory and a plain reference NAT,
//! one beside the other, and all results compared to the last byte. `ORACLE_PACKETS` and `ORACLE_SEED` say
//! how many, and which.

use anyhow::{Error, Result, ensure};
use nat_common::session::{EndpointKey, ExternalEndpoint};
use nat_common::settings::Settings;
use nat_common::{NetPort, Protocol};
use nat_ebpf::host::Forward;
use nat_ebpf::host::packet::{Body, Packet, icmp, protocol};
use nat_oracle::{HostMachine, Machine, Outcome, Run, Tally};
use nat_tests::packets::kernel::{KernelMachine, Room, Router, object};
use std::io::Write as _;
use std::time::Duration;

/// More than a sequence of events takes.
const ROOM: Room = Room { sessions: 1024, endpoints: 512, contacts: 512 };

/// The kernel and the host as one machine, which fails where they differ.
struct Both<'a> {
    kernel: KernelMachine<'a>,
    host: HostMachine,
}

impl Both<'_> {
    /// The host chooses what the kernel has chosen for the sender of a packet.
    fn follow(&mut self, frame: &[u8]) -> Result<()> {
        let Some(packet) = Packet::parse(frame) else { return Ok(()) };
        // A later fragment has no ports, and nothing is chosen for it.
        if packet.fragment & 0x1fff != 0 {
            return Ok(());
        }
        let Some(protocol) = Protocol::from_ip(packet.protocol()) else { return Ok(()) };
        let key = EndpointKey::new(protocol, packet.src.into(), NetPort::new(source_port(&packet)));
        let chosen = self.kernel.external(&key)?;
        self.host.choose(protocol, chosen.map(|external| external.port.get()));
        Ok(())
    }
}

impl Machine for Both<'_> {
    const BESIDE: u64 = KernelMachine::BESIDE;

    fn is_late(&self) -> bool {
        self.kernel.is_late()
    }

    fn reset(&mut self, settings: Settings) -> Result<()> {
        self.host.reset(settings)?;
        Machine::reset(&mut self.kernel, settings)
    }

    fn wait(&mut self, time: Duration) -> Result<()> {
        self.host.wait(time)?;
        self.kernel.wait(time)
    }

    fn settings(&mut self, change: &dyn Fn(&mut Settings)) -> Result<()> {
        self.host.settings(change)?;
        self.kernel.settings(change)
    }

    fn open_forward(&mut self, forward: &Forward) -> Result<bool> {
        let opened = [self.host.open_forward(forward)?, self.kernel.open_forward(forward)?];
        ensure!(
            opened[0] == opened[1],
            "opened on the host {}, in the kernel {}",
            opened[0],
            opened[1]
        );
        Ok(opened[0])
    }

    fn close_forward(&mut self, forward: &Forward) -> Result<()> {
        self.host.close_forward(forward)?;
        self.kernel.close_forward(forward)
    }

    fn sweep(&mut self) -> Result<()> {
        self.host.sweep()?;
        self.kernel.sweep()
    }

    fn external(&self, endpoint: &EndpointKey) -> Result<Option<ExternalEndpoint>> {
        let found = [self.host.external(endpoint)?, self.kernel.external(endpoint)?];
        ensure!(found[0] == found[1], "{:?} on the host, {:?} in the kernel", found[0], found[1]);
        Ok(found[0])
    }

    fn receive(&mut self, link: u8, frame: &[u8]) -> Result<Outcome> {
        let kernel = Machine::receive(&mut self.kernel, link, frame)?;
        self.follow(frame)?;
        let host = self.host.receive(link, frame)?;
        // Which link it leaves by, the kernel does not tell; the MAC addresses do.
        let same = (host.action, &host.frame) == (kernel.action, &kernel.frame);
        ensure!(same, "on the host {}, in the kernel {}", text(&host), text(&kernel));
        Ok(host)
    }
}

/// The source port or identifier, in a first fragment too.
fn source_port(packet: &Packet) -> u16 {
    let word = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 2).and_then(|word| word.try_into().ok()).map_or(0, u16::from_be_bytes)
    };
    match &packet.body {
        Body::Other { protocol: protocol::ICMP, bytes } => match bytes.first() {
            Some(&icmp::ECHO_REQUEST) => word(bytes, 4),
            _ => 0,
        },
        Body::Other { protocol: protocol::TCP | protocol::UDP, bytes } => word(bytes, 0),
        _ => packet.source().1,
    }
}

fn text(outcome: &Outcome) -> String {
    format!("{:?}, {:?}", outcome.action, Packet::parse(&outcome.frame))
}

#[test]
fn random_packets_become_the_same_in_the_kernel_on_the_host_and_in_the_reference() -> Result<()> {
    let run = Run::new(400_000, "tests/oracle.regressions").map_err(Error::msg)?;
    let router = Router::new()?;
    let played = router.enter(|| -> Result<Result<Tally, String>> {
        let kernel = KernelMachine::with_room(&router, &object()?, ROOM)?;
        Ok(run.play(&mut Both { kernel, host: HostMachine::new(1) }))
    })??;
    let played = played.unwrap_or_else(|why| panic!("{why}"));
    // Past the test runner, which would keep it to itself.
    let _ = writeln!(std::io::stderr(), "the kernel beside the host: {played}");
    // The machine that runs the tests may be slow, but not so slow that nothing is seen.
    assert!(played.cut_short < played.sequences / 4, "{played}");
    Ok(())
}
