//! What is asked of an order before it may enter the book.

use rust_decimal::Decimal;

use crate::broker::{OrderRequest, OrderType};

use super::book::Book;
use super::prices::LARGEST;
use super::refusal::Refusal;

/// Whether the order can be understood; gives the present price of its instrument.
pub(super) fn check(book: &Book, request: &OrderRequest) -> Result<Decimal, Refusal> {
    let now = book
        .price(&request.instrument)
        .ok_or_else(|| Refusal::Instrument(request.instrument.clone()))?;
    let in_range = |field, value: Decimal| {
        if value <= Decimal::ZERO || value > LARGEST {
            let what = format!("`{value}` is not more than 0 and at most {LARGEST}");
            return Err(Refusal::field(field, what));
        }
        Ok(())
    };
    let needs = |field, value: Option<Decimal>| match value {
        Some(value) => in_range(field, value),
        None => {
            let what = format!("a {} order needs it", request.order_type);
            Err(Refusal::field(field, what))
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
        OrderType::Other(ref word) => {
            return Err(Refusal::field("order_type", format!("`{word}` is unknown")));
        }
    }
    if request
        .disclosed_quantity
        .is_some_and(|disclosed| disclosed.is_sign_negative() || disclosed > request.quantity)
    {
        return Err(Refusal::field("disclosed_quantity", "it is not a part of the quantity"));
    }
    Ok(now)
}

/// The money that the order will hold.
pub(super) fn funds(book: &Book, request: &OrderRequest, now: Decimal) -> Result<Decimal, Refusal> {
    let price = match request.order_type {
        OrderType::Limit | OrderType::StopLimit => request.price,
        OrderType::Stop => request.trigger_price,
        _ => None,
    };
    let required = book.account().needed(
        &request.instrument,
        request.product.as_ref(),
        request.side,
        request.quantity,
        price.unwrap_or(now),
    );
    let available = book.account().available();
    if required > available {
        return Err(Refusal::Funds {
            required: required.round_dp(2).to_string(),
            available: available.round_dp(2).to_string(),
        });
    }
    Ok(required)
}
