//! A broker in virtual time whose answers to placements are written by the test.

use std::sync::Arc;

use lanekeeper::broker::{
    Broker, BrokerError, BrokerProxy, BrokerProxyBuilder, OrderId, OrderRequest, OrderTags,
    delegate_broker,
};
use lanekeeper::lane::LaneConfig;
use lanekeeper::quota::Quota;

use super::shaky::Shaky;

type Place = dyn Fn(&Shaky, &OrderRequest) -> Result<OrderId, BrokerError> + Send + Sync;

/// A [`Shaky`] whose placements are answered by a closure.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) inner: Shaky,
    place: Arc<Place>,
}

impl Scripted {
    pub(crate) fn new(
        place: impl Fn(&Shaky, &OrderRequest) -> Result<OrderId, BrokerError> + Send + Sync + 'static,
    ) -> Self {
        Self { inner: Shaky::new(OrderTags::echoed(20)), place: Arc::new(place) }
    }

    /// Returns the builder of a proxy on the broker's clock, with this lane for orders and no other limits.
    pub(crate) fn proxy(&self, transactional: impl Into<LaneConfig>) -> BrokerProxyBuilder<Self> {
        BrokerProxy::builder(self.clone())
            .transactional(transactional)
            .quote(Quota::unlimited())
            .historical(Quota::unlimited())
            .orders(Quota::unlimited())
            .clock(self.inner.clock.clone())
    }
}

impl Broker for Scripted {
    delegate_broker! { to self.inner; except place_order, place_sliced }

    fn place_order(&self, order: &OrderRequest) -> Result<OrderId, BrokerError> {
        (self.place)(&self.inner, order)
    }
}
