//! The access token and the other secrets of a client. The token may be replaced while calls are in flight.

use parking_lot::RwLock;
use secrecy::SecretString;

use super::secrets::Secrets;

/// How many replaced tokens are still removed from messages. A token is valid for a day, and an answer takes seconds.
const MAX_PREVIOUS_TOKENS: usize = 8;

/// The current access token, and everything that must never be shown.
#[derive(Debug, Default)]
pub(super) struct Credentials(RwLock<CredentialState>);

#[derive(Debug, Default)]
struct CredentialState {
    /// `None` before login.
    token: Option<SecretString>,
    /// Tokens that were replaced.
    previous_tokens: Vec<SecretString>,
    /// Other secrets.
    other_secrets: Vec<SecretString>,
}

impl Credentials {
    pub(super) fn new(token: Option<SecretString>, fixed: Vec<SecretString>) -> Self {
        Self(RwLock::new(CredentialState {
            token,
            previous_tokens: Vec::new(),
            other_secrets: fixed,
        }))
    }

    /// Returns the same credentials with `more` secrets.
    pub(super) fn with_secrets(&self, more: &[SecretString]) -> Self {
        let (token, secrets) = self.token_and_secrets();
        Self::new(token, secrets.into_iter().chain(more.iter().cloned()).collect())
    }

    /// Returns credentials without a token, which keep all secrets of these, and `more`.
    pub(super) fn without_token(&self, more: &[SecretString]) -> Self {
        let (_, secrets) = self.token_and_secrets();
        Self::new(None, secrets.into_iter().chain(more.iter().cloned()).collect())
    }

    /// Returns the token, and all secrets with it.
    fn token_and_secrets(&self) -> (Option<SecretString>, Vec<SecretString>) {
        let current = self.0.read();
        let CredentialState { token, previous_tokens: old, other_secrets: fixed } = &*current;
        (token.clone(), token.iter().chain(old).chain(fixed).cloned().collect())
    }

    /// Returns the token of the next request.
    pub(super) fn token(&self) -> Option<SecretString> {
        self.0.read().token.clone()
    }

    /// Replaces the token, from the next request on.
    pub(super) fn replace(&self, token: SecretString) {
        let mut current = self.0.write();
        if let Some(old) = current.token.replace(token) {
            current.previous_tokens.push(old);
            if current.previous_tokens.len() > MAX_PREVIOUS_TOKENS {
                current.previous_tokens.remove(0);
            }
        }
    }

    /// Returns what must not be shown.
    pub(super) fn secrets(&self) -> Secrets {
        Secrets::new(self.token_and_secrets().1)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::broker::{BrokerError, ErrorDetail};

    #[test]
    fn a_token_that_was_replaced_is_still_a_secret() {
        let credentials = Credentials::new(Some("first-token".into()), vec!["the-app-key".into()]);
        credentials.replace("second-token".into());
        assert_eq!(credentials.token().unwrap().expose_secret(), "second-token");
        let echoed = ErrorDetail::new("the-app-key:first-token, the-app-key:second-token");
        let clean = credentials.secrets().redact(BrokerError::Fatal(echoed)).to_string();
        assert!(clean.ends_with("[secret]:[secret], [secret]:[secret]"), "{clean}");
        for number in 0..20 {
            credentials.replace(format!("token-{number}").into());
        }
        assert_eq!(credentials.0.read().previous_tokens.len(), MAX_PREVIOUS_TOKENS);
    }
}
