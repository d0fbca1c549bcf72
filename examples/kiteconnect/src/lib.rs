//! An adapter in an afternoon: Zerodha's official client for Rust, which is async, behind the lanes, which are not.
//!
//! It is the example of the chapter "An adapter in an afternoon" of lanekeeper's book, made to be copied for another
//! broker's client. For Kite itself, `lanekeeper::Kite` does more: see the chapter for what this client cannot do.
//!
//! - `blocking`: waits for a future of the client on a thread of a lane.
//! - `errors`: what an error of the client means. Write this one first.
//! - `writes`: sends what changes something, because the client follows redirects.
//! - `broker`: the trait `Broker`, one request for each call.
//! - `orders`, `account`, `market`, `decode`: from the types of the trait to those of the client, and back.
//! - `endpoints`: what the client has and `Broker` has not.

mod account;
mod blocking;
mod broker;
mod decode;
mod endpoints;
mod errors;
mod market;
mod orders;
mod writes;

use std::collections::HashMap;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use kiteconnect::{AccessToken, Call, KiteConnect};
use lanekeeper::broker::{BrokerError, Exchange, MissingListings};
use lanekeeper::{Effect, Session};

use serde::de::DeserializeOwned;

use blocking::BlockingRuntime;
pub use endpoints::{OrderMargins, OrderMarginsProxy};
pub use errors::broker_error;
use writes::WriteClient;

/// The official client as a `Broker`. It sends a call once: it does not wait for quotas and does not retry, because
/// the lanes do. A clone is the same adapter.
#[derive(Clone)]
pub struct OfficialKite {
    inner: Arc<Inner>,
}

struct Inner {
    /// Replaced as a whole when there is a new access token. A clone is cheap and shares the connections.
    client: RwLock<KiteConnect>,
    /// Reports to the lanes that the token was replaced.
    session: Session,
    /// The instruments' numbers, which requests for candles need, by exchange and symbol.
    tokens: Mutex<HashMap<Exchange, HashMap<String, u32>>>,
    missing_listings: MissingListings,
    writes: WriteClient,
    runtime: BlockingRuntime,
}

impl OfficialKite {
    /// Creates the adapter. `timeout` is that of a whole request: it is what ends a call that the broker never
    /// answers, because a lane does not interrupt a call.
    ///
    /// # Errors
    /// A setting that the client refuses, or no thread for the runtime.
    pub fn new(
        api_key: &str,
        access_token: &str,
        base_url: &str,
        timeout: Duration,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let client = KiteConnect::builder(api_key)
            .access_token(AccessToken::new(access_token)?)
            .base_url(base_url)
            .timeout(timeout)
            .build()?;
        let inner = Inner {
            client: RwLock::new(client),
            session: Session::new(),
            tokens: Mutex::default(),
            missing_listings: MissingListings::new(),
            writes: WriteClient::new(base_url, timeout)?,
            runtime: BlockingRuntime::new()?,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Replaces the access token, and lets the lanes go on that held their calls for it.
    pub fn set_access_token(&self, token: AccessToken) {
        let mut client = self.inner.client.write().unwrap_or_else(PoisonError::into_inner);
        client.set_access_token(token);
        drop(client);
        // Only now: the calls that the lanes held use the new token.
        self.inner.session.renew();
    }

    /// Returns the client, whose calls go through [`read`](Self::read) and [`write`](Self::write).
    pub fn client(&self) -> KiteConnect {
        self.inner.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes any call of the client that changes nothing, and waits for its answer. This is the bare client: it is paced
    /// only within a lane.
    ///
    /// ```no_run
    /// # fn example(kite: &kiteconnect_adapter::OfficialKite) -> Result<(), lanekeeper::BrokerError> {
    /// let triggers = kite.read(kite.client().gtts())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`broker_error`]. An async task may not block, so a call from one is not sent.
    pub fn read<T>(
        &self,
        call: impl IntoFuture<Output = kiteconnect::Result<T>>,
    ) -> Result<T, BrokerError> {
        let answer = self.inner.runtime.wait(call.into_future())?;
        answer.map_err(|error| broker_error(Effect::Read, &error))
    }

    /// Makes any call of the client that changes something, and waits for its answer. It is sent once, and not
    /// redirected.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `NotSent` if no connection was made.
    pub fn write<T: DeserializeOwned>(&self, call: &Call<T>) -> Result<T, BrokerError> {
        let client = self.client();
        self.inner.runtime.wait(self.inner.writes.send(&client, call))?
    }
}
