//! The bars that are replayed: read from a CSV file, or synthetic.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use jiff::civil::Date;
use jiff::fmt::temporal::Pieces;
use jiff::{Zoned, tz::TimeZone};
use rust_decimal::Decimal;

use crate::bounded::{BoundedReader, ReadLimit};
use crate::broker::{Candle, Instrument, Ohlc};

use super::synthetic::SyntheticSeries;

const COLUMNS: [&str; 8] = ["time", "exchange", "symbol", "open", "high", "low", "close", "volume"];

/// No price and no quantity may be larger. It keeps every product and sum that the account makes of
/// them far inside what a decimal can hold.
pub(super) const MAX_VALUE: Decimal = integer(1_000_000_000);

/// The same bound for sums: a day's volume, an account's cash.
pub(super) const MAX_SUM: Decimal = integer(1_000_000_000_000_000);

/// The tick size of an instrument of a price file.
const TICK_SIZE: Decimal = Decimal::from_parts(5, 0, 0, false, 2);

/// Returns a whole number in a constant, where `Decimal::from` cannot be used.
const fn integer(number: u64) -> Decimal {
    Decimal::from_parts((number & 0xFFFF_FFFF) as u32, (number >> 32) as u32, 0, false, 0)
}

/// Bars of any number of instruments.
///
/// ```
/// use lanekeeper::brokers::paper::Prices;
///
/// let prices = Prices::from_csv(
///     "time,exchange,symbol,open,high,low,close,volume\n\
///      2019-01-01T09:15:00+05:30,NSE,INFY,660,662.5,659,661,1200\n",
/// )?;
/// assert_eq!(prices.instruments().next().unwrap().as_str(), "NSE:INFY");
/// # Ok::<(), lanekeeper::brokers::paper::PricesError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Prices {
    // Ordered, so that listings and tokens do not change from run to run.
    series: BTreeMap<Instrument, BarSeries>,
}

/// The bars of one instrument, at least one, each later than the one before.
#[derive(Debug, Clone)]
pub(super) struct BarSeries {
    first: Candle,
    rest: Vec<Candle>,
    /// What the bars are computed from, and those of earlier days; `None` if they are real.
    synthetic: Option<SyntheticSeries>,
}

/// A price file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PricesError {
    /// The file cannot be read.
    #[error("cannot read the prices: {0}")]
    Read(#[from] std::io::Error),
    /// A line is wrong.
    #[error("prices, line {line}: {what}")]
    Line {
        /// Counted from 1; the header is line 1.
        line: u64,
        /// What is wrong with it, in words.
        what: String,
    },
    /// The file has no bars.
    #[error("the prices hold no bars")]
    Empty,
}

/// The bounds of a file: enough for a year of minutes of a dozen instruments, and lines far longer than any bar.
const READ_LIMIT: ReadLimit = ReadLimit::new(128 << 20, 4096);

impl Prices {
    /// Reads the file at `path`, which may be a pipe.
    ///
    /// # Errors
    /// The file cannot be read or is too large, or a line is wrong; see [`Prices::from_reader`].
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, PricesError> {
        Self::from_reader(File::open(path)?)
    }

    /// Reads CSV text; see [`Prices::from_reader`].
    ///
    /// # Errors
    /// A line is wrong.
    pub fn from_csv(text: &str) -> Result<Self, PricesError> {
        Self::from_reader(text.as_bytes())
    }

    /// Reads CSV with the columns `time,exchange,symbol,open,high,low,close,volume`. Times are
    /// RFC 3339 with an offset, and rise for each instrument; lines of several instruments may mix.
    /// At most 128 MiB are read, in lines of at most 4096 bytes.
    ///
    /// # Errors
    /// The first wrong line, with its number and what is wrong. [`PricesError::Read`] once more than the
    /// limit was read.
    ///
    /// ```
    /// use lanekeeper::brokers::paper::Prices;
    ///
    /// // An endless device, for example.
    /// let error = Prices::from_reader(std::io::repeat(0)).unwrap_err();
    /// assert_eq!(error.to_string(), "cannot read the prices: line 1 is longer than 4096 bytes");
    /// ```
    pub fn from_reader(reader: impl Read) -> Result<Self, PricesError> {
        Self::read(BoundedReader::new(reader, READ_LIMIT))
    }

