//! A dead access token with calls waiting, and a new one set in the running stack.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lanekeeper::broker::{Broker, BrokerProxy, Instrument, OrderId, OrderRequest, Side};
use lanekeeper::clock::ManualClock;
use lanekeeper::{BrokerError, QuoteCache};

use crate::server::{Reply, Server, json};

const DEAD: &str = r#"{"status":"error","message":"Incorrect `api_key` or `access_token`.","error_type":"TokenException"}"#;

fn order() -> OrderRequest {
    OrderRequest::limit(Instrument::new("NSE", "INFY"), Side::Buy, 1, 1500)
}

/// Returns a server that accepts only the second token. Its orders are numbered from 1.
fn server() -> Server {
    let placed = AtomicU32::new(0);
    Server::answering_requests(move |received| -> Reply {
        match received.header("authorization") {
            Some("token key:second") => {
                let id = placed.fetch_add(1, Ordering::Relaxed) + 1;
                json(200, &format!(r#"{{"status":"success","data":{{"order_id":"{id}"}}}}"#))
            }
            _ => json(403, DEAD),
        }
    })
}

#[test]
fn forty_orders_that_wait_outlive_a_dead_token() {
    let server = server();
    let kite = server.builder().access_token("first").build().unwrap();
    let clock = ManualClock::auto_advancing();
    let broker = BrokerProxy::builder(kite.clone()).clock(clock).build().unwrap();
    let broker = QuoteCache::new(broker);
    let answers = Mutex::new(Vec::new());
    let mut refused = 0;
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let answer = broker.place_order(&order());
                answers.lock().unwrap().push(answer);
            });
        }
        // Every call is either refused or held. Checked twice, since one status is no consistent snapshot.
        let is_still = || {
            let status = broker.inner().status();
            let lane = &status.lanes[0];
            let settled = lane.queued + answers.lock().unwrap().len() == 40;
            status.session_expired && lane.in_flight == 0 && settled
        };
        while !(is_still() && is_still()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        refused = server.received().len();
        kite.set_access_token("second").unwrap();
    });
    assert!((1..=10).contains(&refused), "{refused} were sent with a dead token");
    let answers = answers.into_inner().unwrap();
    let received = server.received();
    let with = |token: &str| {
        let header = format!("token key:{token}");
        received.iter().filter(|one| one.header("authorization") == Some(&header)).count()
    };
    assert_eq!(
        (with("first"), with("first") + with("second")),
        (answers.len() - with("second"), 40)
    );
    let placed = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(placed, with("second"));
    let refused =
        answers.iter().filter(|answer| matches!(answer, Err(BrokerError::Unauthorized(_))));
    assert_eq!(refused.count(), with("first"));
}

#[test]
fn a_token_that_no_header_can_carry_changes_nothing() {
    let server = server();
    let kite = server.builder().access_token("second").build().unwrap();
    for token in ["", "a b", "line\r\nX-Evil: 1", "é"] {
        assert!(kite.set_access_token(token).is_err());
    }
    assert_eq!(kite.clone().place_order(&order()), Ok(OrderId::new("1")));
    // A clone is the same account.
    kite.clone().set_access_token("third").unwrap();
    assert!(matches!(kite.place_order(&order()), Err(BrokerError::Unauthorized(_))));
}
