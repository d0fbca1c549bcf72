//! Spans and events: the parent of a call's span, what they contain, what they never contain, and that a subscriber
//! that fails costs no caller an answer.
//!
//! The subscriber is global to the process, since calls run on the threads of a lane. So each test calls on behalf
//! of a user of its own, and checks the spans and events of that user.

#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::Duration;

use lanekeeper::clock::ManualClock;
use lanekeeper::lane::{LaneConfig, LaneError, Shutdown};
use lanekeeper::resilience::{BreakerPolicy, RetryPolicy};
use lanekeeper::{ErrorClass, Failure};
use support::failing::{Failed, Fault, TRANSIENT, submit_repeatable};
use support::lanes::{
    READ, SECOND, WRITE, hold, ms, one, options, submit, the, unlimited, until, within_reason,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

type Fields = BTreeMap<&'static str, String>;

/// A span or an event, as a subscriber gets it.
#[derive(Debug, Clone)]
struct TraceRecord {
    /// The id of a span.
    id: Option<u64>,
    name: &'static str,
    target: String,
    level: Level,
    fields: Fields,
    /// The span it is in.
    parent: Option<u64>,
    thread: String,
}

impl TraceRecord {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

static RECORDS: Mutex<Vec<TraceRecord>> = Mutex::new(Vec::new());

/// Records everything, and panics at spans and events of the user `panics`.
struct RecordingLayer;

struct FieldVisitor<'a>(&'a mut Fields);

impl Visit for FieldVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

fn push_record(record: TraceRecord) {
    let panics = record.field("user") == "panics";
    RECORDS.lock().unwrap().push(record);
    if panics {
        std::panic::panic_any("a subscriber that panics");
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RecordingLayer {
    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new();
        span.record(&mut FieldVisitor(&mut fields));
        let parent = context.span(id).and_then(|span| span.parent().map(|span| span.id()));
        push_record(record(span.metadata(), Some(id), fields, parent));
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, _: Context<'_, S>) {
        let mut all = RECORDS.lock().unwrap();
        let span = all.iter_mut().rev().find(|record| record.id == Some(id.into_u64()));
        record.record(&mut FieldVisitor(&mut span.unwrap().fields));
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let all = RECORDS.lock().unwrap().clone();
        let closed = all.iter().rev().find(|record| record.id == Some(id.into_u64())).unwrap();
        if closed.field("user") == "panics at its end" {
            std::panic::panic_any("a subscriber that panics");
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut FieldVisitor(&mut fields));
        let parent = context.event_span(event).map(|span| span.id());
        push_record(record(event.metadata(), None, fields, parent));
    }
}

fn record(
    metadata: &tracing::Metadata<'static>,
    id: Option<&Id>,
    fields: Fields,
    parent: Option<Id>,
) -> TraceRecord {
    TraceRecord {
        id: id.map(Id::into_u64),
        name: metadata.name(),
        target: metadata.target().to_owned(),
        level: *metadata.level(),
        fields,
        parent: parent.map(|id| id.into_u64()),
        thread: thread::current().name().unwrap_or_default().to_owned(),
    }
}

fn subscribe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(RecordingLayer);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// Returns the spans and events of a user's calls, in order.
fn of(user: &str) -> Vec<TraceRecord> {
    RECORDS.lock().unwrap().iter().filter(|record| record.field("user") == user).cloned().collect()
}

fn spans_of(user: &str) -> Vec<TraceRecord> {
    of(user).into_iter().filter(|record| record.id.is_some()).collect()
}

fn messages_of(user: &str) -> Vec<(Level, String)> {
    let events = of(user).into_iter().filter(|record| record.id.is_none());
    events.map(|event| (event.level, event.field("message").to_owned())).collect()
}

fn fails(faults: &[Fault]) -> impl FnMut() -> Result<u32, Failed> + Send + 'static {
    let (mut faults, mut number) = (Vec::from(faults).into_iter(), 0);
    move || {
        number += 1;
        tracing::info!(user = "adapter", number, "inside");
        faults.next().map_or(Ok(number), |fault| Err(Failed::Broker(number, fault)))
    }
}

fn config() -> LaneConfig {
    unlimited(1).breaker(BreakerPolicy::disabled())
}

#[test]
fn each_attempt_is_a_span_under_that_of_the_strategy_with_the_adapter_in_it() {
    subscribe();
    within_reason(|| {
        let lanes = one(config(), ManualClock::auto_advancing());
        let strategy = tracing::info_span!("strategy", user = "parent");
        let answer = strategy.in_scope(|| {
            submit_repeatable(&lanes, READ, &options().user("attempts"), fails(&[TRANSIENT])).wait()
        });
        assert_eq!(answer, Ok(2));
        let spans = spans_of("attempts");
        let [first, second] = &spans[..] else { panic!("{spans:?}") };
        for span in [first, second] {
            assert_eq!((span.name, &*span.target, span.level), ("call", "lanekeeper", Level::INFO));
            assert_eq!(span.parent, strategy.id().map(|id| id.into_u64()));
            assert!(span.thread.starts_with("lane-test-"), "{}", span.thread);
            assert_eq!((span.field("lane"), span.field("method")), ("test", "read"));
            assert_eq!((span.field("priority"), span.field("number")), ("5", "0"));
        }
        assert_eq!((first.field("attempt"), first.field("outcome")), ("1", "transient"));
        assert_eq!((second.field("attempt"), second.field("outcome")), ("2", "done"));
        assert_eq!(first.field("wait_seconds"), "0.0");
        let inside: Vec<_> = of("adapter")
            .into_iter()
            .filter(|event| spans.iter().any(|span| span.id == event.parent))
            .map(|event| (event.parent, event.field("number").to_owned()))
            .collect();
        assert_eq!(inside, [(first.id, "1".to_owned()), (second.id, "2".to_owned())]);
        let expected = [
            (Level::TRACE, "queued"),
            (Level::INFO, "will be retried"),
            (Level::DEBUG, "answered"),
        ];
        assert_eq!(
            messages_of("attempts"),
            expected.map(|(level, words)| (level, words.to_owned()))
        );
        // The event that ends an attempt is in its span, too.
        let ends: Vec<_> =
            of("attempts").iter().filter(|record| record.id.is_none()).map(|e| e.parent).collect();
        assert_eq!(ends[1..], [first.id, second.id]);
    });
}

#[test]
fn a_caller_that_blocks_for_a_second_says_so_once() {
    subscribe();
    within_reason(|| {
        let clock = ManualClock::new();
        let lanes = one(config(), clock.clone());
        let held = hold(&lanes, READ);
        let says_so =
            || messages_of("patient").contains(&(Level::INFO, "waits in its lane".into()));
        let call = submit(&lanes, WRITE, &options().user("patient"), || ());
        thread::scope(|scope| {
            let caller = scope.spawn(|| call.wait());
            until(|| {
                clock.advance(ms(1));
                says_so()
            });
            held.let_go().wait().unwrap();
            caller.join().unwrap().unwrap();
        });
        let events = of("patient");
        let says_so = |event: &&TraceRecord| event.field("message") == "waits in its lane";
        let [event] = &events.iter().filter(says_so).collect::<Vec<_>>()[..] else { panic!() };
        let fields = ["lane", "method", "position", "state", "session_expired"];
        let expected = ["test", "write", "0", "running", "false"];
        assert_eq!(fields.map(|name| event.field(name)), expected);
        assert!(event.field("waited_seconds").parse::<f64>().unwrap() >= 1.0);
    });
}

#[test]
fn a_call_from_outside_of_any_span_has_no_parent() {
    subscribe();
    within_reason(|| {
        let lanes = one(config(), ManualClock::new());
        submit(&lanes, READ, &options().user("outside"), || ()).wait().unwrap();
        assert_eq!(spans_of("outside")[0].parent, None);
    });
}

#[test]
fn the_span_is_over_before_its_caller_is_answered() {
    subscribe();
    within_reason(|| {
        let lanes = one(config(), ManualClock::new());
        for _ in 0..100 {
            submit(&lanes, READ, &options().user("over"), || ()).wait().unwrap();
            assert_eq!(spans_of("over").last().unwrap().field("outcome"), "done");
        }
    });
}

#[test]
fn what_a_person_has_to_check_is_a_warning_and_what_the_caller_gets_is_not() {
    subscribe();
    within_reason(|| {
        let clock = ManualClock::new();
        let lanes = one(config().retry(RetryPolicy::none()).queue(1), clock.clone());
        let end = |user, call, fault| {
            let options = options().user(user);
            drop(submit_repeatable(&lanes, call, &options, fails(&[fault])).wait());
        };
        end("lost write", WRITE, Some(ErrorClass::Unknown));
        end("lost read", READ, Some(ErrorClass::Transient));
        end("dead token", READ, Some(ErrorClass::Fatal));
        end("no funds", WRITE, Some(ErrorClass::Rejected));
        // Dropped writes go on, and their answers are late.
        let held = hold(&lanes, READ);
        drop(submit(&lanes, WRITE, &options().user("dropped"), || ()));
        let full = submit(&lanes, READ, &options().user("full"), || ()).wait();
        assert!(full.is_err());
        held.let_go().wait().unwrap();
        lanes.shutdown(Shutdown::Drain(SECOND));
        drop(lanes);
        let last = |user| messages_of(user).pop().unwrap();
        let level = |user| last(user).0;
        assert_eq!(level("lost write"), Level::WARN);
        assert!(last("lost write").1.contains("look in the order book"));
        assert_eq!(level("lost read"), Level::DEBUG);
        assert_eq!(level("dead token"), Level::ERROR);
        assert_eq!(level("no funds"), Level::DEBUG);
        assert_eq!(level("dropped"), Level::WARN);
        assert_eq!(level("full"), Level::DEBUG);
        assert_eq!(of("full").last().unwrap().field("reason"), "queue_full");
    });
}

#[test]
fn a_local_error_is_named_as_one() {
    subscribe();
    within_reason(|| {
        let lanes = one(config(), ManualClock::new());
        let options = options().user("local");
        let local = |_: &Failed| Some(Failure::local());
        let work = || Err::<(), _>(Failed::Broker(1, None));
        lanes.call_spec_repeatable(READ, &options, work, local).unwrap_err();
        assert_eq!(spans_of("local")[0].field("outcome"), "local");
        let (level, words) = messages_of("local").pop().unwrap();
        assert_eq!((level, &*words), (Level::DEBUG, "refused by the adapter, not sent"));
    });
}

#[test]
fn a_subscriber_that_panics_costs_no_caller_an_answer() {
    subscribe();
    within_reason(|| {
        let lanes = one(config(), ManualClock::auto_advancing());
        for _ in 0..3 {
            let call =
                submit_repeatable(&lanes, READ, &options().user("panics"), fails(&[TRANSIENT]));
            assert_eq!(call.wait(), Ok(2));
        }
        the(&lanes).pause();
        assert!(submit(&lanes, WRITE, &options().user("panics"), || ()).cancel());
        // All workers end.
        drop(lanes);
        assert!(of("panics").len() >= 12);
    });
}

#[test]
fn a_span_that_panics_as_it_closes_costs_its_caller_no_answer() {
    subscribe();
    within_reason(|| {
        let lanes = one(config(), ManualClock::new());
        let strategy = tracing::info_span!("strategy", user = "panics at its end");
        let ticket = strategy.in_scope(|| submit(&lanes, WRITE, &options(), || 7));
        lanes.shutdown(Shutdown::Drain(SECOND));
        drop(lanes);
        // The ticket holds the last reference.
        drop(strategy);
        assert_eq!(ticket.wait(), Ok(7));
    });
}

#[test]
fn a_call_from_a_span_of_another_subscriber_is_recorded_by_that_one() {
    subscribe();
    within_reason(|| {
        let lanes = one(config(), ManualClock::new());
        let of_this_thread = tracing_subscriber::registry().with(RecordingLayer);
        tracing::subscriber::with_default(of_this_thread, || {
            let strategy = tracing::info_span!("strategy", user = "of another");
            let call = || submit(&lanes, WRITE, &options().user("of this thread"), || 7);
            assert_eq!(strategy.in_scope(call).wait(), Ok(7));
            let spans = spans_of("of this thread");
            let [span] = &spans[..] else { panic!("{spans:?}") };
            assert_eq!(span.parent, strategy.id().map(|id| id.into_u64()));
        });
    });
}

#[test]
fn a_caller_that_detaches_is_reported_at_once() {
    subscribe();
    within_reason(|| {
        let clock = ManualClock::new();
        let lanes = one(config(), clock.clone());
        let (go, held) = std::sync::mpsc::channel::<()>();
        let (begun, began) = std::sync::mpsc::channel::<()>();
        let work = move || {
            begun.send(()).unwrap();
            held.recv().unwrap();
        };
        let options = options().user("left").deadline(SECOND);
        let ticket = submit(&lanes, WRITE, &options, work);
        began.recv().unwrap();
        clock.advance(2 * SECOND);
        let answer: Result<(), LaneError> = ticket.wait();
        assert!(answer.is_err());
        let (level, words) = messages_of("left").pop().unwrap();
        assert_eq!(level, Level::WARN);
        assert!(words.starts_with("no answer by its deadline, outcome unknown"), "{words}");
        go.send(()).unwrap();
        drop(lanes);
        assert_eq!(messages_of("left").pop().unwrap().1, "answered after its caller had left");
    });
}

/// A real proxy, with orders, answers and errors full of private data.
#[cfg(feature = "mock")]
#[test]
fn nothing_of_an_order_an_answer_or_an_error_is_recorded() {
    use lanekeeper::broker::lanes::ALL;
    use lanekeeper::broker::{
        Broker, BrokerError, BrokerProxy, ErrorDetail, Instrument, MockBroker,
    };
    use lanekeeper::broker::{OrderId, OrderRequest, Side};
    use lanekeeper::quota::{Limits, Quota};

    subscribe();
    within_reason(|| {
        let detail = || ErrorDetail::new("SECRETWORDS of token SECRETTOKEN");
        let mut mock = MockBroker::new();
        let mut number = 0;
        mock.expect_place_order().returning(move |_| {
            number += 1;
            match number {
                1 => Ok(OrderId::new("SECRETID")),
                2 => Err(BrokerError::Rejected(detail())),
                3 => Err(BrokerError::OutcomeUnknown(detail())),
                4 => Err(BrokerError::Throttled {
                    retry_after: Some(Duration::from_secs(1)),
                    detail: detail(),
                }),
                5 => Err(BrokerError::NotSent(detail())),
                _ => Err(BrokerError::Fatal(detail())),
            }
        });
        let limits =
            ALL.into_iter().fold(Limits::new(), |all, lane| all.lane(lane, Quota::unlimited()));
        let limits = limits.budget("orders", Quota::unlimited());
        let clock = ManualClock::auto_advancing();
        let builder = BrokerProxy::builder(mock).limits(limits).clock(clock);
        #[cfg(feature = "metrics")]
        let (builder, snapshotter) = {
            let recorder = metrics_util::debugging::DebuggingRecorder::new();
            let snapshotter = recorder.snapshotter();
            let metrics = lanekeeper::telemetry::Metrics::new().recorder(recorder).users(10);
            (builder.observer(Arc::new(metrics)), snapshotter)
        };
        let broker = builder.build().unwrap();
        let broker = broker.with(options().user("secret"));
        let infy = Instrument::new("NSE", "SECRETSYMBOL");
        let order = OrderRequest::market(infy, Side::Buy, 424_242).tag("SECRETTAG");
        (0..4).for_each(|_| drop(broker.place_order(&order)));
        drop(broker);
        let all = RECORDS.lock().unwrap().clone();
        let ours: Vec<_> = all.iter().filter(|record| record.target == "lanekeeper").collect();
        assert!(ours.iter().any(|record| record.field("method") == "place_order"));
        assert!(ours.iter().any(|record| record.field("outcome") == "fatal"));
        let words = format!("{ours:?}");
        for secret in ["SECRET", "424242", "Buy"] {
            assert!(!words.contains(secret), "{secret} is recorded");
        }
        #[cfg(feature = "metrics")]
        {
            let snapshot = format!("{:?}", snapshotter.snapshot());
            assert!(snapshot.contains("place_order") && snapshot.contains("secret"));
            for secret in ["SECRET", "424242", "Buy"] {
                assert!(!snapshot.contains(secret), "{secret} is a label");
            }
        }
    });
}

#[cfg(all(unix, feature = "redis"))]
#[test]
fn a_shared_quota_whose_redis_is_away_is_a_warning_with_its_reason_and_without_its_address() {
    use lanekeeper::proxy::LanesBuilder;
    use lanekeeper::quota::{Limits, Quota};
    use lanekeeper::shared_quota::SharedQuota;

    subscribe();
    let mut lanes = LanesBuilder::new("Test", &["quote"], &[]);
    lanes.lane(0, LaneConfig::new(Quota::per_second(10)));
    // No Redis is there, and the account is of this test alone.
    let url = "unix:///nowhere/hunter2.sock?pass=hunter2";
    lanes.shared(SharedQuota::redis(url, "away-at-first").unwrap());
    drop(lanes.build(Limits::new()).unwrap());
    // Another thread delivers it.
    let (all, event) = loop {
        let all = RECORDS.lock().unwrap().clone();
        let event = all.iter().find(|event| event.field("account") == "away-at-first").cloned();
        if let Some(event) = event {
            break (all, event);
        }
        std::thread::yield_now();
    };
    assert_eq!((event.level, event.field("mode")), (Level::WARN, "stopped"));
    assert_eq!(event.field("message"), "shared quota");
    // The reason is the connection's. How a system says that there is no such socket is its own affair.
    assert!(event.field("why").starts_with("Redis cannot be reached ("), "{event:?}");
    assert!(!format!("{all:?}").contains("hunter2"));
}
