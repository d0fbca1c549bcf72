//! Margins and charges on the wire: orders as JSON, and answers of many numbers.

use std::collections::HashSet;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::json::{JsonNumber, json_text};
use super::margin_types::{
    BasketMargins, BasketOptions, ChargedOrder, Charges, Gst, MarginSegment, OrderCharges,
    OrderMargin,
};
use crate::broker::{BrokerError, Instrument, OrderRequest, Partial, Product, Rows, Variety};
use crate::brokers::kite::classify::ResponseError;
use crate::brokers::kite::de::{Num, Text, WireRows};
use crate::brokers::kite::http::not_sent_error;
use crate::brokers::kite::order_form::{
    check_instrument, check_prices, order_type as type_name, price_text, quantity_text,
};
use crate::brokers::kite::order_id::{order_number, path_segment};
use crate::brokers::kite::orders::{instrument, order_type, side};

#[derive(Serialize)]
struct OrderJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<&'a str>,
    exchange: &'a str,
    tradingsymbol: &'a str,
    transaction_type: String,
    variety: &'a str,
    product: &'a str,
    order_type: &'a str,
    quantity: JsonNumber,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<JsonNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger_price: Option<JsonNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    average_price: Option<JsonNumber>,
}

/// Returns the JSON of orders whose margin is asked for.
pub(super) fn orders_json(
    orders: &[OrderRequest],
    default_product: &Product,
) -> Result<String, BrokerError> {
    list_json(orders, |order| {
        let (exchange, tradingsymbol) = check_instrument(&order.instrument)?;
        quantity_text("quantity", order.quantity, Decimal::ONE)?;
        check_prices(&order.order_type, order.price, order.trigger_price)?;
        for (what, price) in [("price", order.price), ("trigger price", order.trigger_price)] {
            price.map(|price| price_text(what, price)).transpose()?;
        }
        Ok(OrderJson {
            order_id: None,
            exchange,
            tradingsymbol,
            transaction_type: order.side.to_string(),
            variety: path_segment("order variety", order.variety.as_str())?,
            product: order.product.as_ref().unwrap_or(default_product).as_str(),
            order_type: type_name(&order.order_type),
            quantity: JsonNumber(order.quantity),
            price: order.price.map(JsonNumber),
            trigger_price: order.trigger_price.map(JsonNumber),
            average_price: None,
        })
    })
}

/// Returns the JSON of orders whose charges are asked for.
pub(super) fn charged_json(
    orders: &[ChargedOrder],
    default_product: &Product,
) -> Result<String, BrokerError> {
    list_json(orders, |order| {
        let (exchange, tradingsymbol) = check_instrument(&order.instrument)?;
        quantity_text("quantity", order.quantity, Decimal::ONE)?;
        price_text("average price", order.average_price)?;
        Ok(OrderJson {
            order_id: Some(order_number(&order.id)?),
            exchange,
            tradingsymbol,
            transaction_type: order.side.to_string(),
            variety: path_segment("order variety", order.variety.as_str())?,
            product: order.product.as_ref().unwrap_or(default_product).as_str(),
            order_type: type_name(&order.order_type),
            quantity: JsonNumber(order.quantity),
            price: None,
            trigger_price: None,
            average_price: Some(JsonNumber(order.average_price)),
        })
    })
}

fn list_json<'a, T>(
    orders: &'a [T],
    json: impl Fn(&'a T) -> Result<OrderJson<'a>, BrokerError>,
) -> Result<String, BrokerError> {
    if orders.is_empty() {
        return Err(not_sent_error("no orders are named"));
    }
    json_text(&orders.iter().map(json).collect::<Result<Vec<_>, _>>()?)
}

