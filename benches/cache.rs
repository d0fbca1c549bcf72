//! Measures the cost of a cache hit beside the parts that it could be made of, all in one run.
//!
//! ```text
//! cargo bench -p lanekeeper-benches --bench cache
//! ```
//!
//! Each thread gets one instrument after the other. The figure is the time that one thread takes for one answer
//! while the given number of threads do the same. Measured are `BatchCache`, which reads the machine's clock for an
//! entry's age and counts every hit, and `QuoteCache::ltp` and `QuoteCache::quote` on top of it. They are compared
//! with a bare moka get (with a time to live, as a cache needs one), a map behind an `RwLock`, and a snapshot in an
//! arc-swap. The bare parts read no clock of their own and count nothing.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lanekeeper::broker::{
    Broker, BrokerError, Candle, CandleRequest, Exchange, Holding, Instrument, InstrumentInfo,
    Margins, Order, OrderChange, OrderId, OrderRequest, Partial, Positions, Profile, Quote, Quotes,
    Rows, Trade,
};
use lanekeeper::cache::{BatchCache, BatchConfig, QuoteCache};
use parking_lot::RwLock;

const HOUR: Duration = Duration::from_secs(3600);

/// A broker that returns a quote for every instrument, and nothing else.
struct Quoter;

fn none<T>() -> Result<T, BrokerError> {
    Err(BrokerError::NotSent(lanekeeper::ErrorDetail::new("only quotes here")))
}

impl Broker for Quoter {
    fn quotes(&self, all: &[Instrument]) -> Result<Quotes, BrokerError> {
        Ok(all.iter().map(|i| (i.clone(), Quote::new(i.clone(), 1500))).collect())
    }
    fn place_order(&self, _: &OrderRequest) -> Result<OrderId, BrokerError> {
        none()
    }
    fn modify_order(&self, _: &OrderId, _: &OrderChange) -> Result<OrderId, BrokerError> {
        none()
    }
    fn cancel_order(&self, _: &OrderId) -> Result<(), BrokerError> {
        none()
    }
    fn order_history(&self, _: &OrderId) -> Result<Rows<Order>, BrokerError> {
        none()
    }
    fn orders(&self) -> Result<Rows<Order>, BrokerError> {
        none()
    }
    fn trades(&self) -> Result<Rows<Trade>, BrokerError> {
        none()
    }
    fn positions(&self) -> Result<Partial<Positions>, BrokerError> {
        none()
    }
    fn holdings(&self) -> Result<Rows<Holding>, BrokerError> {
        none()
    }
    fn margins(&self) -> Result<Partial<Margins>, BrokerError> {
        none()
    }
    fn profile(&self) -> Result<Profile, BrokerError> {
        none()
    }
    fn instruments(&self, _: Option<&Exchange>) -> Result<Rows<InstrumentInfo>, BrokerError> {
        none()
    }
    fn candles(&self, _: &CandleRequest) -> Result<Rows<Candle>, BrokerError> {
        none()
    }
}

/// Returns how long it takes until every thread has asked `times` times. Each thread goes through all instruments
/// in turn, from a start of its own.
fn together(
    threads: usize,
    times: u64,
    keys: &[Instrument],
    ask: &(impl Fn(&Instrument) + Sync),
) -> Duration {
    let gate = Barrier::new(threads + 1);
    thread::scope(|scope| {
        for number in 0..threads {
            let gate = &gate;
            scope.spawn(move || {
                let mut turns = keys.iter().cycle().skip(number * keys.len() / threads);
                gate.wait();
                for _ in 0..times {
                    ask(black_box(turns.next().unwrap()));
                }
                gate.wait();
            });
        }
        gate.wait();
        let began = Instant::now();
        gate.wait();
        began.elapsed()
    })
}

fn hits(criterion: &mut Criterion) {
    for count in [10, 500, 5000] {
        let keys: Vec<_> =
            (0..count).map(|number| Instrument::new("NSE", format!("SYMBOL{number}"))).collect();
        let values: HashMap<_, _> =
            keys.iter().map(|key| (key.clone(), Arc::new(Quote::new(key.clone(), 1500)))).collect();

        let moka = moka::sync::Cache::builder().max_capacity(10_000).time_to_live(HOUR).build();
        values.iter().for_each(|(key, value)| moka.insert(key.clone(), Arc::clone(value)));
        let map = RwLock::new(values.clone());
        let snapshot = ArcSwap::from_pointee(values);

        let mut settings = BatchConfig::default();
        settings.ttl = HOUR;
        let batch = BatchCache::new(settings, |keys: &[Instrument]| {
            Quoter.quotes(keys).map(|quotes| quotes.rows)
        });
        batch.get_many(&keys).complete().unwrap();
        let quotes = QuoteCache::builder(Quoter).ttl(HOUR).build();
        quotes.quotes(&keys).unwrap();

        let mut group = criterion.benchmark_group(format!("hit/{count} instruments"));
        let mut bench = |name: &str, ask: &(dyn Fn(&Instrument) + Sync)| {
            for threads in [1, 2, 4] {
                group.bench_function(BenchmarkId::new(name, threads), |bencher| {
                    bencher.iter_custom(|times| together(threads, times, &keys, &|key| ask(key)));
                });
            }
        };
        bench("moka", &|key| drop(black_box(moka.get(key).unwrap())));
        bench("moka, and a copy of the quote", &|key| {
            drop(black_box(Quote::clone(&moka.get(key).unwrap())));
        });
        bench("rwlock map", &|key| drop(black_box(map.read().get(key).cloned().unwrap())));
        bench("arc-swap snapshot", &|key| {
            drop(black_box(snapshot.load().get(key).cloned().unwrap()));
        });
        bench("BatchCache get", &|key| drop(black_box(batch.get(key).unwrap().unwrap())));
        bench("QuoteCache ltp", &|key| _ = black_box(quotes.ltp(key).unwrap()));
        bench("QuoteCache quote", &|key| drop(black_box(quotes.quote(key).unwrap())));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = hits
}
criterion_main!(benches);
