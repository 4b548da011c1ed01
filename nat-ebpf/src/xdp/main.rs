//! The programs that the kernel runs: thin bindings of the pipeline to packet memory, BPF maps, clock
//! and redirect.
#![no_std]
#![no_main]
#![allow(clippy::needless_pass_by_value, reason = "the program macros pass contexts by value")]
#![feature(asm_experimental_arch)]
#![allow(missing_docs, reason = "the program macros make functions without documentation")]

mod apart;
mod fragments;
mod hand_over;
mod kernel;
mod maps;
mod memory;
mod sweep;
mod vlan;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use aya_log_ebpf::warn;
use hand_over::{EVERY_LAN, hand_over};
use kernel::Kernel;
use maps::Arrived;
use memory::Memory;
use nat_common::Counter;
use nat_common::link::TaggedKey;
use nat_common::session::Side;
use nat_ebpf::frame::ETHERTYPE_IPV4;
use nat_ebpf::{Decision, Tables, egress, peer, process};

/// A traffic-control program that has nothing to say: others on the same hook have their turn.
const NEXT: i32 = TC_ACT_UNSPEC;

/// For LAN interfaces.
#[xdp(frags)]
pub fn nat_lan(ctx: XdpContext) -> u32 {
    run::<false>(&ctx, Side::Lan)
}

/// For the WAN interface.
#[xdp(frags)]
pub fn nat_wan(ctx: XdpContext) -> u32 {
    run::<false>(&ctx, Side::Wan)
}

/// For devices that carry VLANs: takes the tags off, and goes on with the program of the side on which
/// the link lies that they name.
#[xdp(frags)]
pub fn nat_trunk(ctx: XdpContext) -> u32 {
    let kernel = Kernel::<false>::new(ctx.ctx);
    let arrival = nat_ebpf::vlan::arrival(&mut Memory::of_xdp(ctx.ctx));
    let key = TaggedKey { device: kernel.device(), tags: arrival.tags };
    // SAFETY: the index is a copy, and maps are never unmapped while a program runs.
    let index = unsafe { maps::TAGGED_LINKS.get(key) };
    let link = index.and_then(|index| maps::LINKS.get(*index));
    let (Some(index), Some(link), true) =
        (index, link, arrival.ethertype == ETHERTYPE_IPV4.to_be())
    else {
        kernel.count(Counter::PassNotIpv4, 1);
        return xdp_action::XDP_PASS;
    };
    let side = link.side() as u32;
    if let Some(place) = maps::ARRIVAL.get_ptr_mut(0) {
        // SAFETY: the record is this CPU's own, and programs on it do not interrupt each other.
        unsafe { place.write(Arrived { arrival, link: *index }) };
    }
    let count = arrival.tags.count();
    if count == 0 || vlan::pop(ctx.ctx, count) {
        // SAFETY: the programs in the array take this context. It does not come back unless there is
        // none.
        unsafe { maps::TRUNK.tail_call(&ctx, side) };
    }
    kernel.count(Counter::DropInternal, 1);
    xdp_action::XDP_DROP
}

/// Behind [`nat_trunk`], for LANs.
#[xdp(frags)]
pub fn trunk_lan(ctx: XdpContext) -> u32 {
    run::<true>(&ctx, Side::Lan)
}

/// Behind [`nat_trunk`], for the WAN.
#[xdp(frags)]
pub fn trunk_wan(ctx: XdpContext) -> u32 {
    run::<true>(&ctx, Side::Wan)
}

/// On no interface: the daemon runs it with a request in the place of a frame. See [`nat_ebpf::peer`].
#[xdp]
pub fn nat_peer(ctx: XdpContext) -> u32 {
    let kernel = Kernel::<false>::new(ctx.ctx);
    peer::answer(&mut Memory::of_xdp(ctx.ctx), &kernel)
}

/// Processes an untagged frame, and does what becomes of it. Behind a trunk, what is left to the kernel
/// gets back the tags that were taken off.
#[inline(always)]
fn run<const TRUNK: bool>(ctx: &XdpContext, side: Side) -> u32 {
    let kernel = &Kernel::<TRUNK>::new(ctx.ctx);
    let mut frame = Memory::of_xdp(ctx.ctx);
    match process(&mut frame, kernel, side).decision() {
        Decision::Pass(_) if TRUNK => match vlan::restore(ctx.ctx) {
            0 => lost(kernel),
            _ => xdp_action::XDP_PASS,
        },
        Decision::Pass(_) => xdp_action::XDP_PASS,
        Decision::Drop(counter) => {
            report(ctx, kernel, counter);
            xdp_action::XDP_DROP
        }
        Decision::Send { link: index } => match kernel.link(index) {
            Some(link) if link.tags.is_none() || vlan::stamp::<TRUNK>(ctx.ctx, index) != 0 => {
                // SAFETY: a helper that takes no pointers.
                unsafe { bpf_redirect(link.device, 0) as u32 }
            }
            _ => lost(kernel),
        },
        Decision::Resolve { link } => match kernel.link(link) {
            Some(link) => hand_over(ctx, kernel, link.ifindex),
            None => xdp_action::XDP_DROP,
        },
        Decision::Keep { pass } => fragments::keep::<TRUNK>(ctx.ctx, side, pass),
        Decision::Broadcast => hand_over(ctx, kernel, EVERY_LAN),
    }
}

/// There is no link, or no room for its tags.
#[inline(always)]
fn lost<const TRUNK: bool>(kernel: &Kernel<TRUNK>) -> u32 {
    kernel.count(Counter::DropInternal, 1);
    xdp_action::XDP_DROP
}

/// Logs what an operator must know of, at the first, second, fourth, eighth … time on each CPU.
#[inline(never)]
fn report<const TRUNK: bool>(ctx: &XdpContext, kernel: &Kernel<TRUNK>, counter: u32) {
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

/// On the way out of the WAN interface: translates the fragments that the kernel makes, and stops what
/// it would send untranslated.
#[classifier]
pub fn wan_guard(ctx: TcContext) -> i32 {
    let kernel = Kernel::<false>::maps_only();
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
