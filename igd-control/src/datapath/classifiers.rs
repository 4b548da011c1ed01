//! Attaching the traffic-control programs, so that they outlive the process in any case.
//!
//! With a pin directory they hang on links that are pinned there. Otherwise, and before Linux 6.6, which
//! has no such links, they hang on filters of the `clsact` queueing discipline, which stay until they
//! are taken away: so the guard is still there when a daemon that pins nothing is killed, and the
//! kernel goes on to forward.

use super::program::{adopt, forget, keep, program};
use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use aya::util::KernelVersion;
use nat_common::maps::{PROGRAM_GUARD, PROGRAM_NEIGHBOUR};
use std::io;
use std::path::Path;

/// Where the filters are, so that a new daemon replaces those of a former one in place. The number has
/// no meaning beyond being ours.
const PRIORITY: u16 = 20_033;
const HANDLE: TcHandle = TcHandle::new(0, 1);

/// A traffic-control program's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classifier {
    /// Guards what the kernel sends from the WAN.
    Guard,
    /// Sends translated packets whose neighbour is unresolved.
    Neighbour,
}

impl Classifier {
    /// The program's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guard => PROGRAM_GUARD,
            Self::Neighbour => PROGRAM_NEIGHBOUR,
        }
    }

    const fn direction(self) -> TcAttachType {
        match self {
            Self::Guard => TcAttachType::Egress,
            Self::Neighbour => TcAttachType::Ingress,
        }
    }
}

/// Attaches a program to an interface by a link that is pinned at `pin`, or by a filter.
///
/// # Errors
/// When the kernel refuses.
pub fn attach(
    ebpf: &mut Ebpf,
    filters: &mut Filters,
    interface: &str,
    which: Classifier,
    pin: Option<&Path>,
) -> Result<()> {
    let program: &mut SchedClassifier = program(ebpf, which.name())?;
    let attached = match pin {
        Some(pin) if has_links() => by_link(program, interface, which, pin),
        _ => filters.attach(program, interface, which),
    };
    attached.with_context(|| format!("cannot attach {} to {interface}", which.name()))
}

/// Whether the kernel has links for tc programs.
pub fn has_links() -> bool {
    KernelVersion::current().is_ok_and(|kernel| kernel >= KernelVersion::new(6, 6, 0))
}

fn by_link(
    program: &mut SchedClassifier,
    interface: &str,
    which: Classifier,
    pin: &Path,
) -> Result<()> {
    if let Some(link) = adopt::<SchedClassifierLink>(Some(pin)) {
        match program.attach_to_link(link) {
            Ok(id) => return keep(program.take_link(id)?.try_into().ok(), None),
            Err(error) => forget(Some(pin), &error),
        }
    }
    let order = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = program.attach_with_options(interface, which.direction(), order)?;
    keep(program.take_link(id)?.try_into().ok(), Some(pin))?;
    // A daemon without pins may have left one, which would stop what it does not know.
    take_away(interface, which).map(drop)
}

/// The filters of one daemon. Dropped, those that it made are taken away; those of a former one only
/// once this daemon has taken its place.
#[derive(Debug, Default)]
pub struct Filters {
    made: Vec<(String, Classifier)>,
    found: Vec<(String, Classifier)>,
}

impl Filters {
    fn attach(
        &mut self,
        program: &mut SchedClassifier,
        interface: &str,
        which: Classifier,
    ) -> Result<()> {
        // It may be there already.
        let _ = tc::qdisc_add_clsact(interface);
        let place = (interface.to_owned(), which);
        let id = if let Ok(id) = program.attach_to_link(link(interface, which)?) {
            self.found.push(place);
            id
        } else {
            let options = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
            let options = TcAttachOptions::Netlink(options);
            let id = program.attach_with_options(interface, which.direction(), options)?;
            if !self.made.contains(&place) {
                self.made.push(place);
            }
            id
        };
        // Let go of, not detached: this does it.
        let _ = FdLink::try_from(program.take_link(id)?);
        Ok(())
    }

    /// Whether a former daemon, which had no time to take it away, has left a filter on an interface.
    pub fn found_on(&self, interface: &str) -> bool {
        self.found.iter().any(|(name, _)| name == interface)
    }

    /// From now on all of them are this daemon's.
    pub fn take_over(&mut self) {
        self.made.append(&mut self.found);
    }

    /// Leaves all of them in place for ever.
    pub fn keep(&mut self) {
        self.made.clear();
        self.found.clear();
    }
}

impl Drop for Filters {
    fn drop(&mut self) {
        for (interface, which) in self.made.drain(..).rev() {
            let detached = link(&interface, which).map_err(anyhow::Error::from).and_then(|link| {
                use aya::programs::links::Link as _;
                Ok(link.detach()?)
            });
            if let Err(error) = detached {
                tracing::debug!(interface, ?which, "a filter: {error:#}");
            }
        }
    }
}

fn link(interface: &str, which: Classifier) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(interface, which.direction(), PRIORITY, HANDLE, None)
}

/// Takes a filter away from an interface; tells whether there was one.
///
/// # Errors
/// When the kernel refuses.
pub fn take_away(interface: &str, which: Classifier) -> Result<bool> {
    match tc::qdisc_detach_program(interface, which.direction(), which.name()) {
        Ok(()) => Ok(true),
        Err(TcError::IoError(error)) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error)
            .with_context(|| format!("cannot take {} away from {interface}", which.name())),
    }
}
