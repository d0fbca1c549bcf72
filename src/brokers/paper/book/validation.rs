//! The checks of an order before it enters the order book.

use rust_decimal::Decimal;

use crate::broker::{OrderRequest, OrderType};

use super::OrderBook;
use crate::brokers::paper::error::PaperError;
use crate::brokers::paper::prices::{BarSeries, MAX_VALUE};

/// Checks the order. Returns the current price of its instrument.
pub(super) fn validate(book: &OrderBook, request: &OrderRequest) -> Result<Decimal, PaperError> {
    let now = book
        .price(&request.instrument)
        .ok_or_else(|| PaperError::UnknownInstrument(request.instrument.clone()))?;
    if book.replay().series(&request.instrument).is_some_and(BarSeries::is_index) {
        return Err(PaperError::invalid_field("tradingsymbol", "an index cannot be traded"));
    }
    let in_range = |field, value: Decimal| {
        if value <= Decimal::ZERO || value > MAX_VALUE {
            let what = format!("`{value}` is not more than 0 and at most {MAX_VALUE}");
            return Err(PaperError::invalid_field(field, what));
        }
        Ok(())
    };
    let needs = |field, value: Option<Decimal>| match value {
        Some(value) => in_range(field, value),
        None => {
            let what = format!("a {} order needs it", request.order_type);
            Err(PaperError::invalid_field(field, what))
        }
    };
    in_range("quantity", request.quantity)?;
    match request.order_type {
        OrderType::Market => {}
        OrderType::Limit => needs("price", request.price)?,
        OrderType::Stop => needs("trigger_price", request.trigger_price)?,
        OrderType::StopLimit => {
            needs("trigger_price", request.trigger_price)?;
            needs("price", request.price)?;
        }
        OrderType::TrailingStop | OrderType::Other(_) => {
            let what = format!("`{}` is unknown", request.order_type);
            return Err(PaperError::invalid_field("order_type", what));
        }
    }
    if request
        .disclosed_quantity
        .is_some_and(|disclosed| disclosed.is_sign_negative() || disclosed > request.quantity)
    {
        return Err(PaperError::invalid_field(
            "disclosed_quantity",
            "it is not a part of the quantity",
        ));
    }
    Ok(now)
}

/// Returns the money that the order will block.
pub(super) fn required_funds(
    book: &OrderBook,
    request: &OrderRequest,
    now: Decimal,
) -> Result<Decimal, PaperError> {
    let price = match request.order_type {
        OrderType::Limit | OrderType::StopLimit => request.price,
        OrderType::Stop => request.trigger_price,
        _ => None,
    };
    let required = book.account().required_margin(
        &request.instrument,
        request.product.as_ref(),
        request.side,
        request.quantity,
        price.unwrap_or(now),
    );
    let available = book.account().available();
    if required > available {
        return Err(PaperError::InsufficientFunds {
            required: required.round_dp(2).to_string(),
            available: available.round_dp(2).to_string(),
        });
    }
    Ok(required)
}
