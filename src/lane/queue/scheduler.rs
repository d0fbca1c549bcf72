//! Which call goes next.
//!
//! By priority first; among calls of one priority a turn for each user; among calls of one user the
//! first in, the first out. A user who went a moment ago may have to wait for a least interval: that
//! holds up nobody else.
//!
//! A call that its lane has no room for waits, and nobody of lower rank passes it: lighter calls
//! would take each slot as it comes free, and a heavy one would wait for ever. A call whose budget
//! is spent is passed by those that are not charged to that budget, and by urgent ones, for which a
//! budget may keep a reserve. One that is charged to two may be passed at each while it waits for the other.
//!
//! So that nobody waits for ever, a call that has waited for a set multiple of its fair wait is
//! overdue, and goes before all but the urgent ones, which are sent first whatever happens. The fair
//! wait is what it would have been in a queue without priorities and users, as seen when it came in.
//! From then on only calls that were overdue before it and urgent ones are sent before it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::held::HeldCalls;
use super::load::QueueLoad;
use super::priority_level::{Job, PriorityLevel, QueueEntry, User};
use super::selection::{Availability, SelectionPass};
use crate::lane::call::CallMeta;
use crate::lane::call::priority::Priority;
use crate::lane::call::rank::Rank;
use crate::lane::workers::route_breakers::BlockedRoute;
use crate::quota::{Cost, Moment, NoCapacity, NotYet};

