//! A client's request, and the checks that it is one for this gateway.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use ipnet::IpNet;
use lanekeeper::lane::Priority;
use tokio::time::{Instant, timeout};

use crate::refusal::Refusal;

/// A request, whose body is here.
pub(crate) struct ClientRequest {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    /// The path, as the client wrote it.
    pub(crate) path: String,
    /// The path and the query, as the client wrote them.
    pub(crate) target: String,
    pub(crate) body: Bytes,
    pub(crate) received: Instant,
}

impl ClientRequest {
    /// Returns the query, without the question mark.
    pub(crate) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Returns the text of a header of which there is one.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Checks that a request is addressed to a path of this gateway. It is no open proxy, and speaks nothing but HTTP.
pub(crate) fn check_target(parts: &Parts, hosts: &[String]) -> Result<(), Refusal> {
    let closing = |status, message: &str| Refusal::new(status, message).closing();
    if parts.method == Method::CONNECT {
        return Err(closing(
            StatusCode::METHOD_NOT_ALLOWED,
            "the gateway is no proxy: CONNECT is refused",
        ));
    }
    if parts.uri.scheme().is_some() || parts.uri.authority().is_some() {
        return Err(closing(
            StatusCode::BAD_REQUEST,
            "the gateway is no proxy: ask for a path, not for a whole address",
        ));
    }
    if !parts.uri.path().starts_with('/') {
        return Err(closing(StatusCode::BAD_REQUEST, "the request has no path"));
    }
    let is_websocket = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("websocket"))
    };
    if parts.headers.get_all(header::UPGRADE).iter().any(is_websocket) {
        return Err(closing(
            StatusCode::NOT_IMPLEMENTED,
            "the gateway passes no WebSocket on: connect the ticker to the broker itself",
        ));
    }
    // A length and chunks: two servers may see two different requests. Newer versions of hyper read the chunks, drop the
    // length, and end the connection after the answer. Older ones leave both here.
    if parts.headers.contains_key(header::TRANSFER_ENCODING)
        && parts.headers.contains_key(header::CONTENT_LENGTH)
    {
        return Err(closing(
            StatusCode::BAD_REQUEST,
            "the request has a length and is in chunks too",
        ));
    }
    check_host(&parts.headers, hosts)
}

/// Checks that a request is for a name of this gateway. A page of another site whose name was pointed here sends that
/// site's name.
fn check_host(headers: &HeaderMap, hosts: &[String]) -> Result<(), Refusal> {
    let mut values = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (values.next(), values.next()) else {
        return Err(Refusal::bad_request("the request names no host, or several").closing());
    };
    let host = host.to_str().unwrap_or_default();
    if is_own_host(host, hosts) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::MISDIRECTED_REQUEST,
        "this gateway does not have that name: use its address, or add the name to `hosts`",
    ))
}

fn is_own_host(host: &str, hosts: &[String]) -> bool {
    if hosts.iter().any(|own| own.eq_ignore_ascii_case(host)) {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    // No name was resolved for an address.
    name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
        || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

/// Checks that a request was not made by the page of another site. Browsers say where a request comes from.
pub(crate) fn check_origin(headers: &HeaderMap, hosts: &[String]) -> Result<(), Refusal> {
    // A value that cannot be read is none of this gateway's names.
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("null"));
    let is_foreign = match text("origin") {
        Some("null") => true,
        Some(origin) => {
            let host = origin.split_once("://").map_or(origin, |(_, host)| host);
            // Of the same name and port as the request itself.
            !is_own_host(host, hosts) || text("host") != Some(host)
        }
        None => text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")),
    };
    match is_foreign {
        true => {
            Err(Refusal::new(StatusCode::FORBIDDEN, "a page of another site made this request"))
        }
        false => Ok(()),
    }
}

/// Reads the body of a request, up to its limits.
pub(crate) async fn read_body(
    body: Incoming,
    max_body: usize,
    limit: Duration,
) -> Result<Bytes, Refusal> {
    let too_long = || {
        let message = format!("the body is longer than {max_body} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message).closing()
    };
    // By the length that its head states, before any of it is here.
    if usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX) > max_body {
        return Err(too_long());
    }
    match timeout(limit, Limited::new(body, max_body).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(Refusal::bad_request("the body is incomplete").closing()),
        Err(_) => {
            let message = "the body did not come in time";
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message).closing())
        }
    }
}

/// Returns the address of a client. `X-Forwarded-For` is believed from a proxy that is configured.
pub(crate) fn client_address(peer: SocketAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let lines = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes);
    lanekeeper::limiter::client_address(peer.ip(), lines, trusted)
}

