//! Margins and charges of orders that are not placed yet, and charges of orders that were.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::broker::{Instrument, Order, OrderId, OrderType, Product, Side, Variety, open_enum};

open_enum! {
    /// A part of the account with funds of its own.
    pub enum MarginSegment {
        /// Shares and their derivatives.
        Equity = "equity",
        /// Commodities.
        Commodity = "commodity",
    }
}

/// How the margin of a basket is computed.
///
/// ```
/// use lanekeeper::brokers::kite::BasketOptions;
///
/// let alone = BasketOptions::new().consider_positions(false);
/// assert!(!alone.consider_positions && BasketOptions::new().consider_positions);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BasketOptions {
    /// Whether the positions that are held reduce the margin. They do by default, as in the vendor's client.
    pub consider_positions: bool,
    /// Whether the answer has only totals.
    pub compact: bool,
}

impl Default for BasketOptions {
    fn default() -> Self {
        Self { consider_positions: true, compact: false }
    }
}

impl BasketOptions {
    /// Creates options that consider the positions, and ask for all details.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the positions that are held reduce the margin.
    #[must_use]
    pub fn consider_positions(mut self, consider: bool) -> Self {
        self.consider_positions = consider;
        self
    }

    /// Sets whether the answer has only totals.
    #[must_use]
    pub fn compact(mut self, compact: bool) -> Self {
        self.compact = compact;
        self
    }
}

/// An order that was filled, of which the charges are asked for.
///
/// ```
/// use lanekeeper::broker::{OrderId, Product};
/// use lanekeeper::brokers::kite::ChargedOrder;
/// use lanekeeper::{Instrument, Side};
///
/// let id = OrderId::new("260119000000001");
/// let order = ChargedOrder::new(id, Instrument::new("NSE", "INFY"), Side::Buy, 10, 1500)
///     .product(Product::Mis);
/// assert_eq!(order.product, Some(Product::Mis));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChargedOrder {
    /// The order. Kite does not look it up: any id of the caller does for an order that does not exist.
    pub id: OrderId,
    /// The instrument that was traded.
    pub instrument: Instrument,
    /// Buy or sell.
    pub side: Side,
    /// The quantity that was filled.
    pub quantity: Decimal,
    /// The mean price of the filled quantity.
    pub average_price: Decimal,
    /// How the price was set.
    pub order_type: OrderType,
    /// How the shares are held. `None` uses the adapter's default.
    pub product: Option<Product>,
    /// The route by which the order reached the market.
    pub variety: Variety,
}

impl ChargedOrder {
    /// Creates a regular market order that was filled at `average_price`.
    pub fn new(
        id: OrderId,
        instrument: Instrument,
        side: Side,
        quantity: impl Into<Decimal>,
        average_price: impl Into<Decimal>,
    ) -> Self {
        Self {
            id,
            instrument,
            side,
            quantity: quantity.into(),
            average_price: average_price.into(),
            order_type: OrderType::Market,
            product: None,
            variety: Variety::Regular,
        }
    }

    /// Returns the filled part of an order of the order book, or `None` if nothing of it is filled.
    pub fn of(order: &Order) -> Option<Self> {
        let average_price = order.average_price.filter(|_| !order.filled_quantity.is_zero())?;
        Some(Self {
            id: order.id.clone(),
            instrument: order.instrument.clone(),
            side: order.side,
            quantity: order.filled_quantity,
            average_price,
            order_type: order.order_type.clone(),
            product: order.product.clone(),
            variety: order.variety.clone(),
        })
    }

    /// Sets how the price was set.
    #[must_use]
    pub fn order_type(mut self, order_type: OrderType) -> Self {
        self.order_type = order_type;
        self
    }

    /// Sets how the shares are held.
    #[must_use]
    pub fn product(mut self, product: Product) -> Self {
        self.product = Some(product);
        self
    }

    /// Sets the route by which the order reached the market.
    #[must_use]
    pub fn variety(mut self, variety: Variety) -> Self {
        self.variety = variety;
        self
    }
}

/// The margin that an order needs, in the account's currency. A part that Kite does not send is zero: in a compact
/// answer all but the total.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OrderMargin {
    /// The instrument. `None` for the sums of a basket.
    pub instrument: Option<Instrument>,
    /// The segment whose funds are needed, in Kite's word.
    pub segment: Option<MarginSegment>,
    /// What is needed in total.
    pub total: Decimal,
    /// The exchange's margin for the risk of a portfolio.
    pub span: Decimal,
    /// The exchange's margin on top of `span`.
    pub exposure: Decimal,
    /// The premium of options. Negative if it is received.
    pub option_premium: Decimal,
    /// Further margins of the exchange.
    pub additional: Decimal,
    /// The margin of a bracket or cover order.
    pub bracket: Decimal,
    /// Cash that is needed.
    pub cash: Decimal,
    /// Value at risk, for shares.
    pub var: Decimal,
    /// The leverage that Kite gives, if it says so.
    pub leverage: Option<Decimal>,
    /// Realised profit and loss that counts.
    pub realised: Decimal,
    /// Unrealised profit and loss that counts.
    pub unrealised: Decimal,
    /// What the order costs, if Kite says so.
    pub charges: Option<Charges>,
}

/// The margin of several orders together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BasketMargins {
    /// What is needed to place the orders.
    pub initial: OrderMargin,
    /// What is needed once all of them are filled, with the benefit of spreads.
    #[serde(rename = "final")]
    pub after: OrderMargin,
    /// What each needs by itself, in the order of the request.
    pub orders: Vec<OrderMargin>,
}

/// What an order costs, in the account's currency.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Charges {
    /// All of them together.
    pub total: Decimal,
    /// The tax on the transaction.
    pub transaction_tax: Decimal,
    /// Its name: `stt` for securities, `ctt` for commodities.
    pub transaction_tax_type: Option<String>,
    /// The exchange's charge.
    pub exchange_turnover: Decimal,
    /// The regulator's charge.
    pub sebi_turnover: Decimal,
    /// The broker's charge.
    pub brokerage: Decimal,
    /// The stamp duty.
    pub stamp_duty: Decimal,
    /// The tax on goods and services.
    pub gst: Gst,
}

/// The tax on goods and services of an order, in the account's currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Gst {
    /// That of trade between states.
    pub integrated: Decimal,
    /// The part of the union.
    pub central: Decimal,
    /// The part of the state.
    pub state: Decimal,
    /// All of it.
    pub total: Decimal,
}

/// The charges of one order: a line of a contract note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OrderCharges {
    /// The instrument that was traded.
    pub instrument: Instrument,
    /// Buy or sell.
    pub side: Side,
    /// The quantity that was filled.
    pub quantity: Decimal,
    /// The price that the charges are computed from.
    pub price: Option<Decimal>,
    /// How the price was set.
    pub order_type: Option<OrderType>,
    /// How the shares are held.
    pub product: Option<Product>,
    /// The route by which the order reached the market.
    pub variety: Option<Variety>,
    /// What it costs.
    pub charges: Charges,
}
