//! The fields of JSON objects that clients send, read with Kite's error messages.

use hyper::header::{CONTENT_TYPE, HeaderMap};
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use lanekeeper::broker::{Instrument, Product, Side};

use crate::http::form::FormFields;
use crate::http::response::ApiError;

/// Bounds a number, so that products and sums of what clients send fit into the arithmetic.
const MAX_NUMBER: i64 = 1_000_000_000;

/// An object in a body or in a field of a form. A field that is null counts as missing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JsonFields<'a>(&'a Map<String, Value>);

impl<'a> JsonFields<'a> {
    /// Reads `value`, which `name` names, as an object.
    pub(crate) fn object(value: &'a Value, name: &str) -> Result<Self, ApiError> {
        value.as_object().map(Self).ok_or_else(|| FormFields::invalid(name))
    }

    /// Reads `value`, which `name` names, as a list of objects with at least one element.
    pub(crate) fn list(value: &'a Value, name: &str) -> Result<Vec<Self>, ApiError> {
        match value.as_array() {
            Some(values) if !values.is_empty() => {
                values.iter().map(|value| Self::object(value, name)).collect()
            }
            _ => Err(FormFields::invalid(name)),
        }
    }

    pub(crate) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn require(self, name: &str) -> Result<&'a Value, ApiError> {
        self.get(name).ok_or_else(|| missing(name))
    }

    /// Returns a text that is not empty.
    pub(crate) fn text(self, name: &str) -> Result<&'a str, ApiError> {
        match self.require(name)?.as_str() {
            Some("") => Err(missing(name)),
            Some(text) => Ok(text),
            None => Err(FormFields::invalid(name)),
        }
    }

    /// Returns a number of at least zero, or `None` if it is missing.
    pub(crate) fn number(self, name: &str) -> Result<Option<Decimal>, ApiError> {
        self.get(name)
            .map(|value| parse_number(value).ok_or_else(|| FormFields::invalid(name)))
            .transpose()
    }

    /// Returns a number that is more than zero.
    pub(crate) fn positive(self, name: &str) -> Result<Decimal, ApiError> {
        let number = self.number(name)?.ok_or_else(|| missing(name))?;
        match number.is_zero() {
            false => Ok(number),
            true => Err(FormFields::invalid(name)),
        }
    }

    /// Returns a whole quantity of at least one.
    pub(crate) fn quantity(self) -> Result<Decimal, ApiError> {
        let quantity = self.positive("quantity")?;
        match quantity.fract().is_zero() {
            true => Ok(quantity),
            false => Err(FormFields::invalid("quantity")),
        }
    }

    /// Returns the instrument that `exchange` and `tradingsymbol` name.
    pub(crate) fn instrument(self) -> Result<Instrument, ApiError> {
        Ok(Instrument::new(self.text("exchange")?, self.text("tradingsymbol")?))
    }

    pub(crate) fn product(self) -> Result<Product, ApiError> {
        match Product::from(self.text("product")?) {
            Product::Other(_) => Err(FormFields::invalid("product")),
            known => Ok(known),
        }
    }

    pub(crate) fn side(self) -> Result<Side, ApiError> {
        match self.text("transaction_type")? {
            "BUY" => Ok(Side::Buy),
            "SELL" => Ok(Side::Sell),
            _ => Err(FormFields::invalid("transaction_type")),
        }
    }
}

/// Returns a number between zero and [`MAX_NUMBER`]. A number in quotes is none.
pub(crate) fn parse_number(value: &Value) -> Option<Decimal> {
    let text = value.as_number()?.to_string();
    let number = text.parse().or_else(|_| Decimal::from_scientific(&text)).ok()?;
    (Decimal::ZERO..=Decimal::from(MAX_NUMBER)).contains(&number).then_some(number)
}

/// Parses the JSON of a body, which must be declared as JSON.
pub(crate) fn parse_body(headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // Parameters may follow, as in `application/json; charset=utf-8`.
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::input(
            "The request needs the header `Content-Type: application/json`.",
        ));
    }
    serde_json::from_slice(body).map_err(|_| ApiError::input("Invalid JSON in the request body."))
}

/// Parses the JSON in the field `name` of a form.
pub(crate) fn parse_field(form: &FormFields, name: &str) -> Result<Value, ApiError> {
    serde_json::from_str(form.require(name)?).map_err(|_| FormFields::invalid(name))
}

fn missing(name: &str) -> ApiError {
    ApiError::input(format!("Missing or empty field `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use serde_json::json;

    #[test]
    fn numbers_are_read_or_refused() {
        for (text, expected) in [
            ("702.5", "702.5"),
            ("1e2", "100"),
            ("0", "0"),
            ("99725.05000000002", "99725.05000000002"),
        ] {
            let value = serde_json::from_str(text).unwrap();
            assert_eq!(parse_number(&value), Some(expected.parse().unwrap()), "{text}");
        }
        for text in ["-1", "1e10", "1e400", "\"1\"", "true", "null", "[1]"] {
            assert_eq!(parse_number(&serde_json::from_str(text).unwrap()), None, "{text}");
        }
    }

    #[test]
    fn a_body_is_declared_as_json() {
        let parse = |kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            parse_body(&headers, b"[1]")
        };
        for kind in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(parse(kind), Ok(json!([1])), "{kind}");
        }
        for kind in ["", "application/x-www-form-urlencoded", "text/json", "application/jsonx"] {
            assert!(parse(kind).is_err(), "{kind}");
        }
        assert!(parse_body(&HeaderMap::new(), b"[1]").is_err());
    }

    #[test]
    fn fields_are_required_by_kind() {
        let value = json!({"a": "x", "empty": "", "none": null, "quantity": 1.5, "zero": 0});
        let fields = JsonFields::object(&value, "order").unwrap();
        assert_eq!(fields.text("a"), Ok("x"));
        for name in ["empty", "none", "absent"] {
            assert_eq!(fields.text(name), Err(missing(name)), "{name}");
        }
        assert_eq!(fields.text("zero"), Err(FormFields::invalid("zero")));
        assert_eq!(fields.positive("zero"), Err(FormFields::invalid("zero")));
        assert_eq!(fields.number("absent"), Ok(None));
        assert_eq!(fields.quantity(), Err(FormFields::invalid("quantity")));
        for wrong in [json!([]), json!({}), json!([1]), json!("x")] {
            assert!(JsonFields::list(&wrong, "orders").is_err(), "{wrong}");
        }
    }
}
