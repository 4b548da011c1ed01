//! tc programs before Linux 6.6, which has no links for them: filters of the queueing discipline
//! `clsact`.
//!
//! A filter stays when its maker ends, and the kernel takes any number of them. So each of ours has one
//! place, by priority and handle. A daemon puts its program into the place of its predecessor's, which
//! the kernel does at once: every packet meets the one or the other. And beside the pinned maps the
//! program is pinned once for each place, under a name that tells the place: that is what is cleared
//! when everything is to go.

use super::program::pin_name;
use anyhow::{Context as _, Result};
use aya::programs::links::Link as _;
use aya::programs::tc::{
    self, NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcError, TcHandle,
};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use aya::util::KernelVersion;
use nat_common::maps::{PROGRAM_GUARD, PROGRAM_NEIGHBOUR};
use std::path::Path;
use std::{fs, io, mem};

/// The first kernel with links for tc programs (tcx).
const LINKS: KernelVersion = KernelVersion::new(6, 6, 0);

/// Before what others hang there without naming a priority.
const PRIORITY: u16 = 11;
/// `NAT`, and a number.
const HANDLE: TcHandle = TcHandle::new(0x4e41, 0x5401);

/// How names of pins begin that stand for a filter.
const PREFIX: &str = "filter-";

/// Whether filters must do, since this kernel has no links for tc programs.
pub(super) fn must_do() -> bool {
    KernelVersion::current().is_ok_and(|current| current < LINKS)
}

/// Attaches a program, or replaces the one in its place. With a `folder` of pins it stays when this
/// process ends.
///
/// # Errors
/// When the kernel refuses, or it cannot be pinned.
pub(super) fn attach(
    program: &mut SchedClassifier,
    name: &str,
    interface: &str,
    direction: TcAttachType,
    folder: Option<&Path>,
) -> Result<()> {
    // Pinned first: what is attached and not pinned would not be found again.
    if let Some(folder) = folder {
        let pin = folder.join(pin_name(PREFIX, &format!("{name}-{interface}")));
        match fs::remove_file(&pin) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
        .with_context(|| format!("cannot remove {}", pin.display()))?;
        program.pin(&pin).with_context(|| format!("cannot pin {}", pin.display()))?;
    }
    let id = replace(program, interface, direction)
        .or_else(|_| create(program, interface, direction))
        .with_context(|| {
            format!("cannot attach {name} to {interface}, at priority {PRIORITY} of clsact")
        })?;
    if folder.is_some() {
        // Dropped, it would detach.
        mem::forget(program.take_link(id)?);
    }
    Ok(())
}

fn replace(
    program: &mut SchedClassifier,
    interface: &str,
    direction: TcAttachType,
) -> Result<SchedClassifierLinkId, ProgramError> {
    let place = SchedClassifierLink::attached(interface, direction, PRIORITY, HANDLE, None);
    program.attach_to_link(place.map_err(TcError::IoError)?)
}

fn create(
    program: &mut SchedClassifier,
    interface: &str,
    direction: TcAttachType,
) -> Result<SchedClassifierLinkId, ProgramError> {
    // Fails when it is there; when it cannot be had, attaching tells.
    let _ = tc::qdisc_add_clsact(interface);
    let place = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
    program.attach_with_options(interface, direction, TcAttachOptions::Netlink(place))
}

/// Clears the place that a pin stands for, if it stands for one. An interface that is gone, or never
/// had the filter, is none the worse.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn clear(pin: &str) -> Result<()> {
    let Some((name, interface)) = pin.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'))
    else {
        return Ok(());
    };
    let direction = match name {
        PROGRAM_GUARD => TcAttachType::Egress,
        PROGRAM_NEIGHBOUR => TcAttachType::Ingress,
        _ => return Ok(()),
    };
    for known in &nix::net::if_::if_nameindex().context("cannot list the interfaces")? {
        let known = known.name().to_string_lossy();
        // The name of a pin is not always the whole name of the interface: see `pin_name`.
        if pin_name("", &known) == interface {
            detach(&known, direction)
                .with_context(|| format!("cannot detach {name} from {known}"))?;
        }
    }
    Ok(())
}

fn detach(interface: &str, direction: TcAttachType) -> Result<()> {
    let place = SchedClassifierLink::attached(interface, direction, PRIORITY, HANDLE, None)?;
    match place.detach() {
        // Without such a filter; without any filter at all, or without clsact.
        Err(ProgramError::NetlinkError(error))
            if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) =>
        {
            Ok(())
        }
        result => Ok(result?),
    }
}
