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
#[map(name = "PIECES")]
static PIECES: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Words of the MAC addresses, with which a frame begins, and of a VLAN tag behind them.
const MACS: usize = 6;
const TAG: usize = 2;
/// Words of the headers behind: EtherType, IPv4 without options, and all of a TCP header.
const HEADERS: usize = 21;
/// Places in the headers, in words.
const IP_ID: usize = 3;
const IP_FRAGMENT: usize = 4;
const TTL: usize = 5;
const IP_CHECKSUM: usize = 6;
const ADDRESSES: usize = 7;
const PORTS: usize = 11;
const TRANSPORT: usize = 13;
const UDP_CHECKSUM: usize = 14;
const TCP_CHECKSUM: usize = 19;
/// Where a TCP checksum is in an untagged frame, bytes.
const TCP_CHECKSUM_AT: u32 = 2 * (MACS + TCP_CHECKSUM) as u32;

/// "More fragments" beside a fragment's offset.
const MORE: u16 = 0x2000;

/// Words of a frame, from an offset in words on.
#[inline(always)]
fn words<const N: usize>(ctx: &XdpContext, at: usize) -> Option<&'static mut [u16; N]> {
    let start = ctx.data() + 2 * at;
    if start + 2 * N > ctx.data_end() {
        return None;
    }
    // SAFETY: the frame has so many bytes, this run of the program is alone with it, and asks for none twice.
    Some(unsafe { &mut *(start as *mut [u16; N]) })
}

/// What is before the headers, and the headers, of a frame with so many tags.
#[inline(always)]
fn parts<const TAGS: usize>(
    ctx: &XdpContext,
    tags: &[u16; 4],
) -> Option<(&'static mut [u16; MACS], &'static mut [u16; HEADERS])> {
    if TAGS > 0 {
        *words::<TAG>(ctx, MACS)? = [tags[0], tags[1]];
    }
    if TAGS > 1 {
        *words::<TAG>(ctx, MACS + TAG)? = [tags[2], tags[3]];
    }
    Some((words(ctx, 0)?, words(ctx, MACS + TAGS * TAG)?))
}

#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    write::<0>(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

#[xdp]
pub fn generate_tag(ctx: XdpContext) -> u32 {
    write::<1>(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

#[xdp]
pub fn generate_two_tags(ctx: XdpContext) -> u32 {
    write::<2>(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

/// Which part of a packet a frame holds: a plain word of each, since the compiler keeps what an enum does not hold
/// unset, and the verifier does not bear that.
#[derive(Clone, Copy)]
struct Piece {
    /// The packet's identification.
    id: u16,
    /// Offset and "more fragments", as in the header.
    fragment: u16,
    /// Whether another one follows.
    first: bool,
}

/// What comes next: first and second fragment of a datagram, then those of the next flow. All datagrams of a flow
/// have other identifications, until those are used up.
#[inline(always)]
fn piece(plan: &Plan) -> Option<Piece> {
    if plan.first_fragment == 0 {
        return Some(Piece { id: 0, fragment: 0, first: false });
    }
    let pieces = PIECES.get_ptr_mut(0)?;
    // SAFETY: the value is this CPU's own.
    let number = unsafe {
        *pieces += 1;
        *pieces - 1
    };
    let id = (number / 2).checked_div(u64::from(plan.endpoints))? as u16;
    let first = number & 1 == 0;
    Some(Piece { id, fragment: if first { MORE } else { plan.first_fragment as u16 }, first })
}

/// Whose turn it is: endpoint and remote host. `last`: the next one's comes then.
#[inline(always)]
fn turn(plan: &Plan, last: bool) -> Option<(u32, u32)> {
    let turn = TURN.get_ptr_mut(0)?;
    // SAFETY: the value is this CPU's own.
    unsafe {
        let (endpoint, remote) = ((*turn >> 32) as u32, *turn as u32);
        if !last {
            return Some((endpoint, remote));
        }
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
fn write<const TAGS: usize>(ctx: &XdpContext) -> Option<u32> {
    let plan = PLAN.get(0)?;
    let piece = piece(plan)?;
    let (endpoint, remote) = turn(plan, !piece.first)?;
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
    let (macs, frame) = parts::<TAGS>(ctx, &plan.tags)?;
    macs.copy_from_slice(&plan.head[..MACS]);
    frame[..plan.head.len() - MACS].copy_from_slice(&plan.head[MACS..]);
    let Piece { id, fragment, first } = piece;
    if plan.first_fragment != 0 {
        frame[IP_ID] = id.to_be();
        frame[IP_FRAGMENT] = fragment.to_be();
    }
    let halves = [(from.0 >> 16) as u16, from.0 as u16, (to.0 >> 16) as u16, to.0 as u16];
    let mut sum = 0;
    for (index, half) in halves.into_iter().enumerate() {
        sum += u32::from(half);
        frame[ADDRESSES + index] = half.to_be();
    }
    frame[IP_CHECKSUM] = checksum(plan.ip_sum + sum + u32::from(id) + u32::from(fragment));
    if fragment != 0 && !first {
        // Its payload is all 0.
        frame[PORTS..].copy_from_slice(&[0; HEADERS - PORTS]);
    } else {
        frame[PORTS] = (from.1 as u16).to_be();
        frame[PORTS + 1] = (to.1 as u16).to_be();
        frame[TRANSPORT..].copy_from_slice(&plan.transport);
        let checksum = checksum(plan.transport_sum + sum + from.1 + to.1);
        let is_tcp = plan.checksum_at == TCP_CHECKSUM_AT;
        frame[if is_tcp { TCP_CHECKSUM } else { UDP_CHECKSUM }] = checksum;
    }
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
    send_on::<0>(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

#[xdp]
pub fn ceiling_tag(ctx: XdpContext) -> u32 {
    send_on::<1>(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

#[xdp]
pub fn ceiling_two_tags(ctx: XdpContext) -> u32 {
    send_on::<2>(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

#[inline(always)]
fn send_on<const TAGS: usize>(ctx: &XdpContext) -> Option<u32> {
    let hop = HOP.get(0)?;
    let (macs, frame) = parts::<TAGS>(ctx, &hop.tags)?;
    Some(send(macs, frame, hop))
}

#[xdp]
pub fn ceiling_fib(ctx: XdpContext) -> u32 {
    let Some((macs, frame)) = parts::<0>(&ctx, &[0; 4]) else { return xdp_action::XDP_ABORTED };
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
    let addresses =
        [word(to, 0), word(to, 2), word(to, 4), word(from, 0), word(from, 2), word(from, 4)];
    send(macs, frame, &Hop { device: params.ifindex, macs: addresses, tags: [0; 4] })
}

/// What a router does at least.
#[inline(always)]
fn send(macs: &mut [u16; MACS], frame: &mut [u16; HEADERS], hop: &Hop) -> u32 {
    macs.copy_from_slice(&hop.macs);
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
