//! The engine of a scan: it submits the calls, takes their answers, and records what happened.
//!
//! Nothing here waits. The ticket of each call is polled with a waker that takes the answer and then *drives* the scan:
//! submits calls until as many are under way as may be. So the worker that answered one call submits the next. If the
//! lane refuses all calls, an alarm in the lane drives the scan later.
//!
//! # No wake-up is lost
//!
//! - Only one thread drives at a time. Another one leaves a note, under the lock, and the driver looks once more.
//! - A driver stops only if a call is under way, an alarm is set, or nothing is left to submit. Each of the first two ends
//!   with somebody driving.
//! - A ticket is polled once it is where its waker finds it. It is taken out of there before it is cancelled, and polled
//!   again if that was too late.
//!
//! The alarms, calls and wakers of a scan do not keep it alive, so dropping the last handle ends it.
//!
//! # Locks
//!
//! The lock of the engine is taken before those of a lane, and no lane calls it with a lock held. Calls are submitted and
//! cancelled, wakers woken, and user data dropped without it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::agenda::{Agenda, Step};
use super::back_off::Refusal;
use super::event_log::{EventLog, StateChange};
use super::progress::{Pace, ScanProgress, ScanState};
use super::readers::TaskWakers;
use crate::clock::{Clock, TimedCondvar};
use crate::lane::{CallOptions, LaneError, Ticket};
use crate::panic::catch_panic;
use crate::proxy::{Classify, LaneCall, Lanes};
use crate::session::RenewalListener;

/// What a scan asks for, and how. The queued calls share it with the scan.
pub(super) struct Plan<I, R, E> {
    pub(super) items: Box<[I]>,
    pub(super) work: Box<Work<I, R, E>>,
}

type Work<I, R, E> = dyn Fn(&I) -> Result<R, E> + Send + Sync;

/// The answer to a call: its result, or the lane's error in its place.
type Answer<R, E> = Result<Result<R, E>, LaneError>;

/// One scan.
pub(super) struct Engine<I, R, E> {
    me: Weak<Self>,
    plan: Arc<Plan<I, R, E>>,
    calls: Box<[LaneCall]>,
    options: CallOptions,
    at_once: usize,
    clock: Clock,
    pub(super) inner: Mutex<Inner<R, E>>,
    /// Notified of each event.
    pub(super) changed: TimedCondvar,
}

/// The part of a scan that changes.
pub(super) struct Inner<R, E> {
    state: ScanState,
    /// `None` once the scan is over, so that a scan which is kept for its results does not keep the lanes open.
    lanes: Option<Lanes>,
    agenda: Agenda,
    under_way: BTreeMap<usize, UnderWay<R, E>>,
    driver: Driver,
    pub(super) log: EventLog<R, E>,
    pace: Pace,
    pub(super) tasks: TaskWakers,
}

/// The call of an item, from its submission to its answer.
enum UnderWay<R, E> {
    /// The driver is submitting it.
    Submitting,
    /// Queued, in flight, or answered.
    Submitted(Ticket<R, E>),
    /// A pause is taking it back.
    TakingBack,
    /// Its answer was taken, and is about to be recorded.
    Answered,
}

/// The answer to a call, with its ticket, which is to be dropped without the lock.
struct Answered<R, E> {
    answer: Answer<R, E>,
    _ticket: Option<UnderWay<R, E>>,
}

/// Whether a thread drives the scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Driver {
    Idle,
    Driving,
    /// It has to look again, because something changed.
    DrivingAgain,
}

