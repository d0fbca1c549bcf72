//! The quote cache for asynchronous brokers: the tasks that wait make the requests. Tasks are polled by hand, in virtual time.
#![cfg(all(feature = "async", feature = "mock"))]
#![allow(clippy::unwrap_used)]

mod support;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::broker::{
    AsyncBroker, AsyncBrokerProxy, BrokerError, ErrorDetail, ImmediateBroker, Instrument,
    MockBroker, OrderId, OrderRequest, OrderTags, Positions, Quote, Quotes, Side, lanes,
};
use lanekeeper::cache::{AsyncQuoteCache, BatchConfig, GetOptions};
use lanekeeper::clock::ManualClock;
use lanekeeper::quota::{Limits, Moment, Quota};
use lanekeeper::{CallOptions, delegate_async_broker};
use proptest::prelude::*;
use support::lanes::{until, within_reason};
use support::tasks::Task;

const TTL: Duration = Duration::from_secs(5);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn instrument(number: usize) -> Instrument {
    Instrument::new("NSE", format!("S{number}"))
}

/// What a request is answered with. The price of a quote is the number of its request, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Quotes,
    Error,
    Panic,
}

#[derive(Default)]
struct Requests {
    /// When each was sent, and its names.
    sent: Vec<(Moment, Vec<Instrument>)>,
    answers: HashMap<usize, Answer>,
    wakers: HashMap<usize, Waker>,
    /// The requests whose futures were dropped before they were answered.
    dropped: Vec<usize>,
    /// Each request is answered at once.
    is_open: bool,
    /// Each request wakes its task at once, and is answered when it is polled again.
    answers_when_polled_again: bool,
}

/// A broker whose requests are answered when the test says so.
struct Market {
    clock: ManualClock,
    requests: Mutex<Requests>,
}

impl Market {
    fn sent(&self) -> usize {
        self.requests.lock().unwrap().sent.len()
    }

    fn names(&self, request: usize) -> HashSet<Instrument> {
        self.requests.lock().unwrap().sent[request - 1].1.iter().cloned().collect()
    }

    fn sent_at(&self, request: usize) -> Moment {
        self.requests.lock().unwrap().sent[request - 1].0
    }

    fn has_failed(&self) -> bool {
        self.requests.lock().unwrap().answers.values().any(|answer| *answer != Answer::Quotes)
    }

    fn dropped(&self) -> Vec<usize> {
        self.requests.lock().unwrap().dropped.clone()
    }

    /// Answers a request, which may not have been sent yet.
    fn answer(&self, request: usize, answer: Answer) {
        let waker = {
            let mut requests = self.requests.lock().unwrap();
            requests.answers.insert(request, answer);
            requests.wakers.remove(&request)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Answers all requests from now on at once.
    fn open(&self) {
        let wakers: Vec<_> = {
            let mut requests = self.requests.lock().unwrap();
            requests.is_open = true;
            requests.wakers.drain().collect()
        };
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// Notes that a request was dropped before its answer.
struct Sent<'a>(&'a Market, usize, bool);

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.2 {
            self.0.requests.lock().unwrap().dropped.push(self.1);
        }
    }
}

struct Held {
    inner: ImmediateBroker<MockBroker>,
    market: Arc<Market>,
}

#[lanekeeper::async_trait]
impl AsyncBroker for Held {
    delegate_async_broker! { to self.inner; except quotes, quotes_of, quote, quote_after, ltp, ohlc }

