//! What differs where tasks fetch: their executor is not blocked, and a fetch may be dropped at any time. Tasks are polled by hand.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use lanekeeper::broker::{
    AsyncBroker, BrokerError, ImmediateBroker, Instrument, MockBroker, Quote, QuoteBatch, Quotes,
};
use lanekeeper::cache::AsyncQuoteCache;
use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::SignedDuration;
use lanekeeper::{SharedQuota, delegate_async_broker};

use super::process::{millis, secs, wait_until_kept};
use super::redis::RedisServer;
use super::support::lanes::until;
use super::support::tasks::Task;

/// Where a request waits for the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Before its instruments are chosen, as in a lane.
    InLane,
    InFlight,
    Nowhere,
}

#[derive(Default)]
struct State {
    wakers: Vec<Waker>,
    /// The names of each request.
    sent: Vec<Vec<Instrument>>,
    /// How many requests have begun to wait in the lane.
    begun: usize,
}

/// A broker that answers when the test says so. The price of a quote is the number of its request, from 1.
struct Market {
    held: Mutex<Held>,
    state: Mutex<State>,
}

impl Market {
    fn new(held: Held) -> Arc<Self> {
        Arc::new(Self { held: Mutex::new(held), state: Mutex::default() })
    }

    fn sent(&self) -> Vec<Vec<Instrument>> {
        self.state.lock().unwrap().sent.clone()
    }

    fn has_begun(&self) -> bool {
        self.state.lock().unwrap().begun > 0
    }

