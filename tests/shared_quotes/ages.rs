//! Random operations of several processes, against the true time of each request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::cache::{BatchCache, GetOptions};
use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::jiff::Timestamp;
use lanekeeper::quota::Moment;
use proptest::prelude::*;

use super::process::{
    Cache, During, Source, millis, process, processes, secs, settings, value, wait_until_unclaimed,
};
use super::redis::RedisServer;

/// The hard limit: no value may be older.
const HARD: Duration = secs(12);

/// A step of the test. Times are in milliseconds.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Ask {
        process: usize,
        keys: Vec<u32>,
        max_age: Option<u64>,
    },
    /// Asks for a value that is later than that of the last answer.
    AskAfter {
        process: usize,
        key: u32,
    },
    Invalidate {
        process: usize,
        key: u32,
    },
    /// How long requests take from now on.
    Takes(u64),
    Fails(bool),
    SetClock(i64),
    Flush,
    Restart(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let keys = || prop::collection::vec(0..6_u32, 1..4);
    let max_age = || prop::option::weighted(0.5, prop_oneof![Just(0), 0..14_000_u64]);
    prop_oneof![
        6 => (0..4000_u64).prop_map(Step::Wait),
        12 => (0..3_usize, keys(), max_age())
            .prop_map(|(process, keys, max_age)| Step::Ask { process, keys, max_age }),
        4 => (0..3_usize, 0..6_u32).prop_map(|(process, key)| Step::AskAfter { process, key }),
        2 => (0..3_usize, 0..6_u32).prop_map(|(process, key)| Step::Invalidate { process, key }),
        1 => prop_oneof![Just(0), 0..3000_u64].prop_map(Step::Takes),
        1 => prop::bool::weighted(0.3).prop_map(Step::Fails),
        1 => (-20_000..20_000_i64).prop_map(Step::SetClock),
        1 => Just(Step::Flush),
        1 => (0..3_usize).prop_map(Step::Restart),
    ]
}

/// What the test knows of one process.
#[derive(Default)]
struct Known {
    /// When each key was invalidated.
    invalidated: HashMap<u32, Moment>,
    /// The last answer for each key.
    seen: HashMap<u32, Answer>,
}

/// What a process answers for a key.
#[derive(Debug, Clone, Copy)]
struct Answer {
    /// The number of its request at the source.
    value: u64,
    /// What tells the process which answer this was.
    id: AnswerId,
    /// How old it is, as the process says. A quote has a time by the wall clock instead, which the test sets.
    age: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
enum AnswerId {
    Request(u64),
    #[cfg_attr(not(all(feature = "async", feature = "mock")), expect(dead_code))]
    FetchedAt(Option<Timestamp>),
}

/// A process of threads, or one of tasks.
trait Process: Sized {
    fn new(
        server: &RedisServer,
        clock: &ManualClock,
        source: &Arc<Source>,
        number: usize,
        during: During,
    ) -> Self;
    /// Returns the answers that came, and whether these are all.
    fn ask(&self, keys: &[u32], options: &GetOptions) -> (HashMap<u32, Answer>, bool);
    /// Waits for an answer that is later than another one.
    fn ask_after(&self, key: u32, seen: AnswerId) -> Answer;
    fn invalidate(&self, key: u32);
    /// How many values of other processes it has taken.
    fn shared(&self) -> u64;
    /// What its keys in Redis begin with.
    const KIND: &str;
}

impl Process for Cache {
    fn new(
        server: &RedisServer,
        clock: &ManualClock,
        source: &Arc<Source>,
        number: usize,
        during: During,
    ) -> Self {
        let mut settings = settings(clock);
        settings.max_age = Some(HARD);
        process(&server.url(), settings, source, number, during)
    }

    fn ask(&self, keys: &[u32], options: &GetOptions) -> (HashMap<u32, Answer>, bool) {
        let result = self.get_many_with(keys, options);
        let answers = result.values.iter().map(|(key, it)| (*key, answer(it)));
        (answers.collect(), result.failed.is_empty())
    }

    fn ask_after(&self, key: u32, seen: AnswerId) -> Answer {
        let AnswerId::Request(batch) = seen else { panic!("it is of another process") };
        answer(&self.get_after(&key, Some(batch)).unwrap().unwrap())
    }

    fn invalidate(&self, key: u32) {
        BatchCache::invalidate(self, &key);
    }

    fn shared(&self) -> u64 {
        self.stats().shared
    }

