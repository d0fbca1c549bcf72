//! The builder of an [`Alpaca`]. It finds every wrong setting before the first call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};

use super::credentials::{Credentials, Keys};
use super::http::{Http, LastCounts};
use super::{Alpaca, Inner};
use crate::brokers::http::client::HttpClient;
use crate::brokers::http::settings::{
    ConnectionSettings, InvalidSetting, is_visible_ascii, parse_base_url,
};
use crate::{ReportedLimits, Session};

/// Orders at this address trade play money.
const PAPER_URL: &str = "https://paper-api.alpaca.markets";
const LIVE_URL: &str = "https://api.alpaca.markets";
const DATA_URL: &str = "https://data.alpaca.markets";
/// As for Kite: no answer takes that long at a broker that works.
const TIMEOUT: Duration = Duration::from_secs(7);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A page of 500 orders has half a megabyte, a page of 10,000 bars one.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
/// The listing of all assets is about 6 MB, and grows.
const MAX_LISTING: u64 = 64 * 1024 * 1024;

/// The settings of an [`Alpaca`], from [`Alpaca::builder`].
///
/// Without [`live`](Self::live) the orders go to the paper account.
#[derive(Clone)]
#[must_use]
pub struct AlpacaBuilder {
    key_id: Option<SecretString>,
    secret_key: Option<SecretString>,
    is_live: bool,
    trading_url: Option<String>,
    data_url: String,
    data_feed: Option<String>,
    timeout: Duration,
    connect_timeout: Duration,
    user_agent: String,
    max_answer: u64,
    allow_plain_http: bool,
}

