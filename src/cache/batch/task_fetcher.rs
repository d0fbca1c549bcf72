//! The tasks that wait for a cache of an asynchronous source, and that make its fetches themselves.
//!
//! No thread polls a fetch. The future of the fetch is kept here, and each task that is polled while it waits polls that future
//! too, so the one that was polled last is woken when it can go on. If that task leaves, because it was dropped or its deadline
//! has passed, another one is woken and goes on with the **same** fetch: a caller with a short deadline does not cost the others
//! their request. Once no task waits, the future is dropped.
//!
//! # Gathering
//!
//! A fetch does not begin with the poll that finds work. Its task wakes itself, and so does each task that comes meanwhile. The
//! fetch begins with the first of them that is polled again: an executor has polled all others by then that were ready to run.
//! So a hundred tasks that begin together make one request.
//!
//! # Sharing
//!
//! If the cache shares its values with other processes, the future of a fetch first waits for `task_sharing.rs`.
//!
//! # A task that is not polled
//!
//! A task that waits, is woken, and is not polled holds up those that wait already, until their deadlines. The next task that
//! comes polls the fetch, and is woken from then on. So a task that waits for two lookups and polls the second one alone gets its
//! answer.
//!
//! No lock is held while a future is polled or dropped, nor while a task is woken. The lock here is taken with no other one held,
//! and only that of a manual clock under it.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::bounds::{Key, Shared};
use super::core::Core;
use super::fetch::{Batch, FetchSource, Fetched};
use super::request::PendingRequest;
use super::sharing::Sharing;
use super::task_sharing::wait_for_decision;
use crate::clock::{ActiveGuard, Clock, Sleep, Timer};
use crate::panic::{catch_panic, wake_all};
use crate::quota::Moment;

/// A fetch under way.
pub(in crate::cache) type FetchFuture<K, V, E> =
    Pin<Box<dyn Future<Output = Fetched<K, V, E>> + Send>>;

/// A fetch under way, or the wait for values of other processes. Ready with `None` if those have completed the request.
type PresentFetch<K, V, E> = Pin<Box<dyn Future<Output = Option<Fetched<K, V, E>>> + Send>>;

/// The fetch function. Its future chooses the keys, as late as it can.
type FetchFn<K, V, E> = dyn Fn(Batch<K>) -> FetchFuture<K, V, E> + Send + Sync;

/// The tasks that wait.
pub(super) struct TaskFetcher<K, V, E> {
    fetch: Arc<FetchFn<K, V, E>>,
    clock: Clock,
    timer: Timer,
    state: Mutex<State<K, V, E>>,
    /// How many tasks make refreshes that no caller waits for.
    refreshers: AtomicUsize,
}

struct State<K, V, E> {
    stage: Stage<K, V, E>,
    /// The task that goes on with the fetch: it polled last, or was woken to.
    leader: Option<u64>,
    /// A task found the stage taken, and may have brought work.
    is_missed: bool,
    /// The number of the last gathering.
    gathering: u64,
    waiting: BTreeMap<u64, WaitingTask<K, V, E>>,
    /// The number of the last task.
    last: u64,
}

/// How far the present fetch is.
enum Stage<K, V, E> {
    Idle,
    /// It begins when a task is polled that has waited for others to come.
    Gathering,
    /// It was begun.
    Running(PresentFetch<K, V, E>),
    /// A task is busy with it at this moment, with no lock held.
    Taken,
}

struct WaitingTask<K, V, E> {
    /// `None` if it was woken, and not polled since.
    waker: Option<Waker>,
    /// Held from then until it is polled: an auto-advancing clock does not advance meanwhile.
    woken: Option<ActiveGuard>,
    /// The request that it waits for. Without one it looks at the end of each fetch.
    request: Option<Arc<PendingRequest<K, V, E>>>,
    makes_refreshes: bool,
}

impl<K, V, E> WaitingTask<K, V, E> {
    /// Marks it woken, and returns the waker to call. `None` if it was woken already.
    fn mark_woken(&mut self, clock: &Clock) -> Option<Waker> {
        let waker = self.waker.take()?;
        self.woken = Some(clock.active_guard());
        Some(waker)
    }
}

impl<K, V, E> State<K, V, E> {
    /// Makes any task the leader that was not woken yet, and returns its waker.
    fn choose_leader(&mut self, clock: &Clock) -> Option<Waker> {
        let woken = self
            .waiting
            .iter_mut()
            .find_map(|(number, task)| task.mark_woken(clock).map(|waker| (*number, waker)));
        // Otherwise all of them are going to be polled, or leave.
        let (number, waker) = woken?;
        self.leader = Some(number);
        Some(waker)
    }
}

