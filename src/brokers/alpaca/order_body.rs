//! The JSON of a placement and of a change.
//!
//! Alpaca takes every number as text, so that no digit is lost. What the vocabulary of [`OrderRequest`] lacks travels
//! in its extra fields, which are sent as they are: `notional`, `trail_percent`, `extended_hours`, `order_class`, ..

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::symbols::class_and_symbol;
use crate::broker::{
    BrokerError, OrderChange, OrderRequest, OrderType, Side, TimeInForce, Variety,
};
use crate::brokers::http::outcome::not_sent_error;

/// The longest `client_order_id`. Pages name 48 and 128, and the lower one counts.
pub(super) const MAX_TAG_LENGTH: usize = 48;
/// The characters that it may have beside letters and digits.
pub(super) const TAG_SYMBOLS: &str = "-_.";

/// The value of an order in money, in place of its quantity.
pub(super) const NOTIONAL: &str = "notional";
/// The distance of a trailing stop, in percent of the best price.
pub(super) const TRAIL_PERCENT: &str = "trail_percent";
/// The distance of a trailing stop, in the currency of the instrument.
pub(super) const TRAIL_PRICE: &str = "trail_price";

/// The fields of a placement that are not extra ones.
const PLACEMENT_FIELDS: [&str; 8] = [
    "symbol",
    "qty",
    "side",
    "type",
    "time_in_force",
    "limit_price",
    "stop_price",
    "client_order_id",
];
/// The fields of a change that are not extra ones.
const CHANGE_FIELDS: [&str; 4] = ["qty", "time_in_force", "limit_price", "stop_price"];

/// Returns the body of a placement under the tag `tag`.
///
/// # Errors
/// `NotSent`: the order asks for something that Alpaca does not have. Without it, another order would be placed.
pub(super) fn placement(order: &OrderRequest, tag: &str) -> Result<String, BrokerError> {
    check_support(order)?;
    check_tag(tag)?;
    let (_, symbol) = class_and_symbol(&order.instrument)?;
    let mut body = extra_fields(&order.extra, &PLACEMENT_FIELDS)?;
    let by_value = body.contains_key(NOTIONAL);
    match (by_value, order.quantity > Decimal::ZERO) {
        (false, true) => put(&mut body, "qty", order.quantity),
        (true, false) if order.quantity.is_zero() => {}
        (true, _) => {
            return Err(not_sent_error(
                "an order has either a quantity or the extra field `notional`, its value in money: set the \
                 quantity to zero",
            ));
        }
        (false, false) => {
            return Err(not_sent_error(format!(
                "the quantity is {}, which no order can have",
                order.quantity
            )));
        }
    }
    put(&mut body, "symbol", symbol);
    put(&mut body, "side", if order.side == Side::Buy { "buy" } else { "sell" });
    put(&mut body, "type", word("order type", order.order_type.as_str())?);
    put(&mut body, "time_in_force", word("time in force", order.time_in_force.as_str())?);
    put(&mut body, "client_order_id", tag);
    if let Some(price) = order.price {
        put(&mut body, "limit_price", price);
    }
    if let Some(trigger) = order.trigger_price {
        put(&mut body, "stop_price", trigger);
    }
    Ok(Value::Object(body).to_string())
}

/// Returns the body of a change.
///
/// # Errors
/// `NotSent`: the change asks for something that Alpaca does not have, or for nothing.
pub(super) fn change(change: &OrderChange) -> Result<String, BrokerError> {
    // Exhaustive, so that the compiler asks what becomes of a new field.
    let OrderChange {
        quantity,
        price,
        trigger_price,
        order_type,
        time_in_force,
        disclosed_quantity,
        market_protection,
        extra,
    } = change;
    refuse(order_type.is_some(), "changes no order's type: cancel it, and place another")?;
    refuse(disclosed_quantity.is_some(), "has no visible quantity")?;
    refuse(market_protection.is_some(), "has no market protection")?;
    let mut body = extra_fields(extra, &CHANGE_FIELDS)?;
    for (name, number) in [("qty", quantity), ("limit_price", price), ("stop_price", trigger_price)]
    {
        if let Some(number) = number {
            put(&mut body, name, number);
        }
    }
    if let Some(time) = time_in_force {
        put(&mut body, "time_in_force", word("time in force", TimeInForce::as_str(time))?);
    }
    if body.is_empty() {
        return Err(not_sent_error("the change changes nothing"));
    }
    Ok(Value::Object(body).to_string())
}

