//! Which paths a rule is about: one path, a prefix, or a pattern.

use std::borrow::Cow;
use std::fmt;

/// A pattern of paths, as a rule has it: see [`parse`](Self::parse).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    /// The path and everything below it.
    Rest,
    /// Everything below the path.
    Below,
    /// The end of the path. Before it comes what is less precise.
    End,
    /// One segment.
    Any,
    /// This segment.
    Exactly(String),
}

impl PathPattern {
    /// Parses a pattern:
    ///
    /// | pattern | the paths |
    /// |---|---|
    /// | `/orders` | this one |
    /// | `/orders/*` | all below it, at any depth |
    /// | `/orders/**` | it, and all below it |
    /// | `/users/{id}/orders`, `/users/*/orders` | with any segment in that place |
    ///
    /// ```
    /// use lanekeeper::limiter::PathPattern;
    ///
    /// let pattern = PathPattern::parse("/orders/*")?;
    /// assert!(pattern.matches("/orders/regular/15") && !pattern.matches("/orders"));
    /// // The same path to many servers is the same path here.
    /// assert!(pattern.matches("//orders/./%72egular/?a=b"));
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix('/')
            .ok_or_else(|| format!("a path begins with a slash, and `{text}` does not"))?;
        if normal(text) != text {
            return Err(format!("write the path as `{}`", normal(text)));
        }
        let mut segments = Vec::new();
        let mut parts = rest.split('/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            let is_name = part.len() > 2 && part.starts_with('{') && part.ends_with('}');
            segments.push(match part {
                "**" if is_last => Segment::Rest,
                "**" => return Err("`**` can only be the last segment".to_owned()),
                "*" if is_last => Segment::Below,
                "*" => Segment::Any,
                _ if is_name => Segment::Any,
                _ if part.contains(['*', '{', '}']) => {
                    return Err(format!("`{part}`: a wildcard is a whole segment"));
                }
                _ => Segment::Exactly(part.to_owned()),
            });
        }
        if !matches!(segments.last(), Some(Segment::Rest | Segment::Below)) {
            segments.push(Segment::End);
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    /// Returns whether the pattern describes a path. A query is ignored.
    pub fn matches(&self, path: &str) -> bool {
        self.matches_normal(&normal(path))
    }

    pub(super) fn matches_normal(&self, path: &str) -> bool {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        for segment in &self.segments {
            match (segment, parts.next()) {
                (Segment::Rest, _) | (Segment::End, None) | (Segment::Below, Some(_)) => {
                    return true;
                }
                (Segment::Any, Some(_)) => {}
                (Segment::Exactly(text), Some(part)) if text == part => {}
                _ => return false,
            }
        }
        false
    }

    /// Orders the patterns that match one path, the most precise last. Patterns with the same precision match the same
    /// paths.
    pub(super) fn precision(&self) -> impl Ord + '_ {
        &self.segments
    }

    /// Returns the text that identifies the paths, whatever a segment is called.
    pub(super) fn canonical(&self) -> String {
        let text = |segment: &Segment| match segment {
            Segment::Rest => "**".to_owned(),
            Segment::Below => "*".to_owned(),
            Segment::Any => "{}".to_owned(),
            Segment::End => String::new(),
            Segment::Exactly(text) => text.clone(),
        };
        self.segments.iter().map(|segment| format!("/{}", text(segment))).collect()
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns the path without what many servers ignore or resolve: a query, empty segments and segments of dots, and
/// encoded characters that mean the same when they are not. A caller that writes a path in another way must not find
/// another limit.
pub(super) fn normal(path: &str) -> Cow<'_, str> {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    let inner = path.strip_prefix('/').unwrap_or(path);
    let rooted = path.starts_with('/');
    if rooted
        && !path.contains(['%', '?', '#', ';'])
        && (inner.is_empty() || inner.split('/').all(is_plain))
    {
        return Cow::Borrowed(path);
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut parts: Vec<String> = Vec::new();
    for part in path.split('/') {
        // Some servers take what follows a semicolon for parameters.
        let part = decode(part.split(';').next().unwrap_or_default());
        // An encoded slash separates as well, for some servers.
        for part in part.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                _ => parts.push(part.to_owned()),
            }
        }
    }
    Cow::Owned(format!("/{}", parts.join("/")))
}

/// Decodes what is encoded by percent signs, beside control characters and what is not UTF-8. These stay as they are, in
/// capitals, since the case of the digits says nothing.
fn decode(part: &str) -> Cow<'_, str> {
    if !part.contains('%') {
        return Cow::Borrowed(part);
    }
    let decoded = String::from_utf8(decode_bytes(part, |byte| !byte.is_ascii_control()));
    let ascii = || decode_bytes(part, |byte| byte.is_ascii() && !byte.is_ascii_control());
    Cow::Owned(decoded.unwrap_or_else(|_| String::from_utf8_lossy(&ascii()).into_owned()))
}

/// Decodes the bytes that can be decoded.
fn decode_bytes(part: &str, can_decode: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(part.len());
    let mut rest = part;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                match can_decode(byte) {
                    true => decoded.push(byte),
                    false => decoded.extend_from_slice(format!("%{byte:02X}").as_bytes()),
                }
                rest = &after[2..];
            }
            None => {
                decoded.push(b'%');
                rest = after;
            }
        }
    }
    decoded.extend_from_slice(rest.as_bytes());
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        PathPattern::parse(pattern).unwrap().matches(path)
    }

    #[test]
    fn a_pattern_is_a_path_a_prefix_or_has_segments_of_any_name() {
        assert!(matches("/orders", "/orders") && !matches("/orders", "/orders/1"));
        assert!(!matches("/orders/*", "/orders") && matches("/orders/*", "/orders/1"));
        assert!(matches("/orders/*", "/orders/1/trades") && !matches("/orders/*", "/ordersx/1"));
        assert!(matches("/orders/**", "/orders") && matches("/orders/**", "/orders/1/2"));
        assert!(matches("/users/{id}/orders", "/users/7/orders"));
        assert!(matches("/users/*/orders", "/users/7/orders"));
        assert!(!matches("/users/{id}", "/users/7/orders") && !matches("/users/{id}", "/users"));
        assert!(matches("/**", "/") && matches("/", "/") && !matches("/", "/a"));
    }

    #[test]
    fn a_path_in_other_words_is_the_same_path() {
        for path in [
            "/orders/",
            "//orders",
            "/./orders",
            "/a/../orders",
            "/%6Frders",
            "/orders?a=/b",
            "/orders;a=b",
            "/orders#x",
            "orders",
            "/%2e/orders",
            "/x/%2E%2e/orders",
        ] {
            assert!(matches("/orders", path), "{path}");
        }
        for path in ["/Orders", "/orders%00", "/orders%", "/orders%zz", "/orders%2", "/", ""] {
            assert!(!matches("/orders", path), "{path}");
        }
        assert!(matches("/orders/regular", "/orders%2Fregular"));
        // Beyond ASCII, and in either case of the digits.
        for path in ["/café", "/caf%C3%A9", "/caf%c3%a9", "/%63af%c3%A9/"] {
            assert!(matches("/café", path), "{path}");
        }
        for path in ["/a%FF%0A%2B", "/a%ff%0a+", "/%61%Ff%0a%2b"] {
            assert!(matches("/a%FF%0A+", path), "{path}");
        }
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error() {
        for text in [
            "",
            "orders",
            "/a//b",
            "/a/",
            "/**/b",
            "/a*",
            "/{}",
            "/a{b}",
            "/../a",
            "/a?b",
            "/caf%C3%A9",
        ] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }
}
