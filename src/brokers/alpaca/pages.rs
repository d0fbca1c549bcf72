//! Answers of several pages: orders, trades and candles.
//!
//! A lane counts a call as one request, and each page after the first is one more. Pages are as large as Alpaca
//! allows, so that a second one is rare. Alpaca's own count, which comes with each page, reaches the lanes (see
//! [`ReportedLimits`](crate::ReportedLimits)), and no further page is requested once that count is used up.

use std::collections::HashSet;

use form_urlencoded::Serializer;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::http::{Api, ApiRequest, Http};
use super::market_data;
use super::orders::{self, OrderPage};
use crate::broker::{BrokerError, Candle, CandleRequest, ErrorDetail, Order, Rows, Trade};

/// The most orders of one page.
const ORDERS_PER_PAGE: usize = 500;
/// The most activities of one page.
const FILLS_PER_PAGE: usize = 100;
/// More pages than this are refused: a counter that is wrong at the broker must not make one call endless.
const MAX_PAGES: usize = 100;

/// Each page of orders begins this long before the end of the one before: times may be equal, and Alpaca does not
/// document whether a bound is itself included.
const OVERLAP: SignedDuration = SignedDuration::from_millis(1);

/// Returns the orders of a status (`open`, `all`) that were submitted between two times, oldest first.
pub(super) fn orders(
    http: &Http,
    status: &str,
    after: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<Rows<Order>, BrokerError> {
    let mut found = Rows::default();
    let mut known = HashSet::new();
    let mut after = after;
    for _ in 0..MAX_PAGES {
        let mut query = Serializer::new(String::new());
        query
            .append_pair("status", status)
            .append_pair("limit", &ORDERS_PER_PAGE.to_string())
            .append_pair("direction", "asc")
            .append_pair("nested", "false");
        for (name, time) in [("after", after), ("until", until)] {
            if let Some(time) = time {
                query.append_pair(name, &time.to_string());
            }
        }
        let call = ApiRequest::get(format!("/v2/orders?{}", query.finish()));
        let OrderPage { mut rows, entries, last_submitted } =
            http.request_data(&call, orders::order_page)?;
        rows.retain(|order| known.insert(order.id.clone()));
        append(&mut found, http.redact_rows(rows));
        if entries < ORDERS_PER_PAGE {
            return Ok(found);
        }
        let next = last_submitted.and_then(|at| at.checked_sub(OVERLAP).ok());
        if next.is_none() || next <= after {
            return Err(endless("a page of orders does not lead to the next one"));
        }
        after = next;
        http.check_count(Api::Trading)?;
    }
    Err(endless("there are too many pages of orders"))
}

/// Returns the trades since `after`, oldest first.
pub(super) fn trades(http: &Http, after: Timestamp) -> Result<Rows<Trade>, BrokerError> {
    let mut found = Rows::default();
    let mut page: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let mut query = Serializer::new(String::new());
        query
            .append_pair("after", &after.to_string())
            .append_pair("direction", "asc")
            .append_pair("page_size", &FILLS_PER_PAGE.to_string());
        if let Some(token) = &page {
            query.append_pair("page_token", token);
        }
        let call = ApiRequest::get(format!("/v2/account/activities/FILL?{}", query.finish()));
        let (rows, entries, last) = http.request_data(&call, |entries: Vec<Value>| {
            let (count, last) = (entries.len(), orders::last_id(&entries));
            orders::fills(entries).map(|rows| (rows, count, last))
        })?;
        append(&mut found, http.redact_rows(rows));
        if entries < FILLS_PER_PAGE {
            return Ok(found);
        }
        if last.is_none() || last == page {
            return Err(endless("a page of trades does not lead to the next one"));
        }
        page = last;
        http.check_count(Api::Trading)?;
    }
    Err(endless("there are too many pages of trades"))
}

/// Returns the candles of a request. `feed` is the source of the prices of stocks.
pub(super) fn candles(
    http: &Http,
    request: &CandleRequest,
    feed: Option<&str>,
) -> Result<Rows<Candle>, BrokerError> {
    let mut found = Rows::default();
    let mut page: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let path = market_data::bars_path(request, feed, page.as_deref())?;
        let call = ApiRequest::get_market_data(path);
        let (rows, next) =
            http.request_data(&call, |wire| market_data::candles(wire, &request.instrument))?;
        append(&mut found, http.redact_rows(rows));
        match next {
            None => return Ok(found),
            same if same == page => {
                return Err(endless("a page of candles does not lead to the next one"));
            }
            next => page = next,
        }
        http.check_count(Api::MarketData)?;
    }
    Err(endless("there are too many pages of candles"))
}

/// Adds the rows of a page. Its problems are numbered on from those of the pages before.
pub(super) fn append<T>(found: &mut Rows<T>, mut page: Rows<T>) {
    let before = found.rows.len() + found.problems.len();
    for problem in &mut page.problems {
        problem.row += before;
    }
    found.rows.append(&mut page.rows);
    found.problems.append(&mut page.problems);
}

fn endless(why: &str) -> BrokerError {
    BrokerError::Malformed(ErrorDetail::new(why).status(200))
}
