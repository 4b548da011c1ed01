//! Telling the daemon of fragments that came before the first one of their packet.

use crate::kernel::{Kernel, opaque};
use crate::memory::Memory;
use crate::{maps, vlan};
use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use core::mem::MaybeUninit;
use nat_common::fragments::{
    BUDGET_PLACES, FragmentKey, FragmentNote, KEPT_PER_SECOND, LONGEST_KEPT,
};
use nat_common::session::Side;
use nat_common::time::NANOS_PER_SEC;
use nat_common::{Counter, NetAddr};
use nat_ebpf::Tables as _;
use nat_ebpf::frame::ETHERNET;
use nat_ebpf::parse;

/// A note and the frame that it is about.
#[repr(C)]
struct Kept {
    note: FragmentNote,
    frame: [u8; LONGEST_KEPT],
}

/// Gives a frame to the daemon to keep, which it does within bounds, with the tags that it came with;
/// with `pass` the kernel gets it as well. Tells the XDP action.
///
/// Not inlined: it needs registers and stack of its own, for a moment.
#[inline(never)]
pub(crate) fn keep<const TRUNK: bool>(ctx: *mut xdp_md, side: Side, pass: bool) -> u32 {
    let kernel = Kernel::<false>::new(ctx);
    let key = key(ctx, side);
    if TRUNK && vlan::restore(ctx) == 0 {
        kernel.count(Counter::DropInternal, 1);
        return xdp_action::XDP_DROP;
    }
    let kept = key.is_some_and(|key| hand_out(&kernel, ctx, key));
    if pass {
        kernel.count(Counter::PassLocal, 1);
        return xdp_action::XDP_PASS;
    }
    kernel.count(if kept { Counter::HeldFragments } else { Counter::DropFragment }, 1);
    xdp_action::XDP_DROP
}

/// Whose fragment an untagged frame is.
#[inline(always)]
fn key(ctx: *mut xdp_md, side: Side) -> Option<FragmentKey> {
    let ip = parse::ipv4(&mut Memory::of_xdp(ctx)).ok()?;
    Some(ip.fragment_key(side))
}

/// Whether the daemon has the frame now.
#[inline(always)]
fn hand_out(kernel: &Kernel, ctx: *mut xdp_md, key: FragmentKey) -> bool {
    if !is_within_budget(kernel, key.src) {
        return false;
    }
    // SAFETY: the kernel gave us the context for this run.
    let (len, device) = unsafe { (bpf_xdp_get_buff_len(ctx) as usize, (*ctx).ingress_ifindex) };
    // Two comparisons of the very register that is used below: of a range, the compiler makes a
    // subtraction, of which older verifiers learn nothing about the length.
    if len > LONGEST_KEPT {
        return false;
    }
    let len = opaque(len as u32);
    if len < ETHERNET {
        return false;
    }
    let Some(mut entry) = maps::FRAGMENT_NOTES.reserve::<Kept>(0) else { return false };
    let kept: *mut Kept = MaybeUninit::as_mut_ptr(&mut entry);
    let note = FragmentNote { key, len: len as u32, device, forget: 0 };
    // SAFETY: the reserved record is ours until it is submitted, and is as large as `Kept`; the
    // helper writes `len` bytes at most, which fit the frame.
    let copied = unsafe {
        (&raw mut (*kept).note).write(note);
        bpf_xdp_load_bytes(ctx, 0, (&raw mut (*kept).frame).cast(), len as u32)
    };
    if copied == 0 {
        entry.submit(0);
        true
    } else {
        entry.discard(0);
        false
    }
}

/// The note that the first fragment of `key` has come.
#[inline(always)]
pub(crate) fn release(key: &FragmentKey, forget: bool) {
    let note = FragmentNote { key: *key, len: 0, device: 0, forget: u32::from(forget) };
    // When there is no room, what is kept is thrown away in time.
    if let Some(mut entry) = maps::FRAGMENT_NOTES.reserve::<FragmentNote>(0) {
        entry.write(note);
        entry.submit(0);
    }
}

/// A second's fragments of sources that share a place in the budget. Two CPUs may count one fragment
/// for two.
#[inline(always)]
fn is_within_budget(kernel: &Kernel, src: NetAddr) -> bool {
    let place = src.to_be32().wrapping_mul(0x9e37_79b1) >> 16 & (BUDGET_PLACES - 1);
    let Some(budget) = maps::FRAGMENT_BUDGET.get(place) else { return false };
    let second = (kernel.now().0 / NANOS_PER_SEC) << 32;
    let word = budget.get();
    let used = if word & !0xffff_ffff == second { word as u32 } else { 0 };
    if used >= KEPT_PER_SECOND {
        return false;
    }
    budget.set(second | u64::from(used + 1));
    true
}
