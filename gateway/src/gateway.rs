//! A running gateway: started from its settings, reloaded, drained and stopped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use lanekeeper::Clock;
use lanekeeper::config::ConfigError;
use lanekeeper::lane::Shutdown;
use lanekeeper::limiter::{MemoryStorage, RateLimiter, Rules};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::account::{self, Account, AccountError, Routes, Surroundings};
use crate::auth::Clients;
use crate::client_counts::ClientCounts;
use crate::config::GatewayConfig;
use crate::door;
use crate::interface::prices::CoolDowns;
use crate::interface::scans::Scans;
use crate::interface::status::Sampler;
use crate::logins;
use crate::metrics::DoorMetrics;
use crate::notices::{Notice, Notices, Severity};
use crate::orders::MAX_ORDER_THREADS;
use crate::shared::{DoorCounts, Settings, Shared};
use crate::token_file;

/// How many threads may block: an order waits on one, and so does a request for quotes. Both are bounded, except exits: the
/// rest is for them.
const MAX_BLOCKING_THREADS: usize = 2 * MAX_ORDER_THREADS + 1024;

/// How long answers have to be written at the end of a drain, even if its time is over.
const WRITE_GRACE: Duration = Duration::from_secs(1);

/// How long the runtime waits for threads that still block when the gateway ends.
const RUNTIME_SHUTDOWN: Duration = Duration::from_millis(500);

/// How many connections may wait to be accepted. The system drops the request for one more, and the client's own system
/// repeats it after a second: too late for an order, if many clients come back at once.
const BACKLOG: u32 = 4096;

/// Why a gateway cannot start, or cannot take new settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The settings contradict each other, or themselves.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An account cannot be used.
    #[error("the account {account}: {source}")]
    Account {
        /// The name of the account.
        account: String,
        /// The reason.
        source: Box<AccountError>,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// The operating system gave no threads, or the metrics cannot be set up.
    #[error("cannot start: {0}")]
    Start(String),
    /// A setting changed that only a new gateway can take.
    #[error("the gateway has to be started anew for a change of {what}")]
    NeedsRestart {
        /// What changed.
        what: String,
    },
}

/// A builder of a [`Gateway`].
pub struct GatewayBuilder {
    config: GatewayConfig,
    environment: Box<Environment>,
    clock: Clock,
}

/// Returns the value of an environment variable.
type Environment = dyn Fn(&str) -> Option<String> + Send + Sync;

