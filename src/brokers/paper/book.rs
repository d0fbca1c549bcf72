//! The order book: a state machine that is passed the time and reads no clock.
//!
//! Each call first advances the tape to the given time, so that resting orders fill at the bar that met them, in the
//! order of the bars, however rarely the book is used.

mod resting;
mod validation;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Zoned};
use rust_decimal::Decimal;

use crate::broker::{
    Instrument, Order, OrderChange, OrderId, OrderRequest, OrderStatus, OrderType, Product, Side,
    TimeInForce, Trade,
};

use self::resting::{Resting, Wait};
use self::validation::{required_funds, validate};
use super::account::PaperAccount;
use super::error::PaperError;
use super::replay::Replay;

/// How often one order may be changed, as at Kite.
const MAX_CHANGES: u32 = 25;

/// The record of an order in the order book, open or closed.
#[derive(Debug)]
pub struct OrderEntry {
    /// As it was asked for, with the changes since.
    pub request: OrderRequest,
    /// The states it went through, oldest first.
    pub history: Vec<Order>,
    /// Its present state, the last of the history.
    pub order: Order,
    /// How often it was changed.
    pub changes: u32,
    /// Where its trade is among the trades. Orders fill whole, so there is one at most.
    trade_index: Option<usize>,
    /// Whether the trigger of a stop order was met.
    triggered: bool,
    /// The price that it waits for, while it rests.
    wait: Option<Wait>,
    /// The money it holds while it is open.
    blocked: Decimal,
}

impl OrderEntry {
    fn next_wait(&self) -> Option<Wait> {
        let request = &self.request;
        let kind = match (&request.order_type, self.triggered) {
            (OrderType::Stop, true) => &OrderType::Market,
            (OrderType::StopLimit, true) => &OrderType::Limit,
            (kind, _) => kind,
        };
        Wait::for_order(kind, request.side, request.price, request.trigger_price)
    }

    fn awaits_trigger(&self) -> bool {
        !self.triggered && matches!(self.request.order_type, OrderType::Stop | OrderType::StopLimit)
    }

    fn record_status(&mut self, status: OrderStatus, at: &Zoned) {
        self.order.status = status;
        self.order.updated_at = Some(at.clone());
        self.history.push(self.order.clone());
    }

    /// Records a new status, unless the order has it already.
    fn set_status(&mut self, status: OrderStatus, at: &Zoned) {
        if self.order.status != status {
            self.record_status(status, at);
        }
    }
}

/// All orders of the day, and the account they trade for.
#[derive(Debug)]
pub(super) struct OrderBook {
    replay: Replay,
    origin: Zoned,
    now: Duration,
    tape_position: u64,
    entries: Vec<OrderEntry>,
    index: HashMap<OrderId, usize>,
    // Separate from the entries, so that advancing the tape costs nothing for finished orders.
    resting: BTreeMap<Instrument, Resting>,
    trades: Vec<Trade>,
    account: PaperAccount,
}

impl OrderBook {
    /// Creates an empty book whose tape starts at the wall-clock time `origin`.
    pub(super) fn new(replay: Replay, origin: Zoned, cash: Decimal) -> Self {
        Self {
            replay,
            origin,
            now: Duration::ZERO,
            tape_position: 0,
            entries: Vec::new(),
            index: HashMap::new(),
            resting: BTreeMap::new(),
            trades: Vec::new(),
            account: PaperAccount::new(cash),
        }
    }

    pub(super) fn replay(&self) -> &Replay {
        &self.replay
    }

    pub(super) fn account(&self) -> &PaperAccount {
        &self.account
    }

    pub(super) fn entries(&self) -> &[OrderEntry] {
        &self.entries
    }

    pub(super) fn entry(&self, id: &OrderId) -> Option<&OrderEntry> {
        self.index.get(id).and_then(|&index| self.entries.get(index))
    }

    pub(super) fn trades(&self) -> &[Trade] {
        &self.trades
    }

    pub(super) fn trade_of(&self, entry: &OrderEntry) -> Option<&Trade> {
        entry.trade_index.and_then(|trade| self.trades.get(trade))
    }

    /// Returns the wall-clock time after `elapsed`.
    pub(super) fn wall_time(&self, elapsed: Duration) -> Zoned {
        SignedDuration::try_from(elapsed)
            .ok()
            .and_then(|elapsed| self.origin.checked_add(elapsed).ok())
            .unwrap_or_else(|| self.origin.clone())
    }

    /// Returns the current price of `instrument`.
    pub(super) fn price(&self, instrument: &Instrument) -> Option<Decimal> {
        self.replay.bar(instrument, self.now).map(|bar| bar.ohlc.close)
    }

