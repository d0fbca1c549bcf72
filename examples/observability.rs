//! Metrics over HTTP and a log line for each call, as an operator sees them.
//!
//! Four strategies share a paper account with limits so low that calls wait. During the run, Prometheus can scrape
//! <http://127.0.0.1:9464/metrics>, and `docs/grafana.json` is a dashboard for these metrics.
//!
//! ```text
//! cargo run --features metrics,tracing,paper --example observability -- --seconds 60
//! ```

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use lanekeeper::CallOptions;
use lanekeeper::broker::{Broker, BrokerError, Instrument, OrderRequest, Side};
use lanekeeper::brokers::PaperBroker;
use lanekeeper::brokers::paper::Prices;
use lanekeeper::telemetry::{self, Metrics, Sampler};
use lanekeeper::{BrokerProxy, LaneConfig, Quota};
use metrics_exporter_prometheus::PrometheusBuilder;
use tracing::{info, info_span};
use tracing_subscriber::fmt::format::FmtSpan;

/// Runs four strategies, prints their calls, and serves their metrics.
#[derive(Parser)]
struct Args {
    /// How long to run.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The address that serves the metrics.
    #[arg(long, default_value = "127.0.0.1:9464")]
    listen: SocketAddr,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    // Each span is printed as a line when it closes, with the spans around it.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::CLOSE)
        .with_target(false)
        .init();
    PrometheusBuilder::new()
        .with_http_listener(args.listen)
        .set_buckets(&telemetry::SECONDS)?
        .install()?;

    let metrics = Arc::new(Metrics::new().label("account", "paper").users(4).estimates());
    let paper = PaperBroker::builder().prices(Prices::sample()).cash(100_000).build()?;
    let broker = BrokerProxy::builder(paper)
        .transactional(LaneConfig::new(Quota::per_second(5)))
        .quote(LaneConfig::new(Quota::per_second(1)))
        .historical(LaneConfig::new(Quota::per_second(3)))
        .orders(Quota::per_minute(200))
        .observer(metrics.clone())
        .quote_ttl(Duration::from_millis(500))
        .build()?;
    let sampled = broker.clone();
    let sampler = Sampler::every(Duration::from_secs(1), move || {
        let status = sampled.status();
        metrics.sample(&status.proxy);
        metrics.sample_cache("quotes", &status.quotes);
    })?;

    let end = Instant::now() + Duration::from_secs(args.seconds);
    let instruments: Vec<_> = Prices::sample().instruments().cloned().collect();
    thread::scope(|scope| {
        for (number, name) in ["alpha", "beta", "gamma", "delta"].into_iter().enumerate() {
            let options = CallOptions::new().user(name).deadline(Duration::from_secs(2));
            let broker = broker.with(options);
            let instrument = &instruments[number % instruments.len()];
            scope.spawn(move || {
                while Instant::now() < end {
                    // Every call of this round belongs to this span, on whatever thread it runs.
                    let _round = info_span!("round", strategy = name).entered();
                    if let Err(error) = strategy(&broker, instrument) {
                        info!(%error, "this round came to nothing");
                    }
                }
            });
        }
    });

    println!("{}", calls_of(&scrape(args.listen)?)?);
    drop(sampler);
    Ok(())
}

/// Buys one share, and sells it again if the price has risen since.
fn strategy(broker: &dyn Broker, instrument: &Instrument) -> Result<(), BrokerError> {
    let before = broker.ltp(instrument)?;
    broker.place_order(&OrderRequest::market(instrument.clone(), Side::Buy, 1))?;
    if broker.quote(instrument)?.last_price > before {
        broker.place_order(&OrderRequest::market(instrument.clone(), Side::Sell, 1))?;
    }
    broker.positions().map(drop)
}

/// Fetches the metrics, as Prometheus does.
fn scrape(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Returns the lines that count how the calls ended.
fn calls_of(metrics: &str) -> Result<String, &'static str> {
    let calls = metrics.lines().filter(|line| line.starts_with("lanekeeper_calls_total{"));
    match calls.collect::<Vec<_>>().join("\n") {
        none if none.is_empty() => Err("no call is among the metrics"),
        calls => Ok(calls),
    }
}
