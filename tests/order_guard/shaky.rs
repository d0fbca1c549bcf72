//! A broker in virtual time that loses answers on demand.
#![allow(dead_code)] // Each test file uses a part of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lanekeeper::broker::{
    Absence, Broker, BrokerError, Candle, CandleRequest, ErrorDetail, Exchange, Holding,
    Instrument, InstrumentInfo, Margins, Order, OrderCancel, OrderChange, OrderId, OrderRequest,
    OrderStatus, OrderTags, OrderType, Partial, Positions, Profile, QuoteBatchLimit, Quotes, Rows,
    Side, TagSupport, Trade,
};
use lanekeeper::clock::ManualClock;
use lanekeeper::jiff::{Timestamp, Zoned};
use lanekeeper::order_guard::{OrderGuard, OrderGuardBuilder, RecoveredOutcome};
use lanekeeper::quota::{Limits, Moment, Quota};

/// How long an order may take to appear, in these tests.
pub(crate) const SETTLE: Duration = Duration::from_secs(10);
/// An order that is placed now has been sent by then, and the read before it has ended: each takes 20 ms.
pub(crate) const SENT: Duration = Duration::from_millis(50);
/// The code of a second order under one tag.
pub(crate) const DUPLICATE: &str = "40010001";

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fate {
    /// Done and answered.
    Done,
    /// Lost on the way there.
    LostBefore,
    /// Lost on the way back, and done only after a while.
    LostAfter(Duration),
    /// The process dies as it is about to send.
    DiesBefore,
    /// The process dies as the answer is on its way; done only after a while.
    DiesAfter(Duration),
    /// In the book as rejected, and the answer lost.
    LostRejected,
    /// Lost, and all orders come to this state meanwhile.
    LostAs(&'static str),
    /// Done, and the answer called what it must not be.
    Mislabelled,
    Throttled,
    NotSent,
    Rejected,
}

/// The broker. Clones are the same.
#[derive(Clone)]
pub(crate) struct Shaky {
    pub(crate) clock: ManualClock,
    tags: OrderTags,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(crate) struct State {
    /// What becomes of the next writes. After that, all are done.
    pub(crate) fates: VecDeque<Fate>,
    /// The errors of the next reads. After that, none fails.
    pub(crate) blind: VecDeque<Option<BrokerError>>,
    /// All orders, and the moment from which the book shows each.
    pub(crate) ledger: Vec<(Moment, Order)>,
    /// Changes that are made later.
    edits: Vec<(Moment, OrderId, Edit)>,
    /// The time that the book shows for each order, right or wrong.
    pub(crate) dated: Option<Zoned>,
    /// The number of calls of each kind.
    pub(crate) placed: usize,
    pub(crate) cancelled: usize,
    /// The extra fields of the last cancellation.
    pub(crate) cancelled_with: OrderCancel,
    pub(crate) modified: usize,
    pub(crate) reads: usize,
    /// How many reads failed one after the other.
    pub(crate) failed_reads: usize,
    /// A callback in the middle of a read, which gets its number from 1.
    meanwhile: Option<Meanwhile>,
    /// A callback with each new order, before its placement is answered.
    landed: Option<Landed>,
}

type Meanwhile = Arc<dyn Fn(usize) + Send + Sync>;
type Landed = Arc<dyn Fn(&Order) + Send + Sync>;

enum Edit {
    Cancel,
    Change(OrderChange),
}

impl Shaky {
    pub(crate) fn new(tags: OrderTags) -> Self {
        Self { clock: ManualClock::auto_advancing(), tags, state: Arc::default() }
    }

    /// Returns the builder of the guard in front of it.
    pub(crate) fn guarded(&self) -> OrderGuardBuilder<Self> {
        OrderGuard::builder(self.clone()).settle_time(SETTLE).clock(self.clock.clone())
    }

    pub(crate) fn guard(&self) -> OrderGuard<Self> {
        self.guarded().build().unwrap()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn fates(&self, fates: impl IntoIterator<Item = Fate>) {
        self.state().fates.extend(fates);
    }

    /// Makes the next `count` reads fail.
    pub(crate) fn blind(&self, count: usize, error: &BrokerError) {
        self.state().blind.extend(std::iter::repeat_n(Some(error.clone()), count));
    }

    /// Runs a callback in the middle of each read, which gets its number from 1.
    pub(crate) fn meanwhile(&self, happens: impl Fn(usize) + Send + Sync + 'static) {
        self.state().meanwhile = Some(Arc::new(happens));
    }

    /// Runs a callback with each new order, before its placement is answered.
    pub(crate) fn landed(&self, happens: impl Fn(&Order) + Send + Sync + 'static) {
        self.state().landed = Some(Arc::new(happens));
    }

    pub(crate) fn placed_and_reads(&self) -> (usize, usize) {
        let state = self.state();
        (state.placed, state.reads)
    }

    /// Returns all orders that are in the book in the end.
    pub(crate) fn ledger(&self) -> Vec<Order> {
        self.clock.advance(Duration::from_secs(3600));
        self.now();
        self.state().ledger.iter().map(|(_, order)| order.clone()).collect()
    }

    /// Applies everything that is due, and returns the time. Every call takes some.
    fn now(&self) -> Moment {
        self.clock.advance(Duration::from_millis(20));
        let now = self.clock.now();
        let mut state = self.state();
        let (due, later) = std::mem::take(&mut state.edits).into_iter().partition(|e| e.0 <= now);
        state.edits = later;
        let due: Vec<(Moment, OrderId, Edit)> = due;
        for (_, id, edit) in due {
            let order = state.ledger.iter_mut().map(|(_, order)| order).find(|o| o.id == id);
            let order = order.filter(|order| !order.status.is_final());
            match (order, edit) {
                (Some(order), Edit::Cancel) => order.status = OrderStatus::Cancelled,
                (Some(order), Edit::Change(change)) => {
                    order.price = change.price.or(order.price);
                    order.quantity = change.quantity.unwrap_or(order.quantity);
                }
                (None, _) => {}
            }
        }
        now
    }

    /// Executes a write as its fate says: `doing` gets the moment when it takes effect.
    fn write<R>(
        &self,
        doing: impl FnOnce(&mut State, Moment, bool) -> R,
    ) -> Result<R, BrokerError> {
        let now = self.now();
        let fate = self.state().fates.pop_front().unwrap_or(Fate::Done);
        match fate {
            Fate::Done => Ok(doing(&mut self.state(), now, false)),
            Fate::LostBefore => Err(lost()),
            Fate::LostAfter(late) => {
                doing(&mut self.state(), now + late, false);
                Err(lost())
            }
            Fate::LostRejected => {
                doing(&mut self.state(), now, true);
                Err(lost())
            }
            Fate::Mislabelled => {
                doing(&mut self.state(), now, false);
                Err(transient())
            }
            Fate::LostAs(status) => {
                let mut state = self.state();
                state.ledger.iter_mut().for_each(|(_, order)| order.status = status.into());
                Err(lost())
            }
            Fate::DiesBefore => panic!("killed"),
            Fate::DiesAfter(late) => {
                doing(&mut self.state(), now + late, false);
                panic!("killed");
            }
            Fate::Throttled => Err(BrokerError::Throttled { retry_after: None, detail: detail() }),
            Fate::NotSent => Err(BrokerError::NotSent(detail())),
            Fate::Rejected => Err(BrokerError::Rejected(detail())),
        }
    }

    fn read<R>(&self, detail_of: impl FnOnce(&State, Moment) -> R) -> Result<R, BrokerError> {
        let now = self.now();
        let (number, meanwhile) = {
            let mut state = self.state();
            state.reads += 1;
            (state.reads, state.meanwhile.clone())
        };
        if let Some(happens) = meanwhile {
            happens(number);
        }
        let mut state = self.state();
        if let Some(Some(error)) = state.blind.pop_front() {
            state.failed_reads += 1;
            return Err(error);
        }
        state.failed_reads = 0;
        Ok(detail_of(&state, now))
    }

    /// Returns whether the order can still be changed, as the broker would answer.
    fn open(&self, id: &OrderId) -> Result<(), BrokerError> {
        let state = self.state();
        match state.ledger.iter().find(|(_, order)| order.id == *id) {
            Some((_, order)) if !order.status.is_final() => Ok(()),
            _ => Err(BrokerError::Rejected(ErrorDetail::new("no such open order"))),
        }
    }
}

fn detail() -> ErrorDetail {
    ErrorDetail::new("as it was fated")
}

pub(crate) fn lost() -> BrokerError {
    BrokerError::OutcomeUnknown(ErrorDetail::new("connection reset").status(504))
}

pub(crate) fn transient() -> BrokerError {
    BrokerError::Transient(ErrorDetail::new("no answer"))
}

/// Returns an order that is identified by its quantity.
pub(crate) fn order(quantity: usize) -> OrderRequest {
    OrderRequest::limit(Instrument::new("NSE", "INFY"), Side::Buy, quantity as u64, 1500)
}

impl Broker for Shaky {
    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        self.state().placed += 1;
        let taken = |(_, known): &(Moment, Order)| known.tag.is_some() && known.tag == order.tag;
        let unique = matches!(self.tags.support(), TagSupport::Unique { .. });
        if unique && self.state().ledger.iter().any(taken) {
            return Err(BrokerError::Rejected(ErrorDetail::new("duplicate").code(DUPLICATE)));
        }
        let landed = self.state().landed.clone();
        let mut new = None;
        let answer = self.write(|state, at, rejected| {
            let id = OrderId::new(format!("{:06}", state.ledger.len() + 1));
            let mut booked = Order::new(id.clone(), OrderStatus::Open, order);
            booked.placed_at.clone_from(&state.dated);
            if rejected {
                booked.status = OrderStatus::Rejected;
                booked.status_message = Some("no funds".to_owned());
            }
            new = Some(booked.clone());
            state.ledger.push((at, booked));
            id
        });
        if let (Some(happens), Some(order)) = (landed, new) {
            happens(&order);
        }
        answer
    }

    fn modify_order(&self, id: &OrderId, change: &OrderChange) -> Result<OrderId, BrokerError> {
        self.state().modified += 1;
        self.open(id)?;
        let edit = Edit::Change(change.clone());
        self.write(|state, at, _| state.edits.push((at, id.clone(), edit)))?;
        self.now();
        Ok(id.clone())
    }

    fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        self.state().cancelled += 1;
        self.now();
        self.open(id)?;
        self.write(|state, at, _| state.edits.push((at, id.clone(), Edit::Cancel)))?;
        self.now();
        Ok(())
    }

    fn cancel_order_with(&self, id: &OrderId, cancel: &OrderCancel) -> Result<(), BrokerError> {
        self.state().cancelled_with = cancel.clone();
        self.cancel_order(id)
    }

    fn order_history(&self, id: &OrderId) -> Result<Rows<Order>, BrokerError> {
        self.read(|state, _| {
            let orders = state.ledger.iter().map(|(_, order)| order.clone());
            orders.filter(|order| order.id == *id).collect()
        })
    }

    fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        self.read(|state, now| {
            let detail_of = state.ledger.iter().filter(|(from, _)| *from <= now);
            detail_of.map(|(_, order)| order.clone()).collect()
        })
    }

    fn trades(&self) -> Result<Rows<Trade>, BrokerError> {
        Ok(Rows::default())
    }

    fn positions(&self) -> Result<Partial<Positions>, BrokerError> {
        Ok(Partial::default())
    }

    fn holdings(&self) -> Result<Rows<Holding>, BrokerError> {
        Ok(Rows::default())
    }

    fn margins(&self) -> Result<Partial<Margins>, BrokerError> {
        Ok(Partial::default())
    }

    fn profile(&self) -> Result<Profile, BrokerError> {
        Err(transient())
    }

    fn instruments(&self, _: Option<&Exchange>) -> Result<Rows<InstrumentInfo>, BrokerError> {
        Ok(Rows::default())
    }

    fn quotes(&self, _: &[Instrument]) -> Result<Quotes, BrokerError> {
        Ok(Quotes::default())
    }

    fn candles(&self, _: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
        Ok(Rows::default())
    }

    fn documented_limits(&self) -> Limits {
        Limits::new().lane("quote", Quota::per_second(7))
    }

    fn order_tags(&self) -> OrderTags {
        self.tags.clone()
    }

    fn quote_batch_limit(&self) -> QuoteBatchLimit {
        QuoteBatchLimit { count: 77, ..QuoteBatchLimit::default() }
    }
}

/// Returns the outcome of an absent order, without the evidence.
pub(crate) fn absent() -> RecoveredOutcome {
    RecoveredOutcome::Absent(Absence::new(0, Duration::ZERO, Timestamp::UNIX_EPOCH))
}

/// Returns the outcome without the evidence, so that it can be compared.
pub(crate) fn without_evidence(outcome: RecoveredOutcome) -> RecoveredOutcome {
    match outcome {
        RecoveredOutcome::Absent(absence) => {
            assert!(absence.reads > 0 && absence.last_at > Timestamp::UNIX_EPOCH, "{absence}");
            absent()
        }
        other => other,
    }
}

/// A change that shows.
pub(crate) fn to_price(price: u64) -> OrderChange {
    OrderChange::new().price(price).order_type(OrderType::Limit)
}
