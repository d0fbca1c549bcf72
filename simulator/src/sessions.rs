//! Sessions: every access token is valid until its session is ended here. A refresh token is valid if a login
//! returned it, until it is invalidated.

use std::collections::HashSet;
use std::fmt;

use parking_lot::Mutex;

/// What a refresh token begins with. The number of the session follows.
const REFRESH: &str = "refresh";

/// The tokens of a session. It has no `Debug`.
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

/// The count of begun sessions, and the tokens of ended ones.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    begun: u64,
    ended: HashSet<String>,
}

// Omits the tokens: a client with a real token may have been pointed here.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("begun", &self.begun).finish_non_exhaustive()
    }
}

impl Sessions {
    /// Begins a session and returns its tokens.
    pub(crate) fn begin(&self) -> Tokens {
        self.state.lock().begin()
    }

    /// Begins a session with the refresh token of an earlier one, which stays valid. Returns `None` if the token is
    /// not valid.
    pub(crate) fn renew(&self, refresh_token: &str) -> Option<Tokens> {
        let mut state = self.state.lock();
        if !state.is_refresh_token(refresh_token) {
            return None;
        }
        Some(Tokens { refresh_token: refresh_token.to_owned(), ..state.begin() })
    }

    /// Ends a session, or invalidates a refresh token.
    pub(crate) fn end(&self, token: &str) {
        self.state.lock().ended.insert(token.to_owned());
    }

    pub(crate) fn is_ended(&self, access_token: &str) -> bool {
        self.state.lock().ended.contains(access_token)
    }
}

impl State {
    fn begin(&mut self) -> Tokens {
        self.begun += 1;
        let number = self.begun;
        Tokens {
            access_token: format!("paper{number:027}"),
            refresh_token: format!("{REFRESH}{number:025}"),
        }
    }

    fn is_refresh_token(&self, token: &str) -> bool {
        let number = token.strip_prefix(REFRESH).filter(|digits| {
            digits.len() == 25 && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        let number = number.and_then(|digits| digits.parse::<u64>().ok());
        number.is_some_and(|number| (1..=self.begun).contains(&number))
            && !self.ended.contains(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_has_a_token_of_its_own_and_ends_alone() {
        let sessions = Sessions::default();
        let [first, second] = [(); 2].map(|()| sessions.begin().access_token);
        assert_ne!(first, second);
        sessions.end(&first);
        assert!(sessions.is_ended(&first) && !sessions.is_ended(&second));
    }

    #[test]
    fn a_refresh_token_begins_sessions_until_it_is_invalidated() {
        let sessions = Sessions::default();
        let first = sessions.begin();
        let renewed = sessions.renew(&first.refresh_token).unwrap();
        assert_eq!(renewed.refresh_token, first.refresh_token);
        assert_ne!(renewed.access_token, first.access_token);
        for wrong in ["", "refresh", "refresh+000000000000000000000001", &first.access_token] {
            assert!(sessions.renew(wrong).is_none(), "{wrong}");
        }
        assert!(sessions.renew(&format!("refresh{:025}", 9)).is_none());
        sessions.end(&first.refresh_token);
        assert!(sessions.renew(&first.refresh_token).is_none());
        assert!(!sessions.is_ended(&renewed.access_token));
    }
}
