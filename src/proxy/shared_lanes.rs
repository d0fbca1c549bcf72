//! The lanes themselves, and one proxy's attachment to them.
//!
//! A proxy that is built alone has lanes of its own. One that is built with `lanes_of` is attached to the lanes of
//! another proxy. Each of them names its lanes and budgets by indices of its own trait, which [`ProxyLanes`]
//! translates.
//!
//! The lanes are closed when the last proxy over them is shut down or dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::after;

use crate::Session;
#[cfg(feature = "responses")]
use crate::cache::response::{ResponseCache, ResponseCacheSettings};
use crate::clock::{Clock, Timer};
use crate::lane::{Attachment, DROP_TIMEOUT, Lane, SharedPacing, Shutdown, ShutdownSummary};
#[cfg(feature = "redis")]
use crate::shared_quota::SharedQuota;

/// The lanes of one or more proxies.
pub(super) struct SharedLanes {
    pub(super) lanes: Vec<Lane>,
    pub(super) budgets: &'static [&'static str],
    pub(super) pacing: Arc<SharedPacing>,
    pub(super) clock: Clock,
    /// For tasks that wait for something else than their turn.
    pub(super) timer: Timer,
    pub(super) session: Session,
    /// The account of which the quotas are shared with other processes.
    #[cfg(feature = "redis")]
    pub(super) shared_quota: Option<SharedQuota>,
    /// How many proxies are neither shut down nor dropped.
    open_proxies: AtomicUsize,
}

impl SharedLanes {
    pub(super) fn new(
        lanes: Vec<Lane>,
        budgets: &'static [&'static str],
        pacing: Arc<SharedPacing>,
        clock: Clock,
        session: Session,
    ) -> Self {
        Self {
            lanes,
            budgets,
            pacing,
            timer: Timer::new(clock.clone()),
            clock,
            session,
            #[cfg(feature = "redis")]
            shared_quota: None,
            open_proxies: AtomicUsize::new(0),
        }
    }

    #[cfg(feature = "redis")]
    pub(super) fn with_shared_quota(mut self, shared_quota: Option<SharedQuota>) -> Self {
        self.shared_quota = shared_quota;
        self
    }
}

impl Drop for SharedLanes {
    fn drop(&mut self) {
        // One time limit for all lanes together, so that the waits do not add up if several of them hang.
        let mut limit = after(DROP_TIMEOUT);
        for lane in &mut self.lanes {
            if !lane.close_and_join(&limit) {
                limit = after(Duration::ZERO);
            }
        }
    }
}

/// One proxy's attachment to lanes. All clones and handles of the proxy share it.
pub(super) struct ProxyLanes {
    pub(super) shared: Arc<SharedLanes>,
    pub(super) attachment: Arc<Attachment>,
    /// Whether the proxy still counts among the open ones of the lanes: 1 or 0.
    is_counted: AtomicUsize,
    /// `None` if the indices of the proxy are those of the lanes: it was built with them.
    indices: Option<Indices>,
    /// The answers that the proxy keeps. Its methods are its own, so other proxies have nothing of them.
    #[cfg(feature = "responses")]
    pub(super) responses: ResponseCache,
}

/// The settings of a proxy that are not settings of its lanes.
#[derive(Default)]
pub(super) struct ProxySettings {
    #[cfg(feature = "responses")]
    pub(super) responses: ResponseCacheSettings,
}

/// Where the lanes and budgets of an attached proxy are among those of the lanes that it uses.
pub(super) struct Indices {
    pub(super) lanes: Box<[usize]>,
    pub(super) budgets: Box<[usize]>,
}

impl ProxyLanes {
    /// Attaches a proxy, which keeps answers as `settings` say.
    pub(super) fn new(
        shared: Arc<SharedLanes>,
        indices: Option<Indices>,
        settings: &ProxySettings,
    ) -> Self {
        let attachment = Arc::new(Attachment::new(shared.lanes.len()));
        shared.open_proxies.fetch_add(1, Ordering::SeqCst);
        #[cfg(feature = "responses")]
        let responses = ResponseCache::new(&settings.responses, shared.clock.clone());
        #[cfg(not(feature = "responses"))]
        let ProxySettings {} = settings;
        Self {
            shared,
            attachment,
            is_counted: AtomicUsize::new(1),
            indices,
            #[cfg(feature = "responses")]
            responses,
        }
    }

    /// Returns where a lane of the proxy is among the shared lanes.
    pub(super) fn lane_index(&self, own: usize) -> usize {
        let Some(indices) = &self.indices else { return own };
        indices.lanes.get(own).copied().unwrap_or(usize::MAX)
    }

    /// Returns the number of a budget of the proxy in the shared pacing state.
    pub(super) fn budget_index(&self, own: usize) -> usize {
        let Some(indices) = &self.indices else { return own };
        indices.budgets.get(own).copied().unwrap_or(usize::MAX)
    }

    /// Shuts the proxy down, and with the last proxy the lanes.
    pub(super) fn shutdown(&self, how: Shutdown) -> ShutdownSummary {
        let others = self.shared.open_proxies.load(Ordering::SeqCst)
            - self.is_counted.load(Ordering::SeqCst);
        let shut = |lane: &Lane| match others {
            0 => lane.shutdown(how),
            _ => lane.shutdown_attachment(&self.attachment, how),
        };
        let lanes = self.shared.lanes.iter();
        let summary = lanes.map(shut).fold(ShutdownSummary::default(), ShutdownSummary::and);
        self.leave();
        summary
    }

    /// Stops counting among the open proxies. The last one closes the lanes.
    fn leave(&self) {
        if self.is_counted.swap(0, Ordering::SeqCst) == 1
            && self.shared.open_proxies.fetch_sub(1, Ordering::SeqCst) == 1
        {
            for lane in &self.shared.lanes {
                lane.shutdown(Shutdown::Now);
            }
        }
    }
}

impl Drop for ProxyLanes {
    fn drop(&mut self) {
        // Without another proxy over them, the lanes are dropped now, which answers all callers.
        if Arc::strong_count(&self.shared) > 1 {
            for lane in &self.shared.lanes {
                lane.shutdown_attachment(&self.attachment, Shutdown::Now);
            }
            self.leave();
        }
    }
}
