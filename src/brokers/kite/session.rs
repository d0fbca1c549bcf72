//! Logging in and out, and renewing a session.
//!
//! The first half of a login happens in a browser: the user signs in at [`login_url`], and Kite redirects to your app
//! with a request token. The second half is [`KiteBuilder::login`], which exchanges it for the day's access token.

use std::fmt::Write as _;

use form_urlencoded::Serializer;
use jiff::Zoned;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::builder::{KiteBuildError, KiteBuilder, check_token};
use super::de::Text;
use super::http::{ApiRequest, Http, not_sent_error};
use super::{Kite, time};
use crate::broker::BrokerError;

/// Returns the address where a user signs in, and which redirects to your app with a request token.
pub fn login_url(api_key: &str) -> String {
    let query = Serializer::new(String::new())
        .append_pair("v", "3")
        .append_pair("api_key", api_key)
        .finish();
    format!("https://kite.zerodha.com/connect/login?{query}")
}

/// The result of a login. Its `Debug` shows no token.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KiteSession {
    /// The user of the account.
    pub user_id: String,
    /// The access token, valid until about six in the morning in India.
    pub access_token: SecretString,
    /// The token that [renews](KiteBuilder::renew) the session once the access token is dead. `None` for the apps that
    /// get none from Kite, which are most of them.
    pub refresh_token: Option<SecretString>,
    /// The time of the login.
    pub login_at: Option<Zoned>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireSession {
    user_id: Text,
    access_token: Text,
    refresh_token: Text,
    login_time: Text,
}

impl KiteBuilder {
    /// Exchanges a request token for an access token. Each request token works once.
    ///
    /// ```no_run
    /// use lanekeeper::brokers::Kite;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (request_token, api_secret) = (String::new(), String::new());
    /// let builder = Kite::builder().api_key("key");
    /// let session = builder.login(request_token, api_secret)?;
    /// let kite = builder.access_token(session.access_token).build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for a write of the trait [`Broker`](crate::broker::Broker): [`NotSent`](BrokerError::NotSent) if
    /// the settings are invalid or there is no connection; [`Unauthorized`](BrokerError::Unauthorized) or
    /// [`Rejected`](BrokerError::Rejected) if Kite refuses, as it does a request token that was used before;
    /// [`Throttled`](BrokerError::Throttled); and [`OutcomeUnknown`](BrokerError::OutcomeUnknown) if no answer shows
    /// the outcome. The request token may be used up then: let the user sign in again.
    pub fn login(
        &self,
        request_token: impl Into<SecretString>,
        api_secret: impl Into<SecretString>,
    ) -> Result<KiteSession, BrokerError> {
        self.exchange(&REQUEST_TOKEN, request_token.into(), api_secret.into())
    }

    /// Exchanges a refresh token for a new access token, without its user. Kite gives refresh tokens to a few approved
    /// apps only.
    ///
    /// In a running program, [`Kite::renew_session`] also replaces the token of the adapter.
    ///
    /// ```no_run
    /// use lanekeeper::brokers::Kite;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (refresh_token, api_secret) = (String::new(), String::new());
    /// let builder = Kite::builder().api_key("key");
    /// let session = builder.renew(refresh_token, api_secret)?;
    /// let kite = builder.access_token(session.access_token).build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`login`](Self::login). After [`OutcomeUnknown`](BrokerError::OutcomeUnknown) the refresh token may be used
    /// up: let the user sign in.
    pub fn renew(
        &self,
        refresh_token: impl Into<SecretString>,
        api_secret: impl Into<SecretString>,
    ) -> Result<KiteSession, BrokerError> {
        self.exchange(&REFRESH_TOKEN, refresh_token.into(), api_secret.into())
    }

    fn exchange(
        &self,
        kind: &ExchangedToken,
        token: SecretString,
        api_secret: SecretString,
    ) -> Result<KiteSession, BrokerError> {
        let bare = self.build_http(None).map_err(|error| not_sent_error(error.to_string()))?;
        exchange(&bare, kind, token, api_secret)
    }
}

/// A kind of token that Kite exchanges for an access token.
struct ExchangedToken {
    path: &'static str,
    field: &'static str,
}

const REQUEST_TOKEN: ExchangedToken =
    ExchangedToken { path: "/session/token", field: "request_token" };
const REFRESH_TOKEN: ExchangedToken =
    ExchangedToken { path: "/session/refresh_token", field: "refresh_token" };

/// Exchanges `token` over the settings of `http`, without its access token, which may be dead.
fn exchange(
    http: &Http,
    kind: &ExchangedToken,
    token: SecretString,
    api_secret: SecretString,
) -> Result<KiteSession, BrokerError> {
    let checksum = checksum(&http.api_key, &token, &api_secret);
    let form = Serializer::new(String::new())
        .append_pair("api_key", &http.api_key)
        .append_pair(kind.field, token.expose_secret())
        .append_pair("checksum", checksum.expose_secret())
        .finish();
    let credentials = http.credentials.without_token(&[token, api_secret, checksum]);
    let bare = http.with_credentials(credentials);
    bare.request_data(&ApiRequest::login(kind.path, form), |wire: WireSession| {
        let access_token = wire.access_token.required("access_token")?.into();
        // A session that cannot be used is none.
        check_token(&access_token).map_err(|error| error.to_string())?;
        Ok::<_, String>(KiteSession {
            user_id: wire.user_id.0.unwrap_or_default(),
            access_token,
            refresh_token: wire.refresh_token.0.map(Into::into),
            login_at: wire.login_time.as_deref().and_then(time::parse),
        })
    })
}

