//! Positions, holdings, funds and the owner.

use std::collections::BTreeMap;

use lanekeeper::broker::{
    BrokerError, Holding, Instrument, Margin, Margins, Partial, Position, Positions, Product,
    Profile,
};
use lanekeeper::rust_decimal::Decimal;
use serde_json::Value;

use crate::decode::{decimal, rows};
use crate::errors::malformed;

/// Builds both views. Both are required: a missing one would look like an account without positions.
pub(crate) fn positions(mut data: Value) -> Result<Partial<Positions>, BrokerError> {
    let mut view = |view: &str| rows(data[view].take(), "tradingsymbol", position);
    let (net, day) = (view("net")?, view("day")?);
    let positions = Partial::from(Positions::new(net.rows, day.rows));
    Ok(positions.with_problems(net.problems).with_problems(day.problems))
}

fn position(wire: kiteconnect::Position) -> Result<Position, String> {
    let instrument = Instrument::new(&wire.exchange, &wire.tradingsymbol);
    let mut position = Position::new(instrument, Some(Product::from(wire.product)));
    position.quantity = wire.quantity.into();
    position.overnight_quantity = wire.overnight_quantity.into();
    position.multiplier = decimal(wire.multiplier)?;
    position.average_price = decimal(wire.average_price)?;
    position.last_price = Some(decimal(wire.last_price)?);
    position.pnl = Some(decimal(wire.pnl)?);
    position.realised = Some(decimal(wire.realised)?);
    position.unrealised = Some(decimal(wire.unrealised)?);
    position.buy_quantity = wire.buy_quantity.into();
    position.buy_value = decimal(wire.buy_value)?;
    position.sell_quantity = wire.sell_quantity.into();
    position.sell_value = decimal(wire.sell_value)?;
    Ok(position)
}

pub(crate) fn holding(wire: kiteconnect::Holding) -> Result<Holding, String> {
    let instrument = Instrument::new(&wire.exchange, &wire.tradingsymbol);
    let mut holding = Holding::new(instrument, wire.quantity.into(), decimal(wire.average_price)?);
    holding.isin = Some(wire.isin);
    holding.unsettled_quantity = wire.t1_quantity.into();
    holding.used_quantity = wire.used_quantity.into();
    holding.authorised_quantity = wire.authorised_quantity.into();
    holding.collateral_quantity = wire.collateral_quantity.into();
    holding.discrepancy = wire.discrepancy;
    holding.last_price = Some(decimal(wire.last_price)?);
    holding.close_price = Some(decimal(wire.close_price)?);
    holding.pnl = Some(decimal(wire.pnl)?);
    Ok(holding)
}

pub(crate) fn margins(wire: &kiteconnect::AllMargins) -> Result<Partial<Margins>, BrokerError> {
    let mut margins = Margins::default();
    margins.segments.insert("equity".to_owned(), margin(&wire.equity).map_err(malformed)?);
    if let Some(commodity) = &wire.commodity {
        margins.segments.insert("commodity".to_owned(), margin(commodity).map_err(malformed)?);
    }
    Ok(margins.into())
}

fn margin(wire: &kiteconnect::Margins) -> Result<Margin, String> {
    let mut margin = Margin::default();
    margin.enabled = wire.enabled;
    margin.net = decimal(wire.net)?;
    margin.available = amounts(serde_json::to_value(&wire.available))?;
    margin.used = amounts(serde_json::to_value(&wire.utilised))?;
    Ok(margin)
}

/// Returns the amounts by their names on the wire.
fn amounts(fields: serde_json::Result<Value>) -> Result<BTreeMap<String, Decimal>, String> {
    let Value::Object(fields) = fields.map_err(|error| error.to_string())? else {
        return Err("the amounts are not an object".to_owned());
    };
    let amounts = fields.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
    amounts.map(|(name, amount)| Ok((name, decimal(amount)?))).collect()
}

pub(crate) fn profile(wire: kiteconnect::UserProfile) -> Profile {
    let mut profile = Profile::default();
    profile.user_id = wire.user_id;
    profile.user_name = wire.user_name;
    profile.email = wire.email;
    profile.broker = wire.broker;
    profile.exchanges = wire.exchanges;
    profile.products = wire.products;
    profile
}
