//! XDP programs of the benchmark.
#![no_std]
#![no_main]
#![allow(clippy::needless_pass_by_value, reason = "the program macros pass contexts by value")]
#![allow(missing_docs, reason = "the program macros make functions without documentation")]
#![allow(clippy::indexing_slicing, reason = "constant or checked; the verifier refuses all else")]

use aya_ebpf::bindings::{BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as FibParams, xdp_action};
use aya_ebpf::helpers::{bpf_fib_lookup, bpf_redirect};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::XdpContext;
use core::mem::{size_of, zeroed};
use nat_bench_programs::{CLIENTS, FIRST_PORT, HAIRPIN, Hop, INBOUND, Plan};

#[map(name = "PLAN")]
static PLAN: Array<Plan> = Array::with_max_entries(1, 0);
#[map(name = "HOP")]
static HOP: Array<Hop> = Array::with_max_entries(1, 0);
#[map(name = "SUNK")]
static SUNK: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map(name = "TURN")]
static TURN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Ethernet and IPv4 headers, and all of a TCP header.
const HEADERS: usize = 54;
/// Offsets in words.
const IP_CHECKSUM: usize = 12;
const ADDRESSES: usize = 13;
const PORTS: usize = 17;
const TRANSPORT: usize = 19;
const UDP_CHECKSUM: usize = 20;
const TCP_CHECKSUM: usize = 25;
const TTL: usize = 11;

/// The first words of a frame.
#[inline(always)]
fn words<const N: usize>(ctx: &XdpContext) -> Option<&'static mut [u16; N]> {
    let start = ctx.data();
    if start + 2 * N > ctx.data_end() {
        return None;
    }
    // SAFETY: the frame has so many bytes, this run of the program is alone with it, and asks once.
    Some(unsafe { &mut *(start as *mut [u16; N]) })
}

#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    write(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

/// Whose turn it is: endpoint and remote host.
#[inline(always)]
fn turn(plan: &Plan) -> Option<(u32, u32)> {
    let turn = TURN.get_ptr_mut(0)?;
    // SAFETY: the value is this CPU's own.
    unsafe {
        let (endpoint, remote) = ((*turn >> 32) as u32, *turn as u32);
        let mut next = (endpoint + 1, remote);
        if next.0 >= plan.endpoints {
            next = (0, remote + 1);
        }
        if next.1 >= plan.remotes {
            next.1 = 0;
        }
        *turn = u64::from(next.0) << 32 | u64::from(next.1);
        Some((endpoint, remote))
    }
}

#[inline(always)]
fn write(ctx: &XdpContext) -> Option<u32> {
    let plan = PLAN.get(0)?;
    let (endpoint, remote) = turn(plan)?;
    let numbered = |number: u32| {
        let number = plan.first_endpoint + number;
        let port = if plan.endpoints_a_port == 1 { number } else { number / CLIENTS };
        (plan.client + (number & (CLIENTS - 1)), FIRST_PORT + port)
    };
    let internal = numbered(endpoint);
    let far = (plan.remote + remote, plan.remote_port);
    let (from, to) = match plan.direction {
        INBOUND => (far, (plan.external, internal.1)),
        HAIRPIN => {
            let next = if endpoint + 1 >= plan.endpoints { 0 } else { endpoint + 1 };
            (internal, (plan.external, numbered(next).1))
        }
        _ => (internal, far),
    };
    let frame = words::<{ HEADERS / 2 }>(ctx)?;
    frame[..plan.head.len()].copy_from_slice(&plan.head);
    let halves = [(from.0 >> 16) as u16, from.0 as u16, (to.0 >> 16) as u16, to.0 as u16];
    let mut sum = 0;
    for (index, half) in halves.into_iter().enumerate() {
        sum += u32::from(half);
        frame[ADDRESSES + index] = half.to_be();
    }
    frame[IP_CHECKSUM] = checksum(plan.ip_sum + sum);
    frame[PORTS] = (from.1 as u16).to_be();
    frame[PORTS + 1] = (to.1 as u16).to_be();
    frame[TRANSPORT..TRANSPORT + plan.transport.len()].copy_from_slice(&plan.transport);
    let checksum = checksum(plan.transport_sum + sum + from.1 + to.1);
    let at =
        if plan.checksum_at as usize == 2 * TCP_CHECKSUM { TCP_CHECKSUM } else { UDP_CHECKSUM };
    frame[at] = checksum;
    // SAFETY: a helper that takes no pointers.
    Some(unsafe { bpf_redirect(plan.device, 0) as u32 })
}

/// The checksum of words whose sum is `sum`, in network byte order.
#[inline(always)]
fn checksum(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (!(sum as u16)).to_be()
}

#[xdp]
pub fn sink(_ctx: XdpContext) -> u32 {
    if let Some(count) = SUNK.get_ptr_mut(0) {
        // SAFETY: the value is this CPU's own.
        unsafe { *count += 1 };
    }
    xdp_action::XDP_DROP
}

#[xdp]
pub fn ceiling(ctx: XdpContext) -> u32 {
    let (Some(hop), Some(frame)) = (HOP.get(0), words::<{ HEADERS / 2 }>(&ctx)) else {
        return xdp_action::XDP_ABORTED;
    };
    send(frame, hop)
}

#[xdp]
pub fn ceiling_fib(ctx: XdpContext) -> u32 {
    let Some(frame) = words::<{ HEADERS / 2 }>(&ctx) else { return xdp_action::XDP_ABORTED };
    // SAFETY: all-zero is a valid value of this C struct.
    let mut params: FibParams = unsafe { zeroed() };
    params.family = 2;
    // SAFETY: the kernel gave us the context for this run.
    params.ifindex = unsafe { (*ctx.ctx).ingress_ifindex };
    let address = |at: usize| u32::from(frame[at]) | u32::from(frame[at + 1]) << 16;
    params.__bindgen_anon_3.ipv4_src = address(ADDRESSES);
    params.__bindgen_anon_4.ipv4_dst = address(ADDRESSES + 2);
    // SAFETY: context and parameters are valid for the call, and the length is theirs.
    let found = unsafe {
        bpf_fib_lookup(ctx.ctx.cast(), &raw mut params, size_of::<FibParams>() as i32, 0)
    };
    if found as u32 != BPF_FIB_LKUP_RET_SUCCESS {
        return xdp_action::XDP_ABORTED;
    }
    let word = |mac: &[u8; 6], at: usize| u16::from_ne_bytes([mac[at], mac[at + 1]]);
    let (to, from) = (&params.dmac, &params.smac);
    let macs = [word(to, 0), word(to, 2), word(to, 4), word(from, 0), word(from, 2), word(from, 4)];
    send(frame, &Hop { device: params.ifindex, macs })
}

/// What a router does at least.
#[inline(always)]
fn send(frame: &mut [u16; HEADERS / 2], hop: &Hop) -> u32 {
    frame[..6].copy_from_slice(&hop.macs);
    // RFC 1624, for a TTL that is one less.
    frame[TTL] = frame[TTL].wrapping_sub(1_u16.to_le());
    let sum = u32::from(u16::from_be(frame[IP_CHECKSUM])) + 0x100;
    frame[IP_CHECKSUM] = ((sum + (sum >> 16)) as u16).to_be();
    // SAFETY: a helper that takes no pointers.
    unsafe { bpf_redirect(hop.device, 0) as u32 }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
