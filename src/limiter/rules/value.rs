//! Which values of an entry a rule is about.

/// The values of one key that a rule describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValuePattern {
    text: String,
    /// The parts between the stars. One part is a value as it is.
    parts: Vec<String>,
}

impl ValuePattern {
    /// Parses a value. Each `*` in it stands for any number of characters.
    ///
    /// ```
    /// use lanekeeper::limiter::ValuePattern;
    ///
    /// assert!(ValuePattern::parse("files/*").matches("files/a.pdf"));
    /// assert!(ValuePattern::parse("/api/*/action").matches("/api/123/action"));
    /// assert!(!ValuePattern::parse("free").matches("freemium"));
    /// ```
    pub fn parse(text: &str) -> Self {
        Self { text: text.to_owned(), parts: text.split('*').map(str::to_owned).collect() }
    }

    /// Returns the pattern of one value, in which a star is a star.
    pub fn exact(value: &str) -> Self {
        Self { text: value.to_owned(), parts: vec![value.to_owned()] }
    }

    /// Returns whether it describes a value.
    pub fn matches(&self, value: &str) -> bool {
        let (first, rest) =
            self.parts.split_first().map_or(("", &[][..]), |(a, b)| (a.as_str(), b));
        let Some((last, middle)) = rest.split_last() else { return first == value };
        let Some(value) = value.strip_prefix(first) else { return false };
        let Some(mut value) = value.strip_suffix(last.as_str()) else { return false };
        for part in middle {
            let Some((_, after)) = value.split_once(part.as_str()) else { return false };
            value = after;
        }
        true
    }

    /// Returns whether it is a value as it is, without a star.
    pub fn is_exact(&self) -> bool {
        self.parts.len() == 1
    }

    /// Returns whether it describes every value.
    pub(super) fn is_any(&self) -> bool {
        !self.is_exact() && self.parts.iter().all(String::is_empty)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How much of a value it says. Of two patterns, the one that says more is the more specific one.
    pub(super) fn precision(&self) -> usize {
        self.parts.iter().map(String::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::ValuePattern;

    #[test]
    fn each_star_is_any_number_of_characters() {
        let matches = |pattern: &str, value: &str| ValuePattern::parse(pattern).matches(value);
        assert!(matches("a*", "a") && matches("a*", "abc") && !matches("a*", "ba"));
        assert!(matches("*", "") && matches("*", "x"));
        assert!(matches("/api/*/resource/*/action", "/api/v1/resource/123/action"));
        assert!(!matches("/api/*/action", "/api/123/other"));
        // The prefix and the suffix do not overlap.
        assert!(!matches("aba*aba", "aba") && !matches("aba*aba", "ababa"));
        assert!(
            matches("aba*aba", "abaaba") && matches("a*b*c", "abc") && !matches("a*bb*c", "abc")
        );
    }
}
