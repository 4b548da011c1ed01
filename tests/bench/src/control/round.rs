//! One round: the tables grow from station to station, and are read at each.

use super::figures::{Measure, Sample};
use super::first_packet;
use super::gateway::{Gateway, Kind};
use super::load::{self, accepted, latency, middle, port, spread};
use super::{ControlOptions, FULL};
use anyhow::{Context as _, Result, ensure};
use nat_tests::lab::Lab;
use std::time::{Duration, Instant};

/// Where the tables are read.
const STATIONS: [u32; 4] = [10, 1_000, 10_000, FULL];

/// Up to where adding is timed: close to 0, between, and close to the end.
const LAPS: [u32; 6] = [10, 1_000, 10_000, 30_000, 58_000, FULL];

/// Reads of each kind at a station.
const READS: u32 = 400;

/// Requests of the load alone.
const ALONE: u32 = 4_000;

/// Mappings whose first packet tells something, how many are tried for them, and the port of the first; UDP,
/// so none of the load's.
const OPENINGS: usize = 25;
const TRIALS: u16 = 250;
const FIRST_OPENING: u16 = 3_000;

/// What is listed and removed: of TCP, all that the load has.
const ALL_PORTS: &str = "<NewStartPort>1024</NewStartPort><NewEndPort>65535</NewEndPort>\
                         <NewProtocol>TCP</NewProtocol><NewManage>0</NewManage>";

/// Mappings that miniupnpd is given once more, for its list.
const MANY: u32 = 1_000;

/// A daemon at rest has written what it had to write.
const REST: Duration = Duration::from_secs(3);

/// No daemon of ours is as slow.
const AMPLE: Duration = Duration::from_secs(600);

pub(crate) struct Round<'a> {
    pub(crate) number: u32,
    pub(crate) options: &'a ControlOptions,
    pub(crate) samples: Vec<Sample>,
    pub(crate) left_out: Vec<String>,
}

