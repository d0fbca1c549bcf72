//! Where the bot trades: a simulated exchange of its own, or an address.

use std::time::Duration;

use lanekeeper::broker::{Broker, BrokerError, Exchange as Market, Instrument, Product};
use lanekeeper::brokers::alpaca::SecretString;
use lanekeeper::brokers::paper::Prices;
use lanekeeper::brokers::{Alpaca, Kite, PaperBroker};
use lanekeeper_simulator::SimulatedExchange;

use super::args::{BotArgs, Wire};
use super::failure::Failure;

/// Shares that trade every day, for an address without `--instruments`.
const DEFAULT_SYMBOLS: [&str; 12] = [
    "INFY",
    "TCS",
    "RELIANCE",
    "HDFCBANK",
    "ICICIBANK",
    "SBIN",
    "ITC",
    "WIPRO",
    "AXISBANK",
    "LT",
    "HCLTECH",
    "MARUTI",
];

/// The same in the United States.
const DEFAULT_US_SYMBOLS: [&str; 8] =
    ["AAPL", "MSFT", "AMZN", "NVDA", "GOOGL", "META", "SPY", "QQQ"];

/// Bounds the instruments that all strategies together trade.
const MAX_INSTRUMENTS: usize = 40;

const LATENCY: Duration = Duration::from_millis(40);
const JITTER: Duration = Duration::from_millis(30);
/// Short enough for moving averages to cross within seconds.
const BAR_EVERY: Duration = Duration::from_millis(250);

pub enum Target {
    Own(SimulatedExchange),
    Address {
        wire: Wire,
        url: String,
        /// The key's name, and what is secret.
        keys: (String, SecretString),
        on_loopback: bool,
        trade: bool,
        wanted: Vec<Instrument>,
    },
}

impl Target {
    pub fn from(args: &BotArgs) -> Result<Self, Failure> {
        let Some(url) = &args.base_url else {
            return match args.broker {
                Wire::Kite => Self::own(),
                Wire::Alpaca => Err(Failure::new(
                    "--broker alpaca needs --base-url, for example https://paper-api.alpaca.markets",
                )),
            };
        };
        let key = |name: &str| match std::env::var(name) {
            Ok(key) if !key.trim().is_empty() => Ok(key),
            _ => Err(Failure::new(format!("{name} is not set: --base-url needs it"))),
        };
        let on_loopback = is_loopback(url).ok_or_else(|| {
            Failure::new(format!("--base-url {url}: not an http or https address"))
        })?;
        let (name, secret) = match args.broker {
            Wire::Kite => ("KITE_API_KEY", "KITE_ACCESS_TOKEN"),
            Wire::Alpaca => ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"),
        };
        Ok(Self::Address {
            wire: args.broker,
            url: url.clone(),
            keys: (key(name)?, key(secret)?.into()),
            on_loopback,
            trade: on_loopback || args.live,
            wanted: args.instruments.clone(),
        })
    }

