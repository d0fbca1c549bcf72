//! Synthetic prices of well-known symbols: a random walk that is computed from a seed and a day, and not stored.
//!
//! Real bars that may be redistributed are few and old. A client that asks for `NSE:INFY`, or for the candles of the
//! last 30 days, gets an answer from here. The prices are invented, and the listing says so.
//!
//! # The model
//!
//! Prices are whole numbers of ticks, and floats are not used, so every machine computes the same prices.
//!
//! - Each symbol has a level, and a tick size that follows from the level as at NSE.
//! - Each weekday has a shock: uniform, at most [`DAY_SHARE`] of the level up or down. The close of a day is the level
//!   plus the shocks of the last [`MEMORY`] weekdays. So closes are a random walk that stays near its level, and the
//!   close of any day is computed without the days before it.
//! - A day opens near the close of the day before. Its minutes, 09:15 to 15:29 in India, are a random walk of uniform
//!   steps, to which a straight line is added so that the last minute ends at the close of the day.
//! - The volume of a minute is uniform, from half the symbol's mean to one and a half. An index has none.
//!
//! Holidays are not modelled: every weekday is a trading day.

use jiff::civil::{Date, date};
use jiff::{SignedDuration, Span, Zoned};
use rust_decimal::Decimal;

use crate::broker::{Candle, Instrument, Ohlc};
use crate::brokers::india;

/// The minutes of a trading day.
const MINUTES: i64 = 375;
/// The opening, in minutes after midnight.
const OPENING: i64 = 9 * 60 + 15;
/// How many daily shocks a close is the sum of.
const MEMORY: i64 = 20;
/// How far before the trading day the history reaches, in weekdays: about four years, for daily candles.
const HISTORY: i64 = 1000;

/// The largest daily shock, as a part of the level.
const DAY_SHARE: i64 = 75;
/// The largest distance of an opening from the close before, as a part of the level.
const GAP_SHARE: i64 = 400;
/// The largest step of a minute, as a part of the level.
const STEP_SHARE: i64 = 1500;
/// The largest distance of a high or low from the open and close of its minute, as a part of the level.
const WICK_SHARE: i64 = 3000;

/// A symbol that is listed, with a price level that was plausible in 2025.
#[derive(Debug)]
struct Symbol {
    symbol: &'static str,
    company: &'static str,
    rupees: i64,
    /// The mean volume of a minute; 0 for an index.
    volume: i64,
}

const fn share(symbol: &'static str, company: &'static str, rupees: i64, volume: i64) -> Symbol {
    Symbol { symbol, company, rupees, volume }
}

const fn index(symbol: &'static str, level: i64) -> Symbol {
    Symbol { symbol, company: symbol, rupees: level, volume: 0 }
}

const SYMBOLS: [Symbol; 32] = [
    share("ASIANPAINT", "ASIAN PAINTS", 2500, 2_800),
    share("AXISBANK", "AXIS BANK", 1200, 18_000),
    share("BAJFINANCE", "BAJAJ FINANCE", 950, 15_000),
    share("BHARTIARTL", "BHARTI AIRTEL", 1950, 15_000),
    share("CIPLA", "CIPLA", 1500, 4_000),
    share("COALINDIA", "COAL INDIA", 385, 16_000),
    share("HCLTECH", "HCL TECHNOLOGIES", 1500, 7_000),
    share("HDFCBANK", "HDFC BANK", 980, 45_000),
    share("HINDALCO", "HINDALCO INDUSTRIES", 780, 13_000),
    share("HINDUNILVR", "HINDUSTAN UNILEVER", 2450, 4_000),
    share("ICICIBANK", "ICICI BANK", 1400, 28_000),
    share("INFY", "INFOSYS", 1500, 20_000),
    share("ITC", "ITC", 410, 32_000),
    share("KOTAKBANK", "KOTAK MAHINDRA BANK", 2100, 8_000),
    share("LT", "LARSEN & TOUBRO", 3700, 4_500),
    share("M&M", "MAHINDRA & MAHINDRA", 3500, 7_000),
    share("MARUTI", "MARUTI SUZUKI INDIA", 12_500, 1_000),
    share("NESTLEIND", "NESTLE INDIA", 1220, 3_500),
    share("NTPC", "NTPC", 335, 25_000),
    share("ONGC", "OIL AND NATURAL GAS CORPORATION", 245, 27_000),
    share("POWERGRID", "POWER GRID CORPORATION", 280, 24_000),
    share("RELIANCE", "RELIANCE INDUSTRIES", 1400, 30_000),
    share("SBIN", "STATE BANK OF INDIA", 870, 24_000),
    share("SUNPHARMA", "SUN PHARMACEUTICAL", 1650, 5_500),
    share("TATASTEEL", "TATA STEEL", 170, 70_000),
    share("TCS", "TATA CONSULTANCY SERVICES", 3100, 7_000),
    share("TECHM", "TECH MAHINDRA", 1480, 4_500),
    share("TITAN", "TITAN COMPANY", 3600, 2_300),
    share("ULTRACEMCO", "ULTRATECH CEMENT", 11_900, 800),
    share("WIPRO", "WIPRO", 245, 24_000),
    index("NIFTY 50", 25_000),
    index("NIFTY BANK", 57_000),
];

