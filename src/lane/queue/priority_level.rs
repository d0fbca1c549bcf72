//! The calls of one priority: a line for each user, and whose turn it is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::load::QueueLoad;
use crate::lane::call::task::QueuedCall;
use crate::quota::{Cost, Moment};

/// A call that waits.
pub(crate) type Job = Arc<dyn QueuedCall>;

/// A user, or those who did not say who they are.
pub(super) type User = Option<Arc<str>>;

/// The calls of one priority.
#[derive(Default)]
pub(super) struct PriorityLevel {
    users: HashMap<User, UserQueue>,
    /// For each kind of charge the users with such calls, in the order of their turns; but for those
    /// whose interval is not over. By kind, so that one that cannot be paid is looked at once, however
    /// many wait for it.
    turns: Vec<(Cost, BTreeMap<u64, User>)>,
    next_turn: u64,
    /// Calls that failed and go again, after all the others; and from when on before them.
    retries: BTreeMap<u64, (QueueEntry, Moment)>,
    load: QueueLoad,
}

/// The calls of one user: a queue for each kind of charge, so that one that cannot be paid holds up
/// none that can.
#[derive(Default)]
pub(super) struct UserQueue {
    /// Its place in the turns, while there are calls.
    turn: u64,
    by_cost: Vec<(Cost, BTreeMap<u64, QueueEntry>)>,
    load: QueueLoad,
    /// Not before this moment.
    eligible_at: Option<Moment>,
}

/// A call in its line.
pub(super) struct QueueEntry {
    pub(super) job: Job,
    pub(super) overdue_at: Option<Moment>,
}

impl PriorityLevel {
    pub(super) fn push(&mut self, entry: QueueEntry) {
        let info = entry.job.meta();
        let (number, charge) = (info.number, info.cost);
        let line = self.users.entry(info.user.clone()).or_default();
        if line.load.is_empty() {
            line.turn = self.next_turn;
            self.next_turn += 1;
        }
        line.load.add(charge);
        self.load.add(charge);
        match line.by_cost.iter_mut().find(|(known, _)| *known == charge) {
            Some((_, queue)) => drop(queue.insert(number, entry)),
            None => {
                if line.eligible_at.is_none() {
                    insert_turn(&mut self.turns, charge, line.turn, &info.user);
                }
                line.by_cost.push((charge, BTreeMap::from([(number, entry)])));
            }
        }
    }

    /// Takes a call in that goes again: behind the others until `first`, and then before them.
    pub(super) fn push_retry(&mut self, entry: QueueEntry, first: Moment) {
        let info = entry.job.meta();
        let (number, charge) = (info.number, info.cost);
        self.load.add(charge);
        self.retries.insert(number, (entry, first));
    }

    /// The calls that go again, the first to have come in first.
    pub(super) fn retries(&self) -> impl Iterator<Item = &Job> {
        self.retries.values().map(|(entry, _)| &entry.job)
    }

    /// Those of them that let the others pass for long enough.
    pub(super) fn aged_retries(&self, now: Moment) -> impl Iterator<Item = &Job> {
        self.retries.values().filter(move |(_, first)| *first <= now).map(|(entry, _)| &entry.job)
    }

    /// When the next of the others has done so.
    pub(super) fn next_retry_aging(&self, now: Moment) -> Option<Moment> {
        self.retries.values().map(|(_, first)| *first).filter(|first| *first > now).min()
    }

    /// Whether a call goes again.
    pub(super) fn is_retry(&self, number: u64) -> bool {
        self.retries.contains_key(&number)
    }

    /// Takes a call out, wherever it stands.
    pub(super) fn remove(&mut self, user: &User, charge: Cost, number: u64) -> Option<QueueEntry> {
        if let Some((entry, _)) = self.retries.remove(&number) {
            self.load.remove(charge);
            return Some(entry);
        }
        let line = self.users.get_mut(user)?;
        let index = line.by_cost.iter().position(|(known, _)| *known == charge)?;
        let queue = &mut line.by_cost[index].1;
        let entry = queue.remove(&number)?;
        if queue.is_empty() {
            line.by_cost.swap_remove(index);
            remove_turn(&mut self.turns, charge, line.turn);
        }
        line.load.remove(charge);
        self.load.remove(charge);
        // A user who is gone keeps nothing but an interval that is not over.
        if line.load.is_empty() && line.eligible_at.is_none() {
            self.users.remove(user);
        }
        Some(entry)
    }

    /// A user had its turn: the others come first now, and it waits until `eligible`.
    pub(super) fn rotate(&mut self, user: &User, eligible: Option<Moment>) {
        // One who has nothing more may have an interval to keep all the same.
        if eligible.is_some() && !self.users.contains_key(user) {
            self.users.insert(user.clone(), UserQueue::default());
        }
        let Some(line) = self.users.get_mut(user) else { return };
        for (charge, _) in &line.by_cost {
            remove_turn(&mut self.turns, *charge, line.turn);
        }
        line.eligible_at = eligible;
        line.turn = self.next_turn;
        self.next_turn += 1;
        if eligible.is_none() {
            for (charge, _) in &line.by_cost {
                insert_turn(&mut self.turns, *charge, line.turn, user);
            }
        }
    }

    /// The interval of a user is over.
    pub(super) fn end_cooldown(&mut self, user: &User, now: Moment) {
        let Some(line) = self.users.get_mut(user) else { return };
        if line.eligible_at.is_some_and(|eligible| eligible <= now) {
            line.eligible_at = None;
            for (charge, _) in &line.by_cost {
                insert_turn(&mut self.turns, *charge, line.turn, user);
            }
            if line.load.is_empty() {
                self.users.remove(user);
            }
        }
    }