    fn read(reader: BoundedReader<impl Read>) -> Result<Self, PricesError> {
        let mut lines = csv::Reader::from_reader(reader);
        let header = lines.headers().map_err(csv_error)?;
        if header.iter().ne(COLUMNS) {
            let found = header.iter().collect::<Vec<_>>().join(",");
            let what = format!("the header must be `{}`, not `{found}`", COLUMNS.join(","));
            return Err(PricesError::Line { line: 1, what });
        }
        let mut series: BTreeMap<Instrument, BarSeries> = BTreeMap::new();
        for record in lines.records() {
            let record = record.map_err(csv_error)?;
            let wrong = |what| PricesError::Line {
                line: record.position().map_or(0, csv::Position::line),
                what,
            };
            let (instrument, bar) = parse_row(&record).map_err(wrong)?;
            match series.get_mut(&instrument) {
                None => {
                    let bars = BarSeries { first: bar, rest: Vec::new(), synthetic: None };
                    series.insert(instrument, bars);
                }
                Some(known) if known.last().at < bar.at => known.rest.push(bar),
                Some(known) => {
                    let last = &known.last().at;
                    return Err(wrong(format!(
                        "the bar of {instrument} at {} does not come after the one at {}",
                        bar.at.strftime("%FT%T%:z"),
                        last.strftime("%FT%T%:z"),
                    )));
                }
            }
        }
        if series.is_empty() {
            return Err(PricesError::Empty);
        }
        Ok(Self { series })
    }

    /// A small real series, for trials and examples: two days of NSE:YESBANK and three of
    /// NSE:JUNIORBEES, a bar a minute.
    pub fn sample() -> Self {
        // The file is part of the crate and a test reads it, so the fallback is never used.
        Self::from_csv(include_str!("../../../data/nse_minute.csv"))
            .unwrap_or_else(|_| Self { series: BTreeMap::new() })
    }

    /// Makes a day of synthetic bars, one a minute, for thirty well-known shares of NSE and the indices `NIFTY 50` and
    /// `NIFTY BANK`. The prices are invented: a random walk near a plausible level, in whole ticks.
    ///
    /// The same `seed` and `last_day` make the same bars on every machine. The day is `last_day`, or the Friday
    /// before it if it is on a weekend. A [`PaperBroker`](super::PaperBroker) has candles of the 1000 weekdays before
    /// it too, which are computed when they are read. An index has no volume, and cannot be traded.
    ///
    /// [`PaperBuilder::synthetic`](super::PaperBuilder::synthetic) uses the day at which the broker starts.
    ///
    /// ```
    /// use lanekeeper::broker::Instrument;
    /// use lanekeeper::brokers::paper::Prices;
    /// use lanekeeper::jiff::civil::date;
    ///
    /// let prices = Prices::sample().and(Prices::synthetic(1, date(2026, 11, 29)));
    /// let infy = Instrument::new("NSE", "INFY");
    /// assert!(prices.is_synthetic(&infy));
    /// assert!(!prices.is_synthetic(&Instrument::new("NSE", "YESBANK")));
    /// // The last weekday, a Friday.
    /// assert_eq!(prices.bars(&infy).next().unwrap().at.date(), date(2026, 11, 27));
    /// ```
    pub fn synthetic(seed: u64, last_day: Date) -> Self {
        let series = SyntheticSeries::all(seed, last_day).filter_map(|synthetic| {
            let mut bars = synthetic.bars_today();
            // Only at the ends of the calendar there are none.
            let first = bars.next()?;
            let rest = bars.collect();
            let instrument = synthetic.instrument();
            Some((instrument, BarSeries { first, rest, synthetic: Some(synthetic) }))
        });
        Self { series: series.collect() }
    }

    /// Joins the bars of `self` and `others`. An instrument of both keeps those of `self`.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        let mut series = others.series;
        series.extend(self.series);
        Self { series }
    }

    /// Returns whether the bars of `instrument` are invented, by [`Prices::synthetic`].
    pub fn is_synthetic(&self, instrument: &Instrument) -> bool {
        self.series(instrument).is_some_and(|series| series.synthetic().is_some())
    }

    /// Returns the instruments, in alphabetical order.
    pub fn instruments(&self) -> impl Iterator<Item = &Instrument> {
        self.series.keys()
    }

    /// Returns the bars of `instrument` in time order; none if it is unknown.
    pub fn bars(&self, instrument: &Instrument) -> impl Iterator<Item = &Candle> {
        self.series.get(instrument).into_iter().flat_map(BarSeries::iter)
    }

    pub(super) fn series(&self, instrument: &Instrument) -> Option<&BarSeries> {
        self.series.get(instrument)
    }

    pub(super) fn all_series(&self) -> impl Iterator<Item = (&Instrument, &BarSeries)> {
        self.series.iter()
    }
}

impl BarSeries {
    pub(super) fn len(&self) -> usize {
        self.rest.len() + 1
    }