/// The bars of one symbol, for every day up to the trading day that is replayed.
#[derive(Debug, Clone)]
pub(super) struct SyntheticSeries {
    symbol: &'static Symbol,
    /// Of the seed and the symbol.
    key: u64,
    /// The day that is replayed, as a [`weekday_number`].
    today: i64,
}

impl SyntheticSeries {
    /// Returns the series of every symbol, with the last weekday up to `last_day` as the day to replay.
    pub(super) fn all(seed: u64, last_day: Date) -> impl Iterator<Item = Self> {
        let today = weekday_number(last_day);
        SYMBOLS.iter().map(move |symbol| {
            let key = symbol.symbol.bytes().fold(mix(seed), |key, byte| mix(key ^ u64::from(byte)));
            Self { symbol, key, today }
        })
    }

    pub(super) fn instrument(&self) -> Instrument {
        Instrument::new("NSE", self.symbol.symbol)
    }

    /// Returns the name in the listing, which says that the prices are invented.
    pub(super) fn name(&self) -> String {
        format!("{} (synthetic)", self.symbol.company)
    }

    /// Returns whether this is an index, which cannot be traded.
    pub(super) fn is_index(&self) -> bool {
        self.symbol.volume == 0
    }

    pub(super) fn tick_size(&self) -> Decimal {
        Decimal::new(self.tick(), 2)
    }

    /// Returns the bars of the day that is replayed.
    pub(super) fn bars_today(&self) -> impl Iterator<Item = Candle> {
        self.bars_of(self.today)
    }

    /// Returns the close of the day before the one that is replayed.
    pub(super) fn close_before(&self) -> Decimal {
        self.price(self.close(self.today - 1))
    }

    /// Returns the bars of the days from `from` to `to` that lie before the one that is replayed, in time order.
    pub(super) fn history(&self, from: Date, to: Date) -> impl Iterator<Item = Candle> {
        // A weekend counts as the Friday before it, which is not in a range that begins on the weekend.
        let is_weekday = weekday_number(from) > weekday_number(from.yesterday().unwrap_or(from));
        let first = weekday_number(from) + i64::from(!is_weekday);
        let first = first.max(self.today - HISTORY);
        let last = weekday_number(to).min(self.today - 1);
        (first..=last).flat_map(|day| self.bars_of(day))
    }

    /// The tick size in paise: that of NSE for a share of this price, and 5 paise for an index.
    fn tick(&self) -> i64 {
        match self.symbol.rupees {
            _ if self.is_index() => 5,
            ..250 => 1,
            250..=1000 => 5,
            1001..=5000 => 10,
            5001..=10_000 => 50,
            10_001..=20_000 => 100,
            _ => 500,
        }
    }

    /// Returns the level in ticks.
    fn level(&self) -> i64 {
        self.symbol.rupees * 100 / self.tick()
    }

    fn price(&self, ticks: i64) -> Decimal {
        Decimal::new(ticks * self.tick(), 2)
    }

    fn random(&self, day: i64) -> Random {
        Random(mix(self.key ^ day as u64))
    }

    /// Returns the close of a day in ticks.
    fn close(&self, day: i64) -> i64 {
        let most = self.level() / DAY_SHARE;
        let shocks = (day - MEMORY + 1..=day).map(|day| self.random(day).within(most));
        self.level() + shocks.sum::<i64>()
    }

    fn bars_of(&self, day: i64) -> impl Iterator<Item = Candle> {
        let level = self.level();
        // The first number is the shock of the day.
        let mut random = self.random(day);
        random.next();
        let opening = self.close(day - 1) + random.within(level / GAP_SHARE);
        let steps: Vec<i64> = (0..MINUTES).map(|_| random.within(level / STEP_SHARE)).collect();
        // What the walk misses the close of the day by.
        let missing = self.close(day) - opening - steps.iter().sum::<i64>();
        let opens_at = opening_time(day);
        let (mut walk, mut open) = (opening, opening);
        steps.into_iter().zip(1..).filter_map(move |(step, minute)| {
            walk += step;
            let close = walk + missing * minute / MINUTES;
            let wick = level / WICK_SHARE + 1;
            let high = open.max(close) + random.below(wick);
            let low = open.min(close) - random.below(wick);
            let volume = self.symbol.volume / 2 + random.below(self.symbol.volume + 1);
            let [open_price, high, low, close_price] =
                [open, high, low, close].map(|ticks| self.price(ticks));
            open = close;
            let at = opens_at.as_ref()?.checked_add(SignedDuration::from_mins(minute - 1)).ok()?;
            let ohlc = Ohlc { open: open_price, high, low, close: close_price };
            Some(Candle::new(at, ohlc, volume))
        })
    }
}

