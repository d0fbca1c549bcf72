//! Decoding of orders and fills.

use serde::Deserialize;
use serde_json::Value;

use super::symbols::instrument;
use super::time;
use crate::broker::BrokerError;
use crate::broker::{
    Order, OrderId, OrderRequest, OrderStatus, OrderType, RowProblem, Rows, Side, TimeInForce,
    Trade,
};
use crate::brokers::http::de::{Num, Text, build_rows, text_field};
use crate::brokers::http::outcome::{ResponseError, not_sent_error};

/// Longer than a UUID, which has 36 characters.
const MAX_ID_LENGTH: usize = 64;

/// An order as Alpaca writes it. Its id, symbol, side and status are required; the rest may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireOrder {
    id: Text,
    client_order_id: Text,
    symbol: Text,
    asset_class: Text,
    side: Text,
    status: Text,
    #[serde(rename = "type")]
    kind: Text,
    order_type: Text,
    time_in_force: Text,
    qty: Num,
    filled_qty: Num,
    filled_avg_price: Num,
    limit_price: Num,
    stop_price: Num,
    replaced_by: Text,
    replaces: Text,
    created_at: Text,
    submitted_at: Text,
    updated_at: Text,
}

/// A fill as Alpaca writes it, among the activities of the account.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireFill {
    id: Text,
    order_id: Text,
    symbol: Text,
    side: Text,
    qty: Num,
    price: Num,
    transaction_time: Text,
}

/// One page of orders, and where the next one begins.
pub(super) struct OrderPage {
    pub(super) rows: Rows<Order>,
    /// How many entries the answer had, whether or not they could be read.
    pub(super) entries: usize,
    /// When the last entry was submitted.
    pub(super) last_submitted: Option<jiff::Timestamp>,
}

pub(super) fn order_page(entries: Vec<Value>) -> Result<OrderPage, String> {
    let submitted = |entry: &Value| {
        let time = |name| text_field(entry, name).and_then(|text| text.parse().ok());
        time("submitted_at").or_else(|| time("created_at"))
    };
    let (count, last_submitted) = (entries.len(), entries.last().and_then(submitted));
    let rows = build_rows(entries, row_problem, order)?;
    Ok(OrderPage { rows, entries: count, last_submitted })
}

pub(super) fn fills(entries: Vec<Value>) -> Result<Rows<Trade>, String> {
    build_rows(entries, row_problem, fill)
}

/// Returns the id of the last entry, from which the next page of activities goes on.
pub(super) fn last_id(entries: &[Value]) -> Option<String> {
    text_field(entries.last()?, "id")
}

/// Builds the answer to a placement under the tag `tag`.
pub(super) fn placed(wire: WireOrder, tag: &str) -> Result<OrderId, ResponseError> {
    match wire.client_order_id.as_deref() {
        Some(named) if named == tag => Ok(order_id(wire.id.required("id")?)?),
        Some(other) => Err(ResponseError::WrongRequest(format!(
            "it names the client_order_id {other:?}, and not {tag:?}"
        ))),
        None => Err(ResponseError::WrongRequest("it names no client_order_id".to_owned())),
    }
}

/// Builds the answer to a change of the order `asked`: the id of the order from then on.
pub(super) fn replacement(wire: WireOrder, asked: &str) -> Result<OrderId, ResponseError> {
    let id = wire.id.required("id")?;
    match wire.replaces.as_deref() {
        Some(replaced) if replaced == asked => Ok(order_id(id)?),
        None if id == asked => Ok(order_id(id)?),
        other => Err(ResponseError::WrongRequest(format!(
            "it replaces the order {other:?}, and not {asked:?}"
        ))),
    }
}

/// Builds the order that was asked for by its id.
pub(super) fn order_by_id(wire: WireOrder, asked: &str) -> Result<Order, ResponseError> {
    match wire.id.as_deref() {
        Some(id) if id == asked => Ok(order(wire)?),
        other => Err(ResponseError::WrongRequest(format!(
            "it is about the order {other:?}, and not {asked:?}"
        ))),
    }
}

/// Builds the order that was asked for by its `client_order_id`.
pub(super) fn order_by_tag(wire: WireOrder, tag: &str) -> Result<Order, ResponseError> {
    match wire.client_order_id.as_deref() {
        Some(named) if named == tag => Ok(order(wire)?),
        other => Err(ResponseError::WrongRequest(format!(
            "it is about the client_order_id {other:?}, and not {tag:?}"
        ))),
    }
}

/// Returns the id as a part of a path.
pub(super) fn path_of(id: &OrderId) -> Result<&str, BrokerError> {
    check_id(id.as_str()).map_err(not_sent_error)
}

