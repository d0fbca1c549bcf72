//! The calls of one priority: a line for each user, and whose turn it is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::job::Queued;
use super::tally::Tally;
use crate::quota::{Cost, Moment};

/// A call that waits.
pub(crate) type Job = Arc<dyn Queued>;

/// A user, or those who did not say who they are.
pub(super) type User = Option<Arc<str>>;

/// The calls of one priority.
#[derive(Default)]
pub(super) struct Band {
    users: HashMap<User, Line>,
    /// For each kind of charge the users with such calls, in the order of their turns; but for those
    /// whose interval is not over. By kind, so that one that cannot be paid is looked at once, however
    /// many wait for it.
    turns: Vec<(Cost, BTreeMap<u64, User>)>,
    next_turn: u64,
    /// Calls that failed and go again, after all the others; and from when on before them.
    again: BTreeMap<u64, (Entry, Moment)>,
    tally: Tally,
}

/// The calls of one user: a queue for each kind of charge, so that one that cannot be paid holds up
/// none that can.
#[derive(Default)]
pub(super) struct Line {
    /// Its place in the turns, while there are calls.
    turn: u64,
    by_charge: Vec<(Cost, BTreeMap<u64, Entry>)>,
    tally: Tally,
    /// Not before this moment.
    eligible: Option<Moment>,
}

/// A call in its line.
pub(super) struct Entry {
    pub(super) job: Job,
    pub(super) overdue: Option<Moment>,
}

impl Band {
    pub(super) fn push(&mut self, entry: Entry) {
        let info = entry.job.info();
        let (number, charge) = (info.number, info.charge);
        let line = self.users.entry(info.user.clone()).or_default();
        if line.tally.is_empty() {
            line.turn = self.next_turn;
            self.next_turn += 1;
        }
        line.tally.add(charge);
        self.tally.add(charge);
        match line.by_charge.iter_mut().find(|(known, _)| *known == charge) {
            Some((_, queue)) => drop(queue.insert(number, entry)),
            None => {
                if line.eligible.is_none() {
                    enter(&mut self.turns, charge, line.turn, &info.user);
                }
                line.by_charge.push((charge, BTreeMap::from([(number, entry)])));
            }
        }
    }

    /// Takes a call in that goes again: behind the others until `first`, and then before them.
    pub(super) fn push_again(&mut self, entry: Entry, first: Moment) {
        let info = entry.job.info();
        let (number, charge) = (info.number, info.charge);
        self.tally.add(charge);
        self.again.insert(number, (entry, first));
    }

    /// The calls that go again, the first to have come in first.
    pub(super) fn again(&self) -> impl Iterator<Item = &Job> {
        self.again.values().map(|(entry, _)| &entry.job)
    }

    /// Those of them that let the others pass for long enough.
    pub(super) fn again_first(&self, now: Moment) -> impl Iterator<Item = &Job> {
        self.again.values().filter(move |(_, first)| *first <= now).map(|(entry, _)| &entry.job)
    }

    /// When the next of the others has done so.
    pub(super) fn next_again_first(&self, now: Moment) -> Option<Moment> {
        self.again.values().map(|(_, first)| *first).filter(|first| *first > now).min()
    }

    /// Whether a call goes again.
    pub(super) fn goes_again(&self, number: u64) -> bool {
        self.again.contains_key(&number)
    }

    /// Takes a call out, wherever it stands.
    pub(super) fn remove(&mut self, user: &User, charge: Cost, number: u64) -> Option<Entry> {
        if let Some((entry, _)) = self.again.remove(&number) {
            self.tally.remove(charge);
            return Some(entry);
        }
        let line = self.users.get_mut(user)?;
        let index = line.by_charge.iter().position(|(known, _)| *known == charge)?;
        let queue = &mut line.by_charge[index].1;
        let entry = queue.remove(&number)?;
        if queue.is_empty() {
            line.by_charge.swap_remove(index);
            leave(&mut self.turns, charge, line.turn);
        }
        line.tally.remove(charge);
        self.tally.remove(charge);
        // A user who is gone keeps nothing but an interval that is not over.
        if line.tally.is_empty() && line.eligible.is_none() {
            self.users.remove(user);
        }
        Some(entry)
    }

    /// A user had its turn: the others come first now, and it waits until `eligible`.
    pub(super) fn had_turn(&mut self, user: &User, eligible: Option<Moment>) {
        // One who has nothing more may have an interval to keep all the same.
        if eligible.is_some() && !self.users.contains_key(user) {
            self.users.insert(user.clone(), Line::default());
        }
        let Some(line) = self.users.get_mut(user) else { return };
        for (charge, _) in &line.by_charge {
            leave(&mut self.turns, *charge, line.turn);
        }
        line.eligible = eligible;
        line.turn = self.next_turn;
        self.next_turn += 1;
        if eligible.is_none() {
            for (charge, _) in &line.by_charge {
                enter(&mut self.turns, *charge, line.turn, user);
            }
        }
    }