/// The calls that wait in one lane.
pub(crate) struct Scheduler {
    levels: [PriorityLevel; Priority::COUNT],
    /// When each call is overdue, by kind of charge: a kind that cannot be paid is looked at once.
    overdue: Vec<(Cost, JobsByTime)>,
    /// When each call's deadline passes.
    deadlines: JobsByTime,
    /// Calls that failed and go again, by when they may.
    delayed_retries: BTreeMap<(Moment, u64), QueueEntry>,
    /// Users whose interval is not over, by when it is.
    cooling_down: BTreeMap<(Moment, u64), (usize, User)>,
    load: QueueLoad,
    user_interval: Duration,
    /// How many of all these are urgent reads, and how many urgent writes.
    urgent_reads: usize,
    urgent_writes: usize,
    /// How many of the others there are of each route class.
    by_route: Vec<(&'static str, usize)>,
    held: HeldCalls,
}

/// Calls by a time, and by number where that is the same.
pub(super) type JobsByTime = BTreeMap<(Moment, u64), Job>;

/// What the leader is to do.
pub(crate) enum Selection {
    /// This call is the next, and there is room for it now.
    Next(Job),
    /// Nothing can go before this moment, or before something changes.
    Wait(Option<Moment>),
    /// Calls of this kind can never go.
    Never(Cost),
}

/// How long a call that goes again lets the first attempts of its priority pass.
const RETRY_AGING: Duration = Duration::from_secs(10);

fn insert_overdue(all: &mut Vec<(Cost, JobsByTime)>, charge: Cost, key: (Moment, u64), job: Job) {
    match all.iter_mut().find(|(known, _)| *known == charge) {
        Some((_, timed)) => drop(timed.insert(key, job)),
        None => all.push((charge, JobsByTime::from([(key, job)]))),
    }
}

impl Scheduler {
    /// `interval` is the least time between two calls of one user of the same priority.
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            levels: Default::default(),
            overdue: Vec::new(),
            deadlines: BTreeMap::new(),
            delayed_retries: BTreeMap::new(),
            cooling_down: BTreeMap::new(),
            load: QueueLoad::default(),
            user_interval: interval,
            urgent_reads: 0,
            urgent_writes: 0,
            by_route: Vec::new(),
            held: HeldCalls::default(),
        }
    }

    /// Takes a call in, which is overdue at `overdue` if it ever is.
    pub(crate) fn push(&mut self, job: Job, overdue: Option<Moment>) {
        let info = job.meta();
        *self.counter_mut(info) += 1;
        if let Some(at) = info.deadline {
            self.deadlines.insert((at, info.number), job.clone());
        }
        self.enqueue(QueueEntry { job, overdue_at: overdue });
    }

    fn enqueue(&mut self, entry: QueueEntry) {
        let info = entry.job.meta();
        let (number, charge) = (info.number, info.cost);
        self.load.add(charge);
        if let Some(at) = entry.overdue_at {
            insert_overdue(&mut self.overdue, charge, (at, number), entry.job.clone());
        }
        self.levels[info.priority.index()].push(entry);
    }

    /// Takes a call in that failed, and may go again from `at` on: after the others of its priority. From
    /// `overdue` on it goes before all but the urgent ones, as any other does.
    pub(crate) fn push_retry(&mut self, job: Job, at: Moment, overdue: Option<Moment>) {
        let info = job.meta();
        *self.counter_mut(info) += 1;
        if let Some(deadline) = info.deadline {
            self.deadlines.insert((deadline, info.number), job.clone());
        }
        self.delayed_retries.insert((at, info.number), QueueEntry { job, overdue_at: overdue });
    }

    /// How many calls wait for another attempt.
    pub(crate) fn retrying(&self) -> usize {
        self.delayed_retries.len()
            + self.levels.iter().map(|band| band.retries().count()).sum::<usize>()
    }

    /// Takes a call out, if it is here. What is given is to be dropped where no lock is held.
    #[must_use]
    pub(crate) fn remove(&mut self, info: &CallMeta) -> Option<Job> {
        let removed = self.remove_uncounted(info)?;
        *self.counter_mut(info) -= 1;
        Some(removed)
    }

    fn remove_uncounted(&mut self, info: &CallMeta) -> Option<Job> {
        let number = info.number;
        if let Some(at) = info.deadline {
            self.deadlines.remove(&(at, number));
        }
        if let Some(entry) = self.dequeue(info).or_else(|| self.held.remove(info)) {
            return Some(entry.job);
        }
        // There are few of these: retries have a budget.
        let at = self.delayed_retries.keys().find(|(_, other)| *other == number).copied()?;
        self.delayed_retries.remove(&at).map(|entry| entry.job)
    }

    /// The reverse of [`enqueue`](Self::enqueue).
    fn dequeue(&mut self, info: &CallMeta) -> Option<QueueEntry> {
        let CallMeta { number, cost: charge, .. } = *info;
        let entry = self.levels[info.priority.index()].remove(&info.user, charge, number)?;
        self.load.remove(charge);
        if let Some(at) = entry.overdue_at {
            if let Some(index) = self.overdue.iter().position(|(known, _)| *known == charge) {
                self.overdue[index].1.remove(&(at, number));
                if self.overdue[index].1.is_empty() {
                    self.overdue.swap_remove(index);
                }
            }
        }
        Some(entry)
    }

    /// Takes out the call that goes now: its user had a turn.
    #[must_use]
    pub(crate) fn take_dispatched(&mut self, info: &CallMeta, now: Moment) -> Option<Job> {
        let band = info.priority.index();
        // Nothing holds up an exit, and so not the exit before it.
        let has_interval = !self.user_interval.is_zero() && !info.is_urgent();
        let eligible = has_interval.then(|| now + self.user_interval);
        self.levels[band].rotate(&info.user, eligible);
        if let Some(eligible) = eligible {
            self.cooling_down.insert((eligible, info.number), (band, info.user.clone()));
        }
        self.remove(info)
    }

    /// Nothing waits, and nobody has to: a call that comes now needs no place here.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_empty() && self.user_interval.is_zero()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.load.is_empty() && self.delayed_retries.is_empty() && self.held.is_empty()
    }

    /// Whether a call of this rank waits, for another attempt too.
    pub(in crate::lane) fn has_waiting(&self, rank: Rank) -> bool {
        let waiting = match rank {
            Rank::Normal => self.by_route.iter().map(|(_, calls)| *calls).sum(),
            Rank::UrgentRead => self.urgent_reads,
            Rank::UrgentWrite => self.urgent_writes,
        };
        waiting > 0
    }

    /// What waits, by kind.
    pub(crate) fn load(&self) -> &QueueLoad {
        &self.load
    }

    /// When the next deadline passes.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out the calls whose deadline has passed. They are still to be refused.
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

    /// The call that goes next, if there is room for one: of those of the rank `least` or a higher one. `room`
    /// tells of a charge whether there is.
    pub(in crate::lane) fn select(
        &mut self,
        now: Moment,
        least: Rank,
        mut room: impl FnMut(Cost) -> Result<(), NoCapacity>,
    ) -> Selection {
        self.expire_cooldowns(now);
        self.enqueue_due_retries(now);
        let kinds = self.load.costs().filter(|kind| kind.urgent || least == Rank::Normal);
        let verdicts: Availability = kinds.map(|kind| (kind, room(kind))).collect();
        let never = |verdict: &Result<(), NoCapacity>| {
            matches!(verdict, Err(NoCapacity { not_yet: NotYet::Never, .. }))
        };
        if let Some((kind, _)) = verdicts.iter().find(|(_, verdict)| never(verdict)) {
            return Selection::Never(*kind);
        }
        let next_again = self.delayed_retries.first_key_value().map(|((at, _), _)| *at);
        let next_rested = self.cooling_down.first_key_value().map(|((at, _), _)| *at);
        let next_rested = next_rested.filter(|_| !self.load.is_empty());
        let wait = next_again.into_iter().chain(next_rested).min();
        let round = SelectionPass::new(now, &verdicts, wait);
        match least {
            Rank::Normal => round.select(&self.levels, &self.overdue),
            Rank::UrgentRead => round.select(&self.levels[..1], &[]),
            Rank::UrgentWrite => round.select_write(&self.levels[0]),
        }
    }

    fn expire_cooldowns(&mut self, now: Moment) {
        while let Some(first) = self.cooling_down.first_entry().filter(|first| first.key().0 <= now)
        {
            let (band, user) = first.remove();
            self.levels[band].end_cooldown(&user, now);
        }
    }

    /// Calls whose delay is over wait like any other, but behind the first attempts.
    fn enqueue_due_retries(&mut self, now: Moment) {
        while let Some(first) =
            self.delayed_retries.first_entry().filter(|first| first.key().0 <= now)
        {
            let due = first.key().0;
            let entry = first.remove();
            let info = entry.job.meta();
            let (charge, number, band) = (info.cost, info.number, info.priority.index());
            self.load.add(charge);
            if let Some(at) = entry.overdue_at {
                insert_overdue(&mut self.overdue, charge, (at, number), entry.job.clone());
            }
            self.levels[band].push_retry(entry, due + RETRY_AGING);
        }
    }

    /// Everything that waits, taken out. It is still to be refused.
    pub(crate) fn drain(&mut self) -> Vec<Job> {
        let later = std::mem::take(&mut self.delayed_retries);
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
            .chain(later.into_values().chain(held).map(|entry| entry.job))
            .collect()
    }

    /// Every call of one kind, taken out. They are still to be refused.
    pub(crate) fn drain_cost(&mut self, charge: Cost) -> Vec<Job> {
        let all = self.levels.iter().flat_map(PriorityLevel::user_queues);
        let of_kind = all.flat_map(|(_, line)| line.with_cost(charge));
        let again = self.levels.iter().flat_map(PriorityLevel::retries);
        let again = again.filter(|job| job.meta().cost == charge);
        let of_kind: Vec<Job> = of_kind.chain(again).cloned().collect();
        of_kind.into_iter().filter_map(|job| self.remove(job.meta())).collect()
    }

    /// Every call of a route class that is down and that is not urgent: those that `waits` speaks for are held, and
    /// the others taken out. They are still to be refused.
    pub(in crate::lane) fn hold_or_refuse(
        &mut self,
        down: &BlockedRoute,
        waits: impl Fn(&CallMeta) -> bool,
    ) -> Vec<Job> {
        // Asked at each look while a route is down: it must not cost a walk through all that waits.
        let of_route = self.by_route.iter().find(|(route, _)| *route == down.route);
        let calls = of_route.map_or(0, |(_, calls)| *calls);
        let is_news = self.held.note_failed_half_open(down);
        let mut refused = Vec::new();
        if calls > self.held.count(down.route) {
            let of_route = self.normal_calls(|route| route == down.route);
            let (to_hold, to_refuse): (Vec<_>, Vec<_>) =
                of_route.into_iter().partition(|job| waits(job.meta()));
            let entries = to_hold.into_iter().filter_map(|job| self.dequeue(job.meta()));
            let entries: Vec<_> = entries.collect();
            self.held.hold(down.route, entries);
            refused.extend(to_refuse);
        }
        if is_news {
            refused.extend(self.held.matching(down.route, |info| !waits(info)));
        }
        refused.into_iter().filter_map(|job| self.remove(job.meta())).collect()
    }

    /// Whether calls of a route are held.
    pub(in crate::lane) fn holds_route(&self, route: &'static str) -> bool {
        self.held.count(route) > 0
    }

    /// The calls of routes that are down no more wait like any other.
    pub(in crate::lane) fn release_held(&mut self, is_down: impl Fn(&'static str) -> bool) {
        for entry in self.held.release(is_down) {
            self.enqueue(entry);
        }
    }

    /// Every call that is not urgent, taken out. They are still to be refused.
    pub(crate) fn drain_normal(&mut self) -> Vec<Job> {
        if !self.has_waiting(Rank::Normal) {
            return Vec::new();
        }
        let held = self.held.calls().cloned();
        let lesser: Vec<Job> = self.normal_calls(|_| true).into_iter().chain(held).collect();
        lesser.into_iter().filter_map(|job| self.remove(job.meta())).collect()
    }

    /// Those of the calls that are not urgent whose route is meant, but for those that are held.
    fn normal_calls(&self, is_meant: impl Fn(&'static str) -> bool) -> Vec<Job> {
        let lines = self
            .levels
            .iter()
            .flat_map(PriorityLevel::user_queues)
            .flat_map(|(_, line)| line.jobs());
        let again = self.levels.iter().flat_map(PriorityLevel::retries);
        let later = self.delayed_retries.values().map(|entry| &entry.job);
        let is_lesser = |job: &&Job| is_meant(job.meta().route) && !job.meta().is_urgent();
        lines.chain(again).chain(later).filter(is_lesser).cloned().collect()
    }

    /// The count in which a call is.
    fn counter_mut(&mut self, info: &CallMeta) -> &mut usize {
        match info.rank() {
            Rank::UrgentRead => return &mut self.urgent_reads,
            Rank::UrgentWrite => return &mut self.urgent_writes,
            Rank::Normal => {}
        }
        let index = match self.by_route.iter().position(|(known, _)| *known == info.route) {
            Some(index) => index,
            None => {
                self.by_route.push((info.route, 0));
                self.by_route.len() - 1
            }
        };
        &mut self.by_route[index].1
    }

    /// The call to shed for one of `priority`: of the lowest priority, the last to come in.
    pub(crate) fn shed_candidate(&self, priority: Priority) -> Option<Job> {
        let lower = self.levels.iter().skip(priority.index() + 1).filter_map(PriorityLevel::newest);
        let held = self.held.calls().filter(|job| job.meta().priority > priority);
        lower.chain(held).max_by_key(|job| (job.meta().priority, job.meta().number)).cloned()
    }

    /// What goes before a call, as things stand: all of higher priority, and of its own the turns of
    /// the others until it is reached. `None` if it does not wait.
    pub(crate) fn load_ahead_of(&self, info: &CallMeta) -> Option<QueueLoad> {
        let line = self.levels[info.priority.index()].user_queue(&info.user)?;
        let waits = line.contains(info.cost, info.number);
        waits.then(|| self.load_ahead(info.priority, &info.user, Some(info.number)))
    }

    /// What would go before one more call of this user.
    pub(crate) fn load_ahead_of_next(&self, priority: Priority, user: &User) -> QueueLoad {
        self.load_ahead(priority, user, None)
    }

    fn load_ahead(&self, priority: Priority, user: &User, number: Option<u64>) -> QueueLoad {
        let mut ahead = QueueLoad::default();
        for band in &self.levels[..priority.index()] {
            ahead.add_load(band.load());
        }
        self.levels[priority.index()].add_load_ahead(user, number, &mut ahead);
        ahead
    }

    /// Calls that wait, by priority and by user, and since when the oldest does.
    pub(crate) fn stats(&self) -> QueueStats {
        let mut census = QueueStats::default();
        for (band, priority) in self.levels.iter().zip(1_u8..) {
            let first_attempts = band.load().calls() - band.retries().count();
            if first_attempts > 0 {
                census.by_priority.insert(priority, first_attempts);
            }
            for (user, line) in band.user_queues() {
                let user = user.as_deref().unwrap_or_default();
                match census.by_user.get_mut(user) {
                    Some(calls) => *calls += line.calls(),
                    None => drop(census.by_user.insert(user.to_owned(), line.calls())),
                }
                census.oldest = census.oldest.into_iter().chain(line.oldest()).min();
            }
        }
        for info in self.held.calls().map(|job| job.meta()) {
            *census.by_priority.entry(info.priority.get()).or_default() += 1;
            let user = info.user.as_deref().unwrap_or_default().to_owned();
            *census.by_user.entry(user).or_default() += 1;
            census.oldest = census.oldest.into_iter().chain([info.submitted_at]).min();
        }
        census
    }
}

/// Who waits.
#[derive(Debug, Default)]
pub(crate) struct QueueStats {
    pub(crate) by_priority: BTreeMap<u8, usize>,
    pub(crate) by_user: BTreeMap<String, usize>,
    pub(crate) oldest: Option<Moment>,
}
