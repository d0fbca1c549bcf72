//! Mutual funds.

use lanekeeper::Kite;
use lanekeeper::broker::{OrderStatus, Side};
use lanekeeper::brokers::kite::{
    FundOrderId, FundOrderRequest, KiteMutualFunds, SipChange, SipFrequency, SipId, SipRequest,
    SipStatus,
};
use lanekeeper::jiff::civil::date;

use crate::server::{Server, answer};
use crate::support::{
    call, check_answer, dec, is_malformed, is_transient, is_unknown, refused, success,
};

const FUND: &str = "INF209K01VD7";
const ID: &str = "6f1b2a10-0c4e-4b5e-9a51-2c3d4e5f6a7b";
const ORDER_DONE: &str = r#"{"order_id":"6f1b2a10-0c4e-4b5e-9a51-2c3d4e5f6a7b"}"#;
const SIP_DONE: &str = r#"{"sip_id":"181635213661372"}"#;

fn id() -> FundOrderId {
    FundOrderId::new(ID)
}

fn sip_id() -> SipId {
    SipId::new("181635213661372")
}

#[test]
fn funds_are_bought_for_an_amount_and_sold_by_the_unit() {
    let buy = FundOrderRequest::buy(FUND, dec("5000.00")).tag("monthly");
    let (received, placed) = call(ORDER_DONE, |kite| kite.place_fund_order(&buy));
    assert_eq!((received.line.as_str(), placed), ("POST /mf/orders HTTP/1.1", Ok(id())));
    assert_eq!(
        received.body,
        "tradingsymbol=INF209K01VD7&transaction_type=BUY&amount=5000&tag=monthly"
    );
    let sell = FundOrderRequest::sell(FUND, dec("382.4880"));
    let (received, _) = call(ORDER_DONE, |kite| kite.place_fund_order(&sell));
    assert_eq!(received.body, "tradingsymbol=INF209K01VD7&transaction_type=SELL&quantity=382.488");
    let (received, done) = call(ORDER_DONE, |kite| kite.cancel_fund_order(&id()));
    assert_eq!((received.line, done), (format!("DELETE /mf/orders/{ID} HTTP/1.1"), Ok(())));
}

const ORDER: &str = r#"{"status":"COMPLETE","purchase_type":"FRESH","folio":"77","order_timestamp":
    "2026-01-19 12:20:28","average_price":10.5,"exchange_order_id":"254657127","last_price":10.4324,
    "tradingsymbol":"INF209K01VD7","settlement_id":"2122061","transaction_type":"BUY",
    "order_id":"6f1b2a10-0c4e-4b5e-9a51-2c3d4e5f6a7b","amount":5000.0,"tag":"monthly",
    "placed_by":"AB1234","exchange_timestamp":"2026-01-20","variety":"regular",
    "last_price_date":"2026-01-16","status_message":"Allotted","fund":"Liquid Fund","quantity":476.19}"#;

#[test]
fn an_order_is_read_whole() {
    let (received, order) = call(ORDER, |kite| kite.fund_order(&id()));
    assert_eq!(received.line, format!("GET /mf/orders/{ID} HTTP/1.1"));
    let order = order.unwrap();
    assert_eq!((&order.id, order.fund.as_str(), order.side), (&id(), FUND, Side::Buy));
    assert_eq!(
        (&order.status, order.status_message.as_deref()),
        (&OrderStatus::Filled, Some("Allotted"))
    );
    assert_eq!((order.amount, order.quantity), (dec("5000.0"), dec("476.19")));
    assert_eq!((order.average_price, order.last_price), (Some(dec("10.5")), Some(dec("10.4324"))));
    assert_eq!(
        (order.last_price_day, order.exchange_day),
        (Some(date(2026, 1, 16)), Some(date(2026, 1, 20)))
    );
    assert_eq!(order.placed_at.unwrap().to_string(), "2026-01-19T12:20:28+05:30[+05:30]");
    assert_eq!((order.tag.as_deref(), order.folio.as_deref()), (Some("monthly"), Some("77")));
}

