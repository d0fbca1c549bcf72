//! Mutual funds, which Zerodha sells under the name Coin.

use super::fund_instruments;
use super::fund_types::{FundHolding, FundInstrument, FundOrder, FundOrderRequest};
use super::fund_wire;
use super::ids::{FundOrderId, SipId};
use super::limits;
use super::sip_types::{PlacedSip, Sip, SipChange, SipRequest};
use super::sip_wire;
use crate::Session;
use crate::broker::{BrokerError, Rows};
use crate::brokers::kite::Kite;
use crate::brokers::kite::http::ApiRequest;
use crate::brokers::kite::order_id::path_segment;
use crate::quota::Limits;

/// Kite's mutual funds: orders, systematic investment plans (SIP), holdings, and the listing.
///
/// ```
/// use lanekeeper::BrokerError;
/// use lanekeeper::brokers::kite::{FundOrderRequest, KiteMutualFunds};
///
/// fn invest(funds: &dyn KiteMutualFunds) -> Result<(), BrokerError> {
///     let id = funds.place_fund_order(&FundOrderRequest::buy("INF209K01VD7", 5000))?;
///     println!("{}", funds.fund_order(&id)?.status);
///     Ok(())
/// }
/// # let _ = invest;
/// ```
///
/// # Errors
/// As for the calls of [`Broker`](crate::Broker). No layer of this crate looks an order of a fund up by its tag. After
/// [`OutcomeUnknown`](BrokerError::OutcomeUnknown) read [`fund_orders`](Self::fund_orders) or [`sips`](Self::sips) and
/// decide. A write is not sent again.
///
/// # Lanes
/// All calls are in the lane `transactional`. They cost no slot of the budget `orders`, because Kite documents that
/// limit for orders at the exchange. The route classes are `fund_writes`, `fund_reads` and `instruments`.
#[crate::proxy(limits = fund_limits, session = fund_session)]
pub trait KiteMutualFunds: Send + Sync {
    /// Places an order, and returns its id.
    ///
    /// # Errors
    /// [`NotSent`](BrokerError::NotSent) if an order to buy has no amount or an order to sell no quantity, if it is not
    /// above zero, or for a tag that Kite does not take.
    #[lane(transactional, write, route = fund_writes)]
    fn place_fund_order(&self, order: &FundOrderRequest) -> Result<FundOrderId, BrokerError>;

    /// Cancels an order that is not sent to the fund yet.
    #[lane(transactional, write, exit, route = fund_writes)]
    fn cancel_fund_order(&self, id: &FundOrderId) -> Result<(), BrokerError>;

    /// Returns one order.
    #[lane(transactional, read, route = fund_reads)]
    fn fund_order(&self, id: &FundOrderId) -> Result<FundOrder, BrokerError>;

    /// Returns the orders of the last days.
    #[lane(transactional, read, route = fund_reads)]
    fn fund_orders(&self) -> Result<Rows<FundOrder>, BrokerError>;

    /// Places a plan, and the order of its initial amount, if it has one.
    ///
    /// # Errors
    /// [`NotSent`](BrokerError::NotSent) if an amount is not above zero, for no instalments, a day that no month has, or
    /// a tag that Kite does not take.
    #[lane(transactional, write, route = fund_writes)]
    fn place_sip(&self, plan: &SipRequest) -> Result<PlacedSip, BrokerError>;

    /// Changes a plan, or lets it rest.
    #[lane(transactional, write, route = fund_writes)]
    fn modify_sip(&self, id: &SipId, change: &SipChange) -> Result<(), BrokerError>;

    /// Cancels a plan: it invests no more.
    #[lane(transactional, write, exit, route = fund_writes)]
    fn cancel_sip(&self, id: &SipId) -> Result<(), BrokerError>;

    /// Returns one plan.
    #[lane(transactional, read, route = fund_reads)]
    fn sip(&self, id: &SipId) -> Result<Sip, BrokerError>;

    /// Returns all plans.
    #[lane(transactional, read, route = fund_reads)]
    fn sips(&self) -> Result<Rows<Sip>, BrokerError>;

    /// Returns the units that are held.
    #[lane(transactional, read, route = fund_reads)]
    fn fund_holdings(&self) -> Result<Rows<FundHolding>, BrokerError>;

    /// Returns all funds that Kite lists. Kite makes the listing once a day.
    #[lane(transactional, read, route = instruments)]
    fn fund_instruments(&self) -> Result<Rows<FundInstrument>, BrokerError>;

    /// Returns the limit that Kite documents for the lane `transactional`, as in [`presets::kite`](crate::presets::kite).
    #[direct]
    fn fund_limits(&self) -> Limits {
        limits::transactional()
    }