fn check_support(order: &OrderRequest) -> Result<(), BrokerError> {
    refuse(order.product.is_some(), "has no products: leave `product` empty")?;
    refuse(order.variety != Variety::Regular, "has no order varieties but the regular one")?;
    refuse(order.disclosed_quantity.is_some(), "has no visible quantity")?;
    refuse(order.market_protection.is_some(), "has no market protection")?;
    refuse(order.autoslice, "divides no order into slices")?;
    let is_trailing = order.order_type == OrderType::TrailingStop;
    let trails = order.extra.contains_key(TRAIL_PERCENT) || order.extra.contains_key(TRAIL_PRICE);
    refuse(
        is_trailing != trails,
        "needs `trail_percent` or `trail_price` for a trailing stop, and for no other order",
    )
}

fn refuse(is_asked: bool, what: &str) -> Result<(), BrokerError> {
    if is_asked { Err(not_sent_error(format!("Alpaca {what}"))) } else { Ok(()) }
}

/// Checks whether orders are found by this tag again.
fn check_tag(tag: &str) -> Result<(), BrokerError> {
    let is_allowed = |it: char| it.is_ascii_alphanumeric() || TAG_SYMBOLS.contains(it);
    if (1..=MAX_TAG_LENGTH).contains(&tag.len()) && tag.chars().all(is_allowed) {
        return Ok(());
    }
    Err(not_sent_error(format!(
        "the tag {tag:?} must be 1 to {MAX_TAG_LENGTH} ASCII letters, digits and {TAG_SYMBOLS}"
    )))
}

/// Returns the extra fields. An object, a list or a truth value is sent as such, and everything else as text, which is
/// how Alpaca takes numbers.
fn extra_fields(
    extra: &BTreeMap<String, String>,
    reserved: &[&str],
) -> Result<Map<String, Value>, BrokerError> {
    let mut fields = Map::new();
    for (name, text) in extra {
        if reserved.contains(&name.as_str()) {
            return Err(not_sent_error(format!(
                "the extra field {name:?} repeats a field of the order"
            )));
        }
        let value = match serde_json::from_str(text) {
            Ok(value @ (Value::Object(_) | Value::Array(_) | Value::Bool(_))) => value,
            _ => Value::String(text.clone()),
        };
        fields.insert(name.clone(), value);
    }
    Ok(fields)
}

/// Returns a word of our vocabulary in Alpaca's spelling.
fn word(what: &str, word: &str) -> Result<String, BrokerError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if word.is_empty() || !word.bytes().all(is_plain) {
        return Err(not_sent_error(format!("no {what}: {word:?}")));
    }
    Ok(word.to_ascii_lowercase())
}

