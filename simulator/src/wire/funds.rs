//! Mutual funds: orders, holdings and the listing.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use jiff::civil::Date;
use lanekeeper::broker::Side;
use lanekeeper::brokers::PaperBroker;

use super::{USER_ID, json_number, naive_time, sips, uuid};
use crate::accounts::Account;
use crate::http::form::FormFields;
use crate::http::response::{ApiData, ApiError, ApiResult};
use crate::mutual_funds::listing::{FUNDS, Fund, HOUSE, REDEMPTION_STEP};
use crate::mutual_funds::{FundAccount, FundHolding, FundOrder, MAX_NUMBER, find_fund};
use crate::route::FundRoute;

/// The columns of the listing, in Kite's order.
const COLUMNS: [&str; 16] = [
    "tradingsymbol",
    "amc",
    "name",
    "purchase_allowed",
    "redemption_allowed",
    "minimum_purchase_amount",
    "purchase_amount_multiplier",
    "minimum_additional_purchase_amount",
    "minimum_redemption_quantity",
    "redemption_quantity_multiplier",
    "dividend_type",
    "scheme_type",
    "plan",
    "settlement_type",
    "last_price",
    "last_price_date",
];

/// Kite's bound on the length of a tag.
const MAX_TAG_LENGTH: usize = 20;

/// Executes a request to `route`.
pub(crate) fn answer(
    broker: &PaperBroker,
    account: Account<'_>,
    route: FundRoute<'_>,
    form: &FormFields,
) -> ApiResult {
    let priced_on = price_date(broker);
    let json = match route {
        FundRoute::Orders => account.read(|state| {
            let orders = state.funds.orders.iter();
            let json = |(number, order)| order_json(number, order, &state.funds, priced_on);
            let mut list: Vec<Value> = orders.map(json).collect();
            list.reverse();
            Ok(list.into())
        }),
        FundRoute::Order { id } => {
            let number = parse_order_id(id)?;
            account.read(|state| {
                let order = state.funds.order(number)?;
                Ok(order_json(number, order, &state.funds, priced_on))
            })
        }
        FundRoute::PlaceOrder => {
            let order = parse_order(broker, form)?;
            let number = account.next_number();
            account.change(|state| state.funds.place(number, order))?;
            Ok(json!({"order_id": uuid::of(number)}))
        }
        FundRoute::CancelOrder { id } => {
            let number = parse_order_id(id)?;
            account.change(|state| state.funds.cancel(number))?;
            Ok(json!({"order_id": id}))
        }
        FundRoute::Holdings => account.read(|state| {
            let holdings = state.funds.holdings.iter().map(holding_json);
            Ok(holdings.collect::<Vec<_>>().into())
        }),
        FundRoute::Instruments => return instruments(priced_on),
        FundRoute::Sips => Ok(sips::all(account)),
        FundRoute::Sip { id } => sips::one(account, id),
        FundRoute::PlaceSip => sips::place(broker, account, form),
        FundRoute::ModifySip { id } => sips::modify(account, id, form),
        FundRoute::CancelSip { id } => sips::cancel(account, id),
    };
    json.map(ApiData::Json)
}

/// Returns the date of the funds' prices: they are known the day after.
fn price_date(broker: &PaperBroker) -> Date {
    let today = broker.now().date();
    today.yesterday().unwrap_or(today)
}

fn parse_order_id(id: &str) -> Result<u64, ApiError> {
    uuid::parse(id).ok_or_else(|| ApiError::not_found("Couldn't find that `order_id`."))
}

