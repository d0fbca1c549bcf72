//! One selection pass over the queued calls, in their order of dispatch, until a call can be sent.

use std::ops::Bound;

use super::priority_level::{Job, PriorityLevel};
use super::scheduler::{JobsByTime, Selection};
use crate::Effect;
use crate::quota::{BlockedBy, BudgetSet, Cost, Moment, NoCapacity};

/// The result of the capacity check for each cost in the queue.
pub(super) type Availability = Vec<(Cost, Result<(), NoCapacity>)>;

/// Bounds how many overdue calls of users in cooldown a pass skips for each cost. An overdue call behind more of them
/// waits for its turn like any other.
const MAX_SKIPPED_OVERDUE: usize = 64;

/// The state of one selection pass.
pub(super) struct SelectionPass<'a> {
    now: Moment,
    availability: &'a Availability,
    /// Budgets that a call considered earlier in the pass waits for.
    blocked_budgets: BudgetSet,
    /// The earliest moment at which another pass may select a call.
    wake_at: Option<Moment>,
}

/// Where a pass ends.
enum Step<'a> {
    Select(&'a Job),
    /// A call waits for capacity in the lane, and no call behind it may take it.
    Stop,
}

impl<'a> SelectionPass<'a> {
    /// Starts a pass. `wake_at` is when to run another one at the latest, whatever this pass finds.
    pub(super) fn new(
        now: Moment,
        availability: &'a Availability,
        wake_at: Option<Moment>,
    ) -> Self {
        Self { now, availability, blocked_budgets: BudgetSet::EMPTY, wake_at }
    }

    /// Considers urgent calls, then overdue ones, then all others.
    pub(super) fn select(
        mut self,
        levels: &'a [PriorityLevel],
        overdue: &'a [(Cost, JobsByTime)],
    ) -> Selection {
        if self.availability.iter().all(|(_, capacity)| capacity.is_err()) {
            for (_, capacity) in self.availability {
                self.note_retry_time(capacity);
            }
            return Selection::Wait(self.wake_at);
        }
        let step = self.scan_levels(&levels[..1]);
        let step = step.or_else(|| self.scan_overdue(overdue, levels));
        let step = step.or_else(|| self.scan_levels(&levels[1..]));
        self.finish(step, levels, overdue)
    }

    /// Selects the first write of a priority level, in the order of submission: there is no worker left for reads.
    pub(super) fn select_write(mut self, level: &'a PriorityLevel) -> Selection {
        let jobs = level
            .user_queues()
            .flat_map(|(_, user_queue)| user_queue.jobs())
            .chain(level.retries());
        let mut writes: Vec<_> = jobs.filter(|job| job.meta().effect == Effect::Write).collect();
        writes.sort_unstable_by_key(|job| job.meta().number);
        let step = writes.into_iter().find_map(|job| self.consider(job.meta().cost, job));
        self.finish(step, std::slice::from_ref(level), &[])
    }

    fn finish(
        mut self,
        step: Option<Step<'a>>,
        levels: &'a [PriorityLevel],
        overdue: &'a [(Cost, JobsByTime)],
    ) -> Selection {
        match step {
            Some(Step::Select(job)) => Selection::Next(job.clone()),
            Some(Step::Stop) | None => {
                // A call that has capacity but is held up goes before others once it becomes overdue, or, if it is a
                // retry, once it has aged.
                let now = self.now;
                let overdue = overdue.iter().filter_map(|(_, timed)| first_after(timed, now));
                let aging_retries = levels.iter().filter_map(|level| level.next_retry_aging(now));
                overdue.chain(aging_retries).for_each(|at| self.note_wake_time(at));
                Selection::Wait(self.wake_at)
            }
        }
    }

    fn scan_levels(&mut self, levels: &'a [PriorityLevel]) -> Option<Step<'a>> {
        levels.iter().find_map(|level| {
            let now = self.now;
            let is_eligible = |job: &&Job| {
                let user_queue = level.user_queue(&job.meta().user);
                user_queue.is_none_or(|user_queue| user_queue.cooling_down_until(now).is_none())
            };
            let mut consider = |job: &'a Job| self.consider(job.meta().cost, job);
            let step = level.aged_retries(now).filter(is_eligible).find_map(&mut consider);
            let step = step.or_else(|| level.heads().into_iter().find_map(&mut consider));
            step.or_else(|| level.retries().filter(is_eligible).find_map(&mut consider))
        })
    }

    /// Considers the overdue calls, in the order in which they became overdue. If the user of one has an earlier call
    /// with the same cost, that call goes first.
    fn scan_overdue(
        &mut self,
        overdue: &'a [(Cost, JobsByTime)],
        levels: &'a [PriorityLevel],
    ) -> Option<Step<'a>> {
        let now = self.now;
        let mut heads: Vec<(&(Moment, u64), &Job)> = Vec::new();
        for (cost, timed) in overdue {
            let due = timed.iter().take_while(|((at, _), _)| *at <= now);
            // A user's cooldown is kept, however long its calls have waited.
            let head = |(key, job): (&'a (Moment, u64), &'a Job)| {
                let meta = job.meta();
                let level = &levels[meta.priority.index()];
                let user_queue = level.user_queue(&meta.user);
                if user_queue.is_some_and(|user_queue| user_queue.cooling_down_until(now).is_some())
                {
                    return None;
                }
                let head = match level.is_retry(meta.number) {
                    true => job,
                    false => user_queue?.head(*cost)?.1,
                };
                Some((key, head))
            };
            heads.extend(due.take(MAX_SKIPPED_OVERDUE).find_map(head));
        }
        heads.sort_unstable_by_key(|(key, _)| **key);
        heads.into_iter().find_map(|(_, job)| self.consider(job.meta().cost, job))
    }

    fn consider(&mut self, cost: Cost, job: &'a Job) -> Option<Step<'a>> {
        let capacity = self
            .availability
            .iter()
            .find(|(known, _)| *known == cost)
            .map(|(_, capacity)| capacity);
        // The capacity of every cost in the queue was checked.
        let capacity = capacity?;
        match capacity {
            Ok(()) => {
                let is_blocked = self.blocked_budgets.intersects(cost.budgets);
                (cost.urgent || !is_blocked).then_some(Step::Select(job))
            }
            Err(no_capacity) => {
                self.note_retry_time(capacity);
                for budget in no_capacity.budgets() {
                    // A budget without capacity exists, so its number is valid.
                    let _ = self.blocked_budgets.insert(budget);
                }
                (no_capacity.by == BlockedBy::Lane).then_some(Step::Stop)
            }
        }
    }

    /// Calls that are held up by this cost may be sent as soon as one of its blocking budgets has capacity.
    fn note_retry_time(&mut self, capacity: &Result<(), NoCapacity>) {
        let changes = capacity.as_ref().err().and_then(NoCapacity::next_change);
        changes.into_iter().for_each(|at| self.note_wake_time(at));
    }

    fn note_wake_time(&mut self, moment: Moment) {
        self.wake_at = Some(self.wake_at.map_or(moment, |soonest| soonest.min(moment)));
    }
}

/// Returns the first moment after `now`.
fn first_after(timed: &JobsByTime, now: Moment) -> Option<Moment> {
    let later = (Bound::Excluded((now, u64::MAX)), Bound::Unbounded);
    timed.range(later).next().map(|((at, _), _)| *at)
}
