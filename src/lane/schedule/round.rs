//! One round over the calls that wait, by rank, until one can go.

use std::ops::Bound;

use super::{Choice, Timed};
use crate::Effect;
use crate::lane::band::{Band, Job};
use crate::quota::{BlockedBy, Cost, Moment, NoCapacity};

/// What is known of each kind of charge that waits.
pub(super) type Verdicts = Vec<(Cost, Result<(), NoCapacity>)>;

/// How many overdue calls of users whose interval is not over are passed by in one look: behind more
/// of them an overdue call has its turn like any other.
const MOST_LOOKED_AT: usize = 64;

/// One round.
pub(super) struct Round<'a> {
    now: Moment,
    verdicts: &'a Verdicts,
    /// Budgets that a call of higher rank waits for.
    held: Vec<usize>,
    /// The soonest moment at which to look again.
    wait: Option<Moment>,
}

/// Where a round ends.
enum Step<'a> {
    Go(&'a Job),
    /// A call waits for room in the lane, which nobody may take from it.
    Stop,
}

impl<'a> Round<'a> {
    /// `wait` is when to look again whatever the round comes to.
    pub(super) fn new(now: Moment, verdicts: &'a Verdicts, wait: Option<Moment>) -> Self {
        Self { now, verdicts, held: Vec::new(), wait }
    }

    /// The urgent ones, those that are overdue, and then the others.
    pub(super) fn choose(mut self, bands: &'a [Band], overdue: &'a [(Cost, Timed)]) -> Choice {
        if self.verdicts.iter().all(|(_, verdict)| verdict.is_err()) {
            for (_, verdict) in self.verdicts {
                self.note(verdict);
            }
            return Choice::Wait(self.wait);
        }
        let step = self.of_bands(&bands[..1]);
        let step = step.or_else(|| self.of_overdue(overdue, bands));
        let step = step.or_else(|| self.of_bands(&bands[1..]));
        self.end(step, bands, overdue)
    }

    /// The first write of a band to have come in: reads have no worker left.
    pub(super) fn choose_write(mut self, band: &'a Band) -> Choice {
        let jobs = band.lines().flat_map(|(_, line)| line.jobs()).chain(band.again());
        let mut writes: Vec<_> = jobs.filter(|job| job.info().effect == Effect::Write).collect();
        writes.sort_unstable_by_key(|job| job.info().number);
        let step = writes.into_iter().find_map(|job| self.of_call(job.info().charge, job));
        self.end(step, std::slice::from_ref(band), &[])
    }

    fn end(
        mut self,
        step: Option<Step<'a>>,
        bands: &'a [Band],
        overdue: &'a [(Cost, Timed)],
    ) -> Choice {
        match step {
            Some(Step::Go(job)) => Choice::Next(job.clone()),
            Some(Step::Stop) | None => {
                // What has room and is held up goes before others once it is overdue, or has let the first
                // attempts pass for long enough.
                let now = self.now;
                let overdue = overdue.iter().filter_map(|(_, timed)| after(timed, now));
                let again = bands.iter().filter_map(|band| band.next_again_first(now));
                overdue.chain(again).for_each(|at| self.wait_until(at));
                Choice::Wait(self.wait)
            }
        }
    }

    fn of_bands(&mut self, bands: &'a [Band]) -> Option<Step<'a>> {
        bands.iter().find_map(|band| {
            let now = self.now;
            let may_go = |job: &&Job| {
                let line = band.line(&job.info().user);
                line.is_none_or(|line| line.rests_until(now).is_none())
            };
            let mut of_call = |job: &'a Job| self.of_call(job.info().charge, job);
            let step = band.again_first(now).filter(may_go).find_map(&mut of_call);
            let step = step.or_else(|| band.firsts().into_iter().find_map(&mut of_call));
            step.or_else(|| band.again().filter(may_go).find_map(&mut of_call))
        })
    }

    /// The overdue calls, in the order in which they became so. One of a user that made another before
    /// it lets that one go first.
    fn of_overdue(&mut self, overdue: &'a [(Cost, Timed)], bands: &'a [Band]) -> Option<Step<'a>> {
        let now = self.now;
        let mut firsts: Vec<(&(Moment, u64), &Job)> = Vec::new();
        for (charge, timed) in overdue {
            let passed = timed.iter().take_while(|((at, _), _)| *at <= now);
            // A user's interval is kept, however long its calls have waited.
            let front = |(key, job): (&'a (Moment, u64), &'a Job)| {
                let info = job.info();
                let band = &bands[info.priority.index()];
                let line = band.line(&info.user);
                if line.is_some_and(|line| line.rests_until(now).is_some()) {
                    return None;
                }
                let front = match band.goes_again(info.number) {
                    true => job,
                    false => line?.front(*charge)?.1,
                };
                Some((key, front))
            };
            firsts.extend(passed.take(MOST_LOOKED_AT).find_map(front));
        }
        firsts.sort_unstable_by_key(|(key, _)| **key);
        firsts.into_iter().find_map(|(_, job)| self.of_call(job.info().charge, job))
    }

    fn of_call(&mut self, charge: Cost, job: &'a Job) -> Option<Step<'a>> {
        let verdict = self.verdicts.iter().find(|(kind, _)| *kind == charge).map(|(_, room)| room);
        // Every kind that waits was looked at.
        let verdict = verdict?;
        match verdict {
            Ok(()) => {
                let is_held = charge.budgets.iter().any(|budget| self.held.contains(budget));
                (charge.urgent || !is_held).then_some(Step::Go(job))
            }
            Err(refused) => {
                self.note(verdict);
                self.held.extend(refused.budgets());
                (refused.by == BlockedBy::Lane).then_some(Step::Stop)
            }
        }
    }

    /// What it holds up may go as soon as one of the budgets in its way has room.
    fn note(&mut self, verdict: &Result<(), NoCapacity>) {
        let changes = verdict.as_ref().err().and_then(NoCapacity::next_change);
        changes.into_iter().for_each(|at| self.wait_until(at));
    }

    fn wait_until(&mut self, moment: Moment) {
        self.wait = Some(self.wait.map_or(moment, |soonest| soonest.min(moment)));
    }
}

/// The first moment after this one.
fn after(timed: &Timed, now: Moment) -> Option<Moment> {
    let later = (Bound::Excluded((now, u64::MAX)), Bound::Unbounded);
    timed.range(later).next().map(|((at, _), _)| *at)
}