impl<K, V, E> TaskFetcher<K, V, E> {
    pub(super) fn new(
        clock: Clock,
        fetch: impl Fn(Batch<K>) -> FetchFuture<K, V, E> + Send + Sync + 'static,
    ) -> Self {
        let state = State {
            stage: Stage::Idle,
            leader: None,
            is_missed: false,
            gathering: 0,
            waiting: BTreeMap::new(),
            last: 0,
        };
        Self {
            fetch: Arc::new(fetch),
            timer: Timer::new(clock.clone()),
            clock,
            state: Mutex::new(state),
            refreshers: AtomicUsize::new(0),
        }
    }

    /// Wakes the tasks whose requests were completed, and those that look at the end of each fetch. `is_by_task`: the task calls
    /// this that is busy with the fetch, and that looks by itself.
    pub(super) fn wake_ended(&self, is_by_task: bool) {
        let wakers: Vec<Waker> = {
            let mut state = self.state.lock();
            let State { stage, leader, waiting, .. } = &mut *state;
            let busy = leader.filter(|_| is_by_task && matches!(stage, Stage::Taken));
            let has_news = |(number, task): &(&u64, &mut WaitingTask<K, V, E>)| {
                Some(**number) != busy
                    && task.request.as_ref().is_none_or(|request| request.outcome().is_some())
            };
            let woken = waiting.iter_mut().filter(has_news);
            woken.filter_map(|(_, task)| task.mark_woken(&self.clock)).collect()
        };
        wake_all(wakers);
    }

    /// Returns whether a task makes the refreshes that no caller waits for.
    pub(super) fn has_refresher(&self) -> bool {
        self.refreshers.load(Ordering::Relaxed) > 0
    }

    /// Wakes a task that makes refreshes, because one was asked for.
    pub(super) fn wake_refresher(&self) {
        let waker = {
            let mut state = self.state.lock();
            let mut refreshers = state.waiting.values_mut().filter(|task| task.makes_refreshes);
            refreshers.next().and_then(|task| task.mark_woken(&self.clock))
        };
        wake_all(waker);
    }
}

/// The place of one task among those that wait, from its first poll until it is dropped.
pub(super) struct TaskWait<K: Key, V: Shared, E: Shared> {
    core: Arc<Core<K, V, E>>,
    /// From 1. Zero if it was not polled yet.
    number: u64,
    /// The last gathering in which it woke itself.
    gathered: u64,
    sleep: Option<(Moment, Sleep)>,
    makes_refreshes: bool,
    /// Held while the task looks at what its wait has brought: an auto-advancing clock does not advance meanwhile.
    looking: Option<ActiveGuard>,
}

impl<K: Key, V: Shared, E: Shared + Clone> TaskWait<K, V, E> {
    pub(super) fn new(core: &Arc<Core<K, V, E>>) -> Self {
        let looking = Some(core.config.clock.active_guard());
        let core = Arc::clone(core);
        Self { core, number: 0, gathered: 0, sleep: None, makes_refreshes: false, looking }
    }

    /// Creates the place of a task that makes the refreshes that no caller waits for.
    pub(super) fn refresher(core: &Arc<Core<K, V, E>>) -> Self {
        if let FetchSource::Tasks(tasks) = &core.source {
            tasks.refreshers.fetch_add(1, Ordering::Relaxed);
        }
        let mut refresher = Self::new(core);
        refresher.makes_refreshes = true;
        refresher
    }

