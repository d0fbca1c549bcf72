//! What a broker does with the tag of an order.

use jiff::tz::TimeZone;

/// What a broker does with the tag of an order: whether an order can be found again by it, and
/// whether it may be sent twice under it.
///
/// An adapter says so by [`Broker::order_tags`](crate::Broker::order_tags).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderTags {
    support: TagSupport,
    longest: usize,
    zone: TimeZone,
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
        /// The code ([`Detail::code`](crate::Detail)) of that refusal.
        duplicate: String,
    },
}

impl OrderTags {
    /// No tags, or none that the order book shows.
    pub fn none() -> Self {
        Self { support: TagSupport::None, longest: 20, zone: TimeZone::UTC }
    }

    /// Tags of up to `longest` letters and digits, which the order book shows as they were sent.
    pub fn echoed(longest: usize) -> Self {
        Self { support: TagSupport::Echoed, longest, ..Self::none() }
    }

    /// Tags of up to `longest` letters and digits, of which the broker takes each but once; a second
    /// order of the same tag is [`Rejected`](crate::BrokerError::Rejected) with the code `duplicate`.
    pub fn unique(longest: usize, duplicate: impl Into<String>) -> Self {
        let support = TagSupport::Unique { duplicate: duplicate.into() };
        Self { support, longest, ..Self::none() }
    }

    /// The zone in which the broker's day ends, and its order book with it. UTC if nobody says.
    #[must_use]
    pub fn zone(mut self, zone: TimeZone) -> Self {
        self.zone = zone;
        self
    }

    /// How far a tag can be relied upon.
    pub fn support(&self) -> &TagSupport {
        &self.support
    }

    /// The most letters and digits of a tag.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The zone in which the broker's day ends.
    pub fn day_zone(&self) -> &TimeZone {
        &self.zone
    }
}
