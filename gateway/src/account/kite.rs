//! What an account at Kite has beside its lanes: the adapter, the guard of its orders, and the quotes of all clients.

use std::sync::Arc;

use lanekeeper::brokers::Kite;
use lanekeeper::brokers::kite::SecretString;
use lanekeeper::{BrokerProxy, OrderGuard};

use crate::orders::Placements;
use crate::quotes::Quotes;

/// The parts of an account at Kite.
pub(crate) struct KiteParts {
    /// The adapter. The guard reads the order book with it, and it has the session.
    pub(crate) kite: Kite,
    /// `None` if placements are not guarded.
    pub(crate) guard: Option<OrderGuard<BrokerProxy<Kite>>>,
    /// Which placements clients were not told about.
    pub(crate) placements: Arc<Placements>,
    /// `None` if quotes are not kept.
    pub(crate) quotes: Option<Quotes>,
    pub(crate) api_key: String,
    /// For a login at run time.
    pub(crate) api_secret: Option<SecretString>,
}
