//! An adapter in an afternoon: Zerodha's official client for Rust, whose calls are futures, behind the lanes.
//!
//! It is the example of the chapter "An adapter in an afternoon" of lanekeeper's book, made to be copied for another
//! broker's client. For Kite itself, `lanekeeper::Kite` does more: see the chapter for what this client cannot do.
//!
//! [`OfficialKite`] is the adapter. It implements `AsyncBroker`, because the client is asynchronous. [`Blocking`] makes a
//! `Broker` of it, for code on threads and for the layers that are written for `Broker`. So each call is written once.
//!
//! - `errors`: what an error of the client means. Write this one first.
//! - `writes`: sends what changes something, because the client follows redirects.
//! - `broker`: the trait `AsyncBroker`, one request for each call.
//! - `orders`, `account`, `market`, `decode`: from the types of the trait to those of the client, and back.
//! - `endpoints`: what the client has and the trait has not.
//! - `blocking`: a `Broker` of any `AsyncBroker`.

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

use kiteconnect::{AccessToken, ApiSecret, Call, KiteConnect};
use lanekeeper::broker::{BrokerError, Exchange, MissingListings};
use lanekeeper::{Effect, Session};
use serde::de::DeserializeOwned;

pub use blocking::Blocking;
pub use endpoints::{OrderMargins, OrderMarginsProxy};
pub use errors::broker_error;
use writes::WriteClient;

/// The official client as an `AsyncBroker`. It sends a call once: it does not wait for quotas and does not retry, because
/// the lanes do. A clone is the same adapter.
///
/// Its futures need a tokio runtime, which the caller's task runs in. The connections belong to the runtime that opened
/// them, so use an adapter in one runtime only: either in that of the tasks, or in a `Blocking`.
#[derive(Clone)]
pub struct OfficialKite {
    inner: Arc<Inner>,
}

struct Inner {
    /// The client takes a new token by `&mut self`, so each call clones the client out of a lock: a clone is cheap and
    /// shares the connections, and the lock is never held while a call is awaited.
    client: RwLock<KiteConnect>,
    /// Reports to the lanes that the token was replaced.
    session: Session,
    /// The instruments' numbers, which requests for candles need, by exchange and symbol.
    tokens: Mutex<HashMap<Exchange, HashMap<String, u32>>>,
    missing_listings: MissingListings,
    writes: WriteClient,
}

impl OfficialKite {
    /// Creates the adapter. `timeout` is that of a whole request: it is what ends a call that the broker never
    /// answers, because a lane does not interrupt a call.
    ///
    /// # Errors
    /// A setting that the client refuses.
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

    /// Exchanges the request token of a login for an access token, and uses that from now on.
    ///
    /// It goes around the lanes, which may hold their calls until there is a new token.
    ///
    /// # Errors
    /// Those of [`broker_error`] for a write: a request token is good for one login.
    pub async fn login(
        &self,
        request_token: &str,
        api_secret: &ApiSecret,
    ) -> Result<(), BrokerError> {
        let session = self.client().generate_session(request_token, api_secret).await;
        let session = session.map_err(|error| broker_error(Effect::Write, &error))?;
        self.set_access_token(session.access_token);
        Ok(())
    }

    /// Makes any call of the client that changes nothing. This is the bare client: it is paced only within a lane.
    ///
    /// ```no_run
    /// # async fn example(kite: &kiteconnect_adapter::OfficialKite) -> Result<(), lanekeeper::BrokerError> {
    /// let triggers = kite.read(kite.client().gtts()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`broker_error`].
    pub async fn read<T>(
        &self,
        call: impl IntoFuture<Output = kiteconnect::Result<T>>,
    ) -> Result<T, BrokerError> {
        call.into_future().await.map_err(|error| broker_error(Effect::Read, &error))
    }

    /// Makes any call of the client that changes something. It is sent once, and not redirected.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `NotSent` if no connection was made.
    pub async fn write<T: DeserializeOwned>(&self, call: &Call<T>) -> Result<T, BrokerError> {
        self.inner.writes.send(&self.client(), call).await
    }
}
