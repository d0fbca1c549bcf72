//! The dump of instruments: CSV with a head, tens of thousands of rows.

use std::str::FromStr;

use csv::{ByteRecord, ReaderBuilder};
use jiff::civil::Date;
use rust_decimal::Decimal;

use super::answer::{Answer, Voice};
use super::classify;
use super::de::decimal;
use super::tokens;
use crate::Effect;
use crate::broker::{BrokerError, Instrument, InstrumentInfo};

/// Reads an answer of the dump. An error comes as JSON here too, and that under status 200.
pub(super) fn answer(answer: &Answer) -> Result<Vec<InstrumentInfo>, BrokerError> {
    let good = (200..300).contains(&answer.status);
    // The voice is looked at only where it is cheap: a dump of megabytes is neither.
    let is_csv = good && answer.body.starts_with(b"instrument_token");
    if is_csv || (good && answer.said().0 == Voice::Plain) {
        return rows(&answer.body, tokens::MOST)
            .map_err(|why| classify::unreadable(answer, Effect::Read, &why));
    }
    match classify::success(answer, Effect::Read) {
        Err(error) => Err(error),
        Ok(()) => Err(classify::unreadable(answer, Effect::Read, "JSON where CSV was asked for")),
    }
}

/// Reads the rows, `most` at most: a listing takes many times the memory of a row that is hardly one.
/// Columns are found by name, as Kite adds some now and then.
fn rows(body: &[u8], most: usize) -> Result<Vec<InstrumentInfo>, String> {
    let mut reader = ReaderBuilder::new().from_reader(body);
    let head = reader.byte_headers().map_err(|error| error.to_string())?.clone();
    let column = |name: &str| head.iter().position(|one| one == name.as_bytes());
    let needed = |name: &str| column(name).ok_or_else(|| format!("there is no column `{name}`"));
    let columns = Columns {
        exchange: needed("exchange")?,
        symbol: needed("tradingsymbol")?,
        token: column("instrument_token"),
        name: column("name"),
        kind: column("instrument_type"),
        segment: column("segment"),
        expiry: column("expiry"),
        strike: column("strike"),
        tick_size: column("tick_size"),
        lot_size: column("lot_size"),
    };
    let mut listed = Vec::new();
    let mut row = ByteRecord::new();
    // A row of another length than the head is an error: the dump was cut.
    while reader.read_byte_record(&mut row).map_err(|error| error.to_string())? {
        listed.extend(columns.read(&row));
        if listed.len() > most {
            return Err(format!("it lists more than {most} instruments"));
        }
    }
    Ok(listed)
}

struct Columns {
    exchange: usize,
    symbol: usize,
    token: Option<usize>,
    name: Option<usize>,
    kind: Option<usize>,
    segment: Option<usize>,
    expiry: Option<usize>,
    strike: Option<usize>,
    tick_size: Option<usize>,
    lot_size: Option<usize>,
}

impl Columns {
    /// The listing in `row`, unless it names nothing: what has no symbol cannot be traded.
    fn read(&self, row: &ByteRecord) -> Option<InstrumentInfo> {
        // Names of companies are not always UTF-8.
        let text = |column: usize| row.get(column).map(String::from_utf8_lossy).unwrap_or_default();
        let optional = |column: Option<usize>| column.map(text).unwrap_or_default();
        // Zero is Kite's "none": the strike of a share, the step of an index.
        let number = |column: Option<usize>| {
            decimal(&optional(column)).filter(|number: &Decimal| !number.is_zero())
        };
        let (exchange, symbol) = (text(self.exchange), text(self.symbol));
        if exchange.is_empty() || symbol.is_empty() {
            return None;
        }
        let mut info = InstrumentInfo::new(Instrument::new(exchange, symbol));
        info.token = Some(optional(self.token).into_owned()).filter(|token| !token.is_empty());
        info.name = optional(self.name).into_owned();
        info.kind = optional(self.kind).into_owned();
        info.segment = optional(self.segment).into_owned();
        info.expiry = Date::from_str(&optional(self.expiry)).ok();
        info.strike = number(self.strike);
        info.tick_size = number(self.tick_size);
        info.lot_size = number(self.lot_size);
        Some(info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,\
                        tick_size,lot_size,instrument_type,segment,exchange";

    fn read(rows: &[&str]) -> Result<Vec<InstrumentInfo>, String> {
        super::rows(format!("{HEAD}\n{}\n", rows.join("\n")).as_bytes(), 2)
    }

    #[test]
    fn a_share_and_an_option() {
        let listed = read(&[
            r#"408065,1594,INFY,"INFOSYS, LIMITED",0,,0,0.05,1,EQ,NSE,NSE"#,
            "12073986,47164,NIFTY21JUN15000CE,NIFTY,23.0,2021-06-24,15000.0,0.05,75,CE,NFO-OPT,NFO",
        ])
        .unwrap();
        assert_eq!(listed[0].instrument, Instrument::new("NSE", "INFY"));
        assert_eq!(listed[0].name, "INFOSYS, LIMITED");
        assert_eq!((listed[0].expiry, listed[0].strike), (None, None));
        assert_eq!(listed[1].token.as_deref(), Some("12073986"));
        assert_eq!(listed[1].expiry.unwrap().to_string(), "2021-06-24");
        assert_eq!(listed[1].strike, Some(15_000.into()));
        assert_eq!(listed[1].lot_size, Some(75.into()));
    }

    #[test]
    fn a_listing_without_an_end_is_an_error() {
        let body = format!("exchange,tradingsymbol\n{}", "NSE,A\n".repeat(2));
        assert_eq!(rows(body.as_bytes(), 2).unwrap().len(), 2);
        assert!(rows(body.as_bytes(), 1).unwrap_err().contains("more than 1 instruments"));
    }

    #[test]
    fn a_cut_dump_is_an_error() {
        assert!(read(&["408065,1594,INFY"]).is_err());
        assert!(rows(b"", 2).is_err());
        assert!(rows(b"a,b\n1,2\n", 2).unwrap_err().contains("exchange"));
    }

    #[test]
    fn a_nameless_row_and_an_odd_name_are_borne() {
        let mut body = format!("{HEAD}\n1,1,,,0,,0,0,0,EQ,NSE,NSE\n2,2,X,").into_bytes();
        body.extend(b"\xff,0,,0,0,0,EQ,NSE,NSE\n");
        let listed = rows(&body, 2).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].name, "\u{fffd}");
    }

    #[test]
    fn an_error_under_a_good_status_is_an_error() {
        let body = r#"{"status":"error","message":"Expired","error_type":"TokenException"}"#;
        let expired = Answer { status: 200, body: body.into(), ..Answer::default() };
        assert!(matches!(answer(&expired), Err(BrokerError::Fatal(_))));
        let page = Answer { status: 200, body: "<html>".into(), ..Answer::default() };
        assert!(matches!(answer(&page), Err(BrokerError::Transient(_))));
        let throttle = "Access denied because of exceeding access rate";
        let fast = Answer { status: 200, body: throttle.into(), ..Answer::default() };
        assert!(matches!(answer(&fast), Err(BrokerError::Throttled { .. })));
    }
}
