//! The scheduler: holds the queued calls of a lane and decides which one is sent next.
//!
//! Calls are ordered by priority. Within a priority, users take turns, and the calls of one user go first in, first
//! out. A user may have to wait for a minimum interval after each call. This cooldown holds up no other user.
//!
//! A call that its *lane* has no capacity for blocks all calls behind it in this order. Otherwise lighter calls would
//! take each slot as it comes free, and a heavy call would starve. A call whose *budget* is spent is passed by calls that cost no
//! slots of that budget, and by urgent calls, for which a budget may keep a reserve. A call that costs two budgets may
//! be passed at each of them while it waits for the other.
//!
//! To prevent starvation, a call becomes overdue once it has waited for a set multiple of its fair wait. The fair wait
//! is the wait in a queue without priorities and users, estimated at submission. Overdue calls go before all but urgent
//! ones. So from then on only urgent calls and calls that became overdue earlier are sent before it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::held::HeldCalls;
use super::load::QueueLoad;
use super::priority_level::{Job, PriorityLevel, QueueEntry, User};
use super::selection::{Availability, SelectionPass};
use crate::lane::call::CallMeta;
use crate::lane::call::priority::Priority;
use crate::lane::call::worker_class::WorkerClass;
use crate::lane::workers::route_breakers::BlockedRoute;
use crate::quota::{Cost, Moment, NoCapacity, NotYet};

/// The queued calls of one lane.
pub(crate) struct Scheduler {
    levels: [PriorityLevel; Priority::COUNT],
    /// When each call becomes overdue, by cost: a cost without capacity is considered once.
    overdue: Vec<(Cost, JobsByTime)>,
    /// When each call's deadline passes.
    deadlines: JobsByTime,
    /// Retries whose delay has not passed, by when it does.
    delayed_retries: BTreeMap<(Moment, u64), QueueEntry>,
    /// Users in cooldown, by when it ends.
    cooling_down: BTreeMap<(Moment, u64), (usize, User)>,
    load: QueueLoad,
    user_interval: Duration,
    /// The number of urgent reads and urgent writes, retries included.
    urgent_reads: usize,
    urgent_writes: usize,
    /// The number of normal calls of each route class, retries and held calls included.
    by_route: Vec<(&'static str, usize)>,
    held: HeldCalls,
}

/// Calls by a moment, and by number where moments are equal.
pub(super) type JobsByTime = BTreeMap<(Moment, u64), Job>;

/// The result of a selection: what the polling worker does next.
pub(crate) enum Selection {
    /// This call is next, and there is capacity for it now.
    Next(Job),
    /// No call can be sent before this moment, or before something changes.
    Wait(Option<Moment>),
    /// Calls with this cost can never be sent.
    Never(Cost),
}

/// For this long a retry is ordered behind the first attempts of its priority. This bounds how long first attempts can starve it.
const RETRY_AGING: Duration = Duration::from_secs(10);

fn insert_overdue(all: &mut Vec<(Cost, JobsByTime)>, cost: Cost, key: (Moment, u64), job: Job) {
    match all.iter_mut().find(|(known, _)| *known == cost) {
        Some((_, timed)) => drop(timed.insert(key, job)),
        None => all.push((cost, JobsByTime::from([(key, job)]))),
    }
}

impl Scheduler {
    /// Creates an empty scheduler. `user_interval` is the minimum time between two calls of one user with the same
    /// priority.
    pub(crate) fn new(user_interval: Duration) -> Self {
        Self {
            levels: Default::default(),
            overdue: Vec::new(),
            deadlines: BTreeMap::new(),
            delayed_retries: BTreeMap::new(),
            cooling_down: BTreeMap::new(),
            load: QueueLoad::default(),
            user_interval,
            urgent_reads: 0,
            urgent_writes: 0,
            by_route: Vec::new(),
            held: HeldCalls::default(),
        }
    }

    /// Queues a call, which becomes overdue at `overdue_at`, if at all.
    pub(crate) fn push(&mut self, job: Job, overdue_at: Option<Moment>) {
        let meta = job.meta();
        *self.counter_mut(meta) += 1;
        if let Some(at) = meta.deadline {
            self.deadlines.insert((at, meta.number), job.clone());
        }
        self.enqueue(QueueEntry { job, overdue_at });
    }

