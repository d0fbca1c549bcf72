//! Decoding of positions, holdings, margins and the profile.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;

use super::de::{List, Num, Text, WireRows, push_problem, row_problem};
use super::orders::{instrument, timestamp};
use crate::broker::{
    Holding, Margin, MarginFunded, Margins, Partial, Position, Positions, Product, Profile, Rows,
};

/// Both views are required: a missing one would look like an account without positions.
#[derive(Debug, Deserialize)]
pub(super) struct WirePositions {
    net: WireRows<WirePosition>,
    day: WireRows<WirePosition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WirePosition {
    exchange: Text,
    tradingsymbol: Text,
    product: Text,
    quantity: Num,
    overnight_quantity: Num,
    multiplier: Num,
    average_price: Num,
    last_price: Num,
    pnl: Num,
    realised: Num,
    unrealised: Num,
    buy_quantity: Num,
    buy_value: Num,
    sell_quantity: Num,
    sell_value: Num,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireHolding {
    exchange: Text,
    tradingsymbol: Text,
    isin: Text,
    quantity: Num,
    t1_quantity: Num,
    used_quantity: Num,
    authorised_quantity: Num,
    authorised_date: Text,
    collateral_quantity: Num,
    collateral_type: Text,
    #[serde(deserialize_with = "super::de::lenient")]
    mtf: Option<WireMarginFunded>,
    #[serde(deserialize_with = "super::de::lenient")]
    discrepancy: Option<bool>,
    average_price: Num,
    last_price: Num,
    close_price: Num,
    pnl: Num,
    /// Only among the holdings of an auction.
    pub(super) auction_number: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireMarginFunded {
    quantity: Num,
    used_quantity: Num,
    average_price: Num,
    value: Num,
    initial_margin: Num,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireMargin {
    #[serde(deserialize_with = "super::de::lenient")]
    enabled: Option<bool>,
    net: Num,
    #[serde(deserialize_with = "super::de::lenient")]
    available: Option<BTreeMap<String, Num>>,
    #[serde(deserialize_with = "super::de::lenient")]
    utilised: Option<BTreeMap<String, Num>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireProfile {
    user_id: Text,
    user_name: Text,
    email: Text,
    broker: Text,
    #[serde(deserialize_with = "super::de::lenient")]
    exchanges: Option<List<Text>>,
    #[serde(deserialize_with = "super::de::lenient")]
    products: Option<List<Text>>,
}

pub(super) fn positions(wire: WirePositions) -> Result<Partial<Positions>, String> {
    let view = |view: &str, book: WireRows<WirePosition>| {
        book.build("tradingsymbol", |wire| position(wire).map_err(|why| format!("{view}: {why}")))
    };
    let (net, day) = (view("net", wire.net)?, view("day", wire.day)?);
    let positions = Partial::from(Positions::new(net.rows, day.rows));
    Ok(positions.with_problems(net.problems).with_problems(day.problems))
}

pub(super) fn holdings(wire: WireRows<WireHolding>) -> Result<Rows<Holding>, String> {
    wire.build("tradingsymbol", holding)
}

/// Builds one entry for each segment. A segment that is null does not exist in this account.
pub(super) fn margins(wire: BTreeMap<String, Value>) -> Result<Partial<Margins>, String> {
    let mut margins = Partial::<Margins>::default();
    for (at, (segment, value)) in wire.into_iter().enumerate() {
        if value.is_null() {
            continue;
        }
        match WireMargin::deserialize(&value) {
            Ok(wire) => drop(margins.segments.insert(segment, margin(wire))),
            Err(error) => {
                let why = error.to_string();
                push_problem(
                    &mut margins.problems,
                    row_problem(at, "", &value, &why).name(segment),
                )?;
            }
        }
    }
    Ok(margins)
}

pub(super) fn profile(wire: WireProfile) -> Result<Profile, String> {
    let words = |list: Option<List<Text>>| {
        list.map(|list| list.0.into_iter().filter_map(|word| word.0).collect()).unwrap_or_default()
    };
    Ok(Profile {
        user_id: wire.user_id.required("user_id")?,
        user_name: wire.user_name.0.unwrap_or_default(),
        email: wire.email.0.unwrap_or_default(),
        broker: wire.broker.0.unwrap_or_default(),
        exchanges: words(wire.exchanges),
        products: words(wire.products),
    })
}

fn position(wire: WirePosition) -> Result<Position, String> {
    let product = wire.product.as_deref().map(Product::from);
    let mut position = Position::new(instrument(wire.exchange, wire.tradingsymbol)?, product);
    position.quantity = quantity(wire.quantity)?;
    position.overnight_quantity = wire.overnight_quantity.or_zero();
    position.multiplier = wire.multiplier.0.unwrap_or(Decimal::ONE);
    position.average_price = wire.average_price.or_zero();
    position.last_price = wire.last_price.0;
    position.pnl = wire.pnl.0;
    position.realised = wire.realised.0;
    position.unrealised = wire.unrealised.0;
    position.buy_quantity = wire.buy_quantity.or_zero();
    position.buy_value = wire.buy_value.or_zero();
    position.sell_quantity = wire.sell_quantity.or_zero();
    position.sell_value = wire.sell_value.or_zero();
    Ok(position)
}

pub(super) fn holding(wire: WireHolding) -> Result<Holding, String> {
    let instrument = instrument(wire.exchange, wire.tradingsymbol)?;
    let quantity = quantity(wire.quantity)?;
    let mut holding = Holding::new(instrument, quantity, wire.average_price.or_zero());
    holding.isin = wire.isin.0;
    holding.unsettled_quantity = wire.t1_quantity.or_zero();
    holding.used_quantity = wire.used_quantity.or_zero();
    holding.authorised_quantity = wire.authorised_quantity.or_zero();
    holding.authorised_at = timestamp(&wire.authorised_date);
    holding.collateral_quantity = wire.collateral_quantity.or_zero();
    holding.collateral_type = wire.collateral_type.0;
    holding.margin_funded = wire.mtf.and_then(margin_funded);
    holding.discrepancy = wire.discrepancy.unwrap_or_default();
    holding.last_price = wire.last_price.0;
    holding.close_price = wire.close_price.non_zero();
    holding.pnl = wire.pnl.0;
    Ok(holding)
}

/// Kite writes zeros for a holding of which nothing was bought with borrowed money.
fn margin_funded(wire: WireMarginFunded) -> Option<MarginFunded> {
    Some(MarginFunded {
        quantity: wire.quantity.non_zero()?,
        used_quantity: wire.used_quantity.or_zero(),
        average_price: wire.average_price.or_zero(),
        value: wire.value.or_zero(),
        initial_margin: wire.initial_margin.or_zero(),
    })
}

/// Returns a required quantity. A missing one is not zero: a strategy would not close the position.
fn quantity(number: Num) -> Result<Decimal, String> {
    number.0.ok_or_else(|| "it has no quantity".to_owned())
}

/// Builds the funds of the one segment that was asked for. A missing sum is not zero.
pub(super) fn segment_margin(wire: WireMargin) -> Result<Margin, String> {
    wire.net.0.ok_or("it has no net")?;
    Ok(margin(wire))
}

fn margin(wire: WireMargin) -> Margin {
    let amounts = |amounts: Option<BTreeMap<String, Num>>| {
        let amounts = amounts.unwrap_or_default().into_iter();
        amounts.filter_map(|(name, amount)| Some((name, amount.0?))).collect()
    };
    Margin {
        enabled: wire.enabled.unwrap_or_default(),
        net: wire.net.or_zero(),
        available: amounts(wire.available),
        used: amounts(wire.utilised),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_view_is_not_an_account_without_positions() {
        assert!(serde_json::from_str::<WirePositions>(r#"{"day":[]}"#).is_err());
        let empty = serde_json::from_str(r#"{"net":null,"day":[]}"#).unwrap();
        assert_eq!(positions(empty).unwrap(), Positions::default().into());
        let none = r#"{"net":[{"exchange":"NSE","tradingsymbol":"INFY"},
            {"exchange":"NSE","tradingsymbol":"TCS","quantity":5}],"day":[7]}"#;
        let read = positions(serde_json::from_str(none).unwrap()).unwrap();
        assert_eq!((read.net.len(), read.day.len(), read.problems.len()), (1, 0, 2));
        assert_eq!(read.problems[0].reason, "net: it has no quantity");
        assert_eq!(read.problems[0].name.as_deref(), Some("INFY"));
    }

    #[test]
    fn margins_keep_kites_names() {
        let json = r#"{"equity":{"enabled":true,"net":99725.05000000002,
            "available":{"cash":245431.6,"intraday_payin":0},"utilised":{"debits":145706.55}},
            "commodity":null}"#;
        let margins = margins(serde_json::from_str(json).unwrap()).unwrap();
        let equity = margins.segment("equity").unwrap();
        assert!(equity.enabled);
        assert_eq!(equity.net.to_string(), "99725.05000000002");
        assert_eq!(equity.available["cash"].to_string(), "245431.6");
        assert_eq!(equity.used["debits"].to_string(), "145706.55");
        assert_eq!(margins.segment("commodity"), None);
    }
}
