//! Lanes keep to the broker's own count, as its answers report it, beside their quotas.
//!
//! The broker counts in fixed minutes, and another program uses the same account. All of it is in virtual time.
#![cfg(feature = "mock")]
#![allow(clippy::unwrap_used)]

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::broker::{BrokerError, ErrorDetail, Margins, MockBroker, OrderId};
use lanekeeper::clock::Clock;
use lanekeeper::lane::LaneConfig;
use lanekeeper::quota::{Moment, PriorUsage, Reserve, RttCredit};
use lanekeeper::resilience::RetryPolicy;
use lanekeeper::{
    Broker, BrokerProxy, CallOptions, ManualClock, Priority, Quota, ReportedLimits, delegate_broker,
};

const LIMIT: u32 = 200;
const MINUTE: Duration = Duration::from_secs(60);

struct Reporting {
    inner: MockBroker,
    reported: ReportedLimits,
}

impl Broker for Reporting {
    delegate_broker! { to self.inner; except reported_limits }

    fn reported_limits(&self) -> Option<ReportedLimits> {
        Some(self.reported.clone())
    }
}

/// The broker's counter of one minute.
#[derive(Default)]
struct Counter {
    minute: u64,
    count: u32,
    refused: usize,
    /// When each call arrived.
    arrivals: Vec<Moment>,
}

/// A broker, its clock and its counter.
struct Setup {
    broker: BrokerProxy<Reporting>,
    clock: ManualClock,
    counter: Arc<Mutex<Counter>>,
    start: Moment,
}

/// What the broker reports of its count: how many calls remain, and in how long it begins anew.
type Report = fn(remaining: u32, reset_in: Duration) -> Option<(u32, Duration)>;

fn faithful(remaining: u32, reset_in: Duration) -> Option<(u32, Duration)> {
    // In whole seconds, rounded up.
    Some((remaining, Duration::from_secs(reset_in.as_secs() + 1)))
}

/// Starts a proxy in front of a broker at which another program makes `others` calls at the beginning of each minute.
fn setup(others: u32, quota: Quota, report: Report) -> Setup {
    let clock = ManualClock::auto_advancing();
    let start = clock.now();
    let counter = Arc::new(Mutex::new(Counter { count: others, ..Counter::default() }));
    let reported = ReportedLimits::new();
    let (theirs, their_clock, reports) = (Arc::clone(&counter), clock.clone(), reported.clone());
    let call = move || {
        their_clock.advance(Duration::from_millis(20));
        let now = their_clock.now();
        let since = now.since(start);
        let minute = since.as_secs() / 60;
        let mut counter = theirs.lock().unwrap();
        counter.arrivals.push(now);
        if minute > counter.minute {
            (counter.minute, counter.count) = (minute, others);
        }
        let is_refused = counter.count >= LIMIT;
        counter.count += u32::from(!is_refused);
        counter.refused += usize::from(is_refused);
        let reset_in = MINUTE.saturating_sub(since.saturating_sub(MINUTE * minute as u32));
        if let Some((remaining, reset_in)) = report(LIMIT - counter.count, reset_in) {
            reports.report(&["transactional", "no such lane"], remaining, reset_in);
        }
        let detail = || ErrorDetail::new("rate limit exceeded").status(429);
        let refusal = || BrokerError::Throttled { retry_after: Some(reset_in), detail: detail() };
        if is_refused { Err(refusal()) } else { Ok(()) }
    };
    let call = Arc::new(call);
    let cancel = Arc::clone(&call);
    let mut inner = MockBroker::new();
    inner.expect_margins().returning(move || call().map(|()| Margins::default().into()));
    inner.expect_cancel_order().returning(move |_| cancel());
    // Refusals are counted, and not retried.
    let lane = LaneConfig::new(quota).credit(RttCredit::STRICT).retry(RetryPolicy::none());
    let broker = BrokerProxy::builder(Reporting { inner, reported })
        .transactional(lane)
        .quote(Quota::unlimited())
        .historical(Quota::unlimited())
        .orders(Quota::unlimited())
        .prior_usage(PriorUsage::None)
        .clock(clock.clone())
        .build()
        .unwrap();
    Setup { broker, clock, counter, start }
}

impl Setup {
    /// Makes calls one after the other, and returns how many were answered.
    fn call(&self, calls: usize) -> usize {
        (0..calls).filter(|_| self.broker.margins().is_ok()).count()
    }

