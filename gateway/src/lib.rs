//! A gateway in front of a broker's HTTP API: any client in any language, paced without change.
//!
//! Programs that speak a broker's own HTTP are pointed at the gateway in place of the broker. It holds the account: it
//! paces all of them together, keeps quotes for all, and sends each order at most once. What it does not understand it
//! passes on byte for byte. A page shows what goes on.
//!
//! ```text
//! client -> door -> who is it? -> route table -> lane -> upstream
//!                        \-> quotes: one cache for all   \-> orders: the guard
//! ```
//!
//! The command `lanekeeper gateway`, of the crate `lanekeeper-cli`, runs a [`Gateway`] as a process of its own.
//!
//! # Implementation
//!
//! - `gateway` starts and ends everything. `config` has the settings, `reload` takes new ones.
//! - `door` accepts connections and reads requests. `auth` knows the clients. `handler` handles one request.
//! - `account` is one account: its lanes, routes and credentials. `call` makes one call within its client's time.
//! - `upstream` sends one request, once. `judge` says what its answer means.
//! - `orders` sends orders through the guard. `quotes` and `kept` answer from memory.
//! - `socket` asks the operating system whether the other end of a connection is there.
//! - `repoll` keeps the wake-ups within one request out of the runtime.
//! - `limits` judges requests by the rules of the operator, and `logins` delays attempts to guess a key.
//! - `refusal` is what clients get in place of the broker's answer.
//! - `logging` keeps faults of the log out of the requests.
//! - `hang_up` knows whether a client is there, `body` is what it gets. `client_counts`, `names` and `shared` are what all
//!   requests share. `candles` says which candles are kept, and `token_file` watches the file with a token.
//! - `interface` is the gateway's own: the page, the status, the operator. `notices` and `metrics` are shown there.

pub mod auth;
pub mod config;

mod account;
mod body;
mod call;
mod candles;
mod client_counts;
mod describe;
mod door;
mod gateway;
mod handler;
mod hang_up;
mod interface;
mod judge;
mod kept;
mod limits;
mod logging;
mod logins;
mod metrics;
mod names;
mod notices;
mod orders;
mod quotes;
mod refusal;
mod reload;
mod repoll;
mod shared;
mod socket;
mod token_file;
mod upstream;

pub use account::AccountError;
pub use gateway::{Gateway, GatewayBuilder, GatewayError};
pub use upstream::AddressError;
