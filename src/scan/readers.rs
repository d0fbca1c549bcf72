//! How readers wait for events: threads on a condition variable, tasks with their wakers.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::engine::Engine;
use super::event_log::ScanEvent;
use crate::quota::Moment;

/// The wakers of the tasks that wait for an event, by the numbers of their futures.
#[derive(Default)]
pub(super) struct TaskWakers {
    wakers: BTreeMap<u64, Waker>,
    next_number: u64,
}

impl TaskWakers {
    fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Removes and returns all wakers. Waking them runs user code.
    pub(super) fn take(&mut self) -> BTreeMap<u64, Waker> {
        std::mem::take(&mut self.wakers)
    }
}

impl<I, R, E> Engine<I, R, E> {
    pub(super) fn events_after(&self, seq: u64) -> Vec<ScanEvent<R, E>> {
        self.inner.lock().log.after(seq)
    }

    /// Waits until there are events after `seq`, the scan is over, or `deadline` is reached. Returns the events.
    pub(super) fn wait_after(&self, seq: u64, deadline: Option<Moment>) -> Vec<ScanEvent<R, E>> {
        let mut inner = self.inner.lock();
        self.changed.wait_while(&mut inner, &self.clock, deadline, |inner| !inner.is_ready(seq));
        inner.log.after(seq)
    }
}

/// A future of the events after a sequence number, made by [`Scan::next_after`](super::Scan::next_after). Dropping it
/// loses no event.
#[must_use = "futures do nothing unless polled"]
pub struct EventsAfter<'a, I, R, E> {
    engine: &'a Arc<Engine<I, R, E>>,
    seq: u64,
    /// The number under which its waker is kept, if there is one.
    number: Option<u64>,
}

impl<'a, I, R, E> EventsAfter<'a, I, R, E> {
    pub(super) fn new(engine: &'a Arc<Engine<I, R, E>>, seq: u64) -> Self {
        Self { engine, seq, number: None }
    }
}

impl<I, R, E> Future for EventsAfter<'_, I, R, E> {
    type Output = Vec<ScanEvent<R, E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Wakers are the user's code, so they are cloned and dropped without the lock.
        let waker = context.waker().clone();
        let engine = self.engine;
        let mut inner = engine.inner.lock();
        if inner.is_ready(self.seq) {
            return Poll::Ready(inner.log.after(self.seq));
        }
        let tasks = &mut inner.tasks;
        let number = *self.number.get_or_insert_with(|| tasks.take_number());
        let stale = tasks.wakers.insert(number, waker);
        drop(inner);
        drop(stale);
        Poll::Pending
    }
}

impl<I, R, E> Drop for EventsAfter<'_, I, R, E> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.engine.inner.lock().tasks.wakers.remove(&number);
            drop(waker);
        }
    }
}

impl<I, R, E> fmt::Debug for EventsAfter<'_, I, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventsAfter").field("seq", &self.seq).finish_non_exhaustive()
    }
}

/// All events of a scan, as an iterator that waits for each. Made by [`Scan::events`](super::Scan::events). It ends when
/// the scan is over. While the scan is paused it waits.
pub struct ScanEvents<'a, I, R, E> {
    engine: &'a Arc<Engine<I, R, E>>,
    seq: u64,
    ready: VecDeque<ScanEvent<R, E>>,
}

impl<'a, I, R, E> ScanEvents<'a, I, R, E> {
    pub(super) fn new(engine: &'a Arc<Engine<I, R, E>>, seq: u64) -> Self {
        Self { engine, seq, ready: VecDeque::new() }
    }
}

impl<I, R, E> Iterator for ScanEvents<'_, I, R, E> {
    type Item = ScanEvent<R, E>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            self.ready = self.engine.wait_after(self.seq, None).into();
        }
        let event = self.ready.pop_front()?;
        self.seq = event.seq;
        Some(event)
    }
}

impl<I, R, E> fmt::Debug for ScanEvents<'_, I, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanEvents").field("seq", &self.seq).finish_non_exhaustive()
    }
}
