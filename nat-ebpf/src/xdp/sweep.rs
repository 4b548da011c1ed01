//! The walk over the sessions, in the kernel: an iterator over the map, which user space reads. It
//! removes what is dead and tells of what lives. A walk from outside would copy every entry twice.

use crate::maps;
use aya_ebpf::bindings::seq_file;
use aya_ebpf::helpers::bpf_seq_write;
use core::ffi::c_void;
use core::mem::size_of;
use nat_common::BootTime;
use nat_common::session::{SessionKey, SessionRecord};
use nat_common::sweep::{Live, is_dead};

/// The kernel's `struct bpf_iter_meta`, as far as it is read.
#[repr(C)]
pub struct Meta {
    seq: *mut seq_file,
}

/// The kernel's `struct bpf_iter__bpf_map_elem`.
#[repr(C)]
pub struct Element {
    meta: *const Meta,
    map: *const c_void,
    key: *const SessionKey,
    value: *const SessionRecord,
}

/// After so many entries at the latest something is told, so that the reader's call returns: the kernel
/// does not let others have the CPU before.
const TELL_AFTER: u64 = 64;

/// The walk goes on; the entry is to be shown once more when there is room.
const GO_ON: i32 = 0;
const AGAIN: i32 = 1;

/// Looks at one session. The kernel calls it for each, and once more at the end without any.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/sweep_sessions")]
pub extern "C" fn sweep_sessions(element: *const Element) -> i32 {
    // SAFETY: the kernel's context; key and value are checked before they are used.
    let (key, value) = unsafe { ((*element).key, (*element).value) };
    let (Some(progress), Some(settings)) = (maps::SWEEP.get_ptr_mut(0), maps::SETTINGS.get(0))
    else {
        return GO_ON;
    };
    if key.is_null() || value.is_null() {
        return GO_ON;
    }
    // SAFETY: not null. The session may change meanwhile, word by word: each is read once.
    let record = unsafe { &*value };
    // SAFETY: there is one walk at a time.
    let progress = unsafe { &mut *progress };
    if is_dead(record, settings, BootTime(progress.past)) {
        // SAFETY: not null. On the stack, since helpers take no keys from the kernel's own memory.
        let key = unsafe { key.read() };
        if maps::SESSIONS.remove(key).is_ok() {
            progress.removed += 1;
        }
    } else {
        // SAFETY: not null.
        if let Some(live) = Live::of(unsafe { &*key }, record)
            && !tell(element, &live)
        {
            return AGAIN;
        }
    }
    progress.seen += 1;
    if progress.seen % TELL_AFTER == 0 {
        tell(element, &Live::NOTHING);
    }
    GO_ON
}

/// `false` when there is no room.
#[inline(always)]
fn tell(element: *const Element, live: &Live) -> bool {
    // SAFETY: the kernel's context, whose pointers are valid, and a record of that size.
    unsafe {
        let seq = (*(*element).meta).seq;
        bpf_seq_write(seq, (&raw const *live).cast(), size_of::<Live>() as u32) == 0
    }
}
