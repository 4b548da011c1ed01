//! Exported functions, which are global to the verifier: it checks each once, by itself, and not with its
//! loops and outcomes for every way that leads to it. They take and return plain words, of which it knows
//! nothing.
#![allow(clippy::indexing_slicing, reason = "constant or checked; the verifier refuses all else")]

use crate::kernel::Kernel;
use crate::maps;
use crate::memory::Memory;
use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_SUCCESS,
    bpf_fib_lookup as FibParams, bpf_sock_tuple,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 as SocketTuple, xdp_md,
};
use aya_ebpf::helpers::{bpf_fib_lookup, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp};
use core::mem::{MaybeUninit, size_of, size_of_val};
use nat_common::ports::Endpoint;
use nat_common::session::ExternalEndpoint;
use nat_common::{BootTime, NetAddr, Protocol};
use nat_ebpf::Tables as _;
use nat_ebpf::frame::ETHERNET;
use nat_ebpf::tables::{EndpointRequest, HoldRequest};
use nat_ebpf::verdict::{Route, Way};
use nat_ebpf::{mapping, mss, open, track};

const AF_INET: u8 = 2;

/// Finds or makes an external endpoint. Exported, that is global to the verifier, which then checks it
/// once by itself, and not with its loop over ports for every way that leads to it.
///
/// `internal`: protocol, address and port in 16, 32 and 16 bits; `remote`: the same without protocol.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_external_endpoint(
    ctx: *mut xdp_md,
    internal: u64,
    remote: u64,
    now: u64,
    hold: u64,
) -> u64 {
    let kernel = Kernel::<false>::new(ctx);
    let protocol = protocol(internal >> 48);
    let (addr, port) = mapping::peer(internal);
    let request = EndpointRequest {
        now: BootTime(now),
        protocol,
        endpoint: Endpoint { addr, port },
        remote: mapping::peer(remote),
        hold: BootTime(hold),
    };
    mapping::external_endpoint(&kernel, &request)
}

/// Holds a port that is called. Exported for the same reason.
///
/// `client`: protocol, address and port in 16, 32 and 16 bits; `called`: the caller's address, and the
/// external port as the endpoint index holds it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_hold_port(client: u64, called: u64, now: u64, until: u64) -> u64 {
    let kernel = Kernel::<false>::maps_only();
    let protocol = protocol(client >> 48);
    let (addr, port) = mapping::peer(client);
    let request = HoldRequest {
        now: BootTime(now),
        protocol,
        called: ExternalEndpoint::unpack(called & 0xffff_ffff),
        client: Endpoint { addr, port },
        remote: NetAddr::from_be32((called >> 32) as u32),
        until: BootTime(until),
    };
    u64::from(open::hold_port(&kernel, &request))
}

/// Until when the list or the filters of a slot let a remote host in. Exported for the same reason, and
/// since few packets come here.
///
/// `slot`: whether it has filters, and its number in 32 bits; `remote`: address and port in 32 and 16.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_listed(slot: u64, remote: u64) -> u64 {
    let kernel = Kernel::<false>::maps_only();
    track::listed(&kernel, slot as u32, slot >> 32 != 0, mapping::peer(remote)).0
}

/// A protocol by its number.
#[inline(always)]
const fn protocol(number: u64) -> Protocol {
    match number {
        0 => Protocol::Tcp,
        1 => Protocol::Udp,
        _ => Protocol::Icmp,
    }
}

/// Lowers what a SYN offers. Exported for the same reason: its loop goes many ways.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_clamp_mss(ctx: *mut xdp_md, payload: u64, limit: u64) -> u64 {
    let payload = payload as usize;
    if payload > MOST_HEADERS {
        return 0;
    }
    let step = |_: &mut Memory, at: usize| nat_tcp_option(ctx, payload as u64, at as u64);
    u64::from(mss::clamp(&mut Memory::of_xdp(ctx), payload, limit as u16, step))
}

/// Finds the next option of a SYN. Exported for the same reason.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_tcp_option(ctx: *mut xdp_md, payload: u64, at: u64) -> u64 {
    let (payload, at) = (payload as usize, at as usize);
    if payload > MOST_HEADERS {
        return 0;
    }
    mss::step(&mut Memory::of_xdp(ctx), payload, at)
}