    /// Returns the bar at `position` of the tape, which starts again after the last bar.
    pub(super) fn bar(&self, position: u64) -> &Candle {
        let before = self.index(position).checked_sub(1);
        before.and_then(|rest| self.rest.get(rest)).unwrap_or(&self.first)
    }

    fn index(&self, position: u64) -> usize {
        // The remainder is below `len`, so the fallback is never used.
        usize::try_from(position % self.len() as u64).unwrap_or(0)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Candle> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// Returns the bars that candles of the days from `from` to `to` are made of, and perhaps others. The replayed
    /// day of a synthetic series ends at the bar that is current at `position`, so its last candle agrees with the
    /// quote. A file is returned whole.
    pub(super) fn bars_for_candles(
        &self,
        from: Date,
        to: Date,
        position: u64,
    ) -> impl Iterator<Item = Candle> {
        let past = self.synthetic.iter().flat_map(move |past| past.history(from, to));
        let shown = match self.synthetic {
            Some(_) => self.index(position) + 1,
            None => self.len(),
        };
        past.chain(self.iter().take(shown).cloned())
    }

    /// Returns the last close before `day`, if one is known.
    pub(super) fn close_before(&self, day: Date) -> Option<Decimal> {
        let before = self.iter().rev().find(|past| past.at.date() < day);
        let close = before.map(|past| past.ohlc.close);
        close.or_else(|| self.synthetic.as_ref().map(SyntheticSeries::close_before))
    }

    /// Returns what the bars are computed from; `None` if they are real.
    pub(super) fn synthetic(&self) -> Option<&SyntheticSeries> {
        self.synthetic.as_ref()
    }

    /// Returns whether this is an index, which cannot be traded.
    pub(super) fn is_index(&self) -> bool {
        self.synthetic().is_some_and(SyntheticSeries::is_index)
    }

    pub(super) fn tick_size(&self) -> Decimal {
        self.synthetic().map_or(TICK_SIZE, SyntheticSeries::tick_size)
    }

    fn last(&self) -> &Candle {
        self.rest.last().unwrap_or(&self.first)
    }
}

fn csv_error(error: csv::Error) -> PricesError {
    let line = error.position().map_or(1, csv::Position::line);
    match error.into_kind() {
        csv::ErrorKind::Io(error) => PricesError::Read(error),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            PricesError::Line { line, what: format!("{len} fields instead of {expected_len}") }
        }
        csv::ErrorKind::Utf8 { .. } => PricesError::Line { line, what: "not UTF-8".to_owned() },
        kind => PricesError::Line { line, what: format!("{kind:?}") },
    }
}

fn parse_row(record: &csv::StringRecord) -> Result<(Instrument, Candle), String> {
    let field = |column: usize| record.get(column).unwrap_or_default();
    let (exchange, symbol) = (field(1), field(2));
    if exchange.is_empty() || exchange.contains(':') {
        return Err(format!("`{exchange}` is not the code of an exchange"));
    }
    if symbol.is_empty() {
        return Err("the symbol is missing".to_owned());
    }
    let price = |column| parse_number(record, column, Decimal::ZERO, MAX_VALUE);
    let ohlc = Ohlc { open: price(3)?, high: price(4)?, low: price(5)?, close: price(6)? };
    if ohlc.low.is_zero() {
        return Err("a price must be more than 0".to_owned());
    }
    if ohlc.low > ohlc.open.min(ohlc.close) || ohlc.high < ohlc.open.max(ohlc.close) {
        let Ohlc { open, high, low, close } = ohlc;
        return Err(format!(
            "the open {open} and close {close} must lie between the low {low} and high {high}"
        ));
    }
    let volume = parse_number(record, 7, Decimal::ZERO, MAX_SUM)?;
    Ok((Instrument::new(exchange, symbol), Candle::new(parse_time(field(0))?, ohlc, volume)))
}

fn parse_number(
    record: &csv::StringRecord,
    column: usize,
    least: Decimal,
    most: Decimal,
) -> Result<Decimal, String> {
    let text = record.get(column).unwrap_or_default();
    let name = COLUMNS.get(column).copied().unwrap_or_default();
    let number: Decimal = text.parse().map_err(|_| format!("`{text}` is not a number ({name})"))?;
    if number < least || number > most {
        return Err(format!("`{text}` is not between {least} and {most} ({name})"));
    }
    Ok(number)
}

