//! The entries of one kind that an account has, with a bound on their number.

use std::collections::BTreeMap;

use crate::http::response::ApiError;

/// Bounds the open entries of one kind in one account. A real broker has such a bound too, of this order of magnitude.
pub(crate) const MAX_OPEN: usize = 250;
/// How many closed entries are kept: the latest ones.
const MAX_CLOSED: usize = 250;

/// An entry that may be closed, after which nothing happens to it any more.
pub(crate) trait Entry {
    fn is_open(&self) -> bool;
}

/// Entries by their numbers, the oldest first.
#[derive(Debug, Clone)]
pub(crate) struct Register<T>(BTreeMap<u64, T>);

impl<T> Default for Register<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Entry> Register<T> {
    /// Adds an entry. `number` is larger than those before.
    ///
    /// # Errors
    /// As many entries are open as there may be. `what` names them.
    pub(crate) fn insert(&mut self, number: u64, entry: T, what: &str) -> Result<(), ApiError> {
        if self.0.values().filter(|entry| entry.is_open()).count() >= MAX_OPEN {
            return Err(ApiError::input(format!("At most {MAX_OPEN} {what} can be open.")));
        }
        let closed: Vec<u64> = self
            .0
            .iter()
            .filter(|(_, entry)| !entry.is_open())
            .map(|(number, _)| *number)
            .collect();
        for number in closed.iter().take(closed.len().saturating_sub(MAX_CLOSED)) {
            self.0.remove(number);
        }
        self.0.insert(number, entry);
        Ok(())
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.0.get(&number)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        self.0.get_mut(&number)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.0.iter().map(|(number, entry)| (*number, entry))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.values_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Entry for bool {
        fn is_open(&self) -> bool {
            *self
        }
    }

    #[test]
    fn open_entries_are_bounded_and_old_closed_ones_are_dropped() {
        let mut register = Register::default();
        for number in 0..MAX_OPEN as u64 {
            assert_eq!(register.insert(number, true, "entries"), Ok(()));
        }
        assert!(register.insert(1000, true, "entries").is_err());
        for number in 1000..3000 {
            for open in register.values_mut().filter(|entry| **entry).take(1) {
                *open = false;
            }
            assert_eq!(register.insert(number, true, "entries"), Ok(()));
        }
        let closed = register.iter().filter(|(_, open)| !**open).count();
        assert!(closed <= MAX_CLOSED + 1, "{closed}");
        assert_eq!((register.get(0), register.get(2999)), (None, Some(&true)));
    }
}
