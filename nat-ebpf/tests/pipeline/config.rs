//! How proptest is run.

use proptest::test_runner::{Config, FileFailurePersistence};

/// So many cases unless `PROPTEST_CASES` says otherwise. Seeds that failed are kept beside the test, to
/// be tried first from then on.
pub fn config(cases: u32) -> Config {
    let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    Config {
        cases: wanted.unwrap_or(cases),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..Config::default()
    }
}
