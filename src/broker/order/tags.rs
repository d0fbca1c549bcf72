//! The broker's support of order tags, and other facts by which lost orders are reconciled.

use jiff::tz::TimeZone;

/// The broker's support of order tags: whether an order can be found by its tag, and whether it may
/// be sent twice under the same tag.
///
/// An adapter states it in [`Broker::order_tags`](crate::Broker::order_tags).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderTags {
    support: TagSupport,
    max_length: usize,
    allowed_symbols: &'static str,
    day_zone: TimeZone,
    is_changed_in_place: bool,
}

/// How far a caller can rely on the tag of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TagSupport {
    /// Orders cannot be found by their tags.
    None,
    /// The order book shows the tag as it was sent. The broker does not check that it is unique.
    Echoed,
    /// As `Echoed`, and the broker rejects a second order with the same tag. So an order of unknown
    /// outcome may be sent again under its tag.
    Unique {
        /// The code ([`ErrorDetail::code`](crate::ErrorDetail)) of that rejection.
        duplicate: String,
    },
}

impl OrderTags {
    /// Describes a broker without tags, or whose order book does not show them.
    pub fn none() -> Self {
        let (zone, in_place) = (TimeZone::UTC, false);
        Self {
            support: TagSupport::None,
            max_length: 20,
            allowed_symbols: "",
            day_zone: zone,
            is_changed_in_place: in_place,
        }
    }

    /// Describes tags of up to `max_length` letters and digits, which the order book shows as they were
    /// sent.
    pub fn echoed(max_length: usize) -> Self {
        Self { support: TagSupport::Echoed, max_length, ..Self::none() }
    }

    /// Describes tags of up to `max_length` letters and digits, each of which the broker accepts once. A
    /// second order with the same tag is [`Rejected`](crate::BrokerError::Rejected) with the code
    /// `duplicate`.
    pub fn unique(max_length: usize, duplicate: impl Into<String>) -> Self {
        let support = TagSupport::Unique { duplicate: duplicate.into() };
        Self { support, max_length, ..Self::none() }
    }

    /// Sets the time zone in which the broker's day, and its order book, ends. UTC by default. Building
    /// an order guard fails if the zone is unknown (`Etc/Unknown`).
    #[must_use]
    pub fn zone(mut self, zone: TimeZone) -> Self {
        self.day_zone = zone;
        self
    }

    /// Sets the ASCII characters that a tag may have beside letters and digits, for example `"-_"`.
    #[must_use]
    pub fn symbols(mut self, symbols: &'static str) -> Self {
        self.allowed_symbols = symbols;
        self
    }

    /// States that a changed order always keeps its id. Without this, a change may replace the order by
    /// another one, and the order then shows as cancelled.
    #[must_use]
    pub fn changed_in_place(mut self) -> Self {
        self.is_changed_in_place = true;
        self
    }

    /// Returns how far a caller can rely on a tag.
    pub fn support(&self) -> &TagSupport {
        &self.support
    }

    /// Returns the maximum number of characters of a tag.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Returns the characters that a tag may have beside letters and digits.
    pub fn allowed_symbols(&self) -> &'static str {
        self.allowed_symbols
    }

    /// Returns whether a changed order always keeps its id.
    pub fn is_changed_in_place(&self) -> bool {
        self.is_changed_in_place
    }

    /// Returns the time zone in which the broker's day ends.
    pub fn day_zone(&self) -> &TimeZone {
        &self.day_zone
    }
}
