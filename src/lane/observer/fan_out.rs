//! Implements [`Observer`] for several observers, which are notified one after the other, and for a shared one.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::{CallInfo, FinishedCall, LongWait, Observer};
use crate::lane::error::LaneErrorKind;
use crate::lane::shared_mode::SharedQuotaEvent;
use crate::lane::state::LaneState;
use crate::panic::catch_panic;
use crate::resilience::BreakerState;

/// Catches a panic of one observer, so that the others are notified too.
fn notify_isolated(event: impl FnOnce()) {
    let _ = catch_panic(event);
}

/// Implements [`Observer`] for a type. Each event goes to every observer of `$all`, an expression over `$this`.
macro_rules! fan_out {
    ([$($bounds:tt)*] $observer:ty, $this:ident => $all:expr) => {
        fan_out! {
            [$($bounds)*] $observer, $this => $all;
            submitted(call: &CallInfo<'_>);
            dispatched(call: &CallInfo<'_>, queued: Duration);
            long_wait(wait: &LongWait<'_>);
            finished(call: &FinishedCall<'_>);
            attempt_failed(call: &FinishedCall<'_>, delay: Duration);
            throttled(lane: &'static str, pause: Duration);
            cancelled(call: &CallInfo<'_>);
            expired(call: &CallInfo<'_>);
            refused(call: &CallInfo<'_>, reason: &LaneErrorKind);
            deadline_missed(call: &CallInfo<'_>);
            late_result(call: &CallInfo<'_>, answer: &dyn Any);
            lane_state(lane: &'static str, state: LaneState);
            session_expired(lane: &'static str);
            breaker(lane: &'static str, route: &'static str, state: BreakerState);
            pace_log_failed(error: &std::io::Error);
            shared_quota(event: &SharedQuotaEvent<'_>);
        }
    };
    ([$($bounds:tt)*] $observer:ty, $this:ident => $all:expr;
     $($event:ident($($name:ident: $ty:ty),*);)*) => {
        impl<$($bounds)*> Observer for $observer {
            $(fn $event(&self, $($name: $ty),*) {
                let $this = self;
                for observer in $all {
                    notify_isolated(|| observer.$event($($name),*));
                }
            })*

            fn wants_estimates(&self) -> bool {
                let $this = self;
                $all.into_iter().any(|observer| catch_panic(|| observer.wants_estimates()).unwrap_or_default())
            }

            fn wants_long_waits(&self) -> bool {
                let $this = self;
                $all.into_iter().any(|observer| catch_panic(|| observer.wants_long_waits()).unwrap_or_default())
            }
        }
    };
}

fan_out!([O: Observer] Vec<O>, all => all.iter());
fan_out!([A: Observer, B: Observer] (A, B), both => [&both.0 as &dyn Observer, &both.1]);
fan_out!([O: Observer + ?Sized] Arc<O>, shared => [&**shared]);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counts(AtomicU32);

    impl Observer for Counts {
        fn throttled(&self, _: &'static str, _: Duration) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn wants_estimates(&self) -> bool {
            true
        }
        fn wants_long_waits(&self) -> bool {
            true
        }
    }

    struct Panics;

    impl Observer for Panics {
        fn throttled(&self, _: &'static str, _: Duration) {
            std::panic::panic_any("an observer that panics");
        }
    }

    #[test]
    fn each_is_told_though_another_panics() {
        let counts = Arc::new(Counts::default());
        let observer: Arc<dyn Observer> = counts.clone();
        let all: Vec<Arc<dyn Observer>> = vec![Arc::new(Panics), observer, counts.clone()];
        let both = (Panics, (all, counts.clone()));
        both.throttled("test", Duration::ZERO);
        assert_eq!(counts.0.load(Ordering::Relaxed), 3);
        assert!(both.wants_estimates() && both.wants_long_waits());
        let neither = (Panics, Panics);
        assert!(!neither.wants_estimates() && !neither.wants_long_waits());
    }
}
