//! docs/metrics.md.

use super::{Kind, Limit, Metric};
use std::fmt::Write as _;

/// The whole page.
pub fn docs_page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         `igd-control metrics` prints them in Prometheus' text format. With `metrics.listen` the daemon \
         serves the\nsame at `/metrics` of that address, to whoever can reach it. Counters of the packet \
         path begin with the\nmaps and outlive the daemon, the others begin with it.\n\n\
         | metric | type | labels | tells |\n|---|---|---|---|\n",
    );
    for metric in Metric::ALL {
        let kind = match metric.kind() {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let labels = metric.labels().join(", ");
        let (name, help) = (metric.name(), metric.help());
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{name}` | {kind} | {labels} | {help} |");
    }
    page.push_str("\n`limit` of `igd_limits_hit_total`:\n\n| limit | of what |\n|---|---|\n");
    for limit in Limit::ALL {
        let _ = writeln!(page, "| `{}` | {} |", limit.name(), limit.help());
    }
    page
}
