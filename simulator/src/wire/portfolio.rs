//! Positions and their conversion, and holdings.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use lanekeeper::broker::{Broker, Holding, Instrument, Position, Product, Side};
use lanekeeper::brokers::PaperBroker;

use super::{json_number, json_number_or_zero};
use crate::http::form::FormFields;
use crate::http::response::{ApiData, ApiError, ApiResult};

pub(crate) fn positions(broker: &PaperBroker) -> ApiResult {
    let positions = broker.positions().map_err(|_| ApiError::internal())?;
    let list = |positions: &[Position]| -> Vec<Value> {
        positions.iter().map(|position| position_json(broker, position)).collect()
    };
    Ok(ApiData::Json(json!({"net": list(&positions.net), "day": list(&positions.day)})))
}

/// Converts a part of a position to another product.
pub(crate) fn convert(broker: &PaperBroker, form: &FormFields) -> ApiResult {
    form.reject_unknown(&[
        "exchange",
        "tradingsymbol",
        "transaction_type",
        "position_type",
        "quantity",
        "old_product",
        "new_product",
    ])?;
    let instrument = Instrument::new(form.require("exchange")?, form.require("tradingsymbol")?);
    let side = match form.require("transaction_type")? {
        "BUY" => Side::Buy,
        "SELL" => Side::Sell,
        _ => return Err(FormFields::invalid("transaction_type")),
    };
    let of_today = match form.require("position_type")? {
        "day" => true,
        "overnight" => false,
        _ => return Err(FormFields::invalid("position_type")),
    };
    form.require("quantity")?;
    let quantity = form.integer("quantity")?.filter(|quantity| *quantity > 0);
    let quantity = quantity.ok_or_else(|| FormFields::invalid("quantity"))?;
    let product = |name| match Product::from(form.require(name)?) {
        Product::Co | Product::Other(_) => Err(FormFields::invalid(name)),
        product => Ok(product),
    };
    let (old, new) = (product("old_product")?, product("new_product")?);
    if old == new {
        return Err(FormFields::invalid("new_product"));
    }
    // The paper broker carries nothing overnight.
    if !of_today {
        return Err(ApiError::input("Invalid `quantity`: no position is carried overnight."));
    }
    broker.backend().convert_position(&instrument, side, quantity.into(), &old, &new)?;
    Ok(ApiData::Json(true.into()))
}

pub(crate) fn holdings(broker: &PaperBroker) -> ApiResult {
    list_holdings(broker, |holding| holding_json(broker, holding))
}

/// The holdings with their quantities alone.
pub(crate) fn compact_holdings(broker: &PaperBroker) -> ApiResult {
    list_holdings(broker, |holding| {
        json!({
            "exchange": holding.instrument.exchange(),
            "tradingsymbol": holding.instrument.symbol(),
            "instrument_token": broker.backend().token(&holding.instrument),
            "t1_quantity": json_number(holding.unsettled_quantity),
            "quantity": json_number(holding.quantity),
        })
    })
}

fn list_holdings(broker: &PaperBroker, json: impl Fn(&Holding) -> Value) -> ApiResult {
    let holdings = broker.holdings().map_err(|_| ApiError::internal())?;
    let list: Vec<Value> = holdings.iter().map(json).collect();
    Ok(ApiData::Json(list.into()))
}

/// What the holdings cost and are worth.
pub(crate) fn holdings_summary(broker: &PaperBroker) -> ApiResult {
    let holdings = broker.holdings().map_err(|_| ApiError::internal())?;
    let [mut invested, mut current, mut yesterday] = [Decimal::ZERO; 3];
    for holding in holdings.iter() {
        let quantity = holding.quantity + holding.unsettled_quantity;
        invested += quantity * holding.average_price;
        current += quantity * holding.last_price.unwrap_or_default();
        yesterday += quantity * close_price(broker, &holding.instrument);
    }
    let percent = |gain: Decimal, of: Decimal| json_number(mean(gain * Decimal::ONE_HUNDRED, of));
    Ok(ApiData::Json(json!({
        "total_pnl": json_number(current - invested),
        "total_pnl_percent": percent(current - invested, invested),
        "today_pnl": json_number(current - yesterday),
        "today_pnl_percent": percent(current - yesterday, yesterday),
        "invested_amount": json_number(invested),
        "current_value": json_number(current),
    })))
}

/// The holdings that can be sold in an auction: none, because no auction is in progress.
pub(crate) fn auctions() -> ApiResult {
    Ok(ApiData::Json(json!([])))
}

fn close_price(broker: &PaperBroker, instrument: &Instrument) -> Decimal {
    let ohlc = broker.backend().quote(instrument).and_then(|quote| quote.ohlc);
    ohlc.map_or(Decimal::ZERO, |ohlc| ohlc.close)
}

fn mean(value: Decimal, quantity: Decimal) -> Decimal {
    value.checked_div(quantity).unwrap_or_default().round_dp(6)
}

fn position_json(broker: &PaperBroker, position: &Position) -> Value {
    let buy_price = json_number(mean(position.buy_value, position.buy_quantity));
    let sell_price = json_number(mean(position.sell_value, position.sell_quantity));
    let (buy_value, sell_value) =
        (json_number(position.buy_value), json_number(position.sell_value));
    let (buy_quantity, sell_quantity) =
        (json_number(position.buy_quantity), json_number(position.sell_quantity));
    json!({
        "tradingsymbol": position.instrument.symbol(),
        "exchange": position.instrument.exchange(),
        "instrument_token": broker.backend().token(&position.instrument),
        "product": position.product,
        "quantity": json_number(position.quantity),
        "overnight_quantity": json_number(position.overnight_quantity),
        "multiplier": json_number(position.multiplier),
        "average_price": json_number(position.average_price.round_dp(6)),
        "close_price": json_number(close_price(broker, &position.instrument)),
        "last_price": json_number_or_zero(position.last_price),
        "value": json_number(position.sell_value - position.buy_value),
        "pnl": json_number_or_zero(position.pnl),
        "m2m": json_number_or_zero(position.pnl),
        "unrealised": json_number_or_zero(position.unrealised),
        "realised": json_number_or_zero(position.realised),
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
        "instrument_token": broker.backend().token(&holding.instrument),
        "isin": holding.isin.as_deref().unwrap_or_default(),
        "product": "CNC",
        "price": 0,
        "quantity": json_number(holding.quantity),
        "used_quantity": 0,
        "t1_quantity": json_number(holding.unsettled_quantity),
        "realised_quantity": json_number(holding.quantity),
        "authorised_quantity": 0,
        "authorised_date": "2019-01-01 00:00:00",
        "authorisation": {},
        "opening_quantity": json_number(holding.quantity + holding.unsettled_quantity),
        "short_quantity": 0,
        "collateral_quantity": 0,
        "collateral_type": "",
        "discrepancy": false,
        "average_price": json_number(holding.average_price),
        "last_price": json_number_or_zero(holding.last_price),
        "close_price": json_number(close),
        "pnl": json_number_or_zero(holding.pnl),
        "day_change": json_number(change),
        "day_change_percentage": json_number(mean(change * Decimal::ONE_HUNDRED, close)),
        "mtf": {
            "quantity": 0,
            "used_quantity": 0,
            "average_price": 0,
            "value": 0,
            "initial_margin": 0,
        },
    })
}
