//! What an admitted request does: its route is parsed, and `wire` executes it.
//!
//! `handler` and `faults::inject` call it.

use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Bytes;
use hyper::http::request::Parts;
use lanekeeper::brokers::PaperBroker;
use parking_lot::Mutex;

use crate::accounts::Accounts;
use crate::faults::FaultSchedule;
use crate::faults::fault::Fault;
use crate::http::body::{ConnectionFault, FaultyBody};
use crate::http::form::FormFields;
use crate::http::response::{ApiError, ApiResult, to_response};
use crate::latency::Network;
use crate::limits::ledger::Ledger;
use crate::observer::RequestObserver;
use crate::order_rules::OrderRules;
use crate::route::ApiRoute;
use crate::sessions::Sessions;
use crate::wire;

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct SimulatorState {
    pub(crate) ledger: Ledger,
    pub(crate) sessions: Sessions,
    pub(crate) accounts: Accounts,
    pub(crate) network: Network,
    pub(crate) faults: Mutex<FaultSchedule>,
    pub(crate) order_rules: OrderRules,
    pub(crate) observer: Option<RequestObserver>,
    /// Bounds the time in which a client sends a head, the time in which it then sends a body, and the time for
    /// which it reads nothing of a response.
    pub(crate) read_timeout: Duration,
    pub(crate) broker: PaperBroker,
}

/// The response to a request, and the delay that a fault adds before it is sent.
pub(crate) struct Reply {
    pub(crate) delay: Duration,
    pub(crate) response: Result<Response<FaultyBody>, ConnectionFault>,
}

impl Reply {
    pub(crate) fn immediate(response: Response<FaultyBody>) -> Self {
        Self { delay: Duration::ZERO, response: Ok(response) }
    }
}

/// A request that was admitted and is not executed yet.
pub(crate) struct AdmittedRequest {
    pub(crate) state: Arc<SimulatorState>,
    /// The account; empty for a login.
    pub(crate) api_key: String,
    pub(crate) parts: Parts,
    pub(crate) body: Result<Bytes, ApiError>,
}

impl AdmittedRequest {
    /// Executes the request.
    pub(crate) fn execute(self) -> Response<FaultyBody> {
        self.execute_with(None)
    }

    /// Executes the request, with a fault of one slice of its order.
    pub(crate) fn execute_with(self, fault: Option<Fault>) -> Response<FaultyBody> {
        let Self { state, api_key, parts, body } = self;
        to_response(body.and_then(|body| state.dispatch(&api_key, &parts, &body, fault)))
    }
}

impl SimulatorState {
    /// Triggers the GTTs whose triggers the present prices meet.
    pub(crate) fn advance_gtts(&self) {
        self.accounts.advance_gtts(&self.broker, &self.order_rules);
    }

    fn dispatch(
        &self,
        api_key: &str,
        parts: &Parts,
        body: &[u8],
        fault: Option<Fault>,
    ) -> ApiResult {
        self.advance_gtts();
        let account = self.accounts.account(api_key);
        let route = ApiRoute::parse(parts.method.as_str(), parts.uri.path())?;
        let query = FormFields::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let form = FormFields::parse(body);
        let json = || wire::json_fields::parse_body(&parts.headers, body);
        match route {
            ApiRoute::Place { variety } => {
                wire::placement::place(&self.broker, &self.order_rules, variety, &form, fault)
            }
            ApiRoute::Modify { variety, id } => {
                wire::orders::modify(&self.broker, &self.order_rules, variety, id, &form)
            }
            ApiRoute::Cancel { variety, id } => {
                wire::orders::cancel(&self.broker, variety, id, [&query, &form])
            }
            ApiRoute::Orders => wire::orders::all(&self.broker),
            ApiRoute::History { id } => wire::orders::history(&self.broker, id),
            ApiRoute::OrderTrades { id } => wire::orders::order_trades(&self.broker, id),
            ApiRoute::Trades => wire::orders::trades(&self.broker),
            ApiRoute::Positions => wire::portfolio::positions(&self.broker),
            ApiRoute::ConvertPosition => wire::portfolio::convert(&self.broker, &form),
            ApiRoute::Holdings => wire::portfolio::holdings(&self.broker),
            ApiRoute::HoldingsSummary => wire::portfolio::holdings_summary(&self.broker),
            ApiRoute::CompactHoldings => wire::portfolio::compact_holdings(&self.broker),
            ApiRoute::Auctions => wire::portfolio::auctions(),
            ApiRoute::AuthoriseHoldings => {
                wire::authorisation::authorise(&self.broker, &form, account.next_number())
            }
            ApiRoute::Margins => wire::user::margins(&self.broker),
            ApiRoute::SegmentMargins { segment } => {
                wire::user::segment_margins(&self.broker, segment)
            }
            ApiRoute::Profile => wire::user::profile(&self.broker),
            ApiRoute::FullProfile => wire::user::full_profile(&self.broker),
            ApiRoute::OrderMargins => {
                wire::margin_calculator::order_margins(&self.broker, &query, &json()?)
            }
            ApiRoute::BasketMargins => {
                wire::margin_calculator::basket_margins(&self.broker, &query, &json()?)
            }
            ApiRoute::OrderCharges => wire::charges::order_charges(&self.broker, &json()?),
            ApiRoute::Gtt(route) => {
                wire::gtt::answer(&self.broker, &self.order_rules, account, route, &form)
            }
            ApiRoute::Alert(route) => {
                wire::alerts::answer(&self.broker, account, route, &query, &form)
            }
            ApiRoute::Fund(route) => wire::funds::answer(&self.broker, account, route, &form),
            ApiRoute::Quote => wire::market::quote(&self.broker, &query),
            ApiRoute::Ohlc => wire::market::ohlc(&self.broker, &query),
            ApiRoute::Ltp => wire::market::ltp(&self.broker, &query),
            ApiRoute::Instruments { exchange } => wire::market::instruments(&self.broker, exchange),
            ApiRoute::Historical { token, interval } => {
                wire::candles::historical(&self.broker, token, interval, &query)
            }
            ApiRoute::TriggerRange { side } => {
                wire::trigger_range::trigger_range(&self.broker, side, &query)
            }
            ApiRoute::RenewSession => {
                wire::user::renew_session(&self.broker, &self.sessions, &form)
            }
            ApiRoute::BeginSession => {
                wire::user::begin_session(&self.broker, &self.sessions, &form)
            }
            ApiRoute::EndSession => wire::user::end_session(&self.sessions, &query),
        }
    }
}
