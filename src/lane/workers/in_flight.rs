//! The calls that are under way, each in the hand of its worker: for a lane that is shut while some of them hang.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::lane::queue::priority_level::Job;

/// What each worker has in hand.
pub(in crate::lane) struct InFlightCalls {
    calls: Box<[Mutex<Option<Job>>]>,
    is_cut_off: AtomicBool,
}

impl InFlightCalls {
    pub(in crate::lane) fn new(workers: usize) -> Self {
        let calls = (0..workers).map(|_| Mutex::new(None)).collect();
        Self { calls, is_cut_off: AtomicBool::new(false) }
    }

    /// A worker takes up a call. Says whether the lane waits for calls no longer, so that this one is to be cut
    /// off by the worker itself.
    pub(in crate::lane) fn start(&self, worker: usize, job: &Job) -> bool {
        if let Some(hand) = self.calls.get(worker) {
            *hand.lock() = Some(Job::clone(job));
        }
        // First the call, and then the question: who cuts off says so first, and then looks at the calls.
        self.is_cut_off.load(Ordering::SeqCst)
    }

    /// The call of a worker is over.
    pub(in crate::lane) fn finish(&self, worker: usize) {
        if let Some(hand) = self.calls.get(worker) {
            // The worker has it too, so nothing of a caller's is dropped here.
            drop(hand.lock().take());
        }
    }

    /// The calls that are to be cut off: all of those under way, but for that of the worker `own`.
    pub(in crate::lane) fn cut_off(&self, own: Option<usize>) -> Vec<Job> {
        self.is_cut_off.store(true, Ordering::SeqCst);
        self.others(own).filter_map(|hand| hand.lock().clone()).collect()
    }

    /// How many of the calls under way have such a number.
    pub(in crate::lane) fn count(&self, is_meant: impl Fn(u64) -> bool) -> usize {
        let has = |hand: &&Mutex<Option<Job>>| {
            hand.lock().as_ref().is_some_and(|job| is_meant(job.meta().number))
        };
        self.calls.iter().filter(has).count()
    }

    /// How many workers but `own` are not back from a call, after the lane has cut off what was under way.
    pub(in crate::lane) fn still_running(&self, own: Option<usize>) -> usize {
        match self.is_cut_off.load(Ordering::SeqCst) {
            true => self.others(own).filter(|hand| hand.lock().is_some()).count(),
            false => 0,
        }
    }

    /// The hands of all workers but `own`.
    fn others(&self, own: Option<usize>) -> impl Iterator<Item = &Mutex<Option<Job>>> {
        let hands = self.calls.iter().enumerate();
        hands.filter(move |(worker, _)| Some(*worker) != own).map(|(_, hand)| hand)
    }
}
