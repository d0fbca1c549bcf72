//! The forms of texts in the settings: names, hashes of keys, addresses, and what else is written as a text.

use std::net::IpAddr;

use hyper::Uri;
use hyper::header::{self, HeaderName};
use ipnet::IpNet;

/// What a name must be.
pub(super) const NAME: &str =
    "write a name of 1 to 40 letters, digits and the signs `_`, `-` and `.`, not of dots alone";

/// The form of a key's hash.
pub(super) const KEY_HASH: &str =
    "write the hash of a key, sha256:SALT:HASH, as `lanekeeper key new` prints it";

/// Returns whether a text can be the name of a client, a lane, an account or a tier. A name is a segment of a path, so
/// it is neither `.` nor `..`.
pub(super) fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=40).contains(&text.len())
        && text.bytes().all(is_allowed)
        && text.bytes().any(|byte| byte != b'.')
}

/// Returns whether a text is the salted hash of a key: `sha256:`, 32 and 64 hexadecimal digits in lower case.
pub(super) fn is_key_hash(text: &str) -> bool {
    let is_hex = |text: &str, length| {
        text.len() == length
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let parts = text.strip_prefix("sha256:").and_then(|rest| rest.split_once(':'));
    parts.is_some_and(|(salt, hash)| is_hex(salt, 32) && is_hex(hash, 64))
}

/// What the name of an environment variable must be.
pub(super) const ENV_NAME: &str = "write the name of an environment variable, in capital letters";

/// Returns whether a text can be the name of an environment variable. Only capital letters are taken, as for most
/// variables, so that a secret that is written in the place of its variable is refused.
pub(super) fn is_env_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=100).contains(&text.len())
        && text.bytes().all(is_allowed)
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Returns whether a text can be the name of a host, or its address, without a port.
pub(super) fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=63).contains(&label.len()) && label.bytes().all(is_allowed)
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Reads a network, or an address, which is a network of one.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(|address| address.to_canonical().into());
    text.parse().ok().or_else(address)
}

/// Checks the address of an API. The reason does not repeat it, since it may have a password in it.
pub(super) fn check_upstream(text: &str) -> Result<(), &'static str> {
    const FORM: &str = "write the address of the API, as https://api.example.com";
    let uri: Uri = text.parse().map_err(|_| FORM)?;
    let Some(authority) = uri.authority() else { return Err(FORM) };
    // The parser drops what is behind a `#`.
    if text.contains('#') {
        return Err("write the address without a fragment");
    }
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("write an address that begins with https:// or http://");
    }
    if authority.as_str().contains('@') {
        return Err("write the address without user and password: `auth` names the variable that \
                    has the secret");
    }
    if uri.query().is_some() {
        return Err("write the address without a query");
    }
    if !matches!(uri.path(), "" | "/") {
        return Err(
            "write the address without a path: the requests of clients have the whole path",
        );
    }
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    if !is_host(authority.host())
        || !(port.is_empty() || authority.port_u16().is_some_and(|port| port > 0))
    {
        return Err(FORM);
    }
    Ok(())
}

/// Checks the name of the header that authenticates requests.
pub(super) fn check_auth_header(name: &str) -> Result<(), &'static str> {
    const FRAMING: [HeaderName; 9] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::HOST,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::EXPECT,
    ];
    let header = HeaderName::from_lowercase(name.as_bytes())
        .map_err(|_| "write the name of a header, as `authorization`")?;
    if FRAMING.contains(&header) {
        return Err("this header belongs to HTTP itself, and cannot authenticate a request");
    }
    Ok(())
}

/// Checks what precedes the secret in the header. A secret that was written in its place ends with a letter or a
/// digit, as does `Bearer` without its space.
pub(super) fn check_auth_prefix(prefix: &str) -> Result<(), &'static str> {
    if prefix.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("end it with a space or a sign, as \"Bearer \": the secret follows at once");
    }
    let is_visible = |byte: u8| (b' '..=b'~').contains(&byte);
    match prefix.len() <= 40 && prefix.bytes().all(is_visible) {
        true => Ok(()),
        false => Err("write at most 40 characters of ASCII, as \"Bearer \""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_a_segment_of_a_path() {
        for name in ["a", "main", "data.v2", "A-b_c", "..a", &"x".repeat(40)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "ä", "a\n", "a:b", &"x".repeat(41)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn an_upstream_is_a_scheme_a_host_and_perhaps_a_port() {
        for text in [
            "https://api.kite.trade",
            "https://api.kite.trade/",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "HTTPS://api.example",
            "http://simulator_1:80",
        ] {
            assert_eq!(check_upstream(text), Ok(()), "{text}");
        }
        for text in [
            "",
            "/",
            "*",
            "api.kite.trade",
            "//api.kite.trade",
            "ftp://api.kite.trade",
            "unix:///run/x",
            "https://",
            "https://:443",
            "https://api.kite.trade/v3",
            "https://api.kite.trade?x=1",
            "https://api.kite.trade/#x",
            "https://api.kite.trade#x",
            "https://me:secret@api.kite.trade",
            "https://me@api.kite.trade",
            "https://@api.kite.trade",
            "https://api.kite.trade:0",
            "https://api.kite.trade:",
            "https://api.kite.trade:99999",
            "https://api.kite.trade:x",
            "https://a..b",
            "https://a b",
            "https://[::1",
            "https://[x]",
            "https://ä",
        ] {
            assert!(check_upstream(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_hash_of_a_key_has_a_salt_of_16_bytes_and_32_bytes() {
        let (salt, hash) = ("0a".repeat(16), "f9".repeat(32));
        assert!(is_key_hash(&format!("sha256:{salt}:{hash}")));
        for text in [
            String::new(),
            "hunter2".to_owned(),
            format!("{salt}:{hash}"),
            format!("sha256:{hash}:{salt}"),
            format!("sha256:{salt}:{hash}0"),
            format!("sha256:{salt}:{hash}:"),
            format!("sha256:{salt}:{}", "F9".repeat(32)),
            format!("sha256:{salt}:{}", "g9".repeat(32)),
            format!("sha256::{hash}"),
            format!("sha512:{salt}:{hash}"),
        ] {
            assert!(!is_key_hash(&text), "{text}");
        }
    }

    #[test]
    fn a_secret_is_no_name_of_a_variable() {
        for name in ["VENDOR_TOKEN", "T", "_X2"] {
            assert!(is_env_name(name), "{name}");
        }
        for name in ["", "2X", "x7k2m9", "eyJhbGciOi.J", "A B", "A=B", &"X".repeat(101)] {
            assert!(!is_env_name(name), "{name}");
        }
    }

    #[test]
    fn the_header_of_a_secret_is_none_that_frames_a_request() {
        for name in ["authorization", "x-api-key"] {
            assert_eq!(check_auth_header(name), Ok(()), "{name}");
        }
        for name in ["", "Authorization", "a b", "host", "content-length", "a:", "ä"] {
            assert!(check_auth_header(name).is_err(), "{name}");
        }
        for prefix in ["", "Bearer ", "token="] {
            assert_eq!(check_auth_prefix(prefix), Ok(()), "{prefix}");
        }
        for prefix in ["Bearer", "Bearer abc123", "a\n", "ä ", &" ".repeat(41)] {
            assert!(check_auth_prefix(prefix).is_err(), "{prefix}");
        }
    }
}
