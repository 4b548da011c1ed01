//! Handing translated packets over to the kernel: XDP puts a note before the packet, and a
//! traffic-control program, which runs next on its way in, does what the note says.

use crate::NEXT;
use crate::kernel::Kernel;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::{bpf_redirect_neigh, bpf_xdp_adjust_meta};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::{TcContext, XdpContext};
use core::mem::size_of;
use core::ptr::null_mut;
use nat_common::Counter;
use nat_ebpf::Tables;

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
pub(crate) fn hand_over(ctx: &XdpContext, kernel: &Kernel, ifindex: u32) -> u32 {
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
