//! Logging in and out.
//!
//! The first half of a login happens in a browser: the user signs in at [`login_url`], and Kite
//! sends them back to your app with a request token. The second half is [`KiteBuilder::login`],
//! which makes the day's access token of it.

use std::fmt::Write as _;

use form_urlencoded::Serializer;
use jiff::Zoned;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::builder::{KiteBuildError, KiteBuilder, check_token};
use super::de::Text;
use super::http::{ApiRequest, Http, not_sent_error};
use super::{Kite, time};
use crate::broker::BrokerError;

/// Where a user signs in, to come back to your app with a request token.
pub fn login_url(api_key: &str) -> String {
    let query = Serializer::new(String::new())
        .append_pair("v", "3")
        .append_pair("api_key", api_key)
        .finish();
    format!("https://kite.zerodha.com/connect/login?{query}")
}

/// What a login brought. Its `Debug` shows no token.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KiteSession {
    /// Whose account it is.
    pub user_id: String,
    /// The key to it until about six in the morning in India.
    pub access_token: SecretString,
    /// When the login was.
    pub login_at: Option<Zoned>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireSession {
    user_id: Text,
    access_token: Text,
    login_time: Text,
}

impl KiteBuilder {
    /// Makes an access token of a request token, which can be done once for each.
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
    /// As for a write of the trait [`Broker`](crate::broker::Broker):
    /// [`NotSent`](BrokerError::NotSent) if the settings make no client or there is no connection;
    /// [`Unauthorized`](BrokerError::Unauthorized) or [`Rejected`](BrokerError::Rejected) if Kite refuses,
    /// as it does a request token that was used before; [`Throttled`](BrokerError::Throttled); and
    /// [`OutcomeUnknown`](BrokerError::OutcomeUnknown) if no answer tells what became of it. The
    /// request token may be spent then: let the user sign in again.
    pub fn login(
        &self,
        request_token: impl Into<SecretString>,
        api_secret: impl Into<SecretString>,
    ) -> Result<KiteSession, BrokerError> {
        let (request_token, api_secret) = (request_token.into(), api_secret.into());
        let checksum = checksum(&self.api_key, &request_token, &api_secret);
        let form = Serializer::new(String::new())
            .append_pair("api_key", &self.api_key)
            .append_pair("request_token", request_token.expose_secret())
            .append_pair("checksum", checksum.expose_secret())
            .finish();
        let bare = self.build_http(None).map_err(|error| not_sent_error(error.to_string()))?;
        let credentials = bare.credentials.with_secrets(&[request_token, api_secret, checksum]);
        let http = Http { credentials, ..bare };
        http.request_data(&ApiRequest::login("/session/token", form), |wire: WireSession| {
            Ok::<_, String>(KiteSession {
                user_id: wire.user_id.0.unwrap_or_default(),
                access_token: wire.access_token.required("access_token")?.into(),
                login_at: wire.login_time.as_deref().and_then(time::parse),
            })
        })
    }
}

impl Kite {
    /// Makes all requests from now on with another access token, here and in every clone: that of a new day,
    /// from [`KiteBuilder::login`]. The lanes of a `BrokerProxy` go on with the calls that they held since
    /// Kite refused the old one.
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
    /// The token is empty, or no header can carry it; the old one stays.
    pub fn set_access_token(&self, token: impl Into<SecretString>) -> Result<(), KiteBuildError> {
        let token = token.into();
        check_token(&token)?;
        self.inner.http.credentials.replace(token);
        // After it: a call that is made in the new session has the new token.
        self.inner.session.renew();
        Ok(())
    }

    /// Ends the session: the access token is dead from then on, here and everywhere.
    ///
    /// # Errors
    /// As for a write of the trait [`Broker`](crate::broker::Broker). After
    /// [`OutcomeUnknown`](BrokerError::OutcomeUnknown) the token may be dead or alive; asking again
    /// does no harm.
    pub fn invalidate_session(&self) -> Result<(), BrokerError> {
        let http = &self.inner.http;
        let token = http.credentials.token();
        let token = token.as_ref().map(ExposeSecret::expose_secret);
        // Kite wants the token in the address here. ureq logs addresses, like all that it sends, at its
        // trace level only.
        let query = Serializer::new(String::new())
            .append_pair("api_key", &http.api_key)
            .append_pair("access_token", token.unwrap_or_default())
            .finish();
        http.execute(&ApiRequest::delete(format!("/session/token?{query}")))
    }
}

/// Kite's proof that we hold the secret, without sending it.
fn checksum(
    api_key: &str,
    request_token: &SecretString,
    api_secret: &SecretString,
) -> SecretString {
    let digest = Sha256::new()
        .chain_update(api_key)
        .chain_update(request_token.expose_secret())
        .chain_update(api_secret.expose_secret())
        .finalize();
    let mut hex = String::with_capacity(64);
    for byte in digest {
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
