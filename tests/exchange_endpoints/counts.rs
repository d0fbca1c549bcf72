//! Every route is counted in its lane, and can meet a fault.

use std::time::Duration;

use lanekeeper::broker::lanes;
use lanekeeper::quota::{Limits, Quota};
use lanekeeper_simulator::{Faults, SimulatedExchange, Target};

use crate::client::{get, roomy, send, still};
use crate::gtt::gtt_form;

/// The routes beside those of orders and prices, with the names by which fault rules address them.
const ROUTES: [(&str, &str, &str); 34] = [
    ("GET", "/user/profile/full", "profile"),
    ("GET", "/user/margins/equity", "margins"),
    ("PUT", "/portfolio/positions", "convert"),
    ("GET", "/portfolio/holdings/summary", "holdings"),
    ("GET", "/portfolio/holdings/compact", "holdings"),
    ("GET", "/portfolio/holdings/auctions", "auctions"),
    ("POST", "/portfolio/holdings/authorise", "authorise"),
    ("POST", "/margins/orders", "order-margins"),
    ("POST", "/margins/basket", "order-margins"),
    ("POST", "/charges/orders", "charges"),
    ("GET", "/instruments/trigger_range/buy?i=NSE:YESBANK", "trigger-range"),
    ("GET", "/gtt/triggers", "gtts"),
    ("POST", "/gtt/triggers", "place-gtt"),
    ("GET", "/gtt/triggers/1", "gtts"),
    ("PUT", "/gtt/triggers/1", "modify-gtt"),
    ("DELETE", "/gtt/triggers/1", "delete-gtt"),
    ("GET", "/alerts", "alerts"),
    ("POST", "/alerts", "create-alert"),
    ("DELETE", "/alerts", "delete-alerts"),
    ("GET", "/alerts/1", "alerts"),
    ("PUT", "/alerts/1", "modify-alert"),
    ("GET", "/alerts/1/history", "alerts"),
    ("GET", "/mf/orders", "mf-orders"),
    ("POST", "/mf/orders", "place-mf-order"),
    ("GET", "/mf/orders/1", "mf-orders"),
    ("DELETE", "/mf/orders/1", "cancel-mf-order"),
    ("GET", "/mf/sips", "sips"),
    ("POST", "/mf/sips", "place-sip"),
    ("GET", "/mf/sips/1", "sips"),
    ("PUT", "/mf/sips/1", "modify-sip"),
    ("DELETE", "/mf/sips/1", "cancel-sip"),
    ("GET", "/mf/holdings", "mf-holdings"),
    ("GET", "/mf/instruments", "mf-instruments"),
    ("GET", "/instruments", "instruments"),
];

/// Returns an exchange that admits one request in each lane, for as long as a test takes.
fn tight() -> SimulatedExchange {
    let quota = Quota::new(1, Duration::from_secs(3600));
    let limits =
        lanes::ALL.into_iter().fold(Limits::new(), |limits, lane| limits.lane(lane, quota.clone()));
    SimulatedExchange::builder().limits(limits).start().unwrap()
}

#[test]
fn all_routes_but_prices_and_logins_share_one_count() {
    let exchange = tight();
    assert_eq!(get(&exchange, "/user/profile").status, 200);
    for (method, path, _) in ROUTES {
        let (status, kind, _) = send(&exchange, method, path, "").error();
        assert_eq!((status, kind.as_str()), (429, "NetworkException"), "{method} {path}");
    }
    let counts = exchange.counts(lanes::TRANSACTIONAL);
    assert_eq!((counts.admitted, counts.refused), (1, ROUTES.len() as u64));
    assert_ne!(send(&exchange, "POST", "/session/refresh_token", "").status, 429);
}

#[test]
fn quotes_share_one_count() {
    let exchange = tight();
    assert_eq!(get(&exchange, "/quote/ltp?i=NSE:YESBANK").status, 200);
    for path in ["/quote", "/quote/ohlc", "/quote/ltp"] {
        assert_eq!(get(&exchange, &format!("{path}?i=NSE:YESBANK")).status, 429, "{path}");
    }
    assert_eq!(get(&exchange, "/user/profile").status, 200);
}

#[test]
fn a_fault_can_address_every_route() {
    for (method, path, name) in ROUTES {
        let rule = format!("{name}=503-before").parse().unwrap();
        let faults = Faults::new().rule(rule);
        let exchange = roomy(still()).faults(faults).start().unwrap();
        let reply = send(&exchange, method, path, "");
        assert_eq!(reply.error().0, 503, "{method} {path}: {}", reply.body);
        let arrival = exchange.arrivals().remove(0);
        assert_eq!(arrival.route, Some(name.parse::<Target>().unwrap()));
        assert!(arrival.fault.is_some());
        // The other routes do not meet it.
        assert_eq!(get(&exchange, "/trades").status, 200);
    }
}

#[test]
fn a_write_whose_answer_is_lost_is_executed() {
    let faults = Faults::new().rule("writes=502-after".parse().unwrap());
    let exchange = roomy(still()).faults(faults).start().unwrap();
    let form = gtt_form("single", &[80.0], 95.0, &[79.5]);
    assert_eq!(send(&exchange, "POST", "/gtt/triggers", &form).status, 502);
    assert_eq!(get(&exchange, "/gtt/triggers").data()[0]["status"], "active");
    // The margin calculator changes nothing, whatever its method.
    assert_eq!(send(&exchange, "POST", "/margins/orders", "").status, 400);
}
