//! The builder of a [`Kite`]. It finds every wrong setting before the first call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::Kite;
use super::credentials::Credentials;
use super::http::Http;
use super::instrument_tokens::InstrumentTokens;
use super::known_ids::KnownIds;
use crate::Session;
use crate::broker::{MarketProtection, MissingListings, Product};
use crate::brokers::http::client::HttpClient;
use crate::brokers::http::settings::{
    ConnectionSettings, InvalidSetting, is_visible_ascii, parse_base_url,
};

/// Kite's own address.
const BASE_URL: &str = "https://api.kite.trade";
/// The timeout of the vendor's own client.
const TIMEOUT: Duration = Duration::from_secs(7);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A day's 5000 orders are about 7 MB. Decoding takes a few times as much memory as the answer has bytes, and up to
/// eighty times for a malicious answer, or 130 times if a crate of the build turns on serde_json's `preserve_order`.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
/// The listing of all instruments is about 10 MB, and grows. The number of its rows is bounded too.
const MAX_LISTING: u64 = 64 * 1024 * 1024;
/// The settings of a [`Kite`], from [`Kite::builder`].
///
/// Kite refuses market orders by API that have no market protection. Those that name none get
/// [`market_protection`](Self::market_protection), by default [`MarketProtection::AUTO`].
#[derive(Clone)]
#[must_use]
pub struct KiteBuilder {
    pub(super) api_key: String,
    access_token: Option<SecretString>,
    base_url: String,
    timeout: Duration,
    connect_timeout: Duration,
    default_product: Product,
    market_protection: Option<MarketProtection>,
    user_agent: String,
    max_answer: u64,
    max_listing: u64,
    allow_plain_http: bool,
}

