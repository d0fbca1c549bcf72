//! The canonical form of a request's path.
//!
//! Servers and proxies on the way normalise paths: they resolve `..`, merge `//`, decode `%6F`. A path that any of them
//! may change is refused, so that the route that is looked up is the one that is served.

/// Checks that a path can be read in one way only.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    let Some(rest) = path.strip_prefix('/') else { return Err("it does not begin with a slash") };
    if rest.is_empty() {
        return Ok(());
    }
    rest.split('/').try_for_each(check_segment)
}

/// Checks one segment of a path.
pub(super) fn check_segment(segment: &str) -> Result<(), &'static str> {
    match segment {
        "" => return Err("it has an empty segment"),
        "." | ".." => return Err("it has a segment of dots"),
        _ => {}
    }
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err("a percent sign is not followed by two hexadecimal digits");
                };
                let decoded = u8::try_from(high * 16 + low).unwrap_or_default();
                // Encoded and not, these are the same to one server and different to another.
                if is_unreserved(decoded) || matches!(decoded, b'/' | b'\\' | b'%' | 0..=31 | 127) {
                    return Err("it has an encoded character that can be read in two ways");
                }
            }
            // What RFC 3986 allows in a segment. A semicolon begins parameters, which some servers strip.
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => {}
            byte if is_unreserved(byte) => {}
            _ => return Err("it has a character that a path cannot have"),
        }
    }
    Ok(())
}

/// The characters that mean the same encoded and not, by RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::check_path;

    #[test]
    fn a_path_that_can_be_read_in_one_way_is_taken() {
        for path in
            ["/", "/orders", "/orders/regular/15", "/a/NSE:INFY", "/a/M%26M", "/a/%20b", "/a/..."]
        {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn a_path_that_a_server_may_change_is_refused() {
        for path in [
            "",
            "orders",
            "http://x/",
            "//",
            "//orders",
            "/orders/",
            "/orders//regular",
            "/./orders",
            "/quote/../orders/regular",
            "/quote/..",
            "/quote/%2e%2e/orders",
            "/%6Frders",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%00",
            "/a%25b",
            "/a?b=c",
            "/a#b",
            "/a b",
            "/a\n",
            "/a;b=c",
            "/à",
            "/a%7F",
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }
}