    fn open(&self) {
        *self.held.lock().unwrap() = Held::Nowhere;
        let wakers = std::mem::take(&mut self.state.lock().unwrap().wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    async fn wait_at(&self, place: Held) {
        poll_fn(|context| {
            if *self.held.lock().unwrap() != place {
                return Poll::Ready(());
            }
            self.state.lock().unwrap().wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

struct Slow {
    inner: ImmediateBroker<MockBroker>,
    market: Arc<Market>,
}

#[lanekeeper::async_trait]
#[allow(renamed_and_removed_lints)]
impl AsyncBroker for Slow {
    delegate_async_broker! { to self.inner; except quotes, quotes_of, quote, quote_after, ltp, ohlc }

    async fn quotes_of(&self, batch: &QuoteBatch) -> Result<Quotes, BrokerError> {
        self.market.state.lock().unwrap().begun += 1;
        self.market.wait_at(Held::InLane).await;
        match batch.instruments() {
            none if none.is_empty() => Ok(Quotes::default()),
            instruments => self.quotes(&instruments).await,
        }
    }

    async fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        let number = {
            let mut state = self.market.state.lock().unwrap();
            state.sent.push(instruments.to_vec());
            state.sent.len()
        };
        self.market.wait_at(Held::InFlight).await;
        let quote = |it: &Instrument| (it.clone(), Quote::new(it.clone(), number as i64));
        Ok(instruments.iter().map(quote).collect())
    }
}

type Cache = AsyncQuoteCache<Slow>;

/// Makes the cache of a process of the account `a`.
fn process(server: &RedisServer, clock: &ManualClock, market: &Arc<Market>) -> Cache {
    // A machine that runs other tests may be slow.
    let quota = SharedQuota::redis(&server.url(), "a").unwrap().timeout(secs(10));
    let inner = ImmediateBroker(MockBroker::new());
    let cache = AsyncQuoteCache::builder(Slow { inner, market: Arc::clone(market) });
    cache.clock(clock.clone()).shared_quotes(&quota).build_async()
}

fn share(number: usize) -> Instrument {
    Instrument::new("NSE", format!("S{number}"))
}

/// Begins to ask for a quote.
fn ask(cache: &Cache, number: usize) -> Task<Result<Quote, BrokerError>> {
    let cache = cache.clone();
    Task::waiting(async move { cache.quote(&share(number)).await })
}

/// Polls a task each time it is woken, until something is so.
fn poll_until<T>(task: &mut Task<T>, is_so: impl Fn() -> bool) {
    while !is_so() {
        if task.is_woken() {
            assert!(task.poll().is_pending());
        }
        std::thread::yield_now();
    }
}

fn price(quote: Result<Quote, BrokerError>) -> i64 {
    quote.unwrap().last_price.try_into().unwrap()
}

#[test]
fn a_task_is_not_blocked_while_redis_gives_no_answer() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, market) = (ManualClock::new(), Market::new(Held::Nowhere));
    let cache = process(&server, &clock, &market);
    server.signal("-STOP");
    let mut task = ask(&cache, 1);
    // The second poll hands the fetch to the thread.
    while task.is_woken() {
        assert!(task.poll().is_pending());
    }
    // A trip on the thread of the task would have ended by now, and its request would be sent.
    assert_eq!(market.sent().len(), 0);
    server.signal("-CONT");
    assert_eq!(price(task.run()), 1);
}

#[test]
fn a_fetch_that_is_dropped_ends_its_claim() {
    for held in [Held::InLane, Held::InFlight] {
        let Some(server) = RedisServer::start() else { return };
        let (clock, slow, fast) =
            (ManualClock::new(), Market::new(held), Market::new(Held::Nowhere));
        let [first, second] = [&slow, &fast].map(|market| process(&server, &clock, market));
        let mut asking = ask(&first, 1);
        match held {
            Held::InLane => poll_until(&mut asking, || slow.has_begun()),
            Held::InFlight | Held::Nowhere => {
                poll_until(&mut asking, || slow.sent().len() == 1);
            }
        }
        drop(asking);
        // The clock stands still: to wait for the end of a lease would not end.
        assert_eq!(price(ask(&second, 1).run()), 1, "{held:?}");
        assert_eq!(fast.sent().len(), 1);
        // The first process is whole, and takes the value of the other one.
        assert_eq!(price(ask(&first, 1).run()), 1);
        assert_eq!(first.stats().shared, 1, "{held:?}");
    }
}

#[test]
fn a_fetch_that_is_dropped_before_it_is_decided_leaves_no_claim() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, market) = (ManualClock::new(), Market::new(Held::Nowhere));
    let [first, second] = [(); 2].map(|()| process(&server, &clock, &market));
    server.signal("-STOP");
    let mut asking = ask(&first, 1);
    while asking.is_woken() {
        assert!(asking.poll().is_pending());
    }
    drop(asking);
    server.signal("-CONT");
    assert_eq!(price(ask(&second, 1).run()), 1);
    assert_eq!(price(ask(&first, 2).run()), 2);
}

/// Advances the clock until the process that has the fetch has looked what others want. So it has the fetch for another lease.
fn look_again(server: &RedisServer, clock: &ManualClock) {
    let lease = || server.send("HGET lanekeeper:{a}:quote-state until");
    let before = lease();
    while lease() == before {
        clock.advance(millis(10));
        std::thread::sleep(millis(5));
    }
}

/// A process whose request waits for long, or whose task is not polled, does not keep the others from sharing.
#[test]
fn a_claim_is_not_renewed_for_ever() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, slow, fast) =
        (ManualClock::new(), Market::new(Held::InLane), Market::new(Held::Nowhere));
    let [first, second, third] =
        [&slow, &fast, &fast].map(|market| process(&server, &clock, market));
    let mut own = ask(&first, 1);
    poll_until(&mut own, || slow.has_begun());
    look_again(&server, &clock);
    // It looks for 3 s, and what it has then lasts for another 3 s. In small steps: a claim may be renewed while it lasts.
    for _ in 0..140 {
        clock.advance(millis(50));
        std::thread::sleep(millis(5));
    }
    assert_eq!(price(ask(&second, 1).run()), 1);
    wait_until_kept(&server, "quote:NSE:S1");
    assert_eq!(price(ask(&third, 1).run()), 1);
    assert_eq!(fast.sent().len(), 1);
    // The first one sends its request nevertheless, if it is still wanted.
    slow.open();
    assert_eq!(price(own.run()), 1);
    assert_eq!(slow.sent().len(), 1);
}

