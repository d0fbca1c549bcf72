//! A thread that looks at something now and then.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Calls something at once, and again after each period, on a thread of its own. Dropping it ends the
/// thread, after the call that is under way, if one is.
///
/// It looks at the real clock: exporters live there.
#[derive(Debug)]
#[must_use = "the thread ends when this is dropped"]
pub struct Sampler {
    stop: Arc<StopSignal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct StopSignal {
    is_requested: Mutex<bool>,
    changed: Condvar,
}

impl Sampler {
    /// Starts it. A period of nothing is taken for a millisecond. A panic of `sample` ends neither the
    /// thread nor anything else.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn every(period: Duration, sample: impl Fn() + Send + 'static) -> io::Result<Self> {
        let period = period.max(Duration::from_millis(1));
        let stop = Arc::new(StopSignal::default());
        let asked = Arc::clone(&stop);
        let work = move || {
            while {
                let _ = crate::panic::catch_panic(&sample);
                !asked.wait_timeout(period)
            } {}
        };
        let thread = thread::Builder::new().name("lanekeeper-sampler".to_owned()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl StopSignal {
    fn wait_timeout(&self, period: Duration) -> bool {
        let until = Instant::now().checked_add(period);
        let mut is_asked = self.is_requested.lock();
        while !*is_asked {
            match until {
                Some(until) if self.changed.wait_until(&mut is_asked, until).timed_out() => break,
                Some(_) => {}
                None => self.changed.wait(&mut is_asked),
            }
        }
        *is_asked
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        *self.stop.is_requested.lock() = true;
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // One that is dropped by what it calls cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn it_looks_at_once_and_ends_when_dropped() {
        let (seen, sees) = mpsc::channel();
        let sampler = Sampler::every(Duration::MAX, move || seen.send(()).unwrap()).unwrap();
        sees.recv().unwrap();
        drop(sampler);
        assert!(sees.recv().is_err(), "the thread is gone, and what it called with it");
    }

    #[test]
    fn it_looks_again_though_a_look_panics() {
        let (seen, sees) = mpsc::channel();
        let sample = move || {
            let _ = seen.send(());
            std::panic::panic_any("a look that panics");
        };
        let _sampler = Sampler::every(Duration::ZERO, sample).unwrap();
        (0..3).for_each(|_| sees.recv().unwrap());
    }
}