impl<I, R, E> Engine<I, R, E> {
    pub(super) fn items(&self) -> &[I] {
        &self.plan.items
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn state(&self) -> ScanState {
        self.inner.lock().state
    }

    pub(super) fn progress(&self) -> ScanProgress {
        let inner = self.inner.lock();
        let (done, failed) = inner.log.counts();
        let (state, total) = (inner.state, self.calls.len());
        let positions = inner.under_way.values().filter_map(|call| match call {
            UnderWay::Submitted(ticket) => ticket.position(),
            UnderWay::Submitting | UnderWay::TakingBack | UnderWay::Answered => None,
        });
        let position = positions.min();
        let at_pace = inner.pace.time_for(total - done).unwrap_or_default();
        let to_submit = inner.agenda.len();
        let is_stopped = state != ScanState::Running || inner.agenda.is_held();
        let last_call = inner.agenda.first().or(inner.under_way.keys().last().copied());
        let lanes = inner.lanes.clone().filter(|_| !is_stopped);
        drop(inner);
        let by_lane = lanes.and_then(|lanes| {
            let call = self.calls.get(last_call?)?;
            lanes.estimated_wait_of_more(to_submit.max(1), call, &self.options)
        });
        let estimated_wait = match state {
            ScanState::Done => Some(Duration::ZERO),
            _ => by_lane.map(|by_lane| by_lane.max(at_pace)),
        };
        ScanProgress { state, done, failed, total, position, estimated_wait }
    }

    /// Releases the lock, and wakes everything that waits for an event.
    fn publish(&self, mut inner: MutexGuard<'_, Inner<R, E>>) {
        let tasks = inner.tasks.take();
        self.changed.notify_all(inner);
        for waker in tasks.into_values() {
            let _ = catch_panic(|| waker.wake());
        }
    }
}

impl<I, R, E> Engine<I, R, E>
where
    I: Send + Sync + 'static,
    R: Send + Sync + 'static,
    E: From<LaneError> + Classify + Send + Sync + 'static,
{
    pub(super) fn new(
        lanes: Lanes,
        plan: Plan<I, R, E>,
        calls: Box<[LaneCall]>,
        options: CallOptions,
        at_once: usize,
    ) -> Arc<Self> {
        let total = plan.items.len();
        let clock = lanes.clock().clone();
        let now = clock.now();
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            plan: Arc::new(plan),
            calls,
            options,
            at_once,
            clock,
            inner: Mutex::new(Inner {
                state: ScanState::Running,
                lanes: Some(lanes),
                agenda: Agenda::new(total),
                under_way: BTreeMap::new(),
                driver: Driver::Idle,
                log: EventLog::new(total),
                pace: Pace::new(now),
                tasks: TaskWakers::default(),
            }),
            changed: TimedCondvar::default(),
        })
    }

    /// Submits the first calls.
    pub(super) fn start(&self) {
        let session = self.inner.lock().lanes.as_ref().map(|lanes| lanes.session().clone());
        let listener: Weak<dyn RenewalListener> = Weak::<Self>::clone(&self.me);
        session.iter().for_each(|session| session.add_listener(Weak::clone(&listener)));
        self.finish_if_complete(self.inner.lock());
        self.drive();
    }

    pub(super) fn pause(&self) {
        let submitted: Vec<_> = {
            let mut inner = self.inner.lock();
            if inner.state != ScanState::Running {
                return;
            }
            inner.state = ScanState::Paused;
            inner.log.push_state_change(StateChange::Paused);
            let under_way = inner.under_way.iter_mut();
            let submitted = under_way.filter_map(|(item, call)| {
                match std::mem::replace(call, UnderWay::TakingBack) {
                    UnderWay::Submitted(ticket) => Some((*item, ticket)),
                    // The driver finds the scan paused.
                    other => {
                        *call = other;
                        None
                    }
                }
            });
            let submitted = submitted.collect();
            self.publish(inner);
            submitted
        };
        // The latest calls first: the earlier ones may be sent meanwhile.
        submitted.into_iter().rev().for_each(|(item, ticket)| self.take_back(item, ticket));
        // The scan may have been resumed meanwhile.
        self.drive();
    }

    pub(super) fn resume(&self) {
        {
            let mut inner = self.inner.lock();
            if inner.state != ScanState::Paused {
                return;
            }
            inner.state = ScanState::Running;
            inner.pace = Pace::new(self.clock.now());
            inner.agenda.release();
            inner.log.push_state_change(StateChange::Resumed);
            self.publish(inner);
        }
        self.drive();
    }

    pub(super) fn cancel(&self) {
        let mut inner = self.inner.lock();
        if inner.state.is_over() {
            return;
        }
        inner.state = ScanState::Cancelled;
        inner.log.push_state_change(StateChange::Cancelled);
        let (under_way, lanes) = (std::mem::take(&mut inner.under_way), inner.lanes.take());
        self.publish(inner);
        // Dropping the ticket of a read cancels its call.
        drop(under_way);
        drop(lanes);
    }

    /// Submits calls until as many are under way as may be, unless another thread does.
    fn drive(&self) {
        if self.inner.lock().begin_driving() {
            // Not with a reference to the scan: it ends if its last handle is dropped meanwhile.
            Self::drive_on(&self.me);
        }
    }

    fn drive_on(me: &Weak<Self>) {
        while let Some(engine) = me.upgrade() {
            let (step, lanes) = {
                let mut inner = engine.inner.lock();
                let step = inner.step(engine.at_once);
                if step == Step::Wait && inner.end_driving() {
                    return;
                }
                (step, inner.lanes.clone())
            };
            match (step, lanes) {
                (Step::Submit(item), Some(lanes)) => engine.submit(item, &lanes),
                (Step::SetAlarm { next, delay }, Some(lanes)) => {
                    engine.set_alarm(next, delay, &lanes);
                }
                // Something changed, or the scan is over.
                (Step::Wait, _) | (_, None) => {}
            }
        }
    }

    fn submit(&self, item: usize, lanes: &Lanes) {
        let Some(call) = self.calls.get(item) else { return };
        let plan = Arc::clone(&self.plan);
        let ticket = lanes.submit(call, &self.options, move || (plan.work)(&plan.items[item]));
        let mut inner = self.inner.lock();
        match inner.state {
            ScanState::Running => {
                let answered = inner.keep(item, ticket, &self.me);
                drop(inner);
                self.record(item, answered);
            }
            ScanState::Paused => {
                inner.under_way.insert(item, UnderWay::TakingBack);
                drop(inner);
                self.take_back(item, ticket);
            }
            ScanState::Done | ScanState::Cancelled => {
                drop(inner);
                drop(ticket);
            }
        }
    }

    /// Takes a call back that is not sent yet. If it was sent, its answer will come.
    fn take_back(&self, item: usize, ticket: Ticket<R, E>) {
        if ticket.take_back() {
            let mut inner = self.inner.lock();
            if inner.under_way.remove(&item).is_some() {
                inner.agenda.give_back(item);
            }
            return;
        }
        let mut inner = self.inner.lock();
        if inner.under_way.contains_key(&item) {
            let answered = inner.keep(item, ticket, &self.me);
            drop(inner);
            self.record(item, answered);
        }
    }

    /// Records the answer to a call, if it is there.
    fn on_wake(&self, item: usize) {
        let answered = self.inner.lock().poll(item, &self.me);
        self.record(item, answered);
        self.drive();
    }

    fn record(&self, item: usize, answered: Option<Answered<R, E>>) {
        let Some(Answered { answer, .. }) = answered else { return };
        let refusal = answer.as_ref().err().and_then(|error| Refusal::of(&error.kind));
        if let Some(refusal) = refusal {
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
        inner.agenda.on_answer();
        inner.pace.note_answer(now);
        inner.log.push_result(item, result);
        self.finish_if_complete(inner);
    }

    /// Ends the scan if every item has its result, and publishes the events.
    fn finish_if_complete(&self, mut inner: MutexGuard<'_, Inner<R, E>>) {
        let is_done = inner.log.is_complete() && !inner.state.is_over();
        let mut lanes = None;
        if is_done {
            inner.state = ScanState::Done;
            inner.log.push_state_change(StateChange::Done);
            lanes = inner.lanes.take();
        }
        self.publish(inner);
        drop(lanes);
    }

    fn set_alarm(&self, next: usize, delay: Duration, lanes: &Lanes) {
        let lane = self.calls.get(next).and_then(|call| lanes.lane(call.lane_name()));
        if let Some(lane) = lane {
            let waker = Waker::from(Arc::new(AlarmWaker(Weak::clone(&self.me))));
            lane.core().set_alarm(self.clock.now() + delay, waker);
        }
    }

    fn on_alarm(&self) {
        self.inner.lock().agenda.on_alarm();
        self.drive();
    }
}

