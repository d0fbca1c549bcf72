//! A strict exchange in this process: a call takes 40 to 70 ms, and is counted at a random moment of that.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lanekeeper::LaneError;

/// How many calls ..
pub const LIMIT: u32 = 10;
/// .. in every interval of this length.
pub const WINDOW: Duration = Duration::from_secs(1);

/// An exchange with an exact sliding log. A refused call uses up nothing.
#[derive(Default)]
pub struct Broker {
    log: Mutex<VecDeque<Instant>>,
    observed: Mutex<Observed>,
    is_observed: AtomicBool,
}

/// What was seen of the calls that ended while the exchange was observed.
#[derive(Clone, Default)]
pub struct Observed {
    pub sent: u32,
    /// By each process.
    pub sent_by: [u32; 8],
    pub refused: u32,
    duration: Duration,
    admitted: Vec<Instant>,
}

impl Observed {
    pub fn mean_call(&self) -> Duration {
        self.duration.checked_div(self.sent).unwrap_or_default()
    }

    /// Returns how many calls were admitted in a second: the slope of the line that fits their number best. Calls come in bursts,
    /// so a count depends on how many bursts there happen to be.
    pub fn admitted_per_second(&self) -> f64 {
        let Some(first) = self.admitted.first() else { return 0.0 };
        let times: Vec<f64> = self.admitted.iter().map(|at| (*at - *first).as_secs_f64()).collect();
        let half = (times.len() - 1) as f64 / 2.0;
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let numbers = times.iter().enumerate();
        let together: f64 = numbers.map(|(index, at)| (at - mean) * (index as f64 - half)).sum();
        let alone: f64 = times.iter().map(|at| (at - mean).powi(2)).sum();
        if alone > 0.0 { together / alone } else { 0.0 }
    }
}

#[lanekeeper::proxy]
pub trait Exchange {
    /// Returns whether the call was admitted.
    #[lane(orders, write)]
    fn order(&self) -> Result<bool, LaneError>;
}

/// The way of one process to the exchange.
#[derive(Clone)]
pub struct Client {
    pub broker: Arc<Broker>,
    pub process: usize,
}

impl Exchange for Client {
    fn order(&self) -> Result<bool, LaneError> {
        let begin = Instant::now();
        let call = Duration::from_micros(fastrand::u64(40_000..=70_000));
        let arrives = call.mul_f64(fastrand::f64());
        std::thread::sleep(arrives);
        let is_admitted = self.broker.admits();
        std::thread::sleep(call.saturating_sub(begin.elapsed()));
        if self.broker.is_observed.load(Ordering::Relaxed) {
            let mut observed = self.broker.observed.lock().unwrap();
            observed.sent += 1;
            observed.sent_by[self.process] += 1;
            observed.refused += u32::from(!is_admitted);
            observed.duration += begin.elapsed();
        }
        Ok(is_admitted)
    }
}

impl Broker {
    /// Counts a call that arrives now.
    fn admits(&self) -> bool {
        let mut log = self.log.lock().unwrap();
        let now = Instant::now();
        while log.front().is_some_and(|at| now - *at >= WINDOW) {
            log.pop_front();
        }
        let is_admitted = log.len() < LIMIT as usize;
        if is_admitted {
            log.push_back(now);
            if self.is_observed.load(Ordering::Relaxed) {
                self.observed.lock().unwrap().admitted.push(now);
            }
        }
        is_admitted
    }

    /// Observes the calls that end in this time.
    pub fn observe(&self, time: Duration) -> Observed {
        *self.observed.lock().unwrap() = Observed::default();
        self.is_observed.store(true, Ordering::Relaxed);
        std::thread::sleep(time);
        self.is_observed.store(false, Ordering::Relaxed);
        self.observed.lock().unwrap().clone()
    }
}
