//! Leader and followers: how the workers of a lane share its queue.
//!
//! Locks, and the order they are taken in: `queue` is the leadership, held while waiting for work
//! and for a permit; `pace` is held for the length of a few comparisons, by the leader and by
//! whoever has an answer. Nobody takes `queue` while holding `pace`. The broker is called, and the
//! observer, with neither held.

use std::fmt;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use parking_lot::Mutex;

use super::error::LaneError;
use super::job::{Job, contain};
use super::observer::{FinishedCall, Observer};
use super::queue::{Place, Places, Queue};
use crate::Sent;
use crate::clock::{Alarm, Busy, Clock};
use crate::quota::{NotYet, Pacer, Permit};

/// What the callers and workers of a lane share.
pub(super) struct Shared {
    pub(super) name: &'static str,
    pub(super) clock: Clock,
    places: Places,
    queue: Mutex<Queue>,
    pace: Mutex<Pace>,
    /// Where the leader sleeps while it waits for a permit.
    alarm: Alarm,
    observer: Option<Arc<dyn Observer>>,
}

struct Pace {
    pacer: Pacer,
    /// The leader sleeps: whoever changes the pacer must ring.
    leader_sleeps: bool,
}

/// The right to send one call, and the word to the clock that one is under way.
struct Turn {
    permit: Permit,
    busy: Busy,
}

impl Shared {
    pub(super) fn new(
        name: &'static str,
        pacer: Pacer,
        capacity: usize,
        arrivals: Receiver<Job>,
        clock: &Clock,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        Self {
            name,
            clock: clock.clone(),
            places: Places::new(capacity),
            queue: Mutex::new(Queue::new(arrivals)),
            pace: Mutex::new(Pace { pacer, leader_sleeps: false }),
            alarm: clock.alarm(),
            observer,
        }
    }

    /// A place in the queue for a call of `method`.
    pub(super) fn enter(&self, method: &'static str) -> Result<Place, LaneError> {
        let capacity = self.places.capacity();
        let full = || LaneError::QueueFull { lane: self.name, method, capacity };
        self.places.take().ok_or_else(full)
    }

    /// How many calls wait.
    pub(super) fn queued(&self) -> usize {
        self.places.taken()
    }

    /// The life of a worker: lead, run, and again, until no job can come any more.
    pub(super) fn work(&self) {
        while let Some((job, turn)) = self.lead() {
            self.run(job, turn);
        }
    }

    /// Becomes the leader, and stays so until there is both a permit and a job to spend it on.
    fn lead(&self) -> Option<(Job, Turn)> {
        let mut queue = self.queue.lock();
        loop {
            queue.wait().ok()?;
            let turn = self.wait_for_turn();
            match queue.choose() {
                Some(job) => return Some((job, turn)),
                None => self.pace.lock().pacer.give_back(turn.permit),
            }
        }
    }

    fn wait_for_turn(&self) -> Turn {
        loop {
            let until = {
                let mut pace = self.pace.lock();
                // A ring up to here is about a change that is seen now.
                self.alarm.quiet();
                // Read inside the lock, so that times enter the pacer in order.
                let refused = match pace.pacer.take(self.clock.now()) {
                    Ok(permit) => {
                        pace.leader_sleeps = false;
                        return Turn { permit, busy: self.clock.busy() };
                    }
                    Err(refused) => refused,
                };
                pace.leader_sleeps = true;
                let slot = match refused {
                    NotYet::Until(moment) => Some(moment),
                    NotYet::InFlight | NotYet::Never => None,
                };
                slot.into_iter().chain(pace.pacer.next_release()).min()
            };
            self.alarm.sleep_until(until);
        }
    }

    fn run(&self, job: Job, turn: Turn) {
        let Turn { permit, busy } = turn;
        let Job { mut task, entered, place } = job;
        drop(place);
        let begun = permit.taken();
        let sent = task.run();

        // The slot first: its time runs from here.
        let (finished, leader_sleeps) = {
            let mut pace = self.pace.lock();
            let now = self.clock.now();
            match sent {
                Sent::Yes => pace.pacer.finish(permit, now),
                Sent::No => pace.pacer.finish_unsent(permit, now),
                Sent::Unknown => pace.pacer.finish_unanswered(permit, now),
            }
            (now, pace.leader_sleeps)
        };
        drop(busy);
        if leader_sleeps {
            self.alarm.ring();
        }

        if let Some(observer) = &self.observer {
            let call = FinishedCall {
                lane: self.name,
                method: task.method(),
                effect: task.effect(),
                queued: begun.since(entered),
                round_trip: finished.since(begun),
                sent,
            };
            // An observer that panics must cost neither the worker nor the answer.
            let _ = contain(|| observer.finished(&call));
        }
        // Dropping a task answers it. The caller may be gone, and dropping what it no longer wants may
        // panic.
        let _ = contain(|| drop(task));
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("name", &self.name).finish_non_exhaustive()
    }
}
