//! Every trap of Kite's errors, one line each.

use std::time::Duration;

use super::*;
use crate::brokers::kite::de::Text;

fn answer(status: u16, body: &str) -> RawResponse {
    RawResponse { status, body: body.into(), ..RawResponse::default() }
}

fn kite(status: u16, code: &str, message: &str) -> RawResponse {
    let body = serde_json::json!({ "status": "error", "message": message, "error_type": code });
    answer(status, &body.to_string())
}

fn class(error: &BrokerError) -> &'static str {
    match error {
        BrokerError::Throttled { .. } => "throttled",
        BrokerError::NotSent(_) => "not sent",
        BrokerError::Transient(_) => "transient",
        BrokerError::OutcomeUnknown(_) => "unknown",
        BrokerError::Rejected(_) => "rejected",
        BrokerError::Unauthorized(_) => "unauthorized",
        BrokerError::Fatal(_) => "fatal",
        BrokerError::Malformed(_) => "malformed",
        _ => "other",
    }
}

/// The `data` of an answer.
fn data<T: DeserializeOwned>(answer: &RawResponse, effect: Effect) -> Result<T, BrokerError> {
    read_data(answer, effect, Ok::<_, ResponseError>)
}

/// The class for a write and for a read.
fn classes(answer: &RawResponse) -> (&'static str, &'static str) {
    let class = |effect| class(&data::<serde_json::Value>(answer, effect).unwrap_err());
    (class(Effect::Write), class(Effect::Read))
}

const TIMED_OUT: &str =
    "Order request timed out. Please check the order book and confirm before placing again.";
const MODIFIED: &str = "Maximum allowed order modifications exceeded.";
const RATE: &str = "Access denied because of exceeding access rate";
const PAGE: &str =
    "<!DOCTYPE html><html><head><title>Access denied</title></head><script>setTimeout(x)</script>";

#[test]
fn errors_in_kites_own_words() {
    let unknown = ("unknown", "transient");
    let rejected = ("rejected", "rejected");
    let fatal = ("fatal", "fatal");
    let unauthorized = ("unauthorized", "unauthorized");
    let throttled = ("throttled", "throttled");
    for (status, code, message, expected) in [
        (429, "NetworkException", "Too many requests", throttled),
        (400, "NetworkException", "Too many requests", throttled),
        (429, "GeneralException", "", throttled),
        (503, "NetworkException", "Gateway to the order system is down", unknown),
        (400, "NetworkException", "Could not reach the order system", unknown),
        (400, "NetworkException", MODIFIED, rejected),
        (429, "NetworkException", TIMED_OUT, unknown),
        (500, "NetworkException", MODIFIED, ("unknown", "rejected")),
        (503, "NetworkException", MODIFIED, rejected),
        (429, "NetworkException", MODIFIED, rejected),
        (400, "OrderException", TIMED_OUT, unknown),
        (400, "InputException", TIMED_OUT, unknown),
        (500, "OrderException", "Order could not be placed", unknown),
        (500, "GeneralException", "Something went wrong", unknown),
        (500, "MarginException", "Insufficient funds", unknown),
        (502, "DataException", "Bad answer of the order system", unknown),
        (504, "NetworkException", "Gateway timed out", unknown),
        (400, "DataException", "Bad answer of the order system", unknown),
        (400, "InputException", "Invalid `quantity`", rejected),
        (400, "MarginException", "Insufficient funds", rejected),
        (400, "HoldingException", "Insufficient holdings", rejected),
        (400, "OrderException", "The instrument is banned", rejected),
        (403, "UserException", "Account is blocked", rejected),
        (403, "PermissionException", "Insufficient permission for that call.", rejected),
        (403, "TokenException", "Incorrect `api_key` or `access_token`.", unauthorized),
        (403, "GeneralException", "Forbidden", fatal),
        (401, "BrandNewException", "Who are you?", fatal),
        (404, "GeneralException", "Route not found", rejected),
        (405, "GeneralException", "Method not allowed", rejected),
        (400, "GeneralException", "Something", ("unknown", "rejected")),
        (400, "BrandNewException", "Something", ("unknown", "rejected")),
        (408, "BrandNewException", "Slow", unknown),
        // An error under a good status.
        (200, "InputException", "Invalid `quantity`", rejected),
        (200, "TokenException", "Expired", unauthorized),
        (200, "NetworkException", "Too many requests", ("unknown", "throttled")),
        (200, "GeneralException", "Something", unknown),
    ] {
        assert_eq!(classes(&kite(status, code, message)), expected, "{status} {code} {message}");
    }
}