    /// Advances the tape, and fills the orders that its bars meet. Time never goes back.
    pub(super) fn advance(&mut self, elapsed: Duration) {
        self.now = self.now.max(elapsed);
        let position = self.replay.position(self.now);
        let from = std::mem::replace(&mut self.tape_position, position);
        // One pass of the tape meets every trigger that it can meet, and a second one every limit behind such a
        // trigger. After that nothing new happens, however much time has passed.
        let rounds = self.resting.keys().filter_map(|instrument| self.replay.series(instrument));
        let longest = rounds.map(|series| series.len() as u64).max().unwrap_or(0);
        let last = position.min(from.saturating_add(longest.saturating_mul(2)));
        for position in from.saturating_add(1)..=last {
            if self.resting.is_empty() {
                return;
            }
            let at = self.replay.moved_at(position);
            let mut met = Vec::new();
            for (instrument, resting) in &self.resting {
                if let Some(bar) = self.replay.bar(instrument, at) {
                    let price = bar.ohlc.close;
                    met.extend(resting.orders_met(price).into_iter().map(|order| (order, price)));
                }
            }
            met.sort_unstable_by_key(|&(order, _)| order);
            let at = self.wall_time(at);
            for (order, price) in met {
                self.stop_resting(order);
                self.try_fill(order, price, &at);
            }
        }
    }

    /// Places an order. A refused order leaves no trace; an order without funds is in the book as rejected, as at
    /// real brokers.
    pub(super) fn place(
        &mut self,
        request: &OrderRequest,
        elapsed: Duration,
    ) -> Result<OrderId, PaperError> {
        self.advance(elapsed);
        let price = validate(self, request)?;
        let mut request = request.clone();
        request.product.get_or_insert(Product::Cnc);
        let at = self.wall_time(self.now);
        let number = self.entries.len() + 1;
        let id = OrderId::new(format!("{}{number:09}", self.origin.strftime("%y%m%d")));
        let received = OrderStatus::from("PUT ORDER REQ RECEIVED");
        let mut order = Order::new(id.clone(), received.clone(), &request);
        order.placed_at = Some(at.clone());
        let funds = required_funds(self, &request, price);
        let mut entry = OrderEntry {
            request,
            history: Vec::new(),
            order,
            changes: 0,
            trade_index: None,
            triggered: false,
            wait: None,
            blocked: Decimal::ZERO,
        };
        entry.record_status(received, &at);
        match funds {
            Ok(needed) => {
                entry.order.exchange_order_id = Some(format!("11{number:014}"));
                entry.blocked = needed;
                self.account.block(needed);
                self.entries.push(entry);
                self.try_fill(number - 1, price, &at);
            }
            Err(refusal) => {
                entry.order.status_message = Some(refusal.to_string());
                entry.record_status(OrderStatus::Rejected, &at);
                self.entries.push(entry);
            }
        }
        self.index.insert(id.clone(), number - 1);
        Ok(id)
    }

    /// Takes a slice of an order in. One without funds is refused, and leaves no trace.
    pub(super) fn place_slice(
        &mut self,
        slice: &OrderRequest,
        parent: Option<OrderId>,
        elapsed: Duration,
    ) -> Result<OrderId, PaperError> {
        self.advance(elapsed);
        let price = validate(self, slice)?;
        required_funds(self, slice, price)?;
        let id = self.place(slice, elapsed)?;
        if let Some(entry) = self.entries.last_mut() {
            for order in entry.history.iter_mut().chain([&mut entry.order]) {
                order.parent.clone_from(&parent);
            }
        }
        Ok(id)
    }

    /// Changes an open order.
    pub(super) fn modify(
        &mut self,
        id: &OrderId,
        change: &OrderChange,
        elapsed: Duration,
    ) -> Result<(), PaperError> {
        self.advance(elapsed);
        let (index, entry) = self.open_entry(id)?;
        if entry.changes >= MAX_CHANGES {
            return Err(PaperError::TooManyChanges);
        }
        let old = &entry.request;
        let mut request = old.clone();
        request.quantity = change.quantity.unwrap_or(old.quantity);
        request.price = change.price.or(old.price);
        request.trigger_price = change.trigger_price.or(old.trigger_price);
        request.disclosed_quantity = change.disclosed_quantity.or(old.disclosed_quantity);
        request.market_protection = change.market_protection.or(old.market_protection);
        request.extra.extend(change.extra.clone());
        if let Some(order_type) = &change.order_type {
            request.order_type = order_type.clone();
        }
        if let Some(time_in_force) = &change.time_in_force {
            request.time_in_force = time_in_force.clone();
        }
        // A new trigger must be met again; a new limit price after the trigger was met need not.
        let rearmed = request.order_type != old.order_type || change.trigger_price.is_some();
        let held = entry.blocked;
        let price = validate(self, &request)?;
        self.account.unblock(held);
        let needed = match required_funds(self, &request, price) {
            Ok(needed) => needed,
            Err(refusal) => {
                self.account.block(held);
                return Err(refusal);
            }
        };
        self.account.block(needed);
        self.stop_resting(index);
        let at = self.wall_time(self.now);
        if let Some(entry) = self.entries.get_mut(index) {
            entry.blocked = needed;
            entry.changes += 1;
            entry.triggered &= !rearmed;
            entry.order.quantity = request.quantity;
            entry.order.price = request.price;
            entry.order.trigger_price = request.trigger_price;
            entry.order.order_type = request.order_type.clone();
            entry.order.time_in_force = request.time_in_force.clone();
            entry.request = request;
            entry.record_status(OrderStatus::from("MODIFY VALIDATION PENDING"), &at);
        }
        self.try_fill(index, price, &at);
        Ok(())
    }

