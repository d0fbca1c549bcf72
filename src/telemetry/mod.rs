//! What goes on, in the terms of the tools that operators have: the facades `metrics` and `tracing`.
//!
//! # Metrics (feature `metrics`)
//!
//! [`Metrics`] is an [`Observer`](crate::Observer): give it to the proxy's builder and it counts and
//! times the calls. How long the queue is, what is left of a window, or what the breaker does, is no
//! event but a state, so it is [sampled](Metrics::sample), now and then or when somebody scrapes; a
//! [`Sampler`] is a thread for that. All that is told is in the table [`METRICS`], and in no label is
//! anything but the names of lanes, methods, budgets and windows, a few fixed words, and, if wanted,
//! some users.
//!
#![cfg_attr(
    all(feature = "metrics", feature = "mock"),
    doc = r#"
```
use std::sync::Arc;
use std::time::Duration;
use lanekeeper::{BrokerProxy, LaneConfig, MockBroker, Quota};
use lanekeeper::telemetry::{Metrics, Sampler};

// First the exporter, such as `PrometheusBuilder::new().set_buckets(&telemetry::SECONDS)?`.
let metrics = Arc::new(Metrics::new());
let broker = BrokerProxy::builder(MockBroker::new())
    .transactional(LaneConfig::new(Quota::per_second(10)))
    .quote(LaneConfig::new(Quota::per_second(1)))
    .historical(LaneConfig::new(Quota::per_second(3)))
    .orders(Quota::per_minute(400))
    .observer(metrics.clone())
    .build()?;
let watched = broker.clone();
let sampler = Sampler::every(Duration::from_secs(5), move || metrics.sample(&watched.status()))?;
# drop(sampler);
# Ok::<(), Box<dyn std::error::Error>>(())
```
"#
)]
//!
//! # Tracing (feature `tracing`)
//!
//! There is nothing to set up but a subscriber, of the process: calls are made on the threads of a
//! lane, where a subscriber of one thread hears of nothing but the spans of calls that were made in
//! a span of its own. The target is `lanekeeper`. Each attempt of a call is a
//! span `call` at level info, with the fields `lane`, `method`, `priority`, `user`, `number`, `attempt`,
//! `wait_seconds` and, at its end, `outcome`. Its parent is the span in which the strategy made the
//! call, though it is on a thread of the lane; and what the broker's adapter logs during the call is
//! in it.
//!
//! | level | events |
//! |---|---|
//! | error | a failure that somebody has to mend: a dead token, a blocked app |
//! | warn | a write whose outcome is unknown, the answer to a call whose caller has left, a refusal for coming too fast, a breaker that opens |
//! | info | another attempt, a call whose deadline passed unsent, a lane's state, a breaker that closes or probes |
//! | debug | each answer and failure, and each call that was refused or taken back |
//! | trace | each call that was queued |
//!
//! What an order or an answer holds is in none of them, and neither is what a broker said: only which
//! class of failure it was.
//!
//! While nobody listens, each of these costs one relaxed load.

#[cfg(feature = "metrics")]
mod catalogue;
#[cfg(feature = "metrics")]
mod gauges;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "metrics")]
mod sampler;
#[cfg(feature = "tracing")]
mod tracer;
#[cfg(feature = "metrics")]
mod user_labels;

#[cfg(feature = "metrics")]
pub use self::catalogue::{Kind, METRICS, Metric, SECONDS};
#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;
#[cfg(feature = "metrics")]
pub use self::sampler::Sampler;
#[cfg(feature = "tracing")]
pub(crate) use self::tracer::{AttemptSpan, CallerSpan, Tracer, is_traced};
