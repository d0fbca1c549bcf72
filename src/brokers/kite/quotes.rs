//! Quotes: how many instruments fit in one request, and the decoding of the answer.

use std::collections::HashSet;

use form_urlencoded::Serializer;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::classify::ResponseError;
use super::de::{List, Num, Text, push_problem, row_problem};
use super::http::not_sent_error;
use super::order_form::check_instrument;
use super::time;
use crate::broker::{
    BrokerError, Depth, DepthLevel, Instrument, Ohlc, Quote, QuoteBatchLimit, Quotes, Rows,
};

/// The limit of one request.
///
/// Kite documents 500 for `/quote`. Its gateway refuses long addresses before it counts instruments: with
/// `/quote/ltp`, which may name 1000, about 825 keys worked, more gave 400, and still more 414. That is what a
/// request line of 8 KiB holds. 7500 leaves room for the rest of the line.
pub(super) const BATCH_LIMIT: QuoteBatchLimit =
    QuoteBatchLimit { count: 500, bytes: 7500, overhead: "i=&".len() };

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireQuote {
    instrument_token: Text,
    timestamp: Text,
    last_trade_time: Text,
    last_price: Num,
    last_quantity: Num,
    average_price: Num,
    volume: Num,
    buy_quantity: Num,
    sell_quantity: Num,
    net_change: Num,
    oi: Num,
    lower_circuit_limit: Num,
    upper_circuit_limit: Num,
    #[serde(deserialize_with = "super::de::lenient")]
    ohlc: Option<WireOhlc>,
    #[serde(deserialize_with = "super::de::lenient")]
    depth: Option<WireDepth>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireOhlc {
    open: Num,
    high: Num,
    low: Num,
    close: Num,
}

#[derive(Debug, Deserialize)]
struct WireDepth {
    buy: List<WireLevel>,
    sell: List<WireLevel>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireLevel {
    price: Num,
    quantity: Num,
    orders: Num,
}

/// Returns the path that requests quotes of `instruments`, if they fit in one request.
pub(super) fn path(instruments: &[Instrument]) -> Result<String, BrokerError> {
    if let Some(too_many) = exceeds(instruments, BATCH_LIMIT) {
        let advice = "put a QuoteCache in front, it divides them up";
        return Err(not_sent_error(format!("{too_many}: {advice}")));
    }
    Ok(format!("/quote?{}", instruments_query(instruments)))
}

/// Returns the path of `route` for at least one of `instruments`, if they fit in one request.
pub(super) fn instruments_path(
    route: &str,
    instruments: &[Instrument],
    limit: QuoteBatchLimit,
) -> Result<String, BrokerError> {
    if instruments.is_empty() {
        return Err(not_sent_error("no instruments are named"));
    }
    for instrument in instruments {
        check_instrument(instrument)?;
    }
    if let Some(too_many) = exceeds(instruments, limit) {
        return Err(not_sent_error(format!("{too_many}: divide them up")));
    }
    Ok(format!("{route}?{}", instruments_query(instruments)))
}

/// Returns why `instruments` do not fit in one request, if they do not.
fn exceeds(instruments: &[Instrument], limit: QuoteBatchLimit) -> Option<String> {
    let bytes: usize = instruments.iter().map(|instrument| limit.cost(instrument)).sum();
    (instruments.len() > limit.count || bytes > limit.bytes).then(|| {
        let count = match limit.count {
            usize::MAX => "any number".to_owned(),
            count => count.to_string(),
        };
        format!(
            "{} instruments in {bytes} bytes of address are too many for one request, which takes {count} in {}",
            instruments.len(),
            limit.bytes
        )
    })
}

fn instruments_query(instruments: &[Instrument]) -> String {
    let mut query = Serializer::new(String::new());
    for instrument in instruments {
        query.append_pair("i", instrument.as_str());
    }
    query.finish()
}

/// Builds the quotes of an answer. An instrument without data is absent, or null, or has no price.
///
/// An entry that cannot be read becomes a problem: one request serves many callers, and one bad entry must not fail
/// the others. It is named by its key, so that its caller can tell it from one without data.
///
/// An entry that was not `asked` for is a problem too: then a missing instrument may have data under another name.
///
/// # Errors
/// The data has another shape, or none of its entries was asked for.
pub(super) fn quotes(data: Value, asked: &[Instrument]) -> Result<Quotes, ResponseError> {
    let quotes = entries(data, asked, |instrument, wire| quote(&instrument, wire))?;
    let by_name = |quote: Quote| (quote.instrument.clone(), quote);
    Ok(quotes.map(|quotes| quotes.into_iter().map(by_name).collect()))
}

/// Builds the entries of an answer that has them by instrument, by the rules of [`quotes`]. `build` returns `None` if
/// Kite has no data.
pub(super) fn entries<W: DeserializeOwned, T>(
    data: Value,
    asked: &[Instrument],
    build: impl Fn(Instrument, W) -> Option<T>,
) -> Result<Rows<T>, ResponseError> {
    let entries = match data {
        Value::Object(entries) => entries,
        Value::Null => return Ok(Rows::default()),
        _ => return Err("the entries are not an object".to_owned().into()),
    };
    let names: HashSet<&str> = asked.iter().map(Instrument::as_str).collect();
    let was_asked = |key: &str| names.contains(key);
    match entries.keys().next() {
        Some(first) if !entries.keys().any(|key| was_asked(key)) => {
            return Err(ResponseError::WrongRequest(format!("{first:?} was not asked for")));
        }
        _ => {}
    }
    let mut rows = Rows::default();
    for (at, (key, value)) in entries.into_iter().enumerate() {
        let entry = match was_asked(&key) {
            true => entry(&key, &value, &build),
            false => Err("it was not asked for".to_owned()),
        };
        match entry {
            Ok(Some(row)) => rows.push(row),
            Ok(None) => {}
            Err(why) => {
                push_problem(&mut rows.problems, row_problem(at, "", &value, &why).name(key))?
            }
        }
    }
    Ok(rows)
}

/// Builds one entry, or `None` if Kite has no data.
fn entry<W: DeserializeOwned, T>(
    key: &str,
    value: &Value,
    build: impl Fn(Instrument, W) -> Option<T>,
) -> Result<Option<T>, String> {
    if value.is_null() {
        return Ok(None);
    }
    // serde would accept a list too, by position.
    if !value.is_object() {
        return Err("the entry is not an object".to_owned());
    }
    let instrument: Instrument = key.parse().map_err(|error| format!("{error}"))?;
    let wire = W::deserialize(value).map_err(|error| error.to_string())?;
    Ok(build(instrument, wire))
}

fn quote(instrument: &Instrument, wire: WireQuote) -> Option<Quote> {
    let at = |text: &Text| text.as_deref().and_then(time::parse);
    let mut quote = Quote::new(instrument.clone(), wire.last_price.0?);
    quote.last_quantity = wire.last_quantity.0;
    quote.last_trade_at = at(&wire.last_trade_time);
    quote.ohlc = wire.ohlc.and_then(ohlc);
    quote.average_price = wire.average_price.0;
    quote.volume = wire.volume.0;
    quote.buy_quantity = wire.buy_quantity.0;
    quote.sell_quantity = wire.sell_quantity.0;
    quote.net_change = wire.net_change.0;
    quote.open_interest = wire.oi.0;
    quote.lower_circuit = wire.lower_circuit_limit.0;
    quote.upper_circuit = wire.upper_circuit_limit.0;
    quote.depth = wire.depth.map(|wire| depth(wire).into());
    quote.at = at(&wire.timestamp);
    quote.token = wire.instrument_token.0.map(Into::into);
    Some(quote)
}

fn ohlc(wire: WireOhlc) -> Option<Ohlc> {
    Some(Ohlc { open: wire.open.0?, high: wire.high.0?, low: wire.low.0?, close: wire.close.0? })
}

fn depth(wire: WireDepth) -> Depth {
    Depth { bids: levels(wire.buy), asks: levels(wire.sell) }
}

/// Kite pads each side to five levels with zeros; those are not prices.
fn levels(wire: List<WireLevel>) -> Vec<DepthLevel> {
    let level = |level: WireLevel| {
        Some(DepthLevel {
            price: level.price.non_zero()?,
            quantity: level.quantity.non_zero()?,
            orders: level.orders.or_zero().try_into().unwrap_or_default(),
        })
    };
    wire.0.into_iter().filter_map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Quotes {
        let asked = ["NIFTY 50", "A", "B", "C", "D"].map(|name| Instrument::new("NSE", name));
        quotes(serde_json::from_str(json).unwrap(), &asked).unwrap()
    }

    #[test]
    fn an_index_lacks_much() {
        let nifty = Instrument::new("NSE", "NIFTY 50");
        let quotes = read(
            r#"{"NSE:NIFTY 50":{"instrument_token":256265,"last_price":17000,
                "timestamp":"2021-06-08 15:45:56","ohlc":{"open":1,"high":2.5,"low":1,"close":2}}}"#,
        );
        let quote = &quotes[&nifty];
        assert_eq!(quote.last_price, 17_000.into());
        assert_eq!(quote.token.as_deref(), Some("256265"));
        assert_eq!(quote.ohlc.unwrap().high.to_string(), "2.5");
        assert_eq!((&quote.depth, quote.volume, &quote.last_trade_at), (&None, None, &None));
    }

    #[test]
    fn no_data_is_absent() {
        let quotes = read(
            r#"{"NSE:A":null,"NSE:B":{},"NSE:C":{"last_price":null},"NSE:D":{"last_price":1}}"#,
        );
        assert_eq!(quotes.keys().map(Instrument::as_str).collect::<Vec<_>>(), ["NSE:D"]);
        assert!(read("null").is_empty());
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_a_problem_only_for_itself() {
        for odd in [r#""NSE:A":"halted""#, r#""NSE:A":[1,2,3]"#, r#""408065":{"last_price":1}"#] {
            let quotes = read(&format!(r#"{{{odd},"NSE:D":{{"last_price":1}}}}"#));
            assert_eq!(quotes.keys().map(Instrument::as_str).collect::<Vec<_>>(), ["NSE:D"]);
            let name = quotes.problems[0].name.as_deref();
            assert!(quotes.problems.len() == 1 && name.is_some_and(|name| odd.contains(name)));
        }
    }

    #[test]
    fn an_answer_that_is_no_map_is_an_error() {
        for json in ["[]", "1"] {
            let answer = serde_json::from_str(json).unwrap();
            assert!(quotes(answer, &[]).is_err(), "{json}");
        }
    }

    #[test]
    fn levels_of_nothing_are_left_out() {
        let quotes = read(
            r#"{"NSE:A":{"last_price":1,"depth":{"buy":[{"price":99.5,"quantity":7,"orders":2},
                {"price":0,"quantity":0,"orders":0}],"sell":[]}}}"#,
        );
        let depth = quotes[&Instrument::new("NSE", "A")].depth.clone().unwrap();
        assert_eq!((depth.bids.len(), depth.asks.len(), depth.bids[0].orders), (1, 0, 2));
    }

    #[test]
    fn an_address_is_bounded_by_count_and_by_length() {
        let one = |n: usize| Instrument::new("NSE", format!("S{n}"));
        let few: Vec<_> = (0..500).map(one).collect();
        assert!(path(&few).is_ok());
        let many: Vec<_> = (0..501).map(one).collect();
        assert!(path(&many).unwrap_err().to_string().contains("QuoteCache"));
        let long: Vec<_> =
            (0..400).map(|n| Instrument::new("NFO", format!("BANKNIFTY{n:014}"))).collect();
        assert!(path(&long).unwrap_err().to_string().contains("QuoteCache"));
    }

    #[test]
    fn the_cost_is_never_less_than_what_is_sent() {
        for symbol in ["INFY", "M&M", "NIFTY 50", "é*~", "A:B/C?=#%+"] {
            let instrument = Instrument::new("NSE", symbol);
            let sent = path(std::slice::from_ref(&instrument)).unwrap();
            // The first has no `&` before it.
            assert!(BATCH_LIMIT.cost(&instrument) > sent.len() - "/quote?".len(), "{sent}");
        }
    }
}