    /// The interval of a user is over.
    pub(super) fn rested(&mut self, user: &User, now: Moment) {
        let Some(line) = self.users.get_mut(user) else { return };
        if line.eligible.is_some_and(|eligible| eligible <= now) {
            line.eligible = None;
            for (charge, _) in &line.by_charge {
                enter(&mut self.turns, *charge, line.turn, user);
            }
            if line.tally.is_empty() {
                self.users.remove(user);
            }
        }
    }

    /// The call of each kind whose turn it is, in the order of their turns.
    pub(super) fn firsts(&self) -> Vec<&Job> {
        let first = |(charge, turns): &(Cost, BTreeMap<u64, User>)| {
            let (turn, user) = turns.first_key_value()?;
            let (number, job) = self.users.get(user)?.front(*charge)?;
            Some((*turn, number, job))
        };
        let mut firsts: Vec<_> = self.turns.iter().filter_map(first).collect();
        // Of one user the one that came first.
        firsts.sort_unstable_by_key(|(turn, number, ..)| (*turn, *number));
        firsts.into_iter().map(|(_, _, job)| job).collect()
    }

    /// Every user with calls.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&User, &Line)> {
        self.users.iter().filter(|(_, line)| !line.tally.is_empty())
    }

    pub(super) fn line(&self, user: &User) -> Option<&Line> {
        self.users.get(user)
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The last call to have come in.
    pub(super) fn last(&self) -> Option<&Job> {
        let lasts = self.users.values().filter_map(|line| {
            let lasts = line.by_charge.iter().filter_map(|(_, queue)| queue.last_key_value());
            lasts.max_by_key(|(number, _)| **number)
        });
        lasts.max_by_key(|(number, _)| **number).map(|(_, entry)| &entry.job)
    }

    /// Adds to `ahead` what goes before the call `number` of this user as turns are, or before one
    /// more call of it if that is `None`. While a user has so many calls to go, each other one has a
    /// turn for each of them, and one more if its turn comes first.
    pub(super) fn count_ahead(&self, user: &User, number: Option<u64>, ahead: &mut Tally) {
        let own = self.users.get(user).filter(|line| !line.tally.is_empty());
        let before = own.map_or_else(Tally::default, |line| line.before(number));
        let calls = before.calls();
        for (other, line) in self.lines() {
            if other != user {
                let is_first = own.is_none_or(|own| line.turn < own.turn);
                ahead.add_first(&line.tally, calls + usize::from(is_first));
            }
        }
        ahead.add_all(&before);
    }

    /// Everything, taken out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Job> + use<> {
        let Self { users, again, .. } = std::mem::take(self);
        let queues = users.into_values().flat_map(|line| line.by_charge);
        let entries = queues.flat_map(|(_, queue)| queue.into_values());
        let again = again.into_values().map(|(entry, _)| entry);
        entries.chain(again).map(|entry| entry.job)
    }
}

fn enter(turns: &mut Vec<(Cost, BTreeMap<u64, User>)>, charge: Cost, turn: u64, user: &User) {
    match turns.iter_mut().find(|(known, _)| *known == charge) {
        Some((_, turns)) => drop(turns.insert(turn, user.clone())),
        None => turns.push((charge, BTreeMap::from([(turn, user.clone())]))),
    }
}

fn leave(turns: &mut Vec<(Cost, BTreeMap<u64, User>)>, charge: Cost, turn: u64) {
    if let Some(index) = turns.iter().position(|(known, _)| *known == charge) {
        turns[index].1.remove(&turn);
        if turns[index].1.is_empty() {
            turns.swap_remove(index);
        }
    }
}

impl Line {
    /// From when on it may go, if not now.
    pub(super) fn rests_until(&self, now: Moment) -> Option<Moment> {
        self.eligible.filter(|eligible| *eligible > now)
    }

    /// The first call of a kind, with its number.
    pub(super) fn front(&self, charge: Cost) -> Option<(u64, &Job)> {
        let (_, queue) = self.by_charge.iter().find(|(known, _)| *known == charge)?;
        queue.first_key_value().map(|(number, entry)| (*number, &entry.job))
    }

    /// When the first of its calls came in.
    pub(super) fn oldest(&self) -> Option<Moment> {
        let fronts = self.by_charge.iter().filter_map(|(charge, _)| self.front(*charge));
        fronts.map(|(_, job)| job.info().entered).min()
    }

    pub(super) fn calls(&self) -> usize {
        self.tally.calls()
    }

    pub(super) fn holds(&self, charge: Cost, number: u64) -> bool {
        let queue = self.by_charge.iter().find(|(known, _)| *known == charge);
        queue.is_some_and(|(_, queue)| queue.contains_key(&number))
    }

    pub(super) fn of_kind(&self, charge: Cost) -> impl Iterator<Item = &Job> {
        let queues = self.by_charge.iter().filter(move |(known, _)| *known == charge);
        queues.flat_map(|(_, queue)| queue.values().map(|entry| &entry.job))
    }

    /// All of its calls.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.by_charge.iter().flat_map(|(_, queue)| queue.values().map(|entry| &entry.job))
    }

    fn before(&self, number: Option<u64>) -> Tally {
        let Some(number) = number else { return self.tally.clone() };
        let mut before = Tally::default();
        for (charge, queue) in &self.by_charge {
            for _ in queue.range(..number) {
                before.add(*charge);
            }
        }
        before
    }
}
