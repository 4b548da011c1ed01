//! The figures as drawings.

use crate::contestant::Kind;
use crate::report::Report;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use std::path::Path;

const SIZE: (u32, u32) = (800, 450);
const FONT: (&str, u32) = ("sans-serif", 16);

/// Who is drawn, and how.
const DRAWN: [(Kind, RGBColor); 5] = [
    (Kind::Ceiling, RGBColor(120, 120, 120)),
    (Kind::CeilingFib, RGBColor(180, 180, 180)),
    (Kind::Nat, RGBColor(0, 110, 190)),
    (Kind::Routing, RGBColor(230, 160, 60)),
    (Kind::Nftables, RGBColor(200, 60, 50)),
];

/// Draws each router's own nanoseconds by the number of flows.
///
/// # Errors
/// When the file cannot be written, or there is nothing to draw.
pub fn curve(report: &Report, file: &Path) -> Result<()> {
    let curves: Vec<_> =
        DRAWN.iter().map(|(kind, colour)| (kind, *colour, report.curve(*kind))).collect();
    let points = || curves.iter().flat_map(|(_, _, points)| points);
    let most_flows = points().map(|(flows, _)| *flows).max().unwrap_or(1);
    let most_nanos = points().map(|(_, nanos)| *nanos).fold(1.0, f64::max);
    let drawn = || -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("Router's own cost of a packet, outbound UDP, 64 bytes", FONT)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(70)
            .build_cartesian_2d(
                (1.0..f64::from(most_flows)).log_scale(),
                (10.0..most_nanos * 1.2).log_scale(),
            )?;
        chart.configure_mesh().x_desc("flows").y_desc("nanoseconds").draw()?;
        for (kind, colour, points) in &curves {
            let line = points.iter().map(|(flows, nanos)| (f64::from(*flows), nanos.max(10.0)));
            let colour = *colour;
            chart
                .draw_series(LineSeries::new(line, colour.stroke_width(2)).point_size(3))?
                .label(kind.name())
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 4), (x + 14, y + 4)], colour.filled())
                });
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .position(SeriesLabelPosition::MiddleRight)
            .draw()?;
        area.present()?;
        Ok(())
    };
    drawn().map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))
}
