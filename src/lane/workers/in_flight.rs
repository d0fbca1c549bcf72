//! The calls in flight: one for each worker, and those that their callers make themselves. A lane that is shut down cuts
//! off those that hang.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::lane::queue::priority_level::Job;

/// The call that each worker executes, and the calls that their callers make themselves.
pub(in crate::lane) struct InFlightCalls {
    calls: Box<[Mutex<Hand>]>,
    by_callers: Mutex<Vec<Hand>>,
    is_cut_off: AtomicBool,
}

/// What one worker has in hand, or a caller.
#[derive(Default)]
struct Hand {
    job: Option<Job>,
    /// Whether the call has ended, and is only reported.
    is_reporting: bool,
}

impl Hand {
    /// Returns the call in flight.
    fn in_flight(&self) -> Option<&Job> {
        self.job.as_ref().filter(|_| !self.is_reporting)
    }

    fn has(&self, number: u64) -> bool {
        self.job.as_ref().is_some_and(|job| job.meta().number == number)
    }
}

impl InFlightCalls {
    pub(in crate::lane) fn new(workers: usize) -> Self {
        let calls = (0..workers).map(|_| Mutex::default()).collect();
        Self { calls, by_callers: Mutex::default(), is_cut_off: AtomicBool::new(false) }
    }

    /// Records the call that a worker starts. Returns whether the lane has cut off its calls already, so that the
    /// worker must cut off this one itself.
    pub(in crate::lane) fn start(&self, worker: usize, job: &Job) -> bool {
        if let Some(hand) = self.calls.get(worker) {
            *hand.lock() = Hand { job: Some(Job::clone(job)), is_reporting: false };
        }
        // Store the call before reading the flag: `cut_off` sets the flag before it reads the calls.
        self.is_cut_off.load(Ordering::SeqCst)
    }

    /// Marks that the call of a worker has ended, and is only reported.
    pub(in crate::lane) fn begin_report(&self, worker: usize) {
        if let Some(hand) = self.calls.get(worker) {
            hand.lock().is_reporting = true;
        }
    }

    /// Removes the call of a worker that has reported it.
    pub(in crate::lane) fn finish(&self, worker: usize) {
        if let Some(hand) = self.calls.get(worker) {
            // The worker holds it too, so no user code is dropped here.
            drop(hand.lock().job.take());
        }
    }

    /// Records a call that its caller makes. Returns whether the lane has cut off its calls already.
    pub(in crate::lane) fn start_by_caller(&self, job: &Job) -> bool {
        self.by_callers.lock().push(Hand { job: Some(Job::clone(job)), is_reporting: false });
        self.is_cut_off.load(Ordering::SeqCst)
    }

    /// Marks that a call that its caller makes has ended, and is only reported.
    pub(in crate::lane) fn begin_report_by_caller(&self, number: u64) {
        let mut by_callers = self.by_callers.lock();
        if let Some(hand) = by_callers.iter_mut().find(|hand| hand.has(number)) {
            hand.is_reporting = true;
        }
    }

    /// Removes a call that its caller has made, and that was reported.
    pub(in crate::lane) fn finish_by_caller(&self, number: u64) {
        let mut by_callers = self.by_callers.lock();
        let at = by_callers.iter().position(|hand| hand.has(number));
        let hand = at.map(|at| by_callers.swap_remove(at));
        drop(by_callers);
        // Its caller holds it too, so no user code is dropped here.
        drop(hand);
    }

    /// Returns the calls to cut off: all calls in flight except that of the worker `except`.
    pub(in crate::lane) fn cut_off(&self, except: Option<usize>) -> Vec<Job> {
        self.is_cut_off.store(true, Ordering::SeqCst);
        self.matching(except, |_| true)
    }

    /// Returns how many calls in flight have a number for which `is_meant` holds.
    pub(in crate::lane) fn count(&self, is_meant: impl Fn(u64) -> bool) -> usize {
        self.count_others(None, |job| is_meant(job.meta().number))
    }

    /// Returns the calls in flight for which `is_meant` holds, except that of the worker `except`.
    pub(in crate::lane) fn matching(
        &self,
        except: Option<usize>,
        is_meant: impl Fn(&Job) -> bool,
    ) -> Vec<Job> {
        let in_flight = self.others(except).filter_map(|hand| hand.lock().in_flight().cloned());
        let mut calls: Vec<Job> = in_flight.filter(&is_meant).collect();
        let by_callers = self.by_callers.lock();
        calls.extend(
            by_callers.iter().filter_map(Hand::in_flight).filter(|job| is_meant(job)).cloned(),
        );
        calls
    }

    /// Returns whether a worker executes or reports a call for which `is_meant` holds.
    pub(in crate::lane) fn is_running(
        &self,
        worker: usize,
        is_meant: impl Fn(&Job) -> bool,
    ) -> bool {
        self.calls.get(worker).is_some_and(|hand| hand.lock().job.as_ref().is_some_and(is_meant))
    }

    /// Returns how many calls in flight, except that of the worker `except`, were cut off: all, if the lane has cut off its
    /// calls, and otherwise those for which `is_detached` holds.
    pub(in crate::lane) fn still_running(
        &self,
        except: Option<usize>,
        is_detached: impl Fn(&Job) -> bool,
    ) -> usize {
        let all = self.is_cut_off.load(Ordering::SeqCst);
        self.count_others(except, |job| all || is_detached(job))
    }

    /// Returns how many workers other than `except` still run a call that was cut off.
    pub(in crate::lane) fn hanging_workers(
        &self,
        except: Option<usize>,
        is_detached: impl Fn(&Job) -> bool,
    ) -> usize {
        let all = self.is_cut_off.load(Ordering::SeqCst);
        let is_cut_off = |job: &Job| all || is_detached(job);
        self.others(except).filter(|hand| hand.lock().in_flight().is_some_and(is_cut_off)).count()
    }

    fn count_others(&self, except: Option<usize>, is_meant: impl Fn(&Job) -> bool) -> usize {
        let workers =
            self.others(except).filter(|hand| hand.lock().in_flight().is_some_and(&is_meant));
        let workers = workers.count();
        let by_callers = self.by_callers.lock();
        workers + by_callers.iter().filter_map(Hand::in_flight).filter(|job| is_meant(job)).count()
    }

    /// Iterates over the calls of all workers other than `except`.
    fn others(&self, except: Option<usize>) -> impl Iterator<Item = &Mutex<Hand>> {
        let hands = self.calls.iter().enumerate();
        hands.filter(move |(worker, _)| Some(*worker) != except).map(|(_, hand)| hand)
    }
}
