//! Measures what telemetry costs a call without a recorder and without a subscriber.
//!
//! ```text
//! taskset -c 0 cargo bench -p lanekeeper-benches --features metrics,tracing --bench telemetry
//! ```
//!
//! Run it on one core, for the reason that `benches/lane.rs` gives.
//!
//! The cost of an observer shows within one run. The spans and events are compiled in or not, so for those two
//! builds are compared: `benches/telemetry.sh` runs them in turns.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::hint::black_box;
use std::time::Duration;

use lanekeeper::lane::{LaneConfig, LaneError};
use lanekeeper::quota::Quota;
use support::{each, paired};

/// A broker, as far as a lane needs one.
#[lanekeeper::proxy]
pub trait Echo: Send + Sync {
    /// Returns its argument.
    #[lane(main, write)]
    fn echo(&self, number: u64) -> Result<u64, LaneError>;
}

struct AtOnce;

impl Echo for AtOnce {
    fn echo(&self, number: u64) -> Result<u64, LaneError> {
        Ok(number)
    }
}

fn builder() -> EchoProxyBuilder<AtOnce> {
    let config = LaneConfig::new(Quota::unlimited()).in_flight(1);
    EchoProxy::builder(AtOnce).main(config)
}

fn calls(proxy: &EchoProxy<AtOnce>) -> Duration {
    each(500, || assert_eq!(proxy.echo(black_box(7)), Ok(7)))
}

fn main() {
    // A small number of rounds makes a short run beside another build.
    let rounds = std::env::var("LANEKEEPER_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let rounds = rounds.unwrap_or(400);
    let (plain, same) = (builder().build().unwrap(), builder().build().unwrap());
    // Shows how large a difference is noise.
    paired("the same call", rounds, || calls(&same), || calls(&plain));
    #[cfg(feature = "metrics")]
    {
        use std::sync::Arc;

        use lanekeeper::telemetry::Metrics;

        let observed = |metrics| builder().observer(Arc::new(metrics)).build().unwrap();
        let counted = observed(Metrics::new());
        paired("counted, no recorder", rounds, || calls(&counted), || calls(&plain));
        let estimated = observed(Metrics::new().estimates());
        paired("and estimated", rounds, || calls(&estimated), || calls(&plain));
    }
}
