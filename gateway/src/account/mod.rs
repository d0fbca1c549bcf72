//! One account at a broker: its upstream, its credentials, its routes and its lanes.
//!
//! - `build.rs` makes an account from its settings.
//! - `routes.rs` says what happens to a request, by its method and path.
//! - `credentials.rs` is how the gateway authenticates itself at the upstream, and how that is renewed.
//! - `kite.rs` is what an account at Kite has beside: the guard, and the quotes of all clients.
//! - `watch.rs` counts what the lanes report, and turns the rare events into notices.

mod build;
mod credentials;
mod kite;
mod routes;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lanekeeper::lane::LaneStatus;
use lanekeeper::proxy::Lanes;
use lanekeeper::telemetry::Metrics;
use tokio::sync::Semaphore;

pub use build::AccountError;
pub(crate) use build::{Surroundings, build, read_token};
pub(crate) use credentials::Credentials;
pub(crate) use kite::KiteParts;
pub(crate) use routes::{Matched, Routes};
pub(crate) use watch::LaneWatch;

use crate::judge::Protocol;
use crate::kept::KeptAnswers;
use crate::upstream::Upstream;

/// An account, as the gateway uses it.
pub(crate) struct Account {
    pub(crate) name: Arc<str>,
    pub(crate) protocol: Protocol,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) credentials: Credentials,
    pub(crate) lanes: Lanes,
    /// Replaced when the configuration is read again.
    pub(crate) routes: ArcSwap<Routes>,
    pub(crate) kept: KeptAnswers,
    /// Only of an account at Kite.
    pub(crate) kite: Option<KiteParts>,
    pub(crate) watch: Arc<LaneWatch>,
    pub(crate) metrics: Arc<Metrics>,
    /// Where a new token is written.
    pub(crate) token_file: Option<PathBuf>,
    /// How long the upstream may take to answer.
    pub(crate) timeout: Duration,
    /// Where the exchanges with the upstream run.
    pub(crate) runtime: tokio::runtime::Handle,
    /// The threads for orders that are no exits, of all accounts.
    pub(crate) order_threads: Arc<Semaphore>,
}

/// The shortest time that an answer is given, beyond what it takes on average.
const MIN_ANSWER_MARGIN: Duration = Duration::from_millis(100);

/// How long after an answer was lost an order may still appear, beyond the timeout of a call. At Kite one came 8 s later.
const SETTLE_MARGIN: Duration = Duration::from_secs(3);

/// Returns how long after a call was given up its order may still appear in the order book.
fn settle_time(upstream_timeout: Duration) -> Duration {
    upstream_timeout + SETTLE_MARGIN
}

impl Account {
    /// Returns how long after a call was given up its order may still appear in the order book.
    pub(crate) fn settle_time(&self) -> Duration {
        settle_time(self.timeout)
    }

    /// Returns how long a call of this lane may take from its sending to its answer, in most cases. A call that is sent
    /// later than this before its client gives up is likely not answered in time.
    pub(crate) fn answer_margin(&self, lane: &str, client_time: Duration) -> Duration {
        let mean = self.watch.mean_round_trip(lane).unwrap_or_default();
        // A slow upstream must not make every call too late.
        (2 * mean + MIN_ANSWER_MARGIN).min(client_time / 2)
    }

    /// Brings the states in the metrics up to date, which are sampled.
    pub(crate) fn sample_metrics(&self) {
        self.metrics.sample(&self.lanes.status());
        let Some(kite) = &self.kite else { return };
        if let Some(guard) = &kite.guard {
            self.metrics.sample_guard(&guard.stats());
        }
        if let Some(quotes) = &kite.quotes {
            self.metrics.sample_cache("quotes", &quotes.stats());
        }
    }

    /// Returns how long one more call of this lane would wait.
    pub(crate) fn wait(&self, lane: &str) -> Option<Duration> {
        let status: LaneStatus = self.lanes.lane(lane)?.status();
        status.estimated_wait.map(|wait| wait.max(status.paused_for.unwrap_or_default()))
    }
}
