//! A thread that calls a function at intervals.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// A thread that calls a function at once, and again after each period. Dropping the sampler ends the
/// thread, after a call that is in progress.
///
/// The period is in real time, as exporters are.
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
    /// Starts the thread. A period shorter than 1 ms is raised to 1 ms. A panic of `sample` is caught, and the thread
    /// goes on.
    ///
    /// # Errors
    /// The operating system cannot start a thread.
    pub fn every(period: Duration, sample: impl Fn() + Send + 'static) -> io::Result<Self> {
        let period = period.max(Duration::from_millis(1));
        let stop = Arc::new(StopSignal::default());
        let stop_signal = Arc::clone(&stop);
        let work = move || {
            while {
                let _ = crate::panic::catch_panic(&sample);
                !stop_signal.wait_timeout(period)
            } {}
        };
        let thread = thread::Builder::new().name("lanekeeper-sampler".to_owned()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl StopSignal {
    /// Blocks until a stop is requested or `period` has passed. Returns whether a stop was requested.
    fn wait_timeout(&self, period: Duration) -> bool {
        let deadline = Instant::now().checked_add(period);
        let mut is_requested = self.is_requested.lock();
        while !*is_requested {
            match deadline {
                Some(at) if self.changed.wait_until(&mut is_requested, at).timed_out() => break,
                Some(_) => {}
                None => self.changed.wait(&mut is_requested),
            }
        }
        *is_requested
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        *self.stop.is_requested.lock() = true;
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A sampler that is dropped by its own function cannot join its own thread.
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
    fn it_samples_at_once_and_ends_when_dropped() {
        let (seen, sees) = mpsc::channel();
        let sampler = Sampler::every(Duration::MAX, move || seen.send(()).unwrap()).unwrap();
        sees.recv().unwrap();
        drop(sampler);
        assert!(sees.recv().is_err(), "the thread is gone, and what it called with it");
    }

    #[test]
    fn it_samples_again_though_a_sample_panics() {
        let (seen, sees) = mpsc::channel();
        let sample = move || {
            let _ = seen.send(());
            std::panic::panic_any("a sample that panics");
        };
        let _sampler = Sampler::every(Duration::ZERO, sample).unwrap();
        (0..3).for_each(|_| sees.recv().unwrap());
    }
}
