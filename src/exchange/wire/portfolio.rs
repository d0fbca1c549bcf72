//! Positions and holdings.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::broker::{Broker, Holding, Position};
use crate::brokers::PaperBroker;

use super::super::answer::{Answer, ApiError, Body};
use super::{num, num_or_zero};

pub(in super::super) fn positions(broker: &PaperBroker) -> Answer {
    let positions = broker.positions().map_err(|_| ApiError::internal())?;
    let list = |positions: &[Position]| -> Vec<Value> {
        positions.iter().map(|position| position_json(broker, position)).collect()
    };
    Ok(Body::Json(json!({"net": list(&positions.net), "day": list(&positions.day)})))
}

pub(in super::super) fn holdings(broker: &PaperBroker) -> Answer {
    let holdings = broker.holdings().map_err(|_| ApiError::internal())?;
    let list: Vec<Value> = holdings.iter().map(|holding| holding_json(broker, holding)).collect();
    Ok(Body::Json(list.into()))
}

fn close_price(broker: &PaperBroker, instrument: &crate::broker::Instrument) -> Decimal {
    let ohlc = broker.quote_of(instrument).and_then(|quote| quote.ohlc);
    ohlc.map_or(Decimal::ZERO, |ohlc| ohlc.close)
}

fn mean(value: Decimal, quantity: Decimal) -> Decimal {
    value.checked_div(quantity).unwrap_or_default().round_dp(6)
}

fn position_json(broker: &PaperBroker, position: &Position) -> Value {
    let buy_price = num(mean(position.buy_value, position.buy_quantity));
    let sell_price = num(mean(position.sell_value, position.sell_quantity));
    let (buy_value, sell_value) = (num(position.buy_value), num(position.sell_value));
    let (buy_quantity, sell_quantity) = (num(position.buy_quantity), num(position.sell_quantity));
    json!({
        "tradingsymbol": position.instrument.symbol(),
        "exchange": position.instrument.exchange(),
        "instrument_token": broker.token(&position.instrument),
        "product": position.product,
        "quantity": num(position.quantity),
        "overnight_quantity": num(position.overnight_quantity),
        "multiplier": num(position.multiplier),
        "average_price": num(position.average_price.round_dp(6)),
        "close_price": num(close_price(broker, &position.instrument)),
        "last_price": num_or_zero(position.last_price),
        "value": num(position.sell_value - position.buy_value),
        "pnl": num_or_zero(position.pnl),
        "m2m": num_or_zero(position.pnl),
        "unrealised": num_or_zero(position.unrealised),
        "realised": num_or_zero(position.realised),
        "buy_quantity": buy_quantity,
        "buy_price": buy_price,
        "buy_value": buy_value,
        "buy_m2m": buy_value,
        "sell_quantity": sell_quantity,
        "sell_price": sell_price,
        "sell_value": sell_value,
        "sell_m2m": sell_value,
        "day_buy_quantity": buy_quantity,
        "day_buy_price": buy_price,
        "day_buy_value": buy_value,
        "day_sell_quantity": sell_quantity,
        "day_sell_price": sell_price,
        "day_sell_value": sell_value,
    })
}

fn holding_json(broker: &PaperBroker, holding: &Holding) -> Value {
    let close = close_price(broker, &holding.instrument);
    let change = holding.last_price.map_or(Decimal::ZERO, |last| last - close);
    json!({
        "tradingsymbol": holding.instrument.symbol(),
        "exchange": holding.instrument.exchange(),
        "instrument_token": broker.token(&holding.instrument),
        "isin": holding.isin.as_deref().unwrap_or_default(),
        "product": "CNC",
        "price": 0,
        "quantity": num(holding.quantity),
        "used_quantity": 0,
        "t1_quantity": num(holding.unsettled_quantity),
        "realised_quantity": num(holding.quantity),
        "authorised_quantity": 0,
        "authorised_date": "2019-01-01 00:00:00",
        "authorisation": {},
        "opening_quantity": num(holding.quantity + holding.unsettled_quantity),
        "short_quantity": 0,
        "collateral_quantity": 0,
        "collateral_type": "",
        "discrepancy": false,
        "average_price": num(holding.average_price),
        "last_price": num_or_zero(holding.last_price),
        "close_price": num(close),
        "pnl": num_or_zero(holding.pnl),
        "day_change": num(change),
        "day_change_percentage": num(mean(change * Decimal::ONE_HUNDRED, close)),
    })
}