impl Round<'_> {
    pub(crate) fn run(
        &mut self,
        labs: &[(Kind, &Lab)],
        progress: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let mut gateways = Vec::new();
        for (kind, lab) in labs {
            progress(&format!("starting {}", kind.name()));
            gateways.push((Gateway::start(*kind, lab)?, 0));
        }
        std::thread::sleep(REST);
        for (gateway, _) in &gateways {
            self.at_rest(gateway, 0)?;
        }
        let mut laps = LAPS.iter().copied();
        for station in STATIONS {
            let upto: Vec<u32> = laps.by_ref().take_while(|lap| *lap < station).collect();
            let laps_here = upto.into_iter().chain([station]);
            let laps_here: Vec<u32> = laps_here.collect();
            for (gateway, entries) in &mut gateways {
                progress(&format!("{}, {station} mappings", gateway.kind.name()));
                self.grow(gateway, entries, station, &laps_here)?;
            }
        }
        for (gateway, entries) in &gateways {
            progress(&format!("{}, all at once", gateway.kind.name()));
            self.all_at_once(gateway, *entries)?;
        }
        for (gateway, _) in gateways {
            gateway.stop()?;
        }
        Ok(())
    }

    fn note(&mut self, gateway: &Gateway<'_>, measure: Measure, entries: u32, value: f64) {
        let (kind, round) = (gateway.kind, self.number);
        self.samples.push(Sample { measure, kind, entries, round, value });
    }

    /// What miniupnpd cannot do is told. What we cannot do ends the benchmark.
    fn note_or_tell(
        &mut self,
        gateway: &Gateway<'_>,
        (measure, what): (Measure, &str),
        entries: u32,
        value: Result<f64>,
    ) -> Result<()> {
        match value {
            Ok(value) => self.note(gateway, measure, entries, value),
            Err(error) if gateway.kind == Kind::Miniupnpd => {
                self.left_out.push(format!("miniupnpd's {what} of {entries} mappings: {error:#}"));
            }
            Err(error) => return Err(error.context(format!("{what} of {entries} mappings"))),
        }
        Ok(())
    }

    /// Adds up to a station, and reads there.
    fn grow(
        &mut self,
        gateway: &Gateway<'_>,
        entries: &mut u32,
        station: u32,
        laps: &[u32],
    ) -> Result<()> {
        let (patience, most) = self.options.patience();
        let bound = match gateway.kind {
            Kind::Ours => AMPLE,
            Kind::Nothing if station == 10 => {
                let added = load::add(&gateway.lab.lan, &gateway.service, 0..ALONE, false, AMPLE)?;
                self.note(gateway, Measure::AddFresh, 0, added.rate);
                return Ok(());
            }
            Kind::Nothing => return Ok(()),
            Kind::Miniupnpd if station > most => {
                self.left_out.push(format!(
                    "miniupnpd with {station} mappings: it is given {most} at most, since each \
                     that it adds takes longer than the one before"
                ));
                return Ok(());
            }
            Kind::Miniupnpd => patience,
        };
        for lap in laps {
            if *entries >= *lap {
                continue;
            }
            let range = *entries..*lap;
            let added = load::add(&gateway.lab.lan, &gateway.service, range, false, bound)?;
            *entries = added.to;
            // The first few are too few to tell a rate.
            if *lap >= 1_000 {
                self.note(gateway, Measure::AddFresh, *lap, added.rate);
            }
            if *entries < *lap {
                self.left_out.push(format!(
                    "miniupnpd with {lap} mappings: it had made {entries} of them after {} s",
                    bound.as_secs()
                ));
                return Ok(());
            }
        }
        if *entries == station {
            self.read(gateway, station)?;
        }
        Ok(())
    }

    /// Reads at a station.
    fn read(&mut self, gateway: &Gateway<'_>, station: u32) -> Result<()> {
        let Gateway { service, lab, .. } = gateway;
        let by_index = spread(station, READS).map(|index| {
            let arguments = format!("<NewPortMappingIndex>{index}</NewPortMappingIndex>");
            service.request("GetGenericPortMappingEntry", &arguments, false)
        });
        let by_index: Vec<_> = by_index.collect();
        let by_key = spread(station, READS).map(|mapping| {
            let arguments = format!(
                "<NewRemoteHost></NewRemoteHost><NewExternalPort>{}</NewExternalPort>\
                 <NewProtocol>TCP</NewProtocol>",
                port(mapping)
            );
            service.request("GetSpecificPortMappingEntry", &arguments, false)
        });
        let by_key: Vec<_> = by_key.collect();
        if station >= 10_000 {
            std::thread::sleep(REST);
            self.at_rest(gateway, station)?;
        }
        let micros = latency(&lab.lan, service, &by_index)?;
        self.note(gateway, Measure::ByIndex, station, micros);
        let micros = latency(&lab.lan, service, &by_key)?;
        self.note(gateway, Measure::ByKey, station, micros);
        if station == 10 || station == FULL {
            self.first_packets(gateway, station)?;
        }
        Ok(())
    }

    fn at_rest(&mut self, gateway: &Gateway<'_>, entries: u32) -> Result<()> {
        if gateway.kind == Kind::Nothing {
            return Ok(());
        }
        let (now, most) = gateway.resident()?;
        self.note(gateway, Measure::Resident, entries, now / 1_024.0);
        if entries > 0 {
            self.note(gateway, Measure::ResidentMost, entries, most / 1_024.0);
        }
        Ok(())
    }

    /// The openings of one station have other ports than those of another.
    fn first_packets(&mut self, gateway: &Gateway<'_>, station: u32) -> Result<()> {
        let first = FIRST_OPENING + if station == FULL { TRIALS } else { 0 };
        let mut openings = Vec::new();
        for port in first..first + TRIALS {
            openings.extend(first_packet::open(gateway, port)?);
            if openings.len() == OPENINGS {
                break;
            }
        }
        ensure!(!openings.is_empty(), "the sender was never there when a port was opened");
        let packets = openings.iter().map(|opening| opening.packet).collect();
        let packet = middle(packets).context("no openings")?;
        self.note(gateway, Measure::FirstPacket, station, packet);
        for opening in openings {
            self.note(gateway, Measure::PacketToAnswer, station, opening.lead);
        }
        Ok(())
    }

    /// Lists all, and removes all; then the same table by kept connections.
    fn all_at_once(&mut self, gateway: &Gateway<'_>, entries: u32) -> Result<()> {
        let Gateway { service, lab, .. } = gateway;
        match gateway.kind {
            Kind::Nothing => {}
            Kind::Ours => {
                self.list(gateway, entries)?;
                self.remove(gateway, entries)?;
                let mut start = 0;
                for lap in LAPS {
                    let added = load::add(&lab.lan, service, start..lap, true, AMPLE)?;
                    if lap >= 1_000 {
                        self.note(gateway, Measure::AddKept, lap, added.rate);
                    }
                    start = lap;
                }
            }
            Kind::Miniupnpd => {
                self.left_out.push("miniupnpd over kept connections: it keeps none".to_owned());
                // A list of some hundreds ends its process, in the version that Debian 12 has: that comes last.
                self.remove(gateway, entries)?;
                let range = 0..entries.min(MANY);
                match load::add(&lab.lan, service, range, false, Duration::from_secs(60)) {
                    Ok(added) => self.list(gateway, added.to)?,
                    Err(error) => self.left_out.push(format!("miniupnpd's list: {error:#}")),
                }
            }
        }
        Ok(())
    }

    fn list(&mut self, gateway: &Gateway<'_>, entries: u32) -> Result<()> {
        let arguments = format!("{ALL_PORTS}<NewNumberOfPorts>65535</NewNumberOfPorts>");
        let listed =
            timed(gateway, "GetListOfPortMappings", &arguments).and_then(|(body, millis)| {
                let listed = count(&body);
                ensure!(listed == entries, "{listed} of {entries} mappings are listed");
                Ok(millis)
            });
        self.note_or_tell(gateway, (Measure::List, "list"), entries, listed)
    }

    fn remove(&mut self, gateway: &Gateway<'_>, entries: u32) -> Result<()> {
        let removed = timed(gateway, "DeletePortMappingRange", ALL_PORTS).map(|(_, millis)| millis);
        self.note_or_tell(gateway, (Measure::Remove, "range delete"), entries, removed)
    }
}

