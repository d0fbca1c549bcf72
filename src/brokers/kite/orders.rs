//! Decoding of orders and trades.

use serde::Deserialize;

use super::classify::ResponseError;
use super::de::{List, Num, Text, WireRows};
use super::order_id::{is_order_number, order_id, order_number};
use super::slice_tags::{caller_tags, first_slice_id, is_slice_tag};
use super::time;
use crate::broker::{
    Instrument, Order, OrderId, OrderRequest, OrderStatus, OrderType, Product, Rows, Side,
    TimeInForce, Trade, Variety,
};

/// An order as Kite writes it. Its id, instrument, side and status are required; the rest may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireOrder {
    order_id: Text,
    exchange_order_id: Text,
    parent_order_id: Text,
    exchange: Text,
    tradingsymbol: Text,
    transaction_type: Text,
    status: Text,
    status_message: Text,
    order_type: Text,
    product: Text,
    validity: Text,
    variety: Text,
    quantity: Num,
    filled_quantity: Num,
    cancelled_quantity: Num,
    disclosed_quantity: Num,
    price: Num,
    trigger_price: Num,
    average_price: Num,
    tag: Text,
    #[serde(deserialize_with = "super::de::lenient")]
    tags: Option<List<Text>>,
    order_timestamp: Text,
    exchange_update_timestamp: Text,
}

/// A trade as Kite writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireTrade {
    trade_id: Text,
    order_id: Text,
    exchange: Text,
    tradingsymbol: Text,
    transaction_type: Text,
    product: Text,
    quantity: Num,
    average_price: Num,
    fill_timestamp: Text,
    exchange_timestamp: Text,
}

pub(super) fn orders(book: WireRows<WireOrder>) -> Result<Rows<Order>, String> {
    let mut rows = book.build("order_id", order)?;
    for problem in &mut rows.problems {
        // A name that is not an order id does not identify the row.
        problem.name.take_if(|name| !is_order_number(name));
    }
    Ok(rows)
}

/// Builds the history of the order with Kite's number `number`.
pub(super) fn history(
    book: WireRows<WireOrder>,
    number: &str,
) -> Result<Rows<Order>, ResponseError> {
    let rows = orders(book)?;
    rows.iter().try_for_each(|order| check_order_id(&order.id, number))?;
    Ok(rows)
}

/// Builds trades, with the order ids that Kite gives.
pub(super) fn trades(book: WireRows<WireTrade>) -> Result<Rows<Trade>, String> {
    book.build("trade_id", |wire| trade(wire, None))
}

/// Builds the trades of an order with Kite's number `number`. They carry the id that was asked for, which has the
/// variety: Kite does not send it with a trade.
pub(super) fn order_trades(
    book: WireRows<WireTrade>,
    asked: &OrderId,
    number: &str,
) -> Result<Rows<Trade>, ResponseError> {
    let mut rows = book.build("trade_id", |wire| trade(wire, Some(number)))?;
    for trade in rows.iter_mut() {
        check_order_id(&trade.order_id, number)?;
        trade.order_id = asked.clone();
    }
    Ok(rows)
}

/// Checks that a row is about the order that was asked for.
fn check_order_id(id: &OrderId, asked: &str) -> Result<(), ResponseError> {
    if order_number(id).is_ok_and(|number| number == asked) {
        return Ok(());
    }
    Err(ResponseError::WrongRequest(format!("it is about the order {id}, and not {asked}")))
}

/// Kite's answer to a change or a cancellation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireConfirmation {
    order_id: Text,
}

/// Checks that the answer confirms the change or cancellation of the order `number`, by naming that order.
pub(super) fn check_confirmation(
    done: &WireConfirmation,
    number: &str,
) -> Result<(), ResponseError> {
    match done.order_id.as_deref() {
        Some(named) if named == number => Ok(()),
        Some(other) => Err(format!("it names the order {other:?}, and not {number}")),
        None => Err(format!("it does not name the order {number}")),
    }
    .map_err(ResponseError::WrongRequest)
}

