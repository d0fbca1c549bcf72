//! Conversions, auctions, authorisations and trigger ranges.

use lanekeeper::Instrument;
use lanekeeper::broker::{Product, Side};
use lanekeeper::brokers::kite::{
    HoldingsAuthorisation, KitePortfolio, PositionConversion, PositionType, TransferType,
};
use lanekeeper::jiff::civil::date;

use crate::support::{
    call, check_answer, dec, infy, is_malformed, is_transient, is_unknown, odd, refused, success,
};

fn conversion() -> PositionConversion {
    PositionConversion::new(odd(), Side::Buy, 10, Product::Mis, Product::Cnc)
}

#[test]
fn a_conversion_is_a_form() {
    let overnight = conversion().position_type(PositionType::Overnight);
    let (received, done) = call("true", |kite| kite.convert_position(&overnight));
    assert_eq!((received.line.as_str(), done), ("PUT /portfolio/positions HTTP/1.1", Ok(())));
    assert_eq!(
        received.body,
        "exchange=NSE&tradingsymbol=M%26M&transaction_type=BUY&position_type=overnight&quantity=10\
         &old_product=MIS&new_product=CNC"
    );
    assert_eq!(conversion().position_type, PositionType::Day);
}

#[test]
fn a_conversion_counts_only_if_it_is_confirmed() {
    for data in ["false", "null", "[]", r#"{"order_id":"1"}"#, "1"] {
        check_answer(&success(data), |kite| kite.convert_position(&conversion()), is_unknown);
    }
}

#[test]
fn bad_conversions_are_refused_before_they_are_sent() {
    let check = |words: &str, change: fn(&mut PositionConversion)| {
        let mut conversion = conversion();
        change(&mut conversion);
        refused(words, |kite| kite.convert_position(&conversion));
    };
    check("quantity is 0", |conversion| conversion.quantity = dec("0"));
    check("quantity is 1.5", |conversion| conversion.quantity = dec("1.5"));
    check("changes nothing", |conversion| conversion.to = Product::Mis);
    check("changes nothing", |conversion| conversion.to = "".into());
    check("lacks an exchange", |conversion| conversion.instrument = Instrument::new("", "X"));
}

#[test]
fn the_holdings_of_an_auction_have_its_number() {
    let data = r#"[{"tradingsymbol":"INFY","exchange":"NSE","isin":"INE009A01021","product":"CNC",
        "quantity":3,"t1_quantity":1,"authorised_quantity":2,"authorised_date":"2026-01-19 00:00:00",
        "average_price":1412.95,"last_price":1500.5,"pnl":262.65,"auction_number":"34"},
        {"tradingsymbol":"TCS","exchange":"NSE","quantity":1}]"#;
    let (received, holdings) = call(data, |kite| kite.auction_holdings());
    assert_eq!(received.line, "GET /portfolio/holdings/auctions HTTP/1.1");
    let holdings = holdings.unwrap();
    let [auction] = holdings.as_slice() else { panic!("{holdings:?}") };
    assert_eq!((auction.auction_number.as_str(), &auction.holding.instrument), ("34", &infy()));
    let holding = &auction.holding;
    assert_eq!((holding.quantity, holding.authorised_quantity), (dec("3"), dec("2")));
    assert_eq!((holding.average_price, holding.last_price), (dec("1412.95"), Some(dec("1500.5"))));
    let problem = &holdings.problems[0];
    assert_eq!(
        (problem.name.as_deref(), problem.reason.as_str()),
        (Some("TCS"), "it has no auction_number")
    );
}

#[test]
fn the_summary_has_its_sums() {
    let data = r#"{"total_pnl":6798.2359,"total_pnl_percent":16.5,"today_pnl":-76.8,
        "today_pnl_percent":-0.16,"invested_amount":41044.4,"current_value":47842.6359}"#;
    let (received, summary) = call(data, |kite| kite.holdings_summary());
    assert_eq!(received.line, "GET /portfolio/holdings/summary HTTP/1.1");
    let summary = summary.unwrap();
    assert_eq!((summary.invested, summary.value), (dec("41044.4"), dec("47842.6359")));
    assert_eq!((summary.pnl, summary.pnl_percent), (dec("6798.2359"), Some(dec("16.5"))));
    assert_eq!(
        (summary.day_pnl, summary.day_pnl_percent),
        (Some(dec("-76.8")), Some(dec("-0.16")))
    );
    let no_value = success(r#"{"total_pnl":1,"invested_amount":1}"#);
    check_answer(&no_value, |kite| kite.holdings_summary(), is_malformed);
}

