//! Handles one request: who is it from, what is it, and what does its client get.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use lanekeeper::lane::{CallOptions, Priority};
use lanekeeper::{Effect, LaneCall, Sent};
use tokio::time::Instant;

use crate::account::{Account, Matched};
use crate::auth::{Asked, AuthError, Caller};
use crate::body::ReplyBody;
use crate::call::{CallTerms, WHOLE_READ};
use crate::client_counts::{Counts, Waiting};
use crate::door::{ClientRequest, Deliveries, request};
use crate::hang_up::HangUp;
use crate::interface;
use crate::judge::{Answered, Protocol, Times};
use crate::kept::{Kept, NotKept, Origin};
use crate::limits::{Headers, Limited};
use crate::logging;
use crate::orders::{Delivery, OrderCall, OrderReply, OrderResult, OrderRoute};
use crate::quotes::{self, QuoteRoute};
use crate::refusal::{Refusal, SENT_HEADER, sent_word};
use crate::shared::{Settings, Shared};
use crate::upstream::{AnswerBody, UpstreamRequest, to_client, to_upstream};

/// The longest time in which a client may ask to be answered, if no tier says otherwise.
const MAX_DEADLINE: Duration = Duration::from_secs(60);

/// The longest key that a client may give a placement.
const MAX_IDEMPOTENCY_KEY: usize = 200;

/// What a client gets, and how it came about.
pub(crate) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: ReplyBody,
    sent: Sent,
    times: Option<Times>,
    cache: Option<CacheNote>,
    is_repeated: bool,
    delivery: Option<Delivery>,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy)]
struct CacheNote {
    origin: Origin,
    age: Duration,
}

impl Reply {
    fn new(status: StatusCode, headers: HeaderMap, body: ReplyBody) -> Self {
        let (sent, times, cache, is_repeated, delivery) = (Sent::Yes, None, None, false, None);
        Self { status, headers, body, sent, times, cache, is_repeated, delivery }
    }

    fn of(answered: Answered) -> Self {
        let Answered { answer, times } = answered;
        let body = match answer.body {
            AnswerBody::Whole(bytes) => bytes.into(),
            AnswerBody::Streamed(rest) => ReplyBody::Streamed(Box::new(rest)),
        };
        Self { times: Some(times), ..Self::new(answer.status, answer.headers, body) }
    }

    fn of_order(reply: OrderReply, delivery: Option<Delivery>) -> Self {
        let body = reply.body.into();
        Self {
            sent: reply.sent,
            times: reply.times,
            is_repeated: reply.is_repeated,
            delivery,
            ..Self::new(reply.status, reply.headers, body)
        }
    }

    fn kept(kept: &Kept, origin: Origin) -> Self {
        let cache = Some(CacheNote { origin, age: kept.age() });
        let mut headers = kept.headers.clone();
        if origin != Origin::Miss {
            // A cookie is for the client whose request was answered.
            headers.remove(hyper::header::SET_COOKIE);
        }
        Self { cache, ..Self::new(kept.status, headers, kept.body.clone().into()) }
    }
}

/// What the access log, the metrics and the headers of the answer say of a request.
#[derive(Default)]
struct Access {
    client: Option<Arc<str>>,
    class: &'static str,
    sent: Option<Sent>,
    waited: Option<Duration>,
    broker: Option<Duration>,
    limits: Headers,
}