    fn enqueue(&mut self, entry: QueueEntry) {
        let meta = entry.job.meta();
        let (number, cost) = (meta.number, meta.cost);
        self.load.add(cost);
        if let Some(at) = entry.overdue_at {
            insert_overdue(&mut self.overdue, cost, (at, number), entry.job.clone());
        }
        self.levels[meta.priority.index()].push(entry);
    }

    /// Queues a retry, which may be sent from `at` on, after the first attempts of its priority. From `overdue_at` on
    /// it goes before all but urgent calls, like any other call.
    pub(crate) fn push_retry(&mut self, job: Job, at: Moment, overdue_at: Option<Moment>) {
        let meta = job.meta();
        *self.counter_mut(meta) += 1;
        if let Some(deadline) = meta.deadline {
            self.deadlines.insert((deadline, meta.number), job.clone());
        }
        self.delayed_retries.insert((at, meta.number), QueueEntry { job, overdue_at });
    }

    /// Returns the number of calls that wait for another attempt.
    pub(crate) fn retrying(&self) -> usize {
        self.delayed_retries.len()
            + self.levels.iter().map(|level| level.retries().count()).sum::<usize>()
    }

    /// Removes a call, if it is queued. Drop the returned job without holding a lock: its destructor is user code.
    #[must_use]
    pub(crate) fn remove(&mut self, meta: &CallMeta) -> Option<Job> {
        let removed = self.remove_uncounted(meta)?;
        *self.counter_mut(meta) -= 1;
        Some(removed)
    }

    fn remove_uncounted(&mut self, meta: &CallMeta) -> Option<Job> {
        let number = meta.number;
        if let Some(at) = meta.deadline {
            self.deadlines.remove(&(at, number));
        }
        if let Some(entry) = self.dequeue(meta).or_else(|| self.held.remove(meta)) {
            return Some(entry.job);
        }
        // There are few delayed retries, because they draw on the retry budget.
        let at = self.delayed_retries.keys().find(|(_, other)| *other == number).copied()?;
        self.delayed_retries.remove(&at).map(|entry| entry.job)
    }

    /// Reverses [`enqueue`](Self::enqueue).
    fn dequeue(&mut self, meta: &CallMeta) -> Option<QueueEntry> {
        let CallMeta { number, cost, .. } = *meta;
        let entry = self.levels[meta.priority.index()].remove(&meta.user, cost, number)?;
        self.load.remove(cost);
        if let Some(at) = entry.overdue_at {
            if let Some(index) = self.overdue.iter().position(|(known, _)| *known == cost) {
                self.overdue[index].1.remove(&(at, number));
                if self.overdue[index].1.is_empty() {
                    self.overdue.swap_remove(index);
                }
            }
        }
        Some(entry)
    }

    /// Removes the call that is dispatched now, and moves its user to the back.
    #[must_use]
    pub(crate) fn take_dispatched(&mut self, meta: &CallMeta, now: Moment) -> Option<Job> {
        let level = meta.priority.index();
        // An urgent call starts no cooldown: it would hold up the user's next exit.
        let has_interval = !self.user_interval.is_zero() && !meta.is_urgent();
        let eligible = has_interval.then(|| now + self.user_interval);
        self.levels[level].rotate(&meta.user, eligible);
        if let Some(eligible) = eligible {
            self.cooling_down.insert((eligible, meta.number), (level, meta.user.clone()));
        }
        self.remove(meta)
    }

    /// Returns whether a new call may skip the queue: none is queued, and no user can be in cooldown.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_empty() && self.user_interval.is_zero()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.load.is_empty() && self.delayed_retries.is_empty() && self.held.is_empty()
    }

    /// Returns whether a call of this class is queued, held or delayed.
    pub(in crate::lane) fn has_waiting(&self, class: WorkerClass) -> bool {
        let waiting = match class {
            WorkerClass::Normal => self.by_route.iter().map(|(_, calls)| *calls).sum(),
            WorkerClass::UrgentRead => self.urgent_reads,
            WorkerClass::UrgentWrite => self.urgent_writes,
        };
        waiting > 0
    }

    /// Returns the cost of the urgent call that is next, if one is queued.
    pub(in crate::lane) fn next_urgent_cost(&self) -> Option<Cost> {
        let heads = self.levels[Priority::URGENT.index()].heads();
        heads.first().map(|job| job.meta().cost)
    }

