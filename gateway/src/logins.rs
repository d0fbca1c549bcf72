//! Delays for wrong keys: attempts to guess one are counted by address and by the name that they claim.
//!
//! | route | during a delay |
//! |---|---|
//! | `POST /_lanekeeper/login`, and `POST /session/token` where the gateway refuses that | every attempt is refused, before its key is looked at |
//! | any other | a wrong key is answered with the delay, and not as wrong. A right one passes, because an exit must go out, whatever else uses the address or the name |
//!
//! A key has 256 random bits, so that there is nothing to guess. What the delays protect is a login: on the other routes a
//! right key passes at any time, so a weak key could be guessed there without a limit. `lanekeeper key new` makes no weak
//! ones.
//!
//! Some addresses do not identify an attacker, and are not counted: that of loopback, which all programs of a machine
//! share, and that of a trusted proxy that does not say for whom it asks. A program with a wrong key is then held up by
//! its name alone, and no other one is.

use std::net::IpAddr;

use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use hyper::{Method, Uri};
use lanekeeper::Clock;
use lanekeeper::limiter::{LoginAttempt, LoginGuard, LoginRefused, MemoryStorage};
use lanekeeper::quota::request_limit::RequestLimitError;

use crate::account::Matched;
use crate::auth::claimed_name;
use crate::refusal::Refusal;
use crate::shared::{Settings, Shared};

/// How many addresses and names are counted, each with at most 120 bytes. Beyond, new ones share one count.
const MAX_COUNTED: usize = 100_000;

/// Returns the guard of a gateway.
pub(crate) fn guard(clock: &Clock) -> Result<LoginGuard, RequestLimitError> {
    LoginGuard::builder(MemoryStorage::with_clock(clock.clone()).max_keys(MAX_COUNTED)).build()
}

impl Shared {
    /// Asks whether a key may be looked at for a login. The attempt counts as failed until it has succeeded.
    pub(crate) fn begin_login(
        &self,
        address: IpAddr,
        headers: &HeaderMap,
        settings: &Settings,
    ) -> Result<LoginAttempt, Refusal> {
        let is_proxy = settings.trusted_proxies.iter().any(|proxy| proxy.contains(&address));
        let counted = Some(address).filter(|address| !address.is_loopback() && !is_proxy);
        self.login_guard.attempt(counted, claimed_name(headers)).map_err(|refused| {
            self.metrics.login_refused();
            refused.into()
        })
    }

    /// Counts a wrong key, unless there were too many: then the refusal is to be the answer.
    pub(crate) fn wrong_key(
        &self,
        address: IpAddr,
        headers: &HeaderMap,
        settings: &Settings,
    ) -> Result<(), Refusal> {
        // Dropped, it stays counted.
        self.begin_login(address, headers, settings).map(drop)
    }

    /// Returns whether a request is a client's own login at the broker, and one that the gateway refuses.
    pub(crate) fn is_refused_login(&self, parts: &Parts, settings: &Settings) -> bool {
        is_login(&parts.method, &parts.uri) && {
            let name = claimed_name(&parts.headers).unwrap_or_default();
            let account = self.account(settings.clients.account_of(name));
            account.is_some_and(|account| {
                let routes = account.routes.load();
                let matched = routes.find(parts.method.as_str(), parts.uri.path());
                matches!(matched, Ok(Matched::Refused(_)))
            })
        }
    }
}

fn is_login(method: &Method, uri: &Uri) -> bool {
    method == Method::POST && uri.path() == "/session/token"
}

impl From<LoginRefused> for Refusal {
    fn from(refused: LoginRefused) -> Self {
        // The same for a right key and a wrong one. The time is in the header.
        let message = match refused {
            LoginRefused::TooMany { .. } => {
                "not sent: too many wrong keys came from this address, or with this name"
            }
            _ => "not sent: wrong keys cannot be counted now, so no key is looked at",
        };
        Self::later(message, refused.retry_after())
    }
}