/// Answers a request.
pub(crate) async fn handle(
    request: Request<Incoming>,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    deliveries: &Deliveries,
    client: HangUp,
) -> Response<ReplyBody> {
    let received = Instant::now();
    let settings = shared.settings.load_full();
    let address = request::client_address(peer, request.headers(), &settings.trusted_proxies);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut access = Access { class: "refused", ..Access::default() };
    let result = route(request, address, received, shared, &settings, client, &mut access).await;
    let mut response = match result {
        Ok(Routed::Own(response)) => *response,
        Ok(Routed::Broker(reply)) => to_response(*reply, received, deliveries, &mut access),
        Err(refusal) => {
            access.sent = Some(refusal.sent);
            refusal.to_response()
        }
    };
    if shared.is_draining.load(Ordering::Relaxed) {
        // The next request needs another gateway.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    show_limits(&access.limits, response.headers_mut());
    let status = response.status();
    let took = received.elapsed();
    let name = access.client.clone().unwrap_or_else(|| "-".into());
    // A client that nothing vouches for has no series of its own.
    let label =
        access.client.as_ref().map_or_else(|| "-".into(), |name| shared.clients.label(name));
    shared.metrics.request(&label, access.class, status, took);
    let millis = |time: Option<Duration>| time.map(|time| time.as_millis());
    logging::log(|| {
        tracing::info!(
            target: "lanekeeper_gateway::access",
            %address,
            client = &*name,
            %method,
            // Without the query, which may hold anything.
            path,
            status = status.as_u16(),
            sent = access.sent.map(sent_word),
            waited_ms = millis(access.waited),
            broker_ms = millis(access.broker),
            took_ms = took.as_millis(),
            "request",
        );
    });
    response
}

enum Routed {
    /// An answer of the gateway's own interface.
    Own(Box<Response<ReplyBody>>),
    Broker(Box<Reply>),
}

async fn route(
    request: Request<Incoming>,
    address: IpAddr,
    received: Instant,
    shared: &Arc<Shared>,
    settings: &Arc<Settings>,
    client: HangUp,
    access: &mut Access,
) -> Result<Routed, Refusal> {
    let (parts, body) = request.into_parts();
    request::check_target(&parts, &settings.hosts)?;
    if interface::is_own(parts.uri.path()) {
        access.class = "own";
        let answer = interface::answer(parts, body, address, received, shared, settings).await;
        return answer.map(|answer| Routed::Own(Box::new(answer)));
    }
    request::check_origin(&parts.headers, &settings.hosts)?;
    let is_login = shared.is_refused_login(&parts, settings);
    if is_login {
        // It is refused in any case, so it counts as a failed one.
        shared.wrong_key(address, &parts.headers, settings)?;
    }
    let caller = settings.clients.identify(&parts.headers);
    if caller.as_ref().is_err_and(|error| *error == AuthError::Wrong) && !is_login {
        shared.wrong_key(address, &parts.headers, settings)?;
    }
    let caller = match caller {
        // Clients of an API of which nothing is known may have other credentials, or none.
        Err(AuthError::Missing) if settings.clients.is_open() && is_rest(shared) => {
            Caller::anonymous()
        }
        caller => caller?,
    };
    access.client = Some(Arc::clone(&caller.name));
    let counts = shared.clients.of(&caller.name);
    counts.requests.fetch_add(1, Ordering::Relaxed);
    let result =
        broker(parts, body, address, received, shared, settings, &caller, &counts, client, access)
            .await;
    if let Err(refusal) = &result {
        if refusal.sent == Sent::No {
            counts.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
    result.map(|reply| Routed::Broker(Box::new(reply)))
}

fn is_rest(shared: &Shared) -> bool {
    shared.accounts.values().all(|account| account.protocol == Protocol::Rest)
}

/// Answers a request to the broker.
#[allow(clippy::too_many_arguments)] // What one request has; each is used once.
async fn broker(
    parts: hyper::http::request::Parts,
    body: Incoming,
    address: IpAddr,
    received: Instant,
    shared: &Arc<Shared>,
    settings: &Settings,
    caller: &Caller,
    counts: &Arc<Counts>,
    mut client: HangUp,
    access: &mut Access,
) -> Result<Reply, Refusal> {
    if shared.is_draining.load(Ordering::Relaxed) {
        return Err(Refusal::draining());
    }
    let account = shared.account(caller.account.as_deref()).ok_or_else(|| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the account of this client does not exist")
    })?;
    let path = parts.uri.path().to_owned();
    let routes = account.routes.load();
    let matched = routes.find(parts.method.as_str(), &path);
    let (call, cache) = match matched.map_err(|error| Refusal::bad_request(error.to_string()))? {
        Matched::Sent { call, cache } => (call.clone(), cache),
        Matched::Refused(message) => return Err(Refusal::new(StatusCode::FORBIDDEN, message)),
        Matched::NoRoute => {
            let message = format!("not sent: no route describes {} {path}", parts.method);
            return Err(Refusal::new(StatusCode::NOT_FOUND, message));
        }
    };
    access.class = call.route_class_name();
    let target =
        parts.uri.path_and_query().map_or(path.as_str(), |target| target.as_str()).to_owned();
    let limits = (shared.door.max_body, shared.door.read_timeout);
    let body = request::read_body(body, limits.0, limits.1).await?;
    let request = ClientRequest {
        method: parts.method,
        headers: parts.headers,
        path,
        target,
        body,
        received,
    };
    let order = account.kite.as_ref().and_then(|_| OrderRoute::of(&request.method, &request.path));
    let terms = terms(&request, call, caller, shared, order.as_ref())?;
    let (headers, verdict) = shared.limit(Limited {
        path: &request.path,
        method: request.method.as_str(),
        caller,
        account: &account.name,
        lane: terms.call.lane_name(),
        address,
        is_exit: terms.is_exit(),
    });
    if settings.shows_limits || verdict.is_err() {
        access.limits = headers;
    }
    verdict?;
    let _waiting = Waiting::new(counts);
    let quote = account.kite.as_ref().and_then(|kite| kite.quotes.as_ref());
    let quote = quote.zip(QuoteRoute::of(&request.method, &request.path));
    if let Some((quotes, route)) = quote {
        if let Some(keys) = quotes::instruments(request.query()) {
            return quote_reply(quotes, route, keys, &request, account, &terms, counts).await;
        }
    } else if let Some(route) = order {
        return order_reply(account, terms, route, request, caller, client).await;
    } else if let Some(ttl) = cache.or_else(|| closed_period(account, &request)) {
        return kept_reply(account, &terms, request, ttl, &mut client, counts).await;
    }
    forward(account, &terms, request, &mut client).await
}

/// Returns how a call is made: within what its client asks for, and what its tier allows.
fn terms(
    request: &ClientRequest,
    call: LaneCall,
    caller: &Caller,
    shared: &Shared,
    order: Option<&OrderRoute>,
) -> Result<CallTerms, Refusal> {
    let asked = request::priority(request)?;
    let asked_time = request::time(request, "x-lanekeeper-deadline")?;
    let max_age = request::time(request, "x-lanekeeper-max-age")?;
    let tier = caller.tier.as_ref();
    let max_time = match tier {
        Some(tier) => tier.config().max_deadline.unwrap_or(shared.door.client_timeout),
        None => MAX_DEADLINE.max(shared.door.client_timeout),
    };
    let client_time = asked_time.unwrap_or(shared.door.client_timeout).min(max_time);
    let priority = match tier {
        Some(tier) => tier.priority(asked, call.call_priority()),
        None => asked.unwrap_or(call.call_priority()),
    };
    let is_exit = call.is_exit();
    if let Some(tier) = tier {
        tier.admit(Asked {
            lane: call.lane_name(),
            is_read: call.effect() == Effect::Read,
            is_exit,
            is_placement: order.is_some_and(OrderRoute::is_placement),
        })?;
    }
    let options = CallOptions::new().user(Arc::clone(&caller.name)).priority(priority);
    let options = max_age.map_or(options.clone(), |max_age| options.max_age(max_age));
    let is_urgent = is_exit || priority == Priority::URGENT;
    Ok(CallTerms { call, options, received: request.received, client_time, is_urgent })
}

/// Returns a request as the upstream gets it, without the gateway's credentials.
fn to_send(request: ClientRequest) -> UpstreamRequest {
    let ClientRequest { method, headers, target, body, .. } = request;
    UpstreamRequest { method, target, headers: to_upstream(headers), body }
}

async fn forward(
    account: &Arc<Account>,
    terms: &CallTerms,
    request: ClientRequest,
    client: &mut HangUp,
) -> Result<Reply, Refusal> {
    let result = account.call(terms, to_send(request), WHOLE_READ, client).await;
    let answered = result.or_else(|failed| account.explain(failed, terms))?;
    Ok(Reply::of(answered))
}

async fn quote_reply(
    quotes: &quotes::Quotes,
    route: QuoteRoute,
    keys: Vec<String>,
    request: &ClientRequest,
    account: &Arc<Account>,
    terms: &CallTerms,
    counts: &Counts,
) -> Result<Reply, Refusal> {
    let max_age = request::time(request, "x-lanekeeper-max-age")?;
    let left = terms.deadline().saturating_duration_since(Instant::now());
    let found = quotes.get(keys.clone(), max_age, left).await;
    let found = match found {
        Ok(found) => found,
        Err(failure) => {
            let answered = account.explain(quotes::to_failed(failure), terms)?;
            return Ok(Reply::of(answered));
        }
    };
    let origin = if found.is_from_memory { Origin::Hit } else { Origin::Miss };
    if found.is_from_memory {
        counts.from_cache.fetch_add(1, Ordering::Relaxed);
    }
    let body = quotes::body(route, &keys, &found);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let cache = Some(CacheNote { origin, age: found.age });
    Ok(Reply { cache, ..Reply::new(StatusCode::OK, headers, body.into()) })
}

async fn order_reply(
    account: &Arc<Account>,
    terms: CallTerms,
    route: OrderRoute,
    request: ClientRequest,
    caller: &Caller,
    client: HangUp,
) -> Result<Reply, Refusal> {
    let key = request.header("idempotency-key").map(str::to_owned);
    if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY) {
        let message = format!("Idempotency-Key is a text of 1 to {MAX_IDEMPOTENCY_KEY} bytes");
        return Err(Refusal::bad_request(message));
    }
    let path = request.path.clone();
    let call = OrderCall {
        route,
        terms,
        request: to_send(request),
        path,
        client_name: Arc::clone(&caller.name),
        idempotency_key: key,
    };
    match account.send_order(call, client).await {
        Ok(OrderResult { reply, delivery }) => reply.map(|reply| Reply::of_order(reply, delivery)),
        // Only the guard knows a placement again.
        Err((call, _)) if call.route.is_placement() && call.idempotency_key.is_some() => {
            let message = "not sent: Idempotency-Key is for placements that the gateway guards, in a form that it can read";
            Err(Refusal::bad_request(message))
        }
        // The guard cannot take it: it goes as it is, once.
        Err((call, mut client)) => {
            let OrderCall { terms, request, .. } = call;
            let result = account.call(&terms, request, WHOLE_READ, &mut client).await;
            let answered = result.or_else(|failed| account.explain(failed, &terms))?;
            Ok(Reply::of(answered))
        }
    }
}

async fn kept_reply(
    account: &Arc<Account>,
    terms: &CallTerms,
    request: ClientRequest,
    ttl: Duration,
    client: &mut HangUp,
    counts: &Counts,
) -> Result<Reply, Refusal> {
    if request.method != Method::GET {
        return forward(account, terms, request, client).await;
    }
    let max_age = request::time(&request, "x-lanekeeper-max-age")?;
    // An answer that was packed for one client is of no use to another that cannot unpack it.
    let encoding = request.header("accept-encoding").unwrap_or_default();
    let key = format!("{} {encoding}", request.target);
    if let Some(kept) = account.kept.get(&key, max_age).await {
        counts.from_cache.fetch_add(1, Ordering::Relaxed);
        return Ok(Reply::kept(&kept, Origin::Hit));
    }
    let upstream = to_send(request);
    let fetched = {
        // The fetch ends with this request only if no other one waits for it.
        let (here, mut unheard) = HangUp::new();
        let fetch = async {
            let _here = here;
            account.call(terms, upstream.clone(), crate::call::MAX_WHOLE - 1, &mut unheard).await
        };
        tokio::select! {
            fetched = account.kept.fetch(key, ttl, fetch) => fetched,
            () = client.wait() => return Err(Refusal::later("the client is gone", None)),
        }
    };
    match fetched {
        (Ok(kept), origin) => {
            if origin == Origin::Joined {
                counts.from_cache.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Reply::kept(&kept, origin))
        }
        (Err(Some(NotKept::Answer(answered))), _) => Ok(Reply::of(*answered)),
        (Err(Some(NotKept::Failed(failed))), _) => account.explain(failed, terms).map(Reply::of),
        // The fetch of another request failed. That is no answer to this one.
        (Err(None), _) => {
            let result = account.call(terms, upstream, WHOLE_READ, client).await;
            let answered = result.or_else(|failed| account.explain(failed, terms))?;
            Ok(Reply::of(answered))
        }
    }
}

/// Returns how long candles are kept: those of a period that is over do not change any more.
fn closed_period(account: &Account, request: &ClientRequest) -> Option<Duration> {
    account.kite.as_ref()?;
    crate::candles::ttl(&request.path, request.query())
}

/// Adds what a client has left of its limits, unless the broker itself says so of its own.
fn show_limits(limits: &Headers, headers: &mut HeaderMap) {
    if limits.iter().any(|(name, _)| headers.contains_key(*name)) {
        return;
    }
    for (name, value) in limits {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(*name, value);
        }
    }
}

