//! The pace of a search: when to read, and when a read ends the search.
//!
//! `resolve.rs` and `recover.rs` loop over the reads of a [`Search`]. A search ends if each of its reads does: after the
//! settle time, few more reads are sent.

use std::time::Duration;

use super::evidence::{Evidence, PollContext};
use crate::broker::{Absence, BrokerError};
use crate::clock::Clock;
use crate::order_guard::call_mode::CallMode;
use crate::order_guard::updates::UpdateWatch;
use crate::quota::{Moment, WallClockSample};

/// The pause after the first read. Each pause is twice the one before, up to [`MAX_PAUSE`].
const INITIAL_PAUSE: Duration = Duration::from_millis(250);
/// The maximum pause between reads, unless the broker asks for a longer one: an order that appears is found soon.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// The number of failed reads after the settle time that ends a search without a result, and the number of fatal
/// answers in a row that does. The first ones are ignored, because the error page of a gateway looks fatal too, and the
/// next read may succeed.
const MAX_FINAL_FAILURES: u32 = 5;

/// The result of one read.
#[derive(Debug)]
pub(in crate::order_guard) enum Observation<A> {
    /// It shows the outcome of the write.
    Conclusive(A),
    /// It does not show the write, or not yet.
    NotFound,
    /// It is ambiguous, for this reason.
    Unclear(String),
    /// The read itself failed, which is no evidence.
    Failed(BrokerError),
}

/// Why a search has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::order_guard) enum Unresolved {
    /// Two reads after the settle time did not show the write.
    Absent(Absence),
    /// The caller left before that, and no read showed the write.
    NotYet,
    /// The last read, after the settle time or before the caller left, was ambiguous, for this reason.
    Unclear(String),
    /// No read succeeded in time; the last failure.
    Unreadable(BrokerError),
}

/// The settle time of a search, and the clock by which it counts.
#[derive(Debug, Clone)]
pub(in crate::order_guard) struct Polling {
    pub(in crate::order_guard) clock: Clock,
    pub(in crate::order_guard) settle_time: Duration,
}

impl Polling {
    /// Begins a search, which ends with a result, when the `evidence` proves absence, or when the caller must leave.
    pub(in crate::order_guard) fn search<'a>(
        &'a self,
        evidence: &'a mut Evidence,
        caller_deadline: Option<Moment>,
    ) -> Search<'a> {
        Search {
            polling: self,
            evidence,
            caller_deadline,
            pause: INITIAL_PAUSE,
            late_failures: 0,
            fatal_in_row: 0,
            read: None,
            next_read: Moment::ORIGIN,
            earliest_read: Moment::ORIGIN,
        }
    }

    /// Returns the deadline until which a search that begins now waits for a hung read of another caller: twice the
    /// settle time from now.
    pub(in crate::order_guard) fn search_deadline(&self) -> Moment {
        self.clock.now() + self.settle_time.saturating_mul(2)
    }

    /// Returns the wait that the broker, or a lane with an open breaker, asked for: the settle time at most, because
    /// a caller is waiting.
    fn requested_wait(&self, error: &BrokerError) -> Duration {
        let wait = match error {
            BrokerError::Throttled { retry_after, .. } => *retry_after,
            other => other.detail().and_then(|detail| detail.retry_in),
        };
        wait.unwrap_or_default().min(self.settle_time)
    }
}

/// A search under way. Its owner repeats: [`begin_read`](Self::begin_read), the read,
/// [`end_read`](Self::end_read), and [`pause`](Self::pause).
#[derive(Debug)]
pub(in crate::order_guard) struct Search<'a> {
    polling: &'a Polling,
    evidence: &'a mut Evidence,
    caller_deadline: Option<Moment>,
    /// The next pause.
    pause: Duration,
    late_failures: u32,
    fatal_in_row: u32,
    /// When the last read began, and what it would prove.
    read: Option<(WallClockSample, PollContext)>,
    next_read: Moment,
    /// When the next read may be sent if an update comes.
    earliest_read: Moment,
}