#[test]
fn the_list_of_orders_has_its_problems() {
    let bare = r#"{"status":"OPEN","order_id":"ab-1","tradingsymbol":"INF1","transaction_type":"SELL",
        "folio":null,"exchange_timestamp":null,"average_price":0.0,"quantity":1}"#;
    let odd =
        r#"{"status":"OPEN","order_id":"a/b","tradingsymbol":"INF1","transaction_type":"SELL"}"#;
    let data = format!(r#"[{ORDER},{odd},{bare},{{"order_id":"x"}}]"#);
    let (received, orders) = call(&data, |kite| kite.fund_orders());
    assert_eq!(received.line, "GET /mf/orders HTTP/1.1");
    let orders = orders.unwrap();
    assert_eq!((orders.len(), orders.problems.len()), (2, 2));
    assert_eq!((orders[1].average_price, orders[1].exchange_day), (None, None));
    assert_eq!(orders.problems[1].name.as_deref(), Some("x"));
}

#[test]
fn plans_are_placed_changed_and_cancelled() {
    let plan = SipRequest::new(FUND, 5000, SipFrequency::Monthly);
    let (received, placed) = call(SIP_DONE, |kite| kite.place_sip(&plan));
    assert_eq!(received.line, "POST /mf/sips HTTP/1.1");
    assert_eq!(
        received.body,
        "tradingsymbol=INF209K01VD7&amount=5000&instalments=-1&frequency=monthly"
    );
    assert_eq!((placed.clone().unwrap().id, placed.unwrap().order_id), (sip_id(), None));
    let plan = plan.instalments(12).instalment_day(10).initial_amount(dec("1000.5")).tag("retire");
    let both = format!(r#"{{"sip_id":"181635213661372","order_id":"{ID}"}}"#);
    let (received, placed) = call(&both, |kite| kite.place_sip(&plan));
    assert_eq!(
        received.body,
        "tradingsymbol=INF209K01VD7&amount=5000&instalments=12&frequency=monthly&instalment_day=10\
         &initial_amount=1000.5&tag=retire"
    );
    assert_eq!(placed.unwrap().order_id, Some(id()));

    let change = SipChange::new()
        .amount(6000)
        .status(SipStatus::Paused)
        .instalments(6)
        .frequency(SipFrequency::Weekly)
        .instalment_day(1);
    let (received, done) = call(SIP_DONE, |kite| kite.modify_sip(&sip_id(), &change));
    assert_eq!((received.line.as_str(), done), ("PUT /mf/sips/181635213661372 HTTP/1.1", Ok(())));
    assert_eq!(
        received.body,
        "amount=6000&status=paused&instalments=6&frequency=weekly&instalment_day=1"
    );
    let (received, done) = call(SIP_DONE, |kite| kite.cancel_sip(&sip_id()));
    assert_eq!(
        (received.line.as_str(), done),
        ("DELETE /mf/sips/181635213661372 HTTP/1.1", Ok(()))
    );
}

const SIP: &str = r#"{"status":"ACTIVE","sip_reg_num":null,"pending_instalments":-1,
    "created":"2026-01-15 13:39:44","step_up":{"15-02":10},"dividend_type":"growth",
    "instalment_amount":5000.50,"tag":"retire","instalments":-1,"next_instalment":"2026-02-22",
    "transaction_type":"BUY","trigger_price":0,"fund":"Liquid Fund","tradingsymbol":"INF209K01VD7",
    "frequency":"weekly","last_instalment":"2026-02-15 13:39:44","instalment_day":0,"sip_type":"sip",
    "fund_source":"pool","completed_instalments":2,"sip_id":"181635213661372"}"#;

