//! Kite's numbers for instruments, which requests for candles need.

use std::collections::HashMap;

use parking_lot::RwLock;

use crate::broker::{Exchange, Instrument};

/// More than all exchanges list together, so only a faulty answer reaches it.
pub(super) const MAX_TOKENS: usize = 500_000;

/// The numbers from listings and quotes. Shared by the clones of an adapter.
#[derive(Debug, Default)]
pub(super) struct InstrumentTokens(RwLock<HashMap<Instrument, u64>>);

impl InstrumentTokens {
    /// Returns the number of `instrument`, if an answer contained it.
    pub(super) fn get(&self, instrument: &Instrument) -> Option<u64> {
        self.0.read().get(instrument).copied()
    }

    /// Replaces the numbers by those of a new listing: of `exchange`, or of all.
    pub(super) fn replace(
        &self,
        exchange: Option<&Exchange>,
        listed: impl Iterator<Item = (Instrument, u64)>,
    ) {
        let mut known = self.0.write();
        match exchange {
            Some(exchange) => known.retain(|one, _| one.exchange() != exchange.as_str()),
            None => known.clear(),
        }
        known.extend(listed.take(MAX_TOKENS));
    }

    /// Adds the numbers of quotes.
    pub(super) fn extend(&self, told: impl Iterator<Item = (Instrument, u64)>) {
        let mut known = self.0.write();
        for (instrument, token) in told {
            if known.len() < MAX_TOKENS || known.contains_key(&instrument) {
                known.insert(instrument, token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_replaces_that_of_its_exchange_only() {
        let (infy, sbin, tcs) = (
            Instrument::new("NSE", "INFY"),
            Instrument::new("BSE", "SBIN"),
            Instrument::new("NSE", "TCS"),
        );
        let tokens = InstrumentTokens::default();
        tokens.replace(None, [(infy.clone(), 1), (sbin.clone(), 2)].into_iter());
        tokens.replace(Some(&Exchange::Nse), [(tcs.clone(), 3)].into_iter());
        assert_eq!(
            (tokens.get(&infy), tokens.get(&sbin), tokens.get(&tcs)),
            (None, Some(2), Some(3))
        );
        tokens.extend([(infy.clone(), 4)].into_iter());
        assert_eq!(tokens.get(&infy), Some(4));
    }
}
