//! Whether an order in the order book, or an unreadable row, is the one that was sent.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Zoned};
use serde::{Deserialize, Serialize};

use crate::broker::{Order, OrderRequest, RowProblem, Rows};

/// The assumed maximum difference between the clocks of client and broker. Machines with time synchronization differ by
/// far less than a minute.
pub(in crate::order_guard) const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// An order that is about to be sent, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::order_guard) struct Intent {
    /// The tag that is searched for.
    pub(in crate::order_guard) tag: String,
    /// Whether the caller set the tag, so that another program may have used it before.
    #[serde(rename = "caller_tag", alias = "own")]
    pub(in crate::order_guard) is_caller_tag: bool,
    /// When it was about to be sent.
    pub(in crate::order_guard) at: Timestamp,
    /// The order, with the tag.
    pub(in crate::order_guard) order: OrderRequest,
}

impl Intent {
    /// Returns whether `order` is the one of this intent.
    ///
    /// A generated tag is sufficient; its letters are lower case, and a broker may turn them into upper case. A
    /// caller tag may be on another order too, so the instrument, the side and the time must match as well. Quantity
    /// and price are ignored, since the order may have been changed.
    pub(super) fn matches(&self, order: &Order) -> bool {
        self.matches_identity(order)
            && (!self.is_caller_tag
                || order.placed_at.as_ref().is_none_or(|it| is_time_plausible(self.at, it)))
    }

    /// Returns whether `order` is the one of this intent, ignoring its time.
    pub(super) fn matches_identity(&self, order: &Order) -> bool {
        if !self.is_caller_tag {
            return order.tags().any(|tag| tag.eq_ignore_ascii_case(&self.tag));
        }
        order.tags().any(|tag| *tag == self.tag)
            && order.instrument == self.order.instrument
            && order.side == self.order.side
    }

    /// Describes why an order book without this order does not prove that it is absent: one of the `candidates`
    /// matches in everything but its time, and a clock may be wrong; or an unreadable row may be the order.
    pub(in crate::order_guard) fn ambiguity(
        &self,
        candidates: &[Order],
        book: &Rows<Order>,
    ) -> Option<String> {
        if let Some(Order { id, .. }) = candidates.first() {
            return Some(format!(
                "order {id} has the tag, the instrument and the side, but another time: it is an earlier \
                 order with that tag, or a clock is wrong by more than {MAX_CLOCK_SKEW:?}"
            ));
        }
        self.unreadable_row(book)
    }

    /// Describes the first unreadable row that may be this order, or a slice of it.
    pub(in crate::order_guard) fn unreadable_row(&self, book: &Rows<Order>) -> Option<String> {
        let problem = book.problems.iter().find(|problem| self.row_may_match(problem))?;
        Some(format!("a row of the order book cannot be read, and may be this order: {problem}"))
    }

    /// Returns whether an unreadable row may be the order: it has the order's tag, or no readable one.
    fn row_may_match(&self, problem: &RowProblem) -> bool {
        problem.tag.as_deref().is_none_or(|tag| tag.eq_ignore_ascii_case(&self.tag))
    }
}

