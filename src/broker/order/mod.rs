//! Orders: what is asked for, what became of it, and the trades it made.

mod book;
mod protection;
mod request;
mod sliced;
mod tags;
mod words;

pub use book::{Order, OrderId, Trade};
pub use protection::{MarketProtection, MarketProtectionError};
pub use request::{OrderCancel, OrderChange, OrderRequest};
pub(crate) use sliced::saturating_sum;
pub use sliced::{Slice, SliceCancel, SliceOutcome, SlicedOrder, SlicedState};
pub use tags::{OrderTags, TagSupport};
pub use words::{OrderStatus, OrderType, Product, Side, TimeInForce, Variety};
