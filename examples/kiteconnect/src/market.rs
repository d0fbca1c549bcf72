//! Quotes, candles, and the listing of instruments.

use lanekeeper::broker::{
    BrokerError, Candle, Depth, DepthLevel, Instrument, InstrumentInfo, Ohlc, Quote,
    QuoteBatchLimit, Quotes,
};
use lanekeeper::jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::decode::{decimal, non_zero, optional, problem, time, zone};
use crate::errors::malformed;

/// Kite takes 500 instruments, in an address of some 8 KiB.
pub(crate) const BATCH_LIMIT: QuoteBatchLimit =
    QuoteBatchLimit { count: 500, bytes: 7500, overhead: 3 };

/// Builds the quotes of an answer. An instrument without data is absent from it.
pub(crate) fn quotes(data: Value, asked: &[Instrument]) -> Result<Quotes, BrokerError> {
    let Value::Object(entries) = data else {
        return Err(malformed("the quotes are not an object"));
    };
    let mut quotes = Quotes::default();
    for (at, (key, entry)) in
        entries.into_iter().enumerate().filter(|(_, (_, entry))| !entry.is_null())
    {
        let name = asked.iter().find(|instrument| instrument.as_str() == key);
        let built = name.ok_or_else(|| "it was not asked for".to_owned()).and_then(|instrument| {
            let wire =
                kiteconnect::Quote::deserialize(&entry).map_err(|error| error.to_string())?;
            quote(instrument, wire)
        });
        match built {
            Ok(quote) => drop(quotes.rows.insert(quote.instrument.clone(), quote)),
            Err(reason) => quotes.problems.push(problem(at, reason, &entry, "").name(key)),
        }
    }
    Ok(quotes)
}

fn quote(instrument: &Instrument, wire: kiteconnect::Quote) -> Result<Quote, String> {
    let mut quote = Quote::new(instrument.clone(), decimal(wire.last_price)?);
    quote.last_quantity = wire.last_quantity.map(Into::into);
    quote.last_trade_at = wire.last_trade_time.as_ref().and_then(time);
    quote.ohlc = Some(ohlc(wire.ohlc.open, wire.ohlc.high, wire.ohlc.low, wire.ohlc.close)?);
    quote.average_price = optional(wire.average_price)?;
    quote.volume = wire.volume.map(Into::into);
    quote.buy_quantity = wire.buy_quantity.map(Into::into);
    quote.sell_quantity = wire.sell_quantity.map(Into::into);
    quote.net_change = Some(decimal(wire.net_change)?);
    quote.open_interest = optional(wire.oi)?;
    quote.lower_circuit = optional(wire.lower_circuit_limit)?;
    quote.upper_circuit = optional(wire.upper_circuit_limit)?;
    quote.depth = wire.depth.map(depth).transpose()?.map(Into::into);
    quote.at = time(&wire.timestamp);
    quote.token = Some(wire.instrument_token.to_string().into());
    Ok(quote)
}

fn ohlc(open: f64, high: f64, low: f64, close: f64) -> Result<Ohlc, String> {
    Ok(Ohlc {
        open: decimal(open)?,
        high: decimal(high)?,
        low: decimal(low)?,
        close: decimal(close)?,
    })
}

fn depth(wire: kiteconnect::Depth) -> Result<Depth, String> {
    // Kite pads each side to five levels with zeros.
    let levels = |levels: Vec<kiteconnect::DepthItem>| {
        let levels = levels.into_iter().filter(|level| level.quantity > 0).map(|level| {
            let (price, quantity) = (decimal(level.price)?, level.quantity.into());
            Ok(DepthLevel { price, quantity, orders: level.orders })
        });
        levels.collect::<Result<_, String>>()
    };
    Ok(Depth { bids: levels(wire.buy)?, asks: levels(wire.sell)? })
}

pub(crate) fn candle(wire: &kiteconnect::Candle) -> Result<Candle, String> {
    let at = Timestamp::from_second(wire.date.timestamp()).map_err(|error| error.to_string())?;
    let prices = ohlc(wire.open, wire.high, wire.low, wire.close)?;
    let mut candle = Candle::new(at.to_zoned(zone()), prices, wire.volume);
    candle.open_interest = wire.oi.map(Into::into);
    Ok(candle)
}

pub(crate) fn instrument(wire: kiteconnect::Instrument) -> Result<InstrumentInfo, String> {
    let mut info = InstrumentInfo::new(Instrument::new(&wire.exchange, &wire.tradingsymbol));
    info.token = Some(wire.instrument_token.to_string());
    info.name = wire.name;
    info.kind = wire.instrument_type;
    info.segment = wire.segment;
    info.expiry = wire.expiry.and_then(|day| day.to_string().parse().ok());
    info.strike = non_zero(wire.strike)?;
    info.tick_size = non_zero(wire.tick_size)?;
    info.lot_size = non_zero(wire.lot_size)?;
    Ok(info)
}
