//! The margins that orders would need: each by itself, and as a basket.
//!
//! The paper broker has no leverage, so an order needs its whole value, and an order that closes a position needs
//! nothing. The calculator answers what the paper broker would block.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use lanekeeper::broker::{Broker, Exchange, Instrument, OrderType, Product, Side, Variety};
use lanekeeper::brokers::PaperBroker;

use super::charges::Charges;
use super::json_fields::JsonFields;
use super::{json_number, order_form};
use crate::http::form::FormFields;
use crate::http::response::{ApiData, ApiError, ApiResult};

/// The signed quantities of positions.
type Positions = BTreeMap<(Instrument, Product), Decimal>;

/// An order whose margin is asked for.
struct MarginOrder {
    instrument: Instrument,
    side: Side,
    product: Product,
    quantity: Decimal,
    price: Decimal,
}

/// Answers with the margin of each order in the body, given the positions of the account.
pub(crate) fn order_margins(broker: &PaperBroker, query: &FormFields, body: &Value) -> ApiResult {
    let compact = is_compact(query)?;
    let orders = parse_orders(broker, body)?;
    let positions = positions(broker)?;
    let margins = orders.iter().map(|order| order_json(order, &positions, compact));
    Ok(ApiData::Json(margins.collect::<Vec<_>>().into()))
}

/// Answers with the margin of all orders in the body: `initial` is the sum of the single ones, and `final` what is
/// needed in the end, because orders of a basket may close each other.
pub(crate) fn basket_margins(broker: &PaperBroker, query: &FormFields, body: &Value) -> ApiResult {
    let compact = is_compact(query)?;
    let mut positions = match query.get("consider_positions").map(str::to_ascii_lowercase) {
        None => Positions::new(),
        Some(text) => match text.as_str() {
            "true" | "1" => positions(broker)?,
            "false" | "0" => Positions::new(),
            _ => return Err(FormFields::invalid("consider_positions")),
        },
    };
    let orders = parse_orders(broker, body)?;
    let single = orders.iter().map(|order| order.margin(&positions));
    let initial: Decimal = single.sum();
    let jsons: Vec<Value> =
        orders.iter().map(|order| order_json(order, &positions, compact)).collect();
    let before = value_of_positions(&orders, &positions);
    for order in &orders {
        *positions.entry(order.key()).or_default() += order.signed_quantity();
    }
    let last = (value_of_positions(&orders, &positions) - before).max(Decimal::ZERO);
    let charges = orders.iter().map(MarginOrder::charges).fold(Charges::default(), Charges::plus);
    let sum = |total| match compact {
        true => compact_json(["", "", ""], total),
        false => full_json(["", "", ""], total, 0, Charges::default().to_json("")),
    };
    let mut json = json!({"initial": sum(initial), "final": sum(last), "orders": jsons});
    if !compact {
        json["charges"] = charges.to_json("");
    }
    Ok(ApiData::Json(json))
}

/// Returns the value of those positions that the orders are about, each at the price of its last order.
fn value_of_positions(orders: &[MarginOrder], positions: &Positions) -> Decimal {
    let prices: BTreeMap<_, _> = orders.iter().map(|order| (order.key(), order.price)).collect();
    let value =
        |(key, price)| positions.get(&key).map_or(Decimal::ZERO, |quantity| quantity.abs() * price);
    prices.into_iter().map(value).sum()
}

fn is_compact(query: &FormFields) -> Result<bool, ApiError> {
    match query.get("mode") {
        None => Ok(false),
        Some("compact") => Ok(true),
        Some(_) => Err(FormFields::invalid("mode")),
    }
}

fn positions(broker: &PaperBroker) -> Result<Positions, ApiError> {
    let positions = broker.positions().map_err(|_| ApiError::internal())?;
    let open = positions.net.iter().filter_map(|position| {
        Some(((position.instrument.clone(), position.product.clone()?), position.quantity))
    });
    Ok(open.collect())
}

fn parse_orders(broker: &PaperBroker, body: &Value) -> Result<Vec<MarginOrder>, ApiError> {
    let orders = JsonFields::list(body, "orders")?;
    orders.into_iter().map(|order| parse_order(broker, order)).collect()
}

fn parse_order(broker: &PaperBroker, order: JsonFields<'_>) -> Result<MarginOrder, ApiError> {
    let (instrument, side) = (order.instrument()?, order.side()?);
    if let Variety::Other(_) = Variety::from(order.text("variety")?) {
        return Err(FormFields::invalid("variety"));
    }
    let product = order.product()?;
    let order_type = order_form::parse_order_type(order.text("order_type")?)?;
    let quantity = order.quantity()?;
    order.number("trigger_price")?;
    let price = order.number("price")?.filter(|price| !price.is_zero());
    let last_price = broker.ltp(&instrument).map_err(|_| FormFields::invalid("tradingsymbol"))?;
    let price = match order_type {
        OrderType::Limit | OrderType::StopLimit => {
            price.ok_or_else(|| FormFields::invalid("price"))?
        }
        _ => last_price,
    };
    Ok(MarginOrder { instrument, side, product, quantity, price })
}

impl MarginOrder {
    fn key(&self) -> (Instrument, Product) {
        (self.instrument.clone(), self.product.clone())
    }

    fn signed_quantity(&self) -> Decimal {
        match self.side {
            Side::Buy => self.quantity,
            Side::Sell => -self.quantity,
        }
    }

    /// Returns what the order needs by itself: the value of the part that opens a position.
    fn margin(&self, positions: &Positions) -> Decimal {
        let before = positions.get(&self.key()).copied().unwrap_or_default();
        let after = before + self.signed_quantity();
        (after.abs() - before.abs()).max(Decimal::ZERO) * self.price
    }

    fn charges(&self) -> Charges {
        Charges::of_order(&self.product, self.side, self.quantity * self.price)
    }
}

fn order_json(order: &MarginOrder, positions: &Positions, compact: bool) -> Value {
    let instrument = &order.instrument;
    let segment = match *instrument.exchange() == *Exchange::Mcx.as_str() {
        true => "commodity",
        false => "equity",
    };
    let names = [segment, instrument.symbol(), instrument.exchange()];
    let total = order.margin(positions);
    match compact {
        true => compact_json(names, total),
        false => full_json(names, total, 1, order.charges().to_json("stt")),
    }
}

fn compact_json([segment, symbol, exchange]: [&str; 3], total: Decimal) -> Value {
    json!({
        "type": segment,
        "tradingsymbol": symbol,
        "exchange": exchange,
        "total": json_number(total),
    })
}

fn full_json(names: [&str; 3], total: Decimal, leverage: u8, charges: Value) -> Value {
    let mut json = compact_json(names, total);
    for zero in ["span", "exposure", "option_premium", "additional", "bo", "cash"] {
        json[zero] = 0.into();
    }
    json["var"] = json_number(total);
    json["pnl"] = json!({"realised": 0, "unrealised": 0});
    json["leverage"] = leverage.into();
    json["charges"] = charges;
    json
}
