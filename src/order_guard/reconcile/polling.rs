//! The loop of a search: when to read, and when a read ends the search.
//!
//! `resolve.rs` and `recover.rs` pass the read. A search ends if each of its reads does: after the settle time, few
//! more reads are sent.

use std::time::Duration;

use super::evidence::{Evidence, PollContext};
use crate::broker::{Absence, BrokerError};
use crate::clock::Clock;
use crate::order_guard::updates::UpdateWatch;
use crate::quota::Moment;

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
    /// Reads until there is a result, until the `evidence` proves absence, or until the caller must leave; then once
    /// more. Each read is passed what it would prove. A failed read after the settle time is repeated a few times; an
    /// earlier one is replaced by the next.
    ///
    /// When `watch` has an update, `poll` is called with `None`: it returns what is known without a read. If that is not
    /// conclusive, the next read is early, unless the last one failed.
    pub(in crate::order_guard) fn poll_until_settled<A>(
        &self,
        evidence: &mut Evidence,
        caller_deadline: Option<Moment>,
        watch: &UpdateWatch<'_>,
        mut poll: impl FnMut(Option<PollContext>) -> Observation<A>,
    ) -> Result<A, Unresolved> {
        let mut pause = INITIAL_PAUSE;
        let (mut late_failures, mut fatal_in_row) = (0, 0);
        loop {
            let sent = self.clock.wall_clock();
            let context = evidence.poll_context(sent, self.settle_time);
            let (mut requested, mut has_failed) = (Duration::ZERO, false);
            let so_far = match poll(Some(context)) {
                Observation::Conclusive(answer) => return Ok(answer),
                Observation::NotFound => {
                    evidence.record_clean_read(sent.moment, self.clock.now(), self.settle_time);
                    if let Some(absence) = context.absence {
                        return Err(Unresolved::Absent(absence));
                    }
                    (late_failures, fatal_in_row) = (0, 0);
                    Unresolved::NotYet
                }
                Observation::Unclear(reason) if context.is_after_settle_time => {
                    return Err(Unresolved::Unclear(reason));
                }
                Observation::Unclear(reason) => {
                    fatal_in_row = 0;
                    Unresolved::Unclear(reason)
                }
                Observation::Failed(error) => {
                    late_failures += u32::from(context.is_after_settle_time);
                    let is_lasting =
                        matches!(error, BrokerError::Fatal(_) | BrokerError::Unauthorized(_));
                    fatal_in_row = if is_lasting { fatal_in_row + 1 } else { 0 };
                    if late_failures.max(fatal_in_row) >= MAX_FINAL_FAILURES {
                        return Err(Unresolved::Unreadable(error));
                    }
                    (requested, has_failed) = (self.requested_wait(&error), true);
                    Unresolved::Unreadable(error)
                }
            };
            let now = self.clock.now();
            // Not beyond the moment of the next read that counts, unless the broker asked for a longer wait.
            let due = evidence.next_conclusive_at(self.settle_time).since(now);
            let wait = if due.is_zero() { pause } else { pause.min(due) };
            let wait = wait.max(requested);
            let wait = match caller_deadline.map(|deadline| deadline.since(now)) {
                Some(left) if left.is_zero() || left < requested => return Err(so_far),
                Some(left) => wait.min(left),
                None => wait,
            };
            let mut next_read = now + wait;
            // Many updates are no reason for many reads, nor to repeat a failed one sooner.
            let earliest = if has_failed { next_read } else { next_read.min(now + INITIAL_PAUSE) };
            while self.clock.now() < next_read && watch.pause(&self.clock, next_read) {
                if let Observation::Conclusive(answer) = poll(None) {
                    return Ok(answer);
                }
                next_read = earliest;
            }
            pause = (pause * 2).min(MAX_PAUSE);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::ErrorDetail;
    use crate::clock::ManualClock;
    use crate::order_guard::updates::OrderUpdates;

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
