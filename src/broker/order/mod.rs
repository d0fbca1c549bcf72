//! Orders: what is asked for, what became of it, and the trades it made.

mod book;
mod request;
mod words;

pub use book::{Order, OrderId, Trade};
pub use request::{OrderChange, OrderRequest};
pub use words::{OrderStatus, OrderType, Product, Side, TimeInForce, Variety};
