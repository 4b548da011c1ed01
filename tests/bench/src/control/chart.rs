//! Adds a second by the size of the table, as a drawing.

use super::figures::{ControlReport, Measure};
use super::gateway::Kind;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use std::path::Path;

const SIZE: (u32, u32) = (800, 450);
const FONT: (&str, u32) = ("sans-serif", 16);

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
    let drawn = || -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("AddPortMapping a second", FONT)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(70)
            .build_cartesian_2d(
                (1_000.0..f64::from(super::FULL)).log_scale(),
                (1.0..20_000.0).log_scale(),
            )?;
        chart.configure_mesh().x_desc("up to so many mappings").y_desc("a second").draw()?;
        for (measure, kind, label, colour) in DRAWN {
            let points = report.curve(measure, kind);
            let line = points.iter().map(|(entries, rate)| (f64::from(*entries), *rate));
            chart
                .draw_series(LineSeries::new(line, colour.stroke_width(2)).point_size(3))?
                .label(label)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 4), (x + 14, y + 4)], colour.filled())
                });
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .position(SeriesLabelPosition::LowerRight)
            .draw()?;
        area.present()?;
        Ok(())
    };
    drawn().map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))
}