    const KIND: &str = "test";
}

fn answer(cached: &lanekeeper::cache::Cached<u64>) -> Answer {
    let id = AnswerId::Request(cached.batch);
    Answer { value: *cached.value, id, age: Some(cached.age) }
}

#[cfg(all(feature = "async", feature = "mock"))]
mod tasks {
    use lanekeeper::SharedQuota;
    use lanekeeper::broker::{
        AsyncBroker, Broker, BrokerError, ErrorDetail, ImmediateBroker, Instrument, MockBroker,
        Quote, QuoteBatch, Quotes,
    };
    use lanekeeper::cache::AsyncQuoteCache;
    use lanekeeper::delegate_async_broker;

    use super::*;
    use crate::quote_layers::Quoted;
    use crate::quote_layers::tasks::Awaited;

    /// A quote cache of tasks. The price of a quote is the number of its request.
    pub(super) struct TaskProcess(Awaited<AsyncQuoteCache<Slow>>);

    /// A broker whose requests wait in a lane, before their instruments are chosen, for as long as their answers take.
    pub(super) struct Slow {
        inner: ImmediateBroker<MockBroker>,
        during: Arc<During>,
    }

    #[lanekeeper::async_trait]
    #[allow(renamed_and_removed_lints)]
    impl AsyncBroker for Slow {
        delegate_async_broker! { to self.inner; except quotes_of, quote, quote_after, ltp, ohlc }

        async fn quotes_of(&self, batch: &QuoteBatch) -> Result<Quotes, BrokerError> {
            (self.during)();
            match batch.instruments() {
                none if none.is_empty() => Ok(Quotes::default()),
                instruments => self.quotes(&instruments).await,
            }
        }
    }

    fn instrument(key: u32) -> Instrument {
        Instrument::new("NSE", format!("{key}"))
    }

    fn key(instrument: &Instrument) -> u32 {
        instrument.symbol().parse().unwrap()
    }

    fn answer(quote: &Quote) -> Answer {
        let value = quote.last_price.try_into().unwrap();
        Answer { value, id: AnswerId::FetchedAt(quote.fetched_at), age: None }
    }

    impl Process for TaskProcess {
        fn new(
            server: &RedisServer,
            clock: &ManualClock,
            source: &Arc<Source>,
            number: usize,
            during: During,
        ) -> Self {
            let (source, own_clock) = (Arc::clone(source), clock.clone());
            let during = Arc::new(during);
            let answers = Arc::clone(&during);
            let mut mock = MockBroker::new();
            mock.expect_quotes().returning(move |instruments| {
                let keys = instruments.iter().map(key).collect();
                let number = source.request(number, keys, own_clock.now());
                answers();
                let no_line = |error: String| BrokerError::Transient(ErrorDetail::new(error));
                let number = number.map_err(no_line)?;
                let quote = |it: &Instrument| (it.clone(), Quote::new(it.clone(), number));
                Ok(instruments.iter().filter(|it| key(it) < 1000).map(quote).collect::<Quotes>())
            });
            let quota = SharedQuota::redis(&server.url(), "a").unwrap().timeout(secs(2));
            let cache = AsyncQuoteCache::builder(Slow { inner: ImmediateBroker(mock), during });
            let cache = cache.configure(|settings| settings.max_age = Some(HARD));
            Self(Awaited(cache.clock(clock.clone()).shared_quotes(&quota).build_async()))
        }

        fn ask(&self, keys: &[u32], options: &GetOptions) -> (HashMap<u32, Answer>, bool) {
            let instruments: Vec<_> = keys.iter().map(|key| instrument(*key)).collect();
            match self.0.with_options(*options).quotes(&instruments) {
                Ok(quotes) => {
                    let is_complete = quotes.problems.is_empty();
                    let answers = quotes.iter().map(|(name, quote)| (key(name), answer(quote)));
                    (answers.collect(), is_complete)
                }
                Err(_) => (HashMap::new(), false),
            }
        }

        fn ask_after(&self, key: u32, seen: AnswerId) -> Answer {
            let AnswerId::FetchedAt(seen) = seen else { panic!("it is of another process") };
            answer(&self.0.quote_after(&instrument(key), seen).unwrap())
        }

        fn invalidate(&self, key: u32) {
            self.0.invalidate(&instrument(key));
        }

        fn shared(&self) -> u64 {
            self.0.stats().shared
        }

        const KIND: &str = "quote";
    }
}

struct World<'a, P> {
    server: &'a RedisServer,
    clock: ManualClock,
    takes: Arc<Mutex<Duration>>,
    source: Arc<Source>,
    caches: Vec<P>,
    known: Vec<Known>,
    answers: usize,
    is_clock_set: bool,
}

