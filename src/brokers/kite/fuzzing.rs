//! The decoding of answers, and of the forms of other clients, as a function of bytes, for fuzzing.
//!
//! Not part of the interface: it may change in any version. The fuzz target in `fuzz/` calls it, and so does the test
//! `kite_fuzz`, which needs no fuzzer.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::classify;
use super::classify::{ResponseError, read_data};
use super::endpoints::{FundOrderId, GttId, SipId};
use super::endpoints::{
    fund_instruments, fund_wire, gtt_wire, margin_wire, portfolio_wire, sip_wire,
};
use super::known_ids::KnownIds;
use super::order_form::{self, RESERVED_FIELDS};
use super::order_id;
use super::orders;
use super::orders::WireConfirmation;
use super::placement;
use super::placement::WirePlacement;
use super::response::RawResponse;
use super::secrets::{MAX_MESSAGE_LENGTH, Secrets};
use super::wire::{self, WireAnswer};
use super::{candles, instruments, portfolio, quotes};
use crate::Effect;
use crate::broker::{BrokerError, Instrument, OrderId, OrderRequest, Side, SlicedOrder};
use crate::brokers::http::client::read_limited;
use crate::{ErrorClass, Sent};

/// A token that no error may show, wherever an answer has it.
pub const SECRET: &str = "s3cr3tT0ken";

/// One of each kind that is told from the others, by status and by whether the edge answered.
const RESPONSE_HEADS: [(u16, bool); 15] = [
    (200, false),
    (200, true),
    (302, false),
    (400, false),
    (401, false),
    (403, true),
    (404, false),
    (408, false),
    (429, false),
    (500, false),
    (502, false),
    (503, false),
    (503, true),
    (520, false),
    (0, false),
];

/// Decodes `body` in every way that the adapter decodes an answer, and as an order form.
///
/// # Panics
/// A property does not hold that holds for every answer and every form.
pub fn check(body: &[u8]) {
    for (status, mitigated) in RESPONSE_HEADS {
        let answer = RawResponse {
            status,
            answered_by_edge: mitigated,
            retry_after: std::str::from_utf8(body).ok().map(str::to_owned),
            body: body.to_vec(),
            ..RawResponse::default()
        };
        check_reads(&answer);
        check_writes(&answer);
    }
    check_wire(body);
    check_bounds(body);
}

fn check_reads(answer: &RawResponse) {
    let asked = [Instrument::new("NSE", "INFY")];
    let results = [
        check_read(answer, orders::orders),
        check_read(answer, |book| orders::history(book, "1")),
        check_read(answer, orders::trades),
        check_read(answer, |book| orders::order_trades(book, &OrderId::new("1"), "1")),
        check_read(answer, portfolio::positions),
        check_read(answer, portfolio::holdings),
        check_read(answer, portfolio::margins),
        check_read(answer, portfolio::profile),
        check_read(answer, |data| quotes::quotes(data, &asked)),
        check_read(answer, candles::candles),
        instruments::parse_response(answer).map(drop),
    ];
    for error in results.into_iter().chain(check_endpoints(answer)).filter_map(Result::err) {
        let class = error.class();
        assert!(
            matches!(
                class,
                ErrorClass::Throttled { .. }
                    | ErrorClass::Transient
                    | ErrorClass::Malformed
                    | ErrorClass::Unauthorized
                    | ErrorClass::Rejected
                    | ErrorClass::Fatal
            ),
            "a read came to {error:?}"
        );
        check_redacted(error);
    }
}