pub(super) fn order(wire: WireOrder) -> Result<Order, String> {
    let variety = wire.variety.as_deref().map_or(Variety::Regular, Variety::from);
    let id = order_id(&variety, &wire.order_id.required("order_id")?)?;
    let instrument = instrument(wire.exchange, wire.tradingsymbol)?;
    let side = side(wire.transaction_type)?;
    let status = status(&wire.status.required("status")?);

    let mut request = OrderRequest::market(instrument, side, wire.quantity.or_zero());
    request.order_type = wire.order_type.as_deref().map_or(OrderType::Market, order_type);
    request.price = wire.price.non_zero();
    request.trigger_price = wire.trigger_price.non_zero();
    request.product = wire.product.as_deref().map(Product::from);
    request.time_in_force = wire.validity.as_deref().map_or(TimeInForce::Day, TimeInForce::from);
    request.disclosed_quantity = wire.disclosed_quantity.non_zero();
    let mut tags: Vec<String> = wire.tag.0.into_iter().collect();
    tags.extend(wire.tags.into_iter().flat_map(|tags| tags.0).filter_map(|tag| tag.0));
    request.autoslice = tags.iter().any(|tag| is_slice_tag(tag));
    request.variety = variety.clone();
    let marked = tags.iter().find_map(|tag| first_slice_id(tag)).filter(|id| is_order_number(id));
    let marked = marked.map(str::to_owned);
    let parent = wire.parent_order_id.0.or(marked);
    let mut tags = caller_tags(tags).into_iter();
    request.tag = tags.next();

    let mut order = Order::new(id, status, &request);
    order.other_tags = tags.collect();
    order.exchange_order_id = wire.exchange_order_id.0;
    order.parent = parent.map(|parent| order_id(&variety, &parent)).transpose()?;
    order.status_message = wire.status_message.0;
    order.filled_quantity = wire.filled_quantity.or_zero();
    order.cancelled_quantity = wire.cancelled_quantity.or_zero();
    order.average_price = wire.average_price.non_zero();
    order.placed_at = timestamp(&wire.order_timestamp);
    order.updated_at =
        timestamp(&wire.exchange_update_timestamp).or_else(|| order.placed_at.clone());
    Ok(order)
}

/// Builds a trade. `of` is the number of its order, for rows that may lack it.
fn trade(wire: WireTrade, of: Option<&str>) -> Result<Trade, String> {
    let id = wire.trade_id.required("trade_id")?;
    let number = match of {
        Some(of) => wire.order_id.0.unwrap_or_else(|| of.to_owned()),
        None => wire.order_id.required("order_id")?,
    };
    let order_id = order_id(&Variety::Regular, &number)?;
    let instrument = instrument(wire.exchange, wire.tradingsymbol)?;
    let side = side(wire.transaction_type)?;
    // `Trade` has no constructor of its own, so it is made from an order.
    let mut request = OrderRequest::market(instrument, side, wire.quantity.or_zero());
    request.product = wire.product.as_deref().map(Product::from);
    let order = Order::new(order_id, OrderStatus::Filled, &request);
    let mut trade = Trade::new(id, &order, wire.quantity.or_zero(), wire.average_price.or_zero());
    trade.at = timestamp(&wire.fill_timestamp).or_else(|| timestamp(&wire.exchange_timestamp));
    Ok(trade)
}

/// Returns the status for Kite's word. Kite's COMPLETE is filled; cancelled after-market orders have their own word.
pub(super) fn status(word: &str) -> OrderStatus {
    match word {
        "COMPLETE" => OrderStatus::Filled,
        "CANCELLED AMO" => OrderStatus::Cancelled,
        other => OrderStatus::from(other),
    }
}

pub(super) fn order_type(word: &str) -> OrderType {
    match word {
        "SL-M" => OrderType::Stop,
        "SL" => OrderType::StopLimit,
        other => OrderType::from(other),
    }
}

pub(super) fn instrument(exchange: Text, symbol: Text) -> Result<Instrument, String> {
    Ok(Instrument::new(exchange.required("exchange")?, symbol.required("tradingsymbol")?))
}

pub(super) fn side(word: Text) -> Result<Side, String> {
    match word.required("transaction_type")?.as_str() {
        "BUY" => Ok(Side::Buy),
        "SELL" => Ok(Side::Sell),
        other => Err(format!("its transaction_type is {other:?}, neither BUY nor SELL")),
    }
}