/// Why a [`Kite`] cannot be built from these settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KiteBuildError {
    /// A required setting is missing.
    #[error("`{0}` is missing: set it with KiteBuilder::{0}")]
    Missing(&'static str),
    /// A setting holds characters that an HTTP header cannot carry.
    #[error("`{0}` holds a blank, a control or a non-ASCII character, which a header cannot carry")]
    NotHeaderText(&'static str),
    /// The base URL cannot be used. It is not shown, as it may hold a password.
    #[error("the base URL cannot be used: {0}")]
    BaseUrl(&'static str),
    /// The access token would travel in clear to another machine.
    #[error(
        "the base URL is plain http to {host}, so the access token would travel in clear: use https, \
         or KiteBuilder::allow_plain_http"
    )]
    PlainHttp {
        /// The other machine.
        host: String,
    },
    /// A timeout of zero lets no call succeed.
    #[error("`{0}` is zero, so no call could succeed")]
    Zero(&'static str),
    /// A timeout longer than an hour.
    #[error("`{0}` is longer than an hour, which is the longest")]
    TooLong(&'static str),
}

impl KiteBuilder {
    pub(super) fn new() -> Self {
        Self {
            api_key: String::new(),
            access_token: None,
            base_url: BASE_URL.to_owned(),
            timeout: TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            default_product: Product::Cnc,
            market_protection: Some(MarketProtection::AUTO),
            user_agent: concat!("lanekeeper/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_answer: MAX_ANSWER,
            max_listing: MAX_LISTING,
            allow_plain_http: false,
        }
    }

    /// Sets the key of your app. Like every secret it is removed from what errors quote. A key of less than 8 bytes
    /// is not removed, because it would match parts of other words; Kite's keys have 16.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = key.into();
        self
    }

    /// Sets the day's access token, from [`KiteBuilder::login`]. It expires at about six in the morning in India.
    ///
    /// It is removed from what errors quote. **A token of less than 8 bytes is not removed**, because it would match
    /// parts of other words; Kite's tokens have 32. Use a short token in a test only if it may be shown.
    pub fn access_token(mut self, token: impl Into<SecretString>) -> Self {
        self.access_token = Some(token.into());
        self
    }

    /// Sets the address of the API, `https://api.kite.trade` by default.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Sets how long one call may take, from the name lookup to the last byte. 7 s by default, an hour at most. The
    /// listing of instruments may take ten times as long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long connecting may take, including the TLS handshake. 3 s by default, an hour at most.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the product of orders that name none. CNC by default.
    pub fn default_product(mut self, product: Product) -> Self {
        self.default_product = product;
        self
    }

    /// Sets the market protection of MARKET and SL-M orders that name none, and of changes *to* one of these types
    /// that name none. [`MarketProtection::AUTO`] by default (Kite: -1). LIMIT and SL orders are sent without one. An
    /// order that already has such a type keeps its own when it is changed.
    ///
    /// With `None`, it is sent only if the order or the change names it. Kite then refuses market orders: "Market
    /// orders without market protection are not allowed via API."
    ///
    /// ```
    /// use lanekeeper::Kite;
    /// use lanekeeper::broker::MarketProtection;
    ///
    /// let kite = Kite::builder()
    ///     .api_key("key")
    ///     .access_token("token")
    ///     .market_protection(MarketProtection::percent(2)?)
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn market_protection(mut self, default: impl Into<Option<MarketProtection>>) -> Self {
        self.market_protection = default.into();
        self
    }

    /// Sets the `User-Agent` header.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Sets the longest answer that is read, in bytes after decompression. 16 MiB by default. A longer answer is cut
    /// there, and the call fails: [`Malformed`](crate::BrokerError::Malformed) for a read,
    /// [`OutcomeUnknown`](crate::BrokerError::OutcomeUnknown) for a write. The listing of instruments has its own
    /// bound.
    pub fn max_answer(mut self, bytes: u64) -> Self {
        self.max_answer = bytes;
        self
    }

    /// Sets the longest listing of instruments that is read, in bytes after decompression. 64 MiB by default.
    pub fn max_listing(mut self, bytes: u64) -> Self {
        self.max_listing = bytes;
        self
    }

    /// Allows plain `http://` to another machine. The access token then travels in clear.
    pub fn allow_plain_http(mut self, allow: bool) -> Self {
        self.allow_plain_http = allow;
        self
    }

    /// Builds the adapter, which is plain and unpaced. Sends nothing yet.
    ///
    /// # Errors
    /// A setting is missing or cannot be used; the error says which.
    pub fn build(self) -> Result<Kite, KiteBuildError> {
        let Some(token) = self.access_token.clone().filter(|t| !t.expose_secret().is_empty())
        else {
            return Err(KiteBuildError::Missing("access_token"));
        };
        check_token(&token)?;
        let http = self.build_http(Some(token))?;
        Ok(Kite {
            inner: Arc::new(super::Inner {
                http,
                default_product: self.default_product,
                market_protection: self.market_protection,
                tokens: InstrumentTokens::default(),
                missing_listings: MissingListings::new(),
                known_ids: KnownIds::default(),
                known_gtts: KnownIds::default(),
                known_funds: KnownIds::default(),
                session: Session::new(),
            }),
        })
    }

    /// Builds the HTTP client, with the header for `token` if there is one.
    pub(super) fn build_http(&self, token: Option<SecretString>) -> Result<Http, KiteBuildError> {
        if self.api_key.is_empty() {
            return Err(KiteBuildError::Missing("api_key"));
        }
        if !is_visible_ascii(&self.api_key) {
            return Err(KiteBuildError::NotHeaderText("api_key"));
        }
        let (base, on_this_machine) = parse_base_url(&self.base_url, self.allow_plain_http)?;
        let settings = ConnectionSettings {
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
            user_agent: &self.user_agent,
            on_this_machine,
        };
        Ok(Http {
            client: HttpClient::new(settings.agent()?),
            base,
            timeout: self.timeout,
            max_answer: self.max_answer,
            max_listing: self.max_listing,
            api_key: self.api_key.clone(),
            credentials: Credentials::new(token, vec![self.api_key.as_str().into()]),
        })
    }
}

impl From<InvalidSetting> for KiteBuildError {
    fn from(error: InvalidSetting) -> Self {
        match error {
            InvalidSetting::NotHeaderText(name) => Self::NotHeaderText(name),
            InvalidSetting::BaseUrl(why) => Self::BaseUrl(why),
            InvalidSetting::PlainHttp { host } => Self::PlainHttp { host },
            InvalidSetting::Zero(name) => Self::Zero(name),
            InvalidSetting::TooLong(name) => Self::TooLong(name),
        }
    }
}

// Without the base URL, which may still hold a password here, and without the token.
impl fmt::Debug for KiteBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KiteBuilder")
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("default_product", &self.default_product)
            .finish_non_exhaustive()
    }
}

