//! One pattern of a route table: a method, and a path with wildcards.

use super::path::check_segment;

/// A method and a path, as in `GET /orders/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// `None` is any method.
    method: Option<String>,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    /// Any number of segments, at the end.
    Rest,
    /// The end of the path. Before it comes what is less precise.
    End,
    /// One segment.
    Any,
    /// This segment.
    Exactly(String),
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (method, path) = text
            .split_once(' ')
            .ok_or_else(|| "write a method and a path, as in `GET /orders/*`".to_owned())?;
        let is_word = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
        let method = match method {
            "*" => None,
            "HEAD" => return Err("a route of `GET` describes `HEAD` too".to_owned()),
            _ if is_word => Some(method.to_owned()),
            _ => return Err(format!("`{method}` is no method in capital letters, and no `*`")),
        };
        let rest = path
            .strip_prefix('/')
            .ok_or_else(|| format!("the path `{path}` does not begin with a slash"))?;
        let mut segments = match rest {
            "" => Vec::new(),
            _ => rest.split('/').map(Segment::parse).collect::<Result<_, _>>()?,
        };
        let inner = segments.split_last().map_or(&[][..], |(_, inner)| inner);
        if inner.contains(&Segment::Rest) {
            return Err("`**` can only be the last segment".to_owned());
        }
        if segments.last() != Some(&Segment::Rest) {
            segments.push(Segment::End);
        }
        Ok(Self { method, segments })
    }

    /// Returns whether it describes a request with this path, which is in its canonical form.
    pub(super) fn matches(&self, method: &str, path: &str) -> bool {
        if self.method.as_ref().is_some_and(|known| known != method) {
            return false;
        }
        let rest = path.strip_prefix('/').unwrap_or(path);
        let mut parts = rest.split('/').filter(|part| !part.is_empty());
        for segment in &self.segments {
            match (segment, parts.next()) {
                (Segment::Rest, _) | (Segment::End, None) => return true,
                (Segment::Any, Some(_)) => {}
                (Segment::Exactly(text), Some(part)) if text == part => {}
                _ => return false,
            }
        }
        false
    }

    /// Orders the patterns that match one path, the most precise last.
    pub(super) fn precision(&self) -> impl Ord + '_ {
        (&self.segments, self.method.is_some())
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "**" => Ok(Self::Rest),
            "*" => Ok(Self::Any),
            _ if text.contains('*') => {
                Err(format!("`{text}`: a wildcard is a whole segment, `*` or `**`"))
            }
            _ => match check_segment(text) {
                Ok(()) => Ok(Self::Exactly(text.to_owned())),
                Err(why) => Err(format!("no path has the segment `{text}`: {why}")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches("GET", path)
    }

    #[test]
    fn a_star_is_one_segment_and_two_are_any_number() {
        assert!(matches("GET /orders", "/orders"));
        assert!(!matches("GET /orders", "/orders/1"));
        assert!(!matches("GET /orders/*", "/orders"));
        assert!(matches("GET /orders/*", "/orders/1"));
        assert!(!matches("GET /orders/*", "/orders/1/trades"));
        assert!(matches("GET /orders/**", "/orders"));
        assert!(matches("GET /orders/**", "/orders/1/trades"));
        assert!(!matches("GET /orders/**", "/ordersx"));
        assert!(matches("* /**", "/") && matches("GET /", "/") && !matches("GET /", "/a"));
        assert!(!matches("POST /orders", "/orders"));
    }

    #[test]
    fn a_pattern_that_describes_nothing_is_an_error() {
        for text in [
            "",
            "/orders",
            "GET",
            "GET orders",
            "get /orders",
            "GET  /orders",
            "GET /a//b",
            "GET /a/",
            "GET /a/**/b",
            "GET /a*",
            "GET /../a",
            "GET /a?b",
            "HEAD /a",
            "GET /a b",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
