//! Which headers travel on. Those that concern one connection, or the gateway itself, do not.

use hyper::header::{self, HeaderMap, HeaderName};

/// The headers of one connection, by RFC 9110, section 7.6.1.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
];

/// Removes the headers of one connection, and those that `Connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "proxy-authorization"] {
        headers.remove(name);
    }
}

/// Returns the headers of an answer as the client gets them: without those of the connection, and without such that only
/// the gateway may send.
pub(crate) fn to_client(mut headers: HeaderMap) -> HeaderMap {
    remove_hop_by_hop(&mut headers);
    remove_prefixed(&mut headers, &["x-lanekeeper-"]);
    headers
}

fn remove_prefixed(headers: &mut HeaderMap, prefixes: &[&str]) {
    let is_prefixed =
        |name: &&HeaderName| prefixes.iter().any(|prefix| name.as_str().starts_with(prefix));
    let names: Vec<HeaderName> = headers.keys().filter(is_prefixed).cloned().collect();
    for name in &names {
        headers.remove(name);
    }
}

/// Returns the headers of a client's request as the upstream gets them: without those of the connection, without the
/// client's credentials, and without what is addressed to the gateway or tells of the network before it.
pub(crate) fn to_upstream(mut headers: HeaderMap) -> HeaderMap {
    remove_hop_by_hop(&mut headers);
    for name in [
        // The body is here as a whole, and hyper states its length.
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::HOST,
        header::AUTHORIZATION,
        header::FORWARDED,
    ] {
        headers.remove(name);
    }
    headers.remove("x-real-ip");
    remove_prefixed(&mut headers, &["x-lanekeeper-", "x-forwarded-"]);
    headers
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};

    use super::to_upstream;

    #[test]
    fn the_upstream_gets_no_header_of_the_connection_or_of_the_gateway() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Per-Hop"),
            ("x-per-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic c2VjcmV0"),
            ("authorization", "token alpha:secret"),
            ("x-lanekeeper-key", "alpha:secret"),
            ("x-lanekeeper-priority", "1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("host", "127.0.0.1"),
            ("expect", "100-continue"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("x-kite-version", "3"),
            ("user-agent", "Kiteconnect-python/5.0.1"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("accept-encoding", "gzip, deflate"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let sent = to_upstream(headers);
        let mut names: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept-encoding", "content-type", "user-agent", "x-kite-version"]);
    }
}
