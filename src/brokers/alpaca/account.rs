//! Decoding of positions, the account and its assets.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;

use super::symbols::instrument;
use crate::broker::{
    InstrumentInfo, Margin, Margins, Partial, Position, Positions, Profile, RowProblem, Rows,
};
use crate::brokers::http::de::{Num, Text, build_rows, lenient, text_field};

/// The name of the one segment.
const SEGMENT: &str = "account";

/// The smallest step of the quantity of a fractionable share.
const FRACTION: Decimal = Decimal::from_parts(1, 0, 0, false, 9);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WirePosition {
    symbol: Text,
    asset_class: Text,
    side: Text,
    qty: Num,
    avg_entry_price: Num,
    current_price: Num,
    unrealized_pl: Num,
}

/// The account. Its amounts are read by their names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireAccount {
    id: Text,
    account_number: Text,
    status: Text,
    crypto_status: Text,
    #[serde(deserialize_with = "lenient")]
    trading_blocked: Option<bool>,
    #[serde(deserialize_with = "lenient")]
    account_blocked: Option<bool>,
    #[serde(deserialize_with = "lenient")]
    trade_suspended_by_user: Option<bool>,
    buying_power: Num,
    cash: Num,
    equity: Num,
    regt_buying_power: Num,
    daytrading_buying_power: Num,
    non_marginable_buying_power: Num,
    initial_margin: Num,
    maintenance_margin: Num,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireAsset {
    id: Text,
    class: Text,
    exchange: Text,
    symbol: Text,
    name: Text,
    #[serde(deserialize_with = "lenient")]
    tradable: Option<bool>,
    #[serde(deserialize_with = "lenient")]
    fractionable: Option<bool>,
    min_trade_increment: Num,
    price_increment: Num,
}

/// Builds the positions, all of them net: Alpaca has no other view.
pub(super) fn positions(entries: Vec<Value>) -> Result<Partial<Positions>, String> {
    let rows = build_rows(entries, row_problem, position)?;
    Ok(Partial::from(Positions::new(rows.rows, Vec::new())).with_problems(rows.problems))
}

pub(super) fn margins(wire: WireAccount) -> Result<Partial<Margins>, String> {
    let is_off = |flag: Option<bool>| flag.unwrap_or_default();
    let blocked = is_off(wire.trading_blocked)
        || is_off(wire.account_blocked)
        || is_off(wire.trade_suspended_by_user);
    let amounts = |named: &[(&str, Num)]| -> BTreeMap<String, Decimal> {
        named.iter().filter_map(|(name, amount)| Some(((*name).to_owned(), amount.0?))).collect()
    };
    let margin = Margin {
        enabled: wire.status.as_deref() == Some("ACTIVE") && !blocked,
        // Without it, an account in which nothing can be bought would look like one that was read.
        net: wire.buying_power.0.ok_or("it has no buying_power")?,
        available: amounts(&[
            ("cash", wire.cash),
            ("equity", wire.equity),
            ("regt_buying_power", wire.regt_buying_power),
            ("daytrading_buying_power", wire.daytrading_buying_power),
            ("non_marginable_buying_power", wire.non_marginable_buying_power),
        ]),
        used: amounts(&[
            ("initial_margin", wire.initial_margin),
            ("maintenance_margin", wire.maintenance_margin),
        ]),
    };
    Ok(Margins { segments: [(SEGMENT.to_owned(), margin)].into() }.into())
}

pub(super) fn profile(wire: WireAccount) -> Result<Profile, String> {
    let number = wire.account_number.0.or(wire.id.0).ok_or("it has no account_number")?;
    let crypto = wire.crypto_status.as_deref() == Some("ACTIVE");
    let exchanges = std::iter::once("US").chain(crypto.then_some("CRYPTO"));
    Ok(Profile {
        user_id: number,
        broker: "ALPACA".to_owned(),
        exchanges: exchanges.map(str::to_owned).collect(),
        ..Profile::default()
    })
}

pub(super) fn assets(entries: Vec<Value>) -> Result<Rows<InstrumentInfo>, String> {
    build_rows(entries, row_problem, asset)
}

