//! GTT.

use lanekeeper::broker::{OrderId, OrderType, Product, Side};
use lanekeeper::brokers::kite::{GttId, GttKind, GttLeg, GttRequest, GttStatus, KiteGtt};

use crate::server::Server;
use crate::support::{
    call, check_answer, dec, infy, is_malformed, is_transient, is_unknown, odd, refused, success,
};

const PLACED: &str = r#"{"trigger_id":41}"#;

fn stop() -> GttLeg {
    GttLeg::new(Side::Sell, 10, 1400, dec("1390.50"))
}

fn target() -> GttLeg {
    GttLeg::new(Side::Sell, 10, dec("1700.05"), 1695).product(Product::Nrml)
}

fn single() -> GttRequest {
    GttRequest::single(infy(), 1500, stop())
}

/// Returns the fields of a form, decoded.
fn fields(form: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                plain => {
                    assert!(plain.is_ascii_alphanumeric() || b"-_.*".contains(&plain), "{text}");
                    plain
                }
            });
        }
        String::from_utf8(bytes).unwrap()
    };
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap();
        (decode(key), decode(value))
    };
    form.split('&').map(pair).collect()
}

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn a_single_trigger_is_placed_as_a_form_with_json() {
    let (received, id) = call(PLACED, |kite| kite.place_gtt(&single()));
    assert_eq!(id, Ok(GttId::new(41)));
    assert_eq!(received.line, "POST /gtt/triggers HTTP/1.1");
    assert_eq!(received.header("content-type"), Some("application/x-www-form-urlencoded"));
    let condition =
        r#"{"exchange":"NSE","tradingsymbol":"INFY","trigger_values":[1400],"last_price":1500}"#;
    let orders = r#"[{"exchange":"NSE","tradingsymbol":"INFY","transaction_type":"SELL","quantity":10,"order_type":"LIMIT","product":"CNC","price":1390.5}]"#;
    assert_eq!(
        fields(&received.body),
        [field("type", "single"), field("condition", condition), field("orders", orders)]
    );
}

#[test]
fn two_legs_keep_their_order_and_an_odd_symbol_is_encoded() {
    // More digits than a float has.
    let last_price = dec("1500.12345678901234567890");
    let request = GttRequest::two_leg(odd(), last_price, stop(), target());
    let (received, _) = call(PLACED, |kite| kite.place_gtt(&request));
    let condition = r#"{"exchange":"NSE","tradingsymbol":"M&M","trigger_values":[1400,1700.05],"last_price":1500.1234567890123456789}"#;
    let orders = r#"[{"exchange":"NSE","tradingsymbol":"M&M","transaction_type":"SELL","quantity":10,"order_type":"LIMIT","product":"CNC","price":1390.5},{"exchange":"NSE","tradingsymbol":"M&M","transaction_type":"SELL","quantity":10,"order_type":"LIMIT","product":"NRML","price":1695}]"#;
    assert_eq!(
        fields(&received.body),
        [field("type", "two-leg"), field("condition", condition), field("orders", orders)]
    );
}

