//! A strategy on paper: real prices from a file, an account in memory, no network and no money.
//!
//! It holds a share while the mean of its last prices is above the mean over a longer time. The replay advances
//! manually, one bar of a minute at a time, and the lanes use the same clock. So two days of trading take less than a
//! second, and waiting for a permit costs the strategy as much market time as in reality. The program ends with an
//! error if any statement that it prints does not hold.
//!
//! ```text
//! cargo run --features paper --example paper_trading
//! ```

use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

use lanekeeper::broker::{OrderStatus, Trade};
use lanekeeper::brokers::paper::Prices;
use lanekeeper::rust_decimal::Decimal;
use lanekeeper::{
    Broker, BrokerError, BrokerProxy, Instrument, Limits, ManualClock, OrderId, OrderRequest,
    PaperBroker, Quota, Side,
};

const PRICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/nse_minute.csv");
const BAR: Duration = Duration::from_secs(60);
const CASH: i64 = 1_000_000;

/// A strategy that follows the trend of one share. `fast` and `slow` are the numbers of prices in each mean.
struct Crossover {
    share: Instrument,
    quantity: Decimal,
    fast: usize,
    slow: usize,
    prices: VecDeque<Decimal>,
    holds: bool,
}

impl Crossover {
    fn new(share: Instrument, quantity: impl Into<Decimal>, fast: usize, slow: usize) -> Self {
        let quantity = quantity.into();
        Self { share, quantity, fast, slow, prices: VecDeque::new(), holds: false }
    }

    /// Reads the price once, and trades if the means have crossed.
    fn step(&mut self, broker: &dyn Broker) -> Result<Option<OrderId>, BrokerError> {
        self.prices.push_front(broker.ltp(&self.share)?);
        self.prices.truncate(self.slow);
        if self.prices.len() < self.slow || self.wants() == self.holds {
            return Ok(None);
        }
        self.trade(broker).map(Some)
    }

    /// Sells the share, if it is held.
    fn close(&mut self, broker: &dyn Broker) -> Result<Option<OrderId>, BrokerError> {
        if self.holds { self.trade(broker).map(Some) } else { Ok(None) }
    }

    fn wants(&self) -> bool {
        self.mean(self.fast) > self.mean(self.slow)
    }

    fn mean(&self, of: usize) -> Decimal {
        self.prices.iter().take(of).sum::<Decimal>() / Decimal::from(of.max(1))
    }

    fn trade(&mut self, broker: &dyn Broker) -> Result<OrderId, BrokerError> {
        let side = if self.holds { Side::Sell } else { Side::Buy };
        let order = OrderRequest::market(self.share.clone(), side, self.quantity);
        let id = broker.place_order(&order)?;
        // Only after success: an order that failed was not placed.
        self.holds = !self.holds;
        Ok(id)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let prices = Prices::from_path(PRICES)?;
    let share = Instrument::new("NSE", "YESBANK");
    let bars = prices.bars(&share).count();

    // The broker behind the layers of a real one: the limits (a paper broker has none of its own), and the guard
    // that looks up lost orders.
    let clock = ManualClock::auto_advancing();
    let paper =
        PaperBroker::builder().prices(prices).cash(CASH).bar_every(BAR).clock(clock.clone());
    let limits = Limits::new()
        .lane("transactional", Quota::per_second(10))
        .lane("quote", Quota::per_second(1))
        .lane("historical", Quota::per_second(3))
        .budget("orders", Quota::per_minute(400));
    let broker = BrokerProxy::builder(paper.build()?)
        .limits(limits)
        .clock(clock.clone())
        .order_guard(|guard| guard)
        .build()?;

    let mut strategy = Crossover::new(share.clone(), 1000, 15, 60);
    let mut placed = Vec::new();
    for _ in 1..bars {
        placed.extend(strategy.step(&broker)?);
        clock.advance(BAR);
    }
    placed.extend(strategy.close(&broker)?);

    let trades = broker.trades()?;
    println!("{bars} bars of {share}, {} orders", placed.len());
    for pair in trades.chunks(2) {
        report(pair);
    }
    let earned: Decimal = trades.iter().map(value).sum();
    println!("  profit and loss {earned:>44.2}");

    // The account must agree.
    for id in &placed {
        check(broker.order(id)?.status == OrderStatus::Filled, "every order was filled")?;
    }
    check(trades.len() == placed.len() && trades.len() > 2, "each order made one trade")?;
    let position = broker.positions()?.rows.net.into_iter().next().ok_or("a share was traded")?;
    check(position.quantity.is_zero(), "nothing is held at the end")?;
    check(position.pnl == Some(earned), "the trades add up to the profit of the position")?;
    let margins = broker.margins()?;
    let cash = margins.segment("equity").ok_or("paper has this segment")?.net;
    check(cash == Decimal::from(CASH) + earned, "and to the money in the account")?;
    println!("  in the account  {cash:>44.2}");
    Ok(())
}

/// Prints a purchase and the sale that closed it.
fn report(pair: &[Trade]) {
    let [bought, sold] = pair else { return };
    let gain = value(bought) + value(sold);
    println!(
        "  bought {} at {:>6.2}, sold at {:>6.2} {gain:>20.2}",
        bought.quantity, bought.price, sold.price
    );
}

/// Returns the cash flow of a trade in the account's currency; that of a purchase is negative.
fn value(trade: &Trade) -> Decimal {
    let value = trade.quantity * trade.price;
    if trade.side == Side::Buy { -value } else { value }
}

/// Returns an error that names the claim if it does not hold.
fn check(holds: bool, claim: &str) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(format!("this did not hold: {claim}").into()) }
}
