//! The wait of a caller for the requests that carry its keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::answer::{FetchError, GetOptions, Origin};
use super::bounds::{Key, Shared};
use super::core::{Core, Found, Seat};
use super::flight::{Flight, Outcome};
use super::memory::Entry;
use crate::quota::Moment;

/// What is known so far of what was asked.
pub(super) type Known<K, V, E> = HashMap<K, Held<V, E>>;

/// What is known of one key.
pub(super) struct Held<V, E> {
    pub(super) entry: Arc<Entry<V, E>>,
    pub(super) origin: Origin,
    /// It was not too old for anyone when it came.
    pub(super) came_in_time: bool,
}

impl<V: Shared, E: Shared + Clone> Held<V, E> {
    /// From memory, so it was young enough.
    pub(super) fn of(entry: &Arc<Entry<V, E>>, origin: Origin) -> Self {
        Self { entry: Arc::clone(entry), origin, came_in_time: true }
    }

    /// By a request that came back at `at`.
    fn landed<K: Key>(entry: &Arc<Entry<V, E>>, at: Moment, core: &Core<K, V, E>) -> Self {
        let came_in_time = at.since(entry.sent) <= core.ages.hard_limit();
        Self { entry: Arc::clone(entry), origin: Origin::Fetched, came_in_time }
    }
}

/// What one question demands, and since when.
pub(super) struct Asking<'a> {
    pub(super) ask: &'a GetOptions,
    pub(super) began: Moment,
    pub(super) until: Option<Moment>,
    /// A request was sent for it.
    pub(super) was_sent: bool,
}

/// The places of one who waits, given back when it leaves.
struct Places<'a, K: Key, V: Shared, E: Shared> {
    core: &'a Core<K, V, E>,
    taken: Vec<Seat<K, V, E>>,
    /// Those that had no answer in time.
    unanswered: Vec<Seat<K, V, E>>,
}

impl<K: Key, V: Shared, E: Shared> Places<'_, K, V, E> {
    /// Gives all of them back. Says whether a request for one may have been sent.
    fn leave(&mut self) -> bool {
        let mut was_sent = false;
        for seat in self.taken.drain(..).chain(self.unanswered.drain(..)) {
            was_sent |= self.core.leave(&seat);
        }
        was_sent
    }
}

impl<K: Key, V: Shared, E: Shared> Drop for Places<'_, K, V, E> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<K: Key, V: Shared, E: Shared + Clone> Core<K, V, E> {
    /// Boards a flight for each key, and waits until they are down. If it stops waiting before, gives the
    /// reason, which holds for all keys that are not known by then.
    pub(super) fn wait_for(
        &self,
        missing: &[K],
        known: &mut Known<K, V, E>,
        asking: &mut Asking<'_>,
    ) -> Option<FetchError<E>> {
        let with_values = known.iter().filter(|(_, held)| held.entry.value().is_ok());
        let others: Vec<(K, usize)> =
            with_values.map(|(key, held)| (key.clone(), held.entry.weight)).collect();
        let mut places = Places { core: self, taken: Vec::new(), unanswered: Vec::new() };
        for (key, found) in missing.iter().zip(self.board(missing, others.clone(), asking.ask)) {
            match found {
                Found::Aboard(seat) => places.taken.push(seat),
                Found::InMemory(entry) => {
                    self.counters.answered(Origin::Memory, entry.age_of_value(self.now()));
                    known.insert(key.clone(), Held::of(&entry, Origin::Memory));
                }
            }
        }
        let mut flown: Vec<Arc<Flight<K, V, E>>> = Vec::new();
        let mut failed = None;
        while let Some(Seat { key, flight }) = places.taken.pop() {
            // Once it does not wait any more, it still takes what has come.
            let until = if failed.is_some() { Some(asking.began) } else { asking.until };
            match flight.wait(&self.settings.clock, until) {
                None => places.unanswered.push(Seat { key, flight }),
                Some(Outcome::Failed(error)) => {
                    failed.get_or_insert_with(|| FetchError::clone(error));
                }
                Some(Outcome::Divided(parts)) => {
                    asking.was_sent = true;
                    // Every key that somebody waits for is in a part.
                    match parts.get(&key) {
                        Some(part) => places.taken.push(Seat { key, flight: Arc::clone(part) }),
                        None => failed = Some(FetchError::KeysNotTaken),
                    }
                }
                Some(Outcome::Landed { entries, at }) => {
                    asking.was_sent = true;
                    // And every key of a request has an entry.
                    match entries.get(&key) {
                        Some(entry) => drop(known.insert(key, Held::landed(entry, *at, self))),
                        None => failed = Some(FetchError::KeysNotTaken),
                    }
                    if !flown.iter().any(|known| Arc::ptr_eq(known, &flight)) {
                        flown.push(Arc::clone(&flight));
                    }
                }
            }
        }
        // What was known came along, if it could: then all are of one moment.
        for (key, _) in others {
            let landed = flown.iter().find_map(|flight| match flight.outcome()? {
                Outcome::Landed { entries, at } => entries.get(&key).map(|entry| (entry, *at)),
                _ => None,
            });
            if let Some((entry, at)) = landed.filter(|(entry, _)| entry.value().is_ok()) {
                known.insert(key, Held::landed(entry, at, self));
            }
        }
        if places.unanswered.is_empty() {
            return failed;
        }
        let may_have_been_sent = places.leave() || asking.was_sent;
        Some(failed.unwrap_or_else(|| {
            self.counters.timed_out.fetch_add(1, Ordering::Relaxed);
            let waited = self.now().since(asking.began);
            FetchError::TimedOut { waited, maybe_sent: may_have_been_sent }
        }))
    }
}
