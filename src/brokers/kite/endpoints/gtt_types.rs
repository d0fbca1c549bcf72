//! GTT: what is placed, and what Kite shows of it.

use jiff::Zoned;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::ids::GttId;
use crate::broker::{Instrument, OrderId, OrderType, Product, Side, open_enum};

open_enum! {
    /// What a GTT waits for.
    pub enum GttKind {
        /// One trigger, and one order.
        Single = "single",
        /// Two triggers, below and above the last price, with an order each. The first to fire drops the other.
        TwoLeg = "two-leg",
        /// One trigger that follows the price.
        TrailingSingle = "trailing-single",
        /// Two triggers, of which the stop loss follows the price.
        TrailingTwoLeg = "trailing-two-leg",
    }
}

impl GttKind {
    /// Returns the number of legs of this kind, if this version knows it.
    pub fn legs(&self) -> Option<usize> {
        match self {
            Self::Single | Self::TrailingSingle => Some(1),
            Self::TwoLeg | Self::TrailingTwoLeg => Some(2),
            Self::Other(_) => None,
        }
    }
}

open_enum! {
    /// The state of a GTT.
    pub enum GttStatus {
        /// It waits for its price.
        Active = "active",
        /// It fired, and its order was sent to the exchange. The order may have been refused.
        Triggered = "triggered",
        /// It was switched off, for example because of a corporate action.
        Disabled = "disabled",
        /// Its time is over.
        Expired = "expired",
        /// Kite cancelled it.
        Cancelled = "cancelled",
        /// Kite refused it.
        Rejected = "rejected",
        /// It was deleted by its owner.
        Deleted = "deleted",
    }
}

impl GttStatus {
    /// Returns whether a GTT of this status can still fire. One of an unknown status counts as if it could.
    pub fn can_fire(&self) -> bool {
        matches!(self, Self::Active | Self::Other(_))
    }
}

/// One trigger, and the order that is placed when the price reaches it. The order is a limit order, unless
/// [`order_type`](Self::order_type) says otherwise: Kite takes limit orders only.
///
/// ```
/// use lanekeeper::Side;
/// use lanekeeper::broker::Product;
/// use lanekeeper::brokers::kite::GttLeg;
/// use lanekeeper::rust_decimal::Decimal;
///
/// // Sells ten at 1390 or more once the price is down at 1400.
/// let stop = GttLeg::new(Side::Sell, 10, 1400, 1390).product(Product::Cnc);
/// assert_eq!(stop.trigger, Decimal::from(1400));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GttLeg {
    /// The price at which the order is placed, in the instrument's currency.
    pub trigger: Decimal,
    /// Buy or sell.
    pub side: Side,
    /// The quantity, in whole units of the instrument.
    pub quantity: Decimal,
    /// The limit price.
    pub price: Decimal,
    /// How the price is set.
    pub order_type: OrderType,
    /// How the shares are held. `None` uses the adapter's default.
    pub product: Option<Product>,
}

impl GttLeg {
    /// Creates a leg with a limit order at `price`, which is placed when the price reaches `trigger`.
    pub fn new(
        side: Side,
        quantity: impl Into<Decimal>,
        trigger: impl Into<Decimal>,
        price: impl Into<Decimal>,
    ) -> Self {
        Self {
            trigger: trigger.into(),
            side,
            quantity: quantity.into(),
            price: price.into(),
            order_type: OrderType::Limit,
            product: None,
        }
    }

    /// Sets how the shares are held.
    #[must_use]
    pub fn product(mut self, product: Product) -> Self {
        self.product = Some(product);
        self
    }
}

/// A GTT to be placed, or what a GTT is changed to.
///
/// ```
/// use lanekeeper::brokers::kite::{GttKind, GttLeg, GttRequest};
/// use lanekeeper::{Instrument, Side};
///
/// let infy = Instrument::new("NSE", "INFY");
/// let buy = GttRequest::single(infy, 1500, GttLeg::new(Side::Buy, 1, 1450, 1452));
/// assert_eq!((buy.kind, buy.legs.len()), (GttKind::Single, 1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GttRequest {
    /// What the GTT waits for.
    pub kind: GttKind,
    /// The instrument whose price is watched, and which is traded.
    pub instrument: Instrument,
    /// The last price of the instrument when the GTT is placed. Kite checks the triggers against it.
    pub last_price: Decimal,
    /// The triggers with their orders, the lower trigger first.
    pub legs: Vec<GttLeg>,
    /// The distance at which a trailing trigger follows the price, in the instrument's currency.
    pub trailing_points: Option<Decimal>,
}

impl GttRequest {
    /// Creates a GTT with one trigger.
    pub fn single(instrument: Instrument, last_price: impl Into<Decimal>, leg: GttLeg) -> Self {
        Self {
            kind: GttKind::Single,
            instrument,
            last_price: last_price.into(),
            legs: vec![leg],
            trailing_points: None,
        }
    }