/// A running gateway. Dropping it stops it.
///
/// ```
/// use lanekeeper_gateway::Gateway;
/// use lanekeeper_gateway::config::{AccountConfig, GatewayConfig};
/// use lanekeeper_simulator::SimulatedExchange;
///
/// let exchange = SimulatedExchange::builder().start()?;
/// let mut config = GatewayConfig::new(AccountConfig::kite(exchange.base_url()));
/// config.listen = "127.0.0.1:0".parse()?;
/// let gateway = Gateway::builder(config)
///     .secret("KITE_API_KEY", "key")
///     .secret("KITE_ACCESS_TOKEN", "the-token-of-the-day")
///     .start()?;
/// // .. point any client of Kite at `gateway.base_url()`.
/// assert!(gateway.base_url().starts_with("http://127.0.0.1:"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Gateway {
    address: SocketAddr,
    shared: Arc<Shared>,
    config: parking_lot::Mutex<GatewayConfig>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl GatewayBuilder {
    /// Gives a secret directly, in place of the environment variable of this name.
    #[must_use]
    pub fn secret(self, variable: impl Into<String>, value: impl Into<String>) -> Self {
        let (variable, value) = (variable.into(), value.into());
        let before = self.environment;
        let environment = Box::new(move |name: &str| match name == variable {
            true => Some(value.clone()),
            false => before(name),
        });
        Self { environment, ..self }
    }

    /// Counts the quotas of tiers, the limits of clients and the delays after wrong keys on another clock than that of
    /// the machine: for tests.
    #[must_use]
    pub fn clock(self, clock: impl Into<Clock>) -> Self {
        Self { clock: clock.into(), ..self }
    }

    /// Checks the settings, starts the lanes, and listens.
    ///
    /// # Errors
    /// The settings cannot be used, a secret is missing, or the address is taken. Nothing runs then.
    pub fn start(self) -> Result<Gateway, GatewayError> {
        let Self { config, environment, clock } = self;
        config.check()?;
        let rules = rules(&config)?;
        let start = |error: String| GatewayError::Start(error);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("gateway")
            .enable_io()
            .enable_time()
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .build()
            .map_err(|error| start(error.to_string()))?;
        let bind = |source| GatewayError::Bind { address: config.listen, source };
        let listener = {
            let _entered = runtime.enter();
            listen(config.listen).map_err(bind)?
        };
        let address = listener.local_addr().map_err(bind)?;
        let metrics = DoorMetrics::new().map_err(|error| start(error.to_string()))?;
        let notices = Arc::new(Notices::default());
        let order_threads = Arc::new(Semaphore::new(MAX_ORDER_THREADS));
        let mut accounts = BTreeMap::new();
        for (name, account) in &config.accounts {
            let built = account::build(
                account,
                &Surroundings {
                    name,
                    notices: &notices,
                    environment: &*environment,
                    shared: config.shared.as_ref(),
                    runtime: runtime.handle().clone(),
                    order_threads: Arc::clone(&order_threads),
                    metrics: Arc::new(metrics.for_account(name)),
                },
            );
            let built = built.map_err(|source| account_error(name, source))?;
            accounts.insert(Arc::<str>::from(name.as_str()), built);
        }
        let login_guard = logins::guard(&clock).map_err(|error| start(error.to_string()))?;
        let limiter = RateLimiter::new(rules, MemoryStorage::with_clock(clock.clone()));
        let settings = settings(&config, &clock, None);
        let shared = Arc::new(Shared {
            accounts,
            settings: ArcSwap::from_pointee(settings),
            door: config.door.clone(),
            notices,
            counts: DoorCounts::default(),
            clients: ClientCounts::default(),
            metrics,
            status: watch::Sender::new(Bytes::new()),
            cool_downs: CoolDowns::default(),
            scans: Scans::default(),
            limiter,
            login_guard,
            is_draining: AtomicBool::new(false),
            is_closing: watch::Sender::new(false),
            replaced: watch::Sender::new(()),
            started: Instant::now(),
            clock,
        });
        shared.status.send_replace(Sampler::new().sample(&shared));
        let (stop, stopped) = oneshot::channel();
        let files: Vec<_> = config
            .accounts
            .iter()
            .filter_map(|(name, account)| Some((name.clone(), account.token_file.clone()?)))
            .collect();
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("gateway".to_owned())
                .spawn(move || run(runtime, listener, &shared, files, stopped))
                .map_err(|error| start(error.to_string()))?
        };
        let config = parking_lot::Mutex::new(config);
        Ok(Gateway { address, shared, config, stop: Some(stop), thread: Some(thread) })
    }
}

