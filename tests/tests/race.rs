//! Two CPUs that map the same ports at the same moment never give one port to two internal endpoints
//! (RFC 4787 REQ-3, RFC 5382 REQ-7), and never two ports to one.

use anyhow::{Context as _, Result, bail, ensure};
use nat_common::ports::{Endpoint, Owner, SlotState, slot_index};
use nat_common::{BootTime, NetAddr, NetPort, Protocol};
use nat_ebpf::host::packet::Packet;
use nat_tests::packets::Machine as _;
use nat_tests::packets::kernel::{KernelMachine, Racer, Router, Shared, object};
use nat_tests::packets::topology::{A, B, C, LAN, LAN1, REMOTE, STRANGER, router_mac};
use nix::time::{ClockId, clock_gettime};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Ports that are raced for in a round. The range has few more than are needed.
const STEPS: usize = 24;
const FIRST: u16 = 10_000;
const LAST: u16 = FIRST + 80;

const ROUNDS: usize = 250;

/// By how much the daemon waits longer or shorter, nanoseconds, and how long at most.
const DELAY_STEP: u64 = 300;
const LONGEST_DELAY: u64 = 100_000;

/// How long a fault may take to be found.
const PATIENCE: Duration = Duration::from_secs(120);

fn frame(link: u8, client: Ipv4Addr, port: u16, remote: Ipv4Addr) -> Vec<u8> {
    let packet = Packet::udp((client, port), (remote, 53));
    Packet { dst_mac: router_mac(link), ..packet }.to_bytes()
}

/// By step: two clients that want the same port, and one flow that comes in on both CPUs.
struct Frames {
    ours: Vec<Vec<u8>>,
    theirs: Vec<Vec<u8>>,
    common: Vec<Vec<u8>>,
}

impl Frames {
    fn new() -> Self {
        let ports = || (FIRST..).take(STEPS);
        Self {
            ours: ports().map(|port| frame(LAN, A, port, REMOTE)).collect(),
            theirs: ports().map(|port| frame(LAN, B, port, STRANGER)).collect(),
            // From outside the range, so that each CPU guesses its own port for it.
            common: ports().map(|port| frame(LAN1, C, port + 1000, REMOTE)).collect(),
        }
    }
}

fn reset(machine: &mut KernelMachine<'_>) -> Result<()> {
    machine.reset()?;
    machine.change(&nat_tests::packets::Change::Settings(|settings| {
        (settings.ports.first, settings.ports.last) = (FIRST, LAST);
    }))
}

/// Both CPUs map endpoints.
fn round(machine: &mut KernelMachine<'_>, cpus: [usize; 2], frames: &Frames) -> Result<Shared> {
    reset(machine)?;
    let machine = &*machine;
    let throw = |own: &[Vec<u8>], step: usize| {
        machine.throw(LAN, own.get(step).context("no frame")?)?;
        machine.throw(LAN1, frames.common.get(step).context("no frame")?)
    };
    let ours: Racer<'_> = &|step| throw(&frames.ours, step);
    let theirs: Racer<'_> = &|step| throw(&frames.theirs, step);
    KernelMachine::race(cpus, STEPS, [ours, theirs])?;
    machine.shared()
}

fn now() -> Result<BootTime> {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    let seconds = u64::try_from(time.tv_sec())?;
    Ok(BootTime(0).plus_secs(seconds).plus_nanos(u64::try_from(time.tv_nsec())?))
}

/// One CPU maps endpoints, and the daemon forwards the same ports to another client, by the other.
fn round_with_daemon(
    machine: &mut KernelMachine<'_>,
    cpus: [usize; 2],
    frames: &Frames,
    opened: &AtomicU64,
    delay: &AtomicU64,
) -> Result<()> {
    reset(machine)?;
    let machine = &*machine;
    let slot = |step: usize| {
        let port = FIRST + u16::try_from(step)?;
        machine.slot(slot_index(0, Protocol::Udp, port)).context("no slot")
    };
    let owner = |step: usize| -> Result<Endpoint> {
        let port = NetPort::new(FIRST + u16::try_from(step)?);
        Ok(Endpoint { addr: NetAddr::from(B), port })
    };
    let ours: Racer<'_> = &|step| machine.throw(LAN, frames.ours.get(step).context("no frame")?);
    let forwards: Racer<'_> = &|step| {
        // The packet is longer on its way to its claim. Each win makes the daemon wait longer, each
        // defeat shorter, so that both claim at the same moment.
        let wait = Duration::from_nanos(delay.load(Ordering::SeqCst));
        let start = Instant::now();
        while start.elapsed() < wait {
            std::hint::spin_loop();
        }
        let now = now()?;
        let forward = slot(step)?.open_forward(
            now,
            owner(step)?,
            Owner::ANY_REMOTE,
            now.plus_secs(3600),
            BootTime(0),
        );
        opened.fetch_or(u64::from(forward.is_ok()) << step, Ordering::SeqCst);
        let next = match forward {
            Ok(()) => wait.as_nanos() as u64 + DELAY_STEP,
            Err(_) => (wait.as_nanos() as u64).saturating_sub(DELAY_STEP),
        };
        delay.store(next.min(LONGEST_DELAY), Ordering::SeqCst);
        Ok(())
    };
    opened.store(0, Ordering::SeqCst);
    KernelMachine::race(cpus, STEPS, [ours, forwards])?;

    let opened = opened.load(Ordering::SeqCst);
    for step in 0..STEPS {
        let is_opened = opened >> step & 1 == 1;
        let SlotState::Held { owner: held, leased } = slot(step)?.state(now()?) else {
            bail!("step {step}: nobody has the port");
        };
        let forwarded = leased && held.endpoint() == owner(step)?;
        ensure!(forwarded == is_opened, "step {step}: opened {is_opened}, and {held:?} has it");
        // Of sessions none has it then; else the one whose it is, which may be that of another step.
        let users = machine.users(NetPort::new(FIRST + u16::try_from(step)?))?;
        let wanted = if is_opened { vec![] } else { vec![held.endpoint()] };
        ensure!(users == wanted, "step {step}: opened {is_opened}, and {users:?} use it");
        if is_opened {
            let closed = slot(step)?.close_forward(now()?, owner(step)?);
            ensure!(closed.is_ok(), "step {step}: the forward cannot be closed");
        }
    }
    Ok(())
}

