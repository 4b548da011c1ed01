//! The programs that the kernel runs: thin bindings of the pipeline to packet memory, BPF maps, clock
//! and redirect.
#![no_std]
#![no_main]
#![allow(clippy::needless_pass_by_value, reason = "the program macros pass contexts by value")]
#![feature(asm_experimental_arch)]
#![allow(missing_docs, reason = "the program macros make functions without documentation")]

mod fragments;
mod kernel;
mod maps;
mod memory;
mod sweep;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::{bpf_redirect, bpf_redirect_neigh, bpf_xdp_adjust_meta};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use aya_log_ebpf::warn;
use core::mem::size_of;
use core::ptr::null_mut;
use kernel::Kernel;
use memory::Memory;
use nat_common::Counter;
use nat_common::session::Side;
use nat_ebpf::{Decision, Tables, egress, process};

/// A traffic-control program that has nothing to say: others on the same hook have their turn.
const NEXT: i32 = TC_ACT_UNSPEC;

/// For LAN interfaces.
#[xdp(frags)]
pub fn nat_lan(ctx: XdpContext) -> u32 {
    run(&ctx, Side::Lan)
}

/// For the WAN interface.
#[xdp(frags)]
pub fn nat_wan(ctx: XdpContext) -> u32 {
    run(&ctx, Side::Wan)
}

#[inline(always)]
fn run(ctx: &XdpContext, side: Side) -> u32 {
    let kernel = Kernel::new(ctx.ctx);
    let mut frame = Memory::of_xdp(ctx.ctx);
    match process(&mut frame, &kernel, side).decision() {
        Decision::Pass(_) => xdp_action::XDP_PASS,
        Decision::Drop(counter) => {
            report(ctx, &kernel, counter);
            xdp_action::XDP_DROP
        }
        Decision::Send { link } => match kernel.link(link) {
            // SAFETY: a helper that takes no pointers.
            Some(link) => unsafe { bpf_redirect(link.ifindex, 0) as u32 },
            None => xdp_action::XDP_DROP,
        },
        Decision::Resolve { link } => match kernel.link(link) {
            Some(link) => hand_over(ctx, &kernel, link.ifindex),
            None => xdp_action::XDP_DROP,
        },
        Decision::Keep { pass } => fragments::keep(ctx.ctx, side, pass),
    }
}

/// Logs what an operator must know of, at the first, second, fourth, eighth … time on each CPU.
#[inline(never)]
fn report(ctx: &XdpContext, kernel: &Kernel, counter: u32) {
    const FULL: u32 = Counter::DropTableFull as u32;
    const NO_PORT: u32 = Counter::DropNoPort as u32;
    const INTERNAL: u32 = Counter::DropInternal as u32;
    if counter != FULL && counter != NO_PORT && counter != INTERNAL {
        return;
    }
    let times = kernel.counted(counter);
    if times & times.wrapping_sub(1) != 0 {
        return;
    }
    match counter {
        FULL => warn!(ctx, "the session or endpoint table is full: {} new flows dropped", times),
        NO_PORT => warn!(ctx, "no free external port: {} new flows dropped", times),
        _ => warn!(ctx, "the NAT's own tables are incomplete: {} packets dropped", times),
    }
}

/// Marks the metadata of a translated packet that `nat_neighbour` is to send.
const HAND_OVER: u32 = 0x4e41_5401;

/// What stands before the packet then.
#[repr(C)]
struct HandOver {
    mark: u32,
    ifindex: u32,
}

/// Gives a translated packet to the kernel, whose neighbour table keeps it until the next hop's MAC
/// address is known: [`nat_neighbour`] picks it up on its way in.
#[inline(always)]
fn hand_over(ctx: &XdpContext, kernel: &Kernel, ifindex: u32) -> u32 {
    const SIZE: usize = size_of::<HandOver>();
    // SAFETY: the context is the one that the kernel gave us; the helper checks the room.
    let moved = unsafe { bpf_xdp_adjust_meta(ctx.ctx, -(SIZE as i32)) };
    let (start, end) = (ctx.metadata(), ctx.metadata_end());
    if moved != 0 || start + SIZE > end {
        kernel.count(Counter::DropNeighbour, 1);
        return xdp_action::XDP_DROP;
    }
    // SAFETY: the bounds were checked on the line above; metadata is aligned to four bytes.
    unsafe { (start as *mut HandOver).write(HandOver { mark: HAND_OVER, ifindex }) };
    xdp_action::XDP_PASS
}

/// On the way into every interface: sends the translated packets whose next hop XDP did not know.
#[classifier]
pub fn nat_neighbour(ctx: TcContext) -> i32 {
    const SIZE: usize = size_of::<HandOver>();
    let skb = ctx.skb.skb;
    // SAFETY: the kernel gave us the context, and the verifier turns these into bounded pointers.
    let (start, end) = unsafe { ((*skb).data_meta as usize, (*skb).data as usize) };
    if start + SIZE > end {
        return NEXT;
    }
    // SAFETY: the bounds were checked above; metadata is aligned to four bytes.
    let note = unsafe { (start as *const HandOver).read() };
    if note.mark != HAND_OVER {
        return NEXT;
    }
    // SAFETY: no parameters are given, so the helper reads none.
    unsafe { bpf_redirect_neigh(note.ifindex, null_mut(), 0, 0) as i32 }
}

/// On the way out of the WAN interface: translates the fragments that the kernel makes, and stops what
/// it would send untranslated.
#[classifier]
pub fn wan_guard(ctx: TcContext) -> i32 {
    let kernel = Kernel::maps_only();
    let reach = ctx.len().min(egress::REACH as u32);
    if ctx.pull_data(reach).is_err() {
        return TC_ACT_SHOT;
    }
    let mut frame = Memory::of_skb(ctx.skb.skb);
    if egress::may_leave(&mut frame, &kernel) { NEXT } else { TC_ACT_SHOT }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The verifier lets only GPL-compatible programs use some helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
