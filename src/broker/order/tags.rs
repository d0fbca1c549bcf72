//! What a broker does with the tag of an order, and how else a lost order can be followed up.

use jiff::tz::TimeZone;

/// What a broker does with the tag of an order: whether an order can be found again by it, and
/// whether it may be sent twice under it.
///
/// An adapter says so by [`Broker::order_tags`](crate::Broker::order_tags).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderTags {
    support: TagSupport,
    max_length: usize,
    allowed_symbols: &'static str,
    day_zone: TimeZone,
    is_changed_in_place: bool,
}

/// How far the tag of an order can be relied upon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TagSupport {
    /// No order can be found by its tag.
    None,
    /// The order book shows the tag as it was sent, and nobody checks that it is unique.
    Echoed,
    /// As `Echoed`, and the broker refuses a second order of the same tag. So an order whose outcome
    /// is unknown may be sent again under its tag.
    Unique {
        /// The code ([`ErrorDetail::code`](crate::ErrorDetail)) of that refusal.
        duplicate: String,
    },
}

impl OrderTags {
    /// No tags, or none that the order book shows.
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

    /// Tags of up to `longest` letters and digits, which the order book shows as they were sent.
    pub fn echoed(longest: usize) -> Self {
        Self { support: TagSupport::Echoed, max_length: longest, ..Self::none() }
    }

    /// Tags of up to `longest` letters and digits, of which the broker takes each but once; a second
    /// order of the same tag is [`Rejected`](crate::BrokerError::Rejected) with the code `duplicate`.
    pub fn unique(longest: usize, duplicate: impl Into<String>) -> Self {
        let support = TagSupport::Unique { duplicate: duplicate.into() };
        Self { support, max_length: longest, ..Self::none() }
    }

    /// The zone in which the broker's day ends, and its order book with it. UTC if nobody says. One that
    /// is not known (`Etc/Unknown`) is refused when a guard is built.
    #[must_use]
    pub fn zone(mut self, zone: TimeZone) -> Self {
        self.day_zone = zone;
        self
    }

    /// A tag may have these ASCII characters too, beside letters and digits: `"-_"`.
    #[must_use]
    pub fn symbols(mut self, symbols: &'static str) -> Self {
        self.allowed_symbols = symbols;
        self
    }

    /// A change leaves an order its id, always. Unless an adapter says so, an order may have been
    /// changed by another that took its place, in which case it shows as cancelled.
    #[must_use]
    pub fn changed_in_place(mut self) -> Self {
        self.is_changed_in_place = true;
        self
    }

    /// How far a tag can be relied upon.
    pub fn support(&self) -> &TagSupport {
        &self.support
    }

    /// The most characters of a tag.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// What a tag may have beside letters and digits.
    pub fn allowed_symbols(&self) -> &'static str {
        self.allowed_symbols
    }

    /// Whether a changed order keeps its id, always.
    pub fn is_changed_in_place(&self) -> bool {
        self.is_changed_in_place
    }

    /// The zone in which the broker's day ends.
    pub fn day_zone(&self) -> &TimeZone {
        &self.day_zone
    }
}
