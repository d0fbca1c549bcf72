//! One strategy: an ordinary function of `&dyn Broker`. It knows nothing of lanes, limits or
//! threads, and never sleeps.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use lanekeeper::broker::{
    Broker, BrokerError, Instrument, OrderChange, OrderId, OrderRequest, Product, Side,
};
use rust_decimal::Decimal;

const FAST: usize = 3;
const SLOW: usize = 8;

/// Gives each order a tag of its own, within the 20 letters and digits that Kite takes.
pub struct Tags {
    prefix: String,
    next: u32,
}

impl Tags {
    /// `run` tells runs apart, `strategy` the strategies of one.
    pub fn new(run: u64, strategy: usize) -> Self {
        Self { prefix: format!("lk{}s{strategy}", base36(run)), next: 0 }
    }

    fn next(&mut self) -> String {
        self.next += 1;
        format!("{}n{}", self.prefix, base36(self.next.into()))
    }
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.is_empty() {
        digits.push(char::from_digit((number % 36) as u32, 36).unwrap_or('0'));
        number /= 36;
    }
    digits.iter().rev().collect()
}

/// What a strategy remembers of an instrument.
#[derive(Default)]
struct View {
    prices: VecDeque<Decimal>,
    held: i64,
}

impl View {
    fn saw(&mut self, price: Decimal) {
        self.prices.push_back(price);
        if self.prices.len() > SLOW {
            self.prices.pop_front();
        }
    }

    fn mean_of_last(&self, count: usize) -> Option<Decimal> {
        let count = count.min(self.prices.len());
        let sum: Decimal = self.prices.iter().rev().take(count).sum();
        sum.checked_div(Decimal::from(count))
    }

    /// Buy when the fast mean is above the slow one, and sell when below.
    fn signal(&self) -> Option<Side> {
        let (fast, slow) = (self.mean_of_last(FAST)?, self.mean_of_last(SLOW)?);
        match fast.cmp(&slow) {
            std::cmp::Ordering::Greater if self.held <= 0 => Some(Side::Buy),
            std::cmp::Ordering::Less if self.held >= 0 => Some(Side::Sell),
            _ => None,
        }
    }
}

/// Follows moving averages until it is told to stop. Errors are part of the day: what matters of
/// an order is written down by the desk.
pub fn follow_averages(
    broker: &dyn Broker,
    instruments: &[Instrument],
    tags: &mut Tags,
    turn: usize,
    stop: &AtomicBool,
) {
    let mut views: HashMap<&Instrument, View> = HashMap::new();
    let mut resting = Resting::new();
    let mut round = turn;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        for instrument in instruments {
            if let Ok(price) = broker.ltp(instrument) {
                views.entry(instrument).or_default().saw(price);
            }
        }
        let instrument = &instruments[round % instruments.len()];
        let Some(view) = views.get_mut(instrument) else {
            // Without a price there is nothing to decide; the account can be looked at all the same.
            let _ = broker.margins();
            continue;
        };
        let Some(&price) = view.prices.back() else { continue };
        let done: Result<(), BrokerError> = match (round % 6, view.signal()) {
            (0, _) => broker.orders().map(drop),
            (3, _) => broker.positions().map(drop),
            // A resting order follows the price once, and is then taken out.
            (2, _) if !resting.is_empty() => change_first(broker, &mut resting),
            (5, _) if !resting.is_empty() => cancel_first(broker, &mut resting),
            (_, Some(side)) => {
                let order = OrderRequest::market(instrument.clone(), side, 1);
                let placed = broker.place_order(&order.product(Product::Mis).tag(tags.next()));
                placed.map(|_| view.held += if side == Side::Buy { 1 } else { -1 })
            }
            (_, None) => {
                // A bid well below the market, to be changed or cancelled later.
                let bid = (price * Decimal::new(9, 1)).round_dp(1);
                let order = OrderRequest::limit(instrument.clone(), Side::Buy, 1, bid);
                let placed = broker.place_order(&order.product(Product::Mis).tag(tags.next()));
                placed.map(|id| resting.push_back((id, bid)))
            }
        };
        // The next round decides afresh; an order of unknown outcome is not sent again.
        drop(done);
    }
    // Nothing of ours stays in the market. One try each: what fails here is in the order book.
    for _ in 0..resting.len() {
        let _ = cancel_first(broker, &mut resting);
    }
}

/// The orders of a strategy that wait in the market, and their prices.
type Resting = VecDeque<(OrderId, Decimal)>;

fn change_first(broker: &dyn Broker, resting: &mut Resting) -> Result<(), BrokerError> {
    let Some((id, at)) = resting.pop_front() else { return Ok(()) };
    let changed = broker.modify_order(&id, &OrderChange::new().price(at - Decimal::ONE));
    // If it failed the order is still there, under its old name.
    resting.push_back((changed.clone().unwrap_or(id), at));
    changed.map(drop)
}

fn cancel_first(broker: &dyn Broker, resting: &mut Resting) -> Result<(), BrokerError> {
    let Some((id, at)) = resting.pop_front() else { return Ok(()) };
    let cancelled = broker.cancel_order(&id);
    if !matches!(cancelled, Ok(()) | Err(BrokerError::Rejected(_))) {
        resting.push_back((id, at));
    }
    cancelled
}