    async fn quotes(&self, instruments: &[Instrument]) -> Result<Quotes, BrokerError> {
        let number = {
            let mut requests = self.market.requests.lock().unwrap();
            requests.sent.push((self.market.clock.now(), instruments.to_vec()));
            requests.sent.len()
        };
        let mut sent = Sent(&self.market, number, false);
        let answer = poll_fn(|context| {
            let mut requests = self.market.requests.lock().unwrap();
            if let Some(answer) = requests.answers.get(&number) {
                return Poll::Ready(*answer);
            }
            if requests.is_open {
                return Poll::Ready(Answer::Quotes);
            }
            if requests.answers_when_polled_again {
                requests.answers.insert(number, Answer::Quotes);
                drop(requests);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            requests.wakers.insert(number, context.waker().clone());
            Poll::Pending
        })
        .await;
        sent.2 = true;
        match answer {
            Answer::Quotes => {
                let quote = |asked: &Instrument| Quote::new(asked.clone(), number as u64);
                Ok(instruments.iter().map(|asked| (asked.clone(), quote(asked))).collect())
            }
            Answer::Error => Err(BrokerError::Transient(ErrorDetail::new("no line"))),
            // Without a word of the panic hook.
            Answer::Panic => std::panic::resume_unwind(Box::new("a bug")),
        }
    }
}

fn held(clock: &ManualClock) -> (Held, Arc<Market>) {
    let market = Arc::new(Market { clock: clock.clone(), requests: Mutex::default() });
    (Held { inner: ImmediateBroker(MockBroker::new()), market: Arc::clone(&market) }, market)
}

type Bare = AsyncQuoteCache<Held>;

/// Returns a cache without lanes.
fn bare(clock: &ManualClock, configure: impl FnOnce(&mut BatchConfig)) -> (Bare, Arc<Market>) {
    let (held, market) = held(clock);
    let cache = AsyncQuoteCache::builder(held).ttl(TTL).clock(clock.clone()).configure(configure);
    (cache.build_async(), market)
}

type Paced = AsyncQuoteCache<AsyncBrokerProxy<Held>>;

/// Returns a cache in front of lanes without quotas. A request takes 60 s at most.
fn paced(clock: &ManualClock) -> (Paced, Arc<Market>) {
    let (held, market) = held(clock);
    let unlimited = |limits: Limits, lane| limits.lane(lane, Quota::unlimited());
    let limits = lanes::ALL.into_iter().fold(Limits::new(), unlimited);
    let proxy = AsyncBrokerProxy::builder(held)
        .limits(limits.budget(lanes::ORDERS, Quota::unlimited()))
        .clock(clock.clone())
        .quote_ttl(TTL)
        .request_deadline(secs(60));
    (proxy.build().unwrap(), market)
}

type Asked = Task<Result<Quote, BrokerError>>;

fn quote<B: AsyncBroker + 'static>(broker: &AsyncQuoteCache<B>, number: usize) -> Asked {
    let broker = broker.clone();
    Task::new(async move { broker.quote(&instrument(number)).await })
}

/// Polls tasks as long as any of them is woken. Returns their answers.
fn run_all<T>(tasks: &mut [Task<T>]) -> Vec<Poll<T>> {
    let mut answers: Vec<_> = tasks.iter_mut().map(Task::poll).collect();
    while let Some(index) =
        (0..tasks.len()).find(|index| answers[*index].is_pending() && tasks[*index].is_woken())
    {
        answers[index] = tasks[index].poll();
    }
    answers
}

fn price(answer: Poll<Result<Quote, BrokerError>>) -> u64 {
    match answer {
        Poll::Ready(quote) => quote.unwrap().last_price.try_into().unwrap(),
        Poll::Pending => panic!("it waits"),
    }
}

/// Begins tasks, and polls them until their request is under way.
fn begun<B: AsyncBroker + 'static>(
    broker: &AsyncQuoteCache<B>,
    numbers: impl IntoIterator<Item = usize>,
) -> Vec<Asked> {
    let mut tasks: Vec<_> = numbers.into_iter().map(|number| quote(broker, number)).collect();
    assert!(run_all(&mut tasks).iter().all(Poll::is_pending));
    tasks
}

#[test]
fn a_hundred_tasks_with_overlapping_names_make_one_request() {
    let clock = ManualClock::new();
    let (broker, market) = paced(&clock);
    let mut tasks: Vec<_> = (0..100)
        .map(|number| {
            let (broker, names) =
                (broker.clone(), [number % 60, (number + 1) % 60].map(instrument));
            Task::new(async move { broker.quotes(&names).await })
        })
        .collect();
    assert!(run_all(&mut tasks).iter().all(Poll::is_pending));
    assert_eq!((market.sent(), market.names(1).len()), (1, 60));
    market.answer(1, Answer::Quotes);
    for answer in run_all(&mut tasks) {
        let Poll::Ready(quotes) = answer else { panic!("it waits") };
        assert_eq!(quotes.unwrap().len(), 2);
    }
    let stats = broker.stats();
    assert_eq!((market.sent(), stats.batches, stats.lookups()), (1, 1, 200));
    // From memory, with the first poll.
    assert_eq!(price(quote(&broker, 7).poll()), 1);
}

