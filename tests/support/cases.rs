//! How many cases a property is tried with.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::FileFailurePersistence;

/// So many, or as many times more as `LANEKEEPER_TIMES` says. A case that failed is kept beside the
/// test, and tried first from then on.
pub fn cases(cases: u32) -> ProptestConfig {
    let times = std::env::var("LANEKEEPER_TIMES").ok().and_then(|times| times.parse().ok());
    let times: u32 = times.unwrap_or(1);
    let regressions = FileFailurePersistence::WithSource("regressions");
    ProptestConfig {
        cases: cases.saturating_mul(times),
        max_global_rejects: 1024_u32.saturating_mul(times),
        failure_persistence: Some(Box::new(regressions)),
        ..ProptestConfig::default()
    }
}