/// Offset of a TCP header behind the longest IPv4 header, bytes.
const MOST_HEADERS: usize = ETHERNET + 60;

/// Asks the kernel's forwarding table. Exported, so that the verifier follows its outcomes once, and not
/// for all that comes after.
///
/// `addresses`: source and destination in 32 bits each.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_route(ctx: *mut xdp_md, addresses: u64, trunk: u64) -> u64 {
    let (kernel, behind_trunk) = (Kernel::<false>::new(ctx), Kernel::<true>::new(ctx));
    let ingress = if trunk == 0 { kernel.ingress() } else { behind_trunk.ingress() };
    let mut params = MaybeUninit::<FibParams>::uninit();
    // SAFETY: the words written are those of the struct, of which all-zero is a valid value. One by one,
    // since a call of `memset` would have a stack frame of its own, of which older verifiers count 32
    // bytes.
    let params = unsafe {
        let words = params.as_mut_ptr().cast::<u32>();
        for index in 0..size_of::<FibParams>() / 4 {
            words.add(index).write_volatile(0);
        }
        params.assume_init_mut()
    };
    params.family = AF_INET;
    params.ifindex = match ingress {
        Some(link) => link.ifindex,
        None => kernel.device(),
    };
    params.__bindgen_anon_3.ipv4_src = (addresses >> 32) as u32;
    params.__bindgen_anon_4.ipv4_dst = addresses as u32;
    // SAFETY: context and parameters are valid for the call, and the length is theirs.
    let result =
        unsafe { bpf_fib_lookup(kernel.pointer(), params, size_of::<FibParams>() as i32, 0) };
    let resolved = match result as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => true,
        BPF_FIB_LKUP_RET_NO_NEIGH => false,
        BPF_FIB_LKUP_RET_NOT_FWDED => return Route::new(Way::Local).word(),
        _ => return Route::new(Way::None).word(),
    };
    // By reference, for a copy would lie on the stack, of which there is none to spare.
    let device = &params.ifindex;
    // SAFETY: see the note on the impl of `Tables`.
    let Some(link) = (unsafe { maps::LINK_INDEX.get(device) }) else {
        return Route::new(Way::Elsewhere).word();
    };
    let link = *link as u8;
    if !resolved {
        return Route::new(Way::Unresolved { link }).word();
    }
    let word = |at: usize| u16::from_ne_bytes([params.dmac[at], params.dmac[at + 1]]);
    Route::new(Way::Link { link, mac: [word(0), word(2), word(4)] }).word()
}

/// Whether a socket of the router would receive a packet. Exported for the same reason.
///
/// `local`: protocol, address and port in 16, 32 and 16 bits; `remote`: the same without protocol.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn nat_local_socket(ctx: *mut xdp_md, local: u64, remote: u64) -> u64 {
    let kernel = Kernel::<false>::new(ctx);
    let protocol = protocol(local >> 48);
    let (local, remote) = (mapping::peer(local), mapping::peer(remote));
    const CURRENT_NETNS: u64 = u64::MAX;
    // The IPv4 part of `bpf_sock_tuple`, by whose length the helper knows it. The whole has room for
    // IPv6, and with that this frame would count 64 bytes.
    let mut tuple = SocketTuple {
        saddr: remote.0.to_be32(),
        daddr: local.0.to_be32(),
        sport: remote.1.0,
        dport: local.1.0,
    };
    let size = size_of_val(&tuple) as u32;
    // SAFETY: context and tuple are valid for the call; a socket that is found is released.
    unsafe {
        let tuple = (&raw mut tuple).cast::<bpf_sock_tuple>();
        let socket = match protocol {
            Protocol::Tcp => bpf_skc_lookup_tcp(kernel.pointer(), tuple, size, CURRENT_NETNS, 0),
            Protocol::Udp => bpf_sk_lookup_udp(kernel.pointer(), tuple, size, CURRENT_NETNS, 0),
            Protocol::Icmp => return 0,
        };
        if socket.is_null() {
            return 0;
        }
        bpf_sk_release(socket.cast());
    }
    1
}