/// Runs `action` with a loaded program on two CPUs.
fn on_two_cpus(
    object: &[u8],
    action: impl FnOnce(&mut KernelMachine<'_>, [usize; 2]) -> Result<()> + Send,
) -> Result<()> {
    let Some(cpus) = KernelMachine::two_cpus()? else {
        eprintln!("NOT RUN: races, since there is only one CPU");
        return Ok(());
    };
    let router = Router::new()?;
    router.enter(|| action(&mut KernelMachine::load_object(&router, object)?, cpus))?
}

/// The program with every compare-and-swap turned into a plain store that claims to have found what was
/// expected: a look, and then a claim, and nothing that joins them.
fn with_torn_claims(mut object: Vec<u8>) -> Result<Vec<u8>> {
    const ATOMIC: u8 = 0xdb;
    const STORE: u8 = 0x7b;
    const COMPARE_AND_SWAP: [u8; 4] = [0xf1, 0, 0, 0];
    let mut torn = 0;
    for instruction in object.chunks_exact_mut(8) {
        if let [code @ ATOMIC, _, _, _, operation @ ..] = instruction
            && *operation == COMPARE_AND_SWAP
        {
            *code = STORE;
            operation.fill(0);
            torn += 1;
        }
    }
    ensure!(torn > 0, "there is no compare-and-swap in the program");
    Ok(object)
}

#[test]
fn two_cpus_never_give_one_port_to_two_endpoints_nor_two_ports_to_one() -> Result<()> {
    on_two_cpus(&object()?, |machine, cpus| {
        let frames = Frames::new();
        for number in 0..ROUNDS {
            let shared = round(machine, cpus, &frames)?;
            ensure!(!shared.is_any(), "round {number}: {shared:?}");
        }
        Ok(())
    })
}

#[test]
fn the_daemon_and_the_packet_path_never_give_one_port_away_twice() -> Result<()> {
    on_two_cpus(&object()?, |machine, cpus| {
        let (frames, opened, delay) = (Frames::new(), AtomicU64::new(0), AtomicU64::new(0));
        let mut wins = [0, 0];
        for number in 0..ROUNDS {
            round_with_daemon(machine, cpus, &frames, &opened, &delay)
                .with_context(|| format!("round {number}"))?;
            let forwards = opened.load(Ordering::SeqCst).count_ones() as usize;
            wins = [wins[0] + STEPS - forwards, wins[1] + forwards];
        }
        eprintln!("{} ports went to sessions, {} to forwards", wins[0], wins[1]);
        ensure!(wins[0] > 0 && wins[1] > 0, "there was no race: {wins:?}");
        Ok(())
    })
}

/// Repeats a round until it shows a fault.
fn until_found(mut shows: impl FnMut() -> Result<Option<String>>) -> Result<()> {
    let start = Instant::now();
    for number in 1.. {
        if let Some(fault) = shows()? {
            eprintln!("found in round {number}: {fault}");
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "not found in {number} rounds");
    }
    Ok(())
}

/// That the races above would show a fault.
#[test]
fn claims_that_are_not_atomic_are_found_out() -> Result<()> {
    on_two_cpus(&with_torn_claims(object()?)?, |machine, cpus| {
        let frames = Frames::new();
        until_found(|| {
            let shared = round(machine, cpus, &frames)?;
            Ok((!shared.ports.is_empty()).then(|| format!("{shared:?}")))
        })?;
        let (opened, delay) = (AtomicU64::new(0), AtomicU64::new(0));
        until_found(|| {
            let result = round_with_daemon(machine, cpus, &frames, &opened, &delay);
            Ok(result.err().map(|fault| format!("{fault}")))
        })
    })
}
