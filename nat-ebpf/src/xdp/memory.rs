//! Packet memory: the one place where packet bytes become references.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::bpf_xdp_get_buff_len;
use nat_ebpf::Frame;

/// The part of a packet that programs reach directly, and how to find out how long the whole is.
pub(crate) struct Memory {
    start: usize,
    end: usize,
    whole: Whole,
}

/// Whose packet it is.
#[derive(Clone, Copy)]
enum Whole {
    Xdp(*mut xdp_md),
    Skb(*mut __sk_buff),
}

impl Memory {
    /// The frame of an XDP program.
    #[inline(always)]
    pub(crate) fn of_xdp(ctx: *mut xdp_md) -> Self {
        // SAFETY: the kernel gave us the context, and the verifier turns these into bounded pointers.
        let (start, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
        Self { start, end, whole: Whole::Xdp(ctx) }
    }

    /// The packet of a traffic-control program.
    #[inline(always)]
    pub(crate) fn of_skb(skb: *mut __sk_buff) -> Self {
        // SAFETY: as above.
        let (start, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
        Self { start, end, whole: Whole::Skb(skb) }
    }
}

impl Frame for Memory {
    #[inline(always)]
    fn holds(&mut self, bytes: usize) -> bool {
        if self.start + bytes <= self.end {
            return true;
        }
        let len = match self.whole {
            // SAFETY: the context is the one that the kernel gave us.
            Whole::Xdp(ctx) => unsafe { bpf_xdp_get_buff_len(ctx) as usize },
            // SAFETY: as above.
            Whole::Skb(skb) => unsafe { (*skb).len as usize },
        };
        bytes <= len
    }

    #[inline(always)]
    fn view<const WORDS: usize>(&mut self, at: usize) -> Option<&mut [u16; WORDS]> {
        let first = self.start + at;
        if first + WORDS * 2 > self.end {
            return None;
        }
        // SAFETY: the bytes lie between the packet's ends, as the verifier checks once more; drivers
        // put packets at even addresses and `at` is even; `&mut self` makes the reference unique.
        Some(unsafe { &mut *(first as *mut [u16; WORDS]) })
    }
}
