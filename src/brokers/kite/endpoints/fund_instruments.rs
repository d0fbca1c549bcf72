//! The listing of mutual funds: CSV with a header, some ten thousand rows.

use csv::ByteRecord;

use super::fund_types::FundInstrument;
use super::fund_wire::parse_day;
use crate::broker::{BrokerError, Rows};
use crate::brokers::kite::de::parse_decimal;
use crate::brokers::kite::instruments::{CsvListing, parse_listing};
use crate::brokers::kite::response::RawResponse;

/// Far more funds than there are.
const MAX_FUNDS: usize = 200_000;

/// Reads an answer with the listing.
pub(in crate::brokers::kite) fn parse_response(
    answer: &RawResponse,
) -> Result<Rows<FundInstrument>, BrokerError> {
    parse_listing::<Columns>(answer, MAX_FUNDS)
}

struct Columns {
    fund: usize,
    amc: Option<usize>,
    name: Option<usize>,
    purchase_allowed: usize,
    redemption_allowed: usize,
    minimum_purchase_amount: Option<usize>,
    purchase_amount_multiplier: Option<usize>,
    minimum_additional_purchase_amount: Option<usize>,
    minimum_redemption_quantity: Option<usize>,
    redemption_quantity_multiplier: Option<usize>,
    dividend_type: Option<usize>,
    scheme_type: Option<usize>,
    plan: Option<usize>,
    settlement_type: Option<usize>,
    last_price: Option<usize>,
    last_price_date: Option<usize>,
}

impl CsvListing for Columns {
    type Row = FundInstrument;

    const FIRST_COLUMN: &'static str = "tradingsymbol";

    fn from_header(head: &ByteRecord) -> Result<Self, String> {
        let column = |name: &str| head.iter().position(|one| one == name.as_bytes());
        let needed =
            |name: &str| column(name).ok_or_else(|| format!("there is no column `{name}`"));
        Ok(Self {
            fund: needed("tradingsymbol")?,
            amc: column("amc"),
            name: column("name"),
            purchase_allowed: needed("purchase_allowed")?,
            redemption_allowed: needed("redemption_allowed")?,
            minimum_purchase_amount: column("minimum_purchase_amount"),
            purchase_amount_multiplier: column("purchase_amount_multiplier"),
            // Some copies of the listing call it by the second name.
            minimum_additional_purchase_amount: column("minimum_additional_purchase_amount")
                .or_else(|| column("additional_purchase_multiple")),
            minimum_redemption_quantity: column("minimum_redemption_quantity"),
            redemption_quantity_multiplier: column("redemption_quantity_multiplier"),
            dividend_type: column("dividend_type"),
            scheme_type: column("scheme_type"),
            plan: column("plan"),
            settlement_type: column("settlement_type"),
            last_price: column("last_price"),
            last_price_date: column("last_price_date"),
        })
    }

    fn parse_row(&self, row: &ByteRecord) -> Result<FundInstrument, String> {
        let cell = |column: usize| row.get(column).map(String::from_utf8_lossy).unwrap_or_default();
        let text = |column: Option<usize>| column.map(cell).unwrap_or_default().into_owned();
        let number = |column: Option<usize>| parse_decimal(&text(column));
        let flag = |column: usize| match &*cell(column) {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            other => Err(format!("{other:?} is neither 0 nor 1")),
        };
        let fund = cell(self.fund).into_owned();
        if fund.is_empty() {
            return Err("it names no fund".to_owned());
        }
        Ok(FundInstrument {
            fund,
            amc: text(self.amc),
            name: text(self.name),
            purchase_allowed: flag(self.purchase_allowed)?,
            redemption_allowed: flag(self.redemption_allowed)?,
            minimum_purchase_amount: number(self.minimum_purchase_amount),
            purchase_amount_multiplier: number(self.purchase_amount_multiplier),
            minimum_additional_purchase_amount: number(self.minimum_additional_purchase_amount),
            minimum_redemption_quantity: number(self.minimum_redemption_quantity),
            redemption_quantity_multiplier: number(self.redemption_quantity_multiplier),
            dividend_type: text(self.dividend_type),
            scheme_type: text(self.scheme_type),
            plan: text(self.plan),
            settlement_type: text(self.settlement_type),
            last_price: number(self.last_price).filter(|price| !price.is_zero()),
            last_price_day: parse_day(&text(self.last_price_date)),
        })
    }
}
