//! The rest of the portfolio: conversions, auctions, authorisations, and trigger ranges.

use super::limits;
use super::portfolio_types::{
    AuctionHolding, HoldingsAuthorisation, HoldingsConsent, HoldingsSummary, PositionConversion,
    TriggerRanges,
};
use super::portfolio_wire;
use crate::Session;
use crate::broker::{BrokerError, Instrument, Rows, Side};
use crate::brokers::kite::Kite;
use crate::brokers::kite::http::ApiRequest;
use crate::quota::Limits;

/// What Kite does with positions and holdings beside buying and selling them.
///
/// ```
/// use lanekeeper::broker::Product;
/// use lanekeeper::brokers::kite::{KitePortfolio, PositionConversion};
/// use lanekeeper::{BrokerError, Instrument, Side};
///
/// fn keep_overnight(portfolio: &dyn KitePortfolio) -> Result<(), BrokerError> {
///     let infy = Instrument::new("NSE", "INFY");
///     let keep = PositionConversion::new(infy, Side::Buy, 10, Product::Mis, Product::Cnc);
///     portfolio.convert_position(&keep)
/// }
/// # let _ = keep_overnight;
/// ```
///
/// # Errors
/// As for the calls of [`Broker`](crate::Broker). The answer to a conversion names no position, so an answer to another
/// conversion cannot be told from it: read [`positions`](crate::Broker::positions) where that matters.
///
/// # Lanes
/// All calls are in the lane `transactional`, in the route classes `portfolio_writes`, `account_reads` (as the holdings
/// of `Broker`) and `instruments`.
#[crate::proxy(limits = portfolio_limits, session = portfolio_session)]
pub trait KitePortfolio: Send + Sync {
    /// Converts a position to another product.
    ///
    /// # Errors
    /// [`NotSent`](BrokerError::NotSent) if both products are the same, or the quantity is no whole number above zero.
    /// After [`OutcomeUnknown`](BrokerError::OutcomeUnknown) read the positions. A conversion is not sent again.
    #[lane(transactional, write, priority = 4, route = portfolio_writes)]
    fn convert_position(&self, conversion: &PositionConversion) -> Result<(), BrokerError>;

    /// Returns the holdings that may be offered in today's auction.
    #[lane(transactional, read, route = account_reads)]
    fn auction_holdings(&self) -> Result<Rows<AuctionHolding>, BrokerError>;

    /// Returns the sums of all holdings.
    #[lane(transactional, read, route = account_reads)]
    fn holdings_summary(&self) -> Result<HoldingsSummary, BrokerError>;

    /// Begins the authorisation of holdings for sale, and returns the page on which their owner consents. Kite needs it
    /// from owners who gave no power of attorney. [`Holding::authorised_quantity`](crate::broker::Holding) shows the
    /// result.
    ///
    /// # Errors
    /// [`NotSent`](BrokerError::NotSent) for a quantity that is not above zero, or an ISIN that is not letters and
    /// digits. After [`OutcomeUnknown`](BrokerError::OutcomeUnknown) begin another one; nothing was authorised.
    #[lane(transactional, write, route = portfolio_writes)]
    fn authorise_holdings(
        &self,
        request: &HoldingsAuthorisation,
    ) -> Result<HoldingsConsent, BrokerError>;

    /// Returns the trigger prices that a cover order of each instrument may have. An instrument without a range is
    /// absent.
    ///
    /// # Errors
    /// [`NotSent`](BrokerError::NotSent) if no instruments are named, or more than fit into one address (7500 bytes).
    #[lane(transactional, read, route = instruments)]
    fn trigger_ranges(
        &self,
        side: Side,
        instruments: &[Instrument],
    ) -> Result<TriggerRanges, BrokerError>;

    /// Returns the limit that Kite documents for the lane `transactional`, as in [`presets::kite`](crate::presets::kite).
    #[direct]
    fn portfolio_limits(&self) -> Limits {
        limits::transactional()
    }

    /// Returns the session that the calls are made in, if there is one.
    #[direct]
    fn portfolio_session(&self) -> Option<Session> {
        None
    }
}

impl KitePortfolio for Kite {
    fn convert_position(&self, conversion: &PositionConversion) -> Result<(), BrokerError> {
        let form = portfolio_wire::conversion_form(conversion)?;
        let call = ApiRequest::put("/portfolio/positions", form);
        self.http().request_data(&call, portfolio_wire::converted)
    }

    fn auction_holdings(&self) -> Result<Rows<AuctionHolding>, BrokerError> {
        let call = ApiRequest::get("/portfolio/holdings/auctions");
        self.http().request_rows(&call, portfolio_wire::auctions)
    }

    fn holdings_summary(&self) -> Result<HoldingsSummary, BrokerError> {
        let call = ApiRequest::get("/portfolio/holdings/summary");
        self.http().request_data(&call, portfolio_wire::summary)
    }

    fn authorise_holdings(
        &self,
        request: &HoldingsAuthorisation,
    ) -> Result<HoldingsConsent, BrokerError> {
        let form = portfolio_wire::authorisation_form(request)?;
        let call = ApiRequest::post("/portfolio/holdings/authorise", form);
        let api_key = &self.http().api_key;
        self.http().request_data(&call, |wire| portfolio_wire::consent(wire, api_key))
    }

    fn trigger_ranges(
        &self,
        side: Side,
        instruments: &[Instrument],
    ) -> Result<TriggerRanges, BrokerError> {
        let call = ApiRequest::get(portfolio_wire::ranges_path(side, instruments)?);
        self.http().request_rows(&call, |data| portfolio_wire::ranges(data, instruments))
    }

    fn portfolio_session(&self) -> Option<Session> {
        Some(self.inner.session.clone())
    }
}
