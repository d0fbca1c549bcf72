//! The task that looks at the prices while no request arrives.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::dispatch::SimulatorState;

/// How often the prices are looked at. A bar of the paper broker is the current one for a second, unless set otherwise.
const WATCH_EVERY: Duration = Duration::from_millis(20);

/// Triggers GTTs until the runtime of the server ends.
pub(crate) async fn watch_prices(state: Arc<SimulatorState>) {
    let mut interval = tokio::time::interval(WATCH_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        state.advance_gtts();
    }
}
