//! Which answers of a broker may be kept, and how large they are: the hooks of `cache = off` in the trait.
//!
//! The candles of a period that is over do not change any more. Those of today do, with every trade.

use std::time::Duration;

use jiff::ToSpan;
use jiff::tz::TimeZone;

#[cfg(feature = "async")]
use super::{AsyncBroker, AsyncBrokerProxy};
use super::{
    Broker, BrokerProxy, Candle, CandleRequest, Holding, InstrumentInfo, Interval, OrderTags,
    Partial, Profile,
};
use crate::clock::Clock;
use crate::panic::catch_panic;
use crate::proxy::CacheableResponse;

impl<T: Broker + Send + Sync + 'static> BrokerProxy<T> {
    /// Returns for how long the answer to `request` may be kept: for ever if its range ended before today at the broker,
    /// and not at all otherwise. The day is that of [`OrderTags::day_zone`](super::OrderTags::day_zone), which is UTC for
    /// a broker that states no zone. The date in UTC may be a day ahead of the broker's, so the range must then have
    /// ended a day earlier.
    /// The length of an interval without a name in this crate is unknown. A candle of a week or a month may go on after the
    /// range, so it is not kept.
    pub(super) fn closed_period(&self, request: &CandleRequest) -> Option<Duration> {
        closed_period(request, self.lanes.clock(), || self.inner.order_tags())
    }
}

#[cfg(feature = "async")]
impl<T: AsyncBroker + 'static> AsyncBrokerProxy<T> {
    /// Returns for how long the answer to `request` may be kept, as [`BrokerProxy::closed_period`].
    pub(super) fn closed_period(&self, request: &CandleRequest) -> Option<Duration> {
        closed_period(request, self.lanes.clock(), || self.inner.order_tags())
    }
}

fn closed_period(
    request: &CandleRequest,
    clock: &Clock,
    tags: impl FnOnce() -> OrderTags,
) -> Option<Duration> {
    if matches!(request.interval, Interval::Other(_)) {
        return None;
    }
    // A panic in the adapter must not end its caller. The call itself then shows what is wrong.
    let tags = catch_panic(tags).ok()?;
    let zone = tags.day_zone();
    let now = clock.wall_clock().timestamp.to_zoned(zone.clone());
    let days = if *zone == TimeZone::UTC { 1 } else { 0 };
    let today = now.start_of_day().ok()?.checked_sub(days.days()).ok()?;
    // A range that cannot be read is an error of the call.
    let (_, end) = request.range(zone).ok()?;
    (end < today).then_some(Duration::MAX)
}

/// An answer with unreadable rows is not kept: the next one may be whole.
impl<T: CacheableResponse> CacheableResponse for Partial<T> {
    fn heap_bytes(&self) -> usize {
        self.rows.heap_bytes()
    }

    fn is_cacheable(&self) -> bool {
        self.problems.is_empty()
    }
}

/// What the texts of a row hold on the heap, on average, in bytes. Kite's listing has 60 to 100.
const TEXTS_OF_A_ROW: usize = 160;

impl CacheableResponse for InstrumentInfo {
    fn heap_bytes(&self) -> usize {
        TEXTS_OF_A_ROW
    }
}

impl CacheableResponse for Holding {
    fn heap_bytes(&self) -> usize {
        TEXTS_OF_A_ROW
    }
}

/// As an argument.
impl CacheableResponse for CandleRequest {
    fn heap_bytes(&self) -> usize {
        TEXTS_OF_A_ROW
    }
}

impl CacheableResponse for Candle {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl CacheableResponse for Profile {
    fn heap_bytes(&self) -> usize {
        let texts = [&self.user_id, &self.user_name, &self.email, &self.broker];
        let texts: usize = texts.iter().map(|text| text.capacity()).sum();
        texts + self.exchanges.heap_bytes() + self.products.heap_bytes()
    }
}
