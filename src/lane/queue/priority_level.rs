//! The calls of one priority: a queue for each user, and the round-robin order of the users. Fairness between users is
//! decided here; `scheduler.rs` decides between priorities.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::load::QueueLoad;
use crate::lane::call::pending_call::QueuedCall;
use crate::quota::{Cost, Moment};

/// A queued call.
pub(crate) type Job = Arc<dyn QueuedCall>;

/// A user, or `None` for all calls that name no user.
pub(super) type User = Option<Arc<str>>;

/// The calls of one priority.
#[derive(Default)]
pub(super) struct PriorityLevel {
    users: HashMap<User, UserQueue>,
    /// For each cost, the users with such calls, by turn. Users in cooldown are left out. Grouped by cost, so that a
    /// cost without capacity is considered once, however many calls have it.
    turns: Vec<(Cost, BTreeMap<u64, User>)>,
    next_turn: u64,
    /// Retries, with the moment from which they go before first attempts. Until then they go after all of them.
    retries: BTreeMap<u64, (QueueEntry, Moment)>,
    load: QueueLoad,
}

/// The calls of one user: a queue for each cost, so that a cost without capacity holds up no other.
#[derive(Default)]
pub(super) struct UserQueue {
    /// The user's position in the round-robin order, while it has calls.
    turn: u64,
    by_cost: Vec<(Cost, BTreeMap<u64, QueueEntry>)>,
    load: QueueLoad,
    /// The end of the user's cooldown, if one is set.
    eligible_at: Option<Moment>,
}

/// A queued call, and when it becomes overdue.
pub(super) struct QueueEntry {
    pub(super) job: Job,
    pub(super) overdue_at: Option<Moment>,
}

impl PriorityLevel {
    pub(super) fn push(&mut self, entry: QueueEntry) {
        let meta = entry.job.meta();
        let (number, cost) = (meta.number, meta.cost);
        let user_queue = self.users.entry(meta.user.clone()).or_default();
        if user_queue.load.is_empty() {
            user_queue.turn = self.next_turn;
            self.next_turn += 1;
        }
        user_queue.load.add(cost);
        self.load.add(cost);
        match user_queue.by_cost.iter_mut().find(|(known, _)| *known == cost) {
            Some((_, queue)) => drop(queue.insert(number, entry)),
            None => {
                if user_queue.eligible_at.is_none() {
                    insert_turn(&mut self.turns, cost, user_queue.turn, &meta.user);
                }
                user_queue.by_cost.push((cost, BTreeMap::from([(number, entry)])));
            }
        }
    }

    /// Inserts a retry. It goes after first attempts until `aged_at`, and before them from then on.
    pub(super) fn push_retry(&mut self, entry: QueueEntry, aged_at: Moment) {
        let meta = entry.job.meta();
        let (number, cost) = (meta.number, meta.cost);
        self.load.add(cost);
        self.retries.insert(number, (entry, aged_at));
    }

    /// Returns the retries, in the order of submission.
    pub(super) fn retries(&self) -> impl Iterator<Item = &Job> {
        self.retries.values().map(|(entry, _)| &entry.job)
    }

    /// Returns the retries that have aged and go before first attempts.
    pub(super) fn aged_retries(&self, now: Moment) -> impl Iterator<Item = &Job> {
        self.retries
            .values()
            .filter(move |(_, aged_at)| *aged_at <= now)
            .map(|(entry, _)| &entry.job)
    }

    /// Returns when the next retry ages.
    pub(super) fn next_retry_aging(&self, now: Moment) -> Option<Moment> {
        self.retries.values().map(|(_, aged_at)| *aged_at).filter(|aged_at| *aged_at > now).min()
    }

    /// Returns whether the call is a retry.
    pub(super) fn is_retry(&self, number: u64) -> bool {
        self.retries.contains_key(&number)
    }