/// SplitMix64, which is short, and fixed for ever. A crate's generator may change with its version.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Returns a number from 0 to just below `bound`, which is at least 1.
    fn below(&mut self, bound: i64) -> i64 {
        (self.next() % bound.unsigned_abs()) as i64
    }

    /// Returns a number from `-most` to `most`.
    fn within(&mut self, most: i64) -> i64 {
        self.below(2 * most + 1) - most
    }
}

/// Returns a number that looks unrelated to `number`: the output function of SplitMix64.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// A Monday, from which weekdays are counted.
const MONDAY: Date = date(1970, 1, 5);

/// Returns how many weekdays after [`MONDAY`] a day is. A Saturday and a Sunday have the number of the Friday before.
fn weekday_number(date: Date) -> i64 {
    let days = date.duration_since(MONDAY).as_hours() / 24;
    days.div_euclid(7) * 5 + days.rem_euclid(7).min(4)
}

/// Returns the opening of the weekday with this number; `None` at the ends of the calendar.
fn opening_time(weekday: i64) -> Option<Zoned> {
    let days = weekday.div_euclid(5) * 7 + weekday.rem_euclid(5);
    let date = MONDAY.checked_add(Span::new().try_days(days).ok()?).ok()?;
    let midnight = date.to_zoned(india::zone()).ok()?;
    midnight.checked_add(SignedDuration::from_mins(OPENING)).ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;

    use super::*;

    const FRIDAY: Date = date(2026, 11, 27);

    fn series(seed: u64, symbol: &str) -> SyntheticSeries {
        SyntheticSeries::all(seed, FRIDAY).find(|it| it.symbol.symbol == symbol).unwrap()
    }

    #[test]
    fn a_seed_makes_the_same_prices_on_every_machine() {
        let infy = series(1, "INFY");
        let first = infy.bars_today().next().unwrap();
        let closes: Vec<String> =
            infy.bars_today().step_by(100).map(|bar| bar.ohlc.close.to_string()).collect();
        assert_eq!(first.at.strftime("%FT%T%:z").to_string(), "2026-11-27T09:15:00+05:30");
        // From the model as the module describes it, written down a second time in another language.
        assert_eq!(closes, ["1384.90", "1391.20", "1390.20", "1390.50"]);
        assert_ne!(series(2, "INFY").close(0), infy.close(0));
        assert_ne!(series(1, "TCS").random(7).next(), infy.random(7).next());
    }

    #[test]
    fn a_day_is_a_weekday_from_nine_fifteen_to_half_past_three() {
        for series in SyntheticSeries::all(7, FRIDAY) {
            let days: Vec<Candle> =
                series.history(date(2026, 11, 13), date(2026, 12, 31)).collect();
            assert_eq!(days.len(), 10 * 375, "from Friday the 13th to Thursday the 26th");
            assert!(days.is_sorted_by_key(|bar| bar.at.timestamp()));
            for bar in &days {
                assert!((time(9, 15, 0, 0)..=time(15, 29, 0, 0)).contains(&bar.at.time()));
                assert!(bar.at.weekday().to_monday_one_offset() <= 5, "{}", bar.at);
            }
            assert_eq!(days.last().unwrap().ohlc.close, series.close_before());
        }
    }

    #[test]
    fn bars_are_whole_ticks_near_their_level_without_a_jump_from_day_to_day() {
        for series in SyntheticSeries::all(7, FRIDAY) {
            let level = Decimal::from(series.symbol.rupees);
            let percent = |part: Decimal| part.abs() * Decimal::from(100) / level;
            let mut before: Option<Decimal> = None;
            for bar in series.history(date(2026, 11, 2), FRIDAY).chain(series.bars_today()) {
                let Ohlc { open, high, low, close } = bar.ohlc;
                for price in [open, high, low, close] {
                    assert!((price % series.tick_size()).is_zero(), "{price}");
                    assert!(percent(price - level) < Decimal::from(40), "{price}");
                }
                assert!(low <= open.min(close) && high >= open.max(close));
                let gap = before.map_or(Decimal::ZERO, |before| open - before);
                assert!(percent(gap) < Decimal::ONE, "{gap} at {}", bar.at);
                assert_eq!(bar.volume.is_zero(), series.is_index());
                before = Some(close);
            }
        }
    }

    #[test]
    fn the_history_is_empty_on_a_weekend_and_bounded() {
        let infy = series(1, "INFY");
        assert_eq!(infy.history(date(2026, 11, 21), date(2026, 11, 22)).count(), 0);
        assert_eq!(infy.history(date(2026, 11, 21), date(2026, 11, 23)).count(), 375);
        assert_eq!(infy.history(FRIDAY, FRIDAY).count(), 0, "the day that is replayed");
        // 1000 weekdays are 200 weeks.
        let first = infy.history(Date::MIN, Date::MAX).next().unwrap();
        assert_eq!(first.at.date(), date(2023, 1, 27));
        // At the ends of the calendar there are fewer bars, and no panic.
        for day in [Date::MIN, Date::MAX] {
            assert!(SyntheticSeries::all(1, day).all(|series| series.bars_today().count() <= 375));
        }
    }
}