impl Search<'_> {
    /// Returns the evidence so far.
    pub(in crate::order_guard) fn evidence(&self) -> Evidence {
        *self.evidence
    }

    /// Returns what a read that is sent now would prove.
    pub(in crate::order_guard) fn begin_read(&mut self) -> PollContext {
        let sent = self.polling.clock.wall_clock();
        let context = self.evidence.poll_context(sent, self.polling.settle_time);
        self.read = Some((sent, context));
        context
    }

    /// Judges what the read shows. Returns the result, if it ends the search: a failed read after the settle time is
    /// repeated a few times, and an earlier one is replaced by the next.
    pub(in crate::order_guard) fn end_read<A>(
        &mut self,
        observation: Observation<A>,
    ) -> Option<Result<A, Unresolved>> {
        let Polling { clock, settle_time } = self.polling;
        let (sent, context) = self.read.take()?;
        let (mut requested, mut has_failed) = (Duration::ZERO, false);
        let so_far = match observation {
            Observation::Conclusive(answer) => return Some(Ok(answer)),
            Observation::NotFound => {
                self.evidence.record_clean_read(sent.moment, clock.now(), *settle_time);
                if let Some(absence) = context.absence {
                    return Some(Err(Unresolved::Absent(absence)));
                }
                (self.late_failures, self.fatal_in_row) = (0, 0);
                Unresolved::NotYet
            }
            Observation::Unclear(reason) if context.is_after_settle_time => {
                return Some(Err(Unresolved::Unclear(reason)));
            }
            Observation::Unclear(reason) => {
                self.fatal_in_row = 0;
                Unresolved::Unclear(reason)
            }
            Observation::Failed(error) => {
                self.late_failures += u32::from(context.is_after_settle_time);
                let is_lasting =
                    matches!(error, BrokerError::Fatal(_) | BrokerError::Unauthorized(_));
                self.fatal_in_row = if is_lasting { self.fatal_in_row + 1 } else { 0 };
                if self.late_failures.max(self.fatal_in_row) >= MAX_FINAL_FAILURES {
                    return Some(Err(Unresolved::Unreadable(error)));
                }
                (requested, has_failed) = (self.polling.requested_wait(&error), true);
                Unresolved::Unreadable(error)
            }
        };
        let now = clock.now();
        // Not beyond the moment of the next read that counts, unless the broker asked for a longer wait.
        let due = self.evidence.next_conclusive_at(*settle_time).since(now);
        let wait = if due.is_zero() { self.pause } else { self.pause.min(due) };
        let wait = wait.max(requested);
        let wait = match self.caller_deadline.map(|deadline| deadline.since(now)) {
            Some(left) if left.is_zero() || left < requested => return Some(Err(so_far)),
            Some(left) => wait.min(left),
            None => wait,
        };
        self.next_read = now + wait;
        // Many updates are no reason for many reads, nor to repeat a failed one sooner.
        let earliest = if has_failed { now + wait } else { (now + wait).min(now + INITIAL_PAUSE) };
        self.earliest_read = earliest;
        None
    }

    /// Waits until the next read is due. When `watch` has an update, `known` returns what is known without a read, if
    /// that is conclusive. If it is not, the next read is early, unless the last one failed.
    pub(in crate::order_guard) async fn pause<A>(
        &mut self,
        mode: &impl CallMode,
        watch: &UpdateWatch<'_>,
        mut known: impl FnMut() -> Option<A>,
    ) -> Option<A> {
        while self.polling.clock.now() < self.next_read && mode.pause(watch, self.next_read).await {
            if let Some(answer) = known() {
                return Some(answer);
            }
            self.next_read = self.earliest_read;
        }
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::ErrorDetail;
    use crate::clock::ManualClock;
    use crate::order_guard::call_mode::{ThreadMode, block_on};
    use crate::order_guard::updates::OrderUpdates;

    impl Polling {
        /// Runs a search to its end on this thread.
        fn poll_until_settled<A>(
            &self,
            evidence: &mut Evidence,
            caller_deadline: Option<Moment>,
            watch: &UpdateWatch<'_>,
            mut poll: impl FnMut(PollContext) -> Observation<A>,
        ) -> Result<A, Unresolved> {
            let threads = ThreadMode { clock: self.clock.clone(), lookup_broker: None };
            let mut search = self.search(evidence, caller_deadline);
            loop {
                let context = search.begin_read();
                if let Some(end) = search.end_read(poll(context)) {
                    return end;
                }
                assert!(block_on(search.pause(&threads, watch, || None::<()>)).is_none());
            }
        }
    }

    const SETTLE: Duration = Duration::from_secs(10);

    fn transient() -> BrokerError {
        BrokerError::Transient(ErrorDetail::new("no answer"))
    }

    fn absence<A: std::fmt::Debug>(answer: &Result<A, Unresolved>) -> Absence {
        match answer {
            Err(Unresolved::Absent(absence)) => *absence,
            other => panic!("{other:?}"),
        }
    }

    /// Runs a search to its end. Returns its result, and when the reads were sent, in milliseconds.
    fn run_polls(
        mut read: impl FnMut(Duration, usize) -> Observation<u8>,
    ) -> (Result<u8, Unresolved>, Vec<u128>) {
        let clock = ManualClock::auto_advancing();
        let since = clock.now();
        let polling = Polling { clock: clock.clone().into(), settle_time: SETTLE };
        let updates = OrderUpdates::default();
        let watch = updates.watch(Vec::new());
        let mut sent = Vec::new();
        let answer =
            polling.poll_until_settled(&mut Evidence::starting_at(since), None, &watch, |_| {
                let at = clock.now().since(since);
                sent.push(at.as_millis());
                read(at, sent.len())
            });
        (answer, sent)
    }

    #[test]
    fn not_there_counts_only_from_a_read_after_the_settle_time() {
        let (answer, sent) = run_polls(|_, _| Observation::NotFound);
        let absence = absence(&answer);
        assert_eq!((absence.reads, absence.span), (10, SETTLE + SETTLE / 10));
        assert_eq!(sent, [0, 250, 750, 1750, 3750, 5750, 7750, 9750, 10_000, 11_000]);
    }

    #[test]
    fn a_read_in_flight_as_the_time_passes_is_not_the_last() {
        let clock = ManualClock::auto_advancing();
        let polling = Polling { clock: clock.clone().into(), settle_time: SETTLE };
        let updates = OrderUpdates::default();
        let watch = updates.watch(Vec::new());
        let mut reads = 0;
        let evidence = &mut Evidence::starting_at(clock.now());
        let answer: Result<(), _> = polling.poll_until_settled(evidence, None, &watch, |_| {
            reads += 1;
            clock.advance(Duration::from_secs(60));
            Observation::NotFound
        });
        // The second read is the first that counts, and the third is too soon after its answer.
        assert_eq!((absence(&answer).reads, reads), (4, 4));
    }

    #[test]
    fn a_failed_read_is_not_a_no() {
        let late = |at: Duration, _| {
            if at < Duration::from_secs(9) {
                Observation::Failed(transient())
            } else {
                Observation::Conclusive(1)
            }
        };
        assert_eq!(run_polls(late).0, Ok(1));
        // A failed read does not end the search either.
        let (answer, sent) = run_polls(|at, _| match at {
            at if at < SETTLE => Observation::NotFound,
            _ => Observation::Failed(transient()),
        });
        assert_eq!(answer, Err(Unresolved::Unreadable(transient())));
        assert_eq!(sent.iter().filter(|&&at| at >= 10_000).count(), 5);
        let (answer, _) = run_polls(|_, number| match number {
            1..=11 => Observation::Failed(transient()),
            _ => Observation::NotFound,
        });
        assert!(matches!(answer, Err(Unresolved::Absent(_))), "{answer:?}");
    }

    #[test]
    fn search_goes_on_where_the_last_one_ended() {
        let clock = ManualClock::auto_advancing();
        let polling = Polling { clock: clock.clone().into(), settle_time: SETTLE };
        let updates = OrderUpdates::default();
        let watch = updates.watch(Vec::new());
        let mut evidence = Evidence::starting_at(clock.now());
        let mut search = |max_wait: Duration, fails: bool| {
            let (began, mut reads) = (clock.now(), 0);
            let answer: Result<(), _> =
                polling.poll_until_settled(&mut evidence, Some(began + max_wait), &watch, |_| {
                    reads += 1;
                    if fails { Observation::Failed(transient()) } else { Observation::NotFound }
                });
            (answer, reads, clock.now().since(began))
        };
        let second = Duration::from_secs(1);
        assert_eq!(search(second, false), (Err(Unresolved::NotYet), 4, second));
        assert_eq!(search(second, true), (Err(Unresolved::Unreadable(transient())), 4, second));
        // A wait of zero is one read.
        assert_eq!(search(Duration::ZERO, false), (Err(Unresolved::NotYet), 1, Duration::ZERO));
        clock.advance(SETTLE);
        // The first conclusive read, and after the gap of a second, the last one.
        assert_eq!(search(Duration::ZERO, false), (Err(Unresolved::NotYet), 1, Duration::ZERO));
        clock.advance(second);
        let (answer, reads, _) = search(Duration::ZERO, false);
        let absence = absence(&answer);
        assert_eq!((absence.reads, absence.span, reads), (7, SETTLE + second * 3, 1));
    }

    #[test]
    fn what_will_not_work_is_believed_the_fifth_time_in_a_row() {
        let fatal = BrokerError::Fatal(ErrorDetail::new("the token is dead"));
        let (answer, sent) = run_polls(|_, _| Observation::Failed(fatal.clone()));
        assert_eq!(answer, Err(Unresolved::Unreadable(fatal.clone())));
        assert_eq!(sent, [0, 250, 750, 1750, 3750]);
        // Another result between them starts the count again.
        for other in [|| Observation::Failed(transient()), || Observation::NotFound] {
            let (answer, sent) = run_polls(|_, number| match number {
                5 => other(),
                1..=9 => Observation::Failed(fatal.clone()),
                _ => Observation::Conclusive(1),
            });
            assert_eq!((answer, sent.len()), (Ok(1), 10));
        }
    }

    #[test]
    fn an_ambiguous_read_is_repeated_until_the_settle_time() {
        let (answer, sent) = run_polls(|_, number| match number {
            1..=8 => Observation::NotFound,
            _ => Observation::Unclear("pending".to_owned()),
        });
        assert_eq!(answer, Err(Unresolved::Unclear("pending".to_owned())));
        assert_eq!(sent.last(), Some(&10_000));
        let (answer, _) = run_polls(|_, number| match number {
            1 => Observation::Unclear("pending".to_owned()),
            _ => Observation::NotFound,
        });
        assert!(matches!(answer, Err(Unresolved::Absent(_))), "{answer:?}");
    }

    #[test]
    fn a_refused_read_waits_for_the_named_time_within_reason() {
        let down = |seconds| {
            let detail = ErrorDetail::new("the breaker is open");
            Observation::Failed(BrokerError::NotSent(detail.retry_in(Duration::from_secs(seconds))))
        };
        let (answer, sent) = run_polls(|at, _| match at.as_secs() {
            0..5 => down(5 - at.as_secs()),
            _ => Observation::Conclusive(1),
        });
        assert_eq!((answer, sent), (Ok(1), vec![0, 5000]));
        let (answer, sent) = run_polls(|at, _| match at.as_secs() {
            0..45 => down(45 - at.as_secs()),
            _ => Observation::Conclusive(1),
        });
        assert_eq!((answer, sent), (Ok(1), vec![0, 10_000, 20_000, 30_000, 40_000, 45_000]));
        let (answer, sent) = run_polls(|_, _| down(3600));
        assert!(matches!(answer, Err(Unresolved::Unreadable(_))), "{answer:?}");
        assert_eq!(sent, [0, 10_000, 20_000, 30_000, 40_000, 50_000]);
    }

    #[test]
    fn a_throttled_read_waits_as_asked_within_reason() {
        let throttled = |seconds| BrokerError::Throttled {
            retry_after: Some(Duration::from_secs(seconds)),
            detail: ErrorDetail::new("too many"),
        };
        let (answer, sent) = run_polls(|_, number| match number {
            1 => Observation::Failed(throttled(7)),
            2 => Observation::Failed(throttled(86_400)),
            _ => Observation::Conclusive(3),
        });
        assert_eq!((answer, sent), (Ok(3), vec![0, 7000, 17_000]));
    }
}
