//! The listing of instruments: CSV with a header, tens of thousands of rows.
//!
//! It is read line by line: a stray quote in one row must not swallow the rows after it.

use std::str::FromStr;

use csv::{ByteRecord, ReaderBuilder};
use jiff::civil::Date;
use rust_decimal::Decimal;

use super::classify;
use super::de::{parse_decimal, push_problem};
use super::instrument_tokens;
use super::response::{BodyKind, RawResponse};
use crate::Effect;
use crate::broker::{BrokerError, ErrorDetail, Instrument, InstrumentInfo, RowProblem, Rows};

/// The columns of a listing, and how a row is made of them.
pub(super) trait CsvListing: Sized {
    type Row;

    /// The first column of the header as Kite writes it, which shows without a look at the rest that the body is CSV.
    const FIRST_COLUMN: &'static str;

    /// Columns are found by name, as Kite adds columns from time to time.
    fn from_header(head: &ByteRecord) -> Result<Self, String>;

    fn parse_row(&self, row: &ByteRecord) -> Result<Self::Row, String>;
}

/// Reads an answer with the listing of instruments.
pub(super) fn parse_response(answer: &RawResponse) -> Result<Rows<InstrumentInfo>, BrokerError> {
    parse_listing::<Columns>(answer, instrument_tokens::MAX_TOKENS)
}

/// Reads an answer with a listing of at most `most` rows. An error is JSON here too, even under status 200.
pub(super) fn parse_listing<L: CsvListing>(
    answer: &RawResponse,
    most: usize,
) -> Result<Rows<L::Row>, BrokerError> {
    let good = (200..300).contains(&answer.status);
    // The kind of the body is determined only for short answers, not for megabytes of CSV.
    if good && answer.body.starts_with(L::FIRST_COLUMN.as_bytes()) {
        // The beginning of the body would quote instruments that are not at fault.
        let undecodable = |why| ErrorDetail::new(format!("the listing cannot be read: {why}"));
        return parse_rows::<L>(&answer.body, most).map_err(|why| {
            classify::decode_error(Effect::Read, undecodable(why).status(answer.status))
        });
    }
    if good && answer.describe().0 == BodyKind::Plain {
        return parse_rows::<L>(&answer.body, most)
            .map_err(|why| classify::unreadable_error(answer, Effect::Read, &why));
    }
    match classify::check_success(answer, Effect::Read) {
        Err(error) => Err(error),
        Ok(()) => {
            Err(classify::unreadable_error(answer, Effect::Read, "JSON where CSV was asked for"))
        }
    }
}

/// Reads at most `most` rows: a decoded row takes many times the memory of a nearly empty line.
fn parse_rows<L: CsvListing>(body: &[u8], most: usize) -> Result<Rows<L::Row>, String> {
    let mut lines = body.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    let mut fields = ByteRecord::new();
    read_line(lines.next().unwrap_or_default(), &mut fields)?;
    let columns = L::from_header(&fields)?;
    let width = fields.len();
    let mut listed = Rows::default();
    for (row, line) in lines.filter(|line| !line.is_empty()).enumerate() {
        let read = read_line(line, &mut fields).and_then(|()| match fields.len() {
            of if of == width => columns.parse_row(&fields),
            // This is what the last row of a cut listing looks like.
            of => Err(format!("it has {of} columns where the head has {width}")),
        });
        match read {
            Ok(info) => listed.push(info),
            Err(why) => {
                let text = String::from_utf8_lossy(line);
                push_problem(&mut listed.problems, RowProblem::new(row, why, text))?;
            }
        }
        if listed.len() > most {
            return Err(format!("it lists more than {most} instruments"));
        }
    }
    Ok(listed)
}