fn order_id(id: String) -> Result<OrderId, String> {
    check_id(&id)?;
    Ok(OrderId::new(id))
}

/// Checks that an id cannot change the path of which it becomes a part. Alpaca's ids are UUIDs.
fn check_id(id: &str) -> Result<&str, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=MAX_ID_LENGTH).contains(&id.len()) && id.bytes().all(is_plain) {
        return Ok(id);
    }
    let shown: String = id.chars().take(MAX_ID_LENGTH).collect();
    Err(format!("no order id, which is 1 to {MAX_ID_LENGTH} letters, digits, - and _: {shown:?}"))
}

fn order(wire: WireOrder) -> Result<Order, String> {
    let id = order_id(wire.id.required("id")?)?;
    let instrument = instrument(wire.symbol, &wire.asset_class)?;
    let side = side(wire.side)?;
    let status = status(&wire.status.required("status")?);
    // An order by value has no quantity before it is filled.
    let mut request = OrderRequest::market(instrument, side, wire.qty.or_zero());
    let kind = wire.kind.0.or(wire.order_type.0);
    request.order_type = kind.map_or(OrderType::Market, |word| capital(&word).into());
    request.time_in_force =
        wire.time_in_force.as_deref().map_or(TimeInForce::Day, |word| capital(word).into());
    request.price = wire.limit_price.0;
    request.trigger_price = wire.stop_price.0;
    request.tag = wire.client_order_id.0;

    let mut order = Order::new(id, status, &request);
    order.replaced_by = wire.replaced_by.0.map(order_id).transpose()?;
    order.filled_quantity = wire.filled_qty.or_zero();
    order.average_price = wire.filled_avg_price.0;
    order.placed_at = time::parse(&wire.submitted_at).or_else(|| time::parse(&wire.created_at));
    order.updated_at = time::parse(&wire.updated_at).or_else(|| order.placed_at.clone());
    Ok(order)
}

fn fill(wire: WireFill) -> Result<Trade, String> {
    let id = wire.id.required("id")?;
    let order_id = order_id(wire.order_id.required("order_id")?)?;
    let instrument = instrument(wire.symbol, &Text(None))?;
    let side = side(wire.side)?;
    let quantity = wire.qty.0.ok_or("it has no qty")?;
    let price = wire.price.0.ok_or("it has no price")?;
    // `Trade` has no constructor of its own, so it is made from an order.
    let request = OrderRequest::market(instrument, side, quantity);
    let order = Order::new(order_id, OrderStatus::Filled, &request);
    let mut trade = Trade::new(id, &order, quantity, price);
    trade.at = time::parse(&wire.transaction_time);
    Ok(trade)
}

fn row_problem(row: usize, entry: &Value, why: &str) -> RowProblem {
    let mut problem = RowProblem::new(row, why, entry.to_string());
    problem.name = text_field(entry, "id").filter(|id| check_id(id).is_ok());
    problem.tag = text_field(entry, "client_order_id");
    problem
}

/// Returns the status for Alpaca's word. Those between Alpaca and the exchange (`accepted`, `pending_new`, `held`, ..)
/// stay as they are spelled, and are not final.
fn status(word: &str) -> OrderStatus {
    match word {
        "new" => OrderStatus::Open,
        "partially_filled" => OrderStatus::PartiallyFilled,
        "filled" => OrderStatus::Filled,
        "canceled" => OrderStatus::Cancelled,
        "expired" => OrderStatus::Expired,
        "rejected" => OrderStatus::Rejected,
        "replaced" => OrderStatus::Replaced,
        other => OrderStatus::Other(other.into()),
    }
}

fn side(word: Text) -> Result<Side, String> {
    match word.required("side")?.as_str() {
        "buy" => Ok(Side::Buy),
        // Fills of short sales have a word of their own.
        "sell" | "sell_short" => Ok(Side::Sell),
        other => Err(format!("its side is {other:?}, neither buy nor sell")),
    }
}