/// What an action answers, and after how many milliseconds.
fn timed(gateway: &Gateway<'_>, action: &str, arguments: &str) -> Result<(Vec<u8>, f64)> {
    let request = gateway.service.request(action, arguments, false);
    let (answer, time) = gateway.lab.lan.enter(|| {
        let began = Instant::now();
        let answer = gateway.service.exchange(&request)?;
        anyhow::Ok((answer, began.elapsed()))
    })??;
    accepted(&answer)?;
    Ok((answer.body, time.as_secs_f64() * 1e3))
}

/// How many mappings a list has: each has an element of this name, which the standard wants escaped.
fn count(body: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(body);
    let tags = ["NewExternalPort&gt;", "NewExternalPort>"].map(|tag| text.matches(tag).count());
    // Each begins and ends.
    u32::try_from(tags.iter().sum::<usize>() / 2).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_of_a_list_are_counted_escaped_or_not() {
        let plain =
            b"<p:NewExternalPort>1</p:NewExternalPort><p:NewExternalPort>2</p:NewExternalPort>";
        assert_eq!(count(plain), 2);
        assert_eq!(count(b"&lt;p:NewExternalPort&gt;1&lt;/p:NewExternalPort&gt;"), 1);
        assert_eq!(count(b""), 0);
    }
}