    /// Starts a simulated exchange, as strict as Kite and with a similar network delay.
    pub fn own() -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(format!("the exchange: {error}"));
        let market = PaperBroker::builder().prices(Prices::sample()).bar_every(BAR_EVERY).build();
        let market = market.map_err(|error| failed(&error))?;
        let exchange = SimulatedExchange::builder().broker(market).latency(LATENCY).jitter(JITTER);
        Ok(Self::Own(exchange.start().map_err(|error| failed(&error))?))
    }

    pub fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    pub fn may_trade(&self) -> bool {
        match self {
            Self::Own(_) => true,
            Self::Address { trade, .. } => *trade,
        }
    }

    pub fn describe(&self) -> String {
        match self {
            Self::Own(_) => format!(
                "an exchange on loopback, {LATENCY:?} + {JITTER:?} jitter each way, counting strictly"
            ),
            Self::Address { url, trade: true, .. } => url.clone(),
            Self::Address { url, .. } => format!("{url}, placing no orders (--live is not set)"),
        }
    }

    /// Returns the plain, unpaced adapter.
    pub fn adapter(&self) -> Result<Box<dyn Broker>, Failure> {
        match self {
            Self::Own(exchange) => kite(&exchange.base_url(), "demo", "demo".into()),
            Self::Address { wire: Wire::Kite, url, keys: (name, secret), .. } => {
                kite(url, name, secret.clone())
            }
            Self::Address { url, keys: (name, secret), on_loopback, .. } => {
                let alpaca = Alpaca::builder().trading_url(url.clone());
                // A test exchange has its prices at the same address.
                let alpaca = if *on_loopback { alpaca.data_url(url.clone()) } else { alpaca };
                // Without `--live` the bot places no order, and so may read at the address of real ones.
                let alpaca = alpaca.live();
                let built = alpaca.key_id(name.as_str()).secret_key(secret.clone()).build();
                Ok(Box::new(built.map_err(|error| Failure::new(error.to_string()))?))
            }
        }
    }

    /// Returns the instruments with a price: of `--instruments` if given, else of the default ones, else of the
    /// broker's listing.
    pub fn instruments(&self, broker: &dyn Broker) -> Result<Vec<Instrument>, Failure> {
        // This is the first request to the address, so it shows whether the address is reachable.
        self.priced(broker).map_err(|failure| match self {
            Self::Own(_) => failure,
            Self::Address { url, .. } => Failure::new(format!("--base-url {url}: {failure}")),
        })
    }

    fn priced(&self, broker: &dyn Broker) -> Result<Vec<Instrument>, Failure> {
        let of = |exchange: &str, symbols: &[&str]| {
            symbols.iter().map(|symbol| Instrument::new(exchange, symbol)).collect()
        };
        let wanted = match self {
            Self::Own(_) => listed(broker, &Market::Nse)?,
            Self::Address { wanted, .. } if !wanted.is_empty() => wanted.clone(),
            Self::Address { wire: Wire::Kite, .. } => of("NSE", &DEFAULT_SYMBOLS),
            Self::Address { .. } => of("US", &DEFAULT_US_SYMBOLS),
        };
        let mut priced = with_price(broker, &wanted)?;
        if priced.is_empty() && matches!(self, Self::Address { wanted, .. } if wanted.is_empty()) {
            let market = match self {
                Self::Address { wire: Wire::Alpaca, .. } => Market::Us,
                _ => Market::Nse,
            };
            priced = with_price(broker, &listed(broker, &market)?)?;
        }
        match priced.is_empty() {
            true => Err(Failure::new("none of the instruments has a price; try --instruments")),
            false => Ok(priced),
        }
    }

    /// Returns how many requests the simulated exchange refused, or `None` at an address.
    pub fn refused(&self) -> Option<u64> {
        match self {
            Self::Own(exchange) => Some(exchange.refused()),
            Self::Address { .. } => None,
        }
    }
}

/// Returns Kite's adapter. Orders are of the day, which the strategies do not say.
fn kite(url: &str, api_key: &str, token: SecretString) -> Result<Box<dyn Broker>, Failure> {
    let kite = Kite::builder().api_key(api_key).access_token(token).base_url(url);
    let built = kite.default_product(Product::Mis).build();
    Ok(Box::new(built.map_err(|error| Failure::new(error.to_string()))?))
}

fn listed(broker: &dyn Broker, market: &Market) -> Result<Vec<Instrument>, BrokerError> {
    let listed = broker.instruments(Some(market))?;
    Ok(listed.into_iter().map(|info| info.instrument).take(MAX_INSTRUMENTS).collect())
}

fn with_price(broker: &dyn Broker, wanted: &[Instrument]) -> Result<Vec<Instrument>, BrokerError> {
    let quotes = broker.quotes(wanted)?;
    Ok(wanted.iter().filter(|instrument| quotes.contains_key(*instrument)).cloned().collect())
}

/// Returns whether the address is on this machine, or `None` if it is not an address.
fn is_loopback(url: &str) -> Option<bool> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => authority.split(':').next()?,
    };
    if host.is_empty() || authority.contains('@') {
        return None;
    }
    // Any host name other than `localhost` may be on another machine.
    let address = host.parse::<std::net::IpAddr>();
    Some(host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback()))
}