/// Returns a word of Alpaca in the spelling of our vocabulary.
fn capital(word: &str) -> String {
    word.to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str =
        r#"{"id":"a-1","symbol":"AAPL","side":"buy","status":"new","client_order_id":"t1"}"#;

    fn read(json: &str) -> Rows<Order> {
        order_page(serde_json::from_str(json).unwrap()).unwrap().rows
    }

    #[test]
    fn an_order_needs_little_and_does_not_vanish() {
        let order = read(&format!("[{LEAST}]")).rows.remove(0);
        assert_eq!((order.id.as_str(), order.status), ("a-1", OrderStatus::Open));
        assert_eq!((order.instrument.as_str(), order.tag.as_deref()), ("US:AAPL", Some("t1")));
        for field in ["\"id\"", "symbol", "side", "status"] {
            let broken = LEAST.replacen(field.trim_matches('"'), "other", 1);
            let rows = read(&format!("[{LEAST},{broken}]"));
            assert_eq!((rows.len(), rows.problems.len()), (1, 1), "{field}");
            assert_eq!(rows.problems[0].tag.as_deref(), Some("t1"), "{field}");
        }
        assert_eq!(read("[7]").problems[0].text, "7");
    }

    #[test]
    fn numbers_are_text_null_or_numbers() {
        let json = r#"[{"id":"1","symbol":"AAPL","side":"sell","status":"partially_filled",
            "type":"trailing_stop","time_in_force":"opg","qty":"0.75","filled_qty":0.25,
            "limit_price":null,"stop_price":"180.1","filled_avg_price":"180.10000000000002",
            "submitted_at":"2026-03-02T15:00:00.123456789Z","legs":null,"odd":[1]},
            {"id":"2","symbol":"BTC/USD","asset_class":"crypto","side":"buy","status":"accepted",
            "qty":null,"notional":"500"}]"#;
        let rows = read(json);
        let (order, by_value) = (&rows[0], &rows[1]);
        assert_eq!(order.order_type, OrderType::TrailingStop);
        assert_eq!(order.time_in_force, TimeInForce::Opg);
        assert_eq!((order.quantity.to_string(), order.price), ("0.75".to_owned(), None));
        assert_eq!(order.pending_quantity().to_string(), "0.50");
        assert_eq!(order.average_price.unwrap().to_string(), "180.10000000000002");
        assert_eq!(order.placed_at.as_ref().unwrap().hour(), 10);
        assert_eq!(by_value.status, OrderStatus::Other("accepted".into()));
        assert_eq!(by_value.quantity, 0.into());
    }

    #[test]
    fn an_unknown_status_is_kept_and_is_not_final() {
        for (word, is_final) in [
            ("filled", true),
            ("canceled", true),
            ("replaced", true),
            ("expired", true),
            ("rejected", true),
            ("done_for_day", false),
            ("pending_cancel", false),
            ("quantum_pending", false),
        ] {
            assert_eq!(status(word).is_final(), is_final, "{word}");
        }
        assert_eq!(status("held").as_str(), "held");
    }

    #[test]
    fn an_answer_to_another_call_is_known() {
        let wire = |json: &str| serde_json::from_str::<WireOrder>(json).unwrap();
        let is_other =
            |it: Result<OrderId, ResponseError>| matches!(it, Err(ResponseError::WrongRequest(_)));
        assert_eq!(placed(wire(LEAST), "t1"), Ok(OrderId::new("a-1")));
        assert!(is_other(placed(wire(LEAST), "t2")) && is_other(placed(wire("{}"), "t1")));
        let new = r#"{"id":"2","replaces":"1"}"#;
        assert_eq!(replacement(wire(new), "1"), Ok(OrderId::new("2")));
        assert!(is_other(replacement(wire(new), "2")));
        assert!(is_other(replacement(wire(r#"{"id":"2"}"#), "1")));
        assert!(order_by_id(wire(LEAST), "a-1").is_ok() && order_by_id(wire(LEAST), "1").is_err());
        assert!(order_by_tag(wire(LEAST), "t1").is_ok() && order_by_tag(wire(LEAST), "t").is_err());
        // No id leaves its place in a path.
        for id in ["", "../account", "1?x", "1/2", "a b"] {
            assert!(path_of(&OrderId::new(id)).unwrap_err().failure().is_local(), "{id}");
        }
    }

    #[test]
    fn a_fill_is_a_trade() {
        let json = r#"[{"id":"20260302::9","activity_type":"FILL","order_id":"a-1","symbol":"AAPL",
            "side":"sell_short","qty":"0.5","price":"180.25","cum_qty":"0.5",
            "transaction_time":"2026-03-02T15:00:00Z"},
            {"id":"10","order_id":"a-1","symbol":"AAPL","side":"buy","qty":"1"}]"#;
        let rows = fills(serde_json::from_str(json).unwrap()).unwrap();
        assert_eq!((rows.len(), rows.problems[0].reason.as_str()), (1, "it has no price"));
        assert_eq!((rows[0].side, rows[0].order_id.as_str()), (Side::Sell, "a-1"));
        assert_eq!(rows[0].quantity.to_string(), "0.5");
    }
}
