//! Names that the broker rejects, among many that it accepts: each caller's answer, and the number of calls. In
//! virtual time, on a quote lane of one call a second.
#![cfg(feature = "mock")]
#![allow(clippy::unwrap_used)]

#[macro_use]
#[path = "support/quote_layers.rs"]
mod quote_layers;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use lanekeeper::CallOptions;
use lanekeeper::broker::{
    Broker, BrokerError, ErrorDetail, Instrument, MockBroker, Quote, Quotes, RowProblem, lanes,
};
use lanekeeper::cache::{GetOptions, QuoteCache};
use lanekeeper::clock::ManualClock;
use lanekeeper::quota::{Limits, Moment, Quota};
use lanekeeper::{LaneConfig, RttCredit};
use proptest::prelude::*;
use quote_layers::{Kind, PacedQuotes, Quoted, Setup, Threads};

over_threads_and_tasks! {
    a_hundred_good_names_are_answered_while_another_caller_asks_for_a_bad_one
    of_four_hundred_callers_only_the_one_with_the_bad_name_fails
    a_bad_name_in_the_same_call_is_a_problem_beside_the_quotes
    a_quote_that_cannot_be_read_is_reported_to_its_callers_and_costs_no_other
    a_price_that_is_fresh_outlasts_a_row_that_cannot_be_read
    while_a_problem_has_no_name_no_instrument_passes_for_one_without_data
    good_names_that_grow_too_old_while_a_bad_one_is_isolated_are_asked_for_again
}

const TTL: Duration = Duration::from_secs(5);

fn instrument(number: usize) -> Instrument {
    Instrument::new("NSE", format!("S{number}"))
}

fn instruments(numbers: impl IntoIterator<Item = usize>) -> Vec<Instrument> {
    numbers.into_iter().map(instrument).collect()
}

fn refusal() -> BrokerError {
    BrokerError::Rejected(ErrorDetail::new("no such instrument").status(400))
}

/// When each call reached the broker, and its names.
type Calls = Arc<Mutex<Vec<(Moment, Vec<Instrument>)>>>;

fn stack<K: Kind>(
    clock: &ManualClock,
    answer: impl Fn(&[Instrument]) -> Result<Quotes, BrokerError> + Send + Sync + 'static,
) -> (K::Paced, Calls) {
    let calls = Calls::default();
    let mut inner = MockBroker::new();
    let (log, time) = (Arc::clone(&calls), clock.clone());
    inner.expect_quotes().returning(move |instruments| {
        log.lock().unwrap().push((time.now(), instruments.to_vec()));
        answer(instruments)
    });
    let lane = |limits: Limits, lane| limits.lane(lane, Quota::per_second(1));
    let limits = lanes::ALL.into_iter().fold(Limits::new(), lane);
    let setup = Setup {
        clock,
        limits: limits.budget(lanes::ORDERS, Quota::unlimited()),
        quote_lane: Some(LaneConfig::new(Quota::per_second(1)).credit(RttCredit::STRICT)),
        ttl: TTL,
        // The threads are as slow as the machine is, and virtual time is not.
        configure: |cache| cache.max_age = Some(Duration::MAX),
    };
    (K::paced(inner, setup), calls)
}

/// Returns a broker that rejects every call with one of the bad names.
fn strict(
    bad: impl IntoIterator<Item = usize>,
) -> impl Fn(&[Instrument]) -> Result<Quotes, BrokerError> {
    let bad: HashSet<Instrument> = bad.into_iter().map(instrument).collect();
    move |asked| match asked.iter().any(|instrument| bad.contains(instrument)) {
        true => Err(refusal()),
        false => Ok(priced(asked)),
    }
}

fn priced(asked: &[Instrument]) -> Quotes {
    asked.iter().map(|i| (i.clone(), Quote::new(i.clone(), 1500))).collect()
}

