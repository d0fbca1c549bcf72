//! Each refusal of the gateway, as the official clients raise it: their own exceptions, and none of the HTTP library.

use std::net::TcpListener;

use lanekeeper_simulator::{Fault, Faults, Rule, SimulatedExchange, Target, Timing};
use serde_json::json;

use crate::gateway::{ClientKey, GatewayProcess};
use crate::official::{Call, with_each};

const CHECK_ORDER_BOOK: &str = "check the order book before you send it again";

fn exchange() -> SimulatedExchange {
    SimulatedExchange::builder().circuit_limits(false).start().unwrap()
}

/// Returns the settings of a gateway in front of `exchange`, with these besides.
fn settings(exchange: &SimulatedExchange, more: &str) -> String {
    format!("preset: kite\nupstream: {}\n{more}\n", exchange.base_url())
}

#[test]
fn a_call_that_would_be_answered_too_late_is_a_network_exception_and_not_sent() {
    with_each(|client| {
        let exchange = exchange();
        let lanes = "lanes: { transactional: { quota: 1/h } }";
        let gateway = GatewayProcess::configured(&settings(&exchange, lanes));
        client.root(&gateway.url);
        client.call(Call::Margins).unwrap();
        client.raises(Call::Orders, "NetworkException", 429, "not sent");
        client.raises(Call::Place(&[]), "NetworkException", 429, "not sent");
        assert_eq!((exchange.arrivals().len(), exchange.orders().len()), (1, 0));
    });
}

#[test]
fn a_client_beyond_its_tier_gets_a_network_exception_and_one_that_only_reads_a_permission_exception()
 {
    with_each(|client| {
        let exchange = exchange();
        let (slow, reader) = (ClientKey::new("slow"), ClientKey::new("reader"));
        let more = format!(
            "tiers: {{ slow: {{ orders: 1/h }}, reader: {{ read_only: true }} }}\n\
             clients:\n  slow: {{ key: \"{}\", tier: slow }}\n  reader: {{ key: \"{}\", tier: reader }}",
            slow.hash, reader.hash
        );
        let gateway = GatewayProcess::configured(&settings(&exchange, &more));
        client.root(&gateway.url);
        client.credentials(&slow.name, &slow.secret);
        let id = client.place(&[]);
        client.raises(Call::Place(&[]), "NetworkException", 429, "not sent");
        client.call(Call::Cancel(&id)).unwrap();
        client.credentials(&reader.name, &reader.secret);
        client.call(Call::Orders).unwrap();
        client.raises(Call::Place(&[]), "PermissionException", 403, "only reads");
        assert_eq!(exchange.orders().len(), 1);
    });
}

#[test]
fn a_wrong_key_and_none_at_all_are_token_exceptions() {
    with_each(|client| {
        let exchange = exchange();
        let key = ClientKey::new("desk");
        let more = format!("clients: {{ desk: {{ key: \"{}\" }} }}", key.hash);
        let gateway = GatewayProcess::configured(&settings(&exchange, &more));
        client.root(&gateway.url);
        for (name, secret, code) in
            [("desk", "wrong", 403), ("other", key.secret.as_str(), 403), ("", "", 401)]
        {
            client.credentials(name, secret);
            client.raises(Call::Orders, "TokenException", code, "");
            client.raises(Call::Place(&[]), "TokenException", code, "");
        }
        assert_eq!(exchange.arrivals().len(), 0);
        client.credentials(&key.name, &key.secret);
        client.call(Call::Orders).unwrap();
    });
}