    /// Returns the session that the calls are made in, if there is one.
    #[direct]
    fn fund_session(&self) -> Option<Session> {
        None
    }
}

const ORDERS: &str = "/mf/orders";
const SIPS: &str = "/mf/sips";

impl KiteMutualFunds for Kite {
    fn place_fund_order(&self, order: &FundOrderRequest) -> Result<FundOrderId, BrokerError> {
        let form = fund_wire::order_form(order)?;
        let new = self.inner.known_funds.begin_placement();
        self.http().request_data(&ApiRequest::post(ORDERS, form), |done| {
            fund_wire::placed_order(done, |id| self.is_no_secret(id) && new.claim(id))
        })
    }

    fn cancel_fund_order(&self, id: &FundOrderId) -> Result<(), BrokerError> {
        let call = ApiRequest::delete(order_path(id)?);
        self.http().request_data(&call, |done| fund_wire::check_order(done, id))?;
        self.inner.known_funds.record(id.as_str());
        Ok(())
    }

    fn fund_order(&self, id: &FundOrderId) -> Result<FundOrder, BrokerError> {
        let call = ApiRequest::get(order_path(id)?);
        self.http().request_data(&call, |wire| fund_wire::one_order(wire, id))
    }

    fn fund_orders(&self) -> Result<Rows<FundOrder>, BrokerError> {
        let orders = self.http().request_rows(&ApiRequest::get(ORDERS), fund_wire::orders)?;
        self.inner.known_funds.record_all(orders.iter().map(|order| order.id.as_str()));
        Ok(orders)
    }

    fn place_sip(&self, plan: &SipRequest) -> Result<PlacedSip, BrokerError> {
        let form = sip_wire::sip_form(plan)?;
        let new = self.inner.known_funds.begin_placement();
        let placed = self.http().request_data(&ApiRequest::post(SIPS, form), |done| {
            sip_wire::placed_sip(done, |id| self.is_no_secret(id) && new.claim(id))
        })?;
        self.inner.known_funds.record_all(placed.order_id.iter().map(FundOrderId::as_str));
        Ok(placed)
    }

    fn modify_sip(&self, id: &SipId, change: &SipChange) -> Result<(), BrokerError> {
        let (path, form) = (sip_path(id)?, sip_wire::sip_change_form(change)?);
        self.change_sip(&ApiRequest::put(path, form), id)
    }

    fn cancel_sip(&self, id: &SipId) -> Result<(), BrokerError> {
        self.change_sip(&ApiRequest::delete(sip_path(id)?), id)
    }

    fn sip(&self, id: &SipId) -> Result<Sip, BrokerError> {
        let call = ApiRequest::get(sip_path(id)?);
        self.http().request_data(&call, |wire| sip_wire::one_sip(wire, id))
    }

    fn sips(&self) -> Result<Rows<Sip>, BrokerError> {
        let sips = self.http().request_rows(&ApiRequest::get(SIPS), sip_wire::sips)?;
        self.inner.known_funds.record_all(sips.iter().map(|sip| sip.id.as_str()));
        Ok(sips)
    }

    fn fund_holdings(&self) -> Result<Rows<FundHolding>, BrokerError> {
        self.http().request_rows(&ApiRequest::get("/mf/holdings"), fund_wire::holdings)
    }

    fn fund_instruments(&self) -> Result<Rows<FundInstrument>, BrokerError> {
        let call = ApiRequest::get_listing("/mf/instruments");
        self.http().request_listing_of(&call, fund_instruments::parse_response)
    }

    fn fund_session(&self) -> Option<Session> {
        Some(self.inner.session.clone())
    }
}

impl Kite {
    /// Sends a change or a cancellation, whose answer must name the plan.
    fn change_sip(&self, call: &ApiRequest, id: &SipId) -> Result<(), BrokerError> {
        self.http().request_data(call, |done| sip_wire::check_sip(done, id))?;
        self.inner.known_funds.record(id.as_str());
        Ok(())
    }

    /// An answer that repeats a secret in place of an id has no id.
    fn is_no_secret(&self, id: &str) -> bool {
        !self.http().credentials.secrets().appear_in(id)
    }
}

fn order_path(id: &FundOrderId) -> Result<String, BrokerError> {
    Ok(format!("{ORDERS}/{}", path_segment("order id", id.as_str())?))
}

fn sip_path(id: &SipId) -> Result<String, BrokerError> {
    Ok(format!("{SIPS}/{}", path_segment("SIP id", id.as_str())?))
}
