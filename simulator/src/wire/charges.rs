//! The charges of orders: taxes, fees and brokerage.
//!
//! The rates are those that Zerodha lists for shares at NSE (zerodha.com/charges), and are used for every instrument.
//! The paper broker itself takes no charges.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use lanekeeper::broker::{Product, Side};
use lanekeeper::brokers::PaperBroker;

use super::json_fields::JsonFields;
use super::json_number;
use crate::http::form::FormFields;
use crate::http::response::{ApiData, ApiResult};

/// Rates, as parts of one.
const EXCHANGE: Decimal = rate(297, 7);
const SEBI: Decimal = rate(1, 6);
const GST: Decimal = rate(18, 2);
/// Shares that are delivered are taxed on both sides and cost no brokerage; intraday trades are taxed when sold.
const DELIVERY_TAX: Decimal = rate(1, 3);
const INTRADAY_TAX: Decimal = rate(25, 5);
const DELIVERY_STAMP: Decimal = rate(15, 5);
const INTRADAY_STAMP: Decimal = rate(3, 5);
const BROKERAGE: Decimal = rate(3, 4);
/// The most that one order costs in brokerage, in rupees.
const MAX_BROKERAGE: Decimal = rate(20, 0);

const fn rate(digits: u32, scale: u32) -> Decimal {
    Decimal::from_parts(digits, 0, 0, false, scale)
}

/// The charges of one order or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Charges {
    transaction_tax: Decimal,
    exchange_turnover: Decimal,
    sebi_turnover: Decimal,
    brokerage: Decimal,
    stamp_duty: Decimal,
    gst: Decimal,
}

impl Charges {
    /// Returns the charges of an order of this value.
    pub(crate) fn of_order(product: &Product, side: Side, value: Decimal) -> Self {
        let delivery = matches!(product, Product::Cnc | Product::Mtf);
        let bought = side == Side::Buy;
        let or_none = |applies: bool, rate: Decimal| match applies {
            true => value * rate,
            false => Decimal::ZERO,
        };
        let mut charges = Self {
            transaction_tax: match delivery {
                true => value * DELIVERY_TAX,
                false => or_none(!bought, INTRADAY_TAX),
            },
            exchange_turnover: value * EXCHANGE,
            sebi_turnover: value * SEBI,
            brokerage: or_none(!delivery, BROKERAGE).min(MAX_BROKERAGE),
            stamp_duty: or_none(bought, if delivery { DELIVERY_STAMP } else { INTRADAY_STAMP }),
            gst: Decimal::ZERO,
        };
        charges.gst = (charges.brokerage + charges.exchange_turnover + charges.sebi_turnover) * GST;
        charges
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            transaction_tax: self.transaction_tax + other.transaction_tax,
            exchange_turnover: self.exchange_turnover + other.exchange_turnover,
            sebi_turnover: self.sebi_turnover + other.sebi_turnover,
            brokerage: self.brokerage + other.brokerage,
            stamp_duty: self.stamp_duty + other.stamp_duty,
            gst: self.gst + other.gst,
        }
    }

    fn total(self) -> Decimal {
        self.transaction_tax
            + self.exchange_turnover
            + self.sebi_turnover
            + self.brokerage
            + self.stamp_duty
            + self.gst
    }

    /// Returns the charges as the wire has them. `tax` names the transaction tax, and is empty for a sum.
    pub(crate) fn to_json(self, tax: &str) -> Value {
        json!({
            "transaction_tax": json_number(self.transaction_tax),
            "transaction_tax_type": tax,
            "exchange_turnover_charge": json_number(self.exchange_turnover),
            "sebi_turnover_charge": json_number(self.sebi_turnover),
            "brokerage": json_number(self.brokerage),
            "stamp_duty": json_number(self.stamp_duty),
            "gst": {
                "igst": json_number(self.gst),
                "cgst": 0,
                "sgst": 0,
                "total": json_number(self.gst),
            },
            "total": json_number(self.total()),
        })
    }
}

/// Answers with the charges of each order in the body.
pub(crate) fn order_charges(broker: &PaperBroker, body: &Value) -> ApiResult {
    let orders = JsonFields::list(body, "orders")?;
    let notes: Result<Vec<Value>, _> = orders
        .into_iter()
        .map(|order| {
            order.text("order_id")?;
            let (instrument, side) = (order.instrument()?, order.side()?);
            if broker.backend().token(&instrument).is_none() {
                return Err(FormFields::invalid("tradingsymbol"));
            }
            let (variety, order_type) = (order.text("variety")?, order.text("order_type")?);
            let product = order.product()?;
            let (quantity, price) = (order.quantity()?, order.positive("average_price")?);
            let charges = Charges::of_order(&product, side, quantity * price);
            Ok(json!({
                "transaction_type": side,
                "tradingsymbol": instrument.symbol(),
                "exchange": instrument.exchange(),
                "variety": variety,
                "product": product,
                "order_type": order_type,
                "quantity": json_number(quantity),
                "price": json_number(price),
                "charges": charges.to_json("stt"),
            }))
        })
        .collect();
    Ok(ApiData::Json(notes?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(product: Product, side: Side, value: u32) -> Value {
        Charges::of_order(&product, side, value.into()).to_json("stt")
    }

    #[test]
    fn each_charge_is_its_part_of_the_value() {
        let bought = of(Product::Cnc, Side::Buy, 100_000);
        for (name, expected) in [
            ("transaction_tax", "100"),
            ("exchange_turnover_charge", "2.97"),
            ("sebi_turnover_charge", "0.1"),
            ("brokerage", "0"),
            ("stamp_duty", "15"),
            ("total", "118.6226"),
        ] {
            assert_eq!(bought[name].to_string(), expected, "{name}");
        }
        assert_eq!(bought["gst"]["total"].to_string(), "0.5526");
        assert_eq!(of(Product::Cnc, Side::Sell, 100_000)["stamp_duty"].to_string(), "0");
        let sold = of(Product::Mis, Side::Sell, 10_000);
        assert_eq!(sold["transaction_tax"].to_string(), "2.5");
        assert_eq!(sold["brokerage"].to_string(), "3");
        assert_eq!(sold["gst"]["total"].to_string(), "0.59526");
        assert_eq!(of(Product::Mis, Side::Buy, 10_000)["transaction_tax"].to_string(), "0");
        assert_eq!(of(Product::Mis, Side::Buy, 1_000_000)["brokerage"].to_string(), "20");
    }
}