/// Lets all of them ask, each in a thread, and releases the first call once all of them wait.
fn all_at_once<R: Send>(
    broker: &impl PacedQuotes,
    callers: Vec<Vec<Instrument>>,
    ask: impl Fn(&[Instrument]) -> R + Sync,
) -> Vec<R> {
    let lane = broker.quote_lane();
    let before = broker.stats();
    let names: usize = callers.iter().map(Vec::len).sum();
    lane.pause();
    thread::scope(|scope| {
        let ask = &ask;
        let threads: Vec<_> =
            callers.into_iter().map(|names| scope.spawn(move || ask(&names))).collect();
        until(|| {
            let stats = broker.stats();
            stats.misses + stats.joined - before.misses - before.joined == names as u64
        });
        lane.resume();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn until(done: impl Fn() -> bool) {
    while !done() {
        thread::yield_now();
    }
}

fn one_a_second(calls: &Calls) -> bool {
    let calls = calls.lock().unwrap();
    calls.windows(2).all(|pair| pair[1].0.since(pair[0].0) >= Duration::from_secs(1))
}

fn a_hundred_good_names_are_answered_while_another_caller_asks_for_a_bad_one<K: Kind>() {
    let (broker, calls) = stack::<K>(&ManualClock::auto_advancing(), strict([1000]));
    let answers =
        all_at_once(&broker, vec![instruments(0..100), instruments([1000])], |names| match names {
            [bad] => Err(broker.ltp(bad).unwrap_err()),
            good => Ok(broker.quotes(good).unwrap().complete().unwrap().len()),
        });
    assert_eq!(answers, [Ok(100), Err(refusal())]);
    // 101 names are split in halves seven times.
    let made = calls.lock().unwrap().len();
    assert!(made <= 1 + 2 * 7, "{made} calls");
    assert!(one_a_second(&calls));
    // The next time the hundred go together, and the bad one is answered from the cache.
    broker.with_options(GetOptions::new().max_age(Duration::ZERO)).ltp(&instrument(0)).unwrap();
    assert_eq!(broker.ltp(&instrument(1000)), Err(refusal()));
    assert_eq!(calls.lock().unwrap().len(), made + 1);
}

fn of_four_hundred_callers_only_the_one_with_the_bad_name_fails<K: Kind>() {
    let (broker, calls) = stack::<K>(&ManualClock::auto_advancing(), strict([222]));
    let callers = (0..400).map(|number| instruments([number])).collect();
    let answers = all_at_once(&broker, callers, |names| (names[0].clone(), broker.ltp(&names[0])));
    let failed: Vec<_> = answers.into_iter().filter(|(_, answers)| answers.is_err()).collect();
    assert_eq!(failed, [(instrument(222), Err(refusal()))]);
    // 400 names are split in halves nine times.
    assert!(calls.lock().unwrap().len() <= 1 + 2 * 9, "{} calls", calls.lock().unwrap().len());
    assert!(one_a_second(&calls));
}

fn a_bad_name_in_the_same_call_is_a_problem_beside_the_quotes<K: Kind>() {
    let (broker, _) = stack::<K>(&ManualClock::auto_advancing(), strict([40, 41]));
    let names = instruments(0..102);
    for _ in 0..2 {
        let quotes = broker.quotes(&names).unwrap();
        assert_eq!(quotes.len(), 100);
        let problem =
            |number| RowProblem::from_error(number, refusal()).name(instrument(number).as_str());
        assert_eq!(quotes.problems, [problem(40), problem(41)]);
        // The second time they are answered from the cache.
    }
    // If there is no quote to return, the call is refused, as it would be without the cache.
    assert_eq!(broker.quotes(&instruments([40, 41, 40])), Err(refusal()));
    assert_eq!(broker.quote(&instrument(40)), Err(refusal()));
    assert_eq!(broker.ohlc(&instrument(41)), Err(refusal()));
    assert!(broker.quotes(&[]).unwrap().is_complete());
}

#[test]
fn a_caller_that_comes_while_a_refused_call_is_split_waits_for_one_of_its_parts_at_most() {
    let clock = ManualClock::auto_advancing();
    let (asks, comes) = mpsc::channel::<()>();
    let (waits, waited) = mpsc::channel::<()>();
    let (waited, bad) = (Mutex::new(waited), strict((0..10).map(|bad| bad * 50)));
    let calls = Mutex::new(0);
    let (broker, log) = stack::<Threads>(&clock, move |asked| {
        let made = {
            let mut calls = calls.lock().unwrap();
            *calls += 1;
            *calls
        };
        if made == 6 {
            asks.send(()).unwrap();
            waited.lock().unwrap().recv().unwrap();
        }
        bad(asked)
    });
    thread::scope(|scope| {
        let many = scope.spawn(|| broker.quotes(&instruments(0..500)).unwrap());
        comes.recv().unwrap();
        let before = broker.stats().misses;
        let late = scope.spawn(|| broker.ltp(&instrument(900)).unwrap());
        until(|| broker.stats().misses > before);
        waits.send(()).unwrap();
        late.join().unwrap();
        assert_eq!(many.join().unwrap().len(), 490);
    });
    let named = |calls: &[(Moment, Vec<Instrument>)]| {
        calls.iter().position(|(_, names)| names.contains(&instrument(900)))
    };
    assert_eq!(named(&log.lock().unwrap()), Some(6), "it is in the seventh call");
}

#[test]
fn at_its_deadline_a_caller_has_what_came_and_the_next_time_it_goes_on_from_there() {
    let clock = ManualClock::new();
    let (left, has_left) = (Arc::new(Mutex::new(0)), Mutex::new(clock.now()));
    let limit = Duration::from_secs(4);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let mut inner = MockBroker::new();
    let (time, gone, log, bad) =
        (clock.clone(), Arc::clone(&left), Arc::clone(&calls), strict([77]));
    inner.expect_quotes().returning(move |asked| {
        log.lock().unwrap().push(asked.len());
        let answer = bad(asked);
        time.advance(Duration::from_secs(1));
        // No call returns after the deadline before the caller has left.
        let mut deadline = has_left.lock().unwrap();
        if time.now().since(*deadline) >= limit {
            let rounds = *gone.lock().unwrap();
            until(|| *gone.lock().unwrap() > rounds);
            *deadline = time.now();
        }
        answer
    });
    let broker = QuoteCache::builder(inner).clock(clock.clone()).build();
    let hurried = broker.with_options(GetOptions::new().deadline(limit));
    let names = instruments(0..100);
    let mut sizes = Vec::new();
    let mut refused = None;
    for _ in 0..12 {
        let quotes = hurried.quotes(&names).unwrap();
        *left.lock().unwrap() += 1;
        assert_eq!(quotes.len() + quotes.problems.len(), 100);
        let late = quotes.problems.iter().filter(|problem| problem.reason.contains("the deadline"));
        sizes.push(late.count());
        refused = quotes.problems.iter().find(|p| p.reason == refusal().to_string()).cloned();
        if refused.is_some() {
            break;
        }
    }
    assert_eq!(refused.unwrap().name.unwrap(), "NSE:S77", "{sizes:?}");
    assert!(sizes[0] > 0 && sizes[0] < 50, "the good half came in time: {sizes:?}");
    assert!(sizes.windows(2).all(|pair| pair[1] <= pair[0]), "it begins anew: {sizes:?}");
}

fn a_quote_that_cannot_be_read_is_reported_to_its_callers_and_costs_no_other<K: Kind>() {
    let clock = ManualClock::auto_advancing();
    let unreadable = RowProblem::new(1, "it has no price", r#"{"last_price":"-"}"#).name("NSE:S7");
    let problem = unreadable.clone();
    let readable = Arc::new(Mutex::new(false));
    let heals = Arc::clone(&readable);
    let (broker, calls) = stack::<K>(&clock, move |asked| {
        let mut quotes = priced(asked);
        if !*heals.lock().unwrap() && quotes.remove(&instrument(7)).is_some() {
            return Ok(quotes.with_problems([problem.clone()]));
        }
        Ok(quotes)
    });
    let malformed = BrokerError::Malformed(ErrorDetail::new(unreadable.to_string()));
    assert!(unreadable.to_string().contains(r#"it has no price: {"last_price":"-"}"#));
    let quotes = broker.quotes(&instruments(0..10)).unwrap();
    assert_eq!((quotes.len(), &quotes.problems[..]), (9, &[unreadable.clone()][..]));
    for _ in 0..100 {
        assert_eq!(broker.quote(&instrument(7)), Err(malformed.clone()));
        assert_eq!(broker.ltp(&instrument(7)), Err(malformed.clone()));
        let alone = broker.quotes(&instruments([7])).unwrap();
        assert!(alone.is_empty() && alone.problems == [unreadable.clone()], "as without the cache");
    }
    assert_eq!(calls.lock().unwrap().len(), 1, "it is not fetched again for each caller");
    // But it is fetched again as soon as a quote would be.
    *readable.lock().unwrap() = true;
    clock.advance(TTL);
    assert!(broker.ltp(&instrument(7)).is_ok());
}

fn a_price_that_is_fresh_outlasts_a_row_that_cannot_be_read<K: Kind>() {
    let clock = ManualClock::auto_advancing();
    let calls = Mutex::new(0);
    let (broker, _) = stack::<K>(&clock, move |asked| {
        let mut quotes = priced(asked);
        let mut calls = calls.lock().unwrap();
        *calls += 1;
        if *calls == 2 && quotes.remove(&instrument(1)).is_some() {
            return Ok(quotes.with_problems([RowProblem::new(0, "odd", "x").name("NSE:S1")]));
        }
        Ok(quotes)
    });
    let first = broker.quote(&instrument(1)).unwrap();
    clock.advance(TTL / 2);
    // It is piggybacked, and no caller waits for it.
    broker.quote(&instrument(2)).unwrap();
    let known = broker.quote(&instrument(1)).unwrap();
    assert!(known.cached && known.fetched_at == first.fetched_at);
    clock.advance(TTL / 2);
    assert!(!broker.quote(&instrument(1)).unwrap().cached);
}

fn while_a_problem_has_no_name_no_instrument_passes_for_one_without_data<K: Kind>() {
    let problem = RowProblem::new(1, "it has no key", "{}");
    let answers = problem.clone();
    let (broker, _) = stack::<K>(&ManualClock::auto_advancing(), move |asked| {
        let mut quotes = priced(asked);
        quotes.remove(&instrument(7));
        let other = RowProblem::new(0, "odd", "x").name("NSE:SOMETHING_ELSE");
        Ok(quotes.with_problems([answers.clone(), other]))
    });
    assert!(broker.ltp(&instrument(1)).is_ok());
    let malformed = BrokerError::Malformed(ErrorDetail::new(problem.to_string()));
    assert_eq!(broker.ltp(&instrument(7)), Err(malformed));
}

fn good_names_that_grow_too_old_while_a_bad_one_is_isolated_are_asked_for_again<K: Kind>() {
    let clock = ManualClock::new();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let mut inner = MockBroker::new();
    let (time, log, bad) = (clock.clone(), Arc::clone(&calls), strict([0]));
    inner.expect_quotes().returning(move |asked| {
        log.lock().unwrap().push(asked.len());
        let answer = bad(asked);
        time.advance(Duration::from_secs(1));
        answer
    });
    let broker = K::bare(inner, &clock, |cache| cache.max_age = Some(Duration::from_secs(6)));
    let quotes = broker.quotes(&instruments(0..64)).unwrap();
    assert_eq!((quotes.len(), quotes.problems.len()), (63, 1));
    assert!(quotes.problems[0].reason.starts_with("rejected"), "{:?}", quotes.problems);
    let calls = calls.lock().unwrap();
    assert_eq!(calls[..2], [64, 32]);
    assert!(calls.len() > 12 && *calls.last().unwrap() >= 32, "{calls:?}");
}

/// Names, which of them are bad, and how many each caller asks for.
fn crowd() -> impl Strategy<Value = (usize, HashSet<usize>, Vec<usize>)> {
    (1..200_usize).prop_flat_map(|names| {
        let bad = prop::collection::hash_set(0..names, 0..=names.min(15));
        let callers = prop::collection::vec(1..60_usize, 1..40);
        (Just(names), bad, callers)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_good_name_is_answered_and_every_bad_one_refused(
        (names, bad, callers) in crowd(),
        seed in any::<u64>(),
    ) {
        answered_or_refused::<Threads>(names, &bad, &callers, seed)?;
        #[cfg(feature = "async")]
        answered_or_refused::<quote_layers::Tasks>(names, &bad, &callers, seed)?;
    }
}

fn answered_or_refused<K: Kind>(
    names: usize,
    bad: &HashSet<usize>,
    callers: &[usize],
    seed: u64,
) -> Result<(), TestCaseError> {
    let (broker, calls) = stack::<K>(&ManualClock::auto_advancing(), strict(bad.clone()));
    let mut rng = fastrand::Rng::with_seed(seed);
    let callers: Vec<_> =
        callers.iter().map(|many| instruments((0..*many).map(|_| rng.usize(0..names)))).collect();
    let asked: HashSet<_> = callers.iter().flatten().cloned().collect();
    let is_bad = |name: &Instrument| bad.iter().any(|bad| instrument(*bad) == *name);
    let answers = all_at_once(&broker, callers.clone(), |names| broker.quotes(names));
    for (names, answers) in callers.iter().zip(answers) {
        let good: HashSet<_> = names.iter().filter(|name| !is_bad(name)).cloned().collect();
        let refused: HashSet<_> = names.iter().filter(|name| is_bad(name)).cloned().collect();
        match answers {
            Err(error) => {
                prop_assert!(good.is_empty());
                prop_assert_eq!(error, refusal());
            }
            Ok(quotes) => {
                let answered: HashSet<_> = quotes.keys().cloned().collect();
                prop_assert_eq!(answered, good);
                let why = quotes.problems.iter().all(|p| p.reason == refusal().to_string());
                prop_assert!(why, "{:?}", quotes.problems);
                let named: HashSet<_> =
                    quotes.problems.iter().filter_map(|p| p.name.clone()?.parse().ok()).collect();
                prop_assert_eq!(named, refused);
            }
        }
    }
    // Each bad name was refused alone, exactly once.
    let made = calls.lock().unwrap().clone();
    for name in asked.iter().filter(|name| is_bad(name)) {
        let alone = made.iter().filter(|(_, names)| names == std::slice::from_ref(name));
        prop_assert_eq!(alone.count(), 1, "{} alone", name);
    }
    let rounds = asked.len().next_power_of_two().ilog2() as usize;
    let refused = asked.iter().filter(|name| is_bad(name)).count();
    // Splitting, and now and then a single name that shows whether the broker still answers.
    let most = 1 + refused * (2 * rounds + 1);
    prop_assert!(made.len() <= most, "{} calls, of {most}", made.len());
    prop_assert!(one_a_second(&calls));
    // Now that they are known, none of them costs the others anything.
    let all: Vec<_> = asked.into_iter().collect();
    broker.with_options(GetOptions::new().max_age(Duration::ZERO)).quotes(&all).ok();
    for (_, names) in &calls.lock().unwrap()[made.len()..] {
        prop_assert!(names.len() == 1 || !names.iter().any(is_bad), "{:?}", names);
    }
    Ok(())
}

// For threads alone: while the lane is paused, the clock advances to the deadline of a task, which its timer waits for.
#[test]
fn a_caller_with_a_deadline_is_not_failed_by_the_bad_name_of_another_before_it() {
    let (broker, _) = stack::<Threads>(&ManualClock::auto_advancing(), strict([1000]));
    let patient = broker.with(CallOptions::new().deadline(Duration::from_secs(60)));
    let answers = all_at_once(&broker, vec![instruments(0..30), instruments([1000])], |names| {
        patient.quotes(names).map(|quotes| quotes.complete().unwrap().len())
    });
    assert_eq!(answers, [Ok(30), Err(refusal())]);
}
