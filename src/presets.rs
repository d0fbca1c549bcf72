//! The documented limits of brokers, for the lanes and the budget of a [`Broker`](crate::Broker).
//!
//! ```
//! use lanekeeper::broker::lanes;
//! use lanekeeper::presets;
//!
//! let limits = presets::by_name("kite").ok_or("no such preset")?;
//! assert_eq!(limits, presets::kite());
//! assert_eq!(limits.of_lane(lanes::QUOTE).map(ToString::to_string).as_deref(), Some("1/s"));
//! # Ok::<(), &str>(())
//! ```
//!
//! Use them in [`documented_limits`](crate::Broker::documented_limits) of your own adapter, in the `limits` of a
//! proxy's builder, or as the key `preset` of a configuration file.
//!
//! Brokers group their calls in other ways than the lanes of the trait. A preset keeps every figure, so it is
//! stricter than the broker where a lane holds calls of several groups (the lowest figure counts), where several
//! lanes share one figure (it is divided), and where two pages differ (the lower figure counts). Set the lane
//! yourself if you know better. A day is any 24 hours, unless the broker's day is known. Each preset lists what no
//! lane can express.
//!
//! The figures are those of the named pages on the named day, as far as copies show. Brokers change them without
//! notice: check them before you trust them with money.

use std::time::Duration;

use crate::broker::lanes::{HISTORICAL, ORDERS, QUOTE, TRANSACTIONAL};
use crate::brokers::india::zone;
use crate::quota::{Budget, Limits, Quota};

/// The names of all presets, as [`by_name`] takes them.
pub const NAMES: [&str; 6] = ["kite", "alpaca", "dhan", "upstox", "angel_one", "ibkr"];

/// The preset of this name, if there is one; see [`NAMES`].
pub fn by_name(name: &str) -> Option<Limits> {
    match name {
        "kite" => Some(kite()),
        "alpaca" => Some(alpaca()),
        "dhan" => Some(dhan()),
        "upstox" => Some(upstox()),
        "angel_one" => Some(angel_one()),
        "ibkr" => Some(ibkr()),
        _ => None,
    }
}

/// Zerodha's Kite Connect 3.
///
/// | lane or budget | quota | source, seen on 2026-11-21 |
/// |---|---|---|
/// | `transactional` | `10/s` | <https://kite.trade/docs/connect/v3/exceptions/>, as the vendor repeats it in <https://kite.trade/forum/discussion/comment/52882/>: orders 10 a second, all other endpoints 10 a second together |
/// | `quote` | `1/s` | the same page: quotes 1 a second, whichever of the three routes |
/// | `historical` | `3/s` | the same page |
/// | `orders` | `400/min`, `5000/day from midnight +05:30` | the same: of one account, over all its keys |
///
/// Once the day's limit is used up, not even an exit can be placed. So the last [`KITE_RESERVE`] percent of the order
/// budget are only for urgent placements: 20 of the minute's 400, and 250 of the day's 5000. A budget of your own in
/// its place (`.orders(..)` on the proxy's builder, `budgets.orders` in a file) keeps back what it says.
///
/// Older pages have 200 orders a minute and 3000 a day; they are out of date. Not covered: 25 changes of one order.
pub fn kite() -> Limits {
    Limits::new()
        .shared_account()
        .lane(TRANSACTIONAL, Quota::per_second(10))
        .lane(QUOTE, Quota::per_second(1))
        .lane(HISTORICAL, Quota::per_second(3))
        .budget(
            ORDERS,
            Budget::new(Quota::per_minute(400).and(Quota::per_calendar_day(5000, zone())))
                .reserve_percent(KITE_RESERVE),
        )
}

/// The percentage of the order budget of [`kite`] that only urgent placements may use.
pub const KITE_RESERVE: u32 = 5;

/// Alpaca, with the free plan for market data.
///
/// | lane or budget | quota | source, seen on 2026-11-21 |
/// |---|---|---|
/// | `transactional` | `200/min` | <https://alpaca.markets/support/usage-limit-api-calls/>: of one account |
/// | `quote` | `150/min` | <https://aifinhub.io/articles/alpaca-api-rate-limits-2026/>: market data 200 a minute, apart from trading; three quarters of it |
/// | `historical` | `50/min` | the same, the last quarter |
/// | `orders` | `unlimited` | <https://forum.alpaca.markets/t/executing-orders/12029>: no figure of its own beside the 200 a minute |
///
/// With a paid plan for market data set both of its lanes. The adapter `Alpaca` also passes on what each answer reports
/// of the broker's count, see [`ReportedLimits`](crate::ReportedLimits).
pub fn alpaca() -> Limits {
    Limits::new()
        .shared_account()
        .lane(TRANSACTIONAL, Quota::per_minute(200))
        .lane(QUOTE, Quota::per_minute(150))
        .lane(HISTORICAL, Quota::per_minute(50))
        .budget(ORDERS, Quota::unlimited())
}

