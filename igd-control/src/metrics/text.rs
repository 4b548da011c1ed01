//! Prometheus' text format.

use super::{Kind, Metric, Sample};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

/// The content type.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The samples, in the order of the table, with the help of each metric.
pub fn text(samples: Vec<Sample>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Samples(samples)));
    let mut text = String::new();
    if let Err(error) = prometheus_text::encode(&mut text, &registry) {
        // Writing to a String does not fail.
        tracing::error!("metrics cannot be written: {error}");
    }
    text
}

#[derive(Debug)]
struct Samples(Vec<Sample>);

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for metric in Metric::ALL {
            let kind = match metric.kind() {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            // The encoder puts the end of a counter's name there by itself.
            let name = metric.name().strip_suffix("_total").unwrap_or(metric.name());
            let mut family = encoder.encode_descriptor(name, metric.help(), None, kind)?;
            for sample in self.0.iter().filter(|sample| sample.metric == *metric) {
                let values = sample.labels.iter().map(String::as_str);
                let labels: Vec<_> = metric.labels().iter().copied().zip(values).collect();
                let mut value = family.encode_family(&labels)?;
                match kind {
                    MetricType::Counter => {
                        value.encode_counter::<NoLabelSet, _, f64>(&sample.value, None)?;
                    }
                    _ => value.encode_gauge(&sample.value)?,
                }
            }
        }
        Ok(())
    }
}
