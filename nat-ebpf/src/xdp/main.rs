//! The programs that the kernel runs: thin bindings of the pipeline to packet memory, BPF maps, clock
//! and redirect.
#![no_std]
#![no_main]
#![allow(clippy::needless_pass_by_value, reason = "the program macros pass contexts by value")]
#![feature(asm_experimental_arch)]
#![allow(missing_docs, reason = "the program macros make functions without documentation")]

mod fragments;
mod hand_over;
mod kernel;
mod maps;
mod memory;
mod sweep;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use aya_log_ebpf::warn;
use hand_over::{EVERY_LAN, hand_over};
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
        Decision::Broadcast => hand_over(ctx, &kernel, EVERY_LAN),
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