/// The reads of the traits beside `Broker`. An answer of another status is not decoded, and its class does not depend
/// on the call.
fn check_endpoints(answer: &RawResponse) -> Vec<Result<(), BrokerError>> {
    let infy = [Instrument::new("NSE", "INFY")];
    let asked = infy.iter().collect();
    if !(200..300).contains(&answer.status) {
        return Vec::new();
    }
    vec![
        check_read(answer, gtt_wire::all),
        check_read(answer, |wire| gtt_wire::one(wire, GttId::new(1))),
        check_read(answer, |wire| margin_wire::order_margins(wire, &asked)),
        check_read(answer, |wire| margin_wire::basket_margins(wire, &asked)),
        check_read(answer, |wire| margin_wire::order_charges(wire, &asked)),
        check_read(answer, portfolio::segment_margin),
        check_read(answer, portfolio_wire::auctions),
        check_read(answer, portfolio_wire::summary),
        check_read(answer, |data| portfolio_wire::ranges(data, &infy)),
        check_read(answer, fund_wire::orders),
        check_read(answer, |wire| fund_wire::one_order(wire, &FundOrderId::new("1"))),
        check_read(answer, sip_wire::sips),
        check_read(answer, |wire| sip_wire::one_sip(wire, &SipId::new("1"))),
        check_read(answer, fund_wire::holdings),
        fund_instruments::parse_response(answer).map(drop),
        check_read(answer, portfolio_wire::converted),
        check_read(answer, |wire| portfolio_wire::consent(wire, "key")),
    ]
}

fn check_read<T: DeserializeOwned, U, E: Into<ResponseError>>(
    answer: &RawResponse,
    build: impl FnOnce(T) -> Result<U, E>,
) -> Result<(), BrokerError> {
    read_data(answer, Effect::Read, build).map(drop)
}

fn check_writes(answer: &RawResponse) {
    let order = OrderRequest::market(Instrument::new("NSE", "X"), Side::Buy, 1);
    let known = KnownIds::default();
    known.record("1");
    let new = known.begin_placement();
    let secrets = Secrets::new(vec![SECRET.into()]);
    let is_new = |id: &str| !secrets.appear_in(id) && new.claim(id);
    let placed = |placed: WirePlacement| placement::sliced_order(placed, &order, is_new);
    let placed = read_data(answer, Effect::Write, placed)
        .and_then(|placed| Secrets::new(vec![SECRET.into()]).redact_slices(placed).complete())
        .map(|id| assert!(order_id::order_number(&id).is_ok_and(|number| number != "1"), "{id:?}"));
    let done = read_data(answer, Effect::Write, |done: WireConfirmation| {
        orders::check_confirmation(&done, "1")
    });
    let others = check_endpoint_writes(answer);
    // Success, and an id, are accepted only under a success status.
    assert!((200..300).contains(&answer.status) || (placed.is_err() && done.is_err()));
    for error in [placed, done].into_iter().chain(others).filter_map(Result::err) {
        let class = error.class();
        assert!(
            matches!(
                class,
                ErrorClass::Throttled { .. }
                    | ErrorClass::Unknown
                    | ErrorClass::Unauthorized
                    | ErrorClass::Rejected
                    | ErrorClass::PartlyDone
                    | ErrorClass::Fatal
            ),
            "a write came to {error:?}"
        );
        let surely_not_done = error.was_sent() == Sent::Yes && class != ErrorClass::PartlyDone;
        let names_an_order = answer.body.windows(10).any(|part| part == b"\"order_id\"");
        assert!(!(surely_not_done && names_an_order), "an order may be in: {error:?}");
        let by_a_gateway = matches!(answer.status, 302 | 408 | 500 | 502 | 504 | 520);
        assert!(!(surely_not_done && by_a_gateway), "a gateway cannot know: {error:?}");
        check_redacted(error);
    }
    let login = read_data(answer, Effect::Write, |_: Value| Err::<(), _>(SECRET.to_owned()));
    if let Err(error) = login {
        check_redacted(classify::without_message(answer, error));
    }
}

/// The writes of the traits beside `Broker`.
fn check_endpoint_writes(answer: &RawResponse) -> Vec<Result<(), BrokerError>> {
    let (order, plan) = (FundOrderId::new("1"), SipId::new("1"));
    let effect = Effect::Write;
    let confirmed = |wire| gtt_wire::check_confirmation(wire, GttId::new(1));
    if !(200..300).contains(&answer.status) {
        return Vec::new();
    }
    vec![
        read_data(answer, effect, |wire| gtt_wire::placed(wire, |_| true)).map(drop),
        read_data(answer, effect, confirmed),
        read_data(answer, effect, portfolio_wire::converted),
        read_data(answer, effect, |wire| fund_wire::placed_order(wire, |_| true)).map(drop),
        read_data(answer, effect, |wire| sip_wire::placed_sip(wire, |_| true)).map(drop),
        read_data(answer, effect, |wire| fund_wire::check_order(wire, &order)),
        read_data(answer, effect, |wire| sip_wire::check_sip(wire, &plan)),
    ]
}

