//! The usual extractor: entries from addresses, headers and closures.
//!
//! # What a client must not choose
//!
//! A client that can give itself another value has another limit. So:
//!
//! - A header is an identity only if a proxy or a layer in front has checked it, or if its value is a secret, such as an
//!   API key, that a later layer checks. Else limit by address as well.
//! - A rule applies to requests that have its keys. A client that leaves a header out leaves the rule.
//!   [`Entries::header_or`] and [`Entries::require`] prevent it.
//! - A header that comes twice, or is not UTF-8, is rejected. Taking the first, the last or both of two values would let a
//!   client vary the one that is counted, and keep the one that the handler reads.

use std::fmt;
use std::sync::Arc;

use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderValue, StatusCode};

use super::check::OwnedRequest;
use super::client_ip::ClientIp;
use super::extract::{Extract, Rejection};

/// An [`Extract`] that is built from a source for each entry. The path is that of the URI. Of two sources with one key,
/// the first that has a value counts.
///
/// A rule applies only to requests that have its keys. A request without the header of [`header`](Self::header) is
/// therefore not limited by the rules for it: use [`header_or`](Self::header_or) or [`require`](Self::require), or a
/// rule by address in addition.
///
/// ```
/// use std::net::{IpAddr, SocketAddr};
///
/// use http::request::Parts;
/// use http::{HeaderName, Method, StatusCode};
/// use lanekeeper::limiter::layer::{ClientIp, Entries};
///
/// /// What a layer in front has put into the extensions, once it had checked the token.
/// #[derive(Clone)]
/// struct Claims {
///     sub: String,
/// }
///
/// // With axum: `parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|it| it.0.ip())`
/// let peer = |parts: &Parts| parts.extensions.get::<SocketAddr>().map(|it| it.ip());
/// let entries = Entries::new()
///     .ip("ip", ClientIp::new(peer).trusted_proxies(["10.0.0.0/8"])?)
///     .header_or("tier", HeaderName::from_static("x-tier"), "free")
///     .entry("user", |parts| parts.extensions.get::<Claims>().map(|it| it.sub.clone()))
///     .require("user", StatusCode::UNAUTHORIZED)
///     .weight(|parts| if parts.method == Method::POST { 5 } else { 1 });
/// # Ok::<(), lanekeeper::limiter::layer::InvalidNetwork>(())
/// ```
#[derive(Default)]
pub struct Entries {
    sources: Vec<(Arc<str>, Source)>,
    required: Vec<(Arc<str>, StatusCode)>,
    path: Option<Box<PathOf>>,
    weight: Option<Box<WeightOf>>,
}

type Source = Box<dyn Fn(&Parts) -> Result<Option<String>, Rejection> + Send + Sync>;
type PathOf = dyn Fn(&Parts) -> String + Send + Sync;
type WeightOf = dyn Fn(&Parts) -> u32 + Send + Sync;

impl Entries {
    /// Returns an extractor of the path alone. Each request weighs 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the address of the client. A request whose peer is unknown is answered with 500, because a server that is
    /// set up without the addresses of its peers would else have no limit.
    #[must_use]
    pub fn ip(self, key: impl Into<Arc<str>>, client: ClientIp) -> Self {
        self.source(key, move |parts| match client.of(parts) {
            Some(address) => Ok(Some(client.shown(address))),
            None => Err(Rejection::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the server does not know the address of its peer",
            )),
        })
    }

    /// Adds the value of a header. A request without the header has no such entry, and *the rules for it do not apply*.
    /// One that has it twice, or not in UTF-8, is answered with 400.
    #[must_use]
    pub fn header(self, key: impl Into<Arc<str>>, name: HeaderName) -> Self {
        self.source(key, move |parts| header(parts, &name))
    }

    /// Adds the value of a header, as [`header`](Self::header) does, and this value to requests without it.
    #[must_use]
    pub fn header_or(
        self,
        key: impl Into<Arc<str>>,
        name: HeaderName,
        default: impl Into<String>,
    ) -> Self {
        let default = default.into();
        self.source(key, move |parts| Ok(header(parts, &name)?.or_else(|| Some(default.clone()))))
    }

    /// Adds what a function returns, such as a claim of a token. It must have been checked: a claim of a token whose
    /// signature was not verified is the client's own choice. `None` adds no entry.
    #[must_use]
    pub fn entry(
        self,
        key: impl Into<Arc<str>>,
        value: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.source(key, move |parts| Ok(value(parts)))
    }

    /// Rejects requests without this entry, with this status. A rejected request is not counted, so what makes the entry
    /// must not check a secret: guesses would have no limit. Check it behind the layer.
    #[must_use]
    pub fn require(mut self, key: impl Into<Arc<str>>, status: StatusCode) -> Self {
        self.required.push((key.into(), status));
        self
    }

    /// Sets where the path is from, for example the pattern of a route. The default is the path of the URI as the layer
    /// sees it: inside a router that is nested in another, axum takes the prefix off.
    #[must_use]
    pub fn path(mut self, path: impl Fn(&Parts) -> String + Send + Sync + 'static) -> Self {
        self.path = Some(Box::new(path));
        self
    }

    /// Sets how much a request counts for. The default is 1. A weight of 0 counts for nothing, and is
    /// refused only by a limit of 0.
    #[must_use]
    pub fn weight(mut self, weight: impl Fn(&Parts) -> u32 + Send + Sync + 'static) -> Self {
        self.weight = Some(Box::new(weight));
        self
    }

    fn source(
        mut self,
        key: impl Into<Arc<str>>,
        source: impl Fn(&Parts) -> Result<Option<String>, Rejection> + Send + Sync + 'static,
    ) -> Self {
        self.sources.push((key.into(), Box::new(source)));
        self
    }
}

impl Extract for Entries {
    fn extract(&self, parts: &Parts) -> Result<OwnedRequest, Rejection> {
        let path = match &self.path {
            Some(path) => path(parts),
            None => parts.uri.path().to_owned(),
        };
        let mut request = OwnedRequest::new(path);
        for (key, source) in &self.sources {
            if request.has(key) {
                continue;
            }
            if let Some(value) = source(parts)? {
                request = request.entry(Arc::clone(key), value);
            }
        }
        if let Some((key, status)) = self.required.iter().find(|(key, _)| !request.has(key)) {
            let message = format!("the request does not say its {key}");
            return Err(Rejection::new(*status, message));
        }
        Ok(match &self.weight {
            Some(weight) => request.weight(weight(parts)),
            None => request,
        })
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.sources.iter().map(|(key, _)| &**key).collect();
        f.debug_struct("Entries").field("keys", &keys).finish_non_exhaustive()
    }
}

/// Returns the value of a header that comes at most once.
fn header(parts: &Parts, name: &HeaderName) -> Result<Option<String>, Rejection> {
    let bad = |why: &str| {
        let message = format!("the header {name} {why}");
        Rejection::new(StatusCode::BAD_REQUEST, message)
    };
    let mut values = parts.headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad("comes more than once"));
    }
    let text = std::str::from_utf8(HeaderValue::as_bytes(value));
    Ok(Some(text.map_err(|_| bad("is not UTF-8"))?.to_owned()))
}
