//! Bodies in Kite's shape, for answers that Kite itself did not send.

use serde_json::Value;

use crate::broker::OrderId;

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
    let number = id.as_str().rsplit_once('/').map_or(id.as_str(), |(_, number)| number);
    let number = Value::from(number);
    format!(r#"{{"status":"success","data":{{"order_id":{number}}}}}"#)
}
