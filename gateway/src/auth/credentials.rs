//! The credentials that a request carries, in the forms in which clients send them.

use hyper::header::{AUTHORIZATION, HeaderMap};

/// The header for a client's key beside the credentials of the broker's own protocol.
pub(super) const KEY_HEADER: &str = "x-lanekeeper-key";

/// A name and a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Credentials<'a> {
    pub(super) name: &'a str,
    pub(super) secret: &'a str,
}

/// The request has credentials that cannot be read in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AmbiguousCredentials;

/// Finds the credentials of a request: `X-Lanekeeper-Key: NAME:SECRET`, else `Authorization: token NAME:SECRET` as Kite's
/// clients send it, or `Authorization: Bearer NAME:SECRET`.
pub(super) fn find(headers: &HeaderMap) -> Result<Option<Credentials<'_>>, AmbiguousCredentials> {
    if let Some(text) = the_only(headers, KEY_HEADER)? {
        return split(text).map(Some).ok_or(AmbiguousCredentials);
    }
    let Some(text) = the_only(headers, AUTHORIZATION.as_str())? else { return Ok(None) };
    let Some((scheme, pair)) = text.split_once(' ') else { return Ok(None) };
    let is_known = scheme.eq_ignore_ascii_case("token") || scheme.eq_ignore_ascii_case("bearer");
    Ok(is_known.then(|| split(pair.trim())).flatten())
}

/// Returns the name that a request claims to be from, whether its secret is right or not.
pub(crate) fn claimed_name(headers: &HeaderMap) -> Option<&str> {
    find(headers).ok().flatten().map(|found| found.name)
}

/// Returns the value of a header, of which there may be one.
fn the_only<'a>(
    headers: &'a HeaderMap,
    name: &str,
) -> Result<Option<&'a str>, AmbiguousCredentials> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| AmbiguousCredentials),
        (Some(_), Some(_)) => Err(AmbiguousCredentials),
    }
}

fn split(pair: &str) -> Option<Credentials<'_>> {
    let (name, secret) = pair.split_once(':')?;
    (!name.is_empty()).then_some(Credentials { name, secret })
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn credentials_are_found_in_the_forms_of_clients() {
        for (pairs, expected) in [
            (vec![("authorization", "token alpha:s1")], Some(("alpha", "s1"))),
            (vec![("authorization", "Bearer alpha:s1")], Some(("alpha", "s1"))),
            (vec![("authorization", "bearer alpha:")], Some(("alpha", ""))),
            (vec![("x-lanekeeper-key", "alpha:s:1")], Some(("alpha", "s:1"))),
            // The key goes before the credentials of the broker's own protocol.
            (vec![("authorization", "token x:y"), ("x-lanekeeper-key", "a:b")], Some(("a", "b"))),
            (vec![("authorization", "Basic YTpi")], None),
            (vec![("authorization", "token :s1")], None),
            (vec![("authorization", "token")], None),
            (vec![], None),
        ] {
            let headers = headers(&pairs);
            let found = find(&headers).ok().unwrap();
            assert_eq!(found.map(|found| (found.name, found.secret)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn credentials_that_two_servers_may_read_differently_are_refused() {
        for pairs in [
            vec![("authorization", "token a:b"), ("authorization", "token c:d")],
            vec![("x-lanekeeper-key", "a:b"), ("x-lanekeeper-key", "c:d")],
            vec![("x-lanekeeper-key", "no-colon")],
        ] {
            assert!(find(&headers(&pairs)).is_err(), "{pairs:?}");
        }
    }
}