    /// Removes a call, from the retries or from its user's queue.
    pub(super) fn remove(&mut self, user: &User, cost: Cost, number: u64) -> Option<QueueEntry> {
        if let Some((entry, _)) = self.retries.remove(&number) {
            self.load.remove(cost);
            return Some(entry);
        }
        let user_queue = self.users.get_mut(user)?;
        let index = user_queue.by_cost.iter().position(|(known, _)| *known == cost)?;
        let queue = &mut user_queue.by_cost[index].1;
        let entry = queue.remove(&number)?;
        if queue.is_empty() {
            user_queue.by_cost.swap_remove(index);
            remove_turn(&mut self.turns, cost, user_queue.turn);
        }
        user_queue.load.remove(cost);
        self.load.remove(cost);
        // A user without calls is kept only for a cooldown that has not ended.
        if user_queue.load.is_empty() && user_queue.eligible_at.is_none() {
            self.users.remove(user);
        }
        Some(entry)
    }

    /// Moves a user to the back of the round-robin order, and starts its cooldown until `eligible`.
    pub(super) fn rotate(&mut self, user: &User, eligible: Option<Moment>) {
        // A cooldown is kept even for a user that has no more calls.
        if eligible.is_some() && !self.users.contains_key(user) {
            self.users.insert(user.clone(), UserQueue::default());
        }
        let Some(user_queue) = self.users.get_mut(user) else { return };
        for (cost, _) in &user_queue.by_cost {
            remove_turn(&mut self.turns, *cost, user_queue.turn);
        }
        user_queue.eligible_at = eligible;
        user_queue.turn = self.next_turn;
        self.next_turn += 1;
        if eligible.is_none() {
            for (cost, _) in &user_queue.by_cost {
                insert_turn(&mut self.turns, *cost, user_queue.turn, user);
            }
        }
    }

    /// Ends the cooldown of a user, if it is due.
    pub(super) fn end_cooldown(&mut self, user: &User, now: Moment) {
        let Some(user_queue) = self.users.get_mut(user) else { return };
        if user_queue.eligible_at.is_some_and(|eligible| eligible <= now) {
            user_queue.eligible_at = None;
            for (cost, _) in &user_queue.by_cost {
                insert_turn(&mut self.turns, *cost, user_queue.turn, user);
            }
            if user_queue.load.is_empty() {
                self.users.remove(user);
            }
        }
    }

    /// Returns, for each cost, the call whose turn it is, in the order of the turns.
    pub(super) fn heads(&self) -> Vec<&Job> {
        let head = |(cost, turns): &(Cost, BTreeMap<u64, User>)| {
            let (turn, user) = turns.first_key_value()?;
            let (number, job) = self.users.get(user)?.head(*cost)?;
            Some((*turn, number, job))
        };
        let mut heads: Vec<_> = self.turns.iter().filter_map(head).collect();
        // Among the heads of one user, the call that was submitted first goes first.
        heads.sort_unstable_by_key(|(turn, number, ..)| (*turn, *number));
        heads.into_iter().map(|(_, _, job)| job).collect()
    }

    /// Returns every user with first attempts, and its queue.
    pub(super) fn user_queues(&self) -> impl Iterator<Item = (&User, &UserQueue)> {
        self.users.iter().filter(|(_, user_queue)| !user_queue.load.is_empty())
    }

    pub(super) fn user_queue(&self, user: &User) -> Option<&UserQueue> {
        self.users.get(user)
    }

    pub(super) fn load(&self) -> &QueueLoad {
        &self.load
    }

    /// Returns the first attempt that was submitted last, of those that count in the limit of the queue.
    pub(super) fn newest_counted(&self) -> Option<&Job> {
        let queues = self.users.values().flat_map(|user_queue| &user_queue.by_cost);
        let newest = queues.filter_map(|(_, queue)| {
            let mut newest_first = queue.iter().rev();
            newest_first.find(|(_, entry)| entry.job.meta().is_counted)
        });
        newest.max_by_key(|(number, _)| **number).map(|(_, entry)| &entry.job)
    }

