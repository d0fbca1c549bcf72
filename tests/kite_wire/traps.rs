//! The traps of Kite's wire, each by its name: what looks like one thing and is another. The full table, by status
//! and message, is beside `classify`.

use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, Instrument, OrderChange, OrderId, OrderRequest, OrderStatus, Side,
};
use lanekeeper::{ErrorClass, Sent};

use crate::server::{Reply, Server, answer, json};

const THROTTLED: ErrorClass = ErrorClass::Throttled { retry_after: None };

fn order() -> OrderRequest {
    OrderRequest::market(Instrument::new("NSE", "INFY"), Side::Buy, 1)
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    let body = format!(r#"{{"status":"error","message":"{message}","error_type":"{code}"}}"#);
    json(status, &body)
}

fn page(status: u16, title: &str, headers: &str) -> Reply {
    let page = format!(
        "<!DOCTYPE html><html><head><title>{title}</title></head>\
         <script>setTimeout(retry)</script></html>"
    );
    answer(status, "text/html; charset=UTF-8", headers, page)
}

/// Returns the error of a placement with this response. It is checked that it was sent once: a second attempt would
/// succeed.
fn placed(reply: Reply) -> BrokerError {
    let server = after(reply);
    let error = server.kite().place_order(&order()).unwrap_err();
    server.only();
    error
}

/// Returns the error of a read of the order book with this response.
fn read(reply: Reply) -> BrokerError {
    let server = after(reply);
    let error = server.kite().orders().unwrap_err();
    server.only();
    error
}

fn after(reply: Reply) -> Server {
    Server::new([reply, json(200, r#"{"status":"success","data":{"order_id":"2"}}"#)])
}

#[test]
fn a_network_exception_may_be_a_throttle() {
    let reply = || error(429, "NetworkException", "Too many requests");
    assert_eq!(placed(reply()).class(), THROTTLED);
    assert_eq!(read(reply()).class(), THROTTLED);
}

#[test]
fn a_network_exception_may_be_an_order_system_out_of_reach() {
    let reply = || error(503, "NetworkException", "Gateway to the order system is down");
    assert_eq!(placed(reply()).class(), ErrorClass::Unknown);
    assert_eq!(read(reply()).class(), ErrorClass::Transient);
}

#[test]
fn a_network_exception_may_be_for_ever() {
    let reply = error(400, "NetworkException", "Maximum allowed order modifications exceeded.");
    let server = after(reply);
    let change = OrderChange::new().quantity(2);
    let error = server.kite().modify_order(&OrderId::new("1"), &change).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Rejected, "{error}");
    server.only();
}

#[test]
fn a_400_may_be_an_order_that_appears_later() {
    let words = "Order request timed out. Please check the order book and confirm before placing \
                 again.";
    for code in ["OrderException", "NetworkException", "InputException", "GeneralException"] {
        let error = placed(error(400, code, words));
        assert_eq!(
            (error.class(), error.was_sent()),
            (ErrorClass::Unknown, Sent::Unknown),
            "{code}"
        );
        assert!(error.to_string().contains("check the order book"), "{error}");
    }
}

#[test]
fn a_gateway_in_trouble_says_nothing_of_the_order() {
    for status in [500, 502, 503, 504, 520, 524] {
        assert_eq!(placed(error(status, "GeneralException", "Oops")).class(), ErrorClass::Unknown);
        assert_eq!(
            placed(page(status, "Bad gateway", "")).class(),
            ErrorClass::Unknown,
            "{status}"
        );
        assert_eq!(placed(json(status, "")).class(), ErrorClass::Unknown, "{status}");
        assert_eq!(
            read(page(status, "Bad gateway", "")).class(),
            ErrorClass::Transient,
            "{status}"
        );
    }
}

#[test]
fn a_connection_lost_after_sending_says_nothing_of_the_order() {
    for fault in [|| Reply::Close, || Reply::Reset] {
        assert_eq!(placed(fault()).class(), ErrorClass::Unknown);
    }
    assert_eq!(read(Reply::Close).class(), ErrorClass::Transient);
}

#[test]
fn a_429_asks_for_a_wait_in_seconds_or_until_a_date_or_not_at_all() {
    let waiting = |headers: &str| {
        let body =
            r#"{"status":"error","message":"Too many requests","error_type":"NetworkException"}"#;
        match placed(answer(429, "application/json", headers, body)) {
            BrokerError::Throttled { retry_after, .. } => retry_after,
            other => panic!("{other}"),
        }
    };
    assert_eq!(waiting(""), None);
    assert_eq!(waiting("Retry-After: 7\r\n"), Some(Duration::from_secs(7)));
    assert_eq!(waiting("Retry-After: 0.5\r\n"), Some(Duration::from_millis(500)));
    // Measured by the broker's own clock, if the response shows its time.
    let date =
        "Retry-After: Sun, 06 Nov 1994 08:49:57 GMT\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    assert_eq!(waiting(date), Some(Duration::from_secs(20)));
    let past = "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    assert_eq!(waiting(past), Some(Duration::ZERO));
    assert_eq!(waiting("Retry-After: soon\r\n"), None);
}

#[test]
fn too_fast_is_also_said_in_plain_text_and_with_403() {
    for (status, words) in [
        (403, "Access denied because of exceeding access rate"),
        (400, "Access denied because of exceeding access rate"),
        (429, "Access denied because of exceeding access rate"),
        (429, "error code: 1015"),
        (403, "error code: 1015"),
        (400, "Too many requests"),
    ] {
        let reply = || answer(status, "text/plain", "", words);
        assert_eq!(placed(reply()).class(), THROTTLED, "{status} {words}");
        assert_eq!(read(reply()).class(), THROTTLED, "{status} {words}");
    }
    // Kite's own envelope around it changes nothing.
    let words = "Access denied because of exceeding access rate";
    assert_eq!(placed(error(403, "GeneralException", words)).class(), THROTTLED);
    // With a good status an order may have been booked. A read was not answered.
    let reply = || answer(200, "text/plain", "", words);
    assert_eq!(placed(reply()).class(), ErrorClass::Unknown);
    assert_eq!(read(reply()).class(), THROTTLED);
}

#[test]
fn the_edge_turns_away_with_a_page_and_for_ever() {
    for reply in [
        || page(403, "Just a moment...", "cf-mitigated: challenge\r\n"),
        || page(403, "Attention Required! | Cloudflare", ""),
        || answer(403, "text/plain", "", "error code: 1010"),
    ] {
        assert_eq!(placed(reply()).class(), ErrorClass::Fatal);
        assert_eq!(read(reply()).class(), ErrorClass::Fatal);
    }
}

#[test]
fn the_script_of_a_page_is_not_taken_for_its_message() {
    // The page contains `setTimeout`, which is not the order system's timeout.
    assert_eq!(placed(page(403, "Blocked", "")).class(), ErrorClass::Fatal);
    assert_eq!(placed(page(429, "Slow down", "")).class(), THROTTLED);
    // A page may mention a throttle without being one.
    assert_eq!(read(page(503, "Too many requests", "")).class(), ErrorClass::Transient);
}

#[test]
fn the_edge_in_trouble_is_not_the_edge_that_blocks() {
    let reply = || page(503, "Service unavailable", "cf-mitigated: challenge\r\n");
    assert_eq!(placed(reply()).class(), ErrorClass::Unknown);
    assert_eq!(read(reply()).class(), ErrorClass::Transient);
}

#[test]
fn the_listing_may_be_an_error_with_a_good_status() {
    let listing = |reply| {
        let server = Server::new([reply]);
        server.kite().instruments(None).unwrap_err().class()
    };
    assert_eq!(
        listing(error(200, "GeneralException", "Something went wrong")),
        ErrorClass::Transient
    );
    assert_eq!(listing(error(200, "NetworkException", "Too many requests")), THROTTLED);
    assert_eq!(listing(error(200, "TokenException", "Token expired")), ErrorClass::Unauthorized);
    assert_eq!(listing(page(200, "Log in to the hotel", "")), ErrorClass::Malformed);
    assert_eq!(listing(json(200, r#"{"status":"success","data":[]}"#)), ErrorClass::Malformed);
    assert_eq!(listing(answer(200, "text/csv", "", "")), ErrorClass::Malformed);
}

#[test]
fn a_dead_token_is_not_tried_again() {
    for status in [200, 400, 401, 403] {
        let reply = || error(status, "TokenException", "Incorrect `api_key` or `access_token`.");
        assert_eq!(placed(reply()).class(), ErrorClass::Unauthorized, "{status}");
        assert_eq!(read(reply()).class(), ErrorClass::Unauthorized, "{status}");
    }
}

#[test]
fn a_refusal_is_one_only_where_kite_refused() {
    for code in ["InputException", "MarginException", "HoldingException", "OrderException"] {
        assert_eq!(placed(error(400, code, "No")).class(), ErrorClass::Rejected, "{code}");
        assert_eq!(placed(error(500, code, "No")).class(), ErrorClass::Unknown, "{code}");
    }
}

#[test]
fn a_refusal_beside_the_id_of_an_order_is_none() {
    let body = r#"{"status":"error","data":{"order_id":"1512"},"error_type":"InputException"}"#;
    let error = placed(json(400, body));
    assert_eq!(error.class(), ErrorClass::Unknown);
    assert!(error.to_string().contains("1512"), "{error}");
}

/// The parent is the first slice: an order in the market, whatever became of the others.
#[test]
fn a_sliced_order_of_which_some_were_refused_is_not_placed_as_a_whole() {
    let refused = r#"{"error":{"code":400,"error_type":"MarginException","message":"No"}}"#;
    for (children, count) in [
        (refused.to_owned(), 1),
        (format!("{refused},{refused}"), 2),
        (format!(r#"{{"order_id":"16"}},{refused},{{"order_id":"17"}}"#), 1),
    ] {
        let body =
            format!(r#"{{"status":"success","data":{{"order_id":"15","children":[{children}]}}}}"#);
        let server = Server::ok(&[&body, &body]);
        let error = server.kite().place_order(&order()).unwrap_err();
        assert_eq!((error.class(), error.was_sent()), (ErrorClass::PartlyDone, Sent::Yes));
        let BrokerError::PartlyPlaced(sliced) = error else { panic!("{error}") };
        assert_eq!(sliced.parent, Some(OrderId::new("15")));
        assert_eq!(sliced.placed().next(), Some(&OrderId::new("15")));
        let why: Vec<_> = sliced.rejected().collect();
        assert_eq!(why.len(), count);
        let why = (&*why[0].message, why[0].status, why[0].code.as_deref());
        assert_eq!(why, ("No", Some(400), Some("MarginException")));
        // By another client, since an id is assigned to one order only.
        assert_eq!(server.kite().place_sliced(&order()), Ok(*sliced));
    }
}

#[test]
fn a_sliced_order_without_an_id_must_be_searched_for() {
    let body = r#"{"status":"success","data":{"children":[{"order_id":"16"},{"order_id":"17"}]}}"#;
    let server = Server::ok(&[body, body]);
    for error in [
        server.kite().place_order(&order()).unwrap_err(),
        server.kite().place_sliced(&order()).unwrap_err(),
    ] {
        assert_eq!(error.class(), ErrorClass::Unknown);
        assert!(error.to_string().contains("2 of 2 slices placed (16, 17)"), "{error}");
    }
}

#[test]
fn undocumented_statuses_and_times_are_accepted() {
    let server = Server::ok(&[r#"{"status":"success","data":[{"order_id":"1512200000000001234",
        "exchange":"NSE","tradingsymbol":"INFY","transaction_type":"BUY","status":"AMO REQ RECEIVED",
        "order_timestamp":"09:15:01","average_price":99725.05000000002,"price":1500}]}"#]);
    let order = server.kite().orders().unwrap().remove(0);
    assert_eq!(order.status, OrderStatus::Other("AMO REQ RECEIVED".into()));
    assert_eq!((order.placed_at, order.price), (None, Some(1500.into())));
    assert_eq!(order.average_price.unwrap().to_string(), "99725.05000000002");
}

#[test]
fn an_instrument_without_data_is_absent_and_no_error() {
    let server = Server::ok(&[r#"{"status":"success","data":{}}"#]);
    let quotes = server.kite().quotes(&[Instrument::new("NSE", "NOSUCH")]).unwrap();
    assert!(quotes.is_empty());
}