/// Why an [`Alpaca`] cannot be built from these settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlpacaBuildError {
    /// A required setting is missing.
    #[error("`{0}` is missing: set it with AlpacaBuilder::{0}")]
    Missing(&'static str),
    /// A setting holds characters that an HTTP header or an address cannot carry.
    #[error("`{0}` holds a blank, a control or a non-ASCII character, which a header cannot carry")]
    NotHeaderText(&'static str),
    /// An address cannot be used. It is not shown, as it may hold a password.
    #[error("an address cannot be used: {0}")]
    BaseUrl(&'static str),
    /// The keys would travel in clear to another machine.
    #[error(
        "the address is plain http to {host}, so the keys would travel in clear: use https, or \
         AlpacaBuilder::allow_plain_http"
    )]
    PlainHttp {
        /// The other machine.
        host: String,
    },
    /// The address is the one of real orders, and [`live`](AlpacaBuilder::live) was not called.
    #[error("the trading URL is that of real orders: say AlpacaBuilder::live if that is meant")]
    NotLive,
    /// A timeout of zero lets no call succeed.
    #[error("`{0}` is zero, so no call could succeed")]
    Zero(&'static str),
    /// A timeout longer than an hour.
    #[error("`{0}` is longer than an hour, which is the longest")]
    TooLong(&'static str),
}

impl AlpacaBuilder {
    pub(super) fn new() -> Self {
        Self {
            key_id: None,
            secret_key: None,
            is_live: false,
            trading_url: None,
            data_url: DATA_URL.to_owned(),
            data_feed: None,
            timeout: TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            user_agent: concat!("lanekeeper/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_answer: MAX_ANSWER,
            allow_plain_http: false,
        }
    }

    /// Sets the key id, `APCA-API-KEY-ID`. Paper and live accounts have keys of their own.
    ///
    /// Like the secret key it is removed from what errors quote. **A key of less than 8 bytes is not removed**, because
    /// it would match parts of other words; Alpaca's have 20 and 40.
    pub fn key_id(mut self, key: impl Into<SecretString>) -> Self {
        self.key_id = Some(key.into());
        self
    }

    /// Sets the secret key, `APCA-API-SECRET-KEY`.
    pub fn secret_key(mut self, key: impl Into<SecretString>) -> Self {
        self.secret_key = Some(key.into());
        self
    }

    /// Trades with real money. Without it the orders go to the paper account.
    ///
    /// ```
    /// use lanekeeper::Alpaca;
    ///
    /// let keys = || Alpaca::builder().key_id("PK..").secret_key("..");
    /// assert!(!keys().build()?.is_live());
    /// assert!(keys().live().build()?.is_live());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn live(mut self) -> Self {
        self.is_live = true;
        self
    }

    /// Sets another address for trading, such as that of a simulator. A `/v2` at its end is left out. Alpaca's address
    /// for real orders needs [`live`](Self::live).
    pub fn trading_url(mut self, url: impl Into<String>) -> Self {
        self.trading_url = Some(url.into());
        self
    }

    /// Sets another address for market data, `https://data.alpaca.markets` by default.
    pub fn data_url(mut self, url: impl Into<String>) -> Self {
        self.data_url = url.into();
        self
    }

    /// Sets the source of the prices of stocks: `iex`, `sip`, `delayed_sip`, .. By default Alpaca takes the best one
    /// of the account's plan.
    pub fn data_feed(mut self, feed: impl Into<String>) -> Self {
        self.data_feed = Some(feed.into());
        self
    }

    /// Sets how long one request may take, from the name lookup to the last byte. 7 s by default, an hour at most. The
    /// listing of assets may take ten times as long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long connecting may take, including the TLS handshake. 3 s by default, an hour at most.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the `User-Agent` header.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Sets the longest answer that is read, in bytes after decompression. 16 MiB by default. A longer answer is cut
    /// there, and the call fails: [`Malformed`](crate::BrokerError::Malformed) for a read,
    /// [`OutcomeUnknown`](crate::BrokerError::OutcomeUnknown) for a write. The listing of assets may have 64 MiB.
    pub fn max_answer(mut self, bytes: u64) -> Self {
        self.max_answer = bytes;
        self
    }

    /// Allows plain `http://` to another machine. The keys then travel in clear.
    pub fn allow_plain_http(mut self, allow: bool) -> Self {
        self.allow_plain_http = allow;
        self
    }

    /// Builds the adapter, which is plain and unpaced. Sends nothing yet.
    ///
    /// # Errors
    /// A setting is missing or cannot be used; the error says which.
    pub fn build(self) -> Result<Alpaca, AlpacaBuildError> {
        let keys = check_keys(self.key_id.clone(), self.secret_key.clone())?;
        if self.data_feed.as_deref().is_some_and(|feed| !is_visible_ascii(feed)) {
            return Err(AlpacaBuildError::NotHeaderText("data_feed"));
        }
        let by_default = if self.is_live { LIVE_URL } else { PAPER_URL };
        let trading_url = self.trading_url.as_deref().unwrap_or(by_default);
        let trading_url = trading_url.trim_end_matches('/').trim_end_matches("/v2");
        let (trading_url, is_trading_here) = parse_base_url(trading_url, self.allow_plain_http)?;
        if !self.is_live && trading_url.to_ascii_lowercase().contains("//api.alpaca.markets") {
            return Err(AlpacaBuildError::NotLive);
        }
        let (data_url, is_data_here) = parse_base_url(&self.data_url, self.allow_plain_http)?;
        let settings = ConnectionSettings {
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
            user_agent: &self.user_agent,
            on_this_machine: is_trading_here && is_data_here,
        };
        let http = Http {
            client: HttpClient::new(settings.agent()?),
            trading_url,
            data_url,
            timeout: self.timeout,
            max_answer: self.max_answer,
            max_listing: MAX_LISTING,
            credentials: Credentials::new(keys),
            reported: ReportedLimits::new(),
            counts: LastCounts::default(),
        };
        Ok(Alpaca {
            inner: Arc::new(Inner {
                http,
                is_live: self.is_live,
                data_feed: self.data_feed,
                nothing_carried: Mutex::new(None),
                session: Session::new(),
            }),
        })
    }
}

/// Returns the keys, if a header can carry them.
pub(super) fn check_keys(
    key_id: Option<SecretString>,
    secret_key: Option<SecretString>,
) -> Result<Keys, AlpacaBuildError> {
    let check = |name, key: Option<SecretString>| match key {
        Some(key) if key.expose_secret().is_empty() => Err(AlpacaBuildError::Missing(name)),
        Some(key) if !is_visible_ascii(key.expose_secret()) => {
            Err(AlpacaBuildError::NotHeaderText(name))
        }
        Some(key) => Ok(key),
        None => Err(AlpacaBuildError::Missing(name)),
    };
    Ok(Keys { key_id: check("key_id", key_id)?, secret_key: check("secret_key", secret_key)? })
}

impl From<InvalidSetting> for AlpacaBuildError {
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

// Without the addresses, which may still hold a password here, and without the keys.
impl fmt::Debug for AlpacaBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlpacaBuilder")
            .field("is_live", &self.is_live)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> AlpacaBuilder {
        Alpaca::builder().key_id("PK01234567").secret_key("s3cr3t-key")
    }

    #[test]
    fn real_orders_need_to_be_asked_for() {
        let url = |builder: AlpacaBuilder| Ok(builder.build()?.inner.http.trading_url.clone());
        assert_eq!(url(builder()).as_deref(), Ok(PAPER_URL));
        assert_eq!(url(builder().live()).as_deref(), Ok(LIVE_URL));
        for address in ["https://api.alpaca.markets", "https://API.alpaca.markets/v2/"] {
            assert_eq!(url(builder().trading_url(address)), Err(AlpacaBuildError::NotLive));
            assert!(url(builder().trading_url(address).live()).is_ok());
        }
        let here = builder().trading_url("http://127.0.0.1:3847/v2");
        assert_eq!(url(here).as_deref(), Ok("http://127.0.0.1:3847"));
    }

    #[test]
    fn keys_are_needed_and_are_not_shown() {
        let error = |builder: AlpacaBuilder| builder.build().unwrap_err();
        assert_eq!(error(Alpaca::builder()), AlpacaBuildError::Missing("key_id"));
        assert_eq!(error(Alpaca::builder().key_id("k")), AlpacaBuildError::Missing("secret_key"));
        assert_eq!(
            error(builder().secret_key("s\r\nX-Evil: 1")),
            AlpacaBuildError::NotHeaderText("secret_key")
        );
        let with_password = builder().data_url("https://user:hunter2@example.com");
        assert!(!format!("{with_password:?}").contains("hunter2"));
        let error = error(with_password);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        let shown = format!("{:?} {:?}", builder(), builder().build().unwrap());
        assert!(!shown.contains("s3cr3t") && !shown.contains("PK0123"), "{shown}");
    }

    #[test]
    fn keys_do_not_travel_in_clear_unasked() {
        for url in ["http://example.com", "http://10.0.0.1"] {
            let error = builder().data_url(url).build().unwrap_err();
            assert!(matches!(error, AlpacaBuildError::PlainHttp { .. }), "{url}");
        }
        assert!(builder().data_url("http://10.0.0.1").allow_plain_http(true).build().is_ok());
    }
}
