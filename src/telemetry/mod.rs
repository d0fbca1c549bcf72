//! Observability through the facades `metrics` and `tracing`.
//!
//! # Metrics (feature `metrics`)
//!
//! [`Metrics`] is an [`Observer`](crate::Observer): pass it to the proxy's builder, and it counts and
//! times the calls. The length of a queue, the rest of a window and the state of a breaker are
//! states, not events, so they are [sampled](Metrics::sample): at intervals, by a [`Sampler`], or at each scrape.
//! The table [`METRICS`] lists all metrics. Labels only contain
//! the names of lanes, methods, budgets and windows, a few fixed words, and optionally
//! a bounded number of users.
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
//! Only a global subscriber is needed. Calls are made on the threads of a
//! lane, where a thread-local subscriber only receives the spans of calls that were made in
//! one of its own spans. The target is `lanekeeper`. Each attempt of a call is a
//! span `call` at level info, with the fields `lane`, `method`, `priority`, `user`, `number`, `attempt`,
//! `wait_seconds` and, at its end, `outcome`. Its parent is the span in which the strategy made the
//! call, although that is on another thread. What the broker's adapter logs during the call is
//! inside it.
//!
//! | level | events |
//! |---|---|
//! | error | a failure that an operator must fix: an expired token, a blocked app |
//! | warn | a write of unknown outcome or done in part, an answer after its caller has left, a refusal because calls come too fast, a breaker that opens |
//! | info | a queued call whose caller has blocked for a second, another attempt, a call whose deadline passed before it was sent, a lane's state, a breaker that closes or probes |
//! | debug | each answer and failure, each call that was refused or cancelled, a read without an answer by its deadline |
//! | trace | each call that was queued |
//!
//! No event contains the content of an order or an answer, nor the message of a broker: only the
//! class of the failure.
//!
//! Without a subscriber, each event costs one relaxed load.

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
pub(crate) use self::tracer::{AttemptSpan, CallerSpan, Tracer, is_traced, is_traced_at_info};
