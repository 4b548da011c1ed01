//! Fragments that came before the first one of their packet: kept here until it comes, and sent through
//! the XDP program once more then (`BPF_PROG_RUN` on live frames, Linux 5.18).

use super::ring::Ring;
use super::shelf::{Shelf, Waiting};
use super::{Shared, now};
use anyhow::{Context as _, Result, anyhow};
use aya::Ebpf;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use nat_common::fragments::FragmentNote;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Time between looks at what has waited for too long while nothing else happens.
const TICK: Duration = Duration::from_secs(5);

const NOTE: usize = size_of::<FragmentNote>();

/// Keeps fragments, and reads the packet path's notes about them, for ever.
pub(super) async fn keep(shared: Arc<Shared>, mut notes: Ring, program: Weak<Mutex<Ebpf>>) {
    let mut keeper = Keeper { shared, program, shelf: Shelf::default() };
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = ticks.tick() => keeper.shelf.expire(now()),
            read = notes.read(|note| keeper.read(note)) => {
                if read.is_err() {
                    return;
                }
            }
        }
        keeper.count_late();
    }
}

/// What keeps them.
struct Keeper {
    shared: Arc<Shared>,
    program: Weak<Mutex<Ebpf>>,
    shelf: Shelf,
}

impl Keeper {
    /// Reads a note, with the frame behind it.
    fn read(&mut self, bytes: &[u8]) {
        let Some((note, frame)) = bytes.split_at_checked(NOTE) else { return };
        let note: FragmentNote = bytemuck::pod_read_unaligned(note);
        let ready = match frame.get(..note.len as usize) {
            Some(frame) if note.len > 0 => {
                let waiting = Waiting { device: note.device, frame: frame.to_vec() };
                self.shelf.keep(now(), note.key, waiting).into_iter().collect()
            }
            _ => self.shelf.release(now(), note.key, note.forget != 0),
        };
        for waiting in &ready {
            if let Err(error) = self.send(waiting) {
                tracing::warn!(error = format!("{error:#}"), "a fragment cannot be sent on");
                self.shared.maps.late_fragments.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Has a frame come in once more.
    fn send(&self, waiting: &Waiting) -> Result<()> {
        let name = self.shared.program_of(waiting.device).context("its interface is gone")?;
        // When the data path has gone nobody is to send.
        let Some(ebpf) = self.program.upgrade() else { return Ok(()) };
        let ebpf = ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let program = ebpf.program(name).ok_or_else(|| anyhow!("there is no program {name}"))?;
        let program: &Xdp = program.try_into()?;
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, u32::try_from(waiting.frame.len())?, 0, waiting.device, 0, 0];
        program.test_run(TestRunOptions {
            data_in: Some(&waiting.frame),
            ctx_in: Some(bytemuck::bytes_of(&context)),
            attrs: TestRunAttrs::new().xdp_live_frames(1),
            ..TestRunOptions::default()
        })?;
        Ok(())
    }

    fn count_late(&mut self) {
        let late = self.shelf.take_late();
        self.shared.maps.late_fragments.fetch_add(late, Ordering::Relaxed);
    }
}