/// Reads a header with a priority.
pub(crate) fn priority(request: &ClientRequest) -> Result<Option<Priority>, Refusal> {
    let Some(text) = request.header("x-lanekeeper-priority") else { return Ok(None) };
    let priority = text.trim().parse().ok().and_then(|number| Priority::new(number).ok());
    priority.map(Some).ok_or_else(|| {
        Refusal::bad_request("X-Lanekeeper-Priority is a number from 1, which is urgent, to 10")
    })
}

/// Reads a header with a time: seconds, or `250ms`, or `2s`.
pub(crate) fn time(request: &ClientRequest, name: &str) -> Result<Option<Duration>, Refusal> {
    let Some(text) = request.header(name) else { return Ok(None) };
    let text = text.trim();
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds = number.trim().parse::<f64>().ok().map(|number| number * unit);
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.map(Some).ok_or_else(|| {
        Refusal::bad_request(format!("{name} is a time, such as 2.5 or 250ms, and not below zero"))
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_host_is_an_address_or_a_name_of_the_gateway() {
        let hosts = ["gateway.example.net".to_owned()];
        for host in [
            "127.0.0.1:8800",
            "127.0.0.1",
            "[::1]:8800",
            "localhost:1",
            "LOCALHOST",
            "10.0.0.7:8800",
            "gateway.example.net",
            "Gateway.Example.net:443",
        ] {
            assert!(is_own_host(host, &hosts), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "gateway.example.net.evil",
            "localhost.evil:80",
            "evil:127",
        ] {
            assert!(!is_own_host(host, &hosts), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_known_by_its_origin() {
        let check = |pairs: &[(&'static str, &'static str)]| check_origin(&headers(pairs), &[]);
        let own = ("host", "127.0.0.1:8800");
        assert_eq!(check(&[own]), Ok(()));
        assert_eq!(check(&[own, ("origin", "http://127.0.0.1:8800")]), Ok(()));
        assert_eq!(check(&[own, ("sec-fetch-site", "same-origin")]), Ok(()));
        for foreign in [
            ("origin", "http://evil.example"),
            ("origin", "http://127.0.0.1:9999"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(check(&[own, foreign]).is_err(), "{foreign:?}");
        }
    }

    #[test]
    fn a_forwarded_address_is_believed_from_a_configured_proxy_only() {
        let peer: SocketAddr = "10.0.0.1:1234".parse().unwrap();
        let address = |value: &'static str, trusted: &[&str]| {
            let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
            client_address(peer, &headers(&[("x-forwarded-for", value)]), &trusted).to_string()
        };
        assert_eq!(address("1.2.3.4", &[]), "10.0.0.1");
        assert_eq!(address("1.2.3.4", &["10.0.0.1/32"]), "1.2.3.4");
        assert_eq!(address("1.2.3.4", &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(address("1.2.3.4", &["10.0.1.0/24"]), "10.0.0.1");
        // Every hop that is trusted is passed, and no more.
        assert_eq!(address("9.9.9.9, 1.2.3.4, 10.3.0.1", &["10.0.0.0/8"]), "1.2.3.4");
        // What the client wrote itself stands before what the proxy added.
        assert_eq!(address("9.9.9.9, 1.2.3.4", &["10.0.0.1/32"]), "1.2.3.4");
        assert_eq!(address("1.2.3.4, 10.0.0.2", &["10.0.0.1/32", "10.0.0.2/32"]), "1.2.3.4");
        assert_eq!(address("nonsense", &["10.0.0.1/32"]), "10.0.0.1");
    }

    #[test]
    fn times_and_priorities_are_read_or_refused() {
        let request = |name: &'static str, value: &'static str| ClientRequest {
            method: Method::GET,
            headers: headers(&[(name, value)]),
            path: "/".to_owned(),
            target: "/".to_owned(),
            body: Bytes::new(),
            received: Instant::now(),
        };
        for (text, millis) in
            [("2", 2000), ("0.25", 250), ("250ms", 250), (" 1.5s ", 1500), ("0", 0)]
        {
            let time = time(&request("x-lanekeeper-deadline", text), "x-lanekeeper-deadline");
            assert_eq!(time, Ok(Some(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "-1", "soon", "1e400", "NaN", "inf", "5min"] {
            let request = request("x-lanekeeper-deadline", text);
            assert!(time(&request, "x-lanekeeper-deadline").is_err(), "{text}");
        }
        let of = |text| priority(&request("x-lanekeeper-priority", text));
        assert_eq!(of("1"), Ok(Some(Priority::URGENT)));
        for text in ["0", "11", "-1", "urgent", "1.5"] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