/// Reads the fields of one line.
fn read_line(line: &[u8], into: &mut ByteRecord) -> Result<(), String> {
    into.clear();
    let mut reader =
        ReaderBuilder::new().has_headers(false).buffer_capacity(1024).from_reader(line);
    reader.read_byte_record(into).map(drop).map_err(|error| error.to_string())
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

impl CsvListing for Columns {
    type Row = InstrumentInfo;

    const FIRST_COLUMN: &'static str = "instrument_token";

    fn from_header(head: &ByteRecord) -> Result<Self, String> {
        let column = |name: &str| head.iter().position(|one| one == name.as_bytes());
        let needed =
            |name: &str| column(name).ok_or_else(|| format!("there is no column `{name}`"));
        Ok(Self {
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
        })
    }

    /// Reads the instrument in `row`.
    fn parse_row(&self, row: &ByteRecord) -> Result<InstrumentInfo, String> {
        // Names of companies are not always UTF-8.
        let text = |column: usize| row.get(column).map(String::from_utf8_lossy).unwrap_or_default();
        let optional = |column: Option<usize>| column.map(text).unwrap_or_default();
        // Zero is Kite's "none": the strike of a share, the step of an index.
        let number = |column: Option<usize>| {
            parse_decimal(&optional(column)).filter(|number: &Decimal| !number.is_zero())
        };
        let (exchange, symbol) = (text(self.exchange), text(self.symbol));
        if exchange.is_empty() || symbol.is_empty() {
            return Err("it names no instrument".to_owned());
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
        Ok(info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,\
                        tick_size,lot_size,instrument_type,segment,exchange";

    fn read(rows: &[&str]) -> Result<Rows<InstrumentInfo>, String> {
        super::parse_rows::<Columns>(format!("{HEAD}\n{}\n", rows.join("\n")).as_bytes(), 2)
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
        assert_eq!(parse_rows::<Columns>(body.as_bytes(), 2).unwrap().len(), 2);
        assert!(
            parse_rows::<Columns>(body.as_bytes(), 1)
                .unwrap_err()
                .contains("more than 1 instruments")
        );
    }

    const INFY: &str = "408065,1594,INFY,INFOSYS,0,,0,0.05,1,EQ,NSE,NSE";

    #[test]
    fn a_row_that_cannot_be_read_costs_no_other() {
        for odd in [
            "408065,1594,INFY",
            "1,1,,,0,,0,0,0,EQ,NSE,NSE",
            r#"2,2,"ODD,,0,,0,0,0,EQ,NSE,NSE"#,
            r#"2,2,O"D"D,,0,,0,0,0,EQ,NSE,NSE,""#,
        ] {
            let listed = read(&[INFY, odd, INFY]).unwrap();
            assert_eq!((listed.len(), listed.problems.len()), (2, 1), "{odd}");
            assert_eq!((listed.problems[0].row, listed.problems[0].text.as_str()), (1, odd));
        }
    }

    #[test]
    fn a_dump_that_was_cut_says_so_of_its_last_row() {
        let body = format!("{HEAD}\r\n{INFY}\r\n408065,1594,IN");
        let listed = parse_rows::<Columns>(body.as_bytes(), 2).unwrap();
        assert_eq!((listed.len(), listed.problems.len()), (1, 1));
        assert_eq!(listed.problems[0].reason, "it has 3 columns where the head has 12");
        assert!(parse_rows::<Columns>(b"", 2).is_err());
        assert!(parse_rows::<Columns>(b"a,b\n1,2\n", 2).unwrap_err().contains("exchange"));
    }

    #[test]
    fn an_odd_name_is_borne() {
        let mut body = format!("{HEAD}\n2,2,X,").into_bytes();
        body.extend(b"\xff,0,,0,0,0,EQ,NSE,NSE\n");
        let listed = parse_rows::<Columns>(&body, 2).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].name, "\u{fffd}");
    }

    #[test]
    fn what_is_no_listing_at_all_is_told_without_its_rows() {
        let body = format!("instrument_token,last_price\n{}", "408065,1500.5\n".repeat(100));
        let dump = RawResponse { status: 200, body: body.into(), ..RawResponse::default() };
        let error = parse_response(&dump).unwrap_err();
        assert!(matches!(error, BrokerError::Malformed(_)), "{error}");
        assert!(error.to_string().contains("no column `exchange`"), "{error}");
        assert!(!error.to_string().contains("408065"), "{error}");
    }

    #[test]
    fn an_error_under_a_good_status_is_an_error() {
        let body = r#"{"status":"error","message":"Expired","error_type":"TokenException"}"#;
        let expired = RawResponse { status: 200, body: body.into(), ..RawResponse::default() };
        assert!(matches!(parse_response(&expired), Err(BrokerError::Unauthorized(_))));
        let page = RawResponse { status: 200, body: "<html>".into(), ..RawResponse::default() };
        assert!(matches!(parse_response(&page), Err(BrokerError::Malformed(_))));
        let throttle = "Access denied because of exceeding access rate";
        let fast = RawResponse { status: 200, body: throttle.into(), ..RawResponse::default() };
        assert!(matches!(parse_response(&fast), Err(BrokerError::Throttled { .. })));
    }
}