#[test]
fn errors_of_others_on_the_way() {
    let unknown = ("unknown", "transient");
    let fatal = ("fatal", "fatal");
    let throttled = ("throttled", "throttled");
    for (status, body, expected) in [
        (403, PAGE, fatal),
        (503, PAGE, unknown),
        (520, PAGE, unknown),
        (502, "", unknown),
        (504, "upstream timed out", unknown),
        (403, "error code: 1010", fatal),
        (429, "error code: 1015", throttled),
        (403, "error code: 1015", throttled),
        (403, RATE, throttled),
        (200, RATE, ("unknown", "throttled")),
        (400, "<html><title>400 Bad Request</title>", ("unknown", "rejected")),
        (414, "<html><title>Too long</title>", ("rejected", "rejected")),
        (302, "", ("unknown", "fatal")),
        (307, "", ("unknown", "fatal")),
        (100, "", unknown),
    ] {
        assert_eq!(classes(&answer(status, body)), expected, "{status} {body}");
    }
}

fn write(status: u16, body: &str) -> &'static str {
    classes(&answer(status, body)).0
}

/// Each with the reason why the order cannot have been executed; whatever is not in here, or not
/// exactly so, must be unknown.
#[test]
fn a_write_is_not_executed_only_for_a_reason() {
    let limiter =
        r#"{"status":"error","message":"Too many requests","error_type":"NetworkException"}"#;
    let changes = r#"{"status":"error","message":"Maximum allowed order modifications exceeded.","error_type":"NetworkException"}"#;
    let input =
        r#"{"status":"error","message":"Invalid","data":null,"error_type":"InputException"}"#;
    let token = r#"{"status":"error","message":"Expired","data":"","error_type":"TokenException"}"#;
    for (reason, status, body, expected) in [
        ("a limiter stands before what it protects", 429, "", "throttled"),
        ("whatever language it speaks", 429, "<html><title>Slow down</title>", "throttled"),
        ("and however its body ends", 429, r#"{"status":"err"#, "throttled"),
        ("some limiters use 400", 400, limiter, "throttled"),
        ("and some 403", 403, RATE, "throttled"),
        ("Kite's limiter with the status of its code", 503, limiter, "throttled"),
        ("Kite counts before it changes", 400, changes, "rejected"),
        ("Kite counts before it changes", 503, changes, "rejected"),
        ("Kite refused the input", 400, input, "rejected"),
        ("Kite refused the input, whatever the status says", 200, input, "rejected"),
        ("a session is looked at before an order", 403, token, "unauthorized"),
        ("a session is looked at before an order", 200, token, "unauthorized"),
        ("nobody unknown gets as far as an order", 401, "", "fatal"),
        ("nobody forbidden gets as far as an order", 403, "Forbidden", "fatal"),
        ("no route took it", 404, "Cannot POST /orders", "rejected"),
        ("no route took it", 405, "", "rejected"),
        ("it was not read without its length", 411, "", "rejected"),
        ("it was not read to its end", 413, "", "rejected"),
        ("its first line was not read to its end", 414, "", "rejected"),
        ("nobody understood its form", 415, "", "rejected"),
        ("its head was not read to its end", 431, "", "rejected"),
    ] {
        assert_eq!(write(status, body), expected, "{reason}: {status} {body}");
    }
}

#[test]
fn a_success_beside_an_error_leaves_a_write_unknown() {
    let statuses = [200, 201, 400, 401, 403, 404, 429, 500, 503];
    for body in [
        r#"{"status":"success","data":{"order_id":"1"},"error_type":"InputException"}"#,
        r#"{"status":"success","data":{},"error_type":"TokenException"}"#,
        r#"{"status":"error","data":{"order_id":"1"},"error_type":"InputException"}"#,
        r#"{"status":"error","data":{"order_id":"1"},"data":null,"error_type":"InputException"}"#,
        r#"{"status":"error","data":[1],"message":"Too many requests","error_type":"NetworkException"}"#,
        r#"{"status":"error","order_id":"1","error_type":"MarginException"}"#,
        r#"{"status":"success","status":"error","error_type":"InputException"}"#,
        r#"{"status":"success"}{"status":"error","message":"Too many requests"}"#,
        r#"{"status":"success","data":{"order_id":"1"},"message":"too many requests"#,
        r#"too many requests {"status":"success"}"#,
    ] {
        for status in statuses {
            assert_eq!(write(status, body), "unknown", "{status} {body}");
        }
    }
}

#[test]
fn a_good_status_is_a_refusal_only_with_a_whole_error_of_kite() {
    for body in [
        r#"{"error_type":"InputException"}"#,
        r#"{"status":"error","message":"Invalid"}"#,
        r#"{"status":"ok","message":"Invalid","error_type":"InputException"}"#,
        r#"{"status":"error","message":["Invalid"],"error_type":"InputException"}"#,
        r#"{"status":"error","message":"Invalid","error_type":"InputException","id":1}"#,
        r#"{"status":"error","message":"Invalid","error_type":"InputException"}{}"#,
        r#"["error","Invalid","InputException"]"#,
        "Too many requests",
        "error code: 1015",
    ] {
        assert_eq!(write(200, body), "unknown", "{body}");
    }
    let edge =
        RawResponse { answered_by_edge: true, ..answer(200, r#"{"error_type":"InputException"}"#) };
    assert_eq!(classes(&edge).0, "unknown");
}

/// The second try of a gateway may meet the limiter; the first may have become an order.
#[test]
fn words_of_a_gateway_prove_nothing_about_a_write() {
    for status in [100, 200, 302, 408, 425, 499, 500, 502, 503, 504, 520] {
        for body in [
            "Too many requests",
            "error code: 1015",
            r#"{"status":"error","message":"upstream: too many requests","error_type":"NetworkException"}"#,
            r#"{"status":"error","message":"Too many requests","error_type":"GeneralException"}"#,
            r#"{"message":"Too many requests","error_type":"NetworkException"}"#,
        ] {
            assert_eq!(write(status, body), "unknown", "{status} {body}");
        }
    }
}

#[test]
fn doubt_outweighs_a_refusal_of_a_write() {
    for (status, body) in [
        // The answer was cut, so the rest is unknown.
        (400, r#"{"status":"error","message":"Too many requests","error_ty"#),
        (403, r#"{"status":"error","message":"Order request ti"#),
        (429, r#"{"status":"error","message":"Order request timed out. Please ch"#),
        (404, r#"{"status":"error","message":"Inv"#),
        // Time ran out, in anybody's words.
        (403, "upstream timed out"),
        (404, "<html><title>Gateway timeout</title>"),
        (429, "<html><title>504 Gateway Time-out: timed out</title>"),
        (403, r#"{"status":"error","message":"No","error_type":"TimeoutException"}"#),
        (408, r#"{"status":"error","message":"No","error_type":"InputException"}"#),
        (499, r#"{"status":"error","message":"No","error_type":"TokenException"}"#),
        // The order system answered.
        (429, r#"{"status":"error","message":"No","error_type":"DataException"}"#),
    ] {
        assert_eq!(write(status, body), "unknown", "{status} {body}");
    }
}

#[test]
fn a_doubtful_answer_keeps_the_order_that_it_names() {
    let body = r#"{"status":"success","data":{"order_id":"1512"},"error_type":"InputException"}"#;
    let error = data::<serde_json::Value>(&answer(200, body), Effect::Write).unwrap_err();
    assert!(error.to_string().contains("it names the order 1512"), "{error}");
}

#[test]
fn a_list_is_no_envelope() {
    let list = answer(200, r#"["success"]"#);
    assert_eq!(class(&check_success(&list, Effect::Write).unwrap_err()), "unknown");
}

#[test]
fn what_the_edge_turned_away_was_not_executed() {
    let challenge = RawResponse { answered_by_edge: true, ..answer(400, PAGE) };
    assert_eq!(classes(&challenge), ("fatal", "fatal"));
    let down = RawResponse { answered_by_edge: true, ..answer(503, PAGE) };
    assert_eq!(classes(&down), ("unknown", "transient"));
}

#[test]
fn a_good_status_over_a_bad_body_proves_nothing() {
    for body in [
        "",
        r#"{"status":"success","data":{"order_id":"1512"#,
        "<html><title>Log in to the hotel</title>",
        "null",
        "[]",
        "{}",
        r#"{"status":"success"}"#,
    ] {
        assert_eq!(classes(&answer(200, body)), ("unknown", "malformed"), "{body}");
    }
    let no_reason = answer(200, r#"{"status":"error"}"#);
    assert_eq!(classes(&no_reason), ("unknown", "transient"));
}

#[test]
fn a_call_is_done_only_where_the_answer_says_success() {
    let silent = answer(200, r#"{"data":{"order_id":"1"}}"#);
    assert_eq!(classes(&silent), ("unknown", "malformed"));
}

#[test]
fn an_error_carries_what_was_said() {
    let error = classify_refusal(&kite(400, "InputException", "Invalid `quantity`"), Effect::Write);
    let detail = ErrorDetail::new("Invalid `quantity`").status(400).code("InputException");
    assert_eq!(error, BrokerError::Rejected(detail));
}

#[test]
fn a_throttle_carries_how_long_to_wait() {
    let mut answer = kite(429, "NetworkException", "Too many requests");
    answer.retry_after = Some("2".into());
    let BrokerError::Throttled { retry_after, detail } = classify_refusal(&answer, Effect::Write)
    else {
        panic!("not throttled");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(2)));
    assert_eq!(detail, ErrorDetail::new("Too many requests").status(429).code("NetworkException"));
}

/// Of a write whose outcome the same answer leaves open, too.
#[test]
fn too_fast_is_heard_whatever_else_the_answer_says() {
    let rated = "<html><title>Access denied</title>You are being rate limited</html>";
    let booked = r#"{"status":"error","message":"Too many requests","data":{"order_id":"1512"}}"#;
    for mut too_fast in [
        kite(200, "NetworkException", "Too many requests"),
        kite(500, "NetworkException", "Too many requests"),
        kite(502, "GeneralException", "too many requests, slow down"),
        kite(429, "NetworkException", TIMED_OUT),
        answer(200, RATE),
        answer(500, RATE),
        answer(200, rated),
        answer(503, rated),
        answer(429, booked),
        answer(200, booked),
        answer(400, r#"{"status":"error","message":"Too many requests"#),
    ] {
        too_fast.retry_after = Some("3".to_owned());
        let body = String::from_utf8_lossy(&too_fast.body).into_owned();
        let error = data::<serde_json::Value>(&too_fast, Effect::Write).unwrap_err();
        assert_eq!(class(&error), "unknown", "{body}");
        let throttling = Some(Throttling::new(Some(Duration::from_secs(3))));
        assert_eq!(error.failure().throttling, throttling, "{body}");
        let read = data::<serde_json::Value>(&too_fast, Effect::Read).unwrap_err();
        assert_eq!(read.failure().throttling, throttling, "{body}: {read}");
    }
    // Not of the pace.
    for other in [kite(429, "NetworkException", MODIFIED), kite(500, "X", "Oops"), answer(200, "")]
    {
        let error = data::<serde_json::Value>(&other, Effect::Write).unwrap_err();
        assert_eq!(error.failure().throttling, None, "{error}");
    }
}

#[test]
fn missing_data_is_not_empty_data() {
    #[derive(serde::Deserialize, Debug, Default)]
    #[serde(default)]
    struct Row {
        #[allow(dead_code)]
        order_id: Text,
    }
    let read = |body| data::<super::super::de::List<Row>>(&answer(200, body), Effect::Read);
    assert_eq!(read(r#"{"status":"success","data":null}"#).unwrap().0.len(), 0);
    assert_eq!(read(r#"{"status":"success","data":[]}"#).unwrap().0.len(), 0);
    assert_eq!(class(&read(r#"{"status":"success"}"#).unwrap_err()), "malformed");
}

/// An order book that is none would make a lost order absent.
#[test]
fn what_does_not_say_success_is_no_empty_answer() {
    for body in [
        r#"{"data":null}"#,
        r#"{"data":[]}"#,
        r#"{"status":null,"error":"internal","data":[]}"#,
        r#"{"status":"failed","message":"Something went wrong","data":null}"#,
    ] {
        assert_eq!(classes(&answer(200, body)), ("unknown", "malformed"), "{body}");
    }
}

#[test]
fn a_limiter_is_heard_in_whatever_form_it_speaks() {
    for (body, write) in [
        (r#"{"message":"Too many requests"}"#, "unknown"),
        (r#"{"status":"success","message":"Too many requests"}"#, "unknown"),
        (r#"{"error":"Too many requests"}"#, "unknown"),
        (r#"[{"message":"API rate limit exceeded"}]"#, "unknown"),
    ] {
        let answer = answer(200, body);
        let error = data::<serde_json::Value>(&answer, Effect::Write).unwrap_err();
        assert!(error.failure().throttling.is_some(), "{body}");
        assert_eq!(classes(&answer), (write, "throttled"), "{body}");
    }
    for body in [r#"{"error":"Rate limit exceeded"}"#, r#"{"message":"You are rate limited"}"#] {
        assert_eq!(classes(&answer(400, body)), ("throttled", "throttled"), "{body}");
    }
}

#[test]
fn a_company_is_no_limiter() {
    let rejected = kite(400, "InputException", "Corporate Limited is not traded today");
    assert_eq!(classes(&rejected), ("rejected", "rejected"));
}

#[test]
fn a_gateway_that_heard_nothing_knows_nothing() {
    for words in ["Gateway did not respond in time", "The order system did not answer"] {
        let answer = kite(400, "OrderException", words);
        assert_eq!(classes(&answer).0, "unknown", "{words}");
    }
}