impl<R, E> Inner<R, E> {
    /// Returns whether a reader that has the events up to `seq` need not wait.
    pub(super) fn is_ready(&self, seq: u64) -> bool {
        self.state.is_over() || self.log.has_after(seq)
    }

    /// Makes the present thread the driver, if there is none.
    fn begin_driving(&mut self) -> bool {
        let is_idle = self.driver == Driver::Idle;
        self.driver = if is_idle { Driver::Driving } else { Driver::DrivingAgain };
        is_idle
    }

    /// Ends the driving, unless something changed meanwhile. Returns whether it ended.
    fn end_driving(&mut self) -> bool {
        let ends = self.driver != Driver::DrivingAgain;
        self.driver = if ends { Driver::Idle } else { Driver::Driving };
        ends
    }

    fn step(&mut self, at_once: usize) -> Step {
        if self.state != ScanState::Running {
            return Step::Wait;
        }
        let step = self.agenda.step(self.under_way.len(), at_once);
        if let Step::Submit(item) = step {
            self.under_way.insert(item, UnderWay::Submitting);
        }
        step
    }

    /// Keeps the ticket of a call, and returns its answer if it is there.
    fn keep<I>(
        &mut self,
        item: usize,
        ticket: Ticket<R, E>,
        engine: &Weak<Engine<I, R, E>>,
    ) -> Option<Answered<R, E>>
    where
        CallWaker<I, R, E>: Wake + Send + Sync + 'static,
    {
        self.under_way.insert(item, UnderWay::Submitted(ticket));
        self.poll(item, engine)
    }

    /// Returns the answer to a call if it is there, or else leaves a waker with it.
    fn poll<I>(&mut self, item: usize, engine: &Weak<Engine<I, R, E>>) -> Option<Answered<R, E>>
    where
        CallWaker<I, R, E>: Wake + Send + Sync + 'static,
    {
        let Some(UnderWay::Submitted(ticket)) = self.under_way.get_mut(&item) else {
            return None;
        };
        let waker = Waker::from(Arc::new(CallWaker { engine: Weak::clone(engine), item }));
        let Poll::Ready(answer) = ticket.poll_answer(&waker) else { return None };
        // Another thread may poll before this one has recorded the answer.
        let ticket = self.under_way.insert(item, UnderWay::Answered);
        Some(Answered { answer, _ticket: ticket })
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
