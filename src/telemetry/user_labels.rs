//! Assigns labels to users. The names of users come from outside, so the number of label values is bounded.

use std::sync::Arc;

use parking_lot::RwLock;

/// The label under which a user's calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum UserLabel {
    /// All users, if users are not distinguished.
    All,
    /// Calls without a user.
    Anonymous,
    /// The user with this number.
    Known(usize),
    /// Users beyond the maximum number.
    Other,
}

/// The first users that called, up to a maximum number.
#[derive(Debug, Default)]
pub(super) struct UserLabels {
    pub(super) max_users: usize,
    names: RwLock<Vec<Arc<str>>>,
}

impl UserLabels {
    pub(super) fn label(&self, user: Option<&str>) -> UserLabel {
        if self.max_users == 0 {
            return UserLabel::All;
        }
        let Some(user) = user else { return UserLabel::Anonymous };
        let find = |known: &Vec<Arc<str>>| known.iter().position(|known| **known == *user);
        {
            let known = self.names.read();
            match find(&known) {
                Some(index) => return UserLabel::Known(index),
                None if known.len() >= self.max_users => return UserLabel::Other,
                None => {}
            }
        }
        let mut known = self.names.write();
        // Another thread may have added the user between the locks.
        match find(&known) {
            Some(index) => UserLabel::Known(index),
            None if known.len() >= self.max_users => UserLabel::Other,
            None => {
                known.push(user.into());
                UserLabel::Known(known.len() - 1)
            }
        }
    }

    /// Returns the value of the label, or `None` if users are not distinguished.
    pub(super) fn value(&self, label: UserLabel) -> Option<Arc<str>> {
        match label {
            UserLabel::All => None,
            UserLabel::Anonymous => Some("none".into()),
            UserLabel::Other => Some("other".into()),
            UserLabel::Known(index) => self.names.read().get(index).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_users_have_a_label_of_their_own() {
        let users = UserLabels { max_users: 2, ..UserLabels::default() };
        let name = |user| users.value(users.label(user)).map(|name| name.to_string());
        for user in ["alpha", "beta", "alpha"] {
            assert_eq!(name(Some(user)).as_deref(), Some(user));
        }
        assert_eq!(name(Some("gamma")).as_deref(), Some("other"));
        assert_eq!(name(Some("beta")).as_deref(), Some("beta"));
        assert_eq!(name(None).as_deref(), Some("none"));
        assert_eq!(UserLabels::default().label(Some("alpha")), UserLabel::All);
    }
}