#[test]
fn a_plan_is_read_whole() {
    let (received, sip) = call(SIP, |kite| kite.sip(&sip_id()));
    assert_eq!(received.line, "GET /mf/sips/181635213661372 HTTP/1.1");
    let sip = sip.unwrap();
    assert_eq!((&sip.id, sip.fund.as_str(), &sip.status), (&sip_id(), FUND, &SipStatus::Active));
    assert_eq!((sip.amount, sip.frequency), (dec("5000.50"), Some(SipFrequency::Weekly)));
    assert_eq!((sip.instalments, sip.pending_instalments), (None, None));
    assert_eq!((sip.completed_instalments, sip.instalment_day), (Some(2), None));
    assert_eq!(sip.next_instalment, Some(date(2026, 2, 22)));
    assert_eq!(sip.step_up["15-02"], dec("10"));
    assert_eq!(sip.created_at.unwrap().to_string(), "2026-01-15T13:39:44+05:30[+05:30]");
    assert_eq!(sip.last_instalment.unwrap().to_string(), "2026-02-15T13:39:44+05:30[+05:30]");
    let counted = SIP.replace("\"instalments\":-1", "\"instalments\":24");
    let data = format!(r#"[{counted},{{"sip_id":"7"}}]"#);
    let (received, sips) = call(&data, |kite| kite.sips());
    assert_eq!(received.line, "GET /mf/sips HTTP/1.1");
    let sips = sips.unwrap();
    assert_eq!((sips.len(), sips[0].instalments), (1, Some(24)));
    assert_eq!(sips.problems[0].name.as_deref(), Some("7"));
}

#[test]
fn units_are_held_in_folios() {
    let data = r#"[{"folio":"3108","average_price":78.43,"last_price":84.86,"last_price_date":
        "2026-01-16","pledged_quantity":1.5,"fund":"Tax Plan","tradingsymbol":"INF209K01VD7","pnl":0,
        "quantity":382.488},{"tradingsymbol":"INF1","folio":null}]"#;
    let (received, holdings) = call(data, |kite| kite.fund_holdings());
    assert_eq!(received.line, "GET /mf/holdings HTTP/1.1");
    let holdings = holdings.unwrap();
    let [held] = holdings.as_slice() else { panic!("{holdings:?}") };
    assert_eq!((held.quantity, held.pledged_quantity), (dec("382.488"), dec("1.5")));
    assert_eq!((held.average_price, held.last_price), (dec("78.43"), Some(dec("84.86"))));
    assert_eq!((held.last_price_day, held.pnl), (Some(date(2026, 1, 16)), None));
    assert_eq!(holdings.problems[0].reason, "it has no quantity");
}

const HEAD: &str = "tradingsymbol,amc,name,purchase_allowed,redemption_allowed,minimum_purchase_amount,purchase_amount_multiplier,minimum_additional_purchase_amount,minimum_redemption_quantity,redemption_quantity_multiplier,dividend_type,scheme_type,plan,settlement_type,last_price,last_price_date";

fn listed(body: &str) -> Server {
    Server::new([answer(200, "text/csv", "", body.as_bytes())])
}

#[test]
fn the_listing_is_csv() {
    let body = format!(
        "{HEAD}\n{FUND},Some_MF,\"Fund, Direct\",1,0,1000.0,1.0,500.0,0.001,0.001,growth,equity,direct,T3,106.8,2026-01-16\n\
         INF1,MF,Half a row\nINF2,MF,X,perhaps,1,0,0,0,0,0,payout,debt,regular,T1,0,\n"
    );
    let server = listed(&body);
    let funds = server.kite().fund_instruments().unwrap();
    assert_eq!(server.only().line, "GET /mf/instruments HTTP/1.1");
    assert_eq!((funds.len(), funds.problems.len()), (1, 2));
    let fund = &funds[0];
    assert_eq!(
        (fund.fund.as_str(), fund.amc.as_str(), fund.name.as_str()),
        (FUND, "Some_MF", "Fund, Direct")
    );
    assert!(fund.purchase_allowed && !fund.redemption_allowed);
    assert_eq!(fund.minimum_purchase_amount, Some(dec("1000.0")));
    assert_eq!(fund.minimum_additional_purchase_amount, Some(dec("500.0")));
    assert_eq!(fund.minimum_redemption_quantity, Some(dec("0.001")));
    assert_eq!((fund.plan.as_str(), fund.settlement_type.as_str()), ("direct", "T3"));
    assert_eq!(
        (fund.last_price, fund.last_price_day),
        (Some(dec("106.8")), Some(date(2026, 1, 16)))
    );
}

#[test]
fn a_listing_that_is_none_is_malformed() {
    for body in ["tradingsymbol,name\nINF1,X\n", "<html>", "", "{}", &success("[]")] {
        let error = listed(body).kite().fund_instruments().unwrap_err();
        assert!(is_malformed(&error), "{body}: {error:?}");
    }
}