#[test]
fn what_another_process_wants_is_in_a_request_that_waits_in_its_lane() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, slow, fast) =
        (ManualClock::new(), Market::new(Held::InLane), Market::new(Held::Nowhere));
    let [first, second] = [&slow, &fast].map(|market| process(&server, &clock, market));
    let mut own = ask(&first, 10);
    poll_until(&mut own, || slow.has_begun());
    let mut others = ask(&second, 20);
    poll_until(&mut others, || !server.send("ZCARD lanekeeper:{a}:quote-wanted").starts_with(":0"));
    // The first process looks twice: then it has noted what it saw first.
    for _ in 0..2 {
        look_again(&server, &clock);
    }
    slow.open();
    assert_eq!(price(own.run()), 1);
    let mut sent = slow.sent();
    sent[0].sort();
    assert_eq!(sent, [vec![share(10), share(20)]]);
    // While the clock stands still, the second process looks again every millisecond.
    assert_eq!(price(others.run()), 1);
    assert_eq!(fast.sent().len(), 0);
    // The instrument is not one of that process.
    assert_eq!(first.stats().entries, 1);
}

#[test]
fn the_age_of_a_quote_counts_from_its_request_and_not_from_the_claim() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, slow, fast) =
        (ManualClock::new(), Market::new(Held::InLane), Market::new(Held::Nowhere));
    clock.advance(secs(100));
    let [first, second] = [&slow, &fast].map(|market| process(&server, &clock, market));
    let mut own = ask(&first, 1);
    poll_until(&mut own, || slow.has_begun());
    // Redis says nothing while the request waits in its lane for 2 s.
    server.signal("-STOP");
    clock.advance(secs(2));
    slow.open();
    let own = own.run().unwrap();
    server.signal("-CONT");
    wait_until_kept(&server, "quote:NSE:S1");
    clock.advance(secs(1));
    let shared = ask(&second, 1).run().unwrap();
    assert_eq!((fast.sent().len(), shared.cached), (0, true));
    let seems_older = own.fetched_at.unwrap().duration_since(shared.fetched_at.unwrap());
    // Twice 2 ms and a thousandth, of 2 s and of 1 s.
    let bounds = SignedDuration::ZERO..=SignedDuration::from_millis(8);
    assert!(bounds.contains(&seems_older), "{seems_older:?}");
}

#[test]
fn tasks_get_the_values_of_another_process_also_if_none_polls_the_fetch() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, market) = (ManualClock::new(), Market::new(Held::Nowhere));
    let [first, second] = [(); 2].map(|()| process(&server, &clock, &market));
    assert_eq!(price(ask(&first, 1).run()), 1);
    wait_until_kept(&server, "quote:NSE:S1");
    // Nothing is decided while both are polled.
    server.signal("-STOP");
    let mut tasks = [(); 2].map(|()| ask(&second, 1));
    while tasks.iter().any(Task::is_woken) {
        for task in tasks.iter_mut().filter(|task| task.is_woken()) {
            assert!(task.poll().is_pending());
        }
    }
    server.signal("-CONT");
    // Whichever of them polls the fetch, the other one needs it no more.
    until(|| tasks.iter().all(Task::is_woken));
    for task in &mut tasks {
        assert_eq!(price(task.run()), 1);
    }
    assert_eq!(market.sent().len(), 1);
}

#[test]
fn a_cache_that_is_dropped_shares_its_last_quote_and_ends_its_thread() {
    let Some(server) = RedisServer::start() else { return };
    let (clock, market) = (ManualClock::new(), Market::new(Held::InFlight));
    let cache = process(&server, &clock, &market);
    let mut asking = ask(&cache, 1);
    poll_until(&mut asking, || market.sent().len() == 1);
    server.signal("-STOP");
    market.open();
    assert_eq!(price(asking.run()), 1);
    drop(asking);
    std::thread::scope(|scope| {
        let dropping = scope.spawn(|| drop(cache));
        std::thread::sleep(millis(50));
        assert!(!dropping.is_finished(), "the quote cannot be shared yet");
        server.signal("-CONT");
    });
    // The thread kept the broker, and so the market.
    assert_eq!(Arc::strong_count(&market), 1);
    assert!(server.send("EXISTS lanekeeper:{a}:quote:NSE:S1").starts_with(":1"));
}
