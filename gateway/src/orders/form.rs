//! The form of a placement: what it says, and the tag that is added to it.

use std::borrow::Cow;

use bytes::Bytes;
use hmac_sha256::Hash;
use hyper::header::{CONTENT_TYPE, HeaderMap};

/// The name of the field by which the order book shows an order.
const TAG: &str = "tag";

/// Returns the pairs of a form. `None` if the body is no form.
pub(super) fn pairs(headers: &HeaderMap, body: &[u8]) -> Option<Vec<(String, String)>> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return None;
    }
    Some(form_urlencoded::parse(body).into_owned().collect())
}

/// Returns the form with this tag. If the client's own form has it, the form is as it was. An empty tag is none.
pub(super) fn with_tag(body: &Bytes, tag: &str) -> Bytes {
    let own = form_urlencoded::parse(body).find(|(name, _)| name == TAG);
    if own.is_some_and(|(_, value)| value == tag) {
        return body.clone();
    }
    let is_tag = |pair: &&[u8]| {
        matches!(form_urlencoded::parse(pair).next(), Some((Cow::Borrowed(TAG), _)))
            || form_urlencoded::parse(pair).next().is_some_and(|(name, _)| name == TAG)
    };
    let mut form: Vec<u8> = Vec::with_capacity(body.len() + tag.len() + 5);
    for pair in body.split(|byte| *byte == b'&').filter(|pair| !is_tag(pair) && !pair.is_empty()) {
        form.extend_from_slice(pair);
        form.push(b'&');
    }
    form.extend_from_slice(b"tag=");
    // A tag has letters and digits, and symbols that a form takes as they are or encodes.
    form.extend(form_urlencoded::byte_serialize(tag.as_bytes()).flat_map(str::bytes));
    Bytes::from(form)
}

/// What identifies a placement: its client, its path and its fields, whatever their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Of a placement without a key of its own.
    pub(super) fn of_form(client: &str, path: &str, pairs: &[(String, String)]) -> Self {
        let mut pairs: Vec<_> = pairs.iter().collect();
        pairs.sort();
        let fields = pairs.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        Self::of(["form", client, path].into_iter().chain(fields))
    }

    /// Of a placement that its client gave a key.
    pub(super) fn of_key(client: &str, key: &str) -> Self {
        Self::of(["key", client, key].into_iter())
    }

    fn of<'a>(parts: impl Iterator<Item = &'a str>) -> Self {
        let mut hash = Hash::new();
        for part in parts {
            // With the lengths, no two lists of parts are the same bytes.
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let mut short = [0; 16];
        short.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self(short)
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(form: &'static str, tag: &str) -> String {
        String::from_utf8(with_tag(&Bytes::from_static(form.as_bytes()), tag).to_vec()).unwrap()
    }

    #[test]
    fn a_tag_is_added_and_the_rest_of_the_form_stays_byte_for_byte() {
        assert_eq!(tagged("a=1&b=%20+x", "t1"), "a=1&b=%20+x&tag=t1");
        assert_eq!(tagged("a=1&tag=&b=2", "t1"), "a=1&b=2&tag=t1");
        assert_eq!(tagged("a=1&t%61g=&b=2", "t1"), "a=1&b=2&tag=t1");
        assert_eq!(tagged("tag=t1&a=1", "t1"), "tag=t1&a=1");
        assert_eq!(tagged("", "t1"), "tag=t1");
    }

    #[test]
    fn a_fingerprint_is_of_all_fields_in_any_order() {
        let pairs = |form: &str| -> Vec<(String, String)> {
            form_urlencoded::parse(form.as_bytes()).into_owned().collect()
        };
        let of = |client, form| Fingerprint::of_form(client, "/orders/regular", &pairs(form));
        let one = of("alpha", "a=1&b=2");
        assert_eq!(one, of("alpha", "b=2&a=1"));
        for other in [of("beta", "a=1&b=2"), of("alpha", "a=1&b=3"), of("alpha", "a=1b&=2")] {
            assert_ne!(one, other);
        }
        assert_eq!(one.to_string().parse::<Fingerprint>().unwrap(), one);
    }
}