#[test]
fn an_authorisation_begins_with_a_form_and_goes_on_in_a_browser() {
    let request = HoldingsAuthorisation::new()
        .transfer_type(TransferType::BeforeTrade)
        .day(date(2026, 1, 19))
        .instrument("INE009A01021", 10)
        .instrument("INE467B01029", dec("2.50"));
    let data = r#"{"request_id":"q1w2e3"}"#;
    let (received, consent) = call(data, |kite| kite.authorise_holdings(&request));
    assert_eq!(received.line, "POST /portfolio/holdings/authorise HTTP/1.1");
    assert_eq!(
        received.body,
        "type=equity&transfer_type=pre&exec_date=2026-01-19&isin=INE009A01021&quantity=10\
         &isin=INE467B01029&quantity=2.5"
    );
    let consent = consent.unwrap();
    assert_eq!(consent.request_id, "q1w2e3");
    assert_eq!(
        consent.url,
        "https://kite.zerodha.com/connect/portfolio/authorise/holdings/key/q1w2e3"
    );
    assert!(!format!("{consent:?}").contains("/key/"));
    let funds = HoldingsAuthorisation::of_mutual_funds();
    let (received, _) = call(data, |kite| kite.authorise_holdings(&funds));
    assert_eq!(received.body, "type=mf");
}

#[test]
fn bad_authorisations_and_bad_answers_are_refused() {
    let one = HoldingsAuthorisation::new();
    refused("above zero", |kite| kite.authorise_holdings(&one.clone().instrument("INE1", 0)));
    refused("no ISIN", |kite| kite.authorise_holdings(&one.clone().instrument("a/b", 1)));
    refused("no ISIN", |kite| kite.authorise_holdings(&one.clone().instrument("", 1)));
    for data in ["{}", r#"{"request_id":"../evil"}"#, r#"{"request_id":"x?y"}"#] {
        check_answer(&success(data), |kite| kite.authorise_holdings(&one), is_unknown);
    }
}

#[test]
fn trigger_ranges_are_by_side_and_instrument() {
    let data = r#"{"NSE:INFY":{"instrument_token":408065,"lower":1075.599,"upper":1138.2},
        "NSE:M&M":{"instrument_token":0}}"#;
    let asked = [infy(), odd()];
    let (received, ranges) = call(data, |kite| kite.trigger_ranges(Side::Sell, &asked));
    assert_eq!(
        received.line,
        "GET /instruments/trigger_range/sell?i=NSE%3AINFY&i=NSE%3AM%26M HTTP/1.1"
    );
    let ranges = ranges.unwrap().complete().unwrap();
    let range = ranges[&infy()];
    assert_eq!((ranges.len(), range.lower, range.upper), (1, dec("1075.599"), dec("1138.2")));
    assert!(range.contains(dec("1138.2")) && !range.contains(dec("1138.21")));
    let (received, _) = call(data, |kite| kite.trigger_ranges(Side::Buy, &asked));
    assert!(received.line.starts_with("GET /instruments/trigger_range/buy?"), "{}", received.line);
}

#[test]
fn ranges_that_cannot_be_asked_for_or_were_not_asked_for() {
    refused("no instruments", |kite| kite.trigger_ranges(Side::Buy, &[]));
    let bare = [Instrument::new("NSE", "")];
    refused("lacks an exchange", |kite| kite.trigger_ranges(Side::Buy, &bare));
    let many: Vec<_> = (0..900).map(|n| Instrument::new("NSE", format!("SYMBOL{n:06}"))).collect();
    refused("too many for one request", |kite| kite.trigger_ranges(Side::Buy, &many));
    let other = success(r#"{"NSE:TCS":{"lower":1,"upper":2}}"#);
    check_answer(&other, |kite| kite.trigger_ranges(Side::Buy, &[infy()]), is_transient);
    check_answer(&success("[1]"), |kite| kite.trigger_ranges(Side::Buy, &[infy()]), is_malformed);
    let data = r#"{"NSE:INFY":{"lower":1,"upper":2},"NSE:M&M":7}"#;
    let asked = [infy(), odd()];
    let ranges = call(data, |kite| kite.trigger_ranges(Side::Buy, &asked)).1.unwrap();
    assert_eq!((ranges.len(), ranges.problems[0].name.as_deref()), (1, Some("NSE:M&M")));
}
