//! Kite's route table: the lane, budget, effect and priority of each request, as data.
//!
//! For a request that a method of [`Broker`](crate::Broker) or of the traits of this module sends, the table has the same
//! values as the attributes of that method. `tests/kite_endpoints/raw.rs` compares the two.

use crate::broker::lanes::{HISTORICAL, ORDERS, QUOTE, TRANSACTIONAL};
use crate::lane::Priority;
use crate::proxy::LaneCall;
use crate::routes::RouteTable;

/// Returns the routes of Kite Connect v3, from <https://kite.trade/docs/connect/v3/> and the official clients.
///
/// Requests that no route describes are in the lane `transactional`, which has everything but quotes and candles, by
/// <https://kite.trade/docs/connect/v3/exceptions/#api-rate-limit>. An endpoint that Kite adds later is
/// therefore paced too, and one that is called by another method than `GET` is a write: it is never repeated on a
/// guess.
///
/// ```
/// use lanekeeper::Effect;
/// use lanekeeper::brokers::kite;
///
/// let routes = kite::routes();
/// let placement = routes.find("POST", "/orders/regular")?;
/// assert_eq!((placement.lane_name(), placement.effect()), ("transactional", Effect::Write));
/// assert_eq!(routes.find("GET", "/quote/ltp")?.lane_name(), "quote");
/// # Ok::<(), lanekeeper::RouteError>(())
/// ```
pub fn routes() -> RouteTable {
    let read = |class| LaneCall::read(TRANSACTIONAL).route_class(class);
    let write = |class| LaneCall::write(TRANSACTIONAL).route_class(class);
    let order = || write("order_writes").priority(Priority::nearest(4));
    let gtt = || write("gtt_writes").priority(Priority::nearest(4));
    let quote = || LaneCall::read(QUOTE);
    [
        // Orders.
        ("POST /orders/*", order().budget(ORDERS)),
        ("PUT /orders/*/*", order()),
        ("DELETE /orders/*/*", write("order_writes").exit()),
        ("GET /orders/**", read("order_reads")),
        ("GET /trades", read("order_reads")),
        // GTTs, whose orders Kite places.
        ("POST /gtt/triggers", gtt()),
        ("PUT /gtt/triggers/*", gtt()),
        ("DELETE /gtt/triggers/*", write("gtt_writes").exit()),
        ("GET /gtt/**", read("gtt_reads")),
        // The account.
        ("GET /portfolio/**", read("account_reads")),
        ("PUT /portfolio/positions", write("portfolio_writes").priority(Priority::nearest(4))),
        ("POST /portfolio/**", write("portfolio_writes")),
        ("GET /user/**", read("account_reads")),
        // What changes nothing although it is posted.
        ("POST /margins/orders", read("margin_reads")),
        ("POST /margins/basket", read("margin_reads")),
        ("POST /charges/orders", read("margin_reads")),
        // The market.
        ("GET /quote/**", quote()),
        ("GET /instruments/**", read("instruments")),
        ("GET /instruments/historical/**", LaneCall::read(HISTORICAL)),
        // Mutual funds.
        ("POST /mf/**", write("fund_writes")),
        ("PUT /mf/**", write("fund_writes")),
        ("DELETE /mf/**", write("fund_writes").exit()),
        ("GET /mf/**", read("fund_reads")),
        ("GET /mf/instruments", read("instruments")),
        // Tokens.
        ("POST /session/**", write("writes")),
        ("DELETE /session/**", write("writes")),
    ]
    .into_iter()
    .fold(RouteTable::new(read("reads"), write("writes")), |table, (pattern, call)| {
        table.with_literal(pattern, call)
    })
}

#[cfg(test)]
mod tests {
    use super::routes;

    #[test]
    fn every_route_is_in_the_table() {
        let source = include_str!("routes.rs");
        let rows = source.lines().filter(|line| line.trim_start().starts_with("(\"")).count();
        assert!(rows > 20);
        assert_eq!(routes().routes().count(), rows);
    }
}
