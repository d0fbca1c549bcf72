//! Sessions: every access token is valid until its session is ended here.

use std::collections::HashSet;
use std::fmt;

use parking_lot::Mutex;

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
    /// Begins a session and returns its access token.
    pub(crate) fn begin(&self) -> String {
        let mut state = self.state.lock();
        state.begun += 1;
        format!("paper{:027}", state.begun)
    }

    pub(crate) fn end(&self, access_token: &str) {
        self.state.lock().ended.insert(access_token.to_owned());
    }

    pub(crate) fn is_ended(&self, access_token: &str) -> bool {
        self.state.lock().ended.contains(access_token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_has_a_token_of_its_own_and_ends_alone() {
        let sessions = Sessions::default();
        let (first, second) = (sessions.begin(), sessions.begin());
        assert_ne!(first, second);
        sessions.end(&first);
        assert!(sessions.is_ended(&first) && !sessions.is_ended(&second));
    }
}