    /// Adds to `ahead` the calls that go before call `number` of this user, in the present order of turns.
    /// `None` stands for one more call of the user. For each call of its own that goes before, each other user has one
    /// turn, and one more if that user's turn comes first.
    pub(super) fn add_load_ahead(&self, user: &User, number: Option<u64>, ahead: &mut QueueLoad) {
        let own = self.users.get(user).filter(|user_queue| !user_queue.load.is_empty());
        let before =
            own.map_or_else(QueueLoad::default, |user_queue| user_queue.load_before(number));
        let calls = before.calls();
        for (other, user_queue) in self.user_queues() {
            if other != user {
                let is_first = own.is_none_or(|own| user_queue.turn < own.turn);
                ahead.add_sample(&user_queue.load, calls + usize::from(is_first));
            }
        }
        ahead.add_load(&before);
    }

    /// Removes and returns all calls.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Job> + use<> {
        let Self { users, retries, .. } = std::mem::take(self);
        let queues = users.into_values().flat_map(|user_queue| user_queue.by_cost);
        let entries = queues.flat_map(|(_, queue)| queue.into_values());
        let retries = retries.into_values().map(|(entry, _)| entry);
        entries.chain(retries).map(|entry| entry.job)
    }
}

fn insert_turn(turns: &mut Vec<(Cost, BTreeMap<u64, User>)>, cost: Cost, turn: u64, user: &User) {
    match turns.iter_mut().find(|(known, _)| *known == cost) {
        Some((_, turns)) => drop(turns.insert(turn, user.clone())),
        None => turns.push((cost, BTreeMap::from([(turn, user.clone())]))),
    }
}

fn remove_turn(turns: &mut Vec<(Cost, BTreeMap<u64, User>)>, cost: Cost, turn: u64) {
    if let Some(index) = turns.iter().position(|(known, _)| *known == cost) {
        turns[index].1.remove(&turn);
        if turns[index].1.is_empty() {
            turns.swap_remove(index);
        }
    }
}

impl UserQueue {
    /// Returns when the cooldown ends, or `None` if the user may send now.
    pub(super) fn cooling_down_until(&self, now: Moment) -> Option<Moment> {
        self.eligible_at.filter(|eligible| *eligible > now)
    }

    /// Returns the first call with this cost, and its number.
    pub(super) fn head(&self, cost: Cost) -> Option<(u64, &Job)> {
        let (_, queue) = self.by_cost.iter().find(|(known, _)| *known == cost)?;
        queue.first_key_value().map(|(number, entry)| (*number, &entry.job))
    }

    /// Returns when the oldest of its calls was submitted.
    pub(super) fn oldest(&self) -> Option<Moment> {
        let heads = self.by_cost.iter().filter_map(|(cost, _)| self.head(*cost));
        heads.map(|(_, job)| job.meta().submitted_at).min()
    }

    pub(super) fn calls(&self) -> usize {
        self.load.calls()
    }

    pub(super) fn contains(&self, cost: Cost, number: u64) -> bool {
        let queue = self.by_cost.iter().find(|(known, _)| *known == cost);
        queue.is_some_and(|(_, queue)| queue.contains_key(&number))
    }

    pub(super) fn with_cost(&self, cost: Cost) -> impl Iterator<Item = &Job> {
        let queues = self.by_cost.iter().filter(move |(known, _)| *known == cost);
        queues.flat_map(|(_, queue)| queue.values().map(|entry| &entry.job))
    }

    /// Returns all of its calls.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.by_cost.iter().flat_map(|(_, queue)| queue.values().map(|entry| &entry.job))
    }

    fn load_before(&self, number: Option<u64>) -> QueueLoad {
        let Some(number) = number else { return self.load.clone() };
        let mut before = QueueLoad::default();
        for (cost, queue) in &self.by_cost {
            for _ in queue.range(..number) {
                before.add(*cost);
            }
        }
        before
    }
}