impl<'a, P: Process> World<'a, P> {
    fn new(server: &'a RedisServer) -> Self {
        server.send("FLUSHALL");
        // A caller that waits for the next value waits for a time.
        let clock = ManualClock::auto_advancing();
        clock.advance(secs(1000));
        let mut world = Self {
            server,
            clock,
            takes: Arc::default(),
            source: Arc::default(),
            caches: Vec::new(),
            known: (0..3).map(|_| Known::default()).collect(),
            answers: 0,
            is_clock_set: false,
        };
        world.caches = (0..3).map(|number| world.process(number)).collect();
        world
    }

    fn process(&self, number: usize) -> P {
        let (clock, takes) = (self.clock.clone(), Arc::clone(&self.takes));
        let during = Box::new(move || clock.advance(*takes.lock().unwrap()));
        let process = P::new(self.server, &self.clock, &self.source, number, during);
        process.ask(&[900], &GetOptions::new());
        process
    }

    /// Checks an answer of a query that began at `asked_at` and accepts values younger than `allowed`.
    fn check(
        &mut self,
        process: usize,
        key: u32,
        answer: Answer,
        asked_at: Moment,
        allowed: Duration,
    ) {
        self.answers += 1;
        let (now, sent) = (self.clock.now(), self.source.sent(answer.value));
        let age = now.since(sent);
        let seems = match answer.id {
            AnswerId::Request(_) => answer.age,
            AnswerId::FetchedAt(_) if self.is_clock_set => None,
            AnswerId::FetchedAt(at) => {
                let wall = Clock::from(self.clock.clone()).wall_clock().timestamp;
                at.and_then(|at| wall.duration_since(at).try_into().ok())
            }
        };
        assert!(seems.is_none_or(|seems: Duration| seems >= age), "{answer:?} is {age:?} old");
        assert!(age <= HARD, "{answer:?} is {age:?} old");
        assert!(age < allowed || sent >= asked_at, "{answer:?} is {age:?} old: {allowed:?}");
        let known = &mut self.known[process];
        let invalidated = known.invalidated.get(&key).copied().unwrap_or(Moment::ORIGIN);
        assert!(sent >= invalidated, "{answer:?} was invalidated");
        known.seen.insert(key, answer);
    }

    /// Lets each process have an answer of Redis.
    fn let_all_hear(&self) {
        for cache in &self.caches {
            cache.ask(&[900], &GetOptions::new().max_age(secs(0)));
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Wait(time) => self.clock.advance(millis(*time)),
            Step::Takes(time) => *self.takes.lock().unwrap() = millis(*time),
            Step::Fails(fails) => self.source.fail(*fails),
            Step::SetClock(by) => {
                // A process that has not heard the last answer yet would not notice a step back, as a new one. So the answers to
                // what was kept have to be there.
                wait_until_unclaimed(self.server, P::KIND);
                let wall = Clock::from(self.clock.clone()).wall_clock().timestamp;
                let by = lanekeeper::jiff::SignedDuration::from_millis(*by);
                self.clock.set_wall_clock(wall + by);
                self.is_clock_set = true;
                // Nor would one notice it whose last answer is from before a step forward.
                if by.is_positive() {
                    self.let_all_hear();
                }
            }
            Step::Flush => drop(self.server.send("FLUSHALL")),
            Step::Restart(process) => {
                // The first call of a process cannot know whether the clock was set back since the last call of any.
                self.let_all_hear();
                self.caches[*process] = self.process(*process);
                self.known[*process] = Known::default();
            }
            Step::Invalidate { process, key } => {
                self.caches[*process].invalidate(*key);
                self.known[*process].invalidated.insert(*key, self.clock.now());
            }
            Step::Ask { process, keys, max_age } => {
                let asked_at = self.clock.now();
                let options = GetOptions::new();
                let options = max_age.map_or(options, |age| options.max_age(millis(age)));
                let (answers, is_complete) = self.caches[*process].ask(keys, &options);
                // A failed request ends the wait for all keys, and a value may outgrow the allowed age meanwhile.
                let allowed =
                    if is_complete { max_age.map_or(secs(5), millis) } else { HARD + secs(1) };
                for (key, answer) in answers {
                    self.check(*process, key, answer, asked_at, allowed);
                }
            }
            Step::AskAfter { process, key } => {
                let asked_at = self.clock.now();
                let Some(seen) = self.known[*process].seen.get(key).copied() else { return };
                let goes_by_wall_clock = matches!(seen.id, AnswerId::FetchedAt(_));
                if self.source.is_failing() || goes_by_wall_clock && self.is_clock_set {
                    return;
                }
                let answer = self.caches[*process].ask_after(*key, seen.id);
                assert!(answer.value != seen.value, "{answer:?} was seen");
                let before = self.source.sent(seen.value);
                assert!(
                    self.source.sent(answer.value) >= before,
                    "{answer:?} is older than what was seen"
                );
                self.check(*process, *key, answer, asked_at, secs(5) + HARD);
            }
        }
    }
}