/// What the module `wire` makes of the same answers for other HTTP clients, and of the same bytes as a form.
fn check_wire(body: &[u8]) {
    let order = OrderRequest::market(Instrument::new("NSE", "X"), Side::Buy, 1);
    for (status, mitigated) in RESPONSE_HEADS {
        let answer = WireAnswer::new(status, body).secret(SECRET);
        let answer = if mitigated { answer.header("cf-mitigated", "challenge") } else { answer };
        let placed = wire::read_placement_answer(&answer, &order);
        let done = wire::read_order_answer(&answer, &OrderId::new("1"));
        if let Ok(placed) = &placed {
            assert!((200..300).contains(&status), "{placed:?}");
            assert!(placed.placed().all(|id| order_id::order_number(id).is_ok()), "{placed:?}");
            let shown = wire::placement_body(placed).map(|body| WireAnswer::new(200, body));
            let again = shown.map(|answer| wire::read_placement_answer(&answer, &order));
            let is_same = |again: &SlicedOrder| again.placed().eq(placed.placed());
            assert!(matches!(&again, Some(Ok(again)) if is_same(again)), "{placed:?} {again:?}");
        }
        if let Err(refused) = wire::check_answer(&answer, Effect::Write) {
            assert_eq!(placed.as_ref(), Err(&refused));
            assert_eq!(done.as_ref(), Err(&refused));
        }
        let read = wire::check_answer(&answer, Effect::Read);
        for error in [placed.err(), done.err(), read.err()].into_iter().flatten() {
            assert_shows_little(&error);
        }
    }
    let form: Vec<_> = form_urlencoded::parse(body).into_owned().collect();
    if let Ok(order) = wire::read_placement_form("regular", &form) {
        let is_sendable = |name: &String| !name.is_empty() && !RESERVED_FIELDS.contains(&&**name);
        assert!(order.extra.keys().all(is_sendable), "{order:?}");
        let journal = serde_json::to_string(&order).unwrap_or_default();
        let again = serde_json::from_str::<OrderRequest>(&journal);
        assert!(again.is_ok_and(|again| again == order), "a journal cannot be read: {journal}");
    }
    if let Ok(change) = wire::read_change_form(&form) {
        // It is a form, so it is written and read as the same change again, unless the adapter refuses to write it.
        if let Ok(text) = order_form::modification(&change, None) {
            let form: Vec<_> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
            assert_eq!(wire::read_change_form(&form), Ok(change));
        }
    }
}

/// No error leaves with a secret, or longer than a person reads.
fn check_redacted(error: BrokerError) {
    if let ErrorClass::Throttled { retry_after: Some(wait) } = error.class() {
        assert!(wait.as_secs() <= 366 * 86_400, "{wait:?}");
    }
    assert_shows_little(&Secrets::new(vec![SECRET.into()]).redact(error));
}

fn assert_shows_little(error: &BrokerError) {
    let text = format!("{error} {error:?}");
    assert!(!text.contains(SECRET), "{text}");
    let words = error.detail().map_or(0, |detail| detail.message.chars().count());
    assert!(words <= MAX_MESSAGE_LENGTH + "..".len(), "{words} characters");
}

/// What is longer than its bound is refused, and not read much further.
fn check_bounds(body: &[u8]) {
    let length = body.len() as u64;
    for most in [0, length.saturating_sub(1), length, length + 1] {
        let mut kept = Vec::new();
        let read = read_limited(most, body, &mut kept);
        assert_eq!(read.is_ok(), length <= most);
        assert!(kept.len() as u64 <= most + 1 && body.starts_with(&kept));
    }
}
