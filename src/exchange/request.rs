//! What a request does at the exchange: it is let in or turned away, counted, recorded and done.
//!
//! A request that the counters let in may meet a fault on purpose; what comes of it then is in
//! `mishap`.

use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::http::request::Parts;
use parking_lot::Mutex;

use crate::brokers::PaperBroker;

use super::answer::{ApiError, ApiResult, to_response};
use super::fault::Fault;
use super::faults::FaultSchedule;
use super::form::FormFields;
use super::gate::Ledger;
use super::mishap;
use super::network::Network;
use super::payload::{ConnectionFault, FaultyBody};
use super::route;
use super::route::ApiRoute;
use super::rules::OrderRules;
use super::sessions::Sessions;
use super::wire;

/// Kite's front server takes about so much of an address.
const MAX_URI_LENGTH: usize = 8 * 1024;

/// What all requests share.
#[derive(Debug)]
pub(super) struct SimulatorState {
    pub(super) ledger: Ledger,
    pub(super) sessions: Sessions,
    pub(super) network: Network,
    pub(super) faults: Mutex<FaultSchedule>,
    pub(super) rules: OrderRules,
    /// How long a client may take to send a head, and then a body, and may take nothing of an answer.
    pub(super) read_timeout: Duration,
    pub(super) broker: PaperBroker,
}

/// What a request is answered with, and how much later than need be.
pub(super) struct Reply {
    pub(super) delay: Duration,
    pub(super) response: Result<Response<FaultyBody>, ConnectionFault>,
}

impl Reply {
    pub(super) fn immediate(response: Response<FaultyBody>) -> Self {
        Self { delay: Duration::ZERO, response: Ok(response) }
    }
}

/// A request that was let in, and is not done yet.
pub(super) struct AdmittedRequest {
    pub(super) shared: Arc<SimulatorState>,
    pub(super) parts: Parts,
    pub(super) body: Result<Bytes, ApiError>,
}

impl AdmittedRequest {
    /// Does it.
    pub(super) fn execute(self) -> Response<FaultyBody> {
        self.execute_with(None)
    }

    /// Does it, with a fault of one slice of an order.
    pub(super) fn execute_with(self, fault: Option<Fault>) -> Response<FaultyBody> {
        to_response(self.body.and_then(|body| self.shared.dispatch(&self.parts, &body, fault)))
    }
}

impl SimulatorState {
    /// The request is at the exchange: it is counted, recorded and done.
    pub(super) fn handle(self: &Arc<Self>, parts: Parts, body: Result<Bytes, ApiError>) -> Reply {
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        let lane = route::lane_of_path(path);
        let door = self.authenticate(&parts, lane);
        let key = door.as_deref().unwrap_or_default();
        let entered = self.ledger.admit(key, lane.filter(|_| door.is_ok()), method, path);
        let answered = match (door, entered.admitted) {
            (Err(error), _) => Reply::immediate(to_response(Err(error))),
            (Ok(_), false) => Reply::immediate(to_response(Err(ApiError::too_many_requests()))),
            (Ok(_), true) => {
                let fault = self.next_fault(&parts);
                let asked = AdmittedRequest { shared: self.clone(), parts, body };
                match fault {
                    None => Reply::immediate(asked.execute()),
                    Some(fault) => {
                        self.ledger.record_fault(&entered, fault);
                        mishap::inject(fault, asked)
                    }
                }
            }
        };
        if let Ok(response) = &answered.response {
            self.ledger.record_status(&entered, response.status().as_u16());
        }
        answered
    }

    /// What goes wrong with this request on purpose.
    fn next_fault(&self, parts: &Parts) -> Option<Fault> {
        let route = ApiRoute::parse(parts.method.as_str(), parts.uri.path()).ok()?;
        self.faults.lock().next(|target| target.matches(route))
    }

    /// Who gets no further than the door, and is not counted; otherwise the `api_key` of the account, which
    /// is empty before a login.
    fn authenticate(&self, parts: &Parts, lane: Option<&str>) -> Result<String, ApiError> {
        let address = parts.uri.path_and_query().map_or(0, |address| address.as_str().len());
        if address > MAX_URI_LENGTH {
            return Err(ApiError::uri_too_long());
        }
        // A login has no token yet.
        match lane {
            Some(_) => self.check_token(&parts.headers),
            None => Ok(String::new()),
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<String, ApiError> {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let pair = header.and_then(|header| header.strip_prefix("token "));
        match pair.and_then(|pair| pair.trim().split_once(':')) {
            Some((key, token)) if !key.is_empty() && !token.is_empty() => {
                if self.sessions.is_ended(token) {
                    return Err(ApiError::token("Token is invalid or has expired."));
                }
                Ok(key.to_owned())
            }
            _ => Err(ApiError::token("Incorrect `api_key` or `access_token`.")),
        }
    }

    fn dispatch(&self, parts: &Parts, body: &[u8], fault: Option<Fault>) -> ApiResult {
        let route = ApiRoute::parse(parts.method.as_str(), parts.uri.path())?;
        let query = FormFields::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let form = FormFields::parse(body);
        match route {
            ApiRoute::Place { variety } => {
                wire::placement::place(&self.broker, &self.rules, variety, &form, fault)
            }
            ApiRoute::Modify { variety, id } => {
                wire::orders::modify(&self.broker, &self.rules, variety, id, &form)
            }
            ApiRoute::Cancel { variety, id } => {
                wire::orders::cancel(&self.broker, variety, id, [&query, &form])
            }
            ApiRoute::Orders => wire::orders::all(&self.broker),
            ApiRoute::History { id } => wire::orders::history(&self.broker, id),
            ApiRoute::OrderTrades { id } => wire::orders::order_trades(&self.broker, id),
            ApiRoute::Trades => wire::orders::trades(&self.broker),
            ApiRoute::Positions => wire::portfolio::positions(&self.broker),
            ApiRoute::Holdings => wire::portfolio::holdings(&self.broker),
            ApiRoute::Margins => wire::user::margins(&self.broker),
            ApiRoute::SegmentMargins { segment } => {
                wire::user::segment_margins(&self.broker, segment)
            }
            ApiRoute::Profile => wire::user::profile(&self.broker),
            ApiRoute::Quote => wire::market::quote(&self.broker, &query),
            ApiRoute::Ohlc => wire::market::ohlc(&self.broker, &query),
            ApiRoute::Ltp => wire::market::ltp(&self.broker, &query),
            ApiRoute::Instruments { exchange } => wire::market::instruments(&self.broker, exchange),
            ApiRoute::Historical { token, interval } => {
                wire::candles::historical(&self.broker, token, interval, &query)
            }
            ApiRoute::BeginSession => {
                wire::user::begin_session(&self.broker, &self.sessions, &form)
            }
            ApiRoute::EndSession => wire::user::end_session(&self.sessions, &query),
        }
    }
}
