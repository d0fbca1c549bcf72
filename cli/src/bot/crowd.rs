//! Many strategies at once, each on its own thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lanekeeper::broker::{Broker, Instrument};

use super::strategy::{Tags, follow_averages};

/// How often the screen is drawn.
const TICK: Duration = Duration::from_millis(100);
/// How many instruments a strategy trades.
const INSTRUMENTS_EACH: usize = 4;

pub struct Crowd {
    pub strategies: u16,
    pub length: Duration,
    pub instruments: Vec<Instrument>,
}

impl Crowd {
    /// Runs the strategies until their time has passed or `interrupted` is set. Returns how long it took until the
    /// last one had finished.
    pub fn run(
        &self,
        broker: &dyn Broker,
        interrupted: &AtomicBool,
        mut tick: impl FnMut(),
    ) -> Duration {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Milliseconds since 1970: practically unique for a run, and eight characters in base 36.
        let run = since_epoch.as_millis() as u64;
        let stop = AtomicBool::new(false);
        let began = Instant::now();
        thread::scope(|scope| {
            for number in 0..usize::from(self.strategies) {
                let (stop, instruments) = (&stop, self.share_of(number));
                scope.spawn(move || {
                    let mut tags = Tags::new(run, number);
                    follow_averages(broker, &instruments, &mut tags, number, stop);
                });
            }
            while let Some(remaining) = self.length.checked_sub(began.elapsed()) {
                if interrupted.load(Ordering::Relaxed) {
                    break;
                }
                thread::sleep(TICK.min(remaining));
                tick();
            }
            stop.store(true, Ordering::Relaxed);
        });
        began.elapsed()
    }

    /// Returns the instruments of a strategy. All instruments are traded, and many by several strategies.
    fn share_of(&self, number: usize) -> Vec<Instrument> {
        let all = self.instruments.iter().cycle().skip(number);
        all.take(INSTRUMENTS_EACH.min(self.instruments.len())).cloned().collect()
    }
}