#[test]
fn an_expired_session_is_a_token_exception_at_once_and_for_every_client() {
    with_each(|client| {
        let exchange = exchange();
        let gateway = GatewayProcess::start(&["--upstream", &exchange.base_url()]);
        client.root(&gateway.url);
        client.call(Call::Orders).unwrap();
        let session = "session/token?api_key=the-api-key&access_token=the-token-of-the-day";
        ureq::delete(format!("{}/{session}", exchange.base_url())).call().unwrap();
        // The broker's own words, and then the gateway's.
        client.raises(Call::Orders, "TokenException", 403, "Token is invalid or has expired");
        let asked = exchange.arrivals().len();
        client.raises(
            Call::Margins,
            "TokenException",
            403,
            "Incorrect `api_key` or `access_token`",
        );
        client.raises(Call::Place(&[]), "TokenException", 403, "Incorrect");
        client.raises(Call::Ltp(&["NSE:YESBANK"]), "TokenException", 403, "Incorrect");
        assert_eq!(exchange.arrivals().len(), asked, "the broker was not asked again");
    });
}

#[test]
fn what_is_wrong_is_an_input_exception_of_the_gateway_or_of_the_broker() {
    with_each(|client| {
        let exchange = exchange();
        let gateway = GatewayProcess::configured(&settings(&exchange, "max_body: 2KiB"));
        client.root(&gateway.url);
        // Of the gateway: two servers may read this path differently, and this body is too long.
        client.raises(Call::History("1%2f2"), "InputException", 400, "");
        let long = json!("x".repeat(3000));
        client.raises(Call::Place(&[("tag", long)]), "InputException", 413, "");
        assert_eq!(exchange.arrivals().len(), 0);
        // Of the broker, in its own words.
        let bare = exchange.base_url();
        for change in [("product", json!("XYZ")), ("quantity", json!(-1)), ("tag", json!("a b"))] {
            let changes = [change];
            client.root(&bare);
            let own = client.call(Call::Place(&changes)).unwrap_err();
            client.root(&gateway.url);
            assert_eq!(client.call(Call::Place(&changes)), Err(own.clone()));
            assert_eq!(own.kind, "InputException");
        }
        let id = client.place(&[]);
        client.call(Call::Cancel(&id)).unwrap();
        client.raises(Call::Cancel(&id), "OrderException", 400, "");
        assert_eq!(exchange.orders().len(), 1);
    });
}

#[test]
fn an_unknown_outcome_is_a_network_exception_that_says_to_check_the_order_book() {
    with_each(|client| {
        let lost = Faults::new()
            .rule(Rule::new(Target::PlaceGtt, Fault::Reset(Timing::After)))
            .rule(Rule::new(Target::Place, Fault::Hang(Timing::After)))
            // The guard cannot look for the order either.
            .rule(Rule::new(Target::Orders, Fault::Hang(Timing::Before)));
        let exchange = SimulatedExchange::builder().circuit_limits(false).faults(lost);
        let exchange = exchange.start().unwrap();
        let gateway = GatewayProcess::configured(&settings(&exchange, "client_timeout: 1s"));
        client.root(&gateway.url);
        for call in [Call::PlaceGtt, Call::Place(&[])] {
            let raised = client.raises(call, "NetworkException", 503, CHECK_ORDER_BOOK);
            assert_eq!(raised.message.matches("order book").count(), 1, "{raised:?}");
        }
        assert_eq!(exchange.orders().len(), 1);
    });
}

#[test]
fn a_broker_that_cannot_be_reached_is_a_network_exception_and_nothing_was_sent() {
    with_each(|client| {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let gateway = GatewayProcess::start(&["--upstream", &format!("http://{free}")]);
        client.root(&gateway.url);
        client.raises(Call::Place(&[]), "NetworkException", 502, "");
        client.raises(Call::Orders, "NetworkException", 502, "");
    });
}

#[test]
fn a_login_through_the_gateway_is_a_permission_exception() {
    with_each(|client| {
        let exchange = exchange();
        let gateway = GatewayProcess::start(&["--upstream", &exchange.base_url()]);
        client.root(&gateway.url);
        client.raises(Call::Login, "PermissionException", 403, "the gateway holds the session");
        assert_eq!(exchange.arrivals().len(), 0);
    });
}
