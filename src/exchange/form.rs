//! Fields of forms and of query strings, read with errors in Kite's words.

use rust_decimal::Decimal;

use super::answer::ApiError;

/// `key=value` pairs, decoded.
#[derive(Debug, Default)]
pub(super) struct FormFields(Vec<(String, String)>);

impl FormFields {
    /// Reads `a=1&b=2`. Anything can be read so; what is not a form has no fields.
    pub(super) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The last value of `name`; none if it is missing or empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).last().filter(|value| !value.is_empty())
    }

    /// All values of `name`, in the order of the text.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Refuses fields that are not `known`, and fields that are repeated: which of the two values is meant
    /// cannot be told.
    pub(super) fn reject_unknown(&self, known: &[&str]) -> Result<(), ApiError> {
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

    /// Refuses another value of `name` than this, if there is one.
    pub(super) fn check_same(&self, name: &str, value: &str) -> Result<(), ApiError> {
        match self.get(name) {
            Some(other) if other != value => Err(Self::invalid(name)),
            _ => Ok(()),
        }
    }

    pub(super) fn require(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::input(format!("Missing or empty field `{name}`")))
    }

    /// A price. Zero stands for none, as clients send it.
    pub(super) fn price(&self, name: &str) -> Result<Option<Decimal>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let price = text
            .parse()
            .or_else(|_| Decimal::from_scientific(text))
            .map_err(|_| Self::invalid(name))?;
        Ok(Some(price).filter(|price| !price.is_zero()))
    }

    /// A whole number.
    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name).map(|text| text.parse().map_err(|_| Self::invalid(name))).transpose()
    }

    pub(super) fn invalid(name: &str) -> ApiError {
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
    fn what_is_said_twice_agrees() {
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
