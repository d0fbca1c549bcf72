//! The broker that the guard calls: it forwards the request of a client, as the client wrote it.
//!
//! It is made for one request. What the guard looks up meanwhile goes to the adapter.

use std::sync::Arc;

use lanekeeper::broker::OrderChange;
use lanekeeper::broker::{OrderCancel, SlicedOrder};
use lanekeeper::brokers::Kite;
use lanekeeper::brokers::kite::wire;
use lanekeeper::{
    Broker, BrokerError, BrokerProxy, ErrorDetail, OrderId, OrderRequest, delegate_broker,
};
use parking_lot::Mutex;

use super::form;
use super::placement::PlacementSender;
use crate::account::Account;
use crate::call::{CallTerms, Failed};
use crate::hang_up::HangUp;
use crate::judge::{Answered, CallError, to_wire};
use crate::upstream::UpstreamRequest;

/// What the last attempt came to.
pub(super) type LastAttempt = Arc<Mutex<Option<Result<Answered, Failed>>>>;

/// A client's request about an order.
pub(super) struct ForwardedOrder {
    pub(super) proxy: BrokerProxy<Kite>,
    pub(super) account: Arc<Account>,
    pub(super) terms: CallTerms,
    pub(super) request: UpstreamRequest,
    /// Of a placement.
    pub(super) placement: Option<Arc<PlacementSender>>,
    pub(super) client: Mutex<HangUp>,
    pub(super) last: LastAttempt,
}

impl ForwardedOrder {
    /// Sends the request, and reads the answer with `read`. The lane judges the call by what that says.
    fn send<T: Send + 'static>(
        &self,
        request: UpstreamRequest,
        read: impl Fn(&wire::WireAnswer) -> Result<T, BrokerError> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let account = Arc::clone(&self.account);
        let effect = self.terms.call.effect();
        let work = {
            let account = Arc::clone(&account);
            move || {
                let answered = account.exchange_blocking(effect, request.clone(), 0)?;
                let read = match to_wire(&answered.answer) {
                    Some(wire) => read(&account.with_secrets(wire)),
                    None => Err(unknown("its answer is too long")),
                };
                match read {
                    Ok(value) => Ok((value, answered)),
                    Err(error) => {
                        let Answered { answer, times } = answered;
                        Err(CallError::broker(error, Some(answer), times))
                    }
                }
            }
        };
        let result = account.call_to_the_end(&self.terms, work, &mut self.client.lock());
        let mut last = self.last.lock();
        match result {
            Ok((value, answered)) => {
                *last = Some(Ok(answered));
                Ok(value)
            }
            Err(failed) => {
                let error = match &failed {
                    Failed::Gone | Failed::OutOfTime => {
                        BrokerError::NotSent(ErrorDetail::new("the client's time was over").local())
                    }
                    Failed::InFlight => unknown("it was not answered in time"),
                    Failed::Call(CallError::Lane(error)) => error.clone().into(),
                    Failed::Call(CallError::Broker(failure)) => failure.error.clone(),
                };
                *last = Some(Err(failed));
                Err(error)
            }
        }
    }
}

pub(super) fn unknown(why: &str) -> BrokerError {
    BrokerError::OutcomeUnknown(ErrorDetail::new(why))
}

impl Broker for ForwardedOrder {
    delegate_broker! {
        to self.proxy;
        except place_order, place_sliced, modify_order, cancel_order, cancel_order_with
    }

    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        self.place_sliced(order)?.complete()
    }

    fn place_sliced(&self, order: &OrderRequest) -> Result<SlicedOrder, BrokerError> {
        let mut request = self.request.clone();
        let placement = self.placement.clone();
        if let Some(tag) = &order.tag {
            request.body = form::with_tag(&request.body, tag);
            if let Some(placement) = &placement {
                placement.tagged(tag);
            }
        }
        let (order, account) = (order.clone(), Arc::clone(&self.account));
        self.send(request, move |answer| {
            let placed = wire::read_placement_answer(answer, &order)?;
            let known = account.kite.as_ref().map(|kite| &kite.placements);
            for id in placed.placed() {
                if known.is_some_and(|known| !known.claim_id(id.as_str())) {
                    return Err(unknown("its answer names an order that was answered before"));
                }
                if let Some(placement) = &placement {
                    placement.answered(id.as_str());
                }
            }
            Ok(placed)
        })
    }

    fn modify_order(&self, id: &OrderId, _change: &OrderChange) -> Result<OrderId, BrokerError> {
        let id = id.clone();
        self.send(self.request.clone(), move |answer| wire::read_order_answer(answer, &id))
    }

    fn cancel_order(&self, id: &OrderId) -> Result<(), BrokerError> {
        let id = id.clone();
        self.send(self.request.clone(), move |answer| {
            wire::read_order_answer(answer, &id).map(drop)
        })
    }

    fn cancel_order_with(&self, id: &OrderId, _: &OrderCancel) -> Result<(), BrokerError> {
        self.cancel_order(id)
    }
}
