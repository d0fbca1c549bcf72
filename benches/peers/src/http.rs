//! Three of the limiters over real HTTP and the real clock, against the strict simulator on loopback.

use std::error::Error;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use lanekeeper::{Broker, BrokerError, BrokerProxy, Kite, PriorUsage};
use lanekeeper_simulator::SimulatedExchange;

use crate::broker::LIMIT;
use crate::crowd::CALLERS;

const LENGTH: Duration = Duration::from_secs(15);
/// Each way: the minimum, and the mean of what comes on top.
const LATENCY: Duration = Duration::from_millis(40);
const JITTER: Duration = Duration::from_millis(30);
const LANE: &str = "transactional";

/// The result of a run.
pub struct Run {
    pub name: &'static str,
    pub arrived: usize,
    pub refused: usize,
    /// Calls that ended in an error other than a refusal.
    pub failed: usize,
    pub used: f64,
    pub bound: f64,
    /// From a caller's first attempt to the first answer that was no refusal, sorted.
    answered: Vec<Duration>,
}

impl Run {
    /// Returns the time after which `percent` of the callers had their answer, in seconds.
    pub fn answered(&self, percent: usize) -> f64 {
        let index =
            (self.answered.len() * percent / 100).min(self.answered.len().saturating_sub(1));
        self.answered.get(index).map_or(0.0, Duration::as_secs_f64)
    }
}

type Ask<'a> = &'a (dyn Fn() -> Result<(), BrokerError> + Sync);

/// Runs them one after the other, each on a simulator of its own.
///
/// # Errors
/// If the simulator does not start, or the broker cannot be built.
pub fn run() -> Result<Vec<Run>, Box<dyn Error>> {
    let mut runs = Vec::new();

    let (exchange, kite) = start()?;
    let worker = Mutex::new(());
    let naive = || {
        let _busy = worker.lock();
        let answer = kite.margins().map(drop);
        thread::sleep(Duration::from_secs(1) / LIMIT);
        answer
    };
    runs.push(crowd("execute, then sleep", &exchange, &naive)?);

    let (exchange, kite) = start()?;
    let limit = NonZeroU32::new(LIMIT).unwrap_or(NonZeroU32::MIN);
    let limiter = governor::RateLimiter::direct(governor::Quota::per_second(limit));
    let clock = DefaultClock::default();
    let governed = || {
        while let Err(not_until) = limiter.check() {
            thread::sleep(not_until.wait_time_from(clock.now()));
        }
        kite.margins().map(drop)
    };
    runs.push(crowd("governor", &exchange, &governed)?);

    let (exchange, kite) = start()?;
    let proxy = BrokerProxy::builder(kite).prior_usage(PriorUsage::None).build()?;
    let kept = || proxy.margins().map(drop);
    runs.push(crowd("**lanekeeper**", &exchange, &kept)?);
    Ok(runs)
}

fn start() -> Result<(SimulatedExchange, Kite), Box<dyn Error>> {
    let exchange = SimulatedExchange::builder().latency(LATENCY).jitter(JITTER).seed(1).start()?;
    let url = exchange.base_url();
    let kite = Kite::builder().api_key("key").access_token("token").base_url(url).build()?;
    Ok((exchange, kite))
}

/// Runs callers that ask again as soon as they are answered, and after a refusal at once.
fn crowd(
    name: &'static str,
    exchange: &SimulatedExchange,
    ask: Ask<'_>,
) -> Result<Run, Box<dyn Error>> {
    let (stop, answered) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let failed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut asked = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    match ask() {
                        Ok(()) => {
                            let took = asked.elapsed();
                            answered.lock().map(|mut all| all.push(took)).unwrap_or_default();
                            asked = Instant::now();
                        }
                        Err(BrokerError::Throttled { .. }) => {}
                        Err(_) => drop(failed.fetch_add(1, Ordering::Relaxed)),
                    }
                }
            });
        }
        thread::sleep(LENGTH);
        stop.store(true, Ordering::Relaxed);
    });
    let mut answered = answered.into_inner()?;
    answered.sort_unstable();
    // Only the arrivals of the first quarter of a minute count. Calls in flight at its end are no part of it.
    let all = exchange.arrivals();
    let began = all.iter().map(|arrival| arrival.at).min().unwrap_or_default();
    let arrivals: Vec<_> = all.iter().filter(|arrival| arrival.at < began + LENGTH).collect();
    let counted = arrivals.iter().filter(|arrival| arrival.lane == Some(LANE));
    let accepted = counted.filter(|arrival| arrival.admitted).count();
    let refused = arrivals.iter().filter(|arrival| !arrival.admitted).count();
    let capacity = f64::from(LIMIT) * LENGTH.as_secs_f64();
    let bound = 1.0 / (1.0 + 2.0 * JITTER.as_secs_f64());
    let used = accepted as f64 / capacity;
    Ok(Run {
        name,
        arrived: arrivals.len(),
        refused,
        failed: failed.into_inner(),
        used,
        bound,
        answered,
    })
}
