//! The endpoints of Kite that [`Broker`](crate::Broker) does not have, each group behind a trait of its own.
//!
//! The traits have proxies, whose lanes and budgets have the names of those of `Broker`
//! ([`lanes`](crate::broker::lanes)). For each group, one file holds the trait and what [`Kite`](super::Kite) does for
//! it, one the types, and one the wire, which `fuzzing.rs` reads too.

pub(super) mod fund_instruments;
mod fund_types;
pub(super) mod fund_wire;
mod funds;
mod gtt;
mod gtt_types;
pub(super) mod gtt_wire;
mod ids;
mod json;
mod limits;
mod margin_types;
pub(super) mod margin_wire;
mod margins;
mod portfolio;
mod portfolio_types;
pub(super) mod portfolio_wire;
mod quotes;
mod sip_types;
pub(super) mod sip_wire;

pub use fund_types::{FundHolding, FundInstrument, FundOrder, FundOrderRequest};
pub use funds::{
    KiteMutualFunds, KiteMutualFundsProxy, KiteMutualFundsProxyBuilder, KiteMutualFundsSubmit,
};
pub use gtt::{KiteGtt, KiteGttProxy, KiteGttProxyBuilder, KiteGttSubmit};
pub use gtt_types::{
    Gtt, GttCondition, GttExecution, GttKind, GttLeg, GttOrder, GttRequest, GttStatus,
};
pub use ids::{FundOrderId, GttId, SipId};
pub use margin_types::{
    BasketMargins, BasketOptions, ChargedOrder, Charges, Gst, MarginSegment, OrderCharges,
    OrderMargin,
};
pub use margins::{KiteMargins, KiteMarginsProxy, KiteMarginsProxyBuilder, KiteMarginsSubmit};
pub use portfolio::{
    KitePortfolio, KitePortfolioProxy, KitePortfolioProxyBuilder, KitePortfolioSubmit,
};
pub use portfolio_types::{
    AuctionHolding, HoldingsAuthorisation, HoldingsConsent, HoldingsSummary, PositionConversion,
    PositionType, TransferType, TriggerRange, TriggerRanges,
};
pub use quotes::{KiteQuotes, KiteQuotesProxy, KiteQuotesProxyBuilder, KiteQuotesSubmit};
pub use sip_types::{PlacedSip, Sip, SipChange, SipFrequency, SipRequest, SipStatus};
