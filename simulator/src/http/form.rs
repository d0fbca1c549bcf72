//! The fields of forms and of query strings, read with Kite's error messages.

use rust_decimal::Decimal;

use super::response::ApiError;

/// Decoded `key=value` pairs.
#[derive(Debug, Default)]
pub(crate) struct FormFields(Vec<(String, String)>);

impl FormFields {
    /// Parses `a=1&b=2`. Bytes that are not a form parse too, and contain no known field.
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// Returns the last value of `name`, or `None` if it is missing or empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).last().filter(|value| !value.is_empty())
    }

    /// Returns all values of `name`, in the order of the text.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the names of all fields, in the order of the text.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Rejects fields that are not `known`, and repeated fields: which of two values is meant is unknown.
    pub(crate) fn reject_unknown(&self, known: &[&str]) -> Result<(), ApiError> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            let what = match () {
                () if !known.contains(&name.as_str()) => "unknown",
                () if self.0.iter().take(at).any(|(before, _)| before == name) => "repeated",
                () => continue,
            };
            return Err(ApiError::input(format!("Invalid request ({what} field `{name}`)")));
        }
        Ok(())
    }

    /// Rejects a form in which `name` has a value other than this.
    pub(crate) fn check_same(&self, name: &str, value: &str) -> Result<(), ApiError> {
        match self.get(name) {
            Some(other) if other != value => Err(Self::invalid(name)),
            _ => Ok(()),
        }
    }

    pub(crate) fn require(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::input(format!("Missing or empty field `{name}`")))
    }

    /// Returns a price. Clients send zero for no price.
    pub(crate) fn price(&self, name: &str) -> Result<Option<Decimal>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let price = text
            .parse()
            .or_else(|_| Decimal::from_scientific(text))
            .map_err(|_| Self::invalid(name))?;
        Ok(Some(price).filter(|price| !price.is_zero()))
    }

    /// Returns a whole number.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name).map(|text| text.parse().map_err(|_| Self::invalid(name))).transpose()
    }

    pub(crate) fn invalid(name: &str) -> ApiError {
        ApiError::input(format!("Invalid `{name}`."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_the_last_counts() {
        let fields = FormFields::parse(b"tag=a&tradingsymbol=M%26M&tag=b+c&empty=&i=1&i=2");
        assert_eq!(fields.get("tradingsymbol"), Some("M&M"));
        assert_eq!(fields.get("tag"), Some("b c"));
        assert_eq!(fields.get("empty"), None);
        assert_eq!(fields.all("i").collect::<Vec<_>>(), ["1", "2"]);
        assert!(fields.require("absent").is_err());
    }

    #[test]
    fn unknown_and_repeated_fields_are_refused() {
        let only = |text: &str| FormFields::parse(text.as_bytes()).reject_unknown(&["a", "b"]);
        for text in ["", "a=1&b=2", "b=&a="] {
            assert_eq!(only(text), Ok(()), "{text}");
        }
        for (text, what) in [
            ("a=1&c=2", "unknown field `c`"),
            ("a=1&b=2&a=1", "repeated field `a`"),
            ("=1", "unknown field ``"),
            ("A=1", "unknown field `A`"),
            ("%61=1&a=1", "repeated field `a`"),
        ] {
            assert_eq!(
                only(text),
                Err(ApiError::input(format!("Invalid request ({what})"))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_repeated_value_must_agree() {
        let fields = FormFields::parse(b"variety=regular&tag=");
        assert_eq!(fields.check_same("variety", "regular"), Ok(()));
        assert!(fields.check_same("variety", "amo").is_err());
        assert_eq!((fields.check_same("tag", "x"), fields.check_same("no", "x")), (Ok(()), Ok(())));
    }

    #[test]
    fn numbers_are_read_or_refused() {
        let fields =
            FormFields::parse(b"a=99725.05000000002&b=1e-05&c=0&d=ten&e=10&f=10.5&g=1e400");
        let price = |name| fields.price(name);
        assert_eq!(price("a"), Ok(Some("99725.05000000002".parse().unwrap())));
        assert_eq!(price("b"), Ok(Some("0.00001".parse().unwrap())));
        assert_eq!(price("c"), Ok(None));
        assert_eq!(price("absent"), Ok(None));
        assert!(price("d").is_err() && price("g").is_err());
        assert_eq!(fields.integer("e"), Ok(Some(10)));
        assert!(fields.integer("f").is_err());
    }

    #[test]
    fn bytes_that_are_no_form_do_no_harm() {
        for bytes in [&b"\xff\xfe=%zz&&&=&%"[..], b"{\"quantity\":1}", b""] {
            assert!(FormFields::parse(bytes).require("quantity").is_err());
        }
    }
}
