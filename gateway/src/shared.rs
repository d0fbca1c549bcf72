//! What all requests of a gateway share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use ipnet::IpNet;
use lanekeeper::Clock;
use lanekeeper::limiter::{LoginGuard, RateLimiter};
use tokio::sync::watch;

use crate::account::Account;
use crate::auth::Clients;
use crate::client_counts::ClientCounts;
use crate::config::DoorConfig;
use crate::interface::prices::CoolDowns;
use crate::interface::scans::Scans;
use crate::metrics::DoorMetrics;
use crate::notices::Notices;

/// The state of a gateway.
pub(crate) struct Shared {
    pub(crate) accounts: BTreeMap<Arc<str>, Arc<Account>>,
    /// Replaced by [`replace_settings`](Self::replace_settings), when the configuration is read again.
    pub(crate) settings: ArcSwap<Settings>,
    /// As it was at the start. A connection does not change its limits.
    pub(crate) door: DoorConfig,
    pub(crate) notices: Arc<Notices>,
    pub(crate) counts: DoorCounts,
    pub(crate) clients: ClientCounts,
    pub(crate) metrics: DoorMetrics,
    /// The latest status, as JSON. A new one each second.
    pub(crate) status: watch::Sender<Bytes>,
    pub(crate) cool_downs: CoolDowns,
    pub(crate) scans: Scans,
    /// The limits of clients. Its rules are replaced with the settings.
    pub(crate) limiter: RateLimiter,
    /// Delays attempts to guess a key.
    pub(crate) login_guard: LoginGuard,
    /// New requests are refused.
    pub(crate) is_draining: AtomicBool,
    /// Set once nothing is in progress any more: connections and streams end.
    pub(crate) is_closing: watch::Sender<bool>,
    /// Changes when the settings are replaced.
    pub(crate) replaced: watch::Sender<()>,
    pub(crate) started: Instant,
    pub(crate) clock: Clock,
}

/// The settings that can change while the gateway runs.
pub(crate) struct Settings {
    pub(crate) clients: Clients,
    pub(crate) hosts: Vec<String>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Whether the answers of the broker show the limits of their requests.
    pub(crate) shows_limits: bool,
}

/// What the door counts.
#[derive(Default)]
pub(crate) struct DoorCounts {
    pub(crate) connections: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) in_progress: AtomicU64,
    pub(crate) streams: AtomicU64,
}

impl Shared {
    /// Returns an account by its name, or the only one.
    pub(crate) fn account(&self, name: Option<&str>) -> Option<&Arc<Account>> {
        match name {
            Some(name) => self.accounts.get(name),
            None => self.accounts.values().next(),
        }
    }

    /// Replaces the settings, from the next request on.
    pub(crate) fn replace_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
        self.replaced.send_replace(());
    }

    /// Waits until the settings are not these any more.
    pub(crate) async fn replaced(&self, settings: &Arc<Settings>) {
        let mut replaced = self.replaced.subscribe();
        // The sender is here, so there is no error.
        while Arc::ptr_eq(settings, &self.settings.load()) && replaced.changed().await.is_ok() {}
    }

    /// Waits until connections and streams are to end.
    pub(crate) async fn closing(&self) {
        // The sender is here, so there is no error.
        let _ = self.is_closing.subscribe().wait_for(|is_closing| *is_closing).await;
    }
}