    /// Waits until `is_over` holds, at most until `until`, and makes fetches meanwhile. A task that waits for a request is woken
    /// when that is completed, any other one when a fetch has ended.
    pub(super) async fn wait(
        &mut self,
        request: Option<&Arc<PendingRequest<K, V, E>>>,
        until: Option<Moment>,
        is_over: impl Fn() -> bool,
    ) {
        poll_fn(|context| {
            let clock = self.core.config.clock.clone();
            // A broker that sleeps on the clock while it is polled counts as idle, as on a worker of a lane.
            let _participation = clock.participate();
            self.looking = None;
            let poll = self.poll(context, request, until, &is_over);
            self.looking = poll.is_ready().then(|| clock.active_guard());
            poll
        })
        .await
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        request: Option<&Arc<PendingRequest<K, V, E>>>,
        until: Option<Moment>,
        is_over: impl Fn() -> bool,
    ) -> Poll<()> {
        let core = Arc::clone(&self.core);
        // A cache with a thread has no such tasks.
        let FetchSource::Tasks(tasks) = &core.source else { return Poll::Ready(()) };
        loop {
            // First the waker: what ends after this wakes the task.
            self.enter(tasks, context.waker(), request);
            if is_over() {
                return Poll::Ready(());
            }
            // An answer that is here already is taken first. But a task that is about to leave begins no fetch.
            let is_late = until.is_some_and(|until| core.now() >= until);
            if !self.make_fetches(&core, tasks, context, is_late) {
                match is_late {
                    true => return Poll::Ready(()),
                    false => break,
                }
            }
        }
        let Some(until) = until else {
            self.sleep = None;
            return Poll::Pending;
        };
        if self.sleep.as_ref().is_none_or(|(at, _)| *at != until) {
            self.sleep = Some((until, tasks.timer.sleep_until(until)));
        }
        match &mut self.sleep {
            Some((_, sleep)) => Pin::new(sleep).poll(context),
            None => Poll::Pending,
        }
    }

    /// Notes the waker of this task.
    fn enter(
        &mut self,
        tasks: &TaskFetcher<K, V, E>,
        waker: &Waker,
        request: Option<&Arc<PendingRequest<K, V, E>>>,
    ) {
        let task = WaitingTask {
            waker: Some(waker.clone()),
            woken: None,
            request: request.cloned(),
            makes_refreshes: self.makes_refreshes,
        };
        let known = {
            let mut state = tasks.state.lock();
            if self.number == 0 {
                state.last += 1;
                self.number = state.last;
            }
            state.waiting.insert(self.number, task)
        };
        // Dropped without the lock.
        drop(known);
    }

    /// Goes on with the fetch, or begins one if there is something to fetch and the task stays. Returns whether it has to be
    /// called again.
    fn make_fetches(
        &mut self,
        core: &Arc<Core<K, V, E>>,
        tasks: &TaskFetcher<K, V, E>,
        context: &mut Context<'_>,
        is_late: bool,
    ) -> bool {
        let stage = {
            let mut state = tasks.state.lock();
            match &state.stage {
                Stage::Idle | Stage::Gathering if is_late => return false,
                Stage::Taken => {
                    state.is_missed = true;
                    return false;
                }
                Stage::Gathering if self.gathered != state.gathering => {
                    let waker = self.gather(&mut state, &tasks.clock);
                    drop(state);
                    wake_all(waker);
                    return false;
                }
                Stage::Idle | Stage::Gathering | Stage::Running(_) => {}
            }
            state.leader = Some(self.number);
            std::mem::replace(&mut state.stage, Stage::Taken)
        };
        match stage {
            Stage::Idle | Stage::Taken => {
                match catch_panic(|| core.has_work(&mut core.pending.lock())) {
                    Ok(true) => {}
                    Ok(false) => return put_back(tasks, Stage::Idle),
                    Err(_) => return reset(core, tasks, context),
                }
                let waker = {
                    let mut state = tasks.state.lock();
                    state.stage = Stage::Gathering;
                    state.is_missed = false;
                    state.gathering += 1;
                    self.gather(&mut state, &tasks.clock)
                };
                wake_all(waker);
                false
            }
            Stage::Gathering => match catch_panic(|| begin(core, tasks)) {
                Ok(Some(future)) => {
                    put_back(tasks, Stage::Running(future));
                    true
                }
                Ok(None) => put_back(tasks, Stage::Idle),
                Err(_) => reset(core, tasks, context),
            },
            Stage::Running(mut future) => {
                let polled = catch_panic(|| future.as_mut().poll(context));
                let fetched = match polled {
                    Ok(Poll::Pending) => {
                        put_back(tasks, Stage::Running(future));
                        return false;
                    }
                    Ok(Poll::Ready(fetched)) => fetched.map(Ok),
                    Err(message) => Some(Err(message)),
                };
                let _ = catch_panic(|| drop(future));
                if let Some(fetched) = fetched {
                    core.end_fetch(fetched);
                }
                put_back(tasks, Stage::Idle);
                true
            }
        }
    }

    /// Makes this task wait for others to come: it returns the waker by which it is polled again.
    fn gather(&mut self, state: &mut State<K, V, E>, clock: &Clock) -> Option<Waker> {
        self.gathered = state.gathering;
        state.leader = Some(self.number);
        state.waiting.get_mut(&self.number)?.mark_woken(clock)
    }
}

