//! The gateway's own interface, below `/_lanekeeper/`: the page, the status, and what an operator can do.
//!
//! - `status.rs` is the state as JSON, `events.rs` the same as a stream. `page.rs` has the files of the page.
//! - `admin.rs` pauses and resumes lanes, and logs in. `prices.rs` has quotes for the page, `scans.rs` long lists of reads.
//! - `json.rs` writes answers and reads requests.
//!
//! # Who may do what
//! The page's own files and the health are for everybody. Reading needs a key, if clients are configured. What changes
//! anything needs a header that no page of another site can send, and what an operator does needs the admin key.

mod admin;
mod events;
mod json;
mod page;
pub(crate) mod prices;
pub(crate) mod scans;
pub(crate) mod status;

pub(crate) use admin::renew;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use lanekeeper::limiter::{LoginAttempt, LoginRefused};
use tokio::time::Instant;

use crate::auth::{Asked, AuthError, Caller};
use crate::body::ReplyBody;
use crate::door::{ClientRequest, request};
use crate::refusal::Refusal;
use crate::shared::{Settings, Shared};

/// Where the interface begins.
pub(crate) const ROOT: &str = "/_lanekeeper";

/// The header that says that a request was not made by a page of another site.
const OWN_REQUEST: &str = "x-lanekeeper-request";

/// Returns whether a path is one of the interface.
pub(crate) fn is_own(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Who makes a request of the interface.
struct Reader {
    /// `None` on an open gateway, or with the admin key.
    caller: Option<Caller>,
}

impl Reader {
    /// Returns the name under which cool-downs count.
    fn name(&self) -> Arc<str> {
        self.caller.as_ref().map_or_else(|| "page".into(), |caller| Arc::clone(&caller.name))
    }

    /// Checks that the reader's tier allows one more read through this lane, and counts it.
    fn admit(&self, lane: &str) -> Result<(), Refusal> {
        let Some(tier) = self.caller.as_ref().and_then(|caller| caller.tier.as_ref()) else {
            return Ok(());
        };
        Ok(tier.admit(Asked { lane, is_read: true, is_exit: false, is_placement: false })?)
    }

    /// Checks that the reader may use an account.
    fn check_account(&self, account: &str) -> Result<(), Refusal> {
        let own = self.caller.as_ref().and_then(|caller| caller.account.as_deref());
        match own.is_none_or(|own| own == account) {
            true => Ok(()),
            false => Err(Refusal::new(StatusCode::FORBIDDEN, "this client has another account")),
        }
    }
}

/// Answers a request of the interface.
pub(crate) async fn answer(
    parts: Parts,
    body: Incoming,
    address: IpAddr,
    received: Instant,
    shared: &Arc<Shared>,
    settings: &Arc<Settings>,
) -> Result<Response<ReplyBody>, Refusal> {
    let path = parts.uri.path().to_owned();
    let rest = path.strip_prefix(ROOT).unwrap_or_default();
    let segments: Vec<&str> = rest.split('/').skip(1).collect();
    let method = parts.method.clone();
    if method == Method::GET || method == Method::HEAD {
        match segments.as_slice() {
            [] => return Ok(json::redirect("/_lanekeeper/")),
            ["healthz"] => return Ok(json::text(StatusCode::OK, "ok\n")),
            ["readyz"] => return Ok(ready(shared)),
            [file] => {
                if let Some(file) = page::file(file) {
                    return Ok(file);
                }
            }
            _ => {}
        }
    }
    request::check_origin(&parts.headers, &settings.hosts)?;
    let is_post = method == Method::POST;
    // What changes anything is for the admin, unless it is named here.
    let needs_admin = is_post && !matches!(segments.as_slice(), ["refresh"] | ["scans", ..]);
    // The key of a login is not looked at during a delay. Without an admin key, there is none to guess.
    let is_login = is_post && segments == ["login"] && settings.clients.has_admin();
    let begin = || shared.begin_login(address, &parts.headers, settings);
    let attempt = is_login.then(begin).transpose()?;
    let checked = match needs_admin {
        true => admin(&parts.headers, settings),
        false => reader(&parts.headers, settings),
    };
    let reader = match (checked, attempt) {
        (Ok(reader), attempt) => {
            // The counts are in the memory of this process, which does not fail.
            attempt.map_or(Ok(()), LoginAttempt::succeeded).map_err(LoginRefused::from)?;
            reader
        }
        (Err((AuthError::Wrong, refusal)), None) => {
            shared.wrong_key(address, &parts.headers, settings)?;
            return Err(refusal);
        }
        (Err((_, refusal)), _) => return Err(refusal),
    };
    if is_post && !parts.headers.contains_key(OWN_REQUEST) {
        let message =
            format!("send the header `{OWN_REQUEST}: 1`, which no page of another site can");
        return Err(Refusal::new(StatusCode::FORBIDDEN, message));
    }
    let target =
        parts.uri.path_and_query().map_or(path.as_str(), |target| target.as_str()).to_owned();
    let limits = (shared.door.max_body, shared.door.read_timeout);
    let body = request::read_body(body, limits.0, limits.1).await?;
    let headers = parts.headers;
    let request = ClientRequest { method, headers, path: path.clone(), target, body, received };
    match (request.method.as_str(), segments.as_slice()) {
        ("GET", ["status"]) => Ok(json::bytes(shared.status.borrow().clone())),
        ("GET", ["events"]) => events::stream(shared, settings, &request),
        ("GET", ["metrics"]) => {
            let text = metrics_text(shared).into();
            Ok(json::with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text))
        }
        ("GET", ["prices"]) => prices::read(shared, &reader, &request).await,
        ("POST", ["refresh"]) => prices::refresh(shared, &reader, &request).await,
        ("GET", ["scans"]) => Ok(scans::list(shared, &reader)),
        ("POST", ["scans"]) => scans::start(shared, &reader, &request),
        ("GET", ["scans", id, "events"]) => scans::stream(shared, settings, &reader, id, &request),
        ("POST", ["scans", id, action @ ("pause" | "resume" | "cancel")]) => {
            scans::control(shared, &reader, id, action)
        }
        ("POST", ["login"]) => admin::login(shared, &request).await,
        ("POST", ["accounts", account, "lanes", lane, action @ ("pause" | "resume")]) => {
            admin::set_lane(shared, account, lane, *action == "pause")
        }
        (_, ["status" | "events" | "metrics" | "prices" | "refresh" | "login" | "scans"]) => {
            Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this address takes another method"))
        }
        _ => Err(Refusal::new(StatusCode::NOT_FOUND, "the gateway has no such address")),
    }
}

