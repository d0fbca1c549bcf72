//! Answers that cannot be used, to every endpoint: a read is malformed, the outcome of a write is unknown. What a
//! refusal means is decided by the same code as for orders.

use lanekeeper::broker::{OrderId, Product, Side};
use lanekeeper::brokers::kite::{
    BasketOptions, ChargedOrder, FundOrderId, FundOrderRequest, GttId, GttLeg, GttRequest,
    HoldingsAuthorisation, KiteGtt, KiteMargins, KiteMutualFunds, KitePortfolio, KiteQuotes,
    PositionConversion, SipChange, SipFrequency, SipId, SipRequest,
};
use lanekeeper::{BrokerError, Kite, OrderRequest};

use crate::server::{Reply, Server, json};
use crate::support::{UNUSABLE, check_answer, infy, is_malformed, is_unknown};

type Call = (&'static str, fn(&Kite) -> Result<(), BrokerError>);

fn gtt() -> GttRequest {
    GttRequest::single(infy(), 2, GttLeg::new(Side::Buy, 1, 1, 1))
}

fn order() -> [OrderRequest; 1] {
    [OrderRequest::market(infy(), Side::Buy, 1)]
}

const WRITES: [Call; 10] = [
    ("place_gtt", |kite| kite.place_gtt(&gtt()).map(drop)),
    ("modify_gtt", |kite| kite.modify_gtt(GttId::new(1), &gtt())),
    ("delete_gtt", |kite| kite.delete_gtt(GttId::new(1))),
    ("convert_position", |kite| {
        let to = PositionConversion::new(infy(), Side::Buy, 1, Product::Mis, Product::Cnc);
        kite.convert_position(&to)
    }),
    ("authorise_holdings", |kite| kite.authorise_holdings(&HoldingsAuthorisation::new()).map(drop)),
    ("place_fund_order", |kite| kite.place_fund_order(&FundOrderRequest::buy("INF1", 1)).map(drop)),
    ("cancel_fund_order", |kite| kite.cancel_fund_order(&FundOrderId::new("1"))),
    ("place_sip", |kite| {
        kite.place_sip(&SipRequest::new("INF1", 1, SipFrequency::Weekly)).map(drop)
    }),
    ("modify_sip", |kite| kite.modify_sip(&SipId::new("1"), &SipChange::new().amount(1))),
    ("cancel_sip", |kite| kite.cancel_sip(&SipId::new("1"))),
];

const READS: [Call; 16] = [
    ("gtt", |kite| kite.gtt(GttId::new(1)).map(drop)),
    ("gtts", |kite| kite.gtts().map(drop)),
    ("order_margins", |kite| kite.order_margins(&order()).map(drop)),
    ("basket_margins", |kite| kite.basket_margins(&order(), BasketOptions::new()).map(drop)),
    ("order_charges", |kite| {
        let order = ChargedOrder::new(OrderId::new("1"), infy(), Side::Buy, 1, 1);
        kite.order_charges(&[order]).map(drop)
    }),
    ("segment_margins", |kite| kite.segment_margins(&"equity".into()).map(drop)),
    ("auction_holdings", |kite| kite.auction_holdings().map(drop)),
    ("holdings_summary", |kite| kite.holdings_summary().map(drop)),
    ("trigger_ranges", |kite| kite.trigger_ranges(Side::Buy, &[infy()]).map(drop)),
    ("last_prices", |kite| kite.last_prices(&[infy()]).map(drop)),
    ("day_prices", |kite| kite.day_prices(&[infy()]).map(drop)),
    ("fund_order", |kite| kite.fund_order(&FundOrderId::new("1")).map(drop)),
    ("fund_orders", |kite| kite.fund_orders().map(drop)),
    ("sip", |kite| kite.sip(&SipId::new("1")).map(drop)),
    ("sips", |kite| kite.sips().map(drop)),
    ("fund_holdings", |kite| kite.fund_holdings().map(drop)),
];

#[test]
fn a_read_without_a_usable_answer_is_malformed() {
    for (name, call) in READS {
        for body in UNUSABLE {
            println!("{name}: {body}");
            check_answer(body, call, is_malformed);
        }
    }
}

#[test]
fn a_write_without_a_usable_answer_is_of_unknown_outcome() {
    for (name, call) in WRITES {
        for body in UNUSABLE {
            println!("{name}: {body}");
            check_answer(body, call, is_unknown);
        }
    }
}

/// Makes the call once against `reply`, and returns its error.
fn error_of(call: fn(&Kite) -> Result<(), BrokerError>, reply: Reply) -> BrokerError {
    let server = Server::new([reply]);
    let error = call(&server.kite()).unwrap_err();
    assert_eq!(server.received().len(), 1, "it was sent once");
    error
}

#[test]
fn a_call_without_an_answer_was_perhaps_executed() {
    for reply in [|| Reply::Close, || json(502, "Bad gateway"), || json(504, "{}")] {
        for (name, call) in WRITES {
            let error = error_of(call, reply());
            assert!(is_unknown(&error), "{name}: {error:?}");
        }
        for (name, call) in READS {
            let error = error_of(call, reply());
            assert!(matches!(error, BrokerError::Transient(_)), "{name}: {error:?}");
        }
    }
}

#[test]
fn refusals_are_classified_as_for_orders() {
    let error = |kind: &str, words: &str| {
        format!(r#"{{"status":"error","message":"{words}","error_type":"{kind}"}}"#)
    };
    for (name, call) in WRITES.into_iter().chain(READS) {
        let refused = error_of(call, json(400, &error("InputException", "No such thing")));
        assert!(matches!(refused, BrokerError::Rejected(_)), "{name}: {refused:?}");
        let dead = error_of(call, json(403, &error("TokenException", "Dead")));
        assert!(matches!(dead, BrokerError::Unauthorized(_)), "{name}: {dead:?}");
        let fast = error_of(call, json(429, &error("NetworkException", "Too many requests")));
        assert!(matches!(fast, BrokerError::Throttled { .. }), "{name}: {fast:?}");
    }
    for (name, call) in WRITES {
        let words = "Order request timed out. Please check the order book";
        let lost = error_of(call, json(400, &error("OrderException", words)));
        assert!(is_unknown(&lost), "{name}: {lost:?}");
    }
}
