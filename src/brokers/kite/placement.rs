//! The answer to a placement, which may have become several orders.
//!
//! Kite divides an order with `autoslice=true`, and answers with the parent's `order_id` and a list of
//! `children`, each with an `order_id` or an `error`. The parent is not a name alone: **it is the first
//! slice**, an order in the market like its children. Before March 2026 the answer was one flat list, of
//! which the first entry is the `order_id` of today (kiteconnect-mocks 37); Kite's Java client counts the
//! parent among the orders placed; and the order book marks the children with `autoslice:` and the
//! parent's id (kite.trade/forum, comment 51301). So an answer in which every child was refused leaves the
//! first slice in the market.
//!
//! The error of a child is classified like a whole answer: most say that the slice was refused; some, like
//! a time-out, leave its outcome open.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::classify;
use super::classify::ResponseError;
use super::de::{Num, Text};
use super::order_id::order_id;
use super::response::RawResponse;
use crate::Effect;
use crate::broker::{BrokerError, ErrorDetail, OrderId, OrderRequest, Slice, SlicedOrder, Variety};

/// Kite's answer to a placement.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WirePlacement {
    order_id: Text,
    children: Value,
}

/// Far more slices than Kite makes of one order (10).
const MAX_CHILDREN: usize = 1000;

/// Builds the outcome of the placement of `order`. `is_new` returns whether an id can be that of a new order, and is
/// called once for each id.
///
/// # Errors
/// The answer has no id, an id that is not new, or more children than Kite can make: the order must be
/// searched for. The message names the children that were placed.
pub(super) fn sliced_order(
    placed: WirePlacement,
    order: &OrderRequest,
    mut is_new: impl FnMut(&str) -> bool,
) -> Result<SlicedOrder, ResponseError> {
    let variety = &order.variety;
    // Checked before the children, none of which has its id.
    let parent = placed
        .order_id
        .required("order_id")
        .map_err(ResponseError::from)
        .and_then(|number| new_id(variety, &number, &mut is_new));
    let children = match placed.children {
        Value::Null => Vec::new(),
        Value::Array(children) if children.len() <= MAX_CHILDREN => {
            children.iter().map(|child| slice(child, variety, &mut is_new)).collect()
        }
        Value::Array(children) => return Err(format!("it has {} children", children.len()).into()),
        other => vec![unknown_slice("its children are no list", &other)],
    };
    let parent = match parent {
        Ok(parent) => parent,
        Err(why) if children.is_empty() => return Err(why),
        Err(why) => {
            return Err(
                why.with_context(&SlicedOrder::new(None, order.quantity, children).to_string())
            );
        }
    };
    if children.is_empty() {
        return Ok(SlicedOrder::single(parent, order.quantity));
    }
    let slices = std::iter::once(Slice::placed(parent.clone())).chain(children);
    Ok(SlicedOrder::new(Some(parent), order.quantity, slices))
}

/// Returns the id of a new order.
fn new_id(
    variety: &Variety,
    number: &str,
    is_new: &mut impl FnMut(&str) -> bool,
) -> Result<OrderId, ResponseError> {
    let id = order_id(variety, number)?;
    if is_new(number) {
        return Ok(id);
    }
    Err(ResponseError::WrongRequest(format!("its order_id {number:?} is that of another order")))
}

fn slice(child: &Value, variety: &Variety, is_new: &mut impl FnMut(&str) -> bool) -> Slice {
    let id = child.get("order_id").and_then(|id| Text::deserialize(id).ok()?.0);
    match (id, child.get("error").filter(|error| !error.is_null())) {
        (Some(id), None) => match new_id(variety, &id, is_new) {
            Ok(id) => Slice::placed(id),
            Err(ResponseError::Unreadable(why) | ResponseError::WrongRequest(why)) => {
                unknown_slice(&why, child)
            }
        },
        (None, Some(Value::Object(error))) => refused_slice(error),
        (None, None) => unknown_slice("a slice has neither an order_id nor an error", child),
        (Some(_), Some(_)) => unknown_slice("a slice has an order_id and an error", child),
        (None, Some(_)) => unknown_slice("the error of a slice cannot be read", child),
    }
}

/// Classifies the error of a child by the rules for whole answers: its `code` is the status.
fn refused_slice(error: &Map<String, Value>) -> Slice {
    let status = error.get("code").and_then(|code| Num::from(code).0?.try_into().ok());
    let mut envelope = error.clone();
    envelope.remove("code");
    envelope.insert("status".to_owned(), "error".into());
    let answer = RawResponse {
        status: status.unwrap_or_default(),
        body: Value::Object(envelope).to_string().into_bytes(),
        ..RawResponse::default()
    };
    match classify::classify_refusal(&answer, Effect::Write) {
        BrokerError::Throttled { retry_after, detail } => {
            Slice::rejected(detail.throttled(retry_after))
        }
        BrokerError::Rejected(detail)
        | BrokerError::Unauthorized(detail)
        | BrokerError::Fatal(detail) => Slice::rejected(detail),
        other => Slice::unknown(other.detail().cloned().unwrap_or_default()),
    }
}

