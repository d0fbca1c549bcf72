//! Candles of any interval, made from the bars.

use jiff::civil::DateTime;
use jiff::{ToSpan, Zoned};

use crate::broker::{Candle, CandleRequest, Interval, Ohlc};

use super::error::PaperError;
use super::prices::BarSeries;

/// Returns the candles that began from `request.from` to `request.to`, both included, while the tape is at `position`.
/// A time without a zone is in the zone of the bars.
pub(super) fn candles(
    series: &BarSeries,
    position: u64,
    request: &CandleRequest,
) -> Result<Vec<Candle>, PaperError> {
    let (from, to) =
        request.range(series.bar(0).at.time_zone()).map_err(PaperError::InvalidTime)?;
    if from > to {
        return Err(PaperError::invalid_field("from", "it is later than `to`"));
    }
    let minutes = interval_minutes(&request.interval)?;
    // Kite counts intervals from the opening of the session, not from midnight.
    let opening = series.iter().map(|bar| bar.at.time()).min().unwrap_or_default();
    let opening = i64::from(opening.hour()) * 60 + i64::from(opening.minute());
    let mut candles: Vec<Candle> = Vec::new();
    for bar in series.bars_for_candles(from.date(), to.date(), position) {
        let at = interval_start(&bar.at, minutes, opening);
        match candles.last_mut() {
            Some(candle) if candle.at == at => merge(candle, &bar),
            _ => candles.push(Candle::new(at, bar.ohlc, bar.volume)),
        }
    }
    // The offset of a bar may differ from that of the first one, because of daylight saving time.
    candles.retain(|candle| {
        let range = request.range(candle.at.time_zone());
        range.is_ok_and(|(from, to)| from <= candle.at && candle.at <= to)
    });
    if request.open_interest {
        for candle in &mut candles {
            candle.open_interest = Some(rust_decimal::Decimal::ZERO);
        }
    }
    Ok(candles)
}

/// Returns the length of the interval in minutes; 0 is a day.
fn interval_minutes(interval: &Interval) -> Result<i64, PaperError> {
    Ok(match interval {
        Interval::Minute => 1,
        Interval::ThreeMinutes => 3,
        Interval::FiveMinutes => 5,
        Interval::TenMinutes => 10,
        Interval::FifteenMinutes => 15,
        Interval::ThirtyMinutes => 30,
        Interval::Hour => 60,
        Interval::Day => 0,
        Interval::Other(word) => {
            return Err(PaperError::invalid_field("interval", format!("`{word}` is unknown")));
        }
    })
}

/// Returns when the interval that contains `at` began.
fn interval_start(at: &Zoned, minutes: i64, opening: i64) -> Zoned {
    let midnight = DateTime::from(at.date());
    let of_day = i64::from(at.hour()) * 60 + i64::from(at.minute());
    let begin = match (of_day - opening).checked_rem_euclid(minutes) {
        Some(past) => midnight.checked_add((of_day - past).minutes()),
        None => Ok(midnight),
    };
    begin
        .and_then(|begin| begin.to_zoned(at.time_zone().clone()))
        // Only at the ends of the calendar.
        .unwrap_or_else(|_| at.clone())
}

fn merge(candle: &mut Candle, bar: &Candle) {
    candle.ohlc = Ohlc {
        open: candle.ohlc.open,
        high: candle.ohlc.high.max(bar.ohlc.high),
        low: candle.ohlc.low.min(bar.ohlc.low),
        close: bar.ohlc.close,
    };
    candle.volume += bar.volume;
}

#[cfg(test)]
mod tests {
    use super::super::prices::Prices;
    use super::*;
    use crate::broker::Instrument;
    use rust_decimal::Decimal;

    fn ask(interval: Interval, from: &str, to: &str) -> Result<Vec<Candle>, PaperError> {
        let prices = Prices::sample();
        let yes = Instrument::new("NSE", "YESBANK");
        let time = |text: &str| format!("{text}+05:30[+05:30]").parse::<Zoned>().unwrap();
        let request = CandleRequest::new(yes.clone(), interval, time(from), time(to));
        candles(prices.series(&yes).unwrap(), 0, &request)
    }

    #[test]
    fn a_minute_is_the_bar_itself_and_both_ends_are_in() {
        let got = ask(Interval::Minute, "2019-07-09T09:15:00", "2019-07-09T09:17:00").unwrap();
        let prices = Prices::sample();
        let yes = Instrument::new("NSE", "YESBANK");
        let expected: Vec<_> = prices.bars(&yes).take(3).cloned().collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_time_without_a_zone_is_what_the_bars_show_in_summer_too() {
        let prices = Prices::from_csv(
            "time,exchange,symbol,open,high,low,close,volume\n\
             2026-03-06T09:30:00-05:00,US,X,1,1,1,1,5\n\
             2026-03-09T09:30:00-04:00,US,X,2,2,2,2,5\n\
             2026-03-09T09:31:00-04:00,US,X,3,3,3,3,5\n",
        );
        let x = Instrument::new("US", "X");
        let prices = prices.unwrap();
        let series = prices.series(&x).unwrap();
        let opening = jiff::civil::date(2026, 3, 9).at(9, 30, 0, 0);
        let request = CandleRequest::new(x, Interval::Minute, opening, opening);
        let got = candles(series, 0, &request).unwrap();
        assert_eq!(got.iter().map(|candle| candle.ohlc.close).collect::<Vec<_>>(), [2.into()]);
        // The same as an instant.
        let instant: jiff::Timestamp = "2026-03-09T13:30:00Z".parse().unwrap();
        let by_instant = CandleRequest { from: instant.into(), to: instant.into(), ..request };
        assert_eq!(candles(series, 0, &by_instant).unwrap(), got);
    }

    #[test]
    fn intervals_count_from_the_opening() {
        for (interval, expected) in [
            (Interval::ThreeMinutes, ["09:15", "09:18"]),
            (Interval::TenMinutes, ["09:15", "09:25"]),
            (Interval::ThirtyMinutes, ["09:15", "09:45"]),
            (Interval::Hour, ["09:15", "10:15"]),
        ] {
            let got = ask(interval, "2019-07-09T00:00:00", "2019-07-09T23:59:59").unwrap();
            let begins: Vec<_> =
                got.iter().take(2).map(|c| c.at.strftime("%H:%M").to_string()).collect();
            assert_eq!(begins, expected);
        }
    }

    #[test]
    fn nothing_is_lost_in_longer_candles() {
        let all = |interval| ask(interval, "2019-07-09T00:00:00", "2019-07-10T23:59:59").unwrap();
        let minutes = all(Interval::Minute);
        let volume = |candles: &[Candle]| candles.iter().map(|c| c.volume).sum::<Decimal>();
        for interval in [Interval::FiveMinutes, Interval::FifteenMinutes, Interval::Day] {
            let longer = all(interval);
            assert_eq!(volume(&longer), volume(&minutes));
            assert_eq!(longer[0].ohlc.open, minutes[0].ohlc.open);
        }
        let days = all(Interval::Day);
        assert_eq!(days.len(), 2);
        assert_eq!(days[1].ohlc.close, minutes.last().unwrap().ohlc.close);
        assert_eq!(days[0].ohlc.high, minutes[..377].iter().map(|c| c.ohlc.high).max().unwrap());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let day = ["2019-07-09T00:00:00", "2019-07-10T00:00:00"];
        assert!(ask(Interval::Day, day[1], day[0]).is_err());
        assert!(ask("7minute".into(), day[0], day[1]).is_err());
    }
}
