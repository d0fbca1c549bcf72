//! Prices: snapshots as quotes, and bars as candles.

use std::collections::HashMap;

use form_urlencoded::Serializer;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::symbols::{AssetClass, class_and_symbol};
use super::time;
use crate::broker::{
    BrokerError, Candle, CandleRequest, Depth, DepthLevel, Instrument, Interval, Ohlc, Quote,
    QuoteBatchLimit, Quotes, RowProblem, Rows,
};
use crate::brokers::http::de::{Num, Text, build_rows, lenient, push_problem};
use crate::brokers::http::outcome::{ResponseError, not_sent_error};

/// The limit of one request. Alpaca documents none but that of the address, for which 7500 bytes leave room in a
/// request line of 8 KiB.
pub(super) const BATCH_LIMIT: QuoteBatchLimit =
    QuoteBatchLimit { count: 1000, bytes: 7500, overhead: "%2C".len() };

/// The most bars of one page.
const BARS_PER_PAGE: usize = 10_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireSnapshot {
    #[serde(deserialize_with = "lenient")]
    latest_trade: Option<WireTrade>,
    #[serde(deserialize_with = "lenient")]
    latest_quote: Option<WireQuote>,
    #[serde(deserialize_with = "lenient")]
    daily_bar: Option<WireBar>,
    #[serde(deserialize_with = "lenient")]
    prev_daily_bar: Option<WireBar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireTrade {
    t: Text,
    p: Num,
    s: Num,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireQuote {
    t: Text,
    ap: Num,
    #[serde(rename = "as")]
    ask_size: Num,
    bp: Num,
    bs: Num,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireBar {
    t: Text,
    o: Num,
    h: Num,
    l: Num,
    c: Num,
    v: Num,
    vw: Num,
}

/// One page of the bars of one instrument.
#[derive(Debug, Deserialize)]
pub(super) struct WireBars {
    /// By symbol. It may be null, but it is required: an answer without it is not one without candles.
    #[serde(deserialize_with = "null_as_none")]
    bars: Option<HashMap<String, Vec<Value>>>,
    #[serde(default)]
    next_page_token: Text,
}

/// Reads a field that may be null but not missing.
fn null_as_none<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(from)
}

/// Instruments of one class, which fit in one request.
pub(super) struct SnapshotRequest<'a> {
    class: AssetClass,
    /// The instruments by their symbols.
    asked: HashMap<&'a str, &'a Instrument>,
}

/// Divides instruments into the requests for them, one for each class.
///
/// # Errors
/// `NotSent`: they are too many, or one of them is not at Alpaca.
pub(super) fn snapshot_requests(
    instruments: &[Instrument],
) -> Result<Vec<SnapshotRequest<'_>>, BrokerError> {
    let bytes: usize = instruments.iter().map(|instrument| BATCH_LIMIT.cost(instrument)).sum();
    if instruments.len() > BATCH_LIMIT.count || bytes > BATCH_LIMIT.bytes {
        return Err(not_sent_error(format!(
            "{} instruments in {bytes} bytes of address are too many for one request, which takes {} \
             in {}: put a QuoteCache in front, it divides them up",
            instruments.len(),
            BATCH_LIMIT.count,
            BATCH_LIMIT.bytes
        )));
    }
    let mut requests: Vec<SnapshotRequest<'_>> = Vec::new();
    for instrument in instruments {
        let (class, symbol) = class_and_symbol(instrument)?;
        match requests.iter_mut().find(|request| request.class == class) {
            Some(request) => drop(request.asked.insert(symbol, instrument)),
            None => {
                requests.push(SnapshotRequest { class, asked: [(symbol, instrument)].into() });
            }
        }
    }
    Ok(requests)
}