/// Not shortened here: secrets must be removed first.
fn unknown_slice(why: &str, what: &Value) -> Slice {
    Slice::unknown(ErrorDetail::new(format!("{why}: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Instrument, Side, SliceOutcome};

    fn read(data: &str) -> Result<SlicedOrder, ResponseError> {
        let order = OrderRequest::market(Instrument::new("NFO", "X"), Side::Buy, 5000);
        sliced_order(serde_json::from_str(data).unwrap(), &order, |_| true)
    }

    fn why_not(data: &str) -> String {
        match read(data) {
            Err(ResponseError::Unreadable(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    /// A child with this error, and whether it was refused.
    fn is_refused(error: &str) -> bool {
        let order =
            read(&format!(r#"{{"order_id":"1","children":[{{"error":{error}}}]}}"#)).unwrap();
        assert_eq!((order.slices.len(), order.placed().count()), (2, 1), "{error}");
        matches!(order.slices[1].outcome, SliceOutcome::Rejected(_))
    }

    #[test]
    fn the_parent_is_the_first_slice() {
        let order =
            read(r#"{"order_id":"1","children":[{"order_id":"2"},{"order_id":3}]}"#).unwrap();
        let ids: Vec<&str> = order.placed().map(OrderId::as_str).collect();
        assert_eq!((ids, order.is_placed()), (vec!["1", "2", "3"], true));
        assert_eq!(order.complete(), Ok(OrderId::new("1")));
    }

    #[test]
    fn an_order_without_children_is_one() {
        for children in ["", r#","children":null"#, r#","children":[]"#] {
            let order = read(&format!(r#"{{"order_id":"1"{children}}}"#)).unwrap();
            assert_eq!(order, SlicedOrder::single(OrderId::new("1"), 5000));
        }
    }

    #[test]
    fn a_child_is_refused_only_where_its_error_says_so() {
        let error = |code: &str, kind: &str, message: &str| {
            is_refused(&format!(
                r#"{{"code":{code},"error_type":"{kind}","message":"{message}","data":null}}"#
            ))
        };
        assert!(error("400", "MarginException", "Insufficient funds."));
        assert!(error("\"400\"", "InputException", "No"));
        assert!(error("429", "NetworkException", "Too many requests"));
        assert!(error("403", "TokenException", "Dead"));
        assert!(!error(
            "400",
            "OrderException",
            "Order request timed out. Please check the order book"
        ));
        assert!(!error("504", "NetworkException", "The order system did not answer in time."));
        assert!(!error("400", "GeneralException", "Something went wrong"));
        assert!(!error("null", "MarginException", "Insufficient funds."));
        assert!(!is_refused(
            r#"{"code":400,"error_type":"InputException","data":{"order_id":"9"}}"#
        ));
        assert!(!is_refused("{}"));
    }

    #[test]
    fn a_child_that_cannot_be_read_is_not_dropped() {
        for child in ["{}", "7", "null", "[]", r#"{"error":"no"}"#, r#"{"order_id":""}"#] {
            let order =
                read(&format!(r#"{{"order_id":"1","children":[{child},{{"order_id":"3"}}]}}"#));
            let order = order.unwrap();
            assert_eq!((order.slices.len(), order.unknown().count()), (3, 1), "{child}");
        }
        let both = r#"{"order_id":"1","children":[{"order_id":"2","error":{"code":400}}]}"#;
        let order = read(both).unwrap();
        assert!(order.unknown().next().unwrap().message.contains(r#""order_id":"2""#));
        for children in ["7", r#""all""#, r#"{"order_id":"2"}"#] {
            let order = read(&format!(r#"{{"order_id":"1","children":{children}}}"#)).unwrap();
            assert_eq!((order.slices.len(), order.unknown().count()), (2, 1), "{children}");
            assert!(matches!(order.complete(), Err(BrokerError::PartlyPlaced(_))));
        }
    }

    #[test]
    fn children_without_a_parent_are_named() {
        assert_eq!(why_not("{}"), "it has no order_id");
        let why = why_not(r#"{"children":[{"order_id":"2"},{"error":{}},{"order_id":"3"}]}"#);
        assert!(why.starts_with("it has no order_id; 2 of 3 slices placed (2, 3), "), "{why}");
        let many = format!(r#"{{"order_id":"1","children":[{}]}}"#, vec!["{}"; 1001].join(","));
        assert_eq!(why_not(&many), "it has 1001 children");
    }

    #[test]
    fn a_slice_goes_by_its_variety() {
        let order = OrderRequest::market(Instrument::new("NFO", "X"), Side::Buy, 5000);
        let data = r#"{"order_id":"1","children":[{"order_id":"2"}]}"#;
        let order =
            sliced_order(serde_json::from_str(data).unwrap(), &order.variety(Variety::Amo), |_| {
                true
            });
        let ids: Vec<String> = order.unwrap().placed().map(ToString::to_string).collect();
        assert_eq!(ids, ["amo/1", "amo/2"]);
    }
}