/// Writes an answer, with what it says of its way.
fn to_response(
    reply: Reply,
    received: Instant,
    deliveries: &Deliveries,
    access: &mut Access,
) -> Response<ReplyBody> {
    let Reply { status, headers, body, sent, times, cache, is_repeated, delivery } = reply;
    let mut headers = to_client(headers);
    let mut note = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    let is_from_memory = cache.is_some_and(|cache| cache.origin == Origin::Hit);
    let sent = if is_from_memory { Sent::No } else { sent };
    note(SENT_HEADER, sent_word(sent).to_owned());
    access.sent = Some(sent);
    if let Some(times) = times {
        let waited = times.started.saturating_duration_since(received);
        note("x-lanekeeper-waited-ms", waited.as_millis().to_string());
        note("x-lanekeeper-broker-ms", times.broker().as_millis().to_string());
        (access.waited, access.broker) = (Some(waited), Some(times.broker()));
    }
    if let Some(CacheNote { origin, age }) = cache {
        let word = match origin {
            Origin::Hit => "hit",
            Origin::Miss => "miss",
            Origin::Joined => "joined",
        };
        note("x-lanekeeper-cache", format!("{word}; age={:.1}", age.as_secs_f64()));
    }
    if is_repeated {
        note("x-lanekeeper-repeated", "yes".to_owned());
    }
    let body = match (delivery, body) {
        (Some(delivery), ReplyBody::Whole(bytes)) => ReplyBody::Followed(
            bytes.unwrap_or_else(Bytes::new),
            Some((delivery, deliveries.clone())),
        ),
        (_, body) => body,
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