    fn refused(&self) -> usize {
        self.counter.lock().unwrap().refused
    }

    fn elapsed(&self) -> Duration {
        self.clock.now().since(self.start)
    }
}

#[test]
fn what_another_program_uses_is_not_used_again() {
    let reported = setup(150, Quota::per_minute(LIMIT), faithful);
    assert_eq!(reported.call(500), 500);
    assert_eq!(reported.refused(), 0);
    // 50 calls in each minute are left, and all of them were used.
    assert!(reported.elapsed() < MINUTE * 11, "{:?}", reported.elapsed());

    let deaf = setup(150, Quota::per_minute(LIMIT), |_, _| None);
    deaf.call(500);
    assert!(deaf.refused() > 0, "without the reports calls are refused");
}

#[test]
fn a_generous_broker_makes_no_lane_faster() {
    let setup = setup(0, Quota::per_minute(30), |_, reset_in| Some((100_000, reset_in)));
    assert_eq!(setup.call(100), 100);
    let arrivals = setup.counter.lock().unwrap().arrivals.clone();
    for window in arrivals.windows(31) {
        assert!(window[30].since(window[0]) >= MINUTE, "{window:?}");
    }
}

#[test]
fn a_reset_far_in_the_future_binds_for_one_window() {
    let year = |_, _| Some((0, Duration::from_secs(365 * 86_400)));
    let setup = setup(0, Quota::per_minute(LIMIT), year);
    assert_eq!(setup.call(3), 3);
    let elapsed = setup.elapsed();
    assert!(elapsed >= MINUTE * 2 && elapsed < MINUTE * 3, "{elapsed:?}");
}

#[test]
fn an_exit_does_not_wait_for_a_count() {
    let setup = setup(0, Quota::per_minute(LIMIT), |_, reset_in| Some((0, reset_in)));
    assert_eq!(setup.call(1), 1);
    let told = setup.elapsed();
    setup.broker.cancel_order(&OrderId::new("1")).unwrap();
    let urgent = setup.broker.with(CallOptions::new().priority(Priority::URGENT));
    urgent.margins().unwrap();
    assert!(setup.elapsed() < told + Duration::from_secs(1), "{:?}", setup.elapsed());
    setup.broker.margins().unwrap();
    assert!(setup.elapsed() >= MINUTE, "any other call waits: {:?}", setup.elapsed());
}

#[test]
fn a_caller_that_cannot_wait_is_told_when_its_call_could_go() {
    let setup = setup(0, Quota::per_minute(LIMIT), |_, _| Some((0, Duration::from_secs(50))));
    setup.broker.margins().unwrap();
    let hasty = setup.broker.with(CallOptions::new().deadline(Duration::from_secs(5)));
    let error = hasty.margins().unwrap_err();
    assert!(matches!(error, BrokerError::NotSent(_)), "{error}");
    assert!(error.to_string().contains("it could go in about 50s"), "{error}");
}

#[test]
fn a_builder_can_name_where_the_count_is_reported() {
    let reported = ReportedLimits::new();
    let clock = ManualClock::auto_advancing();
    let mut inner = MockBroker::new();
    let reports = reported.clone();
    inner.expect_margins().returning(move || {
        reports.report(&["transactional"], 0, Duration::from_secs(30));
        Ok(Margins::default().into())
    });
    let broker = BrokerProxy::builder(inner)
        .transactional(Quota::per_minute(LIMIT))
        .quote(Quota::unlimited())
        .historical(Quota::unlimited())
        .orders(Quota::unlimited())
        .reported_limits(reported)
        .clock(clock.clone())
        .build()
        .unwrap();
    let start = clock.now();
    broker.margins().unwrap();
    broker.margins().unwrap();
    assert!(clock.now().since(start) >= Duration::from_secs(30));
}