/// Returns the path of the margin of a basket.
pub(super) fn basket_path(options: BasketOptions) -> String {
    let BasketOptions { consider_positions, compact } = options;
    let mode = if compact { "&mode=compact" } else { "" };
    format!("/margins/basket?consider_positions={consider_positions}{mode}")
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::brokers::kite) struct WireOrderMargin {
    #[serde(rename = "type")]
    segment: Text,
    tradingsymbol: Text,
    exchange: Text,
    span: Num,
    exposure: Num,
    option_premium: Num,
    additional: Num,
    bo: Num,
    cash: Num,
    var: Num,
    leverage: Num,
    total: Num,
    #[serde(deserialize_with = "crate::brokers::kite::de::lenient")]
    pnl: Option<WirePnl>,
    #[serde(deserialize_with = "crate::brokers::kite::de::lenient")]
    charges: Option<WireCharges>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WirePnl {
    realised: Num,
    unrealised: Num,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireCharges {
    total: Num,
    transaction_tax: Num,
    transaction_tax_type: Text,
    exchange_turnover_charge: Num,
    sebi_turnover_charge: Num,
    brokerage: Num,
    stamp_duty: Num,
    #[serde(deserialize_with = "crate::brokers::kite::de::lenient")]
    gst: Option<WireGst>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireGst {
    igst: Num,
    cgst: Num,
    sgst: Num,
    total: Num,
}

/// Both sums are required: a missing one would look like a basket that needs nothing.
#[derive(Debug, Deserialize)]
pub(in crate::brokers::kite) struct WireBasket {
    initial: WireOrderMargin,
    #[serde(rename = "final")]
    after: WireOrderMargin,
    orders: Option<WireRows<WireOrderMargin>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::brokers::kite) struct WireOrderCharges {
    exchange: Text,
    tradingsymbol: Text,
    transaction_type: Text,
    variety: Text,
    product: Text,
    order_type: Text,
    quantity: Num,
    price: Num,
    #[serde(deserialize_with = "crate::brokers::kite::de::lenient")]
    charges: Option<WireCharges>,
}

/// Builds the margins of `asked`.
pub(in crate::brokers::kite) fn order_margins(
    wire: WireRows<WireOrderMargin>,
    asked: &HashSet<&Instrument>,
) -> Result<Rows<OrderMargin>, ResponseError> {
    let rows = wire.build("tradingsymbol", order_margin)?;
    check_asked(rows.iter().filter_map(|row| row.instrument.as_ref()), asked)?;
    Ok(rows)
}

/// Builds the margin of a basket of `asked`. An order of it that cannot be read is a problem.
pub(in crate::brokers::kite) fn basket_margins(
    wire: WireBasket,
    asked: &HashSet<&Instrument>,
) -> Result<Partial<BasketMargins>, ResponseError> {
    let of = |what: &str, wire| order_margin(wire).map_err(|why| format!("{what}: {why}"));
    let orders = match wire.orders {
        Some(orders) => order_margins(orders, asked)?,
        None => Rows::default(),
    };
    let basket = BasketMargins {
        initial: of("initial", wire.initial)?,
        after: of("final", wire.after)?,
        orders: orders.rows,
    };
    Ok(Partial::from(basket).with_problems(orders.problems))
}

/// Builds the charges of `asked`.
pub(in crate::brokers::kite) fn order_charges(
    wire: WireRows<WireOrderCharges>,
    asked: &HashSet<&Instrument>,
) -> Result<Rows<OrderCharges>, ResponseError> {
    let rows = wire.build("tradingsymbol", charges_of_order)?;
    check_asked(rows.iter().map(|row| &row.instrument), asked)?;
    Ok(rows)
}

/// An answer about an instrument that was not asked for is that to another call.
fn check_asked<'a>(
    named: impl IntoIterator<Item = &'a Instrument>,
    asked: &HashSet<&Instrument>,
) -> Result<(), ResponseError> {
    match named.into_iter().find(|named| !asked.contains(named)) {
        Some(other) => Err(ResponseError::WrongRequest(format!("{other} was not asked for"))),
        None => Ok(()),
    }
}

fn order_margin(wire: WireOrderMargin) -> Result<OrderMargin, String> {
    let pnl = wire.pnl.unwrap_or_default();
    let instrument = match (&wire.exchange.0, &wire.tradingsymbol.0) {
        (Some(exchange), Some(symbol)) => Some(Instrument::new(exchange, symbol)),
        _ => None,
    };
    Ok(OrderMargin {
        instrument,
        segment: wire.segment.0.map(MarginSegment::from),
        // A missing total is not zero: the order would look free.
        total: wire.total.0.ok_or("it has no total")?,
        span: wire.span.or_zero(),
        exposure: wire.exposure.or_zero(),
        option_premium: wire.option_premium.or_zero(),
        additional: wire.additional.or_zero(),
        bracket: wire.bo.or_zero(),
        cash: wire.cash.or_zero(),
        var: wire.var.or_zero(),
        leverage: wire.leverage.non_zero(),
        realised: pnl.realised.or_zero(),
        unrealised: pnl.unrealised.or_zero(),
        charges: wire.charges.map(charges).transpose()?,
    })
}

fn charges_of_order(wire: WireOrderCharges) -> Result<OrderCharges, String> {
    Ok(OrderCharges {
        instrument: instrument(wire.exchange, wire.tradingsymbol)?,
        side: side(wire.transaction_type)?,
        quantity: wire.quantity.0.ok_or("it has no quantity")?,
        price: wire.price.non_zero(),
        order_type: wire.order_type.as_deref().map(order_type),
        product: wire.product.0.map(Product::from),
        variety: wire.variety.0.map(Variety::from),
        charges: charges(wire.charges.ok_or("it has no charges")?)?,
    })
}

fn charges(wire: WireCharges) -> Result<Charges, String> {
    let gst = wire.gst.unwrap_or_default();
    Ok(Charges {
        total: wire.total.0.ok_or("its charges have no total")?,
        transaction_tax: wire.transaction_tax.or_zero(),
        transaction_tax_type: wire.transaction_tax_type.0,
        exchange_turnover: wire.exchange_turnover_charge.or_zero(),
        sebi_turnover: wire.sebi_turnover_charge.or_zero(),
        brokerage: wire.brokerage.or_zero(),
        stamp_duty: wire.stamp_duty.or_zero(),
        gst: Gst {
            integrated: gst.igst.or_zero(),
            central: gst.cgst.or_zero(),
            state: gst.sgst.or_zero(),
            total: gst.total.or_zero(),
        },
    })
}