impl Kite {
    /// Replaces the access token in this adapter and every clone, as on a new day, with one from
    /// [`KiteBuilder::login`]. The lanes of a `BrokerProxy` then send the calls that they have held since Kite
    /// refused the old token.
    ///
    /// ```no_run
    /// use lanekeeper::{Broker, BrokerProxy, Kite};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (request_token, api_secret) = (String::new(), String::new());
    /// let kite = Kite::builder().api_key("key").access_token("token of the day").build()?;
    /// let broker = BrokerProxy::builder(kite.clone()).build()?;
    /// // .. the next morning, in the running program:
    /// let session = Kite::builder().api_key("key").login(request_token, api_secret)?;
    /// kite.set_access_token(session.access_token)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The token is empty, or a header cannot carry it. The old token stays.
    pub fn set_access_token(&self, token: impl Into<SecretString>) -> Result<(), KiteBuildError> {
        let token = token.into();
        check_token(&token)?;
        self.inner.http.credentials.replace(token);
        // After the token: a call of the new session must have the new token.
        self.inner.session.renew();
        Ok(())
    }

    /// Exchanges a refresh token for a new access token, and [sets](Self::set_access_token) it in this adapter and every
    /// clone. The result has the next refresh token.
    ///
    /// ```no_run
    /// use lanekeeper::Kite;
    /// use lanekeeper::brokers::kite::SecretString;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (mut refresh_token, api_secret) = (SecretString::from(""), SecretString::from(""));
    /// # let kite = Kite::builder().api_key("key").access_token("token of the day").build()?;
    /// // In the running program, after six in the morning in India:
    /// let session = kite.renew_session(refresh_token, api_secret)?;
    /// refresh_token = session.refresh_token.ok_or("sign in again tomorrow")?;
    /// # let _ = refresh_token;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`KiteBuilder::renew`]. The old access token stays.
    pub fn renew_session(
        &self,
        refresh_token: impl Into<SecretString>,
        api_secret: impl Into<SecretString>,
    ) -> Result<KiteSession, BrokerError> {
        let http = &self.inner.http;
        let session = exchange(http, &REFRESH_TOKEN, refresh_token.into(), api_secret.into())?;
        http.credentials.replace(session.access_token.clone());
        // After the token: a call of the new session must have the new token.
        self.inner.session.renew();
        Ok(session)
    }

    /// Makes a refresh token invalid: it renews no session from then on.
    ///
    /// # Errors
    /// As [`invalidate_session`](Self::invalidate_session).
    pub fn invalidate_refresh_token(
        &self,
        refresh_token: impl Into<SecretString>,
    ) -> Result<(), BrokerError> {
        let (http, refresh_token) = (&self.inner.http, refresh_token.into());
        // As in `invalidate_session`, Kite requires the token in the address.
        let query = Serializer::new(String::new())
            .append_pair("api_key", &http.api_key)
            .append_pair(REFRESH_TOKEN.field, refresh_token.expose_secret())
            .finish();
        let credentials = http.credentials.with_secrets(&[refresh_token]);
        http.with_credentials(credentials)
            .execute(&ApiRequest::delete(format!("/session/token?{query}")))
    }

    /// Ends the session: the access token is invalid from then on, here and everywhere.
    ///
    /// # Errors
    /// As for a write of the trait [`Broker`](crate::broker::Broker). After
    /// [`OutcomeUnknown`](BrokerError::OutcomeUnknown) the token may be valid or not; calling this again does no
    /// harm.
    pub fn invalidate_session(&self) -> Result<(), BrokerError> {
        let http = &self.inner.http;
        let token = http.credentials.token();
        let token = token.as_ref().map(ExposeSecret::expose_secret);
        // Kite requires the token in the address here. ureq logs addresses at its trace level only, like everything
        // that it sends.
        let query = Serializer::new(String::new())
            .append_pair("api_key", &http.api_key)
            .append_pair("access_token", token.unwrap_or_default())
            .finish();
        http.execute(&ApiRequest::delete(format!("/session/token?{query}")))
    }
}

/// Returns the checksum that proves to Kite that we hold the secret, without sending it.
fn checksum(api_key: &str, token: &SecretString, api_secret: &SecretString) -> SecretString {
    let mut hash = hmac_sha256::Hash::new();
    for part in [api_key, token.expose_secret(), api_secret.expose_secret()] {
        hash.update(part);
    }
    let mut hex = String::with_capacity(64);
    for byte in hash.finalize() {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_three_in_a_row() {
        // printf 'abc' | sha256sum
        let sum = checksum("a", &"b".into(), &"c".into());
        assert_eq!(
            sum.expose_secret(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn the_login_address_names_the_app() {
        assert_eq!(login_url("k"), "https://kite.zerodha.com/connect/login?v=3&api_key=k");
    }
}
