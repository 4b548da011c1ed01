//! The figures as drawings.

use crate::contestant::Kind;
use crate::report::Report;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use std::ops::Range;
use std::path::Path;

const SIZE: (u32, u32) = (800, 450);
const FONT: (&str, u32) = ("sans-serif", 16);

/// Where the vertical axis of nanoseconds begins.
const LEAST_NANOS: f64 = 10.0;

/// Who is drawn, and how.
const DRAWN: [(Kind, RGBColor); 5] = [
    (Kind::Ceiling, RGBColor(120, 120, 120)),
    (Kind::CeilingFib, RGBColor(180, 180, 180)),
    (Kind::Nat, RGBColor(0, 110, 190)),
    (Kind::Routing, RGBColor(230, 160, 60)),
    (Kind::Nftables, RGBColor(200, 60, 50)),
];

/// A drawing of several curves, both axes logarithmic.
pub(crate) struct Chart<'a> {
    /// What it shows.
    pub(crate) caption: &'a str,
    /// What the horizontal axis counts, and from where to where.
    pub(crate) x: (&'a str, Range<f64>),
    /// The same for the vertical one.
    pub(crate) y: (&'a str, Range<f64>),
    /// Where the names of the curves stand.
    pub(crate) names: SeriesLabelPosition,
    /// What is drawn.
    pub(crate) curves: Vec<Curve<'a>>,
}

/// One of them.
pub(crate) struct Curve<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its colour.
    pub(crate) colour: RGBColor,
    /// Its points.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Chart<'_> {
    /// Draws it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn draw(self, file: &Path) -> Result<()> {
        let drawn = || -> Result<(), Box<dyn std::error::Error>> {
            let area = SVGBackend::new(file, SIZE).into_drawing_area();
            area.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(&area)
                .caption(self.caption, FONT)
                .margin(12)
                .x_label_area_size(40)
                .y_label_area_size(70)
                .build_cartesian_2d(self.x.1.log_scale(), self.y.1.log_scale())?;
            chart.configure_mesh().x_desc(self.x.0).y_desc(self.y.0).draw()?;
            for Curve { name, colour, points } in self.curves {
                chart
                    .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
                    .label(name)
                    .legend(move |(x, y)| {
                        Rectangle::new([(x, y - 4), (x + 14, y + 4)], colour.filled())
                    });
            }
            chart
                .configure_series_labels()
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK)
                .position(self.names)
                .draw()?;
            area.present()?;
            Ok(())
        };
        drawn().map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))
    }
}

/// Draws each router's own nanoseconds by the number of flows.
///
/// # Errors
/// When the file cannot be written, or there is nothing to draw.
pub fn curve(report: &Report, file: &Path) -> Result<()> {
    let curves: Vec<_> = DRAWN
        .iter()
        .map(|(kind, colour)| {
            let points = report.curve(*kind).into_iter();
            let points = points.map(|(flows, nanos)| (f64::from(flows), nanos.max(LEAST_NANOS)));
            Curve { name: kind.name(), colour: *colour, points: points.collect() }
        })
        .collect();
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let most_flows = points().map(|(flows, _)| *flows).fold(1.0, f64::max);
    let most_nanos = points().map(|(_, nanos)| *nanos).fold(1.0, f64::max);
    let chart = Chart {
        caption: "Router's own cost of a packet, outbound UDP, 64 bytes",
        x: ("flows", 1.0..most_flows),
        y: ("nanoseconds", LEAST_NANOS..most_nanos * 1.2),
        names: SeriesLabelPosition::MiddleRight,
        curves,
    };
    chart.draw(file)
}