impl SnapshotRequest<'_> {
    pub(super) fn path(&self, feed: Option<&str>) -> String {
        let mut symbols: Vec<&str> = self.asked.keys().copied().collect();
        symbols.sort_unstable();
        let mut query = Serializer::new(String::new());
        query.append_pair("symbols", &symbols.join(","));
        if let Some(feed) = feed.filter(|_| self.class == AssetClass::Equity) {
            query.append_pair("feed", feed);
        }
        format!("{}/snapshots?{}", data_route(self.class), query.finish())
    }

    /// Builds the quotes of an answer. An instrument without data is absent, or null, or has no trade. An entry that
    /// cannot be read, or that was not asked for, becomes a problem.
    ///
    /// # Errors
    /// The data has another shape, or none of its entries was asked for.
    pub(super) fn quotes(&self, data: Value) -> Result<Quotes, ResponseError> {
        let Value::Object(mut entries) = data else {
            return Err("the quotes are not an object".to_owned().into());
        };
        // Only the answers about stocks have no frame.
        if self.class != AssetClass::Equity {
            entries = match entries.remove("snapshots") {
                Some(Value::Object(entries)) => entries,
                _ => return Err("it has no snapshots".to_owned().into()),
            };
        }
        self.check_asked(&entries)?;
        let mut quotes = Quotes::default();
        for (at, (symbol, value)) in entries.into_iter().enumerate() {
            let entry = match self.asked.get(symbol.as_str()) {
                Some(instrument) => entry(instrument, &value),
                None => Err("it was not asked for".to_owned()),
            };
            match entry {
                Ok(Some(quote)) => drop(quotes.insert(quote.instrument.clone(), quote)),
                Ok(None) => {}
                Err(why) => {
                    let problem = RowProblem::new(at, why, value.to_string());
                    let name = self.asked.get(symbol.as_str()).map(ToString::to_string);
                    push_problem(&mut quotes.problems, problem.name(name.unwrap_or(symbol)))?;
                }
            }
        }
        Ok(quotes)
    }

    fn check_asked(&self, entries: &Map<String, Value>) -> Result<(), ResponseError> {
        match entries.keys().next() {
            Some(first) if !entries.keys().any(|key| self.asked.contains_key(key.as_str())) => {
                Err(ResponseError::WrongRequest(format!("{first:?} was not asked for")))
            }
            _ => Ok(()),
        }
    }
}

/// Returns the path for a page of candles. `feed` is the source of the prices of stocks.
///
/// # Errors
/// `NotSent`: Alpaca does not have what is requested.
pub(super) fn bars_path(
    request: &CandleRequest,
    feed: Option<&str>,
    page: Option<&str>,
) -> Result<String, BrokerError> {
    if request.continuous || request.open_interest {
        return Err(not_sent_error("Alpaca has no continuous contracts and no open interest"));
    }
    let (class, symbol) = class_and_symbol(&request.instrument)?;
    let (from, to) = request.range(&time::zone())?;
    let mut query = Serializer::new(String::new());
    query
        .append_pair("symbols", symbol)
        .append_pair("timeframe", &timeframe(&request.interval)?)
        .append_pair("start", &from.timestamp().to_string())
        .append_pair("end", &to.timestamp().to_string())
        .append_pair("limit", &BARS_PER_PAGE.to_string());
    if let Some(feed) = feed.filter(|_| class == AssetClass::Equity) {
        query.append_pair("feed", feed);
    }
    if let Some(token) = page {
        query.append_pair("page_token", token);
    }
    Ok(format!("{}/bars?{}", data_route(class), query.finish()))
}

/// Builds a page of candles, and returns the token of the next page.
pub(super) fn candles(
    wire: WireBars,
    instrument: &Instrument,
) -> Result<(Rows<Candle>, Option<String>), ResponseError> {
    let mut bars = wire.bars.unwrap_or_default();
    let ours = bars.remove(instrument.symbol());
    if let (None, Some(other)) = (&ours, bars.keys().next()) {
        return Err(ResponseError::WrongRequest(format!(
            "it is about {other:?}, and not {:?}",
            instrument.symbol()
        )));
    }
    let problem = |row, entry: &Value, why: &str| RowProblem::new(row, why, entry.to_string());
    let build = |bar: WireBar| candle(&bar).ok_or_else(|| "it is no candle".to_owned());
    let rows = build_rows(ours.unwrap_or_default(), problem, build)?;
    Ok((rows, wire.next_page_token.0))
}

