//! GTT, "good till triggered": orders that Kite keeps for up to a year, and places when a price is reached.

use super::gtt_types::{Gtt, GttRequest};
use super::gtt_wire;
use super::ids::GttId;
use super::limits;
use crate::Session;
use crate::broker::{BrokerError, Rows};
use crate::brokers::kite::Kite;
use crate::brokers::kite::http::ApiRequest;
use crate::quota::Limits;

/// Kite's GTT orders.
///
/// A trigger waits at Kite, not at the exchange, so it survives the trading day. When the price is reached, Kite places
/// its order. A trigger of two legs places one of them and drops the other ("one cancels the other").
///
/// ```
/// use lanekeeper::brokers::kite::{GttLeg, GttRequest, KiteGtt};
/// use lanekeeper::rust_decimal::Decimal;
/// use lanekeeper::{BrokerError, Instrument, Side};
///
/// /// A stop loss at 1400 and a target at 1700, for ten shares.
/// fn protect(gtts: &dyn KiteGtt, last_price: Decimal) -> Result<(), BrokerError> {
///     let infy = Instrument::new("NSE", "INFY");
///     let stop = GttLeg::new(Side::Sell, 10, 1400, 1390);
///     let target = GttLeg::new(Side::Sell, 10, 1700, 1695);
///     let id = gtts.place_gtt(&GttRequest::two_leg(infy, last_price, stop, target))?;
///     println!("{:?}", gtts.gtt(id)?.status);
///     Ok(())
/// }
/// # let _ = protect;
/// ```
///
/// # Errors
/// As for the calls of [`Broker`](crate::Broker). Two things differ from an order:
/// - A GTT carries no tag, so nothing tells it from another with the same content. After
///   [`OutcomeUnknown`](BrokerError::OutcomeUnknown) read [`gtts`](Self::gtts) and decide. No layer of this crate sends a
///   placement again, and an [`OrderGuard`](crate::OrderGuard) does not see it.
/// - Kite checks funds and prices when the trigger fires, not when it is placed. What became of the order is in
///   [`GttOrder::execution`](super::GttOrder::execution).
///
/// # Lanes
/// All calls are in the lane `transactional`. They cost no slot of the budget `orders`, because Kite documents that
/// limit for orders only, and places the order of a trigger by itself. Reads and writes are route classes of their own
/// (`gtt_reads`, `gtt_writes`): if this part of Kite fails, the breaker of orders stays closed.
#[crate::proxy(limits = gtt_limits, session = gtt_session)]
pub trait KiteGtt: Send + Sync {
    /// Places a trigger, and returns its id.
    ///
    /// # Errors
    /// [`NotSent`](BrokerError::NotSent) if the number of legs does not fit the kind, or a trigger, a price or a
    /// quantity is not above zero.
    #[lane(transactional, write, priority = 4, route = gtt_writes)]
    fn place_gtt(&self, gtt: &GttRequest) -> Result<GttId, BrokerError>;

    /// Replaces the condition and the orders of a trigger. It keeps its id.
    ///
    /// Kite replaces the trigger as a whole. [`Gtt::to_request`] returns what it is now, to be changed and sent back.
    #[lane(transactional, write, priority = 4, route = gtt_writes)]
    fn modify_gtt(&self, id: GttId, gtt: &GttRequest) -> Result<(), BrokerError>;

    /// Deletes a trigger. It is urgent, like the cancellation of an order.
    #[lane(transactional, write, exit, route = gtt_writes)]
    fn delete_gtt(&self, id: GttId) -> Result<(), BrokerError>;

    /// Returns one trigger.
    #[lane(transactional, read, route = gtt_reads)]
    fn gtt(&self, id: GttId) -> Result<Gtt, BrokerError>;

    /// Returns all triggers, also those of the last days that have fired or ended.
    #[lane(transactional, read, route = gtt_reads)]
    fn gtts(&self) -> Result<Rows<Gtt>, BrokerError>;

    /// Returns the limit that Kite documents for the lane `transactional`, as in [`presets::kite`](crate::presets::kite).
    #[direct]
    fn gtt_limits(&self) -> Limits {
        limits::transactional()
    }

    /// Returns the session that the calls are made in, if there is one.
    #[direct]
    fn gtt_session(&self) -> Option<Session> {
        None
    }
}

const TRIGGERS: &str = "/gtt/triggers";

impl KiteGtt for Kite {
    fn place_gtt(&self, gtt: &GttRequest) -> Result<GttId, BrokerError> {
        let form = gtt_wire::form(gtt, &self.inner.default_product)?;
        let new = self.inner.known_gtts.begin_placement();
        self.http().request_data(&ApiRequest::post(TRIGGERS, form), |done| {
            gtt_wire::placed(done, |number| new.claim(number))
        })
    }

    fn modify_gtt(&self, id: GttId, gtt: &GttRequest) -> Result<(), BrokerError> {
        let form = gtt_wire::form(gtt, &self.inner.default_product)?;
        self.change_gtt(&ApiRequest::put(format!("{TRIGGERS}/{id}"), form), id)
    }

    fn delete_gtt(&self, id: GttId) -> Result<(), BrokerError> {
        self.change_gtt(&ApiRequest::delete(format!("{TRIGGERS}/{id}")), id)
    }

    fn gtt(&self, id: GttId) -> Result<Gtt, BrokerError> {
        let call = ApiRequest::get(format!("{TRIGGERS}/{id}"));
        self.http().request_data(&call, |wire| gtt_wire::one(wire, id))
    }

    fn gtts(&self) -> Result<Rows<Gtt>, BrokerError> {
        let gtts = self.http().request_rows(&ApiRequest::get(TRIGGERS), gtt_wire::all)?;
        gtts.iter().for_each(|gtt| self.inner.known_gtts.record(&gtt.id.to_string()));
        Ok(gtts)
    }

    fn gtt_session(&self) -> Option<Session> {
        Some(self.inner.session.clone())
    }
}

impl Kite {
    /// Sends a change or a deletion, whose answer must name the trigger.
    fn change_gtt(&self, call: &ApiRequest, id: GttId) -> Result<(), BrokerError> {
        self.http().request_data(call, |done| gtt_wire::check_confirmation(done, id))?;
        self.inner.known_gtts.record(&id.to_string());
        Ok(())
    }
}