/// Returns whether an order placed at `placed` may be one that was sent at `at`: not placed before, and not on a later
/// day in the zone of `placed`. Both allow for [`MAX_CLOCK_SKEW`].
pub(super) fn is_time_plausible(at: Timestamp, placed: &Zoned) -> bool {
    let skew = SignedDuration::try_from(MAX_CLOCK_SKEW).unwrap_or_default();
    let earliest = at.checked_sub(skew).unwrap_or(at);
    let latest = at.checked_add(skew).unwrap_or(at);
    let last_day = latest.to_zoned(placed.time_zone().clone()).date();
    placed.timestamp() >= earliest && placed.date() <= last_day
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::broker::{Instrument, OrderId, OrderStatus, Side};

    fn request() -> OrderRequest {
        OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 10).tag("t1")
    }

    pub(in crate::order_guard) fn intent(is_caller_tag: bool) -> Intent {
        let at = "2026-01-05T04:00:00Z".parse().unwrap();
        Intent { tag: "t1".to_owned(), is_caller_tag, at, order: request() }
    }

    pub(in crate::order_guard) fn order(id: &str) -> Order {
        Order::new(OrderId::new(id), OrderStatus::Open, &request())
    }

    fn found(intent: &Intent, book: &[Order]) -> Option<String> {
        book.iter().find(|order| intent.matches(order)).map(|order| order.id.to_string())
    }

    #[test]
    fn an_order_is_found_by_its_tag() {
        let mut other = order("1");
        other.tag = Some("t2".to_owned());
        let mut bare = order("2");
        bare.tag = None;
        assert_eq!(
            found(&intent(false), &[other.clone(), bare.clone(), order("3")]),
            Some("3".into())
        );
        assert_eq!(found(&intent(false), &[other, bare]), None);
    }

    #[test]
    fn any_of_several_tags_may_be_the_one() {
        let mut tagged = order("1");
        tagged.other_tags = vec!["t1".to_owned()];
        tagged.tag = Some("basket".to_owned());
        for is_caller_tag in [true, false] {
            assert_eq!(found(&intent(is_caller_tag), &[tagged.clone()]).as_deref(), Some("1"));
        }
    }

    #[test]
    fn a_callers_tag_on_another_order_does_not_deceive() {
        let mut sold = order("1");
        sold.side = Side::Sell;
        let mut elsewhere = order("2");
        elsewhere.instrument = Instrument::new("BSE", "INFY");
        let mut earlier = order("3");
        earlier.placed_at = Some("2026-01-05T09:28:59+05:30[+05:30]".parse().unwrap());
        let mut changed = order("4");
        changed.quantity = 5.into();
        changed.placed_at = Some("2026-01-05T09:29:59+05:30[+05:30]".parse().unwrap());
        let book = [sold, elsewhere, earlier, changed];
        assert_eq!(found(&intent(true), &book), Some("4".into()));
        assert_eq!(found(&intent(true), &book[..3]), None);
    }

    #[test]
    fn a_broker_that_makes_letters_large_does_no_harm() {
        let mut large = order("1");
        large.tag = Some("T1".to_owned());
        assert_eq!(found(&intent(false), &[large.clone()]), Some("1".into()));
        // The caller may use both spellings as different tags.
        assert_eq!(found(&intent(true), &[large]), None);
    }

    #[test]
    fn a_callers_tag_is_of_one_day() {
        let placed = |at: &str| {
            let mut order = order("1");
            order.placed_at = Some(at.parse().unwrap());
            found(&intent(true), &[order]).is_some()
        };
        // The intent was recorded at 09:30 in India.
        assert!(placed("2026-01-05T23:59:59+05:30[+05:30]"));
        assert!(!placed("2026-01-06T00:00:00+05:30[+05:30]"));
        assert!(!placed("2026-01-04T09:30:00+05:30[+05:30]"));
        // The day counts in the zone of the order's time.
        assert!(placed("2026-01-05T23:59:59+00:00[+00:00]"));
        // Around midnight, the clocks may be on different days.
        let mut late = intent(true);
        late.at = "2026-01-05T18:29:30Z".parse().unwrap();
        let mut after = order("1");
        after.placed_at = Some("2026-01-06T00:00:10+05:30[+05:30]".parse().unwrap());
        assert_eq!(found(&late, &[after]), Some("1".into()));
    }

    #[test]
    fn a_row_that_cannot_be_read_is_an_ambiguity_unless_it_shows_another_tag() {
        let book = |tag: Option<&str>| {
            let mut problem = RowProblem::new(1, "it has no status", "{..}").name("9");
            problem.tag = tag.map(str::to_owned);
            Rows::from(Vec::new()).with_problems([problem])
        };
        let ambiguity = |tag| intent(false).ambiguity(&[], &book(tag));
        assert!(ambiguity(None).is_some_and(|text| text.contains("row 1 (9): it has no status")));
        assert!(ambiguity(Some("T1")).is_some());
        assert_eq!(ambiguity(Some("t2")), None);
        assert_eq!(intent(false).ambiguity(&[], &Rows::default()), None);
    }
}
