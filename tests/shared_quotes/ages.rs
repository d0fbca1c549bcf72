//! Random operations of several processes, against the true time of each request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::cache::{Cached, GetOptions};
use lanekeeper::clock::{Clock, ManualClock};
use lanekeeper::quota::Moment;
use proptest::prelude::*;

use super::process::{Cache, Source, millis, process, processes, secs, settings, value};
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
    /// The last answer for each key: the number of its request in the cache, and its value.
    seen: HashMap<u32, (u64, u64)>,
}

struct World<'a> {
    server: &'a RedisServer,
    clock: ManualClock,
    takes: Arc<Mutex<Duration>>,
    source: Arc<Source>,
    caches: Vec<Cache>,
    known: Vec<Known>,
    answers: usize,
}

impl<'a> World<'a> {
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
        };
        world.caches = (0..3).map(|number| world.process(number)).collect();
        world
    }

    fn process(&self, number: usize) -> Cache {
        let mut settings = settings(&self.clock);
        settings.max_age = Some(HARD);
        let (clock, takes) = (self.clock.clone(), Arc::clone(&self.takes));
        let during = move || clock.advance(*takes.lock().unwrap());
        let cache = process(&self.server.url(), settings, &self.source, number, Box::new(during));
        let _ = cache.get(&900);
        cache
    }

    /// Checks an answer of a query that began at `asked_at` and accepts values younger than `allowed`.
    fn check(
        &mut self,
        process: usize,
        key: u32,
        answer: &Cached<u64>,
        asked_at: Moment,
        allowed: Duration,
    ) {
        self.answers += 1;
        let (now, sent) = (self.clock.now(), self.source.sent(*answer.value));
        let age = now.since(sent);
        assert!(answer.age >= age, "{answer:?} is {age:?} old");
        assert!(age <= HARD, "{answer:?} is {age:?} old");
        assert!(age < allowed || sent >= asked_at, "{answer:?} is {age:?} old: {allowed:?}");
        let known = &mut self.known[process];
        let invalidated = known.invalidated.get(&key).copied().unwrap_or(Moment::ORIGIN);
        assert!(sent >= invalidated, "{answer:?} was invalidated");
        known.seen.insert(key, (answer.batch, *answer.value));
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Wait(time) => self.clock.advance(millis(*time)),
            Step::Takes(time) => *self.takes.lock().unwrap() = millis(*time),
            Step::Fails(fails) => self.source.fail(*fails),
            Step::SetClock(by) => {
                // A process that has not heard the last answer yet would not notice a step back, as a new one. So the answers to
                // what was kept have to be there.
                let is_claimed = "HGET lanekeeper:{a}:test-state fetcher";
                for _ in 0..1000 {
                    std::thread::sleep(millis(2));
                    if matches!(self.server.send(is_claimed).lines().next(), Some("$0" | "$-1")) {
                        break;
                    }
                }
                let wall = Clock::from(self.clock.clone()).wall_clock().timestamp;
                let by = lanekeeper::jiff::SignedDuration::from_millis(*by);
                self.clock.set_wall_clock(wall + by);
            }
            Step::Flush => drop(self.server.send("FLUSHALL")),
            Step::Restart(process) => {
                // The first call of a process cannot know whether the clock was set back since the last call of any.
                for cache in &self.caches {
                    let _ = cache.get_with(&900, &GetOptions::new().max_age(secs(0)));
                }
                self.caches[*process] = self.process(*process);
                self.known[*process] = Known::default();
            }
            Step::Invalidate { process, key } => {
                self.caches[*process].invalidate(key);
                self.known[*process].invalidated.insert(*key, self.clock.now());
            }
            Step::Ask { process, keys, max_age } => {
                let asked_at = self.clock.now();
                let options = GetOptions::new();
                let options = max_age.map_or(options, |age| options.max_age(millis(age)));
                let result = self.caches[*process].get_many_with(keys, &options);
                // A failed request ends the wait for all keys, and a value may outgrow the allowed age meanwhile.
                let is_complete = result.failed.is_empty();
                let allowed =
                    if is_complete { max_age.map_or(secs(5), millis) } else { HARD + secs(1) };
                for (key, answer) in &result.values {
                    self.check(*process, *key, answer, asked_at, allowed);
                }
            }
            Step::AskAfter { process, key } => {
                let asked_at = self.clock.now();
                let Some((batch, seen)) = self.known[*process].seen.get(key).copied() else {
                    return;
                };
                if self.source.is_failing() {
                    return;
                }
                let answer = self.caches[*process].get_after(key, Some(batch));
                let answer = answer.unwrap().unwrap();
                assert!(*answer.value != seen, "{answer:?} was seen");
                let before = self.source.sent(seen);
                assert!(
                    self.source.sent(*answer.value) >= before,
                    "{answer:?} is older than what was seen"
                );
                self.check(*process, *key, &answer, asked_at, secs(5) + HARD);
            }
        }
    }
}

#[test]
fn no_value_is_older_than_it_seems_or_than_is_allowed() {
    let Some(server) = RedisServer::start() else { return };
    let mut answers = 0;
    let mut shared = 0;
    let config =
        ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    let steps = prop::collection::vec(step(), 1..60);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let counts = Mutex::new((&mut answers, &mut shared));
    let result = runner.run(&steps, |steps| {
        let mut world = World::new(&server);
        for step in &steps {
            world.run(step);
        }
        let mut counts = counts.lock().unwrap();
        *counts.0 += world.answers;
        *counts.1 += world.caches.iter().map(|cache| cache.stats().shared).sum::<u64>();
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
