//! A strategy with unit tests: no network, no sleeping, and the same times on every machine.
//!
//! ```text
//! cargo test --features mock,paper --example unit_testing     the tests, at the end of this file
//! cargo run --features mock,paper --example unit_testing      the strategy, for a day on paper
//! ```

use std::error::Error;
use std::time::Duration;

use lanekeeper::broker::Position;
use lanekeeper::brokers::paper::Prices;
use lanekeeper::rust_decimal::Decimal;
use lanekeeper::{
    Broker, BrokerError, Instrument, ManualClock, OrderId, OrderRequest, PaperBroker, Side,
};

/// Sells all of `instrument` once its price has fallen to `floor`. Returns `None` if there was nothing to sell.
///
/// It takes a `&dyn Broker`, so a mock, a paper broker and a real broker behind its lanes are all the same to it. It
/// does not sleep and does not retry: the lane knows which calls may be retried, and never sends an order twice.
pub fn stop_loss(
    broker: &dyn Broker,
    instrument: &Instrument,
    floor: Decimal,
) -> Result<Option<OrderId>, BrokerError> {
    if broker.ltp(instrument)? > floor {
        return Ok(None);
    }
    let positions = broker.positions()?;
    let held = |position: &&Position| position.instrument == *instrument;
    let quantity: Decimal =
        positions.net.iter().filter(held).map(|position| position.quantity).sum();
    if quantity <= Decimal::ZERO {
        return Ok(None);
    }
    broker.place_order(&OrderRequest::market(instrument.clone(), Side::Sell, quantity)).map(Some)
}

/// Runs the strategy on a replayed day. The clock is advanced manually, so the day takes milliseconds.
fn main() -> Result<(), Box<dyn Error>> {
    let bar = Duration::from_secs(60);
    let clock = ManualClock::new();
    let prices = Prices::sample();
    let yes = Instrument::new("NSE", "YESBANK");
    let bars = prices.bars(&yes).count();
    let broker =
        PaperBroker::builder().prices(prices).bar_every(bar).clock(clock.clone()).build()?;

    let bought = broker.ltp(&yes)?;
    broker.place_order(&OrderRequest::market(yes.clone(), Side::Buy, 100))?;
    let floor = bought * Decimal::new(98, 2);
    println!("bought 100 {yes} at {bought}, to be sold at {floor} or below");

    for minute in 1..bars {
        clock.advance(bar);
        if let Some(id) = stop_loss(&broker, &yes, floor)? {
            let order = broker.order(&id)?;
            let price = order.average_price.ok_or("a market order is filled at once")?;
            println!("sold {} at {price} after {minute} minutes", order.filled_quantity);
            // A second run must not sell again.
            let again = stop_loss(&broker, &yes, floor)?;
            if price > floor || order.filled_quantity != Decimal::from(100) || again.is_some() {
                return Err(format!("this is not what was asked for: {order:?}, {again:?}").into());
            }
            return Ok(());
        }
    }
    Err("the price never came down to the floor, and the sample says that it does".into())
}

#[cfg(test)]
mod tests {
    use lanekeeper::broker::{ErrorDetail, Order, OrderStatus, OrderTags, Positions, Quote};
    use lanekeeper::lane::CallOptions;
    use lanekeeper::quota::Limits;
    use lanekeeper::{BrokerProxy, MockBroker, OrderGuard, Quota, Sent};
    use std::sync::{Arc, Mutex};

    use super::*;

    const FLOOR: Decimal = Decimal::ONE_HUNDRED;

    fn infy() -> Instrument {
        Instrument::new("NSE", "INFY")
    }

    fn holding(quantity: i64) -> Positions {
        let mut position = Position::new(infy(), None);
        position.quantity = quantity.into();
        Positions::new(vec![position], Vec::new())
    }

    /// Returns a broker that quotes `price` and holds `quantity`. An order that a test does not expect fails the test.
    fn mock(price: i64, quantity: i64) -> MockBroker {
        let mut mock = MockBroker::new();
        mock.expect_ltp().returning(move |_| Ok(price.into()));
        mock.expect_positions().returning(move || Ok(holding(quantity).into()));
        mock
    }