/// Ends what a task did with the stage. Returns whether there may be work that no task saw.
fn put_back<K, V, E>(tasks: &TaskFetcher<K, V, E>, stage: Stage<K, V, E>) -> bool {
    let mut state = tasks.state.lock();
    let is_idle = matches!(stage, Stage::Idle);
    if is_idle {
        state.leader = None;
    }
    state.stage = stage;
    std::mem::take(&mut state.is_missed) && is_idle
}

/// Recovers after the code of a key panicked. The task is polled once more, and looks for work again.
fn reset<K: Key, V: Shared, E: Shared + Clone>(
    core: &Arc<Core<K, V, E>>,
    tasks: &TaskFetcher<K, V, E>,
    context: &Context<'_>,
) -> bool {
    core.reset_after_panic();
    put_back(tasks, Stage::Idle);
    wake_all([context.waker().clone()]);
    false
}

/// Begins a fetch, if there is something to fetch.
fn begin<K: Key, V: Shared, E: Shared + Clone>(
    core: &Arc<Core<K, V, E>>,
    tasks: &TaskFetcher<K, V, E>,
) -> Option<PresentFetch<K, V, E>> {
    let generation = {
        let mut pending = core.pending.lock();
        if core.has_work(&mut pending) { core.begin_fetch(&mut pending)? } else { return None }
    };
    let (batch, fetch) = (core.batch(generation), Arc::clone(&tasks.fetch));
    let linger = core.config.linger;
    let lingers = core.config.clock.is_system() && !linger.is_zero();
    let lingered = lingers.then(|| tasks.timer.sleep_until(core.now() + linger));
    let sharing = core.shared.is_some().then(|| (Arc::downgrade(core), tasks.timer.clone()));
    Some(Box::pin(async move {
        if let Some(lingered) = lingered {
            lingered.await;
        }
        if let Some((core, timer)) = sharing {
            if wait_for_decision(core, generation, timer).await == Sharing::Satisfied {
                return None;
            }
        }
        // The function is code of the source too: it runs, and its panic is caught, where the future is polled.
        Some(fetch(batch).await)
    }))
}

impl<K: Key, V: Shared, E: Shared> Core<K, V, E> {
    /// Ends the wait of a task.
    fn leave(&self, number: u64) {
        let FetchSource::Tasks(tasks) = &self.source else { return };
        let own = {
            let mut state = tasks.state.lock();
            if state.leader == Some(number) && !matches!(state.stage, Stage::Taken) {
                state.leader = None;
            }
            state.waiting.remove(&number)
        };
        drop(own);
        self.pass_on(tasks);
    }

    /// Wakes a task to go on with the fetch, if none does, or drops the fetch if none waits.
    fn pass_on(&self, tasks: &TaskFetcher<K, V, E>) {
        loop {
            let abandoned = {
                let mut state = tasks.state.lock();
                if state.leader.is_some() || matches!(state.stage, Stage::Taken) {
                    return;
                }
                if !state.waiting.is_empty() {
                    let is_idle = matches!(state.stage, Stage::Idle);
                    drop(state);
                    // A task that comes later sees its own work.
                    if is_idle && !self.has_awaited() {
                        return;
                    }
                    let waker = {
                        let mut state = tasks.state.lock();
                        let is_led = state.leader.is_some() || matches!(state.stage, Stage::Taken);
                        if is_led { None } else { state.choose_leader(&tasks.clock) }
                    };
                    return wake_all(waker);
                }
                match std::mem::replace(&mut state.stage, Stage::Idle) {
                    Stage::Running(future) => {
                        state.stage = Stage::Taken;
                        state.is_missed = false;
                        future
                    }
                    Stage::Idle | Stage::Gathering | Stage::Taken => return,
                }
            };
            let _ = catch_panic(|| drop(abandoned));
            let _ = catch_panic(|| self.reopen_in_flight());
            put_back(tasks, Stage::Idle);
            // A task may have come in between, and may have joined the request.
        }
    }
}

impl<K: Key, V: Shared, E: Shared> Drop for TaskWait<K, V, E> {
    fn drop(&mut self) {
        if let FetchSource::Tasks(tasks) = &self.core.source {
            if self.makes_refreshes {
                tasks.refreshers.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if self.number != 0 {
            self.core.leave(self.number);
        }
    }
}
