//! Adds a second by the size of the table, as a drawing.

use super::figures::{ControlReport, Measure};
use super::gateway::Kind;
use crate::chart::{Chart, Curve};
use anyhow::Result;
use plotters::prelude::*;
use std::path::Path;

const DRAWN: [(Measure, Kind, &str, RGBColor); 3] = [
    (Measure::AddKept, Kind::Ours, "igd-control, kept connections", RGBColor(120, 170, 220)),
    (Measure::AddFresh, Kind::Ours, "igd-control, fresh connections", RGBColor(0, 110, 190)),
    (Measure::AddFresh, Kind::Miniupnpd, "miniupnpd, fresh connections", RGBColor(200, 60, 50)),
];

/// Draws how many mappings a second are added, by how many there are.
///
/// # Errors
/// When the file cannot be written.
pub fn adds(report: &ControlReport, file: &Path) -> Result<()> {
    let curves = DRAWN.into_iter().map(|(measure, kind, name, colour)| {
        let points = report.curve(measure, kind).into_iter();
        let points = points.map(|(entries, rate)| (f64::from(entries), rate)).collect();
        Curve { name, colour, points }
    });
    let chart = Chart {
        caption: "AddPortMapping a second",
        x: ("up to so many mappings", 1_000.0..f64::from(super::FULL)),
        y: ("a second", 1.0..20_000.0),
        names: SeriesLabelPosition::LowerRight,
        curves: curves.collect(),
    };
    chart.draw(file)
}
