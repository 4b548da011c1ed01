//! Handing translated packets over to the kernel: XDP puts a note before the packet, and a
//! traffic-control program, which runs next on its way in, does what the note says.

use crate::NEXT;
use crate::kernel::Kernel;
use aya_ebpf::bindings::{TC_ACT_SHOT, xdp_action};
use aya_ebpf::helpers::{
    bpf_clone_redirect, bpf_redirect_neigh, bpf_skb_change_head, bpf_skb_store_bytes,
    bpf_xdp_adjust_meta,
};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::{TcContext, XdpContext};
use core::mem::{size_of, size_of_val};
use core::ptr::null_mut;
use nat_common::Counter;
use nat_common::link::MAX_LINKS;
use nat_common::session::Side;
use nat_ebpf::Tables;
use nat_ebpf::frame::{ETHERNET, ETHERNET_WORDS, ETHERTYPE_IPV4};

/// Marks the metadata of a translated packet that `nat_neighbour` is to send.
const HAND_OVER: u32 = 0x4e41_5401;

/// What stands before the packet then, in the last of [`ROOM`] bytes.
#[repr(C)]
#[derive(Clone, Copy)]
struct HandOver {
    mark: u32,
    ifindex: u32,
}

/// Length of the metadata. More than the note needs: in generic mode Linux since 6.9 forgets the length of
/// the Ethernet header, so that programs are shown the packet from its IP header on, and as its metadata
/// what is so many bytes before that. The note must be among them.
const ROOM: usize = 24;

/// Where the note is.
const NOTE: usize = ROOM - size_of::<HandOver>();
/// Where it is when the Ethernet header counts as metadata.
const NOTE_BEFORE_HEADER: usize = NOTE - ETHERNET;

/// In the place of an interface: everybody in every LAN.
pub(crate) const EVERY_LAN: u32 = 0;

/// Gives a translated packet to the kernel: [`nat_neighbour`] picks it up on its way in. With an
/// interface, the kernel's neighbour table keeps it until the next hop's MAC address is known.
#[inline(always)]
pub(crate) fn hand_over<const TRUNK: bool>(
    ctx: &XdpContext,
    kernel: &Kernel<TRUNK>,
    ifindex: u32,
) -> u32 {
    // SAFETY: the context is the one that the kernel gave us; the helper checks the room.
    let moved = unsafe { bpf_xdp_adjust_meta(ctx.ctx, -(ROOM as i32)) };
    let (start, end) = (ctx.metadata(), ctx.metadata_end());
    if moved != 0 || start + ROOM > end {
        kernel.count(Counter::DropNeighbour, 1);
        return xdp_action::XDP_DROP;
    }
    // SAFETY: the bounds were checked on the line above; metadata is aligned to four bytes.
    unsafe { ((start + NOTE) as *mut HandOver).write(HandOver { mark: HAND_OVER, ifindex }) };
    xdp_action::XDP_PASS
}

/// On the way into every interface: sends the translated packets whose next hop XDP did not know, and
/// those for more than one interface.
#[classifier]
pub fn nat_neighbour(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the kernel gave us the context, and the verifier turns these into bounded pointers.
    let (start, end) = unsafe { ((*skb).data_meta as usize, (*skb).data as usize) };
    if start + ROOM > end {
        return NEXT;
    }
    // SAFETY: the bounds were checked above; metadata is aligned to four bytes.
    let mut note = unsafe { ((start + NOTE) as *const HandOver).read() };
    if note.mark != HAND_OVER {
        // SAFETY: the bounds were checked above.
        note = unsafe { ((start + NOTE_BEFORE_HEADER) as *const HandOver).read_unaligned() };
        if note.mark != HAND_OVER {
            return NEXT;
        }
        // Has the kernel count the header again. It is all zeros then, and written anew on the way out.
        // SAFETY: the context is the one that the kernel gave us.
        if unsafe { bpf_skb_change_head(skb, ETHERNET as u32, 0) } != 0 {
            Kernel::<false>::maps_only().count(Counter::DropNeighbour, 1);
            return TC_ACT_SHOT;
        }
    }
    if note.ifindex == EVERY_LAN {
        return to_every_lan(&ctx);
    }
    // SAFETY: no parameters are given, so the helper reads none.
    unsafe { bpf_redirect_neigh(note.ifindex, null_mut(), 0, 0) as i32 }
}

/// Sends a copy of the packet to everybody in every LAN, except where it is too big.
#[inline(always)]
fn to_every_lan(ctx: &TcContext) -> i32 {
    const BROADCAST: u16 = 0xffff;
    let kernel = Kernel::<false>::maps_only();
    let skb = ctx.skb.skb;
    let len = ctx.len();
    for index in 0..MAX_LINKS as u8 {
        let Some(link) = kernel.link(index) else { break };
        if link.ifindex == 0 || matches!(link.side(), Side::Wan) {
            continue;
        }
        if len > u32::from(link.mtu) + ETHERNET as u32 {
            // Beside being counted as forwarded: others may have got it.
            kernel.count(Counter::DropTooBig, 1);
            continue;
        }
        let [a, b, c] = link.mac;
        let mut header: [u16; ETHERNET_WORDS] =
            [BROADCAST, BROADCAST, BROADCAST, a, b, c, ETHERTYPE_IPV4.to_be()];
        let size = size_of_val(&header) as u32;
        // SAFETY: the context is the kernel's, and the bytes and their length are those of the array. The
        // first copy keeps its addresses: writing makes the next one's header its own.
        unsafe {
            bpf_skb_store_bytes(skb.cast(), 0, (&raw mut header).cast(), size, 0);
            bpf_clone_redirect(skb, link.ifindex, 0);
        }
    }
    TC_ACT_SHOT
}
