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

use super::answer::{Answer, ApiError, respond};
use super::fault::Fault;
use super::faults::Strikes;
use super::form::Fields;
use super::gate::Gate;
use super::mishap;
use super::network::Network;
use super::payload::{Broken, Payload};
use super::route::{self, Route};
use super::rules::Rules;
use super::sessions::Sessions;
use super::wire;

/// Kite's front server takes about so much of an address.
const LONGEST_ADDRESS: usize = 8 * 1024;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) gate: Gate,
    pub(super) sessions: Sessions,
    pub(super) network: Network,
    pub(super) faults: Mutex<Strikes>,
    pub(super) rules: Rules,
    /// How long a client may take to send a head, and then a body, and may take nothing of an answer.
    pub(super) read_timeout: Duration,
    pub(super) broker: PaperBroker,
}

/// What a request is answered with, and how much later than need be.
pub(super) struct Answered {
    pub(super) late: Duration,
    pub(super) with: Result<Response<Payload>, Broken>,
}

impl Answered {
    pub(super) fn at_once(response: Response<Payload>) -> Self {
        Self { late: Duration::ZERO, with: Ok(response) }
    }
}

/// A request that was let in, and is not done yet.
pub(super) struct Asked {
    pub(super) shared: Arc<Shared>,
    pub(super) parts: Parts,
    pub(super) body: Result<Bytes, ApiError>,
}

impl Asked {
    /// Does it.
    pub(super) fn done(self) -> Response<Payload> {
        self.done_with(None)
    }

    /// Does it, with a fault of one slice of an order.
    pub(super) fn done_with(self, fault: Option<Fault>) -> Response<Payload> {
        respond(self.body.and_then(|body| self.shared.answer(&self.parts, &body, fault)))
    }
}

impl Shared {
    /// The request is at the exchange: it is counted, recorded and done.
    pub(super) fn arrive(
        self: &Arc<Self>,
        parts: Parts,
        body: Result<Bytes, ApiError>,
    ) -> Answered {
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        let lane = route::lane(path);
        let door = self.door(&parts, lane);
        let key = door.as_deref().unwrap_or_default();
        let entered = self.gate.enter(key, lane.filter(|_| door.is_ok()), method, path);
        let answered = match (door, entered.admitted) {
            (Err(error), _) => Answered::at_once(respond(Err(error))),
            (Ok(_), false) => Answered::at_once(respond(Err(ApiError::too_many_requests()))),
            (Ok(_), true) => {
                let fault = self.fault(&parts);
                let asked = Asked { shared: self.clone(), parts, body };
                match fault {
                    None => Answered::at_once(asked.done()),
                    Some(fault) => {
                        self.gate.struck(&entered, fault);
                        mishap::happen(fault, asked)
                    }
                }
            }
        };
        if let Ok(response) = &answered.with {
            self.gate.answered(&entered, response.status().as_u16());
        }
        answered
    }

    /// What goes wrong with this request on purpose.
    fn fault(&self, parts: &Parts) -> Option<Fault> {
        let route = Route::of(parts.method.as_str(), parts.uri.path()).ok()?;
        self.faults.lock().next(|target| target.is_for(route))
    }

    /// Who gets no further than the door, and is not counted; otherwise the `api_key` of the account, which
    /// is empty before a login.
    fn door(&self, parts: &Parts, lane: Option<&str>) -> Result<String, ApiError> {
        let address = parts.uri.path_and_query().map_or(0, |address| address.as_str().len());
        if address > LONGEST_ADDRESS {
            return Err(ApiError::uri_too_long());
        }
        // A login has no token yet.
        match lane {
            Some(_) => self.session(&parts.headers),
            None => Ok(String::new()),
        }
    }

    fn session(&self, headers: &HeaderMap) -> Result<String, ApiError> {
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

    fn answer(&self, parts: &Parts, body: &[u8], fault: Option<Fault>) -> Answer {
        let route = Route::of(parts.method.as_str(), parts.uri.path())?;
        let query = Fields::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let form = Fields::parse(body);
        match route {
            Route::Place { variety } => {
                wire::placement::place(&self.broker, &self.rules, variety, &form, fault)
            }
            Route::Modify { variety, id } => {
                wire::orders::modify(&self.broker, &self.rules, variety, id, &form)
            }
            Route::Cancel { variety, id } => {
                wire::orders::cancel(&self.broker, variety, id, [&query, &form])
            }
            Route::Orders => wire::orders::all(&self.broker),
            Route::History { id } => wire::orders::history(&self.broker, id),
            Route::OrderTrades { id } => wire::orders::order_trades(&self.broker, id),
            Route::Trades => wire::orders::trades(&self.broker),
            Route::Positions => wire::portfolio::positions(&self.broker),
            Route::Holdings => wire::portfolio::holdings(&self.broker),
            Route::Margins => wire::user::margins(&self.broker),
            Route::SegmentMargins { segment } => wire::user::segment_margins(&self.broker, segment),
            Route::Profile => wire::user::profile(&self.broker),
            Route::Quote => wire::market::quote(&self.broker, &query),
            Route::Ohlc => wire::market::ohlc(&self.broker, &query),
            Route::Ltp => wire::market::ltp(&self.broker, &query),
            Route::Instruments { exchange } => wire::market::instruments(&self.broker, exchange),
            Route::Historical { token, interval } => {
                wire::candles::historical(&self.broker, token, interval, &query)
            }
            Route::BeginSession => wire::user::begin_session(&self.broker, &self.sessions, &form),
            Route::EndSession => wire::user::end_session(&self.sessions, &query),
        }
    }
}
