//! Many strategies at once, each on a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lanekeeper::broker::{Broker, Instrument};

use crate::strategy::{Tags, follow_averages};

/// How often the screen is drawn.
const TICK: Duration = Duration::from_millis(100);
/// How many instruments a strategy watches.
const EACH: usize = 4;

pub struct Crowd {
    pub strategies: u16,
    pub length: Duration,
    pub instruments: Vec<Instrument>,
}

impl Crowd {
    /// Lets the strategies trade until their time is over or `interrupted` is set. Returns how long it took until the
    /// last one finished.
    pub fn run(
        &self,
        broker: &dyn Broker,
        interrupted: &AtomicBool,
        mut tick: impl FnMut(),
    ) -> Duration {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Differs from any other run of the same day, in eight letters.
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
            while let Some(left) = self.length.checked_sub(began.elapsed()) {
                if interrupted.load(Ordering::Relaxed) {
                    break;
                }
                thread::sleep(TICK.min(left));
                tick();
            }
            stop.store(true, Ordering::Relaxed);
        });
        began.elapsed()
    }

    /// Returns a few instruments for each strategy, so that all of them are watched and many by several.
    fn share_of(&self, number: usize) -> Vec<Instrument> {
        let all = self.instruments.iter().cycle().skip(number);
        all.take(EACH.min(self.instruments.len())).cloned().collect()
    }
}
