//! What Kite's wire means, as pure functions: for a program that sends Kite's HTTP by its own client.
//!
//! [`Kite`](super::Kite) writes a request, sends it and reads the answer. A proxy that forwards the requests of other
//! clients byte for byte needs the reading alone: whether an answer is a success, and if not, whether the call was
//! executed; which order an answer names; which order a client's form describes.
//!
//! ```
//! use lanekeeper::brokers::kite::wire::{self, WireAnswer};
//! use lanekeeper::{BrokerError, OrderId};
//!
//! // The client's request: POST /orders/regular
//! let form = "exchange=NSE&tradingsymbol=INFY&transaction_type=BUY&order_type=LIMIT&quantity=10&price=1500.5\
//!             &product=CNC&validity=DAY&tag=alpha1";
//! let pairs: Vec<(String, String)> = form
//!     .split('&')
//!     .filter_map(|pair| pair.split_once('='))
//!     .map(|(name, value)| (name.to_owned(), value.to_owned()))
//!     .collect();
//! let order = wire::read_placement_form("regular", &pairs)?;
//! assert_eq!((order.instrument.as_str(), order.tag.as_deref()), ("NSE:INFY", Some("alpha1")));
//!
//! // Kite's answer.
//! let placed = WireAnswer::new(200, r#"{"status":"success","data":{"order_id":"151220000000000"}}"#);
//! let placed = wire::read_placement_answer(&placed, &order)?;
//! assert_eq!(placed.complete()?, OrderId::new("151220000000000"));
//!
//! // An answer of a gateway in front of Kite: the order may have been placed.
//! let lost = WireAnswer::new(502, "<html><title>Bad gateway</title>");
//! assert!(matches!(wire::read_placement_answer(&lost, &order), Err(BrokerError::OutcomeUnknown(_))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here keeps a state. So the ids of orders that were seen before are not known here, and an answer that
//! belongs to another placement is not told from the right one, as [`Kite`](super::Kite) does.

mod answer;
mod body;
mod form;

pub use self::answer::{WireAnswer, check_answer, read_order_answer, read_placement_answer};
pub use self::body::{error_body, order_body, placement_body};
pub use self::form::{WireFormError, read_change_form, read_placement_form};
use crate::broker::{OrderId, Variety};

/// Returns the id of an order by the segments of its path, `/orders/{variety}/{number}`.
///
/// The id of an order whose variety is not `regular` carries the variety, see [`Kite`](super::Kite). If a segment can be
/// no part of an id, no order has the id that is returned: [`read_order_answer`] never accepts it.
///
/// ```
/// use lanekeeper::brokers::kite::wire::order_id;
///
/// assert_eq!(order_id("regular", "151220000000000").as_str(), "151220000000000");
/// assert_eq!(order_id("amo", "151220000000000").as_str(), "amo/151220000000000");
/// ```
pub fn order_id(variety: &str, number: &str) -> OrderId {
    // With the variety before it, a number that cannot be one stays recognisable as such: as `a/1` alone it would be
    // the order 1 of the variety `a`.
    super::order_id::order_id(&Variety::from(variety), number)
        .unwrap_or_else(|_| OrderId::new(format!("{variety}/{number}")))
}

#[cfg(test)]
mod tests {
    use super::super::order_id::order_number;
    use super::*;

    #[test]
    fn an_id_carries_a_variety_that_is_not_regular() {
        assert_eq!(order_id("regular", "1").as_str(), "1");
        for variety in ["amo", "co", "iceberg", "auction", "of_next_year"] {
            assert_eq!(order_id(variety, "1").as_str(), format!("{variety}/1"));
        }
    }

    #[test]
    fn segments_that_make_no_id_make_one_that_no_order_has() {
        for (variety, number) in [
            ("regular", "amo/1"),
            ("regular", ""),
            ("", "1"),
            ("amo/1", "2"),
            ("a b", "1"),
            ("", ""),
        ] {
            let id = order_id(variety, number);
            assert!(order_number(&id).is_err(), "{id}");
        }
    }
}