#[test]
fn what_is_asked_for_while_the_request_waits_in_its_lane_goes_with_it() {
    let clock = ManualClock::new();
    let (broker, market) = paced(&clock);
    let lane = broker.inner().quote_lane();
    lane.pause();
    let mut tasks = begun(&broker, [1]);
    until(|| lane.queued() == 1);
    tasks.extend(begun(&broker, 2..20));
    assert_eq!(market.sent(), 0);
    lane.resume();
    for task in &mut tasks {
        let _ = task.poll();
    }
    while market.sent() == 0 {
        for task in tasks.iter_mut().filter(|task| task.is_woken()) {
            assert!(task.poll().is_pending());
        }
        thread::yield_now();
    }
    assert_eq!(market.names(1).len(), 19);
    market.answer(1, Answer::Quotes);
    assert!(run_all(&mut tasks).into_iter().all(|answer| price(answer) == 1));
}

#[test]
fn another_task_begins_the_request_if_the_first_one_is_dropped_before() {
    let (broker, market) = bare(&ManualClock::new(), |_| {});
    let mut first = quote(&broker, 1);
    assert!(first.poll().is_pending() && first.is_woken());
    // It waits, and was not polled since others came.
    let mut second = quote(&broker, 2);
    assert!(second.poll().is_pending());
    drop(first);
    market.open();
    assert_eq!(price(Poll::Ready(second.run())), 1);
    assert_eq!(market.sent(), 1);
}

#[test]
fn a_request_in_its_lane_goes_on_if_its_task_is_dropped() {
    let (broker, market) = paced(&ManualClock::new());
    let lane = broker.inner().quote_lane();
    lane.pause();
    let mut tasks = begun(&broker, [1, 2, 3]);
    until(|| lane.queued() == 1);
    // The task that was polled last polls the request.
    drop(tasks.pop());
    assert_eq!(lane.queued(), 1, "it keeps its place");
    // Nor does it matter that the one which was woken to go on is dropped before it is polled.
    let woken: Vec<_> = tasks.iter().map(Task::is_woken).collect();
    assert_eq!(woken, [true, false]);
    drop(tasks.remove(0));
    assert!(tasks[0].is_woken() && tasks[0].poll().is_pending());
    market.open();
    lane.resume();
    assert_eq!((price(Poll::Ready(tasks[0].run())), lane.queued()), (1, 0));
    assert_eq!(market.sent(), 1);
}

#[test]
fn a_request_in_flight_goes_on_if_its_task_is_dropped() {
    let (broker, market) = bare(&ManualClock::new(), |_| {});
    let mut tasks = begun(&broker, [1, 2, 3]);
    // The task that was polled last polls the request. The answer wakes it while it is dropped.
    market.answer(1, Answer::Quotes);
    assert!(tasks[2].is_woken());
    drop(tasks.pop());
    assert!(tasks[0].is_woken());
    drop(tasks.remove(0));
    assert_eq!((price(Poll::Ready(tasks[0].run())), market.sent()), (1, 1));
    assert!(market.dropped().is_empty());
    // The answer is kept for all names of the request.
    assert!([1, 2, 3].iter().all(|number| price(quote(&broker, *number).poll()) == 1));
}

#[test]
fn a_request_is_dropped_with_the_last_task_that_waits() {
    let (broker, market) = paced(&ManualClock::new());
    let lane = broker.inner().quote_lane();
    lane.pause();
    let tasks = begun(&broker, [1, 2]);
    until(|| lane.queued() == 1);
    drop(tasks);
    until(|| lane.queued() == 0);
    lane.resume();
    // In flight.
    let tasks = begun(&broker, [1, 2]);
    until(|| market.sent() == 1);
    drop(tasks);
    assert_eq!(market.dropped(), [1]);
    let mut again = begun(&broker, [1]);
    until(|| market.sent() == 2);
    market.answer(2, Answer::Quotes);
    assert_eq!(price(Poll::Ready(again[0].run())), 2);
}

