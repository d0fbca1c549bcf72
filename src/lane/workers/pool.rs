//! The worker pool of a lane: which worker polls, sleeps, and is woken. It is the Leader/Followers pattern.
//!
//! A worker polls for a call that may be sent now, executes it, and polls again. If no call is found, one worker
//! becomes the leader: it sleeps until the next moment that matters to the lane, or until it is woken. The others
//! are followers: they sleep until there is no leader and they are woken.
//!
//! Waking a thread dominates the cost of handing a call over. So a worker that executes a call does not wake a new
//! leader if no call waits. And `notify_arrival` wakes no worker while one is *searching*: awake, and about to poll
//! before it sleeps.
//!
//! # No wake-up is lost
//!
//! This is Dekker's pattern: each side publishes its own state, issues a `SeqCst` fence, then reads the other side's
//! state. At least one of two racing threads sees the other.
//!
//! - A worker that stops searching checks for arrivals once more.
//! - A worker that becomes the leader polls before it sleeps, and one that steps down checks whether a new leader is
//!   needed.
//! - A submitter checks for searching workers and for a leader only after it has pushed its call.
//!
//! A wake-up for a thread that does not sleep yet is kept. `tests/loom_worker_pool.rs` tries every order of events.

use crate::clock::Parker;
use crate::lane::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, fence, wait};
use crate::quota::Moment;

/// The source of work that the workers poll.
pub(crate) trait WorkSource {
    /// A call to execute.
    type Call;
    /// Polls for a call.
    fn poll(&self, role: Role) -> NextWork<Self::Call>;
    /// Returns whether a call has arrived that no worker has polled yet.
    fn has_unseen_calls(&self) -> bool;
    /// Returns whether a poll has deferred work that runs user code.
    fn has_deferred(&self) -> bool;
    /// Runs the deferred work. The calling worker is neither searching nor the leader, because the lane would stand
    /// still meanwhile.
    fn run_deferred(&self);
    /// Returns whether another worker must poll while the calling one executes a call.
    fn needs_leader(&self) -> bool;
}

/// The result of a poll.
#[derive(Debug)]
pub(crate) enum NextWork<C> {
    /// Send this call now.
    Run(C),
    /// No call can be sent before this moment, or before something changes.
    Sleep(Option<Moment>),
    /// The lane is closed.
    Closed,
}

/// The role of the polling worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The leader.
    Leader,
    /// Any other worker.
    Other,
}

/// The primitive on which the leader sleeps.
pub(crate) trait Park {
    /// Wakes the parked thread. If none is parked, the next call to `park_until` returns at once. Repeated calls
    /// coalesce.
    fn unpark(&self);
    /// Discards a pending wake-up.
    fn clear(&self);
    /// Sleeps until `until` or until `unpark`. May return early.
    fn park_until(&self, until: Option<Moment>);
    /// Marks a follower idle that is about to sleep.
    fn mark_idle(&self) {}
    /// Marks a follower active that is being woken, before it runs.
    fn mark_active(&self) {}
}

/// The workers of one lane.
#[derive(Debug)]
pub(crate) struct LeaderFollowers<B> {
    /// The number of workers that will poll before they sleep.
    searching: AtomicUsize,
    /// Whether there is a leader.
    has_leader: AtomicBool,
    parker: B,
    followers: Mutex<Followers>,
    leader_gone: Condvar,
}

#[derive(Debug, Default)]
struct Followers {
    /// Whether the lane is closed, so that no worker becomes the leader any more.
    closed: bool,
    asleep: usize,
    /// How many of the sleeping followers are to wake.
    wakeups: usize,
}

impl<B: Park> LeaderFollowers<B> {
    pub(crate) fn new(parker: B) -> Self {
        Self {
            searching: AtomicUsize::new(0),
            has_leader: AtomicBool::new(false),
            parker,
            followers: Mutex::new(Followers::default()),
            leader_gone: Condvar::new(),
        }
    }

    /// Marks the calling worker as searching. Must be called once before each [`next_call`](Self::next_call).
    pub(crate) fn begin_search(&self) {
        self.searching.fetch_add(1, Ordering::SeqCst);
    }

