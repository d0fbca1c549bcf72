//! What is quoted while a bar is the present one, and what the broker lists.

use std::collections::BTreeMap;

use jiff::Zoned;
use rust_decimal::Decimal;

use crate::broker::{Candle, Depth, DepthLevel, Instrument, InstrumentInfo, Ohlc, Quote};

use super::prices::{Prices, Series};

const TICK: Decimal = Decimal::from_parts(5, 0, 0, false, 2);
const LEVELS: u32 = 5;

/// The quote when the tape has moved `tick` times. The day is the one of the present bar.
pub(super) fn quote(
    instrument: &Instrument,
    series: &Series,
    tick: u64,
    token: Option<u32>,
    moved_at: Zoned,
) -> Quote {
    let bar = series.bar(tick);
    let today = bar.at.date();
    let until_now = || series.iter().take_while(|past| past.at <= bar.at);
    let mut day = bar.ohlc;
    let (mut volume, mut value) = (Decimal::ZERO, Decimal::ZERO);
    for (i, past) in until_now().filter(|past| past.at.date() == today).enumerate() {
        if i == 0 {
            day.open = past.ohlc.open;
        }
        day.high = day.high.max(past.ohlc.high);
        day.low = day.low.min(past.ohlc.low);
        volume += past.volume;
        value += past.volume * past.ohlc.close;
    }
    let last = bar.ohlc.close;
    // In a live quote, `close` is that of the day before. On the first day of the tape the open
    // stands in for it, so that the change of the day makes sense.
    let before = series.iter().rev().find(|past| past.at.date() < today);
    let close = before.map_or(day.open, |past: &Candle| past.ohlc.close);
    let fifth = (close / Decimal::from(5)).round_dp(2);
    let depth = depth(last);
    let total = |side: &[DepthLevel]| side.iter().map(|level| level.quantity).sum::<Decimal>();

    let mut quote = Quote::new(instrument.clone(), last);
    quote.last_quantity = Some(bar.volume);
    quote.last_trade_at = Some(moved_at.clone());
    quote.ohlc = Some(Ohlc { close, ..day });
    quote.average_price = Some(value.checked_div(volume).unwrap_or(last).round_dp(4));
    quote.volume = Some(volume);
    quote.buy_quantity = Some(total(&depth.bids));
    quote.sell_quantity = Some(total(&depth.asks));
    quote.net_change = Some(last - close);
    quote.open_interest = Some(Decimal::ZERO);
    quote.lower_circuit = Some(close - fifth);
    quote.upper_circuit = Some(close + fifth);
    quote.depth = Some(depth);
    quote.token = token.map(|token| token.to_string());
    quote.at = Some(moved_at);
    quote
}

/// A made-up book around `last`, a tick between its levels: the bars hold none.
fn depth(last: Decimal) -> Depth {
    let level = |number: u32, away: Decimal| DepthLevel {
        price: (last + away).max(TICK),
        quantity: Decimal::from(100 * number),
        orders: number,
    };
    Depth {
        bids: (1..=LEVELS).map(|n| level(n, -TICK * Decimal::from(n))).collect(),
        asks: (1..=LEVELS).map(|n| level(n, TICK * Decimal::from(n))).collect(),
    }
}

/// The numbers by which instruments go on Kite's wire.
#[derive(Debug)]
pub(super) struct Tokens {
    of: BTreeMap<Instrument, u32>,
    by: BTreeMap<u32, Instrument>,
}

impl Tokens {
    /// Numbers made from the names, so that an instrument has the same one in every price file
    /// (unless two names fall on one number).
    pub(super) fn new(prices: &Prices) -> Self {
        let mut tokens = Self { of: BTreeMap::new(), by: BTreeMap::new() };
        for instrument in prices.instruments() {
            let mut token = hash(instrument.as_str());
            while tokens.by.contains_key(&token) {
                token = (token + 256) & 0x7FFF_FFFF;
            }
            tokens.of.insert(instrument.clone(), token);
            tokens.by.insert(token, instrument.clone());
        }
        tokens
    }

    pub(super) fn of(&self, instrument: &Instrument) -> Option<u32> {
        self.of.get(instrument).copied()
    }

    #[cfg(feature = "exchange")]
    pub(super) fn instrument(&self, token: u32) -> Option<&Instrument> {
        self.by.get(&token)
    }

    /// What the broker lists about each instrument.
    pub(super) fn listing(&self) -> impl Iterator<Item = InstrumentInfo> {
        self.of.iter().map(|(instrument, token)| {
            let mut info = InstrumentInfo::new(instrument.clone());
            info.token = Some(token.to_string());
            info.name = instrument.symbol().to_owned();
            info.kind = "EQ".to_owned();
            info.segment = instrument.exchange().to_owned();
            info.tick_size = Some(TICK);
            info.lot_size = Some(Decimal::ONE);
            info
        })
    }
}

/// FNV-1a, in Kite's form: the exchange's own number times 256, plus 1 for the segment.
fn hash(text: &str) -> u32 {
    let hash = text
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    ((hash & 0x007F_FFFF) << 8) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_so_far_ends_at_the_present_bar() {
        let prices = Prices::from_csv(
            "time,exchange,symbol,open,high,low,close,volume\n\
             2019-01-01T15:29:00+05:30,NSE,X,7,9,6,8,1\n\
             2019-01-02T09:15:00+05:30,NSE,X,10,12,9,11,10\n\
             2019-01-02T09:16:00+05:30,NSE,X,11,15,11,14,30\n\
             2019-01-02T09:17:00+05:30,NSE,X,14,99,1,50,99\n",
        )
        .unwrap();
        let x = Instrument::new("NSE", "X");
        let series = prices.series(&x).unwrap();
        let at = series.bar(0).at.clone();
        let quote = quote(&x, series, 2, None, at);
        let [open, high, low, close] = [10, 15, 9, 8].map(Decimal::from);
        assert_eq!(quote.last_price, Decimal::from(14));
        assert_eq!(quote.ohlc, Some(Ohlc { open, high, low, close }));
        assert_eq!(quote.volume, Some(Decimal::from(40)));
        assert_eq!(quote.average_price, Some("13.25".parse().unwrap()));
        assert_eq!(quote.net_change, Some(Decimal::from(6)));
        assert_eq!(quote.upper_circuit, Some("9.6".parse().unwrap()));
        let depth = quote.depth.unwrap();
        assert_eq!(depth.bids[0].price, "13.95".parse().unwrap());
        assert_eq!(depth.asks[4].price, "14.25".parse().unwrap());
    }

    #[test]
    fn tokens_do_not_depend_on_the_rest_of_the_file() {
        let alone = Prices::from_csv(
            "time,exchange,symbol,open,high,low,close,volume\n\
             2019-01-01T15:29:00+05:30,NSE,YESBANK,7,9,6,8,1\n",
        )
        .unwrap();
        let yes = Instrument::new("NSE", "YESBANK");
        let token = Tokens::new(&alone).of(&yes).unwrap();
        let sample = Tokens::new(&Prices::sample());
        assert_eq!(sample.of(&yes), Some(token));
        assert_eq!(sample.by.get(&token), Some(&yes));
    }
}
