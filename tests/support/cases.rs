//! The number of cases of a property.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::FileFailurePersistence;

/// Returns `cases`, times the value of `LANEKEEPER_TIMES`. A case that failed is kept beside the test, and tried
/// first from then on.
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