#[test]
fn a_task_leaves_at_its_deadline_and_the_request_goes_on_for_the_others() {
    let clock = ManualClock::new();
    let (broker, market) = paced(&clock);
    let hurried = broker.with(CallOptions::new().deadline(secs(1)));
    // Once the one with the deadline came last, so that it polls the request.
    for in_turn in [[false, true], [true, false]] {
        let before = market.sent();
        let mut tasks: Vec<_> = in_turn
            .map(|is_hurried| quote(if is_hurried { &hurried } else { &broker }, 9))
            .into_iter()
            .collect();
        assert!(run_all(&mut tasks).iter().all(Poll::is_pending));
        assert_eq!(market.sent(), before + 1);
        clock.advance(secs(1));
        let index = in_turn.iter().position(|is_hurried| *is_hurried).unwrap();
        let error = tasks[index].run().unwrap_err();
        assert!(matches!(error, BrokerError::Transient(_)), "{error}");
        drop(tasks.remove(index));
        assert!(tasks[0].is_woken() && tasks[0].poll().is_pending(), "it goes on");
        market.answer(before + 1, Answer::Quotes);
        assert_eq!(price(Poll::Ready(tasks[0].run())), before as u64 + 1);
        clock.advance(TTL);
    }
    assert_eq!(broker.stats().timed_out, 2);
    let lane = broker.inner().quote_lane();
    lane.pause();
    let mut queued = Task::waiting(async move { hurried.quote(&instrument(1)).await });
    queued.poll_once_woken().is_pending().then_some(()).unwrap();
    clock.advance(secs(1));
    let error = queued.run().unwrap_err();
    assert!(matches!(error, BrokerError::NotSent(_)), "{error}");
}

#[test]
fn a_request_that_hangs_fails_at_its_own_deadline_and_the_next_one_is_sent() {
    let clock = ManualClock::new();
    let (broker, market) = paced(&clock);
    let mut tasks = begun(&broker, [1, 2]);
    until(|| market.sent() == 1);
    clock.advance(secs(60));
    until(|| tasks.iter().any(Task::is_woken));
    for answer in run_all(&mut tasks) {
        let Poll::Ready(Err(error)) = answer else { panic!("{answer:?}") };
        assert!(error.to_string().contains("no answer after 60s"), "{error}");
        assert!(matches!(error, BrokerError::Transient(_)), "{error}");
    }
    assert_eq!(market.dropped(), [1]);
    let mut again = begun(&broker, [1]);
    until(|| market.sent() == 2);
    market.answer(2, Answer::Quotes);
    assert_eq!(price(Poll::Ready(again[0].run())), 2);
}

#[test]
fn a_task_that_is_late_begins_no_request() {
    let clock = ManualClock::new();
    let (broker, market) = bare(&clock, |_| {});
    let hurried = broker.with_options(GetOptions::new().deadline(secs(1)));
    let mut task = quote(&hurried, 1);
    assert!(task.poll().is_pending());
    clock.advance(secs(1));
    let Poll::Ready(Err(error)) = task.poll() else { panic!("it waits") };
    assert!(matches!(error, BrokerError::NotSent(_)), "{error}");
    assert_eq!(market.sent(), 0);
}

/// As with `select!` on two lookups, of which only the second one is polled in the end.
#[test]
fn a_task_that_comes_later_takes_over_from_one_that_is_not_polled() {
    let (broker, market) = bare(&ManualClock::new(), |_| {});
    // Before the request begins, and while it is in flight.
    let mut stuck = quote(&broker, 1);
    assert!(stuck.poll().is_pending());
    let mut second = begun(&broker, [2]);
    assert_eq!(market.sent(), 1);
    let mut third = begun(&broker, [2]);
    market.answer(1, Answer::Quotes);
    assert!(third[0].is_woken());
    assert_eq!(price(Poll::Ready(third[0].run())), 1);
    assert_eq!(price(Poll::Ready(second[0].run())), 1);
    assert_eq!(price(stuck.poll()), 1);
}

