//! What is attached to which interfaces, and attaching it to those that come back.

use super::XdpMode;
use super::classifiers::{Classifier, Filters};
use super::devices::{Device, devices};
use super::network::Interface;
use super::program::Attacher;
use super::sysctl::Forwarding;
use anyhow::Result;
use aya::Ebpf;
use aya::programs::links::FdLink;
use nat_common::session::Side;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// The programs where they are. Dropped, what is not pinned goes.
pub(super) struct Attached {
    // The order matters: first nothing is forwarded any more, then the programs go, those of the filters
    // last, the guard among them.
    forwarding: Forwarding,
    links: HashMap<String, FdLink>,
    ebpf: Arc<Mutex<Ebpf>>,
    filters: Filters,
    pin_dir: Option<PathBuf>,
    mode: XdpMode,
    /// By the name of an interface or of a device below it, what is attached there.
    places: HashMap<String, Place>,
}

/// One interface, or the device below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    /// Its index; 0 while there is none of that name.
    index: u32,
    guard: bool,
    neighbour: bool,
    xdp: Option<&'static str>,
    forwards: bool,
}

impl Attached {
    /// Nothing so far.
    pub(super) fn new(ebpf: Ebpf, pin_dir: Option<PathBuf>, mode: XdpMode) -> Self {
        Self {
            forwarding: Forwarding::default(),
            links: HashMap::new(),
            ebpf: Arc::new(Mutex::new(ebpf)),
            filters: Filters::default(),
            pin_dir,
            mode,
            places: HashMap::new(),
        }
    }

    /// The programs.
    pub(super) fn ebpf(&self) -> &Arc<Mutex<Ebpf>> {
        &self.ebpf
    }

    /// Attaches what is missing on the interfaces that are there. An interface that came back under an old
    /// name is another one to the kernel, and has nothing.
    ///
    /// # Errors
    /// When the kernel refuses. What is missing then is tried again with the next call.
    pub(super) fn attach(&mut self, interfaces: &[Option<Interface>]) -> Result<()> {
        let devices = devices(interfaces);
        let served: Vec<&Interface> = interfaces.iter().flatten().collect();
        let came_back = self.look(&served, &devices);

        let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let mut attacher = Attacher {
            ebpf: &mut ebpf,
            filters: &mut self.filters,
            links: &mut self.links,
            pin_dir: self.pin_dir.as_deref(),
            mode: self.mode,
        };
        attacher.verify(&devices)?;
        // The guard first, forwarding last: at no moment does the kernel forward past the NAT.
        for wan in served.iter().filter(|interface| interface.side == Side::Wan) {
            let Some(place) = self.places.get_mut(&wan.name) else { continue };
            if !place.guard {
                attacher.classifier(&wan.name, Classifier::Guard)?;
                place.guard = true;
            }
        }
        // Of a VLAN, what XDP hands over comes in by the device.
        let mut first_error = Ok(());
        for (name, place) in self.places.iter_mut().filter(|(_, place)| place.index != 0) {
            if !place.neighbour {
                match attacher.classifier(name, Classifier::Neighbour) {
                    Ok(()) => place.neighbour = true,
                    Err(error) => first_error = first_error.and(Err(error)),
                }
            }
        }
        for device in &devices {
            let Some(place) = self.places.get_mut(&device.name) else { continue };
            if place.xdp != Some(device.program) {
                match attacher.xdp(device) {
                    Ok(()) => place.xdp = Some(device.program),
                    Err(error) => first_error = first_error.and(Err(error)),
                }
            }
        }
        first_error?;
        for interface in served {
            let Some(place) = self.places.get_mut(&interface.name) else { continue };
            if !place.forwards {
                let left_on = self.filters.found_on(&interface.name);
                self.forwarding.enable(&interface.name, left_on)?;
                place.forwards = true;
            }
        }
        if self.pin_dir.is_some() {
            self.forwarding.keep();
            self.filters.keep();
        }
        for interface in came_back {
            tracing::info!(interface, "it has come back, and is served again");
        }
        Ok(())
    }

    /// Detaches what a former daemon has attached to other interfaces.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub(super) fn drop_others(&self) -> Result<()> {
        let Some(pin_dir) = &self.pin_dir else { return Ok(()) };
        let names: Vec<&str> = self.places.keys().map(String::as_str).collect();
        super::pins::drop_links_of_others(pin_dir, &names)
    }

    /// From now on all filters are this daemon's, those of a former one too.
    pub(super) fn take_over(&mut self) {
        self.filters.take_over();
    }

    /// Follows interfaces that have gone and come back.
    ///
    /// # Errors
    /// As for [`Self::attach`].
    pub(super) fn follow(&mut self, interfaces: &[Option<Interface>]) -> Result<()> {
        self.attach(interfaces)?;
        self.take_over();
        Ok(())
    }

    /// Notes which interface each name stands for now, and forgets what was attached to another one.
    /// Returns the names of those that are others than before.
    fn look(&mut self, served: &[&Interface], devices: &[Device]) -> Vec<String> {
        let interfaces = served.iter().map(|interface| (&interface.name, interface.index));
        let devices = devices.iter().map(|device| (&device.name, device.index));
        let there: HashMap<&String, u32> = interfaces.chain(devices).collect();
        for (name, place) in &mut self.places {
            if place.index != 0 && !there.contains_key(name) {
                tracing::warn!(
                    interface = name,
                    "it is gone; it is served again when it comes back"
                );
                *place = Place::default();
            }
        }
        let mut others = Vec::new();
        for (name, index) in there {
            let Some(place) = self.places.get_mut(name) else {
                self.places.insert(name.clone(), Place { index, ..Place::default() });
                continue;
            };
            if place.index != index {
                others.push(name.clone());
                *place = Place { index, ..Place::default() };
                self.links.remove(name);
                if let Some(pin_dir) = &self.pin_dir {
                    super::pins::remove_links_of(pin_dir, name);
                }
            }
        }
        others
    }
}
