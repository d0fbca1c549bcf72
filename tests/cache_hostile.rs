//! The batch cache and hostile user code: keys that panic, values and weights that call the cache again. No waiter
//! is left waiting. A test that fails here hangs.
#![allow(clippy::unwrap_used)]

#[path = "support/source.rs"]
mod source;

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use lanekeeper::cache::{BatchBuilder, BatchCache, FetchError, GetOptions, Origin};
use lanekeeper::clock::ManualClock;
use source::{Cache, settings};

const TTL: Duration = Duration::from_secs(5);

/// An operation of a key, any of which may panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Hash,
    Eq,
    Clone,
    Drop,
}

/// A planned panic.
#[derive(Debug, Clone, Copy)]
struct Planned {
    at: Operation,
    /// On the fetcher thread, or on any other.
    on_fetcher: bool,
    /// How many operations of the kind succeed before.
    after: usize,
    /// Once, or from then on.
    once: bool,
}

#[derive(Debug, Default)]
struct Plan {
    planned: Mutex<Option<Planned>>,
    panics: AtomicUsize,
}

impl Plan {
    fn set(&self, planned: Planned) {
        *self.planned.lock().unwrap() = Some(planned);
    }

    /// Cancels the plan. Returns how often a key panicked.
    fn end(&self) -> usize {
        *self.planned.lock().unwrap() = None;
        self.panics.load(Ordering::SeqCst)
    }

    fn step(&self, operation: Operation) {
        thread_local!(static FETCHER: Cell<Option<bool>> = const { Cell::new(None) });
        let mut plan = self.planned.lock().unwrap();
        let Some(Planned { at, on_fetcher, after, once }) = plan.as_mut() else { return };
        let named = || thread::current().name() == Some("batch-cache");
        let is_fetcher = FETCHER.get().unwrap_or_else(named);
        FETCHER.set(Some(is_fetcher));
        if *at != operation || *on_fetcher != is_fetcher || thread::panicking() {
            return;
        }
        if *after > 0 {
            *after -= 1;
            return;
        }
        if *once {
            *plan = None;
        }
        drop(plan);
        self.panics.fetch_add(1, Ordering::SeqCst);
        QUIET.call_once(quiet);
        panic!("a key panics at {operation:?}");
    }
}

static QUIET: Once = Once::new();

/// Silences the panic messages: there are thousands of them, and each would print its origin.
fn quiet() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let words = info.payload().downcast_ref::<String>();
        if !words.is_some_and(|words| words.starts_with("a key panics")) {
            loud(info);
        }
    }));
}

/// A key that panics as planned.
#[derive(Debug)]
struct Touchy(u32, Arc<Plan>);

impl Hash for Touchy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.1.step(Operation::Hash);
        self.0.hash(state);
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        self.1.step(Operation::Eq);
        self.0 == other.0
    }
}

impl Eq for Touchy {}

impl Clone for Touchy {
    fn clone(&self) -> Self {
        self.1.step(Operation::Clone);
        Self(self.0, Arc::clone(&self.1))
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        self.1.step(Operation::Drop);
    }
}

type TouchyCache = BatchCache<Touchy, u32, String>;

fn touchy(clock: &ManualClock) -> TouchyCache {
    let mut settings = settings(clock);
    settings.stale_while_revalidate = TTL;
    BatchBuilder::new(settings).split_on(|error: &String| error == "refused").build(
        |keys: &[Touchy]| match keys.iter().any(|key| key.0 == 13) {
            true => Err("refused".to_owned()),
            false => Ok(keys.iter().map(|key| (key.clone(), key.0)).collect()),
        },
    )
}

/// Takes a cache through everything: misses, hits, a refused request, piggybacked keys, a stale answer and its
/// refresh. Whatever becomes of each, it returns.
fn exercise(cache: &TouchyCache, clock: &ManualClock, key: impl Fn(u32) -> Touchy) {
    let attempt = |step: &dyn Fn()| drop(catch_unwind(AssertUnwindSafe(step)));
    attempt(&|| drop(cache.get_many(&[key(1), key(2)])));
    attempt(&|| _ = cache.track(&[key(3)]));
    attempt(&|| drop(cache.get_many(&[key(1), key(4), key(13)])));
    clock.advance(TTL);
    attempt(&|| drop(cache.get(&key(1))));
    attempt(&|| drop(cache.get(&key(5))));
    attempt(&|| cache.untrack(&[key(3)]));
    attempt(&|| cache.invalidate(&key(2)));
    attempt(&|| drop(cache.get_with(&key(1), &GetOptions::new().max_age(Duration::ZERO))));
}

