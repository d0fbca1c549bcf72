//! One lane: many callers in, a few paced workers out.
//!
//! A caller pushes a job into a bounded channel and waits for its own answer. Workers take turns at
//! being the leader: the leader holds the queue, moves arrivals into it, waits for a permit, and
//! only **then** chooses the job, so that what arrives during the wait can still go first. It lets
//! go of the queue, another worker leads, and it runs the call itself: one hop from thread to
//! thread for each call, and up to `in_flight` calls at once.
//!
//! Every caller is answered exactly once: with what the broker said, or with a [`LaneError`] that
//! says whether the call was sent.

mod config;
mod error;
mod job;
mod observer;
mod queue;
mod worker;

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, bounded};

pub use config::{LaneConfig, LaneConfigError};
pub use error::LaneError;
pub use observer::{FinishedCall, Observer};

use crate::Sent;
use crate::clock::Clock;
use job::{Job, Task};
use worker::Shared;

/// Whether a call changes anything at the broker. What may be done after a failure follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Only looks. May be asked again.
    Read,
    /// Changes something. Sent at most once.
    Write,
}

/// A paced lane and its worker threads. Dropping it answers what is queued and ends the threads.
#[derive(Debug)]
pub struct Lane {
    /// `None` only while the lane is dropped.
    intake: Option<Sender<Job>>,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Lane {
    /// Starts the workers of the lane `name`.
    ///
    /// # Errors
    /// The configuration cannot work, or a thread could not be started.
    pub fn start(
        name: &'static str,
        config: &LaneConfig,
        clock: &Clock,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<Self, LaneConfigError> {
        let workers = config.workers()?;
        let capacity = config.capacity()?;
        // As many places as calls may be queued: a send never blocks.
        let (intake, arrivals) = bounded(capacity);
        let shared = Arc::new(Shared::new(
            name,
            config.pacer(clock.wall())?,
            capacity,
            arrivals,
            clock,
            observer,
        ));
        let mut lane = Self { intake: Some(intake), shared, workers: Vec::with_capacity(workers) };
        for number in 0..workers {
            let shared = Arc::clone(&lane.shared);
            let worker = thread::Builder::new()
                .name(format!("lane-{name}-{number}"))
                .spawn(move || shared.work())
                .map_err(|error| LaneConfigError::Thread { error: error.to_string() })?;
            lane.workers.push(worker);
        }
        Ok(lane)
    }

    /// The lane's name.
    pub fn name(&self) -> &'static str {
        self.shared.name
    }

    /// How many calls wait for their turn.
    pub fn queued(&self) -> usize {
        self.shared.queued()
    }

    /// Queues a call and waits for its answer.
    ///
    /// `work` runs on a worker thread, when the quota permits. `sent` says what its result tells
    /// about whether the call left this process; a call that did not is no measure of the way to
    /// the broker. Do not call a lane from within its own work: with every worker waiting for
    /// another one, none is left to answer.
    ///
    /// # Errors
    /// The queue is full, the lane is closed, or `work` panicked.
    pub fn call<R: Send + 'static>(
        &self,
        method: &'static str,
        effect: Effect,
        work: impl FnOnce() -> R + Send + 'static,
        sent: impl FnOnce(&R) -> Sent + Send + 'static,
    ) -> Result<R, LaneError> {
        let lane = self.name();
        let closed = LaneError::Closed { lane, method };
        let Some(intake) = &self.intake else { return Err(closed) };
        let place = self.shared.enter(method)?;
        let (answer, waiter) = oneshot::channel();
        let task = Task::new(lane, method, effect, work, sent, answer);
        let job = Job::new(Box::new(task), self.shared.clock.now(), place);
        if intake.send(job).is_err() {
            return Err(closed);
        }
        // A task answers even when it is dropped, so a waiter is never left without.
        waiter.recv().unwrap_or(Err(LaneError::Lost { lane, method }))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Without a sender, the workers leave once the queue is empty.
        self.intake = None;
        let me = thread::current().id();
        for worker in self.workers.drain(..) {
            // A worker that drops the lane itself cannot wait for its own end; and a worker that
            // panicked has nothing more to tell.
            if worker.thread().id() != me {
                let _ = worker.join();
            }
        }
    }
}
