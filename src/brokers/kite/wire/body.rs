//! Bodies in Kite's shape, for answers that Kite itself did not send.

use serde_json::{Value, json};

use crate::broker::{OrderId, Slice, SliceOutcome, SlicedOrder};

/// Returns the body of an error of Kite. `error_type` is one of
/// [Kite's exceptions](https://kite.trade/docs/connect/v3/exceptions/), by which its clients choose the class of the
/// error that they raise.
///
/// ```
/// use lanekeeper::brokers::kite::wire::error_body;
///
/// assert_eq!(
///     error_body("NetworkException", "Too many requests"),
///     r#"{"status":"error","message":"Too many requests","error_type":"NetworkException"}"#
/// );
/// ```
pub fn error_body(error_type: &str, message: &str) -> String {
    let (error_type, message) = (Value::from(error_type), Value::from(message));
    format!(r#"{{"status":"error","message":{message},"error_type":{error_type}}}"#)
}

/// Returns the body of a successful placement, change or cancellation of the order `id`. It has Kite's number of the
/// order, without the variety.
///
/// ```
/// use lanekeeper::OrderId;
/// use lanekeeper::brokers::kite::wire::order_body;
///
/// assert_eq!(
///     order_body(&OrderId::new("amo/151220000000000")),
///     r#"{"status":"success","data":{"order_id":"151220000000000"}}"#
/// );
/// ```
pub fn order_body(id: &OrderId) -> String {
    format!(r#"{{"status":"success","data":{{"order_id":{}}}}}"#, Value::from(number(id)))
}

/// Returns the body of a successful placement. The slices of an order that Kite divided are its `children`, but for the
/// first, which is the order itself. `None` if no slice was placed, since that is no success.
///
/// A slice of unknown outcome is a child with an error that says so: Kite has no other place for it.
///
/// ```
/// use lanekeeper::OrderId;
/// use lanekeeper::broker::{Slice, SlicedOrder};
/// use lanekeeper::brokers::kite::wire::placement_body;
///
/// let slices = ["1", "2"].map(|id| Slice::placed(OrderId::new(id)));
/// let order = SlicedOrder::new(Some(OrderId::new("1")), 3600, slices);
/// assert_eq!(
///     placement_body(&order).as_deref(),
///     Some(r#"{"status":"success","data":{"order_id":"1","children":[{"order_id":"2"}]}}"#)
/// );
/// ```
pub fn placement_body(order: &SlicedOrder) -> Option<String> {
    let mut slices: Vec<&Slice> = order.slices.iter().collect();
    let is_parent = |slice: &&Slice| slice.id().is_some() && slice.id() == order.parent.as_ref();
    let is_placed = |slice: &&Slice| slice.id().is_some();
    let at = slices.iter().position(is_parent).or_else(|| slices.iter().position(is_placed))?;
    let first = slices.remove(at).id()?;
    let children: Vec<Value> = slices.into_iter().map(|slice| child(&slice.outcome)).collect();
    if children.is_empty() {
        return Some(order_body(first));
    }
    let (first, children) = (Value::from(number(first)), Value::from(children));
    Some(format!(r#"{{"status":"success","data":{{"order_id":{first},"children":{children}}}}}"#))
}

/// Returns Kite's form of a slice after the first.
fn child(outcome: &SliceOutcome) -> Value {
    let (code, default, detail) = match outcome {
        SliceOutcome::Placed(id) => return json!({ "order_id": number(id) }),
        SliceOutcome::Rejected(detail) => (400, "OrderException", detail),
        // What Kite says when its order system did not answer.
        SliceOutcome::Absent(detail) | SliceOutcome::Unknown(detail) => {
            (503, "NetworkException", detail)
        }
    };
    let error_type = detail.code.as_deref().unwrap_or(default);
    let message = &detail.message;
    json!({ "error": { "code": code, "error_type": error_type, "message": message, "data": null } })
}

/// Returns Kite's number of an order.
fn number(id: &OrderId) -> &str {
    id.as_str().rsplit_once('/').map_or(id.as_str(), |(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::super::{WireAnswer, check_answer, read_order_answer, read_placement_answer};
    use super::*;
    use crate::broker::{ErrorDetail, Instrument, OrderRequest, Side, Variety};
    use crate::{Effect, ErrorClass};

    fn read(order: &SlicedOrder) -> SlicedOrder {
        let request = OrderRequest::market(Instrument::new("NFO", "X"), Side::Buy, order.quantity);
        let answer = WireAnswer::new(200, placement_body(order).unwrap());
        read_placement_answer(&answer, &request.variety(Variety::Amo)).unwrap()
    }

    #[test]
    fn an_error_is_read_as_what_it_is() {
        let class = |status, error_type, message: &str| {
            let answer = WireAnswer::new(status, error_body(error_type, message));
            check_answer(&answer, Effect::Write).unwrap_err().class()
        };
        let throttled = ErrorClass::Throttled { retry_after: None };
        assert_eq!(class(429, "NetworkException", "the queue is full"), throttled);
        assert_eq!(class(503, "NetworkException", "no answer"), ErrorClass::Unknown);
        assert_eq!(class(403, "TokenException", "\"x\"\n"), ErrorClass::Unauthorized);
        assert_eq!(class(400, "InputException", "Invalid `quantity`."), ErrorClass::Rejected);
        let answer = WireAnswer::new(400, error_body("InputException", "a \"b\"\\\n\u{1}"));
        let error = check_answer(&answer, Effect::Write).unwrap_err();
        assert_eq!(error.detail().unwrap().message, "a \"b\"\\\n\u{1}");
        assert_eq!(error.detail().unwrap().code.as_deref(), Some("InputException"));
    }

    #[test]
    fn an_order_is_named_by_its_number() {
        for id in ["151220000000000", "amo/151220000000000"].map(OrderId::new) {
            let answer = WireAnswer::new(200, order_body(&id));
            assert_eq!(read_order_answer(&answer, &id).unwrap(), id);
        }
        let odd = order_body(&OrderId::new("amo/\"x"));
        assert_eq!(odd, r#"{"status":"success","data":{"order_id":"\"x"}}"#);
    }

    #[test]
    fn the_slices_of_an_order_are_read_back() {
        let id = |number: &str| OrderId::new(format!("amo/{number}"));
        let single = SlicedOrder::single(id("1"), 5000);
        assert_eq!(read(&single), single);
        let refused = ErrorDetail::new("no funds").code("MarginException");
        let slices = [
            Slice::placed(id("1")),
            Slice::placed(id("2")),
            Slice::rejected(refused),
            Slice::rejected(ErrorDetail::new("order 4: too far from the last price")),
            Slice::unknown(ErrorDetail::new("the answer was lost")),
            Slice::absent(ErrorDetail::new("the order book lacks it")),
            Slice::placed(id("3")),
        ];
        let order = SlicedOrder::new(Some(id("1")), 5000, slices);
        let again = read(&order);
        assert_eq!(again.parent, order.parent);
        let outcomes = |order: &SlicedOrder| -> Vec<String> {
            let outcome = |slice: &Slice| match &slice.outcome {
                SliceOutcome::Placed(id) => id.to_string(),
                SliceOutcome::Rejected(detail) => format!("rejected: {}", detail.message),
                SliceOutcome::Absent(detail) | SliceOutcome::Unknown(detail) => {
                    format!("unknown: {}", detail.message)
                }
            };
            order.slices.iter().map(outcome).collect()
        };
        assert_eq!(outcomes(&again), outcomes(&order));
    }

    #[test]
    fn an_order_of_which_the_first_slice_was_refused_is_named_by_another() {
        let refused = || Slice::rejected(ErrorDetail::new("no"));
        let placed = Slice::placed(OrderId::new("2"));
        for parent in [None, Some(OrderId::new("1"))] {
            let order = SlicedOrder::new(parent, 2, [refused(), placed.clone()]);
            let body = placement_body(&order).unwrap();
            assert!(body.contains(r#""order_id":"2","children":[{"error""#), "{body}");
        }
        assert_eq!(placement_body(&SlicedOrder::new(None, 2, [refused()])), None);
        let unknown = Slice::unknown(ErrorDetail::new("?"));
        assert_eq!(placement_body(&SlicedOrder::new(Some(OrderId::new("1")), 2, [unknown])), None);
    }
}