/// Two lanes share a count. A call of one that is not sent after all leaves room for the other.
#[test]
fn room_that_is_given_back_wakes_the_other_lanes_of_the_count() {
    let clock = ManualClock::auto_advancing();
    let start = clock.now();
    let reported = ReportedLimits::new();
    let (reports, time) = (reported.clone(), Clock::from(clock.clone()));
    let (queued, is_queued) = channel::<()>();
    let (begun, has_begun) = channel::<()>();
    let mut inner = MockBroker::new();
    let mut calls = 0;
    inner.expect_margins().returning(move || {
        calls += 1;
        if calls == 1 {
            reports.report(&["transactional", "historical"], 1, Duration::from_secs(50));
            return Ok(Margins::default().into());
        }
        begun.send(()).unwrap();
        is_queued.recv().unwrap();
        // Time goes on once the other lane waits for the end of the count.
        time.sleep(Duration::from_secs(1));
        Err(BrokerError::NotSent(ErrorDetail::new("refused by the adapter").local()))
    });
    inner.expect_candles().returning(|_| Ok(Vec::new().into()));
    let broker = BrokerProxy::builder(inner)
        .transactional(Quota::per_minute(LIMIT))
        .historical(Quota::per_minute(LIMIT))
        .quote(Quota::unlimited())
        .orders(Quota::unlimited())
        .reported_limits(reported)
        .prior_usage(PriorUsage::None)
        .clock(clock.clone())
        .build()
        .unwrap();
    broker.margins().unwrap();
    let local = broker.submit().margins();
    // It has what is left of the count before the other lane asks for it.
    has_begun.recv().unwrap();
    let now = lanekeeper::jiff::Timestamp::UNIX_EPOCH;
    let infy = lanekeeper::Instrument::new("NSE", "INFY");
    let interval = lanekeeper::broker::Interval::Minute;
    let request = lanekeeper::broker::CandleRequest::new(infy, interval, now, now);
    let other = broker.submit().candles(&request);
    queued.send(()).unwrap();
    assert!(local.wait().is_err());
    other.wait().unwrap();
    let waited = clock.now().since(start);
    assert!(waited < Duration::from_secs(10), "{waited:?}");
}

/// A call may cost several slots, of which the broker has counted none when another is answered.
#[test]
fn all_slots_of_the_calls_in_flight_are_subtracted_from_a_report() {
    use lanekeeper::jiff::Timestamp;
    use lanekeeper::quota::{Cost, PacingState, WallClockSample};
    let start = Moment::from_nanos(0);
    let wall_clock = WallClockSample { moment: start, timestamp: Timestamp::UNIX_EPOCH };
    let mut pacing = PacingState::new(wall_clock);
    let lane = pacing.add_lane(&Quota::per_minute(LIMIT), RttCredit::STRICT).unwrap();
    let light = Cost::to_lane(lane);
    let heavy = Cost { weight: 5, ..light };
    let answered = pacing.take(light, start).unwrap();
    let _in_flight = pacing.take(heavy, start).unwrap();
    pacing.report(&[lane], 6, MINUTE, start);
    pacing.finish(answered, start);
    let _last = pacing.take(light, start).unwrap();
    assert!(pacing.take(light, start).is_err(), "the broker takes 6, and this is the seventh");
    // A heavy call alone is the one that is answered.
    let mut alone = PacingState::new(wall_clock);
    let lane = alone.add_lane(&Quota::per_minute(LIMIT), RttCredit::STRICT).unwrap();
    let _answered = alone.take(heavy, start).unwrap();
    alone.report(&[lane], 1, MINUTE, start);
    assert!(alone.take(light, start).is_ok());
}

/// What a lane keeps back for its exits is kept back of the broker's count too.
#[test]
fn the_reserve_of_a_lane_is_kept_of_the_reported_count() {
    use lanekeeper::jiff::Timestamp;
    use lanekeeper::quota::{Cost, NotYet, PacingState, WallClockSample};
    let start = Moment::from_nanos(0);
    let wall_clock = WallClockSample { moment: start, timestamp: Timestamp::UNIX_EPOCH };
    let mut pacing = PacingState::new(wall_clock);
    let quota = Quota::per_minute(LIMIT).and(Quota::per_day(5000));
    let lane = pacing.add_lane(&quota, RttCredit::STRICT).unwrap();
    pacing.set_lane_reserve(lane, Reserve::Slots(2)).unwrap();
    let call = Cost::to_lane(lane);
    let _answered = pacing.take(call, start).unwrap();
    pacing.report(&[lane], 3, MINUTE, start);
    let _third = pacing.take(call, start).unwrap();
    let until = Err(NotYet::Until(start + MINUTE));
    assert_eq!(pacing.available_at(call, start), until, "two are left, for exits");
    assert_eq!(pacing.estimate(call, 0, start), Some(start + MINUTE));
    assert_eq!(pacing.available_at(Cost { urgent: true, ..call }, start), Ok(()));
}