fn put(body: &mut Map<String, Value>, name: &str, value: impl ToString) {
    body.insert(name.to_owned(), Value::String(value.to_string()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::broker::{Instrument, MarketProtection, Product};

    fn aapl() -> Instrument {
        Instrument::new("US", "AAPL")
    }

    fn dec(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn body(order: &OrderRequest) -> Result<Value, String> {
        let text = placement(order, "t1").map_err(|error| error.to_string())?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn each_type_and_time_in_force_has_alpacas_word() {
        let market = OrderRequest::market(aapl(), Side::Buy, dec("0.123456789"));
        assert_eq!(
            body(&market).unwrap(),
            json!({"symbol": "AAPL", "qty": "0.123456789", "side": "buy", "type": "market",
                "time_in_force": "day", "client_order_id": "t1"})
        );
        let stop = OrderRequest::stop_limit(aapl(), Side::Sell, 3, dec("180.5"), dec("180.10"));
        let stop = body(&stop.time_in_force(TimeInForce::Gtc)).unwrap();
        let shown =
            ["type", "side", "stop_price", "limit_price", "time_in_force"].map(|it| &stop[it]);
        assert_eq!(shown, ["stop_limit", "sell", "180.5", "180.10", "gtc"]);
        for (time, word) in [
            (TimeInForce::Opg, "opg"),
            (TimeInForce::Cls, "cls"),
            (TimeInForce::Ioc, "ioc"),
            (TimeInForce::Fok, "fok"),
            (TimeInForce::from("gtd"), "gtd"),
        ] {
            assert_eq!(body(&market.clone().time_in_force(time)).unwrap()["time_in_force"], word);
        }
    }

    #[test]
    fn an_extra_field_is_sent_as_what_it_is() {
        let order = OrderRequest::limit(aapl(), Side::Buy, 1, 180)
            .extra("extended_hours", "true")
            .extra("order_class", "bracket")
            .extra("take_profit", r#"{"limit_price":"190"}"#)
            .extra("note", "12");
        let body = body(&order).unwrap();
        assert_eq!(body["extended_hours"], json!(true));
        assert_eq!(body["take_profit"], json!({"limit_price": "190"}));
        assert_eq!((&body["order_class"], &body["note"]), (&json!("bracket"), &json!("12")));
        let repeated = order.extra("client_order_id", "t2");
        assert!(placement(&repeated, "t1").unwrap_err().failure().is_local());
    }

    #[test]
    fn an_order_has_a_quantity_or_a_value() {
        let order = |quantity: &str| OrderRequest::market(aapl(), Side::Buy, dec(quantity));
        let by_value = body(&order("0").extra(NOTIONAL, "500.25")).unwrap();
        assert_eq!((by_value.get("qty"), &by_value["notional"]), (None, &json!("500.25")));
        for wrong in [order("1").extra(NOTIONAL, "500"), order("0"), order("-1")] {
            assert!(body(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_alpaca_does_not_have_is_refused_and_not_left_out() {
        let order = || OrderRequest::market(aapl(), Side::Buy, 1);
        for wrong in [
            order().product(Product::Cnc),
            order().variety(Variety::Amo),
            order().disclosed_quantity(1),
            order().market_protection(MarketProtection::AUTO),
            order().autoslice(true),
            order().extra(TRAIL_PERCENT, "2"),
            OrderRequest { order_type: OrderType::TrailingStop, ..order() },
            OrderRequest { order_type: OrderType::from("a b"), ..order() },
            OrderRequest { instrument: Instrument::new("NSE", "INFY"), ..order() },
        ] {
            let error = placement(&wrong, "t1").unwrap_err();
            assert!(error.failure().is_local(), "{wrong:?}: {error}");
        }
        for tag in ["", "a b", &"x".repeat(49), "é"] {
            assert!(placement(&order(), tag).is_err(), "{tag}");
        }
    }

    #[test]
    fn a_change_has_what_is_changed() {
        let body = |change: &OrderChange| super::change(change).map_err(|error| error.to_string());
        let all = OrderChange::new()
            .quantity(dec("2.5"))
            .price(dec("180.10"))
            .time_in_force(TimeInForce::Gtc)
            .extra("trail", "3");
        let expected =
            json!({"qty": "2.5", "limit_price": "180.10", "time_in_force": "gtc", "trail": "3"});
        assert_eq!(serde_json::from_str::<Value>(&body(&all).unwrap()).unwrap(), expected);
        assert!(body(&OrderChange::new()).is_err(), "nothing is changed");
        assert!(body(&OrderChange::new().order_type(OrderType::Market)).is_err());
        assert!(body(&OrderChange::new().price(1).disclosed_quantity(1)).is_err());
        assert!(body(&OrderChange::new().price(1).extra("qty", "7")).is_err());
    }
}