#[test]
fn an_error_and_a_panic_are_answers_to_all_and_no_end() {
    let (broker, market) = bare(&ManualClock::new(), |_| {});
    for (request, answer, text) in [(1, Answer::Panic, "a bug"), (2, Answer::Error, "no line")] {
        let mut tasks = begun(&broker, [1, 2]);
        market.answer(request, answer);
        for answer in run_all(&mut tasks) {
            let Poll::Ready(Err(error)) = answer else { panic!("{answer:?}") };
            assert!(matches!(error, BrokerError::Transient(_)), "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }
    market.open();
    assert_eq!(price(Poll::Ready(begun_one(&broker).run())), 3);
}

fn begun_one(broker: &Bare) -> Asked {
    let mut task = quote(broker, 1);
    assert!(task.poll().is_pending());
    task
}

#[test]
fn a_name_that_is_invalidated_in_flight_is_requested_again() {
    let (broker, market) = bare(&ManualClock::new(), |_| {});
    let mut tasks = begun(&broker, [1]);
    broker.invalidate(&instrument(1));
    tasks.extend(begun(&broker, [1]));
    market.open();
    assert_eq!(run_all(&mut tasks).into_iter().map(price).collect::<Vec<_>>(), [1, 2]);
}

thread_local! {
    /// A task that is polled while another one looks for work.
    static COMES: RefCell<Option<Asked>> = const { RefCell::new(None) };
    static CAME: RefCell<Option<Asked>> = const { RefCell::new(None) };
}

#[test]
fn what_is_asked_for_while_a_task_looks_for_work_is_not_missed() {
    let clock = ManualClock::new();
    let (held, market) = held(&clock);
    let has_capacity = || {
        if let Some(mut task) = COMES.take() {
            assert!(task.poll().is_pending());
            CAME.set(Some(task));
        }
        false
    };
    let cache = AsyncQuoteCache::builder(held).ttl(TTL).clock(clock.clone());
    let cache = cache.configure(|cache| cache.refresh_ahead = Some(0.8));
    let broker = cache.refresh_if(has_capacity).build_async();
    market.open();
    assert_eq!(price(Poll::Ready(begun_one(&broker).run())), 1);
    let mut refreshes = Task::waiting(broker.refreshes());
    clock.advance(secs(4));
    assert_eq!(price(quote(&broker, 1).poll()), 1);
    COMES.set(Some(quote(&broker, 2)));
    while refreshes.is_woken() {
        assert!(refreshes.poll().is_pending());
    }
    let mut came = CAME.take().unwrap();
    assert!(came.is_woken());
    assert_eq!(price(came.poll()), 2);
}

#[test]
fn all_other_calls_are_forwarded() {
    let mut mock = MockBroker::new();
    mock.expect_place_order().times(1).returning(|_| Ok(OrderId::new("7")));
    mock.expect_positions().times(1).returning(|| Ok(Positions::default().into()));
    mock.expect_order_tags().times(1).returning(|| OrderTags::echoed(20));
    let broker = AsyncQuoteCache::new(ImmediateBroker(mock));
    let broker: Arc<dyn AsyncBroker> = Arc::new(broker);
    assert_eq!(broker.order_tags(), OrderTags::echoed(20));
    let mut calls = Task::new(async move {
        let order = OrderRequest::market(instrument(1), Side::Buy, 1);
        (broker.place_order(&order).await, broker.positions().await.is_ok())
    });
    assert_eq!(calls.poll(), Poll::Ready((Ok(OrderId::new("7")), true)));
}

/// A task that waits for the next quote, and how often it was polled.
struct Follower {
    task: Asked,
    polls: usize,
}

#[test]
fn tasks_that_wait_for_the_next_quote_are_polled_a_few_times_in_each_ttl() {
    const ROUNDS: usize = 8;
    let clock = ManualClock::new();
    let (broker, market) = bare(&clock, |_| {});
    market.open();
    let follow = |seen| {
        let broker = broker.clone();
        Task::new(async move { broker.quote_after(&instrument(1), seen).await })
    };
    let mut followers: Vec<_> =
        (0..20).map(|_| Follower { task: follow(None), polls: 1 }).collect();
    followers.iter_mut().for_each(|follower| assert!(follower.task.poll().is_pending()));
    for round in 1..=ROUNDS {
        let mut waiting: Vec<usize> = (0..followers.len()).collect();
        while !waiting.is_empty() {
            waiting.retain(|index| {
                let follower = &mut followers[*index];
                if !follower.task.is_woken() {
                    thread::yield_now();
                    return true;
                }
                follower.polls += 1;
                let Poll::Ready(quote) = follower.task.poll() else { return true };
                let quote = quote.unwrap();
                assert_eq!(quote.last_price, (round as u64).into());
                follower.task = follow(quote.fetched_at);
                follower.polls += 1;
                assert!(follower.task.poll().is_pending());
                false
            });
        }
        assert_eq!(market.sent(), round);
        clock.advance(TTL);
    }
    let polls: usize = followers.iter().map(|follower| follower.polls).sum();
    // One that begins the wait, one when the quote is due, one when the request may begin, and one for the answer.
    assert!(polls <= 20 * (ROUNDS + 1) * 4, "{polls} polls");
}

#[test]
fn a_subscription_stays_a_waiter_if_its_wait_is_dropped() {
    let clock = ManualClock::new();
    let (broker, market) = bare(&clock, |_| {});
    let news = Arc::new(tokio::sync::Mutex::new(broker.subscribe(&[1, 2].map(instrument))));
    let next = || {
        let news = Arc::clone(&news);
        Task::new(async move { news.lock().await.next().await })
    };
    let mut wait = next();
    assert!(run_all(std::slice::from_mut(&mut wait))[0].is_pending());
    assert_eq!(market.sent(), 1);
    drop(wait);
    assert_eq!(market.dropped(), [1]);
    // Its names go with the next request of another task.
    let mut other = begun(&broker, [3]);
    assert_eq!(market.names(2), [1, 2, 3].map(instrument).into());
    market.open();
    assert_eq!(price(run_all(&mut other).remove(0)), 2);
    let quotes = next().poll();
    let Poll::Ready(Some(Ok(quotes))) = quotes else { panic!("{quotes:?}") };
    assert_eq!(quotes.len(), 2);
}

#[test]
fn a_subscription_ends_with_the_last_handle_to_the_cache() {
    let (broker, market) = bare(&ManualClock::new(), |_| {});
    market.open();
    let mut news = broker.subscribe(&[instrument(1)]);
    let mut all = Task::waiting(async move {
        let mut items = 0;
        while let Some(quotes) = news.next().await {
            items += quotes.unwrap().len();
        }
        (items, news.is_closed())
    });
    while all.is_woken() {
        assert!(all.poll().is_pending());
    }
    drop(broker);
    assert_eq!(all.run(), (1, true));
}

#[test]
fn stale_quotes_are_returned_only_while_a_task_makes_the_refreshes() {
    let clock = ManualClock::new();
    let (broker, market) = bare(&clock, |cache| cache.stale_while_revalidate = secs(5));
    market.open();
    assert_eq!(price(Poll::Ready(begun_one(&broker).run())), 1);
    clock.advance(TTL);
    assert_eq!(price(Poll::Ready(begun_one(&broker).run())), 2, "no task makes refreshes");

    let mut refreshes = Task::waiting(broker.refreshes());
    clock.advance(TTL);
    assert_eq!(price(quote(&broker, 1).poll()), 2, "it is stale");
    while refreshes.is_woken() {
        assert!(refreshes.poll().is_pending());
    }
    assert_eq!((price(quote(&broker, 1).poll()), market.sent()), (3, 3));
    drop(refreshes);
    clock.advance(TTL);
    assert!(quote(&broker, 1).poll().is_pending());
}

#[test]
fn a_refresh_ahead_of_time_is_made_by_the_task_for_refreshes_which_ends_with_the_cache() {
    let clock = ManualClock::new();
    let (broker, market) = bare(&clock, |cache| cache.refresh_ahead = Some(0.8));
    market.open();
    let mut refreshes = Task::waiting(broker.refreshes());
    assert_eq!(price(Poll::Ready(begun_one(&broker).run())), 1);
    for round in 2..5 {
        clock.advance(secs(4));
        assert_eq!(price(quote(&broker, 1).poll()), round - 1);
        while refreshes.is_woken() {
            assert!(refreshes.poll().is_pending());
        }
        assert_eq!(price(quote(&broker, 1).poll()), round);
    }
    drop(broker);
    refreshes.run();
}

#[test]
fn tasks_of_an_executor_share_a_request_on_the_clock_of_the_machine() {
    let (held, market) = held(&ManualClock::new());
    let broker = AsyncQuoteCache::builder(held).build_async();
    market.open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let broker = broker.clone();
                tokio::spawn(async move { broker.ltp(&instrument(number % 50)).await })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap(), 1.into());
        }
    });
    assert_eq!((market.sent(), market.names(1).len()), (1, 50));
}