/// Checks whether a header can carry the token.
pub(super) fn check_token(token: &SecretString) -> Result<(), KiteBuildError> {
    if token.expose_secret().is_empty() {
        return Err(KiteBuildError::Missing("access_token"));
    }
    if !is_visible_ascii(token.expose_secret()) {
        return Err(KiteBuildError::NotHeaderText("access_token"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(url: &str) -> Result<Kite, KiteBuildError> {
        Kite::builder().api_key("key").access_token("t0ken").base_url(url).build()
    }

    #[test]
    fn a_base_url_is_http_or_https_with_a_host() {
        for url in [
            "https://api.kite.trade",
            "https://api.kite.trade/",
            "https://example.com/kite/v3//",
            "http://127.0.0.1:8080",
            "http://localhost:1",
            "http://[::1]:9",
        ] {
            assert!(build(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "api.kite.trade",
            "/kite",
            "ftp://example.com",
            "https://",
            "https://example.com?x=1",
            "https://example.com#x",
            "https://user:hunter2@example.com",
            "https://ex ample.com",
        ] {
            let error = build(url).unwrap_err();
            assert!(matches!(error, KiteBuildError::BaseUrl(_)), "{url}: {error}");
            let builder = Kite::builder().base_url(url);
            assert!(!format!("{error} {error:?} {builder:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_token_does_not_travel_in_clear_unasked() {
        for url in ["http://example.com", "http://127.0.0.1.example.com", "http://10.0.0.1"] {
            assert!(matches!(build(url), Err(KiteBuildError::PlainHttp { .. })), "{url}");
        }
        let builder = Kite::builder().api_key("key").access_token("t0ken");
        assert!(builder.base_url("http://10.0.0.1").allow_plain_http(true).build().is_ok());
    }

    #[test]
    fn key_and_token_are_needed_and_go_into_a_header() {
        let error = |builder: KiteBuilder| builder.build().unwrap_err();
        assert_eq!(error(Kite::builder()), KiteBuildError::Missing("access_token"));
        assert_eq!(error(Kite::builder().access_token("t")), KiteBuildError::Missing("api_key"));
        assert_eq!(
            error(Kite::builder().api_key("k").access_token("t\r\nX-Evil: 1")),
            KiteBuildError::NotHeaderText("access_token")
        );
        assert_eq!(
            error(Kite::builder().api_key("k k").access_token("t")),
            KiteBuildError::NotHeaderText("api_key")
        );
        assert_eq!(
            error(Kite::builder().api_key("k").access_token("t").user_agent("a\nb")),
            KiteBuildError::NotHeaderText("user_agent")
        );
        assert_eq!(
            error(Kite::builder().api_key("k").access_token("t").timeout(Duration::ZERO)),
            KiteBuildError::Zero("timeout")
        );
    }

    #[test]
    fn a_timeout_is_an_hour_at_most() {
        const HOUR: Duration = Duration::from_secs(3600);
        let builder = || Kite::builder().api_key("k").access_token("t");
        assert!(builder().timeout(HOUR).connect_timeout(HOUR).build().is_ok());
        for long in [HOUR + Duration::from_nanos(1), Duration::MAX] {
            let error = builder().timeout(long).build().unwrap_err();
            assert_eq!(error, KiteBuildError::TooLong("timeout"));
            let error = builder().connect_timeout(long).build().unwrap_err();
            assert_eq!(error, KiteBuildError::TooLong("connect_timeout"));
            // A login has no build() before it.
            let error = builder().timeout(long).login("r", "s").unwrap_err();
            assert!(error.to_string().contains("longer than an hour"), "{error}");
        }
    }
}