fn parse_time(text: &str) -> Result<Zoned, String> {
    let wrong = || {
        format!("`{text}` is not a time with an offset; write it as in 2019-01-01T09:15:00+05:30")
    };
    let pieces = Pieces::parse(text).map_err(|_| wrong())?;
    let (Some(time), Some(offset)) = (pieces.time(), pieces.to_numeric_offset()) else {
        return Err(wrong());
    };
    let timestamp = offset.to_timestamp(pieces.date().to_datetime(time)).map_err(|_| wrong())?;
    Ok(timestamp.to_zoned(TimeZone::fixed(offset)))
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    const HEADER: &str = "time,exchange,symbol,open,high,low,close,volume\n";

    fn error(lines: &str) -> String {
        Prices::from_csv(&format!("{HEADER}{lines}")).unwrap_err().to_string()
    }

    #[test]
    fn the_sample_is_whole() {
        let prices = Prices::sample();
        let names: Vec<_> = prices.instruments().map(Instrument::as_str).collect();
        assert_eq!(names, ["NSE:JUNIORBEES", "NSE:YESBANK"]);
        let juniorbees = Instrument::new("NSE", "JUNIORBEES");
        assert_eq!(prices.bars(&juniorbees).count(), 606);
        let first = prices.bars(&juniorbees).next().unwrap();
        assert_eq!(first.ohlc.close, Decimal::from(292));
        assert_eq!(first.at.strftime("%FT%T%z").to_string(), "2019-01-01T09:15:00+0530");
    }

    #[test]
    fn an_error_names_the_line_and_what_is_wrong() {
        let good = "2019-01-01T09:15:00+05:30,NSE,X,10,12,9,11,5\n";
        let after_good = |line: &str| error(&format!("{good}{line}"));
        for (line, expected) in [
            ("2019-01-01T09:16:00,NSE,X,1,1,1,1,1", "line 3: `2019-01-01T09:16:00` is not a time"),
            ("2019-01-01,NSE,X,1,1,1,1,1", "line 3: `2019-01-01` is not a time"),
            (
                "2019-01-01T09:16:00+05:30,NSE,X,1,1,1,ten,1",
                "line 3: `ten` is not a number (close)",
            ),
            ("2019-01-01T09:16:00+05:30,NSE,X,1,1,-1,1,1", "line 3: `-1` is not between 0 and"),
            ("2019-01-01T09:16:00+05:30,NSE,X,0,0,0,0,1", "line 3: a price must be more than 0"),
            ("2019-01-01T09:16:00+05:30,NSE,X,1,1,1,1,1e40", "line 3: `1e40` is not a number"),
            ("2019-01-01T09:16:00+05:30,NSE,X,10,12,11,11,1", "line 3: the open 10 and close 11"),
            ("2019-01-01T09:16:00+05:30,NSE,X,1,1,1", "line 3: 6 fields instead of 8"),
            ("2019-01-01T09:16:00+05:30,,X,1,1,1,1,1", "line 3: `` is not the code"),
            ("2019-01-01T09:16:00+05:30,NSE,,1,1,1,1,1", "line 3: the symbol is missing"),
            (
                "2019-01-01T09:15:00+05:30,NSE,X,1,1,1,1,1",
                "line 3: the bar of NSE:X at 2019-01-01T09:15",
            ),
        ] {
            let error = after_good(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        let error = Prices::from_csv("a,b\n1,2\n").unwrap_err().to_string();
        assert!(error.starts_with("prices, line 1: the header must be `time,"), "{error}");
        assert_eq!(Prices::from_csv("").unwrap_err().to_string().split(',').next(), Some("prices"));
        assert!(matches!(Prices::from_csv(HEADER), Err(PricesError::Empty)));
        assert!(matches!(Prices::from_path("no/such/file"), Err(PricesError::Read(_))));
    }

    #[test]
    fn prices_that_never_end_are_given_up() {
        let bars = (0..1000).map(|minute| {
            let at = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
            format!("{at},NSE,X,1,1,1,1,1\n")
        });
        let bars = HEADER.to_owned() + &bars.collect::<String>();
        let read = |bytes| {
            let most = ReadLimit::new(bytes, 100);
            Prices::read(BoundedReader::new(bars.as_bytes(), most))
                .map_err(|error| error.to_string())
        };
        assert!(read(bars.len() as u64).is_ok());
        let why = "cannot read the prices: it is larger than 10000 bytes";
        assert_eq!(read(10_000).unwrap_err(), why);
    }

    #[test]
    fn the_bounds_are_what_they_say() {
        assert_eq!(MAX_VALUE, Decimal::from(1_000_000_000_u64));
        assert_eq!(MAX_SUM, Decimal::from(1_000_000_000_000_000_u64));
    }
}