impl Gateway {
    /// Returns a builder of a gateway with these settings. Secrets are taken from the environment of the process.
    pub fn builder(config: GatewayConfig) -> GatewayBuilder {
        let environment = Box::new(|name: &str| std::env::var(name).ok());
        GatewayBuilder { config, environment, clock: Clock::system() }
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address for clients, without a slash at its end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the address of the page.
    pub fn page_url(&self) -> String {
        format!("http://{}{}/", self.address, crate::interface::ROOT)
    }

    /// Returns the status as JSON, as `GET /_lanekeeper/status` does.
    pub fn status_json(&self) -> String {
        String::from_utf8_lossy(&self.shared.status.borrow()).into_owned()
    }

    /// Takes new settings: clients, tiers, hosts, trusted proxies, the rules of limits, routes, and the quotas of lanes
    /// and budgets. All of them, or none. The file with the rules is read again.
    ///
    /// # Errors
    /// The settings cannot be used, or a change needs a new gateway. Nothing has changed then.
    pub fn reload(&self, config: GatewayConfig) -> Result<(), GatewayError> {
        config.check()?;
        let rules = rules(&config)?;
        let mut present = self.config.lock();
        let changes = crate::reload::changes(&present, &config)?;
        let mut routes = Vec::new();
        for (name, account) in &self.shared.accounts {
            let Some(new) = config.accounts.get(&**name) else { continue };
            let table = Routes::new(new).map_err(|source| account_error(name, source))?;
            let check = table.calls().try_for_each(|call| account.lanes.check(call));
            check.map_err(|source| account_error(name, source))?;
            routes.push((account, table));
        }
        // From here on nothing fails.
        for (account, table) in routes {
            account.routes.store(Arc::new(table));
        }
        changes.apply(&self.shared.accounts);
        self.shared.limiter.set_rules(rules);
        let before = self.shared.settings.load();
        let settings = settings(&config, &self.shared.clock, Some(&before.clients));
        self.shared.replace_settings(settings);
        *present = config;
        self.shared.notices.push(Notice {
            kind: "reload",
            severity: Severity::Info,
            account: None,
            lane: None,
            text: "the configuration was read again".to_owned(),
        });
        Ok(())
    }

    /// Ends the gateway in order: what is queued is still sent, what is in flight is waited for, and new requests are
    /// refused as not sent. Takes at most `limit`, and three seconds more. Returns whether all clients were answered.
    pub fn drain(mut self, limit: Duration) -> bool {
        let shared = &self.shared;
        let end = Instant::now() + limit;
        shared.is_draining.store(true, Ordering::Relaxed);
        shared.notices.push(Notice {
            kind: "drain",
            severity: Severity::Info,
            account: None,
            lane: None,
            text: format!("the gateway ends within {limit:?}"),
        });
        shared.scans.cancel_all();
        let drain = |account: &Arc<Account>| {
            let lanes = account.lanes.clone();
            std::thread::spawn(move || lanes.shutdown(Shutdown::Drain(limit)))
        };
        let drains: Vec<_> = shared.accounts.values().map(drain).collect();
        let summaries: Vec<_> = drains.into_iter().filter_map(|drain| drain.join().ok()).collect();
        let is_complete = summaries.iter().all(|summary| summary.in_flight == 0);
        // The answers have still to be written: first to their connections, then by these to the clients.
        let grace = Instant::now() + WRITE_GRACE;
        let is_answered = wait_for_zero(&shared.counts.in_progress, end.max(grace));
        shared.is_closing.send_replace(true);
        wait_for_zero(&shared.counts.connections, Instant::now() + WRITE_GRACE);
        self.stop();
        is_complete && is_answered
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // An error means that the thread panicked, which it has reported.
            let _ = thread.join();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("address", &self.address).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for GatewayBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Waits until a count is zero, until `end`. Returns whether it is.
fn wait_for_zero(count: &AtomicU64, end: Instant) -> bool {
    loop {
        if count.load(Ordering::Relaxed) == 0 {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So that a gateway that is started again need not wait for the connections of the one before.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn account_error(account: &str, source: impl Into<AccountError>) -> GatewayError {
    GatewayError::Account { account: account.to_owned(), source: Box::new(source.into()) }
}

fn settings(config: &GatewayConfig, clock: &Clock, earlier: Option<&Clients>) -> Settings {
    Settings {
        clients: Clients::new(config, clock, earlier),
        hosts: config.hosts.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        shows_limits: config.limits.as_ref().is_some_and(|limits| limits.headers),
    }
}

/// Reads the rules of the limits, if there are any.
fn rules(config: &GatewayConfig) -> Result<Rules, ConfigError> {
    match &config.limits {
        Some(limits) => limits.read_rules(),
        None => Ok(Rules::default()),
    }
}

fn run(
    runtime: Runtime,
    listener: TcpListener,
    shared: &Arc<Shared>,
    token_files: Vec<(String, std::path::PathBuf)>,
    stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        tokio::spawn(door::accept(listener, Arc::clone(shared)));
        tokio::spawn(sample(Arc::clone(shared)));
        for (name, path) in token_files {
            if let Some(account) = shared.account(Some(&name)) {
                tokio::spawn(token_file::watch(Arc::clone(shared), Arc::clone(account), path));
            }
        }
        for account in shared.accounts.values() {
            let (account, notices) = (Arc::clone(account), Arc::clone(&shared.notices));
            tokio::task::spawn_blocking(move || crate::orders::recover(&account, &notices));
        }
        // An error means that the handle was dropped.
        let _ = stopped.await;
    });
    // So that the workers of the lanes, which use the runtime, end before it does.
    for account in shared.accounts.values() {
        account.lanes.shutdown(Shutdown::Now);
    }
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
}

/// Tidies up each second, and takes a snapshot.
async fn sample(shared: Arc<Shared>) {
    let mut sampler = Sampler::new();
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for account in shared.accounts.values() {
            account.kept.tidy().await;
            account.upstream.close_unusable();
        }
        let status = sampler.sample(&shared);
        shared.status.send_replace(status);
        shared.metrics.upkeep();
    }
}
