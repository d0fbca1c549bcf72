//! One strategy: an ordinary function of `&dyn Broker`, without any code for lanes, limits or threads.
//! It sleeps only after a call that was rejected unsent, for as long as the error asks.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lanekeeper::Sent;
use lanekeeper::broker::{
    Broker, BrokerError, Instrument, OrderChange, OrderId, OrderRequest, Side,
};
use rust_decimal::Decimal;

const FAST: usize = 3;
const SLOW: usize = 8;

/// The pause after a call that was rejected unsent, if the error has no `retry_in`.
const DEFAULT_PAUSE: Duration = Duration::from_millis(100);
/// Bounds that pause, so that a strategy notices soon that it can trade again.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How often a pausing strategy checks whether to stop.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// A source of unique order tags, within the 20 letters and digits that Kite accepts.
pub struct Tags {
    prefix: String,
    next: u32,
}

impl Tags {
    /// Returns a source whose tags contain `run` and `strategy`, so no other run and no other strategy has them.
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

/// The last prices and the position of a strategy in an instrument.
#[derive(Default)]
struct View {
    prices: VecDeque<Decimal>,
    held: i64,
}

impl View {
    fn record(&mut self, price: Decimal) {
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

    /// Returns a buy if the fast mean is above the slow one, and a sell if it is below.
    fn signal(&self) -> Option<Side> {
        let (fast, slow) = (self.mean_of_last(FAST)?, self.mean_of_last(SLOW)?);
        match fast.cmp(&slow) {
            std::cmp::Ordering::Greater if self.held <= 0 => Some(Side::Buy),
            std::cmp::Ordering::Less if self.held >= 0 => Some(Side::Sell),
            _ => None,
        }
    }
}

/// Follows moving averages until `stop` is set. Errors are expected: the strategy meter records the outcome of every
/// order.
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
        let mut pause = Duration::ZERO;
        for instrument in instruments {
            match broker.ltp(instrument) {
                Ok(price) => views.entry(instrument).or_default().record(price),
                Err(error) => pause = pause.max(pause_after(&error)),
            }
        }
        let instrument = &instruments[round % instruments.len()];
        let Some(view) = views.get_mut(instrument) else {
            // Without a price there is nothing to decide. The margins can be read anyway.
            if let Err(error) = broker.margins() {
                pause = pause.max(pause_after(&error));
            }
            sleep(pause, stop);
            continue;
        };
        let Some(&price) = view.prices.back() else { continue };
        let done: Result<(), BrokerError> = match (round % 6, view.signal()) {
            (0, _) => broker.orders().map(drop),
            (3, _) => broker.positions().map(drop),
            // A resting order follows the price once, and is then cancelled.
            (2, _) if !resting.is_empty() => change_first(broker, &mut resting),
            (5, _) if !resting.is_empty() => cancel_first(broker, &mut resting),
            (_, Some(side)) => {
                let order = OrderRequest::market(instrument.clone(), side, 1);
                let placed = broker.place_order(&order.tag(tags.next()));
                placed.map(|_| view.held += if side == Side::Buy { 1 } else { -1 })
            }
            (_, None) => {
                // A bid far below the market, which is changed or cancelled later.
                let bid = (price * Decimal::new(9, 1)).round_dp(1);
                let order = OrderRequest::limit(instrument.clone(), Side::Buy, 1, bid);
                let placed = broker.place_order(&order.tag(tags.next()));
                placed.map(|id| resting.push_back((id, bid)))
            }
        };
        // The next round decides anew. An order of unknown outcome is not sent again.
        sleep(pause.max(done.err().as_ref().map_or(Duration::ZERO, pause_after)), stop);
    }
    // Cancel the resting orders, with one attempt each. An order whose cancellation fails stays in the order book.
    for _ in 0..resting.len() {
        let _ = cancel_first(broker, &mut resting);
    }
}

/// Returns how long to wait after `error` before the next call: zero unless the call was rejected unsent. A strategy
/// that calls again at once would be rejected again at once, in a busy loop.
fn pause_after(error: &BrokerError) -> Duration {
    if error.was_sent() != Sent::No {
        return Duration::ZERO;
    }
    let retry_in = error.detail().and_then(|detail| detail.retry_in);
    retry_in.unwrap_or(DEFAULT_PAUSE).min(MAX_PAUSE)
}

/// Sleeps for `pause`, or until `stop` is set.
fn sleep(pause: Duration, stop: &AtomicBool) {
    let began = Instant::now();
    while let Some(remaining) = pause.checked_sub(began.elapsed()).filter(|it| !it.is_zero()) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(STOP_CHECK_INTERVAL.min(remaining));
    }
}

/// The resting orders of a strategy, and their prices.
type Resting = VecDeque<(OrderId, Decimal)>;

fn change_first(broker: &dyn Broker, resting: &mut Resting) -> Result<(), BrokerError> {
    let Some((id, at)) = resting.pop_front() else { return Ok(()) };
    let changed = broker.modify_order(&id, &OrderChange::new().price(at - Decimal::ONE));
    // If the change failed, the order still rests under its old id.
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