    /// Returns the load of the queued calls, without held calls and delayed retries.
    pub(crate) fn load(&self) -> &QueueLoad {
        &self.load
    }

    /// Returns when the next deadline passes.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first_key_value().map(|((at, _), _)| *at)
    }

    /// Removes and returns the calls whose deadline has passed. The caller has to reject them.
    pub(crate) fn take_expired(&mut self, now: Moment) -> Vec<Job> {
        let mut expired = Vec::new();
        while let Some((_, job)) =
            self.deadlines.first_key_value().filter(|((at, _), _)| *at <= now)
        {
            let job = job.clone();
            expired.extend(self.remove(job.meta()));
        }
        expired
    }

    /// Selects the next call among those of class `min_class` or higher. `check_capacity` returns whether there is
    /// capacity for a cost.
    pub(in crate::lane) fn select(
        &mut self,
        now: Moment,
        min_class: WorkerClass,
        mut check_capacity: impl FnMut(Cost) -> Result<(), NoCapacity>,
    ) -> Selection {
        self.expire_cooldowns(now);
        self.enqueue_due_retries(now);
        let costs =
            self.load.costs().filter(|cost| cost.urgent || min_class == WorkerClass::Normal);
        let availability: Availability = costs.map(|cost| (cost, check_capacity(cost))).collect();
        let never = |capacity: &Result<(), NoCapacity>| {
            matches!(capacity, Err(NoCapacity { not_yet: NotYet::Never, .. }))
        };
        if let Some((cost, _)) = availability.iter().find(|(_, capacity)| never(capacity)) {
            return Selection::Never(*cost);
        }
        let next_retry = self.delayed_retries.first_key_value().map(|((at, _), _)| *at);
        let next_cooldown_end = self.cooling_down.first_key_value().map(|((at, _), _)| *at);
        let next_cooldown_end = next_cooldown_end.filter(|_| !self.load.is_empty());
        let wake_at = next_retry.into_iter().chain(next_cooldown_end).min();
        let pass = SelectionPass::new(now, &availability, wake_at);
        match min_class {
            WorkerClass::Normal => pass.select(&self.levels, &self.overdue),
            WorkerClass::UrgentRead => pass.select(&self.levels[..1], &[]),
            WorkerClass::UrgentWrite => pass.select_write(&self.levels[0]),
        }
    }

    fn expire_cooldowns(&mut self, now: Moment) {
        while let Some(first) = self.cooling_down.first_entry().filter(|first| first.key().0 <= now)
        {
            let (level, user) = first.remove();
            self.levels[level].end_cooldown(&user, now);
        }
    }

    /// Queues the retries whose delay has passed. They go behind the first attempts.
    fn enqueue_due_retries(&mut self, now: Moment) {
        while let Some(first) =
            self.delayed_retries.first_entry().filter(|first| first.key().0 <= now)
        {
            let due = first.key().0;
            let entry = first.remove();
            let meta = entry.job.meta();
            let (cost, number, level) = (meta.cost, meta.number, meta.priority.index());
            self.load.add(cost);
            if let Some(at) = entry.overdue_at {
                insert_overdue(&mut self.overdue, cost, (at, number), entry.job.clone());
            }
            self.levels[level].push_retry(entry, due + RETRY_AGING);
        }
    }

    /// Removes and returns all calls. The caller has to reject them.
    pub(crate) fn drain(&mut self) -> Vec<Job> {
        let delayed = std::mem::take(&mut self.delayed_retries);
        self.overdue.clear();
        self.deadlines.clear();
        self.cooling_down.clear();
        self.load = QueueLoad::default();
        (self.urgent_reads, self.urgent_writes) = (0, 0);
        self.by_route.clear();
        let held = std::mem::take(&mut self.held).into_entries();
        self.levels
            .iter_mut()
            .flat_map(PriorityLevel::drain)
            .chain(delayed.into_values().chain(held).map(|entry| entry.job))
            .collect()
    }

    /// Returns whether a call that `is_meant` is queued, held or delayed.
    pub(in crate::lane) fn has_any(&self, is_meant: impl Fn(&CallMeta) -> bool) -> bool {
        self.all_calls().any(|job| is_meant(job.meta()))
    }

    /// Removes and returns every call that `is_meant`. The caller has to reject them.
    pub(in crate::lane) fn drain_matching(
        &mut self,
        is_meant: impl Fn(&CallMeta) -> bool,
    ) -> Vec<Job> {
        let meant = self.all_calls().filter(|job| is_meant(job.meta()));
        let meant: Vec<Job> = meant.cloned().collect();
        meant.into_iter().filter_map(|job| self.remove(job.meta())).collect()
    }

    /// Iterates over all calls: queued, held and delayed.
    fn all_calls(&self) -> impl Iterator<Item = &Job> {
        let user_queues = self.levels.iter().flat_map(PriorityLevel::user_queues);
        let queued = user_queues.flat_map(|(_, user_queue)| user_queue.jobs());
        let retries = self.levels.iter().flat_map(PriorityLevel::retries);
        let delayed = self.delayed_retries.values().map(|entry| &entry.job);
        queued.chain(retries).chain(delayed).chain(self.held.calls())
    }

    /// Removes and returns every queued call with this cost. The caller has to reject them.
    pub(crate) fn drain_cost(&mut self, cost: Cost) -> Vec<Job> {
        let all = self.levels.iter().flat_map(PriorityLevel::user_queues);
        let with_cost = all.flat_map(|(_, user_queue)| user_queue.with_cost(cost));
        let retries = self.levels.iter().flat_map(PriorityLevel::retries);
        let retries = retries.filter(|job| job.meta().cost == cost);
        let with_cost: Vec<Job> = with_cost.chain(retries).cloned().collect();
        with_cost.into_iter().filter_map(|job| self.remove(job.meta())).collect()
    }

    /// Sets aside the normal calls of a blocked route class. Calls for which `should_hold` returns `true` are held. The others
    /// are removed and returned, and the caller has to reject them.
    pub(in crate::lane) fn hold_or_refuse(
        &mut self,
        blocked: &BlockedRoute,
        should_hold: impl Fn(&CallMeta) -> bool,
    ) -> Vec<Job> {
        // Each poll runs this while a route is blocked, so it must not walk through the whole queue each time.
        let of_route = self.by_route.iter().find(|(route, _)| *route == blocked.route);
        let calls = of_route.map_or(0, |(_, calls)| *calls);
        let has_new_failure = self.held.note_failed_half_open(blocked);
        let mut rejected = Vec::new();
        if calls > self.held.count(blocked.route) {
            let of_route = self.normal_calls(|route| route == blocked.route);
            let (to_hold, to_reject): (Vec<_>, Vec<_>) =
                of_route.into_iter().partition(|job| should_hold(job.meta()));
            let entries = to_hold.into_iter().filter_map(|job| self.dequeue(job.meta()));
            let entries: Vec<_> = entries.collect();
            self.held.hold(blocked.route, entries);
            rejected.extend(to_reject);
        }
        if has_new_failure {
            rejected.extend(self.held.matching(blocked.route, |meta| !should_hold(meta)));
        }
        rejected.into_iter().filter_map(|job| self.remove(job.meta())).collect()
    }

    /// Returns whether calls of a route class are held.
    pub(in crate::lane) fn holds_route(&self, route: &'static str) -> bool {
        self.held.count(route) > 0
    }

    /// Queues the held calls whose route class is no longer blocked.
    pub(in crate::lane) fn release_held(&mut self, is_blocked: impl Fn(&'static str) -> bool) {
        for entry in self.held.release(is_blocked) {
            self.enqueue(entry);
        }
    }

    /// Removes and returns every normal call. The caller has to reject them.
    pub(crate) fn drain_normal(&mut self) -> Vec<Job> {
        if !self.has_waiting(WorkerClass::Normal) {
            return Vec::new();
        }
        let held = self.held.calls().cloned();
        let normal: Vec<Job> = self.normal_calls(|_| true).into_iter().chain(held).collect();
        normal.into_iter().filter_map(|job| self.remove(job.meta())).collect()
    }

    /// Returns the normal calls whose route class matches, without held ones.
    fn normal_calls(&self, matches: impl Fn(&'static str) -> bool) -> Vec<Job> {
        let queued = self
            .levels
            .iter()
            .flat_map(PriorityLevel::user_queues)
            .flat_map(|(_, user_queue)| user_queue.jobs());
        let retries = self.levels.iter().flat_map(PriorityLevel::retries);
        let delayed = self.delayed_retries.values().map(|entry| &entry.job);
        let is_normal = |job: &&Job| matches(job.meta().route) && !job.meta().is_urgent();
        queued.chain(retries).chain(delayed).filter(is_normal).cloned().collect()
    }

    /// Returns the counter that includes this call.
    fn counter_mut(&mut self, meta: &CallMeta) -> &mut usize {
        match meta.worker_class() {
            WorkerClass::UrgentRead => return &mut self.urgent_reads,
            WorkerClass::UrgentWrite => return &mut self.urgent_writes,
            WorkerClass::Normal => {}
        }
        let index = match self.by_route.iter().position(|(known, _)| *known == meta.route) {
            Some(index) => index,
            None => {
                self.by_route.push((meta.route, 0));
                self.by_route.len() - 1
            }
        };
        &mut self.by_route[index].1
    }

    /// Returns the call to shed in favour of a call of `priority`: the newest call of the lowest priority, if that is
    /// lower. A call that does not count in the limit of the queue has no slot to give.
    pub(crate) fn shed_candidate(&self, priority: Priority) -> Option<Job> {
        let lower =
            self.levels.iter().skip(priority.index() + 1).filter_map(PriorityLevel::newest_counted);
        let may_be_shed = |meta: &CallMeta| meta.is_counted && meta.priority > priority;
        let held = self.held.calls().filter(|job| may_be_shed(job.meta()));
        lower.chain(held).max_by_key(|job| (job.meta().priority, job.meta().number)).cloned()
    }

    /// Returns the load that goes before a call, in the present order: all calls of higher priority, and the turns of
    /// the other users of its priority until it is reached. `None` if it is not in a user queue.
    pub(crate) fn load_ahead_of(&self, meta: &CallMeta) -> Option<QueueLoad> {
        let user_queue = self.levels[meta.priority.index()].user_queue(&meta.user)?;
        let is_queued = user_queue.contains(meta.cost, meta.number);
        is_queued.then(|| self.load_ahead(meta.priority, &meta.user, Some(meta.number)))
    }

    /// Returns the load that would go before one more call of this user.
    pub(crate) fn load_ahead_of_next(&self, priority: Priority, user: &User) -> QueueLoad {
        self.load_ahead(priority, user, None)
    }

    fn load_ahead(&self, priority: Priority, user: &User, number: Option<u64>) -> QueueLoad {
        let mut ahead = QueueLoad::default();
        for level in &self.levels[..priority.index()] {
            ahead.add_load(level.load());
        }
        self.levels[priority.index()].add_load_ahead(user, number, &mut ahead);
        ahead
    }

    /// Counts the queued and held calls by priority and by user, and finds the oldest of them.
    pub(crate) fn stats(&self) -> QueueStats {
        let mut stats = QueueStats::default();
        for (level, priority) in self.levels.iter().zip(1_u8..) {
            let first_attempts = level.load().calls() - level.retries().count();
            if first_attempts > 0 {
                stats.by_priority.insert(priority, first_attempts);
            }
            for (user, user_queue) in level.user_queues() {
                let user = user.as_deref().unwrap_or_default();
                match stats.by_user.get_mut(user) {
                    Some(calls) => *calls += user_queue.calls(),
                    None => drop(stats.by_user.insert(user.to_owned(), user_queue.calls())),
                }
                stats.oldest = stats.oldest.into_iter().chain(user_queue.oldest()).min();
            }
        }
        for meta in self.held.calls().map(|job| job.meta()) {
            *stats.by_priority.entry(meta.priority.get()).or_default() += 1;
            let user = meta.user.as_deref().unwrap_or_default().to_owned();
            *stats.by_user.entry(user).or_default() += 1;
            stats.oldest = stats.oldest.into_iter().chain([meta.submitted_at]).min();
        }
        stats
    }
}

/// Statistics of the calls that wait for their first attempt.
#[derive(Debug, Default)]
pub(crate) struct QueueStats {
    pub(crate) by_priority: BTreeMap<u8, usize>,
    pub(crate) by_user: BTreeMap<String, usize>,
    pub(crate) oldest: Option<Moment>,
}
