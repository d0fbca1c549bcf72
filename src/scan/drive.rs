//! The drive of a scan: it submits the calls and takes their answers.
//!
//! Nothing here waits. The ticket of each call is polled with a waker that takes the answer and then *drives* the scan:
//! submits calls until as many are under way as may be. So the worker that answered one call submits the next. If the
//! lane refuses the calls, an alarm in the lane drives the scan later.
//!
//! # No wake-up is lost
//!
//! - Only one thread drives at a time, so that calls are submitted in the order of their items. Each of its steps is
//!   decided under the lock, and so is that there is none: what another thread changed before that is seen, and one that
//!   changes something later finds no driver and drives.
//! - A driver stops only if a call is under way, an alarm is set, or nothing is to be submitted. The answer to a call, an
//!   alarm and a `resume` drive.
//! - A ticket is polled once it is where its waker finds it. It is taken out of there before it is cancelled, and polled
//!   again if that was too late.
//!
//! The calls, wakers and alarms of a scan do not keep it alive. One that is being woken may live for a moment longer than
//! its last handle, which has cancelled it by then.

use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

use parking_lot::MutexGuard;

use super::agenda::Step;
use super::back_off::Refusal;
use super::engine::Engine;
use super::inner::{Answered, InFlight, Inner};
use super::progress::{Pace, ScanState};
use crate::lane::{LaneError, Ticket};
use crate::panic::catch_panic;
use crate::proxy::{Classify, Lanes};
use crate::session::RenewalListener;

impl<I, R, E> Engine<I, R, E>
where
    I: Send + Sync + 'static,
    R: Send + Sync + 'static,
    E: From<LaneError> + Classify + Send + Sync + 'static,
{
    /// Submits calls until as many are under way as may be, unless another thread does.
    pub(super) fn drive(&self) {
        if self.inner.lock().begin_driving() {
            Self::drive_on(&self.me);
        }
    }

    fn drive_on(me: &Weak<Self>) {
        while let Some(engine) = me.upgrade() {
            let (step, lanes) = {
                let mut inner = engine.inner.lock();
                (inner.step(engine.calls.at_once), inner.lanes.clone())
            };
            match (step, lanes) {
                (Step::Submit(item), Some(lanes)) => engine.submit(item, &lanes),
                (Step::SetAlarm { next, delay }, Some(lanes)) => {
                    engine.set_alarm(next, delay, &lanes);
                }
                // A scan without lanes is over, and then there is nothing to do.
                (Step::Wait, _) | (_, None) => return,
            }
        }
    }

    fn submit(&self, item: usize, lanes: &Lanes) {
        let Some(call) = self.calls.of_items.get(item) else { return };
        let plan = Arc::clone(&self.plan);
        let work = move || (plan.work)(&plan.items[item]);
        let ticket = lanes.submit(call, &self.calls.options, work);
        let waker = self.waker_of(item);
        let mut inner = self.inner.lock();
        match inner.state {
            ScanState::Paused => {
                inner.under_way.insert(item, InFlight::TakingBack);
                drop(inner);
                self.take_back(item, ticket);
            }
            _ => self.keep(inner, item, ticket, &waker),
        }
    }

    /// Keeps the ticket of a call that is under way. If the scan was cancelled meanwhile, the call is too.
    fn keep(
        &self,
        mut inner: MutexGuard<'_, Inner<R, E>>,
        item: usize,
        ticket: Ticket<R, E>,
        waker: &Waker,
    ) {
        if inner.under_way.contains_key(&item) {
            let answered = inner.keep(item, ticket, waker);
            drop(inner);
            self.record(item, answered);
        } else {
            drop(inner);
            drop(ticket);
        }
    }

    /// Takes a call back that is not sent yet. If it was sent, its answer will come.
    pub(super) fn take_back(&self, item: usize, ticket: Ticket<R, E>) {
        if !ticket.take_back() {
            let waker = self.waker_of(item);
            return self.keep(self.inner.lock(), item, ticket, &waker);
        }
        let mut inner = self.inner.lock();
        if inner.under_way.remove(&item).is_some() {
            inner.agenda.give_back(item);
        }
    }

    /// Records the answer to a call, if it is there.
    fn on_wake(&self, item: usize) {
        let waker = self.waker_of(item);
        let answered = self.inner.lock().poll(item, &waker);
        self.record(item, answered);
        self.drive();
    }

    fn record(&self, item: usize, answered: Option<Answered<R, E>>) {
        let Some(Answered { answer, .. }) = answered else { return };
        if let Some(refusal) = answer.as_ref().err().and_then(|error| Refusal::of(&error.kind)) {
            let mut inner = self.inner.lock();
            if inner.under_way.remove(&item).is_some() {
                inner.agenda.refuse(item, refusal);
            }
            return;
        }
        let result = match answer {
            Ok(result) => Some(result),
            // The conversion is the user's code.
            Err(error) => catch_panic(|| E::from(error)).ok().map(Err),
        };
        let result = result.map(Arc::new);
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        if inner.under_way.remove(&item).is_none() {
            // The scan was cancelled. The result is dropped without the lock.
            drop(inner);
            return;
        }
        if inner.agenda.is_held() {
            inner.pace = Pace::new(now);
        }
        inner.pace.note_answer(now);
        inner.agenda.on_answer();
        inner.log.push_result(item, result);
        self.publish_or_finish(inner);
    }

    fn set_alarm(&self, next: usize, delay: Duration, lanes: &Lanes) {
        let call = self.calls.of_items.get(next);
        if let Some(lane) = call.and_then(|call| lanes.lane(call.lane_name())) {
            let waker = Waker::from(Arc::new(AlarmWaker(Weak::clone(&self.me))));
            lane.core().set_alarm(self.clock.now() + delay, waker);
        }
    }

    fn on_alarm(&self) {
        self.inner.lock().agenda.on_alarm();
        self.drive();
    }

    fn waker_of(&self, item: usize) -> Waker {
        Waker::from(Arc::new(CallWaker { engine: Weak::clone(&self.me), item }))
    }
}

/// Wakes the scan when a call is answered.
struct CallWaker<I, R, E> {
    engine: Weak<Engine<I, R, E>>,
    item: usize,
}

impl<I, R, E> Wake for CallWaker<I, R, E>
where
    I: Send + Sync + 'static,
    R: Send + Sync + 'static,
    E: From<LaneError> + Classify + Send + Sync + 'static,
{
    fn wake(self: Arc<Self>) {
        if let Some(engine) = self.engine.upgrade() {
            engine.on_wake(self.item);
        }
    }
}

/// Wakes the scan when its alarm rings.
struct AlarmWaker<I, R, E>(Weak<Engine<I, R, E>>);

impl<I, R, E> Wake for AlarmWaker<I, R, E>
where
    I: Send + Sync + 'static,
    R: Send + Sync + 'static,
    E: From<LaneError> + Classify + Send + Sync + 'static,
{
    fn wake(self: Arc<Self>) {
        if let Some(engine) = self.0.upgrade() {
            engine.on_alarm();
        }
    }
}

impl<I, R, E> RenewalListener for Engine<I, R, E>
where
    I: Send + Sync + 'static,
    R: Send + Sync + 'static,
    E: From<LaneError> + Classify + Send + Sync + 'static,
{
    fn on_session_valid(&self) {
        self.inner.lock().agenda.release();
        self.drive();
    }
}