/// Returns the reader: on an open gateway any, otherwise a client or the admin; or why it is neither, and the
/// answer.
fn reader(headers: &HeaderMap, settings: &Settings) -> Result<Reader, (AuthError, Refusal)> {
    let clients = &settings.clients;
    if clients.is_open() || clients.check_admin(headers).is_ok() {
        return Ok(Reader { caller: None });
    }
    let unauthorized = |message| Refusal::new(StatusCode::UNAUTHORIZED, message);
    let caller = clients.identify(headers).map_err(|error| {
        let refusal = match error {
            // The page asks for a key then, whatever was wrong with the last one.
            AuthError::Missing => unauthorized(
                "send the key of a client or the admin key: `Authorization: Bearer NAME:SECRET`",
            ),
            AuthError::Wrong => unauthorized("the gateway does not take this key"),
            AuthError::Ambiguous => error.into(),
        };
        (error, refusal)
    })?;
    Ok(Reader { caller: Some(caller) })
}

/// Checks the admin key. Returns why it is not there, and the answer.
fn admin(headers: &HeaderMap, settings: &Settings) -> Result<Reader, (AuthError, Refusal)> {
    let clients = &settings.clients;
    let (error, message) = match (clients.check_admin(headers), clients.has_admin()) {
        (Ok(()), _) => return Ok(Reader { caller: None }),
        (Err(error @ AuthError::Ambiguous), _) => return Err((error, error.into())),
        // There is none to guess.
        (_, false) => (
            AuthError::Missing,
            "the gateway has no admin key: make one with `lanekeeper key new admin`",
        ),
        (Err(error @ AuthError::Missing), true) => {
            (error, "this needs the admin key: `Authorization: Bearer admin:SECRET`")
        }
        (Err(error @ AuthError::Wrong), true) => (error, "this is not the admin key"),
    };
    Err((error, Refusal::new(StatusCode::FORBIDDEN, message)))
}

/// Whether requests can be answered: the session is valid, and the gateway is not ending.
fn ready(shared: &Shared) -> Response<ReplyBody> {
    let expired = shared.accounts.values().find(|account| account.lanes.session().is_expired());
    if shared.is_draining.load(Ordering::Relaxed) {
        return json::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    match expired {
        Some(account) => {
            let text = format!("the session of the account {} has expired\n", account.name);
            json::text(StatusCode::SERVICE_UNAVAILABLE, &text)
        }
        None => json::text(StatusCode::OK, "ready\n"),
    }
}

fn metrics_text(shared: &Shared) -> String {
    for (name, account) in &shared.accounts {
        account.sample_metrics();
        shared.metrics.sample_kept(name, &account.kept.stats());
    }
    shared.metrics.sample_door(&shared.counts);
    shared.metrics.render()
}

/// The headers of every answer of the interface.
fn secure(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
