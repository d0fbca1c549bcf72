//! GTTs: orders that are good till triggered.
//!
//! A GTT is triggered when the price of its instrument reaches one of its triggers. Then it places the limit order of
//! that trigger, whatever becomes of the order. Prices are looked at before each request is executed, and every 20 ms
//! besides (`watch`): a price that was the current one for a shorter time may be missed.
//!
//! `wire::gtt` parses and renders them. The rules and messages are Kite's, where they are known.

pub(crate) mod trigger;
pub(crate) mod watch;

use jiff::{SignedDuration, Zoned};
use rust_decimal::Decimal;

use lanekeeper::broker::{Instrument, OrderRequest};

use self::trigger::GttResult;
use crate::accounts::register::{Entry, Register};
use crate::http::response::ApiError;

/// After how long a GTT expires: a year, as at Kite.
const LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);

/// One trigger with one order, or two of which the first that is met cancels the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GttKind {
    Single,
    TwoLeg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GttStatus {
    Active,
    Triggered,
    Expired,
    Deleted,
}

/// What a client asks for. There are as many orders as triggers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GttRequest {
    pub(crate) kind: GttKind,
    pub(crate) instrument: Instrument,
    pub(crate) triggers: Vec<Decimal>,
    /// The last price as the client sees it. It decides from which side each trigger is met.
    pub(crate) last_price: Decimal,
    pub(crate) orders: Vec<OrderRequest>,
}

/// A GTT of an account.
#[derive(Debug, Clone)]
pub(crate) struct Gtt {
    pub(crate) request: GttRequest,
    pub(crate) status: GttStatus,
    pub(crate) created_at: Zoned,
    pub(crate) updated_at: Zoned,
    pub(crate) expires_at: Zoned,
    /// What came of the order of the trigger that was met.
    pub(crate) result: Option<GttResult>,
}

/// The GTTs of one account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gtts(Register<Gtt>);

impl GttKind {
    /// The number of triggers and orders.
    pub(crate) fn legs(self) -> usize {
        match self {
            Self::Single => 1,
            Self::TwoLeg => 2,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::TwoLeg => "two-leg",
        }
    }
}

impl GttStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Triggered => "triggered",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
        }
    }
}

impl GttRequest {
    /// Checks the triggers against the client's last price and against the present price.
    pub(crate) fn check_triggers(&self, price: Decimal) -> Result<(), ApiError> {
        let refused =
            |what| Err(ApiError::input(format!("Trigger cannot be created with {what}.")));
        if self.triggers.contains(&self.last_price) {
            return refused("one of the trigger values equal to the last price");
        }
        if let [first, second] = *self.triggers.as_slice() {
            if first > self.last_price {
                return refused("the first trigger price more than the last price");
            }
            if second < self.last_price {
                return refused("the second trigger price less than the last price");
            }
        }
        match self.leg_met(price) {
            Some(_) => Err(ApiError::input("Trigger already met.")),
            None => Ok(()),
        }
    }

    /// Returns which trigger `price` meets. A trigger below the client's last price is met from above, and one above
    /// it from below.
    fn leg_met(&self, price: Decimal) -> Option<usize> {
        self.triggers.iter().position(|trigger| match *trigger < self.last_price {
            true => price <= *trigger,
            false => price >= *trigger,
        })
    }
}

impl Entry for Gtt {
    fn is_open(&self) -> bool {
        self.status == GttStatus::Active
    }
}

impl Gtts {
    pub(crate) fn place(
        &mut self,
        id: u64,
        request: GttRequest,
        now: &Zoned,
    ) -> Result<(), ApiError> {
        let gtt = Gtt {
            request,
            status: GttStatus::Active,
            created_at: now.clone(),
            updated_at: now.clone(),
            expires_at: now.checked_add(LIFETIME).unwrap_or_else(|_| now.clone()),
            result: None,
        };
        self.0.insert(id, gtt, "GTTs")
    }

    /// Replaces what an active GTT waits for. Its type and its instrument stay.
    pub(crate) fn modify(
        &mut self,
        id: u64,
        request: GttRequest,
        now: &Zoned,
    ) -> Result<(), ApiError> {
        let gtt = self.active_mut(id)?;
        if gtt.request.kind != request.kind {
            return Err(ApiError::input("Invalid `type`."));
        }
        if gtt.request.instrument != request.instrument {
            return Err(ApiError::input("Invalid `tradingsymbol`."));
        }
        gtt.request = request;
        gtt.updated_at = now.clone();
        Ok(())
    }

    pub(crate) fn delete(&mut self, id: u64, now: &Zoned) -> Result<(), ApiError> {
        let gtt = self.active_mut(id)?;
        gtt.status = GttStatus::Deleted;
        gtt.updated_at = now.clone();
        Ok(())
    }

    pub(crate) fn get(&self, id: u64) -> Result<&Gtt, ApiError> {
        self.0.get(id).ok_or_else(unknown)
    }

    /// Returns the GTTs and their ids, the latest first, without those that were deleted.
    pub(crate) fn listed(&self) -> Vec<(u64, &Gtt)> {
        let mut listed: Vec<_> =
            self.0.iter().filter(|(_, gtt)| gtt.status != GttStatus::Deleted).collect();
        listed.reverse();
        listed
    }

    pub(crate) fn any_active(&self) -> bool {
        self.0.iter().any(|(_, gtt)| gtt.is_open())
    }

    /// Expires the GTTs whose time is over, and triggers those that `price_of` their instrument meets. `place` places
    /// an order.
    pub(crate) fn advance(
        &mut self,
        now: &Zoned,
        mut price_of: impl FnMut(&Instrument) -> Option<Decimal>,
        mut place: impl FnMut(&OrderRequest) -> Result<String, trigger::Rejection>,
    ) {
        for gtt in self.0.values_mut().filter(|gtt| gtt.is_open()) {
            if *now >= gtt.expires_at {
                gtt.status = GttStatus::Expired;
                gtt.updated_at = now.clone();
                continue;
            }
            let Some(price) = price_of(&gtt.request.instrument) else { continue };
            let Some(leg) = gtt.request.leg_met(price) else { continue };
            let Some(order) = gtt.request.orders.get(leg) else { continue };
            gtt.result = Some(GttResult { leg, price, at: now.clone(), placed: place(order) });
            gtt.status = GttStatus::Triggered;
            gtt.updated_at = now.clone();
        }
    }

    fn active_mut(&mut self, id: u64) -> Result<&mut Gtt, ApiError> {
        let gtt = self.0.get_mut(id).ok_or_else(unknown)?;
        match gtt.is_open() {
            true => Ok(gtt),
            false => {
                Err(ApiError::input(format!("The trigger is not active: {}.", gtt.status.as_str())))
            }
        }
    }
}

fn unknown() -> ApiError {
    ApiError::not_found("Trigger not found.")
}

#[cfg(test)]
mod tests;