    /// Cancels an open order.
    pub(super) fn cancel(&mut self, id: &OrderId, elapsed: Duration) -> Result<(), PaperError> {
        self.advance(elapsed);
        let (index, _) = self.open_entry(id)?;
        self.stop_resting(index);
        let at = self.wall_time(self.now);
        self.cancel_entry(index, &at);
        Ok(())
    }

    /// Moves a part of a position from the product `old` to `new`.
    pub(super) fn convert(
        &mut self,
        instrument: &Instrument,
        side: Side,
        quantity: Decimal,
        [old, new]: [&Product; 2],
        elapsed: Duration,
    ) -> Result<(), PaperError> {
        self.advance(elapsed);
        self.account.convert(instrument, side, quantity, old, new)
    }

    fn open_entry(&self, id: &OrderId) -> Result<(usize, &OrderEntry), PaperError> {
        let unknown = || PaperError::UnknownOrder(id.clone());
        let index = *self.index.get(id).ok_or_else(unknown)?;
        let entry = self.entries.get(index).ok_or_else(unknown)?;
        if entry.order.status.is_final() {
            return Err(PaperError::OrderFinal { status: entry.order.status.to_string() });
        }
        Ok((index, entry))
    }

    /// Fills an order at `price`, lets it rest, or cancels it, according to its kind.
    fn try_fill(&mut self, index: usize, price: Decimal, at: &Zoned) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        let mut wait = entry.next_wait();
        if entry.awaits_trigger() && wait.is_some_and(|wait| wait.is_met(price)) {
            entry.set_status(OrderStatus::TriggerPending, at);
            entry.triggered = true;
            wait = entry.next_wait();
        }
        let status =
            if entry.awaits_trigger() { OrderStatus::TriggerPending } else { OrderStatus::Open };
        entry.set_status(status, at);
        match wait {
            Some(wait) if !wait.is_met(price) => {
                let at_once = [TimeInForce::Ioc, TimeInForce::Fok];
                if at_once.contains(&entry.request.time_in_force) {
                    self.cancel_entry(index, at);
                } else {
                    entry.wait = Some(wait);
                    let instrument = entry.request.instrument.clone();
                    self.resting.entry(instrument).or_default().insert(wait, index);
                }
            }
            _ => self.fill(index, price, at),
        }
    }

    fn stop_resting(&mut self, index: usize) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        let instrument = &entry.request.instrument;
        if let (Some(wait), Some(resting)) = (entry.wait.take(), self.resting.get_mut(instrument)) {
            resting.remove(wait, index);
            if resting.is_empty() {
                self.resting.remove(instrument);
            }
        }
    }

    fn cancel_entry(&mut self, index: usize, at: &Zoned) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        self.account.unblock(std::mem::take(&mut entry.blocked));
        entry.order.cancelled_quantity = entry.order.quantity - entry.order.filled_quantity;
        entry.record_status(OrderStatus::Cancelled, at);
    }

    fn fill(&mut self, index: usize, price: Decimal, at: &Zoned) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        self.account.unblock(std::mem::take(&mut entry.blocked));
        let order = &mut entry.order;
        order.filled_quantity = order.quantity;
        order.average_price = Some(price);
        let number = self.trades.len() + 1;
        let mut trade = Trade::new(format!("{number:08}"), order, order.quantity, price);
        trade.at = Some(at.clone());
        let product = order.product.as_ref();
        self.account.apply_fill(&order.instrument, product, order.side, order.quantity, price);
        entry.trade_index = Some(self.trades.len());
        entry.record_status(OrderStatus::Filled, at);
        self.trades.push(trade);
    }
}