/// DhanHQ 2.
///
/// | lane or budget | quota | source, seen on 2026-11-21 |
/// |---|---|---|
/// | `transactional` | `10/s`, `250/min`, `1000/h`, `7000/day` | <https://dhanhq.co/docs/v2/>: order APIs, 25 a second and elsewhere 10, of which the lower counts; what else is in the lane has 20 |
/// | `quote` | `1/s` | the same page: quote APIs |
/// | `historical` | `5/s`, `100000/day` | the same page: data APIs |
/// | `orders` | `unlimited` | changes and cancellations count like orders, so all of it is in the lane |
///
/// Reading the order book counts like an order here; at the broker perhaps not. Not in here: 25 changes
/// of one order.
pub fn dhan() -> Limits {
    let orders = Quota::per_second(10).and(Quota::per_minute(250));
    Limits::new()
        .shared_account()
        .lane(TRANSACTIONAL, orders.and(Quota::per_hour(1000)).and(Quota::per_day(7000)))
        .lane(QUOTE, Quota::per_second(1))
        .lane(HISTORICAL, Quota::per_second(5).and(Quota::per_day(100_000)))
        .budget(ORDERS, Quota::unlimited())
}

/// Upstox, for algorithms that need no registration.
///
/// | lane or budget | quota | source, seen on 2026-11-21 |
/// |---|---|---|
/// | `transactional` | `10/s`, `500/min`, `2000/1800s` | <https://upstox.com/developer/api-documentation/rate-limiting>, as <https://github.com/api-evangelist/upstox> had it on 2026-09-02: orders, of one user |
/// | `quote` | `10/s`, `500/min`, `2000/1800s` | the same page: other APIs, where the figure for a second is 50; the lower one counts |
/// | `historical` | `10/s`, `500/min`, `2000/1800s` | the same |
/// | `orders` | `unlimited` | changes and cancellations count like orders, so all of it is in the lane |
///
/// The broker counts each API by itself, and so may let more through.
pub fn upstox() -> Limits {
    let each = Quota::per_second(10)
        .and(Quota::per_minute(500))
        .and(Quota::new(2000, Duration::from_secs(1800)));
    Limits::new()
        .shared_account()
        .lane(TRANSACTIONAL, each.clone())
        .lane(QUOTE, each.clone())
        .lane(HISTORICAL, each)
        .budget(ORDERS, Quota::unlimited())
}

/// Angel One's SmartAPI, for algorithms that need no registration.
///
/// | lane or budget | quota | source, seen on 2026-11-21 |
/// |---|---|---|
/// | `transactional` | `1/s`, `1000/h` | <https://smartapi.angelbroking.com/topic/4387/changes-in-api-rate-limit>: the order book, the trades, the positions and the holdings 1 a second each; the profile 1000 an hour |
/// | `quote` | `10/s`, `500/min`, `5000/h` | the same page: `market/v1/quote` |
/// | `historical` | `3/s`, `500/min`, `5000/h` | the same page: `getCandleData` |
/// | `orders` | `10/s`, `500/min`, `1000/h` | the same page: `placeOrder` 20 a second, and `modifyOrder` and `cancelOrder` as much of their own; but since April 2026 an algorithm that needs no registration has 10, <https://www.angelone.in/news/market-updates/what-s-changing-in-angel-one-s-smartapi-access-from-april-1-2026> |
///
/// The broker lets 10 orders a second through, and the lane does not, because the order book is in it. If you request
/// the order book, the trades, the positions and the holdings at most once a second each, you may set the lane to
/// `10/s, 500/min, 1000/h`.
pub fn angel_one() -> Limits {
    let data =
        |second| Quota::per_second(second).and(Quota::per_minute(500)).and(Quota::per_hour(5000));
    let orders = Quota::per_second(10).and(Quota::per_minute(500)).and(Quota::per_hour(1000));
    Limits::new()
        .shared_account()
        .lane(TRANSACTIONAL, Quota::per_second(1).and(Quota::per_hour(1000)))
        .lane(QUOTE, data(10))
        .lane(HISTORICAL, data(3))
        .budget(ORDERS, orders)
}

/// Interactive Brokers' TWS API.
///
/// | lane or budget | quota | source, seen on 2026-11-21 |
/// |---|---|---|
/// | `transactional` | `30/s` | <https://interactivebrokers.github.io/tws-api/order_limitations.html>: 50 messages a second in all, of which 30 |
/// | `quote` | `15/s` | the same, of which 15 |
/// | `historical` | `5/2s`, `60/600s` | <https://interactivebrokers.github.io/tws-api/historical_limitations.html>, with the figures as <https://aifinhub.io/articles/ibkr-tws-api-rate-limits-2026/> has them: 60 in 10 minutes, and fewer than 6 for one contract in 2 s |
/// | `orders` | `unlimited` | no figure of its own beside the messages |
///
/// Not covered: the same historical request within 15 s, requests for bid and ask, which count twice, and calls of an
/// adapter that take several messages, which need a weight.
pub fn ibkr() -> Limits {
    let historical = Quota::new(5, Duration::from_secs(2));
    Limits::new()
        .shared_account()
        .lane(TRANSACTIONAL, Quota::per_second(30))
        .lane(QUOTE, Quota::per_second(15))
        .lane(HISTORICAL, historical.and(Quota::new(60, Duration::from_secs(600))))
        .budget(ORDERS, Quota::unlimited())
}