#[test]
fn bad_orders_and_plans_are_refused_before_they_are_sent() {
    let place = |words: &str, order: FundOrderRequest| {
        refused(words, |kite| kite.place_fund_order(&order));
    };
    let (buy, sell) = (FundOrderRequest::buy(FUND, 1), FundOrderRequest::sell(FUND, 1));
    place("amount is 0", FundOrderRequest::buy(FUND, 0));
    place("quantity is -1", FundOrderRequest::sell(FUND, -1));
    let mut by_the_unit = sell;
    by_the_unit.side = Side::Buy;
    place("bought for an amount", by_the_unit);
    let mut for_an_amount = buy.clone();
    for_an_amount.side = Side::Sell;
    place("sold by the unit", for_an_amount);
    place("no fund", FundOrderRequest::buy("a/b", 1));
    place("tag", buy.tag("not a tag"));
    let plan = || SipRequest::new(FUND, 1, SipFrequency::Weekly);
    let sip = |words: &str, plan: SipRequest| refused(words, |kite| kite.place_sip(&plan));
    sip("amount is 0", SipRequest::new(FUND, 0, SipFrequency::Weekly));
    sip("at least one instalment", plan().instalments(0));
    sip("day of an instalment is 32", plan().instalment_day(32));
    sip("day of an instalment is 0", plan().instalment_day(0));
    sip("initial amount is 0", plan().initial_amount(0));
    sip("tag", plan().tag(""));
    sip("no fund", SipRequest::new("", 1, SipFrequency::Weekly));
    refused("changes nothing", |kite| kite.modify_sip(&sip_id(), &SipChange::new()));
    let change = SipChange::new().amount(1);
    for odd in ["", "a/b", "../orders", "1?x=1", "1#", "%2e"] {
        refused("no SIP id", |kite| kite.modify_sip(&SipId::new(odd), &change));
        refused("no SIP id", |kite| kite.cancel_sip(&SipId::new(odd)));
        refused("no SIP id", |kite| kite.sip(&SipId::new(odd)));
        refused("no order id", |kite| kite.fund_order(&FundOrderId::new(odd)));
        refused("no order id", |kite| kite.cancel_fund_order(&FundOrderId::new(odd)));
    }
}

#[test]
fn an_answer_about_another_order_or_plan_is_none() {
    let (other, other_sip) = (FundOrderId::new("7"), SipId::new("7"));
    check_answer(&success(ORDER_DONE), |kite| kite.cancel_fund_order(&other), is_unknown);
    check_answer(&success(SIP_DONE), |kite| kite.cancel_sip(&other_sip), is_unknown);
    let change = SipChange::new().amount(1);
    check_answer(&success(SIP_DONE), |kite| kite.modify_sip(&other_sip, &change), is_unknown);
    check_answer(&success(ORDER), |kite| kite.fund_order(&other), is_transient);
    check_answer(&success(SIP), |kite| kite.sip(&other_sip), is_transient);
    // An answer with the other kind of id, or with none that can be used.
    let buy = |kite: &Kite| kite.place_fund_order(&FundOrderRequest::buy(FUND, 1));
    let plan = |kite: &Kite| kite.place_sip(&SipRequest::new(FUND, 1, SipFrequency::Weekly));
    check_answer(&success(SIP_DONE), buy, is_unknown);
    check_answer(&success(ORDER_DONE), plan, is_unknown);
    check_answer(&success(r#"{"order_id":"a/b"}"#), buy, is_unknown);
    check_answer(&success(r#"{"sip_id":"a/b"}"#), plan, is_unknown);
    check_answer(&success(r#"{"sip_id":"1","order_id":"a/b"}"#), plan, is_unknown);
    check_answer(&success(r#"{"order_id":"s3cr3tT0ken"}"#), buy, is_unknown);
}

#[test]
fn a_new_order_has_a_new_id() {
    let (placed, listed) = (success(ORDER_DONE), success(&format!("[{ORDER}]")));
    let server = Server::ok(&[&listed, &placed, &success(r#"{"order_id":"n-1"}"#)]);
    let kite = server.kite();
    kite.fund_orders().unwrap();
    let buy = FundOrderRequest::buy(FUND, 1);
    assert!(is_unknown(&kite.place_fund_order(&buy).unwrap_err()));
    assert_eq!(kite.place_fund_order(&buy), Ok(FundOrderId::new("n-1")));
    // The first order of a plan is known too.
    let both = success(r#"{"sip_id":"1","order_id":"n-2"}"#);
    let server = Server::ok(&[&both, &success(r#"{"order_id":"n-2"}"#)]);
    let kite = server.kite();
    kite.place_sip(&SipRequest::new(FUND, 1, SipFrequency::Weekly)).unwrap();
    assert!(is_unknown(&kite.place_fund_order(&buy).unwrap_err()));
}
