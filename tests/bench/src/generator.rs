//! The generator: a program that the kernel runs on live frames, inside a namespace.

use crate::case::Case;
use crate::plan::plan;
use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, PerCpuArray, PerCpuValues};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, xdp::XdpMode};
use aya::{Ebpf, EbpfLoader};
use nat_bench_programs::{PLAN, PROGRAM_SINK, PROGRAMS_GENERATE, Plan, SUNK, TURN};
use nat_tests::lab::Namespace;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// Frames that are sent before the receiving side has its turn: the ring of a veth holds 256.
const BATCH: u32 = 64;

/// The first CPU that takes part: not the one that does everything else.
const CPU: usize = 1;

/// Why a program of the benchmark cannot be attached, most often.
pub(crate) const NOT_NATIVE: &str =
    "an interface takes no XDP program natively: its driver cannot, or has LRO on";

/// An interface that stays down, and its other end.
const IDLE: &str = "idle0";
const IDLE_PEER: &str = "idle1";

/// Bytes of a VLAN tag.
const TAG: usize = 4;

/// A [`Plan`] as a value of a map.
type PlanWords = [u32; size_of::<Plan>() / 4];

/// One end of a lab: sends, and swallows what comes.
pub(crate) struct End<'lab> {
    namespace: &'lab Namespace,
    ebpf: Ebpf,
    device: u32,
    mac: [u8; 6],
    /// The program that sends.
    generate: &'static str,
    frame: Vec<u8>,
}

impl<'lab> End<'lab> {
    /// Loads the programs of `object` for `eth0` of `namespace`, to send frames with so many VLAN tags, and has it
    /// swallow everything.
    pub(crate) fn new(namespace: &'lab Namespace, object: &[u8], tags: usize) -> Result<Self> {
        let generate = *PROGRAMS_GENERATE.get(tags).context("too many tags")?;
        let mut ebpf = EbpfLoader::new().load(object)?;
        let (device, mac) = interface(namespace, "eth0")?;
        let sink: &mut Xdp = ebpf.program_mut(PROGRAM_SINK).context(PROGRAM_SINK)?.try_into()?;
        sink.load()?;
        namespace
            .enter(|| sink.attach_to_if_index(device, XdpMode::Driver))?
            .context(NOT_NATIVE)?;
        let program = ebpf.program_mut(generate).context(generate)?;
        let program: &mut Xdp = program.try_into()?;
        program.load()?;
        keep_known(namespace, program)?;
        Ok(Self { namespace, ebpf, device, mac, generate, frame: Vec::new() })
    }

    /// The MAC address of its interface.
    pub(crate) const fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Prepares to send a case to `router`, from its first flow on.
    pub(crate) fn prepare(&mut self, case: &Case, router: [u8; 6]) -> Result<()> {
        let plan: PlanWords = bytemuck::cast(plan(case, self.device, self.mac, router));
        let map = self.ebpf.map_mut(PLAN).context(PLAN)?;
        Array::<_, PlanWords>::try_from(map)?.set(0, plan, 0)?;
        let map = self.ebpf.map_mut(TURN).context(TURN)?;
        let mut turn = PerCpuArray::<_, u64>::try_from(map)?;
        // Each CPU begins elsewhere among the endpoints, so that at one time they have different flows.
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let distance = case.endpoints as usize / cpus;
        let first = |cpu: usize| ((cpu + cpus - own_cpu(0)) % cpus * distance) as u64;
        let beginning: Vec<u64> = (0..cpus).map(|cpu| first(cpu) << 32).collect();
        turn.set(0, PerCpuValues::try_from(beginning)?, 0)?;
        self.frame = vec![0; case.frame as usize + TAG * case.tags];
        Ok(())
    }

    /// Sends so many frames; tells how long it took until all were dealt with.
    pub(crate) fn send(&self, frames: u32) -> Result<Duration> {
        self.send_on(0, frames)
    }

    /// The same on another CPU: `place` counts those that take part.
    pub(crate) fn send_on(&self, place: usize, frames: u32) -> Result<Duration> {
        let program = self.ebpf.program(self.generate).context(self.generate)?;
        let program: &Xdp = program.try_into()?;
        self.namespace.enter(|| -> Result<Duration> {
            let mut cpus = CpuSet::new();
            cpus.set(own_cpu(place))?;
            sched_setaffinity(Pid::from_raw(0), &cpus)?;
            let begun = Instant::now();
            program.test_run(TestRunOptions {
                data_in: Some(&self.frame),
                repeat: frames,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::default()
            })?;
            Ok(begun.elapsed())
        })?
    }

    /// How many frames it has swallowed.
    pub(crate) fn swallowed(&self) -> Result<u64> {
        let map = self.ebpf.map(SUNK).context(SUNK)?;
        Ok(PerCpuArray::<_, u64>::try_from(map)?.get(&0, 0)?.iter().sum())
    }
}

/// Attaches the program that sends to an interface on which nothing comes. Else the kernel's dispatcher of XDP
/// programs would learn of it at the beginning of each run and forget it at the end, and wait both times until no
/// CPU uses the old dispatcher any more: some 20 ms, longer while another CPU is in the kernel, and all of it
/// would count as the packets' time.
fn keep_known(namespace: &Namespace, program: &mut Xdp) -> Result<()> {
    namespace.ip(&["link", "add", IDLE, "type", "veth", "peer", "name", IDLE_PEER])?;
    let (device, _) = interface(namespace, IDLE)?;
    namespace.enter(|| program.attach_to_if_index(device, XdpMode::Driver))?.context(NOT_NATIVE)?;
    Ok(())
}

/// The CPU that does the work of the generator at `place`.
pub(crate) fn own_cpu(place: usize) -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (CPU + place) % cpus
}

/// Index and MAC address of an interface.
pub(crate) fn interface(namespace: &Namespace, name: &str) -> Result<(u32, [u8; 6])> {
    let read = |file: &str| -> Result<String> {
        let path = format!("/sys/class/net/{name}/{file}");
        Ok(namespace.run("cat", &[&path])?.trim().to_owned())
    };
    let mut mac = [0; 6];
    let text = read("address")?;
    let bytes: Vec<&str> = text.split(':').collect();
    ensure!(bytes.len() == mac.len(), "{name} has the address {text}");
    for (byte, text) in mac.iter_mut().zip(bytes) {
        *byte = u8::from_str_radix(text, 16)?;
    }
    Ok((read("ifindex")?.parse()?, mac))
}
