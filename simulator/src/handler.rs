//! What happens to a request when it arrives: it is authenticated, counted, recorded and executed.
//!
//! `http::server` calls it. A request that the counters admit may meet a fault, which `faults::inject`
//! carries out.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::http::request::Parts;

use crate::dispatch::{AdmittedRequest, Reply, SimulatorState};
use crate::faults::fault::Fault;
use crate::faults::inject;
use crate::http::response::{ApiError, to_response};
use crate::limits::ledger::LedgerEntry;
use crate::route::{self, ApiRoute};

/// Bounds a path with its query. Kite's front server takes about this much.
const MAX_URI_LENGTH: usize = 8 * 1024;

impl SimulatorState {
    /// Counts, records and executes a request that has arrived, and returns its reply and its record.
    pub(crate) fn handle(
        self: &Arc<Self>,
        parts: Parts,
        body: Result<Bytes, ApiError>,
    ) -> (Reply, LedgerEntry) {
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        let lane = route::lane_of_path(path);
        let authenticated = self.authenticate(&parts, lane);
        let api_key = authenticated.as_deref().unwrap_or_default();
        let counted_in = lane.filter(|_| authenticated.is_ok());
        let entry = self.ledger.admit(api_key, counted_in, method, path);
        let reply = match (authenticated, entry.admitted) {
            (Err(error), _) => Reply::immediate(to_response(Err(error))),
            (Ok(_), false) => Reply::immediate(to_response(Err(ApiError::too_many_requests()))),
            (Ok(api_key), true) => {
                let fault = self.next_fault(&parts);
                let request = AdmittedRequest { state: self.clone(), api_key, parts, body };
                match fault {
                    None => Reply::immediate(request.execute()),
                    Some(fault) => {
                        self.ledger.record_fault(&entry, fault);
                        inject::inject(fault, request)
                    }
                }
            }
        };
        if let Ok(response) = &reply.response {
            self.ledger.record_status(&entry, response.status().as_u16());
        }
        (reply, entry)
    }

    /// Tells the observer, if there is one, that the response to a request is due.
    pub(crate) fn notify_observer(&self, entry: &LedgerEntry, latency: Duration) {
        if let Some(observer) = &self.observer {
            if let Some(arrival) = self.ledger.arrival(entry) {
                observer.notify(&arrival, latency);
            }
        }
    }

    /// Draws the fault of this request, if any.
    fn next_fault(&self, parts: &Parts) -> Option<Fault> {
        let route = ApiRoute::parse(parts.method.as_str(), parts.uri.path()).ok()?;
        self.faults.lock().next(|target| target.matches(route))
    }

    /// Returns the `api_key` of the account, which is empty for a login. A request that gets an error here is
    /// not counted.
    fn authenticate(&self, parts: &Parts, lane: Option<&str>) -> Result<String, ApiError> {
        let uri_length = parts.uri.path_and_query().map_or(0, |uri| uri.as_str().len());
        if uri_length > MAX_URI_LENGTH {
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
}
