//! The pages whose code is compiled and run by `cargo test --doc`: the README and the chapters of the
//! book. A page with code that is missing here fails the test `book`.

#[doc = include_str!("../README.md")]
struct Readme;
#[doc = include_str!("../docs/quick-start.md")]
struct QuickStart;
#[doc = include_str!("../docs/pacing.md")]
struct Pacing;
#[doc = include_str!("../docs/broker.md")]
struct BrokerMethods;
#[doc = include_str!("../docs/kite.md")]
struct AllOfKite;
#[doc = include_str!("../docs/order-safety.md")]
struct OrderSafety;
#[doc = include_str!("../docs/alpaca.md")]
struct AlpacaPage;
#[doc = include_str!("../docs/quotes.md")]
struct Quotes;
#[doc = include_str!("../docs/response-cache.md")]
struct ResponseCache;
#[doc = include_str!("../docs/scan.md")]
struct Scans;
#[doc = include_str!("../docs/several-processes.md")]
struct SeveralProcesses;
#[doc = include_str!("../docs/limiter.md")]
struct LimitsForCallers;
#[doc = include_str!("../docs/trading-day.md")]
struct TradingDay;
#[doc = include_str!("../docs/own-trait.md")]
struct OwnTrait;
#[doc = include_str!("../docs/adapter.md")]
struct Adapter;
#[doc = include_str!("../docs/async.md")]
struct AsynchronousCode;
#[doc = include_str!("../docs/unit-tests.md")]
struct UnitTests;
#[doc = include_str!("../docs/tuning.md")]
struct Tuning;
#[doc = include_str!("../docs/configuration.md")]
struct Configuration;
