//! Every method of `Broker` reaches the adapter through the stack, with and without a quote cache.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, Candle, CandleRequest, ErrorDetail, Exchange, Holding,
    Instrument, InstrumentInfo, Interval, Margins, MissingListing, MissingListings, Order,
    OrderCancel, OrderChange, OrderId, OrderRequest, OrderTags, Partial, Positions, Profile,
    QuoteBatch, QuoteBatchLimit, Quotes, Rows, Side, SlicedOrder, Trade, lanes,
};
use lanekeeper::quota::{Limits, Quota};
use lanekeeper::{Session, Stack};

/// An adapter that records which method is called, and refuses each call with the method's name.
#[derive(Clone, Default)]
struct Recorder {
    calls: Arc<Mutex<Vec<&'static str>>>,
    session: Session,
    missing: MissingListings,
}

impl Recorder {
    fn refuse<A>(&self, method: &'static str) -> Result<A, BrokerError> {
        self.calls.lock().unwrap().push(method);
        Err(BrokerError::Rejected(ErrorDetail::new(method)))
    }

    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

/// Writes the methods of the adapter, and `NAMES` of all that it has.
macro_rules! adapter {
    ($($method:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+) => {
        const RECORDED: &[&str] = &[$(stringify!($method)),+];

        impl Broker for Recorder {
            $(fn $method(&self $(, $argument: $type)*) -> Result<$answer, BrokerError> {
                $(let _ = $argument;)*
                self.refuse(stringify!($method))
            })+

            fn documented_limits(&self) -> Limits {
                let unlimited = |limits: Limits, lane| limits.lane(lane, Quota::unlimited());
                let limits = lanes::ALL.into_iter().fold(Limits::new(), unlimited);
                limits.budget(lanes::ORDERS, Quota::unlimited())
            }

            /// Lacks the listing of BSE.
            fn missing_listing(&self, request: &CandleRequest) -> Option<MissingListing> {
                let exchange = Exchange::from(request.instrument.exchange());
                self.missing.get(&exchange, || exchange == Exchange::from("BSE"))
            }

            fn session(&self) -> Option<Session> {
                Some(self.session.clone())
            }

            fn order_tags(&self) -> OrderTags {
                OrderTags::echoed(17).changed_in_place()
            }

            fn quote_batch_limit(&self) -> QuoteBatchLimit {
                QuoteBatchLimit { count: 77, ..QuoteBatchLimit::default() }
            }
        }
    };
}

adapter! {
    place_order(order: &OrderRequest) -> OrderId;
    place_sliced(order: &OrderRequest) -> SlicedOrder;
    modify_order(id: &OrderId, change: &OrderChange) -> OrderId;
    cancel_order(id: &OrderId) -> ();
    cancel_order_with(id: &OrderId, cancel: &OrderCancel) -> ();
    order_history(id: &OrderId) -> Rows<Order>;
    orders() -> Rows<Order>;
    trades() -> Rows<Trade>;
    order_trades(id: &OrderId) -> Rows<Trade>;
    positions() -> Partial<Positions>;
    holdings() -> Rows<Holding>;
    margins() -> Partial<Margins>;
    profile() -> Profile;
    instruments(exchange: Option<&Exchange>) -> Rows<InstrumentInfo>;
    quotes(instruments: &[Instrument]) -> Quotes;
    quotes_of(batch: &QuoteBatch) -> Quotes;
    candles(request: &CandleRequest) -> Rows<Candle>;
}

/// The methods that have a default body, which the proxy keeps: what each of them calls.
const DERIVED: [(&str, &str); 5] = [
    ("quote", "quotes"),
    ("quote_after", "quotes"),
    ("ltp", "quotes"),
    ("ohlc", "quotes"),
    ("order", "order_history"),
];

/// The methods that are no calls of the broker.
const DIRECT: [&str; 6] = [
    "documented_limits",
    "missing_listing",
    "session",
    "reported_limits",
    "order_tags",
    "quote_batch_limit",
];

/// Returns the methods of the trait, by its source.
fn methods() -> Vec<&'static str> {
    let (_, body) = include_str!("../../src/broker/mod.rs").split_once("pub trait Broker").unwrap();
    let declared = body.lines().filter_map(|line| line.strip_prefix("    fn "));
    declared.map(|line| line.split('(').next().unwrap()).collect()
}

fn stacks(adapter: &Recorder) -> [Stack<Recorder>; 2] {
    let proxy = || BrokerProxy::builder(adapter.clone());
    [
        proxy().order_guard(|guard| guard).build().unwrap(),
        proxy().quote_ttl(Duration::ZERO).order_guard(|guard| guard).build().unwrap(),
    ]
}

#[test]
fn no_method_of_the_trait_is_forgotten_here() {
    let derived = DERIVED.iter().map(|(name, _)| *name);
    let mut known: Vec<_> = RECORDED.iter().copied().chain(derived).chain(DIRECT).collect();
    let mut methods = methods();
    known.sort_unstable();
    methods.sort_unstable();
    assert_eq!(methods, known);
}

#[test]
fn every_call_reaches_the_adapter() {
    let adapter = Recorder::default();
    let infy = Instrument::new("NSE", "INFY");
    let (id, order) = (OrderId::new("1"), OrderRequest::market(infy.clone(), Side::Buy, 1));
    let day = "2026-01-05T09:15:00+05:30[+05:30]".parse::<lanekeeper::jiff::Zoned>().unwrap();
    let candles = CandleRequest::new(infy.clone(), Interval::Day, day.clone(), day);
    let listed = vec![infy.clone()];

    for stack in stacks(&adapter) {
        let has_cache = stack.cache().is_some();
        let mut called = Vec::new();
        macro_rules! reaches {
            ($($method:ident($($argument:expr),*);)+) => {$(
                let error = stack.$method($($argument),*).err().unwrap();
                let name = stringify!($method);
                let own = DERIVED.iter().find(|(derived, _)| *derived == name);
                let expected = own.map_or(name, |(_, called)| called);
                // A cache sends all requests for quotes with the instruments chosen at dispatch.
                let expected = match expected {
                    "quotes" if has_cache => "quotes_of",
                    other => other,
                };
                assert_eq!(adapter.calls(), [expected], "{name}");
                assert_eq!(error.detail().unwrap().message, expected);
                called.push(name);
            )+};
        }
        reaches! {
            place_order(&order);
            place_sliced(&order);
            modify_order(&id, &OrderChange::new().quantity(2));
            cancel_order(&id);
            cancel_order_with(&id, &OrderCancel::new().extra("parent_order_id", "7"));
            order_history(&id);
            orders();
            trades();
            order_trades(&id);
            positions();
            holdings();
            margins();
            profile();
            instruments(Some(&Exchange::from("NSE")));
            quotes(&listed);
            quotes_of(&QuoteBatch::new({ let listed = listed.clone(); move || listed.clone() }));
            candles(&candles);
        }
        // A name that was refused is kept by the cache, so each of these has a name of its own.
        let fresh = |symbol| Instrument::new("NSE", symbol);
        reaches! {
            quote(&fresh("A"));
            ltp(&fresh("B"));
            quote_after(&fresh("D"), None);
            ohlc(&fresh("C"));
            order(&id);
        }
        let mut methods = methods();
        methods.retain(|method| !DIRECT.contains(method));
        called.sort_unstable();
        methods.sort_unstable();
        assert_eq!(called, methods);
    }
}

#[test]
fn what_the_adapter_says_of_itself_goes_through() {
    let adapter = Recorder::default();
    for stack in stacks(&adapter) {
        assert_eq!(stack.documented_limits(), adapter.documented_limits());
        assert_eq!(stack.order_tags(), OrderTags::echoed(17).changed_in_place());
        assert!(stack.session().is_some());
        let day = "2026-01-05".parse::<lanekeeper::jiff::civil::Date>().unwrap();
        let of = |exchange| {
            let sbin = Instrument::new(exchange, "SBIN");
            stack.missing_listing(&CandleRequest::new(sbin, Interval::Day, day, day))
        };
        assert_eq!((of("BSE").is_some(), of("NSE").is_some()), (true, false));
        // A cache divides any number of instruments into batches, and has no limit.
        let expected = if stack.cache().is_some() { usize::MAX } else { 77 };
        assert_eq!(stack.quote_batch_limit().count, expected);
    }
}