    /// Marks the calling worker as not searching: it is about to run user code, for an unknown time.
    pub(crate) fn cancel_search<L: WorkSource>(&self, lane: &L) {
        self.searching.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if lane.needs_leader() {
            self.wake_one();
        }
    }

    /// Waits for a call to execute. Returns `None` once the lane is closed.
    pub(crate) fn next_call<L: WorkSource>(&self, lane: &L) -> Option<L::Call> {
        loop {
            let work = lane.poll(Role::Other);
            self.searching.fetch_sub(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            // A call that arrived meanwhile may rely on this worker.
            let missed = lane.has_unseen_calls();
            let has_deferred = lane.has_deferred();
            match work {
                NextWork::Run(chosen) => {
                    if missed || has_deferred {
                        self.wake_one();
                    }
                    return Some(chosen);
                }
                NextWork::Sleep(_) | NextWork::Closed if has_deferred => lane.run_deferred(),
                NextWork::Closed => return None,
                NextWork::Sleep(_) if missed => {}
                NextWork::Sleep(_) => {
                    let chosen = self.become_leader().then(|| self.lead(lane)).flatten();
                    if chosen.is_some() {
                        return chosen;
                    }
                }
            }
            self.begin_search();
        }
    }

    /// Notifies the pool of an arrival. If no worker is searching and `needs_one` holds, a worker is woken.
    pub(crate) fn notify_arrival(&self, needs_one: impl FnOnce() -> bool) {
        fence(Ordering::SeqCst);
        if self.searching.load(Ordering::SeqCst) == 0 && needs_one() {
            self.wake_one();
        }
    }

    /// Wakes the leader, or a follower that becomes the leader, because something changed.
    pub(crate) fn wake_one(&self) {
        fence(Ordering::SeqCst);
        match self.has_leader.load(Ordering::SeqCst) {
            true => self.parker.unpark(),
            false => {
                // Under the lock, so that a follower that saw a leader a moment ago sleeps already.
                let mut followers = self.followers.lock();
                if followers.wakeups < followers.asleep {
                    followers.wakeups += 1;
                    self.parker.mark_active();
                }
                drop(followers);
                self.leader_gone.notify_one();
            }
        }
    }

    /// Closes the pool, and wakes all workers.
    pub(crate) fn close(&self) {
        {
            let mut followers = self.followers.lock();
            followers.closed = true;
            (followers.wakeups..followers.asleep).for_each(|_| self.parker.mark_active());
            followers.wakeups = followers.asleep;
        }
        self.leader_gone.notify_all();
        self.parker.unpark();
    }

    /// Waits until there is no leader, and becomes it. Returns `false` once the lane is closed.
    fn become_leader(&self) -> bool {
        let mut followers = self.followers.lock();
        loop {
            if followers.closed {
                return false;
            }
            let take = (Ordering::SeqCst, Ordering::SeqCst);
            if self.has_leader.compare_exchange(false, true, take.0, take.1).is_ok() {
                return true;
            }
            followers.asleep += 1;
            self.parker.mark_idle();
            while followers.wakeups == 0 {
                followers = wait(&self.leader_gone, followers);
            }
            followers.wakeups -= 1;
            followers.asleep -= 1;
        }
    }

    /// Leads until there is a call to execute or deferred work, or until the lane is closed.
    fn lead<L: WorkSource>(&self, lane: &L) -> Option<L::Call> {
        let chosen = loop {
            // A wake-up up to here is about something that the next poll sees.
            self.parker.clear();
            fence(Ordering::SeqCst);
            match lane.poll(Role::Leader) {
                NextWork::Sleep(_) if lane.has_deferred() => break None,
                NextWork::Sleep(until) => self.parker.park_until(until),
                NextWork::Run(chosen) => break Some(chosen),
                NextWork::Closed => break None,
            }
        };
        self.has_leader.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if lane.needs_leader() || (chosen.is_some() && lane.has_deferred()) {
            self.wake_one();
        }
        chosen
    }
}

impl Park for Parker {
    fn unpark(&self) {
        Parker::unpark(self);
    }

    fn clear(&self) {
        Parker::clear(self);
    }

    fn park_until(&self, until: Option<Moment>) {
        Parker::park_until(self, until);
    }

    fn mark_idle(&self) {
        Parker::mark_idle(self);
    }

    fn mark_active(&self) {
        Parker::mark_active(self);
    }
}