fn data_route(class: AssetClass) -> &'static str {
    match class {
        AssetClass::Equity => "/v2/stocks",
        AssetClass::Crypto => "/v1beta3/crypto/us",
        AssetClass::Option => "/v1beta1/options",
    }
}

/// Returns Alpaca's word for an interval. One that this crate does not name is sent as it is, for example `1Week`.
fn timeframe(interval: &Interval) -> Result<String, BrokerError> {
    let word = match interval {
        Interval::Minute => "1Min",
        Interval::ThreeMinutes => "3Min",
        Interval::FiveMinutes => "5Min",
        Interval::TenMinutes => "10Min",
        Interval::FifteenMinutes => "15Min",
        Interval::ThirtyMinutes => "30Min",
        Interval::Hour => "1Hour",
        Interval::Day => "1Day",
        Interval::Other(word) if word.bytes().all(|byte| byte.is_ascii_alphanumeric()) => word,
        Interval::Other(word) => return Err(not_sent_error(format!("no interval: {word:?}"))),
    };
    Ok(word.to_owned())
}

/// Builds the quote of one entry, or `None` if Alpaca has no data.
fn entry(instrument: &Instrument, value: &Value) -> Result<Option<Quote>, String> {
    if value.is_null() {
        return Ok(None);
    }
    // serde would accept a list too, by position.
    if !value.is_object() {
        return Err("the quote is not an object".to_owned());
    }
    let wire = WireSnapshot::deserialize(value).map_err(|error| error.to_string())?;
    Ok(quote(instrument, wire))
}

fn quote(instrument: &Instrument, wire: WireSnapshot) -> Option<Quote> {
    let trade = wire.latest_trade?;
    let mut quote = Quote::new(instrument.clone(), trade.p.0?);
    quote.last_quantity = trade.s.0;
    quote.last_trade_at = time::parse(&trade.t);
    quote.at.clone_from(&quote.last_trade_at);
    if let Some(day) = &wire.daily_bar {
        quote.ohlc = ohlc(day);
        quote.average_price = day.vw.0;
        quote.volume = day.v.0;
    }
    let previous = wire.prev_daily_bar.and_then(|bar| bar.c.0);
    quote.net_change = previous.and_then(|close| quote.last_price.checked_sub(close));
    if let Some(book) = wire.latest_quote {
        let level = |price: Num, size: Num| {
            let price = price.non_zero()?;
            Some(DepthLevel { price, quantity: size.or_zero(), orders: 0 })
        };
        let bids = level(book.bp, book.bs).into_iter().collect();
        let asks = level(book.ap, book.ask_size).into_iter().collect();
        quote.depth = Some(Depth { bids, asks }.into());
        quote.at = time::parse(&book.t).max(quote.at);
    }
    Some(quote)
}

fn candle(bar: &WireBar) -> Option<Candle> {
    Some(Candle::new(time::parse(&bar.t)?, ohlc(bar)?, bar.v.or_zero()))
}

