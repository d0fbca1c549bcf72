//! The broker's own count of the calls, as its answers report it, shared by an adapter and its lanes.
//!
//! A lane keeps to a quota by its own count. The broker may have counted more: another program uses the account, or one
//! call of the adapter makes several requests. Some brokers report in every answer how many more calls they take, and
//! when their count begins anew. The adapter passes that on through a [`ReportedLimits`], and the lanes obey it in
//! addition to their quota.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

/// The broker's own count, as its answers report it. Clones share it.
///
/// An adapter keeps one, hands out a clone ([`Broker::reported_limits`](crate::Broker::reported_limits)), and calls
/// [`report`](Self::report) for each answer that says how many more calls the broker takes.
///
/// A report only makes lanes slower. They never send more than their quota, whatever the broker says. A report binds
/// for one window of the lanes at most, so a wrong clock at the broker does not stop them. Urgent calls are counted, but
/// do not wait for a report: only the broker itself refuses an exit.
///
/// ```
/// use std::time::Duration;
/// use lanekeeper::ReportedLimits;
///
/// struct Client {
///     reported: ReportedLimits,
/// }
///
/// impl Client {
///     /// Called for each answer, with what its header says.
///     fn on_answer(&self, remaining: u32, reset_in: Duration) {
///         // The two lanes share one count at this broker.
///         self.reported.report(&["quote", "historical"], remaining, reset_in);
///     }
///
///     /// What `Broker::reported_limits` answers; the lanes of the proxy share it.
///     fn reported_limits(&self) -> Option<ReportedLimits> {
///         Some(self.reported.clone())
///     }
/// }
/// # let client = Client { reported: ReportedLimits::new() };
/// # client.on_answer(199, Duration::from_secs(60));
/// # assert!(client.reported_limits().is_some());
/// ```
#[derive(Clone, Default)]
pub struct ReportedLimits(Arc<Mutex<Vec<Weak<dyn LimitListener>>>>);

/// Is notified of each report.
pub(crate) trait LimitListener: Send + Sync {
    fn on_limit_reported(&self, lanes: &[&str], remaining: u32, reset_in: Duration);
}

impl ReportedLimits {
    /// Creates a count of which nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports that the broker takes `remaining` more calls of these lanes together, until its count begins anew in
    /// `reset_in`. Names of lanes that do not exist are ignored. Call it before the call returns whose answer it was:
    /// the lanes assume that the broker has counted this call, and none of the others in flight.
    pub fn report(&self, lanes: &[&str], remaining: u32, reset_in: Duration) {
        let listeners: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        for listener in listeners {
            listener.on_limit_reported(lanes, remaining, reset_in);
        }
    }

    /// Notifies `listener` of each report, once.
    pub(crate) fn add_listener(&self, listener: Weak<dyn LimitListener>) {
        let mut listeners = self.0.lock();
        listeners.retain(|known| known.strong_count() > 0);
        if !listeners.iter().any(|known| known.ptr_eq(&listener)) {
            listeners.push(listener);
        }
    }
}

impl fmt::Debug for ReportedLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportedLimits").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Reports(AtomicUsize);

    impl LimitListener for Reports {
        fn on_limit_reported(&self, _: &[&str], _: u32, _: Duration) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Each proxy over the same lanes adds them, if its adapter has the same count.
    #[test]
    fn a_listener_that_is_added_twice_hears_a_report_once() {
        let reported = ReportedLimits::new();
        let reports = Arc::new(Reports::default());
        for _ in 0..3 {
            let listener: Arc<dyn LimitListener> = Arc::<Reports>::clone(&reports);
            reported.add_listener(Arc::downgrade(&listener));
        }
        reported.report(&["quote"], 1, Duration::ZERO);
        assert_eq!(reports.0.load(Ordering::SeqCst), 1);
    }
}
