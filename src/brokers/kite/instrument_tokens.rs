//! Kite's numbers for instruments, which requests for candles need.
//!
//! They are learned from listings and quotes. An instrument that a listing does not have stays unlisted for a while,
//! so that a misspelt symbol does not fetch the listing again with each call.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::RwLock;

use crate::broker::{Exchange, Instrument};
use crate::clock::Clock;
use crate::quota::WallClockSample;

/// More than all exchanges list together, so only a faulty answer reaches it.
pub(super) const MAX_TOKENS: usize = 500_000;

/// How long an instrument counts as unlisted after a listing that does not have it. Kite makes its listings once a day.
const UNLISTED_FOR: Duration = Duration::from_secs(10 * 60);

/// The numbers from listings and quotes. Shared by the clones of an adapter.
#[derive(Debug, Default)]
pub(super) struct InstrumentTokens {
    clock: Clock,
    known: RwLock<KnownTokens>,
}

#[derive(Debug, Default)]
struct KnownTokens {
    tokens: HashMap<Instrument, u64>,
    /// When the last listing of each exchange came, and the last one of all exchanges.
    listed: HashMap<Exchange, WallClockSample>,
    all_listed: Option<WallClockSample>,
}

/// What is known of an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenLookup {
    /// Its number.
    Known(u64),
    /// The listing of its exchange, which came at this time, does not have it.
    NotListed(Timestamp),
    /// Nothing. A listing may have it.
    Unknown,
}

impl InstrumentTokens {
    /// Returns what is known of `instrument`.
    pub(super) fn lookup(&self, instrument: &Instrument) -> TokenLookup {
        let known = self.known.read();
        if let Some(&token) = known.tokens.get(instrument) {
            return TokenLookup::Known(token);
        }
        let of_exchange = known.listed.get(&Exchange::from(instrument.exchange()));
        let last = of_exchange.into_iter().chain(&known.all_listed).max_by_key(|it| it.moment);
        match last {
            Some(listed) if self.clock.now().since(listed.moment) < UNLISTED_FOR => {
                TokenLookup::NotListed(listed.timestamp)
            }
            _ => TokenLookup::Unknown,
        }
    }

    /// Learns a listing: of `exchange`, or of all. A complete listing replaces the numbers of its exchange. An
    /// instrument that is missing from a partial one may well exist, and keeps its number.
    pub(super) fn learn_listing(
        &self,
        exchange: Option<&Exchange>,
        listed: impl Iterator<Item = (Instrument, u64)>,
        is_complete: bool,
    ) {
        let now = self.clock.wall_clock();
        let mut known = self.known.write();
        match exchange {
            Some(exchange) => {
                known.listed.insert(exchange.clone(), now);
            }
            None => known.all_listed = Some(now),
        }
        if !is_complete {
            return known.extend(listed);
        }
        match exchange {
            Some(exchange) => known.tokens.retain(|one, _| one.exchange() != exchange.as_str()),
            None => known.tokens.clear(),
        }
        known.tokens.extend(listed.take(MAX_TOKENS));
    }

    /// Adds the numbers of quotes.
    pub(super) fn learn_quotes(&self, told: impl Iterator<Item = (Instrument, u64)>) {
        self.known.write().extend(told);
    }
}

impl KnownTokens {
    fn extend(&mut self, told: impl Iterator<Item = (Instrument, u64)>) {
        for (instrument, token) in told {
            if self.tokens.len() < MAX_TOKENS || self.tokens.contains_key(&instrument) {
                self.tokens.insert(instrument, token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TokenLookup::{Known, NotListed, Unknown};
    use super::*;
    use crate::clock::ManualClock;

    fn with_clock() -> (InstrumentTokens, ManualClock) {
        let clock = ManualClock::new();
        (InstrumentTokens { clock: clock.clone().into(), ..InstrumentTokens::default() }, clock)
    }

    #[test]
    fn a_listing_replaces_that_of_its_exchange_only() {
        let (infy, sbin, tcs) = (
            Instrument::new("NSE", "INFY"),
            Instrument::new("BSE", "SBIN"),
            Instrument::new("NSE", "TCS"),
        );
        let (tokens, _) = with_clock();
        tokens.learn_listing(None, [(infy.clone(), 1), (sbin.clone(), 2)].into_iter(), true);
        tokens.learn_listing(Some(&Exchange::Nse), [(tcs.clone(), 3)].into_iter(), true);
        assert!(matches!(tokens.lookup(&infy), NotListed(_)));
        assert_eq!((tokens.lookup(&sbin), tokens.lookup(&tcs)), (Known(2), Known(3)));
        tokens.learn_quotes([(infy.clone(), 4)].into_iter());
        assert_eq!(tokens.lookup(&infy), Known(4));
        // A partial listing says nothing of what it lacks.
        tokens.learn_listing(Some(&Exchange::Nse), [(tcs.clone(), 5)].into_iter(), false);
        assert_eq!((tokens.lookup(&infy), tokens.lookup(&tcs)), (Known(4), Known(5)));
    }

    #[test]
    fn an_instrument_that_a_listing_lacks_is_unlisted_for_ten_minutes() {
        let ghost = Instrument::new("NSE", "GHOST");
        let (tokens, clock) = with_clock();
        assert_eq!(tokens.lookup(&ghost), Unknown);
        tokens.learn_listing(Some(&Exchange::Bse), [].into_iter(), true);
        assert_eq!(tokens.lookup(&ghost), Unknown, "that was another exchange");
        let listed_at = tokens.clock.wall_clock().timestamp;
        tokens.learn_listing(Some(&Exchange::Nse), [].into_iter(), true);
        clock.advance(UNLISTED_FOR - Duration::from_nanos(1));
        assert_eq!(tokens.lookup(&ghost), NotListed(listed_at));
        clock.advance(Duration::from_nanos(1));
        assert_eq!(tokens.lookup(&ghost), Unknown);
        // A listing of all exchanges counts too.
        tokens.learn_listing(None, [].into_iter(), false);
        assert!(matches!(tokens.lookup(&ghost), NotListed(_)));
    }
}