fn parse_order(broker: &PaperBroker, form: &FormFields) -> Result<FundOrder, ApiError> {
    form.reject_unknown(&["tradingsymbol", "transaction_type", "amount", "quantity", "tag"])?;
    let fund = find_fund(form.require("tradingsymbol")?)?;
    let side = match form.require("transaction_type")? {
        "BUY" => Side::Buy,
        "SELL" => Side::Sell,
        _ => return Err(FormFields::invalid("transaction_type")),
    };
    // A purchase is for an amount and a redemption for a number of units.
    let (wanted, other) = match side {
        Side::Buy => ("amount", "quantity"),
        Side::Sell => ("quantity", "amount"),
    };
    form.require(wanted)?;
    let number = parse_number(form, wanted)?.unwrap_or_default();
    if parse_number(form, other)?.is_some() {
        return Err(FormFields::invalid(other));
    }
    let (amount, quantity) = match side {
        Side::Buy => (number, Decimal::ZERO),
        Side::Sell => (Decimal::ZERO, number),
    };
    Ok(FundOrder {
        fund,
        side,
        amount,
        quantity,
        tag: parse_tag(form)?,
        of_sip: false,
        placed_at: broker.now(),
        cancelled: false,
    })
}

/// Returns an amount or a number of units, or `None` if it is missing or zero.
pub(super) fn parse_number(form: &FormFields, name: &str) -> Result<Option<Decimal>, ApiError> {
    let number = form.price(name)?;
    let in_range = |number: &Decimal| number.is_sign_positive() && *number <= MAX_NUMBER;
    match number {
        Some(number) if !in_range(&number) => Err(FormFields::invalid(name)),
        number => Ok(number),
    }
}

pub(super) fn parse_tag(form: &FormFields) -> Result<Option<String>, ApiError> {
    match form.get("tag") {
        Some(tag)
            if tag.len() > MAX_TAG_LENGTH
                || !tag.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            Err(FormFields::invalid("tag"))
        }
        tag => Ok(tag.map(str::to_owned)),
    }
}

fn order_json(number: u64, order: &FundOrder, funds: &FundAccount, priced_on: Date) -> Value {
    let purchase_type = match order.side {
        Side::Buy if funds.holds(order.fund) => "ADDITIONAL".into(),
        Side::Buy => "FRESH".into(),
        Side::Sell => Value::Null,
    };
    json!({
        "order_id": uuid::of(number),
        "exchange_order_id": null,
        "tradingsymbol": order.fund.isin,
        "fund": order.fund.name,
        "status": order.status(),
        "status_message": "",
        "folio": null,
        "order_timestamp": naive_time(&order.placed_at),
        "exchange_timestamp": null,
        "settlement_id": null,
        "transaction_type": order.side,
        "variety": if order.of_sip { "sip" } else { "regular" },
        "purchase_type": purchase_type,
        "quantity": json_number(order.quantity),
        "amount": json_number(order.amount),
        "last_price": json_number(order.fund.last_price),
        "last_price_date": priced_on.to_string(),
        "average_price": 0,
        "placed_by": USER_ID,
        "tag": order.tag,
    })
}

fn holding_json(holding: &FundHolding) -> Value {
    json!({
        "folio": null,
        "fund": holding.fund.name,
        "tradingsymbol": holding.fund.isin,
        "average_price": json_number(holding.average_price),
        "last_price": json_number(holding.fund.last_price),
        "last_price_date": "",
        "pledged_quantity": 0,
        // Kite sends no profit here.
        "pnl": 0,
        "quantity": json_number(holding.quantity),
    })
}

fn instruments(priced_on: Date) -> ApiResult {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut write = |row: [&str; 16]| csv.write_record(row).map_err(|_| ApiError::internal());
    write(COLUMNS)?;
    let flag = |allowed: bool| if allowed { "1" } else { "0" };
    let text = |decimal: Decimal| decimal.normalize().to_string();
    for fund in &FUNDS {
        let Fund { isin, name, dividend_type, scheme_type, plan, settlement_type, .. } = fund;
        write([
            isin,
            HOUSE,
            name,
            flag(fund.purchase_allowed),
            "1",
            &text(fund.minimum_purchase),
            &text(fund.purchase_multiple),
            &text(fund.minimum_additional),
            &text(REDEMPTION_STEP),
            &text(REDEMPTION_STEP),
            dividend_type,
            scheme_type,
            plan,
            settlement_type,
            &text(fund.last_price),
            &priced_on.to_string(),
        ])?;
    }
    let bytes = csv.into_inner().map_err(|_| ApiError::internal())?;
    Ok(ApiData::Csv(String::from_utf8(bytes).map_err(|_| ApiError::internal())?))
}
