//! Events of a shared quota, on their way to the observer.
//!
//! An observer may take seconds: a log on a slow disk, a message to a chat. The threads on which these events happen have no such
//! time. The keeper has to say each second that its process is alive, and a worker has calls to send. So events are queued, and a
//! thread delivers them in order. It is started for the first of them and ends after the last, since they are rare. If the
//! operating system refuses a thread, they wait: it is tried again at the next event, at the next heartbeat and at the end. No other
//! thread calls the observer, so it is called with no lock held and may wait for calls of the proxy.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::lane::{ObserverHandle, SharedMode, SharedQuotaEvent};

/// How many events wait at most. The oldest is dropped for one more, so that the observer hears the present mode in the end.
const MAX_WAITING: usize = 64;

/// How long a proxy that is dropped waits for its observer.
const WAIT_AT_END: Duration = Duration::from_secs(1);

/// The events of one process. Dropped, it waits for their delivery, for a second at most. The rest is delivered after that.
pub(super) struct EventQueue {
    inner: Arc<Inner>,
    /// Starts the thread that delivers. Tests replace it, since they cannot make the operating system refuse a thread.
    spawn: fn(Arc<Inner>) -> io::Result<ThreadId>,
}

struct Inner {
    account: String,
    observer: ObserverHandle,
    state: Mutex<State>,
    delivered: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Event>,
    /// The last mode that was queued.
    mode: Option<SharedMode>,
    /// The thread that delivers, while there is one.
    delivers: Option<ThreadId>,
}

enum Event {
    Mode { mode: SharedMode, why: String },
    Warning(String),
}

impl EventQueue {
    pub(super) fn new(account: String, observer: ObserverHandle) -> Self {
        let (state, delivered) = Default::default();
        let inner = Arc::new(Inner { account, observer, state, delivered });
        Self { inner, spawn: Inner::spawn }
    }

    /// Queues a mode, unless it is the last one that was queued.
    pub(super) fn push_mode(&self, mode: SharedMode, why: &str) {
        self.push(|state| {
            let is_new = state.mode.replace(mode) != Some(mode);
            is_new.then(|| Event::Mode { mode, why: why.to_owned() })
        });
    }

    pub(super) fn push_warning(&self, warning: String) {
        self.push(|_| Some(Event::Warning(warning)));
    }

    fn push(&self, event: impl FnOnce(&mut State) -> Option<Event>) {
        let mut state = self.inner.state.lock();
        let Some(event) = event(&mut state) else { return };
        if state.waiting.len() >= MAX_WAITING {
            state.waiting.pop_front();
        }
        state.waiting.push_back(event);
        self.start_delivery(&mut state);
    }

    /// Tries again to deliver events for which no thread could be started. Cheap if there are none.
    pub(super) fn deliver_waiting(&self) {
        self.start_delivery(&mut self.inner.state.lock());
    }

    /// Starts the thread that delivers, if there are events and no such thread. If it does not start, they wait: the observer is
    /// user code, and this thread may hold a lock, or have heartbeats to send for which the observer waits.
    fn start_delivery(&self, state: &mut State) {
        if state.waiting.is_empty() || state.delivers.is_some() {
            return;
        }
        state.delivers = (self.spawn)(Arc::clone(&self.inner)).ok();
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        let is_under_way =
            |state: &State| state.delivers.is_some_and(|id| id != thread::current().id());
        let mut state = self.inner.state.lock();
        self.start_delivery(&mut state);
        // An observer may drop the proxy itself. It cannot be waited for then.
        let until = Instant::now() + WAIT_AT_END;
        while is_under_way(&state) {
            if self.inner.delivered.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }
}

impl Inner {
    fn spawn(self: Arc<Self>) -> io::Result<ThreadId> {
        let thread = thread::Builder::new().name("quota-events".to_owned());
        Ok(thread.spawn(move || self.deliver())?.thread().id())
    }

    /// Delivers all events.
    fn deliver(&self) {
        while let Some(event) = self.next() {
            let account = &self.account;
            let event = match &event {
                Event::Mode { mode, why } => SharedQuotaEvent::Mode { account, mode: *mode, why },
                Event::Warning(warning) => SharedQuotaEvent::Warning { account, warning },
            };
            self.observer.notify(|observer| observer.shared_quota(&event));
        }
    }

