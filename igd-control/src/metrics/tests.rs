use super::*;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[test]
fn names_say_what_they_are_and_are_used_once() {
    let names: HashSet<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    assert_eq!(names.len(), Metric::ALL.len());
    for metric in Metric::ALL {
        let name = metric.name();
        assert!(name.starts_with("igd_"), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind() == Kind::Counter, "{name}");
    }
}

#[test]
fn samples_are_told_in_the_text_format() {
    let text = text(vec![
        Sample::of(Metric::Dropped, ["filtered"], 3.0),
        Sample::new(Metric::Connected, 1.0),
        Sample::of(Metric::Dropped, ["no \"port\""], 1e15),
    ]);
    for lines in [
        "# HELP igd_connected Whether there is an external address (1) or not (0).\n\
         # TYPE igd_connected gauge\nigd_connected 1.0\n",
        "# TYPE igd_dropped_packets_total counter\n\
         igd_dropped_packets_total{reason=\"filtered\"} 3.0\n\
         igd_dropped_packets_total{reason=\"no \\\"port\\\"\"} 1000000000000000.0\n",
    ] {
        assert!(text.contains(lines), "{text}");
    }
    let described = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(described, Metric::ALL.len());
}

#[test]
fn the_documentation_is_the_table() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, docs_page()).unwrap();
    }
    assert!(
        std::fs::read_to_string(&file).unwrap_or_default() == docs_page(),
        "docs/metrics.md is out of date: UPDATE_DOCS=1 cargo test -p igd-control metrics"
    );
}

#[test]
fn what_happens_is_counted() {
    let value = |metric: Metric, label: &str| {
        let samples = tallied();
        let found = samples.iter().find(|sample| {
            sample.metric == metric && sample.labels.first().is_none_or(|first| first == label)
        });
        found.map_or(0.0, |sample| sample.value)
    };
    // Other tests count at the same time.
    for (count, metric, label) in [
        (&(|| hit(Limit::BodyTime)) as &dyn Fn(), Metric::LimitsHit, "body_time"),
        (&|| leases_expired(2), Metric::LeasesExpired, ""),
        (&|| answered("Service", "Action", 718), Metric::Requests, "Service"),
        (&|| swept(std::time::Duration::from_millis(3)), Metric::SweepCpu, ""),
    ] {
        let before = value(metric, label);
        count();
        assert!(value(metric, label) > before, "{metric:?}");
    }
}

struct Fixed;

impl Source for Fixed {
    fn metrics(&self) -> anyhow::Result<String> {
        Ok("igd_connected 1\n".to_owned())
    }
}

#[tokio::test]
async fn metrics_are_served_by_http() {
    let socket = MetricsSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local().unwrap();
    let server = tokio::spawn(socket.serve(Arc::new(Fixed)));
    for (path, status) in [("/metrics", "200"), ("/", "404")] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert_eq!(answer.ends_with("igd_connected 1\n"), path == "/metrics", "{answer}");
    }
    server.abort();
}
