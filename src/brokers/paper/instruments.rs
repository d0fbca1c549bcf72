//! The instruments: the number of each, and its listing.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::broker::{Instrument, InstrumentInfo};

use super::prices::{BarSeries, Prices};

/// The listing of each instrument, and the numbers that identify instruments in Kite's protocol.
#[derive(Debug)]
pub(super) struct InstrumentTable {
    by_instrument: BTreeMap<Instrument, Listed>,
    by_token: BTreeMap<u32, Instrument>,
}

#[derive(Debug)]
struct Listed {
    token: u32,
    info: InstrumentInfo,
    is_synthetic: bool,
}

impl InstrumentTable {
    /// Computes numbers from the names, so that an instrument has the same one in every price file, unless two names
    /// collide.
    pub(super) fn new(prices: &Prices) -> Self {
        let mut tokens = Self { by_instrument: BTreeMap::new(), by_token: BTreeMap::new() };
        for (instrument, series) in prices.all_series() {
            let mut token = hash(instrument.as_str());
            while tokens.by_token.contains_key(&token) {
                token = (token + 256) & 0x7FFF_FFFF;
            }
            let info = listing(instrument, series, token);
            let is_synthetic = series.synthetic().is_some();
            tokens.by_instrument.insert(instrument.clone(), Listed { token, info, is_synthetic });
            tokens.by_token.insert(token, instrument.clone());
        }
        tokens
    }

    pub(super) fn token(&self, instrument: &Instrument) -> Option<u32> {
        self.by_instrument.get(instrument).map(|listed| listed.token)
    }

    pub(super) fn instrument(&self, token: u32) -> Option<&Instrument> {
        self.by_token.get(&token)
    }

    pub(super) fn tick_size(&self, instrument: &Instrument) -> Option<Decimal> {
        self.by_instrument.get(instrument).and_then(|listed| listed.info.tick_size)
    }

    pub(super) fn is_synthetic(&self, instrument: &Instrument) -> bool {
        self.by_instrument.get(instrument).is_some_and(|listed| listed.is_synthetic)
    }

    /// Returns the listing of each instrument.
    pub(super) fn listing(&self) -> impl Iterator<Item = InstrumentInfo> {
        self.by_instrument.values().map(|listed| listed.info.clone())
    }
}

fn listing(instrument: &Instrument, series: &BarSeries, token: u32) -> InstrumentInfo {
    let mut info = InstrumentInfo::new(instrument.clone());
    info.token = Some(token.to_string());
    info.name = match series.synthetic() {
        Some(synthetic) => synthetic.name(),
        None => instrument.symbol().to_owned(),
    };
    info.kind = "EQ".to_owned();
    if series.is_index() {
        // As at Kite: an index is of the kind of a share, without a tick size and a lot.
        info.segment = "INDICES".to_owned();
    } else {
        info.segment = instrument.exchange().to_owned();
        info.tick_size = Some(series.tick_size());
        info.lot_size = Some(Decimal::ONE);
    }
    info
}

/// Returns an FNV-1a hash in Kite's form: the exchange's own number times 256, plus 1 for the segment.
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
    fn tokens_do_not_depend_on_the_rest_of_the_file() {
        let alone = Prices::from_csv(
            "time,exchange,symbol,open,high,low,close,volume\n\
             2019-01-01T15:29:00+05:30,NSE,YESBANK,7,9,6,8,1\n",
        )
        .unwrap();
        let yes = Instrument::new("NSE", "YESBANK");
        let token = InstrumentTable::new(&alone).token(&yes).unwrap();
        let sample = InstrumentTable::new(&Prices::sample());
        assert_eq!(sample.token(&yes), Some(token));
        assert_eq!(sample.by_token.get(&token), Some(&yes));
    }
}
