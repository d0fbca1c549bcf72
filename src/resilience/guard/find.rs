//! Which order in the book is the one that was meant.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::broker::{BrokerError, Detail, Order, OrderId, OrderRequest, OrderStatus};

/// How far the clocks of client and broker may be apart.
const SKEW: Duration = Duration::from_secs(60);

/// An order that is about to be sent, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    /// What is looked for.
    pub(super) tag: String,
    /// The caller set the tag, so that somebody else may have used it before.
    pub(super) own: bool,
    /// When it was about to be sent.
    pub(super) at: Timestamp,
    /// The order, with the tag.
    pub(super) order: OrderRequest,
}

impl Intent {
    /// Whether `order` is the one that was meant.
    ///
    /// The guard's own tag says it all. A tag of the caller's may be on another order too; so the
    /// instrument and the side must be right, and it must not have been there before. Quantity and
    /// price say nothing: somebody may have changed them since.
    fn is(&self, order: &Order) -> bool {
        if order.tag.as_ref() != Some(&self.tag) {
            return false;
        }
        if !self.own {
            return true;
        }
        let began = SignedDuration::try_from(SKEW).ok();
        let began = began.and_then(|skew| self.at.checked_sub(skew).ok()).unwrap_or(self.at);
        let before = order.placed_at.as_ref().is_some_and(|at| at.timestamp() < began);
        order.instrument == self.order.instrument && order.side == self.order.side && !before
    }

    /// The order of this intent. An order that the broker slices up shows its tag on each slice: the
    /// one that belongs to no other stands for them.
    pub(super) fn find<'a>(&self, book: &'a [Order]) -> Option<&'a Order> {
        let ours = || book.iter().filter(|order| self.is(order));
        ours().find(|order| order.parent.is_none()).or_else(|| ours().next())
    }
}

/// What the broker would have answered to the placing of this order.
pub(super) fn answer(order: &Order) -> Result<OrderId, BrokerError> {
    if order.status != OrderStatus::Rejected {
        return Ok(order.id.clone());
    }
    let why = order.status_message.as_deref().unwrap_or("the order book does not say why");
    Err(BrokerError::Rejected(Detail::new(format!("order {}: {why}", order.id))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Instrument, Side};

    fn request() -> OrderRequest {
        OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 10).tag("t1")
    }

    fn intent(own: bool) -> Intent {
        let at = "2026-01-05T04:00:00Z".parse().unwrap();
        Intent { tag: "t1".to_owned(), own, at, order: request() }
    }

    fn order(id: &str) -> Order {
        Order::new(OrderId::new(id), OrderStatus::Open, &request())
    }

    fn found(intent: &Intent, book: &[Order]) -> Option<String> {
        intent.find(book).map(|order| order.id.to_string())
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
    fn a_parent_stands_for_its_slices() {
        let mut slice = order("1");
        slice.parent = Some(OrderId::new("2"));
        assert_eq!(found(&intent(false), &[slice.clone(), order("2")]), Some("2".into()));
        assert_eq!(found(&intent(false), &[slice]), Some("1".into()));
    }

    #[test]
    fn an_order_found_rejected_is_the_brokers_refusal() {
        assert_eq!(answer(&order("1")), Ok(OrderId::new("1")));
        let mut rejected = order("1");
        rejected.status = OrderStatus::Rejected;
        rejected.status_message = Some("no funds".to_owned());
        assert_eq!(answer(&rejected), Err(BrokerError::Rejected(Detail::new("order 1: no funds"))));
    }
}
