//! The calls that wait, and in which order they go.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, RecvError};

use super::job::Job;

/// What the leader holds: the arrivals, and those moved out of the channel already.
pub(super) struct Queue {
    arrivals: Receiver<Job>,
    jobs: VecDeque<Job>,
}

impl Queue {
    pub(super) fn new(arrivals: Receiver<Job>) -> Self {
        Self { arrivals, jobs: VecDeque::new() }
    }

    /// Waits until there is a job. An error says that there will never be one again.
    pub(super) fn wait(&mut self) -> Result<(), RecvError> {
        if self.jobs.is_empty() {
            let job = self.arrivals.recv()?;
            self.jobs.push_back(job);
        }
        Ok(())
    }

    /// Takes in what has arrived, and chooses: first in, first out.
    pub(super) fn choose(&mut self) -> Option<Job> {
        self.jobs.extend(self.arrivals.try_iter());
        self.jobs.pop_front()
    }
}

/// How many calls wait, over the channel and the queue together.
#[derive(Debug)]
pub(super) struct Places {
    taken: Arc<AtomicUsize>,
    capacity: usize,
}

impl Places {
    pub(super) fn new(capacity: usize) -> Self {
        Self { taken: Arc::new(AtomicUsize::new(0)), capacity }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// A place in the queue, if one is left.
    pub(super) fn take(&self) -> Option<Place> {
        // The number is all that is shared, nothing is published by it: relaxed is enough.
        let take = |taken| (taken < self.capacity).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Place(Arc::clone(&self.taken)))
    }
}

/// A place in the queue. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_were_set_up() {
        let places = Places::new(2);
        let first = places.take().unwrap();
        let _second = places.take().unwrap();
        assert!(places.take().is_none());
        drop(first);
        assert!(places.take().is_some());
    }
}
