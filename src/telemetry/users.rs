//! Which users have a label of their own. Names come from outside, and a label must not have any
//! number of values.

use std::sync::Arc;

use parking_lot::RwLock;

/// Where a user's calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    /// Users are not told apart.
    All,
    /// Those that did not say who they are.
    Nobody,
    /// The one of this number.
    Known(usize),
    /// Those beyond the number that was allowed.
    Other,
}

/// The first so many users that called.
#[derive(Debug, Default)]
pub(super) struct Users {
    pub(super) most: usize,
    known: RwLock<Vec<Arc<str>>>,
}

impl Users {
    pub(super) fn slot(&self, user: Option<&str>) -> Slot {
        if self.most == 0 {
            return Slot::All;
        }
        let Some(user) = user else { return Slot::Nobody };
        let find = |known: &Vec<Arc<str>>| known.iter().position(|known| **known == *user);
        {
            let known = self.known.read();
            match find(&known) {
                Some(index) => return Slot::Known(index),
                None if known.len() >= self.most => return Slot::Other,
                None => {}
            }
        }
        let mut known = self.known.write();
        // Somebody may have been quicker.
        match find(&known) {
            Some(index) => Slot::Known(index),
            None if known.len() >= self.most => Slot::Other,
            None => {
                known.push(user.into());
                Slot::Known(known.len() - 1)
            }
        }
    }

    /// The value of the label, if there is one.
    pub(super) fn name(&self, slot: Slot) -> Option<Arc<str>> {
        match slot {
            Slot::All => None,
            Slot::Nobody => Some("none".into()),
            Slot::Other => Some("other".into()),
            Slot::Known(index) => self.known.read().get(index).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_users_have_a_label_of_their_own() {
        let users = Users { most: 2, ..Users::default() };
        let name = |user| users.name(users.slot(user)).map(|name| name.to_string());
        for user in ["alpha", "beta", "alpha"] {
            assert_eq!(name(Some(user)).as_deref(), Some(user));
        }
        assert_eq!(name(Some("gamma")).as_deref(), Some("other"));
        assert_eq!(name(Some("beta")).as_deref(), Some("beta"));
        assert_eq!(name(None).as_deref(), Some("none"));
        assert_eq!(Users::default().slot(Some("alpha")), Slot::All);
    }
}