fn position(wire: WirePosition) -> Result<Position, String> {
    // A missing quantity is not zero: a strategy would not close the position.
    let quantity = wire.qty.0.ok_or("it has no qty")?;
    let mut position = Position::new(instrument(wire.symbol, &wire.asset_class)?, None);
    position.quantity = match wire.side.as_deref() {
        // Alpaca writes the quantity of a short position with a sign, and has written it without one.
        Some("short") => -quantity.abs(),
        _ => quantity,
    };
    position.average_price = wire.avg_entry_price.or_zero();
    position.last_price = wire.current_price.0;
    position.pnl = wire.unrealized_pl.0;
    position.unrealised = wire.unrealized_pl.0;
    Ok(position)
}

fn asset(wire: WireAsset) -> Result<InstrumentInfo, String> {
    let mut info = InstrumentInfo::new(instrument(wire.symbol, &wire.class)?);
    info.token = wire.id.0;
    info.name = wire.name.0.unwrap_or_default();
    info.kind = wire.class.0.unwrap_or_default();
    info.segment = wire.exchange.0.unwrap_or_default();
    info.is_tradable = wire.tradable.unwrap_or(true);
    info.tick_size = wire.price_increment.non_zero();
    let share = if wire.fractionable.unwrap_or_default() { FRACTION } else { Decimal::ONE };
    info.lot_size = Some(wire.min_trade_increment.non_zero().unwrap_or(share));
    Ok(info)
}

fn row_problem(row: usize, entry: &Value, why: &str) -> RowProblem {
    let mut problem = RowProblem::new(row, why, entry.to_string());
    problem.name = text_field(entry, "symbol");
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_position_is_negative_with_or_without_its_sign() {
        let json = r#"[{"symbol":"AAPL","asset_class":"us_equity","side":"long","qty":"2.5",
            "avg_entry_price":"180.1","current_price":"190","unrealized_pl":"24.75"},
            {"symbol":"TSLA","side":"short","qty":"5"},{"symbol":"IBM","side":"short","qty":"-5"},
            {"symbol":"KO","side":"long"}]"#;
        let read = positions(serde_json::from_str(json).unwrap()).unwrap();
        let quantities: Vec<String> = read.net.iter().map(|it| it.quantity.to_string()).collect();
        assert_eq!(quantities, ["2.5", "-5", "-5"]);
        assert_eq!(read.net[0].unrealised.unwrap().to_string(), "24.75");
        assert_eq!(read.problems[0].name.as_deref(), Some("KO"));
    }

    #[test]
    fn an_account_is_one_segment() {
        let read = |json: &str| margins(serde_json::from_str(json).unwrap());
        let json = r#"{"status":"ACTIVE","buying_power":"400.10","cash":"200.05","equity":"250",
            "initial_margin":"0","trading_blocked":false,"pending_transfer_in":null}"#;
        let margins = read(json).unwrap();
        let account = margins.segment(SEGMENT).unwrap();
        assert!(account.enabled);
        assert_eq!(account.net.to_string(), "400.10");
        assert_eq!(account.available["cash"].to_string(), "200.05");
        assert_eq!(account.used.len(), 1);
        let blocked = json.replace("trading_blocked\":false", "account_blocked\":true");
        assert!(!read(&blocked).unwrap().segments[SEGMENT].enabled);
        assert!(read(r#"{"status":"ACTIVE"}"#).is_err());
    }

    #[test]
    fn an_asset_says_whether_it_is_traded_and_in_fractions() {
        let json = r#"[{"id":"u-1","class":"us_equity","exchange":"NASDAQ","symbol":"AAPL",
            "name":"Apple","tradable":true,"fractionable":true},
            {"class":"us_equity","symbol":"OLD","tradable":false,"fractionable":false},
            {"class":"crypto","symbol":"BTC/USD","tradable":true,"fractionable":true,
            "min_trade_increment":"0.0001","price_increment":"1"},{"class":"us_equity"}]"#;
        let read = assets(serde_json::from_str(json).unwrap()).unwrap();
        let lots: Vec<_> = read.iter().map(|it| it.lot_size.unwrap().to_string()).collect();
        assert_eq!(lots, ["0.000000001", "1", "0.0001"]);
        let tradable: Vec<_> = read.iter().map(|it| it.is_tradable).collect();
        assert_eq!((tradable, read.problems.len()), (vec![true, false, true], 1));
        assert_eq!((read[0].segment.as_str(), read[0].token.as_deref()), ("NASDAQ", Some("u-1")));
    }
}