    /// The call of each kind whose turn it is, in the order of their turns.
    pub(super) fn heads(&self) -> Vec<&Job> {
        let first = |(charge, turns): &(Cost, BTreeMap<u64, User>)| {
            let (turn, user) = turns.first_key_value()?;
            let (number, job) = self.users.get(user)?.head(*charge)?;
            Some((*turn, number, job))
        };
        let mut firsts: Vec<_> = self.turns.iter().filter_map(first).collect();
        // Of one user the one that came first.
        firsts.sort_unstable_by_key(|(turn, number, ..)| (*turn, *number));
        firsts.into_iter().map(|(_, _, job)| job).collect()
    }

    /// Every user with calls.
    pub(super) fn user_queues(&self) -> impl Iterator<Item = (&User, &UserQueue)> {
        self.users.iter().filter(|(_, line)| !line.load.is_empty())
    }

    pub(super) fn user_queue(&self, user: &User) -> Option<&UserQueue> {
        self.users.get(user)
    }

    pub(super) fn load(&self) -> &QueueLoad {
        &self.load
    }

    /// The last call to have come in.
    pub(super) fn newest(&self) -> Option<&Job> {
        let lasts = self.users.values().filter_map(|line| {
            let lasts = line.by_cost.iter().filter_map(|(_, queue)| queue.last_key_value());
            lasts.max_by_key(|(number, _)| **number)
        });
        lasts.max_by_key(|(number, _)| **number).map(|(_, entry)| &entry.job)
    }

    /// Adds to `ahead` what goes before the call `number` of this user as turns are, or before one
    /// more call of it if that is `None`. While a user has so many calls to go, each other one has a
    /// turn for each of them, and one more if its turn comes first.
    pub(super) fn add_load_ahead(&self, user: &User, number: Option<u64>, ahead: &mut QueueLoad) {
        let own = self.users.get(user).filter(|line| !line.load.is_empty());
        let before = own.map_or_else(QueueLoad::default, |line| line.load_before(number));
        let calls = before.calls();
        for (other, line) in self.user_queues() {
            if other != user {
                let is_first = own.is_none_or(|own| line.turn < own.turn);
                ahead.add_sample(&line.load, calls + usize::from(is_first));
            }
        }
        ahead.add_load(&before);
    }

    /// Everything, taken out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Job> + use<> {
        let Self { users, retries: again, .. } = std::mem::take(self);
        let queues = users.into_values().flat_map(|line| line.by_cost);
        let entries = queues.flat_map(|(_, queue)| queue.into_values());
        let again = again.into_values().map(|(entry, _)| entry);
        entries.chain(again).map(|entry| entry.job)
    }
}

fn insert_turn(turns: &mut Vec<(Cost, BTreeMap<u64, User>)>, charge: Cost, turn: u64, user: &User) {
    match turns.iter_mut().find(|(known, _)| *known == charge) {
        Some((_, turns)) => drop(turns.insert(turn, user.clone())),
        None => turns.push((charge, BTreeMap::from([(turn, user.clone())]))),
    }
}

fn remove_turn(turns: &mut Vec<(Cost, BTreeMap<u64, User>)>, charge: Cost, turn: u64) {
    if let Some(index) = turns.iter().position(|(known, _)| *known == charge) {
        turns[index].1.remove(&turn);
        if turns[index].1.is_empty() {
            turns.swap_remove(index);
        }
    }
}

impl UserQueue {
    /// From when on it may go, if not now.
    pub(super) fn cooling_down_until(&self, now: Moment) -> Option<Moment> {
        self.eligible_at.filter(|eligible| *eligible > now)
    }

    /// The first call of a kind, with its number.
    pub(super) fn head(&self, charge: Cost) -> Option<(u64, &Job)> {
        let (_, queue) = self.by_cost.iter().find(|(known, _)| *known == charge)?;
        queue.first_key_value().map(|(number, entry)| (*number, &entry.job))
    }

    /// When the first of its calls came in.
    pub(super) fn oldest(&self) -> Option<Moment> {
        let fronts = self.by_cost.iter().filter_map(|(charge, _)| self.head(*charge));
        fronts.map(|(_, job)| job.meta().submitted_at).min()
    }

    pub(super) fn calls(&self) -> usize {
        self.load.calls()
    }

    pub(super) fn contains(&self, charge: Cost, number: u64) -> bool {
        let queue = self.by_cost.iter().find(|(known, _)| *known == charge);
        queue.is_some_and(|(_, queue)| queue.contains_key(&number))
    }

    pub(super) fn with_cost(&self, charge: Cost) -> impl Iterator<Item = &Job> {
        let queues = self.by_cost.iter().filter(move |(known, _)| *known == charge);
        queues.flat_map(|(_, queue)| queue.values().map(|entry| &entry.job))
    }

    /// All of its calls.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.by_cost.iter().flat_map(|(_, queue)| queue.values().map(|entry| &entry.job))
    }

    fn load_before(&self, number: Option<u64>) -> QueueLoad {
        let Some(number) = number else { return self.load.clone() };
        let mut before = QueueLoad::default();
        for (charge, queue) in &self.by_cost {
            for _ in queue.range(..number) {
                before.add(*charge);
            }
        }
        before
    }
}