    /// Creates a GTT with a trigger below and one above the last price, of which the first to fire drops the other.
    pub fn two_leg(
        instrument: Instrument,
        last_price: impl Into<Decimal>,
        lower: GttLeg,
        upper: GttLeg,
    ) -> Self {
        Self {
            kind: GttKind::TwoLeg,
            instrument,
            last_price: last_price.into(),
            legs: vec![lower, upper],
            trailing_points: None,
        }
    }

    /// Lets the trigger follow the price at a distance of `points`.
    #[must_use]
    pub fn trailing(mut self, points: impl Into<Decimal>) -> Self {
        self.kind = match self.kind {
            GttKind::Single => GttKind::TrailingSingle,
            GttKind::TwoLeg => GttKind::TrailingTwoLeg,
            other => other,
        };
        self.trailing_points = Some(points.into());
        self
    }
}

/// A GTT as Kite shows it at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Gtt {
    /// Kite's number of it.
    pub id: GttId,
    /// What it waits for.
    pub kind: GttKind,
    /// Its state.
    pub status: GttStatus,
    /// When it fires.
    pub condition: GttCondition,
    /// What is placed then, in the order of the triggers.
    pub orders: Vec<GttOrder>,
    /// When it was placed.
    pub created_at: Option<Zoned>,
    /// When it last changed.
    pub updated_at: Option<Zoned>,
    /// When it ends unless it fires.
    pub expires_at: Option<Zoned>,
    /// The GTT to which it belongs.
    pub parent: Option<GttId>,
    /// Why Kite refused or disabled it.
    pub rejection_reason: Option<String>,
}

impl Gtt {
    /// Returns the request that describes this GTT, to change a part of it by
    /// [`modify_gtt`](super::KiteGtt::modify_gtt).
    ///
    /// `None` if Kite does not show an order with a price for each trigger, or no last price.
    ///
    /// ```
    /// use lanekeeper::BrokerError;
    /// use lanekeeper::brokers::kite::{GttId, KiteGtt};
    /// use lanekeeper::rust_decimal::Decimal;
    ///
    /// fn tighten(gtts: &dyn KiteGtt, id: GttId, last_price: Decimal) -> Result<(), BrokerError> {
    ///     if let Some(mut request) = gtts.gtt(id)?.to_request() {
    ///         request.last_price = last_price;
    ///         request.legs[0].trigger += Decimal::ONE;
    ///         gtts.modify_gtt(id, &request)?;
    ///     }
    ///     Ok(())
    /// }
    /// # let _ = tighten;
    /// ```
    pub fn to_request(&self) -> Option<GttRequest> {
        let GttCondition { instrument, trigger_values, last_price, trailing_points } =
            &self.condition;
        if trigger_values.len() != self.orders.len() {
            return None;
        }
        let leg = |(order, &trigger): (&GttOrder, &Decimal)| {
            Some(GttLeg {
                trigger,
                side: order.side,
                quantity: order.quantity,
                price: order.price?,
                order_type: order.order_type.clone(),
                product: order.product.clone(),
            })
        };
        Some(GttRequest {
            kind: self.kind.clone(),
            instrument: instrument.clone(),
            last_price: (*last_price)?,
            legs: self.orders.iter().zip(trigger_values).map(leg).collect::<Option<_>>()?,
            trailing_points: trailing_points.first().copied(),
        })
    }
}

/// When a GTT fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GttCondition {
    /// The instrument whose price is watched.
    pub instrument: Instrument,
    /// The prices that fire it, the lower first.
    pub trigger_values: Vec<Decimal>,
    /// The last price of the instrument when it was placed.
    pub last_price: Option<Decimal>,
    /// The distances at which its triggers follow the price. Empty if they do not.
    pub trailing_points: Vec<Decimal>,
}

/// An order of a GTT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GttOrder {
    /// The instrument to trade.
    pub instrument: Instrument,
    /// Buy or sell.
    pub side: Side,
    /// The quantity.
    pub quantity: Decimal,
    /// The limit price.
    pub price: Option<Decimal>,
    /// How the price is set.
    pub order_type: OrderType,
    /// How the shares are held.
    pub product: Option<Product>,
    /// What became of it, once its trigger fired.
    pub execution: Option<GttExecution>,
}

/// What became of an order whose trigger fired.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GttExecution {
    /// When the trigger fired.
    pub at: Option<Zoned>,
    /// The price that fired it.
    pub triggered_at: Option<Decimal>,
    /// Kite's word for the outcome: `success` or `failed`.
    pub status: Option<String>,
    /// The order that was placed. It is in the order book of that day.
    pub order_id: Option<OrderId>,
    /// Why the order was refused.
    pub rejection_reason: Option<String>,
}