#[test]
fn a_trailing_trigger_names_its_distance() {
    let (received, _) = call(PLACED, |kite| kite.place_gtt(&single().trailing(dec("2.50"))));
    let fields = fields(&received.body);
    assert_eq!(fields[0].1, "trailing-single");
    assert!(fields[1].1.ends_with(r#","trailing_points":[2.5]}"#), "{fields:?}");
    let two = GttRequest::two_leg(infy(), 1500, stop(), target()).trailing(1);
    assert_eq!(two.kind, GttKind::TrailingTwoLeg);
}

#[test]
fn a_change_sends_the_whole_trigger_and_a_deletion_only_its_id() {
    let id = GttId::new(41);
    let (received, done) = call(PLACED, |kite| kite.modify_gtt(id, &single()));
    assert_eq!((received.line.as_str(), done), ("PUT /gtt/triggers/41 HTTP/1.1", Ok(())));
    assert_eq!(fields(&received.body).len(), 3);
    let (received, done) = call(PLACED, |kite| kite.delete_gtt(id));
    assert_eq!((received.line.as_str(), done), ("DELETE /gtt/triggers/41 HTTP/1.1", Ok(())));
    assert_eq!((received.body.as_str(), received.header("content-type")), ("", None));
}

const FIRED: &str = r#"{"id":41,"user_id":"AB1234","parent_trigger":40,"type":"two-leg",
    "created_at":"2026-01-19 10:11:12","updated_at":"2026-01-20 09:15:01",
    "expires_at":"2027-01-19 00:00:00","status":"triggered",
    "condition":{"exchange":"NSE","tradingsymbol":"INFY","last_price":1500.05,
        "trigger_values":[1400,1700.05],"instrument_token":408065},
    "orders":[
        {"exchange":"NSE","tradingsymbol":"INFY","product":"CNC","order_type":"LIMIT",
         "transaction_type":"SELL","quantity":10,"price":1390.5,"result":null},
        {"exchange":"NSE","tradingsymbol":"INFY","product":"CNC","order_type":"LIMIT",
         "transaction_type":"SELL","quantity":10,"price":1695,"result":{
            "account_id":"AB1234","timestamp":"2026-01-20 09:15:01","triggered_at":1700.1,
            "order_result":{"status":"success","order_id":"260120000000007","rejection_reason":""}}}],
    "meta":null}"#;

#[test]
fn a_trigger_that_fired_is_read_whole() {
    let (received, gtt) = call(FIRED, |kite| kite.gtt(GttId::new(41)));
    assert_eq!(received.line, "GET /gtt/triggers/41 HTTP/1.1");
    let gtt = gtt.unwrap();
    assert_eq!((gtt.id, gtt.parent), (GttId::new(41), Some(GttId::new(40))));
    assert_eq!((&gtt.kind, &gtt.status), (&GttKind::TwoLeg, &GttStatus::Triggered));
    assert!(!gtt.status.can_fire());
    assert_eq!(gtt.condition.instrument, infy());
    assert_eq!(gtt.condition.trigger_values, [dec("1400"), dec("1700.05")]);
    assert_eq!(gtt.condition.last_price, Some(dec("1500.05")));
    let at = |at: &Option<lanekeeper::jiff::Zoned>| at.as_ref().unwrap().to_string();
    assert_eq!(at(&gtt.created_at), "2026-01-19T10:11:12+05:30[+05:30]");
    assert_eq!(at(&gtt.updated_at), "2026-01-20T09:15:01+05:30[+05:30]");
    assert_eq!(at(&gtt.expires_at), "2027-01-19T00:00:00+05:30[+05:30]");
    let [lower, upper] = gtt.orders.as_slice() else { panic!("{gtt:?}") };
    assert_eq!(
        (lower.side, lower.quantity, lower.price),
        (Side::Sell, dec("10"), Some(dec("1390.5")))
    );
    assert_eq!((&lower.order_type, &lower.product), (&OrderType::Limit, &Some(Product::Cnc)));
    assert_eq!(lower.execution, None);
    let fired = upper.execution.as_ref().unwrap();
    assert_eq!(fired.order_id, Some(OrderId::new("260120000000007")));
    assert_eq!(
        (fired.triggered_at, fired.status.as_deref()),
        (Some(dec("1700.1")), Some("success"))
    );
    assert_eq!(fired.rejection_reason, None);
    assert_eq!(at(&fired.at), "2026-01-20T09:15:01+05:30[+05:30]");
}

#[test]
fn what_is_shown_can_be_placed_again() {
    let gtt = call(FIRED, |kite| kite.gtt(GttId::new(41))).1.unwrap();
    let mut expected = GttRequest::two_leg(infy(), dec("1500.05"), stop(), target()).clone();
    expected.legs.iter_mut().for_each(|leg| leg.product = Some(Product::Cnc));
    assert_eq!(gtt.to_request(), Some(expected));
    let mut odd = gtt.clone();
    odd.orders.pop();
    assert_eq!(odd.to_request(), None);
    let mut odd = gtt;
    odd.orders[0].price = None;
    assert_eq!(odd.to_request(), None);
}

#[test]
fn a_row_that_cannot_be_read_costs_no_other_and_no_word_is_lost() {
    let row = |id: u8, change: (&str, &str)| {
        FIRED.replace("\"id\":41", &format!("\"id\":{id}")).replace(change.0, change.1)
    };
    let unreadable = [
        ("\"quantity\":10,\"price\":1695", "\"price\":1695"),
        ("\"exchange\":\"NSE\",\"tradingsymbol\":\"INFY\",\"last_price\"", "\"last_price\""),
        ("[1400,1700.05]", "[1400,\"soon\"]"),
        ("\"status\":\"triggered\",", ""),
        ("260120000000007", "../user"),
        ("{\n            \"account_id\":\"AB1234\"", "7, \"x\":{\"a\":1"),
        ("\"orders\":[", "\"others\":["),
    ];
    for change in unreadable {
        assert_ne!(row(7, change), row(7, ("", "")), "{change:?}");
        let data = format!("[{},{}]", row(7, change), row(8, ("two-leg", "three-leg")));
        let (received, gtts) = call(&data, |kite| kite.gtts());
        assert_eq!(received.line, "GET /gtt/triggers HTTP/1.1");
        let gtts = gtts.unwrap();
        assert_eq!((gtts.len(), gtts.problems.len()), (1, 1), "{change:?}");
        assert_eq!(gtts[0].kind, GttKind::Other("three-leg".into()));
        assert_eq!(gtts.problems[0].name.as_deref(), Some("7"), "{change:?}");
    }
}

#[test]
fn bad_triggers_are_refused_before_they_are_sent() {
    let place = |words: &str, gtt: &GttRequest| refused(words, |kite| kite.place_gtt(gtt));
    let change = |words: &str, gtt: &GttRequest| {
        refused(words, |kite| kite.modify_gtt(GttId::new(1), gtt));
    };
    let with = |change: fn(&mut GttRequest)| {
        let mut gtt = single();
        change(&mut gtt);
        gtt
    };
    place("cannot have 0 triggers", &with(|gtt| gtt.legs.clear()));
    place("cannot have 2 triggers", &with(|gtt| gtt.legs.push(target())));
    place("cannot have 1 triggers", &with(|gtt| gtt.kind = GttKind::TwoLeg));
    change("cannot have 1 triggers", &with(|gtt| gtt.kind = GttKind::TwoLeg));
    place(
        "cannot have 0 triggers",
        &with(|gtt| {
            gtt.kind = "three-leg".into();
            gtt.legs.clear();
        }),
    );
    place("trigger is 0", &with(|gtt| gtt.legs[0].trigger = dec("0")));
    place("price is -1", &with(|gtt| gtt.legs[0].price = dec("-1")));
    place("last price is 0", &with(|gtt| gtt.last_price = dec("0")));
    place("quantity is 0.5", &with(|gtt| gtt.legs[0].quantity = dec("0.5")));
    place("needs its trailing points", &with(|gtt| gtt.kind = GttKind::TrailingSingle));
    place("takes no trailing points", &with(|gtt| gtt.trailing_points = Some(dec("1"))));
    place("distance of a trailing trigger is 0", &single().trailing(0));
    place("is not below", &GttRequest::two_leg(infy(), 1500, target(), stop()));
    let nowhere = lanekeeper::Instrument::new("NSE", "");
    place("lacks an exchange or a symbol", &GttRequest::single(nowhere, 1, stop()));
}

#[test]
fn an_answer_about_another_trigger_is_none() {
    let id = GttId::new(7);
    let one = success(PLACED);
    check_answer(&one, |kite| kite.modify_gtt(id, &single()), is_unknown);
    check_answer(&one, |kite| kite.delete_gtt(id), is_unknown);
    check_answer(&success(FIRED), |kite| kite.gtt(id), is_transient);
    for odd in [r#"{"order_id":"7"}"#, r#"{"trigger_id":"x"}"#, r#"{"trigger_id":-7}"#, "true"] {
        let odd = success(odd);
        check_answer(&odd, |kite| kite.place_gtt(&single()), is_unknown);
        check_answer(&odd, |kite| kite.modify_gtt(id, &single()), is_unknown);
        check_answer(&odd, |kite| kite.delete_gtt(id), is_unknown);
        check_answer(&odd, |kite| kite.gtt(id), is_malformed);
    }
}

#[test]
fn a_new_trigger_has_a_new_id() {
    let listed = success(&format!("[{FIRED}]"));
    let placed = success(PLACED);
    let next = success(r#"{"trigger_id":42}"#);
    let server = Server::ok(&[&listed, &placed, &next, &next, &placed]);
    let kite = server.kite();
    assert_eq!(kite.gtts().unwrap().len(), 1);
    // 41 was in the list before.
    assert!(is_unknown(&kite.place_gtt(&single()).unwrap_err()));
    assert_eq!(kite.place_gtt(&single()), Ok(GttId::new(42)));
    assert!(is_unknown(&kite.place_gtt(&single()).unwrap_err()));
    kite.delete_gtt(GttId::new(41)).unwrap();
}