#[test]
fn wherever_a_key_panics_no_caller_waits_for_ever_and_the_cache_goes_on() {
    let operations = [Operation::Hash, Operation::Eq, Operation::Clone, Operation::Drop];
    let places = operations.into_iter().flat_map(|at| [(at, true), (at, false)]);
    for ((at, on_fetcher), once) in places.flat_map(|place| [(place, true), (place, false)]) {
        for after in 0.. {
            let (clock, plan) = (ManualClock::new(), Arc::new(Plan::default()));
            let cache = touchy(&clock);
            let key = |number| Touchy(number, Arc::clone(&plan));
            plan.set(Planned { at, on_fetcher, after, once });
            thread::scope(|scope| {
                let mine = || catch_unwind(AssertUnwindSafe(|| exercise(&cache, &clock, key)));
                let other = scope.spawn(mine);
                let _ = mine();
                let _ = other.join().unwrap();
            });
            let panics = plan.end();
            // A fetch that a panic ended may still be in flight, and callers that join it meanwhile get its error.
            let answer = cache.get(&key(7)).or_else(|_| cache.get(&key(7)));
            assert_eq!(*answer.unwrap().unwrap().value, 7, "after {panics} panics at {at:?}");
            if panics == 0 {
                assert!(after > 0 || at == Operation::Eq, "{at:?} was never tried");
                break;
            }
        }
    }
}

#[test]
fn a_weight_may_ask_the_cache() {
    let itself: Arc<OnceLock<Weak<Cache>>> = Arc::default();
    let weighed = Arc::new(AtomicUsize::new(0));
    let (of_weight, counted) = (Arc::clone(&itself), Arc::clone(&weighed));
    let clock = ManualClock::new();
    let cache: Arc<Cache> = Arc::new(
        BatchBuilder::new(settings(&clock))
            .weigher(move |_: &u32| {
                counted.fetch_add(1, Ordering::SeqCst);
                // This takes the cache's lock.
                of_weight.get().and_then(Weak::upgrade).inspect(|cache| cache.invalidate(&99));
                1
            })
            .build(|keys: &[u32]| Ok(keys.iter().map(|key| (*key, 0)).collect())),
    );
    itself.set(Arc::downgrade(&cache)).unwrap();
    cache.track(&[8]).unwrap();
    cache.get_many(&[1, 2]).complete().unwrap();
    clock.advance(TTL / 2);
    // 1, 2 and 8 are due, and 1 is piggybacked.
    assert_eq!(cache.get_many(&[1, 3]).complete().unwrap().len(), 2);
    assert!(weighed.load(Ordering::SeqCst) > 0);
}

/// A value that calls its cache when it is dropped.
struct Asks(Arc<OnceLock<Weak<BatchCache<u32, Asks, String>>>>, Arc<AtomicUsize>);

impl Drop for Asks {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.get().and_then(Weak::upgrade).inspect(|cache| cache.invalidate(&99));
    }
}

#[test]
fn a_value_may_ask_the_cache_as_it_is_dropped() {
    let (itself, dropped) = (Arc::<OnceLock<_>>::default(), Arc::new(AtomicUsize::new(0)));
    let (of_values, counter) = (Arc::clone(&itself), Arc::clone(&dropped));
    let clock = ManualClock::new();
    let cache = Arc::new(BatchCache::new(settings(&clock), move |keys: &[u32]| {
        let value = || Asks(Arc::clone(&of_values), Arc::clone(&counter));
        Ok::<_, String>(keys.iter().map(|key| (*key, value())).collect::<HashMap<_, _>>())
    }));
    itself.set(Arc::downgrade(&cache)).unwrap_or(());
    let until_dropped = |number| {
        while dropped.load(Ordering::SeqCst) < number {
            thread::yield_now();
        }
    };
    for number in 0..3 {
        // The new value replaces the old one, which is dropped.
        cache.get(&1).unwrap();
        until_dropped(number);
        clock.advance(TTL);
    }
    cache.invalidate(&1);
    until_dropped(3);
    cache.get(&2).unwrap();
    cache.untrack(&[2]);
    until_dropped(4);
}

#[test]
fn a_key_that_panics_as_the_fetcher_searches_for_work_does_not_end_it() {
    let (clock, plan) = (ManualClock::new(), Arc::new(Plan::default()));
    let cache = touchy(&clock);
    let key = |number| Touchy(number, Arc::clone(&plan));
    cache.get(&key(1)).unwrap();
    clock.advance(TTL);
    plan.set(Planned { at: Operation::Hash, on_fetcher: true, after: 0, once: false });
    // The fetcher finds the requested refresh.
    assert_eq!(cache.get(&key(1)).unwrap().unwrap().origin, Origin::Stale);
    while plan.panics.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    assert!(matches!(cache.get(&key(2)), Err(FetchError::Panicked { .. })), "it is due as well");
    plan.end();
    assert_eq!(*cache.get(&key(2)).unwrap().unwrap().value, 2);
}

#[test]
fn a_key_that_panics_before_its_request_goes_is_reported_to_its_waiter() {
    let (clock, plan) = (ManualClock::new(), Arc::new(Plan::default()));
    let cache = touchy(&clock);
    cache.track(&[Touchy(3, Arc::clone(&plan))]).unwrap();
    plan.set(Planned { at: Operation::Clone, on_fetcher: true, after: 0, once: false });
    let error = cache.get(&Touchy(1, Arc::clone(&plan))).unwrap_err();
    assert_eq!(error, FetchError::Panicked { message: "a key panics at Clone".to_owned() });
    assert_eq!(plan.end(), 1);
}
