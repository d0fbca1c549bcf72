//! Makes an account from its settings: the upstream, the credentials, the lanes and the layers before them.

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use hyper::header::HeaderName;
use lanekeeper::brokers::Kite;
use lanekeeper::brokers::kite::SecretString;
use lanekeeper::lane::{CallOptions, ExpiredSessionPolicy, Observer, Priority};
use lanekeeper::order_guard::{GuardBuildError, RecoveredOutcome};
use lanekeeper::proxy::{Lanes, LanesBuilder};
use lanekeeper::shared_quota::{SharedQuota, SharedSettings, SharedSettingsError};
use lanekeeper::telemetry::Metrics;
use lanekeeper::{
    BrokerProxy, BuildError, LaneConfig, LaneError, Limits, OrderGuard, PaceFile, PaceFileError,
    PriorUsage, RouteError,
};
use tokio::sync::Semaphore;

use super::credentials::Credentials;
use super::kite::KiteParts;
use super::routes::Routes;
use super::watch::LaneWatch;
use super::{Account, settle_time};
use crate::config::{AccountConfig, Preset};
use crate::judge::Protocol;
use crate::kept::KeptAnswers;
use crate::names::intern;
use crate::notices::{Notice, Notices, Severity};
use crate::orders::{Placements, ToldFile};
use crate::quotes::Quotes;
use crate::upstream::{AddressError, Upstream, UpstreamAddress};

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The address of the upstream cannot be used.
    #[error(transparent)]
    Upstream(#[from] AddressError),
    /// The secret of the upstream is not there.
    #[error("set {variable} in the environment: {what}")]
    MissingSecret {
        /// The environment variable.
        variable: String,
        /// What is in it.
        what: &'static str,
    },
    /// The file with the token cannot be read.
    #[error("the token file {path}: {why}")]
    TokenFile {
        /// Its path.
        path: String,
        /// The reason.
        why: String,
    },
    /// The credentials cannot be sent.
    #[error("the credentials cannot be used: {0}")]
    Credentials(String),
    /// The route table cannot be used.
    #[error(transparent)]
    Routes(#[from] RouteError),
    /// A route names a lane or a budget that does not exist.
    #[error("a route cannot be used: {0}")]
    RouteLane(#[from] LaneError),
    /// The lanes cannot run with their settings.
    #[error(transparent)]
    Lanes(#[from] BuildError),
    /// The order guard cannot use its journal.
    #[error(transparent)]
    Guard(#[from] GuardBuildError),
    /// The record of the calls cannot be used.
    #[error(transparent)]
    Pace(#[from] PaceFileError),
    /// The file of told placements cannot be used.
    #[error("the file beside the journal cannot be used: {0}")]
    Told(std::io::Error),
    /// The quotas cannot be shared with other processes.
    #[error("the shared quota: {0}")]
    Shared(#[from] SharedSettingsError),
    /// The adapter cannot be built.
    #[error("{0}")]
    Kite(String),
}

/// What an account is built with, beside its settings.
pub(crate) struct Surroundings<'a> {
    pub(crate) name: &'a str,
    pub(crate) notices: &'a Arc<Notices>,
    /// Reads an environment variable.
    pub(crate) environment: &'a dyn Fn(&str) -> Option<String>,
    /// How the quotas are shared with other processes.
    pub(crate) shared: Option<&'a SharedSettings>,
    pub(crate) runtime: tokio::runtime::Handle,
    /// The threads for orders that are no exits, of all accounts.
    pub(crate) order_threads: Arc<Semaphore>,
    /// Observes the lanes beside the account itself.
    pub(crate) metrics: Arc<Metrics>,
}

/// The lanes of Kite's preset, as the observer has to know them before they are built.
const KITE_LANES: [&str; 3] = [
    lanekeeper::broker::lanes::TRANSACTIONAL,
    lanekeeper::broker::lanes::QUOTE,
    lanekeeper::broker::lanes::HISTORICAL,
];

/// Builds an account and starts its lanes.
pub(crate) fn build(
    config: &AccountConfig,
    with: &Surroundings<'_>,
) -> Result<Arc<Account>, AccountError> {
    let address = UpstreamAddress::parse(&config.upstream)?;
    let routes = Routes::new(config)?;
    let name: Arc<str> = with.name.into();
    let own_lanes = config.lanes.iter().map(|(lane, _)| intern(lane));
    let lane_names: Vec<_> = match config.preset {
        Some(Preset::Kite) => KITE_LANES.to_vec(),
        None => own_lanes.collect(),
    };
    let watch = LaneWatch::new(Arc::clone(&name), Arc::clone(with.notices), lane_names.clone());
    let watch = Arc::new(watch);
    let observers: Vec<Arc<dyn Observer>> = vec![watch.clone(), with.metrics.clone()];
    let observer: Arc<dyn Observer> = Arc::new(observers);
    let quota = |settings: &SharedSettings| settings.quota(with.name, with.environment);
    let shared = with.shared.map(quota).transpose()?;
    let (lanes, credentials, protocol, parts) = match config.preset {
        Some(Preset::Kite) => {
            let (parts, credentials, lanes) = build_kite(config, with, observer, shared)?;
            (lanes, credentials, Protocol::Kite, Some(parts))
        }
        None => {
            let lanes = build_lanes(config, &lane_names, observer, shared)?;
            (lanes, rest_credentials(config, with)?, Protocol::Rest, None)
        }
    };
    routes.calls().try_for_each(|call| lanes.check(call))?;
    let (kite, link) = parts.map(|(kite, link)| (Some(kite), Some(link))).unwrap_or_default();
    let account = Arc::new(Account {
        name,
        protocol,
        upstream: Arc::new(Upstream::new(address)),
        credentials,
        lanes,
        routes: ArcSwap::from_pointee(routes),
        kept: KeptAnswers::new(config.kept_capacity),
        kite,
        watch,
        metrics: Arc::clone(&with.metrics),
        token_file: config.token_file.clone(),
        timeout: config.upstream_timeout,
        runtime: with.runtime.clone(),
        order_threads: Arc::clone(&with.order_threads),
    });
    if let Some(link) = link {
        // Set once, here.
        let _ = link.set(Arc::downgrade(&account));
    }
    Ok(account)
}

/// The account of the quotes, which exists later than their cache.
type AccountLink = Arc<OnceLock<Weak<Account>>>;

/// The placements that clients were not told about, which exist later than the guard.
type PlacementsLink = Arc<OnceLock<Weak<Placements>>>;

type BuiltKite = ((KiteParts, AccountLink), Credentials, Lanes);

fn build_kite(
    config: &AccountConfig,
    with: &Surroundings<'_>,
    observer: Arc<dyn Observer>,
    shared: Option<SharedQuota>,
) -> Result<BuiltKite, AccountError> {
    let secret = |variable: &str, what| {
        let value = (with.environment)(variable).filter(|value| !value.trim().is_empty());
        value
            .map(|value| value.trim().to_owned())
            .ok_or_else(|| AccountError::MissingSecret { variable: variable.to_owned(), what })
    };
    let api_key = secret(&config.api_key_env, "the API key of Kite Connect")?;
    let token: SecretString = match &config.token_file {
        Some(path) => read_token(path)?,
        None => secret(&config.access_token_env, "the access token of Kite Connect")?.into(),
    };
    let api_secret = (with.environment)(&config.api_secret_env).map(SecretString::from);
    let kite = Kite::builder()
        .api_key(&api_key)
        .access_token(token.clone())
        .base_url(&config.upstream)
        .timeout(config.upstream_timeout)
        .build()
        .map_err(|error| AccountError::Kite(error.to_string()))?;
    let credentials = Credentials::kite(&api_key, &token)
        .map_err(|error| AccountError::Credentials(error.to_string()))?;

    // The broker's own words at once, in place of a wait for the next login.
    let refuse = || LaneConfig::default().when_expired(ExpiredSessionPolicy::Refuse);
    let mut builder = BrokerProxy::builder(kite.clone())
        .transactional(refuse())
        .quote(refuse())
        .historical(refuse())
        .observer(observer);
    for (lane, change) in &config.lanes {
        let change = change.clone();
        builder = match lane.as_str() {
            lanekeeper::broker::lanes::QUOTE => builder.quote(change),
            lanekeeper::broker::lanes::HISTORICAL => builder.historical(change),
            _ => builder.transactional(change),
        };
    }
    for (_, budget) in &config.budgets {
        builder = builder.orders(budget.clone());
    }
    builder = match (&config.pace, is_on_this_machine(&config.upstream)) {
        (Some(path), _) => builder.pace_log(PaceFile::open(path)?),
        // A simulator: nothing was sent to it before.
        (None, true) => builder.prior_usage(PriorUsage::None),
        (None, false) => builder,
    };
    if let Some(shared) = &shared {
        builder = builder.shared(shared.clone());
    }
    let proxy = builder.build()?;
    let known = PlacementsLink::default();
    let guard = config.guard.then(|| build_guard(config, with, &proxy, &known)).transpose()?;
    let told = match (&guard, &config.journal) {
        // After the journal, whose lock keeps other processes away from this file too.
        (Some(_), Some(journal)) => {
            Some(ToldFile::open(&ToldFile::beside(journal)).map_err(AccountError::Told)?)
        }
        _ => None,
    };
    let link = AccountLink::default();
    let quotes = (!config.quote_ttl.is_zero()).then(|| {
        let link = Arc::clone(&link);
        let account = move || link.get().cloned().unwrap_or_default();
        Quotes::new(&kite, config.quote_ttl, shared.as_ref(), account)
    });
    let lanes = proxy.lanes().clone();
    let placements = Placements::new(lanes.clock().clone(), told);
    // Set once, here.
    let _ = known.set(Arc::downgrade(&placements));
    let parts = KiteParts { kite, guard, placements, quotes, api_key, api_secret };
    Ok(((parts, link), credentials, lanes))
}

fn build_guard(
    config: &AccountConfig,
    with: &Surroundings<'_>,
    proxy: &BrokerProxy<Kite>,
    placements: &PlacementsLink,
) -> Result<OrderGuard<BrokerProxy<Kite>>, AccountError> {
    let urgent = proxy.with(CallOptions::new().priority(Priority::URGENT));
    let (notices, account) = (Arc::clone(with.notices), Arc::<str>::from(with.name));
    let placements = Arc::clone(placements);
    let builder = OrderGuard::builder(proxy.clone())
        .lookup_broker(urgent)
        .clock(proxy.lanes().clock().clone())
        .settle_time(settle_time(config.upstream_timeout))
        .on_turned_up(move |late| {
            if let Some(placements) = placements.get().and_then(Weak::upgrade) {
                match &late.outcome {
                    RecoveredOutcome::Placed(id) => {
                        placements.turned_up(&late.tag, Some(id.as_str()));
                    }
                    RecoveredOutcome::Rejected(_) => placements.turned_up(&late.tag, None),
                    _ => {}
                }
            }
            let (severity, what) = match &late.outcome {
                RecoveredOutcome::Rejected(_) => (Severity::Info, "was rejected"),
                _ => (Severity::Error, "is in the market after all"),
            };
            let text = format!(
                "an order that was not found before {what}: {} {}",
                late.order.instrument, late.tag
            );
            let kind = "order_turned_up";
            let account = Some(Arc::clone(&account));
            notices.push(Notice { kind, severity, account, lane: None, text });
        });
    let builder = match &config.journal {
        Some(path) => builder.journal(path),
        None => builder,
    };
    Ok(builder.build()?)
}

fn build_lanes(
    config: &AccountConfig,
    names: &[&'static str],
    observer: Arc<dyn Observer>,
    shared: Option<SharedQuota>,
) -> Result<Lanes, AccountError> {
    let budget_names: Vec<_> = config.budgets.iter().map(|(budget, _)| intern(budget)).collect();
    let mut builder =
        LanesBuilder::new("Gateway", Vec::leak(names.to_vec()), Vec::leak(budget_names));
    for (index, (_, lane)) in config.lanes.iter().enumerate() {
        builder.lane(index, lane.clone());
    }
    for (index, (_, budget)) in config.budgets.iter().enumerate() {
        builder.budget(index, budget.clone());
    }
    builder.observer(observer);
    if let Some(shared) = shared {
        builder.shared(shared);
    }
    match (&config.pace, is_on_this_machine(&config.upstream)) {
        (Some(path), _) => builder.pace_log(Arc::new(PaceFile::open(path)?)),
        (None, true) => builder.prior_usage(PriorUsage::None),
        (None, false) => builder.prior_usage(PriorUsage::UNKNOWN),
    }
    Ok(builder.build(Limits::new())?)
}

fn rest_credentials(
    config: &AccountConfig,
    with: &Surroundings<'_>,
) -> Result<Credentials, AccountError> {
    let Some(auth) = &config.auth else { return Ok(Credentials::none()) };
    let value = (with.environment)(&auth.env).filter(|value| !value.is_empty());
    let secret: SecretString = value
        .ok_or_else(|| AccountError::MissingSecret {
            variable: auth.env.clone(),
            what: "the credentials of the upstream",
        })?
        .into();
    let bad = |why: String| AccountError::Credentials(why);
    let header: HeaderName = auth
        .header
        .parse()
        .map_err(|_| bad(format!("`{}` is no name of a header", auth.header)))?;
    Credentials::new(header, auth.prefix.clone(), &secret).map_err(|error| bad(error.to_string()))
}

/// The longest file with a token, in bytes.
const MAX_TOKEN_FILE: u64 = 64 * 1024;

/// Reads a token from a file, which has nothing else.
pub(crate) fn read_token(path: &Path) -> Result<SecretString, AccountError> {
    let error = |why: String| AccountError::TokenFile { path: path.display().to_string(), why };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|source| error(source.to_string()))?;
    let mut file = file.take(MAX_TOKEN_FILE + 1);
    file.read_to_string(&mut text).map_err(|source| error(source.to_string()))?;
    if text.len() as u64 > MAX_TOKEN_FILE {
        return Err(error(format!("it is longer than {MAX_TOKEN_FILE} bytes, so it is no token")));
    }
    let token = text.trim();
    if token.is_empty() {
        return Err(error("it is empty".to_owned()));
    }
    Ok(token.to_owned().into())
}

/// Returns whether an upstream is on this machine, as simulators are.
fn is_on_this_machine(upstream: &str) -> bool {
    let authority = upstream.split_once("://").map_or(upstream, |(_, rest)| rest);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.trim_matches(['[', ']', '/']);
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}