    /// Returns the next event. If there is none, this thread delivers no more.
    fn next(&self) -> Option<Event> {
        let mut state = self.state.lock();
        let event = state.waiting.pop_front();
        if event.is_none() {
            state.delivers = None;
            self.delivered.notify_all();
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::lane::Observer;

    /// Says what it is told, and then waits until it is let go.
    struct Slow(Mutex<(Sender<String>, Receiver<()>)>);

    impl Observer for Slow {
        fn shared_quota(&self, event: &SharedQuotaEvent<'_>) {
            let word = match event {
                SharedQuotaEvent::Mode { mode, .. } => mode.as_str(),
                SharedQuotaEvent::Warning { warning, .. } => warning,
            };
            let channels = self.0.lock();
            channels.0.send(word.to_owned()).unwrap();
            let _ = channels.1.recv();
        }
    }

    /// Returns a queue, what its observer was told, and what lets it go on.
    fn queue() -> (EventQueue, Receiver<String>, Sender<()>) {
        let ((tell, told), (go, goes)) = (channel(), channel());
        let observer = ObserverHandle::new(Some(Arc::new(Slow(Mutex::new((tell, goes))))));
        (EventQueue::new("a".to_owned(), observer), told, go)
    }

    #[test]
    fn events_are_delivered_in_order_and_a_mode_that_is_known_is_not_repeated() {
        let (queue, told, go) = queue();
        queue.push_mode(SharedMode::Stopped, "away");
        assert_eq!(told.recv().unwrap(), "stopped");
        for mode in [SharedMode::Stopped, SharedMode::Shared, SharedMode::Shared] {
            queue.push_mode(mode, "");
        }
        queue.push_warning("evicts".to_owned());
        queue.push_mode(SharedMode::Share, "");
        drop(go);
        drop(queue);
        assert_eq!(told.iter().collect::<Vec<_>>(), ["shared", "evicts", "share"]);
    }

    #[test]
    fn an_observer_that_hangs_loses_the_oldest_events_and_holds_up_no_drop() {
        let (queue, told, go) = queue();
        queue.push_mode(SharedMode::Share, "");
        assert_eq!(told.recv().unwrap(), "share");
        for number in 0..=MAX_WAITING {
            queue.push_warning(number.to_string());
        }
        drop(queue);
        drop(go);
        let rest: Vec<_> = told.iter().collect();
        let expected: Vec<_> = (1..=MAX_WAITING).map(|number| number.to_string()).collect();
        assert_eq!(rest, expected);
    }

    #[test]
    fn events_after_a_delivery_are_delivered_too() {
        let (queue, told, go) = queue();
        drop(go);
        for mode in [SharedMode::Shared, SharedMode::Share, SharedMode::Shared] {
            queue.push_mode(mode, "");
            assert_eq!(told.recv().unwrap(), mode.as_str());
        }
    }

    #[test]
    fn without_a_thread_events_wait_and_the_observer_does_not_run_on_the_thread_of_the_event() {
        let (mut queue, told, go) = queue();
        drop(go);
        queue.spawn = |_| Err(io::ErrorKind::WouldBlock.into());
        queue.push_mode(SharedMode::Stopped, "away");
        queue.push_mode(SharedMode::Shared, "");
        queue.deliver_waiting();
        assert!(told.try_recv().is_err(), "the observer ran on this thread");
        queue.spawn = Inner::spawn;
        queue.deliver_waiting();
        assert_eq!(told.recv().unwrap(), "stopped");
        assert_eq!(told.recv().unwrap(), "shared");
    }

    #[test]
    fn events_that_waited_for_a_thread_are_delivered_at_the_next_event_or_at_the_end() {
        for has_next in [true, false] {
            let (mut queue, told, go) = queue();
            drop(go);
            queue.spawn = |_| Err(io::ErrorKind::WouldBlock.into());
            queue.push_mode(SharedMode::Stopped, "away");
            queue.spawn = Inner::spawn;
            if has_next {
                queue.push_warning("evicts".to_owned());
            }
            drop(queue);
            let expected: &[_] = if has_next { &["stopped", "evicts"] } else { &["stopped"] };
            assert_eq!(told.iter().collect::<Vec<_>>(), expected);
        }
    }
}
