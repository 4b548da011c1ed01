//! Taking tags off frames and putting them on.

use crate::maps;
use crate::memory::Memory;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_xdp_adjust_head;
use nat_ebpf::Frame as _;
use nat_ebpf::vlan::{Arrival, TAG};

/// Words of the two MAC addresses.
const MACS: usize = 6;

/// Takes `count` tags off, 1 or 2. The frame begins elsewhere afterwards.
#[inline(always)]
pub(crate) fn pop(ctx: *mut xdp_md, count: usize) -> bool {
    let Some(macs) = Memory::of_xdp(ctx).view::<MACS>(0).map(|macs| *macs) else { return false };
    // SAFETY: the context is the one that the kernel gave us; the helper checks the length.
    let moved = unsafe { bpf_xdp_adjust_head(ctx, (count * TAG) as i32) };
    moved == 0 && write(ctx, 0, macs)
}

/// Puts the tags back on with which the frame came in; 0 when there is no room.
///
/// Not inlined: few frames need it.
#[inline(never)]
pub(crate) fn restore(ctx: *mut xdp_md) -> u32 {
    let Some(arrived) = maps::ARRIVAL.get(0) else { return 0 };
    let count = arrived.arrival.tags.count();
    u32::from(push(ctx, arrived.arrival.words(), count))
}

/// Puts on the tags of the link by which the frame leaves; 0 when there is no room.
///
/// Not inlined: few frames need it.
#[inline(never)]
pub(crate) fn stamp<const TRUNK: bool>(ctx: *mut xdp_md, link: u8) -> u32 {
    let Some(link) = maps::LINKS.get(u32::from(link)) else { return 0 };
    let arrival = if TRUNK {
        let Some(arrived) = maps::ARRIVAL.get(0) else { return 0 };
        arrived.arrival
    } else {
        Arrival::default()
    };
    u32::from(push(ctx, arrival.leaving(link.tags), link.tags.count()))
}

/// Puts the first `count` of two tags on.
#[inline(always)]
fn push(ctx: *mut xdp_md, words: [u16; 4], count: usize) -> bool {
    if count == 0 {
        return true;
    }
    let Some(macs) = Memory::of_xdp(ctx).view::<MACS>(0).map(|macs| *macs) else { return false };
    let bytes = if count == 2 { 2 * TAG } else { TAG };
    // SAFETY: the context is the one that the kernel gave us; the helper checks the room.
    if unsafe { bpf_xdp_adjust_head(ctx, -(bytes as i32)) } != 0 {
        return false;
    }
    write(ctx, 0, macs)
        && write(ctx, 12, [words[0], words[1]])
        && (count != 2 || write(ctx, 12 + TAG, [words[2], words[3]]))
}

#[inline(always)]
fn write<const WORDS: usize>(ctx: *mut xdp_md, at: usize, words: [u16; WORDS]) -> bool {
    match Memory::of_xdp(ctx).view::<WORDS>(at) {
        Some(place) => {
            *place = words;
            true
        }
        None => false,
    }
}
