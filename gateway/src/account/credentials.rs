//! How the gateway authenticates itself at the upstream. The secret is the gateway's own: no client, log or page gets it.

use std::fmt;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use lanekeeper::brokers::Kite;
use lanekeeper::brokers::kite::SecretString;
use parking_lot::RwLock;
use secrecy::ExposeSecret;

use crate::upstream::{Answer, AnswerBody, Redactor};

/// How many replaced secrets are still removed from answers.
const MAX_PREVIOUS: usize = 8;

/// A secret that is shorter than this would be found in innocent answers.
const MIN_SECRET: usize = 8;

/// The header with which requests are authenticated at the upstream.
pub(crate) struct Credentials {
    header: HeaderName,
    /// What precedes the secret in the header.
    prefix: String,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    value: Option<HeaderValue>,
    /// The present secret and those before it.
    secrets: Vec<SecretString>,
}

/// Why new credentials cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoginError {
    /// A header cannot carry it.
    #[error("the token is empty, or has characters that a header cannot have")]
    BadToken,
}

impl Credentials {
    /// No credentials: the upstream needs none.
    pub(crate) fn none() -> Self {
        Self { header: AUTHORIZATION, prefix: String::new(), state: RwLock::default() }
    }

    /// `Authorization: token API_KEY:ACCESS_TOKEN`, as Kite wants it.
    pub(crate) fn kite(api_key: &str, token: &SecretString) -> Result<Self, LoginError> {
        Self::new(AUTHORIZATION, format!("token {api_key}:"), token)
    }

    pub(crate) fn new(
        header: HeaderName,
        prefix: String,
        secret: &SecretString,
    ) -> Result<Self, LoginError> {
        let credentials = Self { header, prefix, state: RwLock::default() };
        credentials.replace(secret)?;
        Ok(credentials)
    }

    /// Replaces the secret, from the next request on.
    pub(crate) fn replace(&self, secret: &SecretString) -> Result<(), LoginError> {
        let text = secret.expose_secret();
        if text.is_empty() {
            return Err(LoginError::BadToken);
        }
        let value = HeaderValue::from_str(&format!("{}{text}", self.prefix));
        let mut value = value.map_err(|_| LoginError::BadToken)?;
        value.set_sensitive(true);
        let mut state = self.state.write();
        state.value = Some(value);
        state.secrets.retain(|known| known.expose_secret() != text);
        state.secrets.push(secret.clone());
        if state.secrets.len() > MAX_PREVIOUS {
            state.secrets.remove(0);
        }
        Ok(())
    }

    /// Replaces Kite's access token, here and in the adapter, whose lanes then go on.
    pub(crate) fn replace_token(
        &self,
        token: &SecretString,
        kite: &Kite,
    ) -> Result<(), LoginError> {
        self.replace(token)?;
        kite.set_access_token(token.clone()).map_err(|_| LoginError::BadToken)
    }

    /// Adds the credentials to a request.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        // The client's own value never goes on, not even where the gateway has none.
        headers.remove(&self.header);
        if let Some(value) = &self.state.read().value {
            headers.insert(self.header.clone(), value.clone());
        }
    }

    /// Returns whether this is the secret that is in use.
    pub(crate) fn is_present(&self, secret: &SecretString) -> bool {
        let state = self.state.read();
        state.secrets.last().is_some_and(|last| last.expose_secret() == secret.expose_secret())
    }

    /// Returns whether there is a secret that an answer might show.
    pub(crate) fn has_secret(&self) -> bool {
        !self.state.read().secrets.is_empty()
    }

    /// Returns the secrets that no answer may show.
    pub(crate) fn secrets(&self) -> Vec<SecretString> {
        self.state.read().secrets.clone()
    }

    /// Overwrites the secrets in an answer, should the upstream have echoed them. So whatever is made of the answer, such
    /// as an error, a notice or an entry of a cache, has none.
    pub(crate) fn redact(&self, mut answer: Answer) -> Answer {
        let secrets = self.secrets().into_iter();
        let secrets = secrets.filter(|secret| secret.expose_secret().len() >= MIN_SECRET).collect();
        let redactor = Redactor::new(secrets);
        for value in answer.headers.values_mut() {
            let bytes = Bytes::copy_from_slice(value.as_bytes());
            let clean = redactor.overwrite(bytes.clone());
            if clean != bytes {
                // Asterisks are allowed in every header.
                *value =
                    HeaderValue::from_maybe_shared(clean).unwrap_or(HeaderValue::from_static(""));
            }
        }
        answer.body = match answer.body {
            AnswerBody::Whole(bytes) => AnswerBody::Whole(redactor.overwrite(bytes)),
            AnswerBody::Streamed(mut rest) => {
                rest.redact(redactor);
                AnswerBody::Streamed(rest)
            }
        };
        answer
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("header", &self.header).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    #[test]
    fn the_secret_replaces_what_a_client_sent_and_is_shown_nowhere() {
        let credentials = Credentials::kite("key", &"the-first-token".into()).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("token alpha:client-secret"));
        credentials.apply(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "token key:the-first-token");
        assert!(!format!("{headers:?} {credentials:?}").contains("token"), "{headers:?}");

        credentials.replace(&"the-second-token".into()).unwrap();
        credentials.apply(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "token key:the-second-token");
        let body = b"no session the-second-token, the-first-token; the-second-token";
        let mut answer = Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: AnswerBody::Whole(Bytes::from_static(body)),
        };
        answer.headers.insert("x-request", HeaderValue::from_static("token key:the-second-token"));
        let clean = credentials.redact(answer);
        let expected = "no session ****************, ***************; ****************";
        assert_eq!(clean.whole().unwrap(), expected);
        assert_eq!(clean.headers["x-request"], "token key:****************");
    }

    #[test]
    fn what_a_header_cannot_carry_changes_nothing() {
        let credentials = Credentials::kite("key", &"the-first-token".into()).unwrap();
        for bad in ["", "a\nb", "a\0"] {
            assert_eq!(credentials.replace(&bad.into()), Err(LoginError::BadToken));
        }
        let mut headers = HeaderMap::new();
        credentials.apply(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "token key:the-first-token");
    }
}