fn ohlc(bar: &WireBar) -> Option<Ohlc> {
    Some(Ohlc { open: bar.o.0?, high: bar.h.0?, low: bar.l.0?, close: bar.c.0? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn us(symbol: &str) -> Instrument {
        Instrument::new("US", symbol)
    }

    #[test]
    fn a_snapshot_is_a_quote() {
        let asked = [us("AAPL"), us("NONE"), us("ODD"), us("IDLE")];
        let request = snapshot_requests(&asked).unwrap().remove(0);
        let path = request.path(Some("iex"));
        assert_eq!(path, "/v2/stocks/snapshots?symbols=AAPL%2CIDLE%2CNONE%2CODD&feed=iex");
        let day = json!({"t": "2026-03-02T05:00:00Z", "o": 180, "h": 191.5, "l": 179, "c": 190.25,
            "v": 1000, "vw": 185.125});
        let data = json!({"AAPL": {
                "latestTrade": {"t": "2026-03-02T15:00:01Z", "p": 190.25, "s": 3, "x": "V"},
                "latestQuote": {"t": "2026-03-02T15:00:02Z", "ap": 190.3, "as": 2, "bp": 0, "bs": 0},
                "dailyBar": day, "prevDailyBar": {"c": 189.75}, "minuteBar": null},
            "NONE": null, "ODD": 7, "IDLE": {"latestTrade": null}, "MORE": {}});
        let quotes = request.quotes(data).unwrap();
        let quote = &quotes[&us("AAPL")];
        assert_eq!(quote.last_price.to_string(), "190.25");
        assert_eq!(quote.net_change.unwrap().to_string(), "0.50");
        assert_eq!(quote.ohlc.unwrap().high.to_string(), "191.5");
        let depth = quote.depth.as_ref().unwrap();
        assert_eq!((depth.bids.len(), depth.asks.len()), (0, 1));
        assert_eq!(quote.at.as_ref().unwrap().second(), 2);
        // Sorted, for serde_json's `preserve_order`, which any other crate may turn on, decides their order.
        let mut names: Vec<_> =
            quotes.problems.iter().filter_map(|it| it.name.as_deref()).collect();
        names.sort_unstable();
        assert_eq!((quotes.len(), names), (1, vec!["MORE", "US:ODD"]));
        let other = request.quotes(json!({"MSFT": {}}));
        assert!(matches!(other, Err(ResponseError::WrongRequest(_))));
        assert!(request.quotes(json!([])).is_err());
    }

    #[test]
    fn each_class_has_a_request_of_its_own() {
        let asked = [us("AAPL"), Instrument::new("CRYPTO", "BTC/USD"), us("IBM")];
        let requests = snapshot_requests(&asked).unwrap();
        let paths: Vec<String> = requests.iter().map(|request| request.path(Some("iex"))).collect();
        assert_eq!(
            paths,
            [
                "/v2/stocks/snapshots?symbols=AAPL%2CIBM&feed=iex",
                "/v1beta3/crypto/us/snapshots?symbols=BTC%2FUSD"
            ]
        );
        let data = json!({"snapshots": {"BTC/USD": {"latestTrade": {"p": 60000.5}}}});
        assert_eq!(requests[1].quotes(data).unwrap().len(), 1);
        assert!(requests[1].quotes(json!({})).is_err());
        assert!(snapshot_requests(&[Instrument::new("NSE", "INFY")]).is_err());
        let many: Vec<_> = (0..1001).map(|number| us(&number.to_string())).collect();
        assert!(snapshot_requests(&many).is_err());
    }

    #[test]
    fn bars_are_candles() {
        let from: jiff::Timestamp = "2026-03-02T14:30:00Z".parse().unwrap();
        let request = |interval| CandleRequest::new(us("AAPL"), interval, from, from);
        assert_eq!(
            bars_path(&request(Interval::Hour), None, Some("QQ==")).unwrap(),
            "/v2/stocks/bars?symbols=AAPL&timeframe=1Hour&start=2026-03-02T14%3A30%3A00Z&\
             end=2026-03-02T14%3A30%3A00Z&limit=10000&page_token=QQ%3D%3D"
        );
        assert!(
            bars_path(&request(Interval::from("1Week")), None, None).unwrap().contains("1Week")
        );
        assert!(bars_path(&request(Interval::from("1&x=2")), None, None).is_err());
        assert!(bars_path(&request(Interval::Day).continuous(), None, None).is_err());
        let read = |json: Value| candles(serde_json::from_value(json).unwrap(), &us("AAPL"));
        let bar = json!({"t": "2026-03-02T14:30:00Z", "o": 1, "h": 2, "l": 0.5, "c": 1.5, "v": 7});
        let (rows, next) =
            read(json!({"bars": {"AAPL": [bar, {"t": "x"}]}, "next_page_token": "n"})).unwrap();
        assert_eq!((rows.len(), rows.problems.len(), next.as_deref()), (1, 1, Some("n")));
        assert_eq!(rows[0].at.hour(), 9);
        let error = json!({"code": 42210000, "message": "error"});
        assert!(serde_json::from_value::<WireBars>(error).is_err(), "an error under a good status");
        let (rows, next) = read(json!({"bars": null, "next_page_token": null})).unwrap();
        assert_eq!((rows.len(), next), (0, None));
        assert!(matches!(read(json!({"bars": {"MSFT": []}})), Err(ResponseError::WrongRequest(_))));
    }
}
