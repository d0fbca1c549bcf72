//! The key pair of a client, which may be replaced while calls are in flight.

use parking_lot::RwLock;
use secrecy::SecretString;

use crate::brokers::http::secrets::Secrets;

/// How many replaced pairs are still removed from messages. An answer takes seconds, and a pair lives for months.
const MAX_PREVIOUS_KEYS: usize = 8;

/// The key id and the secret key of one account. Both are treated as secrets.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) key_id: SecretString,
    pub(super) secret_key: SecretString,
}

/// The present keys, and those that were replaced.
#[derive(Debug)]
pub(super) struct Credentials(RwLock<CredentialState>);

#[derive(Debug)]
struct CredentialState {
    present: Keys,
    previous: Vec<Keys>,
}

impl Credentials {
    pub(super) fn new(keys: Keys) -> Self {
        Self(RwLock::new(CredentialState { present: keys, previous: Vec::new() }))
    }

    /// Returns the keys of the next request.
    pub(super) fn keys(&self) -> Keys {
        self.0.read().present.clone()
    }

    /// Replaces the keys, from the next request on.
    pub(super) fn replace(&self, keys: Keys) {
        let mut state = self.0.write();
        let old = std::mem::replace(&mut state.present, keys);
        state.previous.push(old);
        if state.previous.len() > MAX_PREVIOUS_KEYS {
            state.previous.remove(0);
        }
    }

    /// Returns what must not be shown.
    pub(super) fn secrets(&self) -> Secrets {
        let state = self.0.read();
        let pairs = std::iter::once(&state.present).chain(&state.previous);
        Secrets::new(
            pairs.flat_map(|keys| [keys.key_id.clone(), keys.secret_key.clone()]).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(id: &str, secret: &str) -> Keys {
        Keys { key_id: id.into(), secret_key: secret.into() }
    }

    #[test]
    fn keys_that_were_replaced_are_still_secrets() {
        let credentials = Credentials::new(keys("first-key", "first-secret"));
        credentials.replace(keys("second-key", "second-secret"));
        for text in ["first-key", "first-secret", "second-key", "second-secret"] {
            assert!(credentials.secrets().appear_in(&format!("x{text}y")), "{text}");
        }
        assert!(!format!("{credentials:?}").contains("first-"));
    }
}
