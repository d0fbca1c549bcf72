//! The quotes while a bar is the current one.

use jiff::Zoned;
use rust_decimal::Decimal;

use crate::broker::{Depth, DepthLevel, Instrument, Ohlc, Quote};

use super::prices::BarSeries;

const LEVELS: u32 = 5;

/// The range in which an order may name a price today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CircuitLimits {
    /// The lowest price.
    pub lower: Decimal,
    /// The highest price.
    pub upper: Decimal,
}

/// Returns the circuit limits while the tape is at `position`: a fifth below and above the close of the day before, as
/// whole ticks. An index has none.
pub(super) fn circuit_limits(series: &BarSeries, position: u64) -> Option<CircuitLimits> {
    if series.is_index() {
        return None;
    }
    let close = previous_close(series, position);
    let tick = series.tick_size();
    let fifth = close / Decimal::from(5);
    Some(CircuitLimits {
        lower: ((close - fifth) / tick).ceil() * tick,
        upper: ((close + fifth) / tick).floor() * tick,
    })
}

/// Returns the close of the day before. On the first day of a file the open replaces it, so that the day's change makes
/// sense.
fn previous_close(series: &BarSeries, position: u64) -> Decimal {
    let today = series.bar(position).at.date();
    let first = || series.iter().find(|bar| bar.at.date() == today).map(|bar| bar.ohlc.open);
    series.close_before(today).or_else(first).unwrap_or_default()
}

/// Returns the quote when the tape is at `position`. The day is that of the current bar.
pub(super) fn quote(
    instrument: &Instrument,
    series: &BarSeries,
    position: u64,
    token: Option<u32>,
    moved_at: Zoned,
) -> Quote {
    let bar = series.bar(position);
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
    // In a live quote, `close` is that of the previous day.
    let close = previous_close(series, position);
    let limits = circuit_limits(series, position);
    // An index is not traded, so it has no orders.
    let depth = match series.is_index() {
        true => Depth::default(),
        false => depth(last, series.tick_size()),
    };
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
    quote.lower_circuit = limits.map(|limits| limits.lower);
    quote.upper_circuit = limits.map(|limits| limits.upper);
    quote.depth = Some(depth.into());
    quote.token = token.map(|token| token.to_string().into());
    quote.at = Some(moved_at);
    quote
}

/// Returns an invented depth around `last`, one tick between its levels, as the bars have none.
fn depth(last: Decimal, tick: Decimal) -> Depth {
    let level = |number: u32, away: Decimal| DepthLevel {
        price: (last + away).max(tick),
        quantity: Decimal::from(100 * number),
        orders: number,
    };
    Depth {
        bids: (1..=LEVELS).map(|n| level(n, -tick * Decimal::from(n))).collect(),
        asks: (1..=LEVELS).map(|n| level(n, tick * Decimal::from(n))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::prices::Prices;
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
}
