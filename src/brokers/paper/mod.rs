//! A broker in memory, for trying a strategy without money and for tests without a network.
//!
//! It replays bars from a price file and fills orders at the replayed prices. Everything in it is a function of the
//! time of its [`Clock`](crate::clock::Clock), so a test with a [`ManualClock`](crate::clock::ManualClock) drives a
//! whole trading day in milliseconds.
//!
//! - [`Prices`] are the bars: of a CSV file, of a small real sample, or synthetic.
//! - [`Replay`] selects the current bar, as a pure function of the time passed.
//! - `book` takes orders and fills them; `account` updates the money and positions.
//! - [`PaperBroker`] puts them behind the [`Broker`](crate::broker::Broker) trait.
//!
//! A file is replayed bar by bar and starts again at its end. A synthetic series replays one day, that of the start, in
//! the same way. It has candles of earlier days too, and its candles of that day end at the current bar.
//!
//! Orders always fill whole, at the close of the current bar. A market order fills at once; a limit order as soon as
//! that price is as good as its limit; a stop order becomes one of these when the price meets its trigger. Short
//! selling is allowed. A duplicated tag is allowed too, since brokers allow it.

mod account;
mod backend;
mod book;
mod broker;
mod builder;
mod candles;

mod error;
mod prices;
mod quotes;
mod replay;
mod synthetic;

mod instruments;

pub use backend::PaperBackend;
pub use book::OrderEntry;
pub use broker::PaperBroker;
pub use builder::{PaperBuildError, PaperBuilder};
pub use error::PaperError;
pub use prices::{Prices, PricesError};
pub use quotes::CircuitLimits;
pub use replay::Replay;