/// Tasks of several threads that begin, end and are dropped at any time: none of them is left without an answer.
#[test]
fn no_task_is_forgotten_however_others_leave() {
    within_reason(|| {
        let clock = ManualClock::new();
        let (broker, market) = bare(&clock, |cache| cache.ttl = Duration::ZERO);
        market.requests.lock().unwrap().answers_when_polled_again = true;
        thread::scope(|scope| {
            for seed in 0..6 {
                let broker = &broker;
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(seed);
                    for _ in 0..500 {
                        let mut task = quote(broker, rng.usize(0..20));
                        let mut answer = task.poll();
                        if rng.bool() {
                            // It leaves early.
                            for _ in 0..rng.u8(0..4) {
                                if answer.is_pending() {
                                    answer = task.poll();
                                }
                            }
                            continue;
                        }
                        if answer.is_pending() {
                            answer = Poll::Ready(task.run());
                        }
                        price(answer);
                    }
                });
            }
        });
        assert!(!market.dropped().is_empty() || market.sent() > 100);
    });
}

/// A step of the property.
#[derive(Debug, Clone)]
enum Step {
    Begin { names: Vec<usize>, max_age: Option<u64>, deadline: Option<u64> },
    Poll(usize),
    Drop(usize),
    Answer(Answer),
    Advance(u64),
    Invalidate(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let names = prop::collection::vec(0..6_usize, 1..4);
    let max_age = prop::option::of(prop_oneof![Just(0), 0..8000_u64]);
    let deadline = prop::option::weighted(0.3, 1..6000_u64);
    let begin = (names, max_age, deadline).prop_map(|(names, max_age, deadline)| Step::Begin {
        names,
        max_age,
        deadline,
    });
    let answer =
        prop_oneof![30 => Just(Answer::Quotes), 1 => Just(Answer::Error), 1 => Just(Answer::Panic)];
    prop_oneof![
        4 => begin,
        8 => any::<usize>().prop_map(Step::Poll),
        2 => any::<usize>().prop_map(Step::Drop),
        4 => answer.prop_map(Step::Answer),
        2 => (1..7000_u64).prop_map(Step::Advance),
        1 => (0..6_usize).prop_map(Step::Invalidate),
    ]
}

/// The hard limit, in milliseconds.
const HARD: u64 = 10_000;

struct Lookup {
    task: Task<Result<Quotes, BrokerError>>,
    began: Moment,
    max_age: Duration,
    ends_at: Option<Moment>,
    /// When its names were invalidated before it began.
    invalidated: HashMap<Instrument, Moment>,
}

impl Lookup {
    /// Polls it, and checks what it returns. Returns whether it has ended.
    fn poll(&mut self, market: &Market) -> Result<bool, TestCaseError> {
        let Poll::Ready(answer) = self.task.poll() else { return Ok(false) };
        let Ok(quotes) = answer else { return Ok(true) };
        let now = market.clock.now();
        for (name, quote) in quotes.iter() {
            let request: usize = quote.last_price.try_into().unwrap();
            let sent = market.sent_at(request);
            let age = now.since(sent);
            prop_assert!(age <= Duration::from_millis(HARD), "{age:?}");
            // Where a deadline or an error ended the wait, a value may have outgrown the limit meanwhile.
            let ended_early = self.ends_at.is_some_and(|at| now >= at) || market.has_failed();
            let is_young = age < self.max_age || sent >= self.began || ended_early;
            prop_assert!(is_young, "{age:?} old, and {:?} is allowed", self.max_age);
            let fetched_at = quote.fetched_at.unwrap();
            let wall = lanekeeper::clock::Clock::from(market.clock.clone()).wall_clock();
            let told: Duration = wall.timestamp.duration_since(fetched_at).try_into().unwrap();
            prop_assert!(told >= age, "it is told as {told:?} old, and is {age:?} old");
            if let Some(at) = self.invalidated.get(name) {
                prop_assert!(sent >= *at, "of before it was invalidated");
            }
        }
        Ok(true)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_quote_is_too_old_and_no_task_is_left_whatever_the_order(
        steps in prop::collection::vec(step(), 1..80),
        is_paced in any::<bool>(),
    ) {
        match is_paced {
            true => any_order(steps, paced_within)?,
            false => any_order(steps, |clock| bare(clock, |cache| {
                cache.max_age = Some(Duration::from_millis(HARD));
            }))?,
        }
    }
}

fn paced_within(clock: &ManualClock) -> (Paced, Arc<Market>) {
    let (held, market) = held(clock);
    let unlimited = |limits: Limits, lane| limits.lane(lane, Quota::unlimited());
    let limits = lanes::ALL.into_iter().fold(Limits::new(), unlimited);
    let proxy = AsyncBrokerProxy::builder(held)
        .limits(limits.budget(lanes::ORDERS, Quota::unlimited()))
        .clock(clock.clone())
        .quote_ttl(TTL)
        .configure(|cache| cache.max_age = Some(Duration::from_millis(HARD)));
    (proxy.build().unwrap(), market)
}

fn any_order<B: AsyncBroker + 'static>(
    steps: Vec<Step>,
    build: impl FnOnce(&ManualClock) -> (AsyncQuoteCache<B>, Arc<Market>),
) -> Result<(), TestCaseError> {
    let clock = ManualClock::new();
    let (broker, market) = build(&clock);
    let mut lookups: Vec<Lookup> = Vec::new();
    let mut invalidated = HashMap::new();
    let mut answered = 0;
    for step in steps {
        match step {
            Step::Begin { names, max_age, deadline } => {
                let mut options = GetOptions::new();
                if let Some(max_age) = max_age {
                    options = options.max_age(Duration::from_millis(max_age));
                }
                if let Some(deadline) = deadline {
                    options = options.deadline(Duration::from_millis(deadline));
                }
                let broker = broker.with_options(options);
                let names: Vec<_> = names.into_iter().map(instrument).collect();
                let mut lookup = Lookup {
                    task: Task::new(async move { broker.quotes(&names).await }),
                    began: clock.now(),
                    max_age: max_age.map_or(TTL, Duration::from_millis),
                    ends_at: deadline.map(|limit| clock.now() + Duration::from_millis(limit)),
                    invalidated: invalidated.clone(),
                };
                if !lookup.poll(&market)? {
                    lookups.push(lookup);
                }
            }
            Step::Poll(index) if !lookups.is_empty() => {
                let index = index % lookups.len();
                if lookups[index].poll(&market)? {
                    lookups.swap_remove(index);
                }
            }
            Step::Drop(index) if !lookups.is_empty() => {
                let index = index % lookups.len();
                drop(lookups.swap_remove(index));
            }
            Step::Poll(_) | Step::Drop(_) => {}
            Step::Answer(answer) => {
                if answered < market.sent() {
                    answered += 1;
                    market.answer(answered, answer);
                }
            }
            Step::Advance(millis) => clock.advance(Duration::from_millis(millis)),
            Step::Invalidate(number) => {
                broker.invalidate(&instrument(number));
                invalidated.insert(instrument(number), clock.now());
            }
        }
    }
    // An executor polls what is woken, and nothing else. No task is left without an answer.
    market.open();
    for request in answered + 1..=market.sent() {
        market.answer(request, Answer::Quotes);
    }
    let (began, mut rounds_without) = (Instant::now(), 0);
    while !lookups.is_empty() {
        let mut index = 0;
        let mut polled = false;
        while index < lookups.len() {
            if lookups[index].task.is_woken() {
                polled = true;
                if lookups[index].poll(&market)? {
                    lookups.swap_remove(index);
                    continue;
                }
            }
            index += 1;
        }
        // A lane or the timer wakes a task on a thread of its own.
        prop_assert!(began.elapsed() < secs(3), "{} tasks are not woken", lookups.len());
        rounds_without = if polled { 0 } else { rounds_without + 1 };
        if rounds_without == 50 {
            // Or it waits before it sends a request once more.
            clock.advance(secs(1));
            rounds_without = 0;
        }
        thread::yield_now();
    }
    Ok(())
}