pub(super) fn timestamp(text: &Text) -> Option<jiff::Zoned> {
    text.as_deref().and_then(time::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Rows<Order>, String> {
        let book = serde_json::from_str(json).map_err(|error| error.to_string())?;
        orders(book)
    }

    const LEAST: &str = r#"{"order_id":"1","exchange":"NSE","tradingsymbol":"INFY",
        "transaction_type":"BUY","status":"OPEN"}"#;

    /// A tag that Kite added would make it look like the order of another client.
    #[test]
    fn a_slice_that_cannot_be_read_shows_its_callers_tag() {
        let tag = |tags: &str| {
            let row = format!(r#"[{{"order_id":"9","transaction_type":null,{tags}}}]"#);
            read(&row).unwrap().problems.remove(0).tag
        };
        let marked = r#""tag":"autoslice","tags":["autoslice","autoslice:7","t1"]"#;
        assert_eq!(tag(marked).as_deref(), Some("t1"));
        assert_eq!(tag(r#""tag":null,"tags":["autoslice:7","t1"]"#).as_deref(), Some("t1"));
        assert_eq!(tag(r#""tag":"autoslice","tags":["autoslice"]"#), None);
        assert_eq!(tag(r#""tag":"t1","tags":7"#).as_deref(), Some("t1"));
        // Which of them is the caller's is not known.
        assert_eq!(tag(r#""tag":"basket","tags":["basket","t1"]"#), None);
    }

    #[test]
    fn an_order_needs_little() {
        let order = read(&format!("[{LEAST}]")).unwrap().remove(0);
        assert_eq!(order.id.as_str(), "1");
        assert_eq!(order.status, OrderStatus::Open);
        assert_eq!((order.price, order.placed_at, order.tag), (None, None, None));
    }

    #[test]
    fn an_order_that_cannot_be_read_does_not_vanish() {
        for field in ["order_id", "exchange", "tradingsymbol", "transaction_type", "status"] {
            let broken = LEAST.replacen(field, "other", 1);
            let book = read(&format!("[{LEAST},{broken},{LEAST}]")).unwrap();
            assert_eq!((book.len(), book.problems.len()), (2, 1), "{field}");
            let problem = &book.problems[0];
            assert!(problem.row == 1 && problem.reason.contains(field), "{problem}");
            assert_eq!(problem.name.as_deref(), Some("1").filter(|_| field != "order_id"));
        }
        let book = read(&format!("[{LEAST},7]")).unwrap();
        assert_eq!((book.len(), book.problems[0].text.as_str()), (1, "7"));
    }

    #[test]
    fn statuses_are_ours_or_as_spelled() {
        assert_eq!(status("COMPLETE"), OrderStatus::Filled);
        assert_eq!(status("CANCELLED AMO"), OrderStatus::Cancelled);
        assert_eq!(status("CANCELLED"), OrderStatus::Cancelled);
        assert_eq!(status("TRIGGER PENDING"), OrderStatus::TriggerPending);
        assert_eq!(status("REJECTED"), OrderStatus::Rejected);
        let odd = status("PUT ORDER REQ RECEIVED");
        assert_eq!(odd, OrderStatus::Other("PUT ORDER REQ RECEIVED".into()));
    }

    #[test]
    fn nulls_numbers_for_text_and_odd_shapes_are_borne() {
        let json = r#"[{"order_id":151220000000000,"parent_order_id":"7","exchange":"NSE",
            "tradingsymbol":"M&M","transaction_type":"SELL","status":"UPDATE","variety":"amo",
            "order_type":"SL","quantity":"10","filled_quantity":null,"price":0,
            "trigger_price":100.5,"tag":null,"tags":["alpha1"],"order_timestamp":"09:15:01",
            "meta":{"x":[1]},"average_price":99725.05000000002}]"#;
        let order = read(json).unwrap().remove(0);
        assert_eq!(order.id.as_str(), "amo/151220000000000");
        assert_eq!(order.parent.unwrap().as_str(), "amo/7");
        assert_eq!(order.order_type, OrderType::StopLimit);
        assert_eq!(order.quantity, 10.into());
        assert_eq!((order.price, order.placed_at), (None, None));
        assert_eq!(order.average_price.unwrap().to_string(), "99725.05000000002");
        assert_eq!(order.tag.as_deref(), Some("alpha1"));
        assert!(!read(r#"[{"order_id":"1","tags":7}]"#).unwrap().is_complete());
    }

    #[test]
    fn a_slice_has_its_callers_tag_and_its_parent() {
        for (fields, parent) in [
            (r#""tag":"t1","tags":["t1","autoslice","autoslice:7"]"#, Some("7")),
            (r#""tag":"autoslice","tags":["autoslice","autoslice:7","t1"]"#, Some("7")),
            (r#""tag":"t1","tags":["autoslice"],"parent_order_id":"8""#, Some("8")),
            (r#""tag":null,"tags":["autoslice","t1"]"#, None),
        ] {
            let row = LEAST.replacen('{', &format!("{{{fields},"), 1);
            let order = read(&format!("[{row}]")).unwrap().remove(0);
            assert_eq!(order.tag.as_deref(), Some("t1"), "{fields}");
            assert_eq!(order.parent.as_ref().map(OrderId::as_str), parent, "{fields}");
        }
        let several = r#"{"tag":"basket","tags":["basket","autoslice","t1"],"#;
        let order = read(&format!("[{}]", LEAST.replacen('{', several, 1))).unwrap().rows.remove(0);
        assert_eq!(
            (order.tag.as_deref(), &*order.other_tags),
            (Some("basket"), &["t1".to_owned()][..])
        );
        let unmarked = read(&format!("[{}]", LEAST.replacen('{', r#"{"tags":["autoslice"],"#, 1)));
        assert_eq!(unmarked.unwrap()[0].tag, None);
    }

    #[test]
    fn a_trade_goes_by_the_name_its_order_was_asked_by() {
        let json = r#"[{"trade_id":"9","order_id":"1","exchange":"NSE","tradingsymbol":"INFY",
            "transaction_type":"BUY","quantity":5,"average_price":1500,
            "fill_timestamp":"2021-05-31 09:16:39"}]"#;
        let book = || serde_json::from_str(json).unwrap();
        assert_eq!(trades(book()).unwrap()[0].order_id.as_str(), "1");
        let amo = OrderId::new("amo/1");
        let trade = order_trades(book(), &amo, "1").unwrap().remove(0);
        assert!(matches!(order_trades(book(), &amo, "2"), Err(ResponseError::WrongRequest(_))));
        assert_eq!((trade.order_id, trade.quantity, trade.price), (amo, 5.into(), 1500.into()));
        assert!(trade.at.is_some());
    }
}