    #[test]
    fn sells_the_whole_position_at_the_floor() {
        let mut broker = mock(100, 7);
        let expected = OrderRequest::market(infy(), Side::Sell, 7);
        broker
            .expect_place_order()
            .times(1)
            .withf(move |order| *order == expected)
            .returning(|_| Ok(OrderId::new("1")));
        assert_eq!(stop_loss(&broker, &infy(), FLOOR), Ok(Some(OrderId::new("1"))));
    }

    #[test]
    fn leaves_a_position_above_the_floor_alone() {
        assert_eq!(stop_loss(&mock(101, 7), &infy(), FLOOR), Ok(None));
    }

    #[test]
    fn sells_nothing_that_is_not_held() {
        assert_eq!(stop_loss(&mock(90, 0), &infy(), FLOOR), Ok(None));
        assert_eq!(stop_loss(&mock(90, -3), &infy(), FLOOR), Ok(None));
    }

    #[test]
    fn an_order_of_unknown_outcome_is_not_sent_again() {
        let mut broker = mock(90, 7);
        let lost = BrokerError::OutcomeUnknown(ErrorDetail::new("connection reset"));
        let answer = lost.clone();
        broker.expect_place_order().times(1).returning(move |_| Err(answer.clone()));
        assert_eq!(stop_loss(&broker, &infy(), FLOOR), Err(lost));
    }

    #[test]
    fn behind_a_guard_the_lost_order_is_found_in_the_book() {
        let mut mock = mock(90, 7);
        let book = Arc::new(Mutex::new(Vec::new()));
        let booked = Arc::clone(&book);
        mock.expect_order_tags().returning(|| OrderTags::echoed(20));
        mock.expect_place_order().times(1).returning(move |order| {
            let order = Order::new(OrderId::new("1512"), OrderStatus::Open, order);
            booked.lock().unwrap().push(order);
            Err(BrokerError::OutcomeUnknown(ErrorDetail::new("connection reset")))
        });
        mock.expect_orders().returning(move || Ok(book.lock().unwrap().clone().into()));
        let broker = OrderGuard::builder(mock).build().unwrap();
        assert_eq!(stop_loss(&broker, &infy(), FLOOR), Ok(Some(OrderId::new("1512"))));
    }

    /// Returns a proxy in front of a mock. The proxy's `ltp` calls `quotes` of the mock, so the mock expects that.
    fn paced(orders: usize) -> (BrokerProxy<MockBroker>, ManualClock) {
        let mut mock = MockBroker::new();
        mock.expect_quotes().returning(|_| {
            Ok([(infy(), Quote::new(infy(), Decimal::from(90)))].into_iter().collect())
        });
        mock.expect_positions().returning(|| Ok(holding(7).into()));
        mock.expect_place_order().times(orders).returning(|_| Ok(OrderId::new("1")));
        let limits = Limits::new()
            .lane("transactional", Quota::per_second(10))
            .lane("quote", Quota::per_second(10))
            .lane("historical", Quota::per_second(3))
            .budget("orders", Quota::per_minute(40));
        let clock = ManualClock::auto_advancing();
        let proxy = BrokerProxy::builder(mock).limits(limits).clock(clock.clone()).build().unwrap();
        (proxy, clock)
    }

    #[test]
    fn forty_one_exits_take_a_minute_of_the_clock_and_none_of_ours() {
        let (broker, clock) = paced(41);
        let began = clock.now();
        for _ in 0..40 {
            assert!(stop_loss(&broker, &infy(), FLOOR).unwrap().is_some());
        }
        // An order and a read of the positions each, ten a second.
        assert_eq!(clock.now().since(began), Duration::from_secs(7));
        // The budget of the minute is used up, so the next order waits.
        assert!(stop_loss(&broker, &infy(), FLOOR).unwrap().is_some());
        let took = clock.now().since(began);
        assert_eq!(took, Duration::from_secs(60));
    }

    #[test]
    fn an_exit_that_cannot_be_in_time_is_refused_at_once_and_was_not_sent() {
        let (broker, clock) = paced(40);
        for _ in 0..40 {
            stop_loss(&broker, &infy(), FLOOR).unwrap();
        }
        let before = clock.now();
        let hasty = broker.with(CallOptions::new().deadline(Duration::from_secs(2)));
        let error = stop_loss(&hasty, &infy(), FLOOR).unwrap_err();
        assert_eq!(error.was_sent(), Sent::No, "{error}");
        assert!(
            clock.now().since(before) < Duration::from_secs(2),
            "it did not wait for the budget"
        );
    }
}
