//! One round over the calls that wait, by rank, until one can go.

use std::ops::Bound;

use super::priority_level::{Job, PriorityLevel};
use super::scheduler::{JobsByTime, Selection};
use crate::Effect;
use crate::quota::{BlockedBy, Cost, Moment, NoCapacity};

/// What is known of each kind of charge that waits.
pub(super) type Availability = Vec<(Cost, Result<(), NoCapacity>)>;

/// How many overdue calls of users whose interval is not over are passed by in one look: behind more
/// of them an overdue call has its turn like any other.
const MAX_SKIPPED_OVERDUE: usize = 64;

/// One round.
pub(super) struct SelectionPass<'a> {
    now: Moment,
    availability: &'a Availability,
    /// Budgets that a call of higher rank waits for.
    blocked_budgets: Vec<usize>,
    /// The soonest moment at which to look again.
    wake_at: Option<Moment>,
}

/// Where a round ends.
enum Step<'a> {
    Select(&'a Job),
    /// A call waits for room in the lane, which nobody may take from it.
    Stop,
}

impl<'a> SelectionPass<'a> {
    /// `wait` is when to look again whatever the round comes to.
    pub(super) fn new(now: Moment, verdicts: &'a Availability, wait: Option<Moment>) -> Self {
        Self { now, availability: verdicts, blocked_budgets: Vec::new(), wake_at: wait }
    }

    /// The urgent ones, those that are overdue, and then the others.
    pub(super) fn select(
        mut self,
        bands: &'a [PriorityLevel],
        overdue: &'a [(Cost, JobsByTime)],
    ) -> Selection {
        if self.availability.iter().all(|(_, verdict)| verdict.is_err()) {
            for (_, verdict) in self.availability {
                self.note_retry_time(verdict);
            }
            return Selection::Wait(self.wake_at);
        }
        let step = self.scan_levels(&bands[..1]);
        let step = step.or_else(|| self.scan_overdue(overdue, bands));
        let step = step.or_else(|| self.scan_levels(&bands[1..]));
        self.finish(step, bands, overdue)
    }

    /// The first write of a band to have come in: reads have no worker left.
    pub(super) fn select_write(mut self, band: &'a PriorityLevel) -> Selection {
        let jobs = band.user_queues().flat_map(|(_, line)| line.jobs()).chain(band.retries());
        let mut writes: Vec<_> = jobs.filter(|job| job.meta().effect == Effect::Write).collect();
        writes.sort_unstable_by_key(|job| job.meta().number);
        let step = writes.into_iter().find_map(|job| self.consider(job.meta().cost, job));
        self.finish(step, std::slice::from_ref(band), &[])
    }

    fn finish(
        mut self,
        step: Option<Step<'a>>,
        bands: &'a [PriorityLevel],
        overdue: &'a [(Cost, JobsByTime)],
    ) -> Selection {
        match step {
            Some(Step::Select(job)) => Selection::Next(job.clone()),
            Some(Step::Stop) | None => {
                // What has room and is held up goes before others once it is overdue, or has let the first
                // attempts pass for long enough.
                let now = self.now;
                let overdue = overdue.iter().filter_map(|(_, timed)| first_after(timed, now));
                let again = bands.iter().filter_map(|band| band.next_retry_aging(now));
                overdue.chain(again).for_each(|at| self.note_wake_time(at));
                Selection::Wait(self.wake_at)
            }
        }
    }

    fn scan_levels(&mut self, bands: &'a [PriorityLevel]) -> Option<Step<'a>> {
        bands.iter().find_map(|band| {
            let now = self.now;
            let may_go = |job: &&Job| {
                let line = band.user_queue(&job.meta().user);
                line.is_none_or(|line| line.cooling_down_until(now).is_none())
            };
            let mut of_call = |job: &'a Job| self.consider(job.meta().cost, job);
            let step = band.aged_retries(now).filter(may_go).find_map(&mut of_call);
            let step = step.or_else(|| band.heads().into_iter().find_map(&mut of_call));
            step.or_else(|| band.retries().filter(may_go).find_map(&mut of_call))
        })
    }

    /// The overdue calls, in the order in which they became so. One of a user that made another before
    /// it lets that one go first.
    fn scan_overdue(
        &mut self,
        overdue: &'a [(Cost, JobsByTime)],
        bands: &'a [PriorityLevel],
    ) -> Option<Step<'a>> {
        let now = self.now;
        let mut firsts: Vec<(&(Moment, u64), &Job)> = Vec::new();
        for (charge, timed) in overdue {
            let passed = timed.iter().take_while(|((at, _), _)| *at <= now);
            // A user's interval is kept, however long its calls have waited.
            let front = |(key, job): (&'a (Moment, u64), &'a Job)| {
                let info = job.meta();
                let band = &bands[info.priority.index()];
                let line = band.user_queue(&info.user);
                if line.is_some_and(|line| line.cooling_down_until(now).is_some()) {
                    return None;
                }
                let front = match band.is_retry(info.number) {
                    true => job,
                    false => line?.head(*charge)?.1,
                };
                Some((key, front))
            };
            firsts.extend(passed.take(MAX_SKIPPED_OVERDUE).find_map(front));
        }
        firsts.sort_unstable_by_key(|(key, _)| **key);
        firsts.into_iter().find_map(|(_, job)| self.consider(job.meta().cost, job))
    }

    fn consider(&mut self, charge: Cost, job: &'a Job) -> Option<Step<'a>> {
        let verdict =
            self.availability.iter().find(|(kind, _)| *kind == charge).map(|(_, room)| room);
        // Every kind that waits was looked at.
        let verdict = verdict?;
        match verdict {
            Ok(()) => {
                let is_held =
                    charge.budgets.iter().any(|budget| self.blocked_budgets.contains(budget));
                (charge.urgent || !is_held).then_some(Step::Select(job))
            }
            Err(refused) => {
                self.note_retry_time(verdict);
                self.blocked_budgets.extend(refused.budgets());
                (refused.by == BlockedBy::Lane).then_some(Step::Stop)
            }
        }
    }

    /// What it holds up may go as soon as one of the budgets in its way has room.
    fn note_retry_time(&mut self, verdict: &Result<(), NoCapacity>) {
        let changes = verdict.as_ref().err().and_then(NoCapacity::next_change);
        changes.into_iter().for_each(|at| self.note_wake_time(at));
    }

    fn note_wake_time(&mut self, moment: Moment) {
        self.wake_at = Some(self.wake_at.map_or(moment, |soonest| soonest.min(moment)));
    }
}

/// The first moment after this one.
fn first_after(timed: &JobsByTime, now: Moment) -> Option<Moment> {
    let later = (Bound::Excluded((now, u64::MAX)), Bound::Unbounded);
    timed.range(later).next().map(|((at, _), _)| *at)
}