#[test]
fn no_value_is_older_than_it_seems_or_than_is_allowed() {
    check_ages::<Cache>();
}

#[cfg(all(feature = "async", feature = "mock"))]
#[test]
fn no_value_is_older_for_tasks_than_is_allowed() {
    check_ages::<tasks::TaskProcess>();
}

fn check_ages<P: Process>() {
    let Some(server) = RedisServer::start() else { return };
    let mut answers = 0;
    let mut shared = 0;
    let config =
        ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    let steps = prop::collection::vec(step(), 1..60);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let counts = Mutex::new((&mut answers, &mut shared));
    let result = runner.run(&steps, |steps| {
        let mut world = World::<P>::new(&server);
        for step in &steps {
            world.run(step);
        }
        let mut counts = counts.lock().unwrap();
        *counts.0 += world.answers;
        *counts.1 += world.caches.iter().map(P::shared).sum::<u64>();
        Ok(())
    });
    result.unwrap();
    println!("{answers} answers, {shared} values were shared");
    assert!(shared > 100, "{shared} values were shared, of {answers} answers");
}

#[test]
fn a_value_that_was_invalidated_is_not_taken_back() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, source) = (ManualClock::new(), Arc::new(Source::default()));
    let [first, second] = processes(&server.url(), &clock, &source);
    assert_eq!([value(&first, 1), value(&second, 1)], [1, 1]);
    clock.advance(millis(1));
    second.invalidate(&1);
    clock.advance(millis(1));
    assert_eq!(value(&second, 1), 2);
    assert_eq!(value(&first, 1), 1, "it is still fresh for others");
}

#[test]
fn a_caller_that_has_a_value_does_not_get_it_again() {
    let Some(server) = RedisServer::start() else { return };
    let clock = ManualClock::auto_advancing();
    let source = Arc::new(Source::default());
    let [first, second] = processes(&server.url(), &clock, &source);
    assert_eq!(value(&first, 1), 1);
    let seen = second.get(&1).unwrap().unwrap();
    assert_eq!(*seen.value, 1);
    // Its store has no entry any more that would show which value that was.
    second.untrack(&[1]);
    let next = second.get_after(&1, Some(seen.batch)).unwrap().unwrap();
    assert_eq!(*next.value, 2);
    // The second process fetches shortly before the first one wants the next value.
    clock.advance(millis(4000));
    let asks = GetOptions::new().max_age(secs(1));
    assert_eq!(*second.get_with(&1, &asks).unwrap().unwrap().value, 3);
    let news = first.get_after(&1, Some(1)).unwrap().unwrap();
    assert_eq!(*news.value, 3, "what it fetched is news for the other process");
}

#[test]
fn a_max_age_of_zero_always_fetches() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, source) = (ManualClock::new(), Arc::new(Source::default()));
    let [first, second] = processes(&server.url(), &clock, &source);
    let asks = GetOptions::new().max_age(secs(0));
    for number in 1..=3 {
        let cache = if number % 2 == 0 { &first } else { &second };
        assert_eq!(*cache.get_with(&1, &asks).unwrap().unwrap().value, number);
    }
}

#[test]
fn subscriptions_of_three_processes_make_one_request_in_each_ttl() {
    let Some(server) = RedisServer::start() else { return };
    let clock = ManualClock::auto_advancing();
    let source = Arc::new(Source::default());
    let caches: [Cache; 3] = processes(&server.url(), &clock, &source);
    std::thread::scope(|scope| {
        for cache in &caches {
            scope.spawn(move || {
                let mut before = 0;
                for news in cache.subscribe(&[1, 2, 3]).take(20) {
                    let number = *news.values.values().map(|it| &*it.value).max().unwrap();
                    assert!(number > before, "{number} after {before}");
                    before = number;
                }
            });
        }
    });
    let span = source.requests().last().unwrap().sent.since(source.sent(1));
    let most = span.as_secs() / 5 + 2;
    let count = source.asked().len() as u64;
    assert!(count <= most, "{count} requests in {span:?}");
}
