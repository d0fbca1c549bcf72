//! Order ids, and the paths made of them.
//!
//! To change or cancel an order, Kite requires its variety as well as its number. So an id carries the variety, where
//! it is not the regular one: `amo/151220000000000`. Everything that becomes part of a path is checked here, and only
//! letters, digits, `-` and `_` are allowed. So no id can change the path, and nothing needs to be encoded.
//!
//! The same rule holds for the ids that Kite sends. Kite documents digits; the rule is wider, as nothing depends on
//! digits. An id that violates it never becomes an [`OrderId`], so every [`OrderId`] can be used.

use super::http::not_sent_error;
use super::secrets::truncate;
use crate::broker::{BrokerError, OrderId, Variety};

/// Longer than any id Kite gives (19 digits).
const MAX_SEGMENT_LENGTH: usize = 64;

/// Returns the id by which this adapter finds the order `number` again.
///
/// # Errors
/// The variety or the number cannot be part of a path.
pub(super) fn order_id(variety: &Variety, number: &str) -> Result<OrderId, String> {
    let number = check_segment("order id", number)?;
    Ok(match variety {
        Variety::Regular => OrderId::new(number),
        other => {
            OrderId::new(format!("{}/{number}", check_segment("order variety", other.as_str())?))
        }
    })
}

/// Returns whether `text` can be the number of an order.
pub(super) fn is_order_number(text: &str) -> bool {
    check_segment("order id", text).is_ok()
}

/// Returns Kite's number of the order.
pub(super) fn order_number(id: &OrderId) -> Result<&str, BrokerError> {
    split_id(id).map(|(_, number)| number)
}

/// Returns `variety/number`, as used in paths.
pub(super) fn order_path(id: &OrderId) -> Result<String, BrokerError> {
    let (variety, number) = split_id(id)?;
    Ok(format!("{variety}/{number}"))
}

/// Returns `text` if it can be a path segment as it is.
pub(super) fn path_segment<'a>(what: &str, text: &'a str) -> Result<&'a str, BrokerError> {
    check_segment(what, text).map_err(|why| not_sent_error(truncate(&why)))
}

fn check_segment<'a>(what: &str, text: &'a str) -> Result<&'a str, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=MAX_SEGMENT_LENGTH).contains(&text.len()) && text.bytes().all(is_plain) {
        return Ok(text);
    }
    Err(format!("no {what}, which is 1 to {MAX_SEGMENT_LENGTH} letters, digits, - and _: {text:?}"))
}

fn split_id(id: &OrderId) -> Result<(&str, &str), BrokerError> {
    let (variety, number) = id.as_str().split_once('/').unwrap_or(("regular", id.as_str()));
    Ok((path_segment("order variety", variety)?, path_segment("order id", number)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_regular_variety_goes_without_saying() {
        let plain = order_id(&Variety::Regular, "151220000000000").unwrap();
        assert_eq!(plain.as_str(), "151220000000000");
        assert_eq!(order_path(&plain).unwrap(), "regular/151220000000000");
        let amo = order_id(&Variety::Amo, "151220000000000").unwrap();
        assert_eq!(amo.as_str(), "amo/151220000000000");
        assert_eq!(order_path(&amo).unwrap(), "amo/151220000000000");
        assert_eq!(order_number(&amo).unwrap(), "151220000000000");
    }

    #[test]
    fn no_id_leaves_its_place_in_the_path() {
        for id in
            ["", "../user", "amo/", "/1", "amo/../1", "amo/1/2", "1?x=1", "1#", "1 2", "%2e", "१"]
        {
            let error = order_number(&OrderId::new(id)).unwrap_err();
            assert!(matches!(error, BrokerError::NotSent(_)), "{id}");
            // Nor does one that the broker sent become an id.
            let whole = id.split_once('/').unwrap_or(("regular", id));
            assert!(order_id(&Variety::from(whole.0), whole.1).is_err(), "{id}");
        }
        assert!(order_number(&OrderId::new("1".repeat(65))).is_err());
    }
}
