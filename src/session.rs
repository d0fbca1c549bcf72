//! The validity of a client's credentials, shared by its adapter and its lanes.
//!
//! A session ends (Kite's at about six in the morning). From then on the broker refuses every call until there are new
//! credentials. The adapter has the credentials, and the lanes have the waiting calls. Through a [`Session`] a lane
//! reports that the credentials were refused, and the adapter reports that it has new ones.
//!
//! Each set of credentials is a generation. A refusal counts only against the generation with which the call was made,
//! so a late answer to old credentials does not invalidate the new ones.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The validity of one client's credentials. Clones share the same session.
///
/// An adapter that can be given new credentials at run time keeps a session, hands out a clone
/// ([`Broker::session`](crate::Broker::session)), and calls [`renew`](Self::renew) once the new credentials are in use.
/// While a session is expired, the lanes hold or refuse the calls that are not urgent: see
/// [`LaneConfig::when_expired`](crate::LaneConfig::when_expired).
///
/// ```
/// use std::sync::RwLock;
/// use lanekeeper::Session;
///
/// /// An adapter whose token can be replaced while calls are in flight.
/// struct Client {
///     token: RwLock<String>,
///     session: Session,
/// }
///
/// impl Client {
///     fn set_token(&self, token: &str) {
///         if let Ok(mut present) = self.token.write() {
///             *present = token.to_owned();
///         }
///         // Only now: what the lanes held goes on with the new one.
///         self.session.renew();
///     }
///
///     /// What `Broker::session` answers; the lanes of the proxy share it.
///     fn session(&self) -> Option<Session> {
///         Some(self.session.clone())
///     }
/// }
/// # let client = Client { token: RwLock::default(), session: Session::new() };
/// # client.set_token("new");
/// # assert!(client.session().is_some_and(|session| !session.is_expired()));
/// ```
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    /// Whether new credentials are possible. Without renewal, an expired session would stay expired for ever.
    can_be_renewed: bool,
    /// The number of renewals.
    generation: AtomicU64,
    /// The generation that was refused last, plus one. Zero if none was.
    refused_generation: AtomicU64,
    listeners: Mutex<Vec<Weak<dyn RenewalListener>>>,
}

/// Is notified when the calls of a session may be sent again.
pub(crate) trait RenewalListener: Send + Sync {
    fn on_session_valid(&self);
}

impl Session {
    /// Creates a session with valid credentials.
    pub fn new() -> Self {
        Self::with_renewal(true)
    }

    /// Creates a session without renewal, for an adapter that provides none. No refusal expires it.
    pub(crate) fn without_renewal() -> Self {
        Self::with_renewal(false)
    }

    fn with_renewal(can_be_renewed: bool) -> Self {
        let (generation, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner {
            can_be_renewed,
            generation,
            refused_generation: refused,
            listeners: Mutex::default(),
        }))
    }

    /// Reports that new credentials are in use. Calls that the lanes held are sent.
    pub fn renew(&self) {
        self.0.generation.fetch_add(1, Ordering::SeqCst);
        self.notify_listeners();
    }

    /// Returns whether the broker has refused the present credentials.
    pub fn is_expired(&self) -> bool {
        // Load the refusal first. A renewal in between can only make it outdated, and cannot make an old refusal count.
        let refused = self.0.refused_generation.load(Ordering::SeqCst);
        refused == self.generation() + 1
    }

    /// Returns the present generation, for a call that is about to be made.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::SeqCst)
    }

    /// Records that the broker refused the credentials of this generation. Returns whether that expires the session
    /// now.
    pub(crate) fn expire(&self, generation: u64) -> bool {
        if !self.0.can_be_renewed {
            return false;
        }
        let known = self.0.refused_generation.fetch_max(generation + 1, Ordering::SeqCst);
        known <= generation && generation == self.generation()
    }

    /// Records that a call with the credentials of this generation succeeded. An earlier refusal of them is withdrawn.
    pub(crate) fn mark_valid(&self, generation: u64) {
        let order = (Ordering::SeqCst, Ordering::SeqCst);
        if self.0.refused_generation.compare_exchange(generation + 1, 0, order.0, order.1).is_ok() {
            self.notify_listeners();
        }
    }

    /// Notifies `listener` whenever calls may be sent again.
    pub(crate) fn add_listener(&self, listener: Weak<dyn RenewalListener>) {
        let mut listeners = self.0.listeners.lock();
        listeners.retain(|known| known.strong_count() > 0);
        listeners.push(listener);
    }

    fn notify_listeners(&self) {
        let listeners: Vec<_> = self.0.listeners.lock().iter().filter_map(Weak::upgrade).collect();
        listeners.iter().for_each(|listener| listener.on_session_valid());
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("is_expired", &self.is_expired()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_refusal_counts_only_against_the_credentials_it_is_of() {
        let session = Session::new();
        let old = session.generation();
        assert!(session.expire(old));
        assert!(!session.expire(old), "that was known");
        assert!(session.is_expired());
        session.renew();
        assert!(!session.is_expired());
        // A call that was made with the old credentials comes back late.
        assert!(!session.expire(old));
        assert!(!session.is_expired());
        assert!(session.expire(session.generation()));
        session.expire(old);
        assert!(session.is_expired());
        session.mark_valid(old);
        assert!(session.is_expired());
        session.mark_valid(session.generation());
        assert!(!session.is_expired());
    }

    #[test]
    fn a_session_that_no_adapter_renews_does_not_end() {
        let session = Session::without_renewal();
        assert!(!session.expire(session.generation()));
        assert!(!session.is_expired());
    }

    #[test]
    fn listeners_hear_of_a_renewal_as_long_as_they_live() {
        struct Count(AtomicUsize);
        impl RenewalListener for Count {
            fn on_session_valid(&self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let (session, count) = (Session::new(), Arc::new(Count(AtomicUsize::new(0))));
        let listener: Arc<dyn RenewalListener> = Arc::<Count>::clone(&count);
        session.add_listener(Arc::downgrade(&listener));
        drop(listener);
        session.renew();
        session.mark_valid(session.generation());
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "only what was refused is good again");
        session.expire(session.generation());
        session.mark_valid(session.generation());
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
        drop(count);
        session.renew();
    }
}
