//! Orders: requests, orders as the broker shows them, their slices, and their trades.

mod enums;
mod model;
mod protection;
mod request;
mod sliced;
mod tags;

pub use enums::{OrderStatus, OrderType, Product, Side, TimeInForce, Variety};
pub use model::{Order, OrderId, Trade};
pub use protection::{MarketProtection, MarketProtectionError};
pub use request::{OrderCancel, OrderChange, OrderRequest};
pub(crate) use sliced::saturating_sum;
pub use sliced::{Slice, SliceCancel, SliceOutcome, SlicedOrder, SlicedState};
pub use tags::{OrderTags, TagSupport};
