//! The workers of a lane: who looks for a call, who sleeps, and who is woken.
//!
//! A worker looks for a call that may go now, makes it, and looks again. Of those that find nothing
//! one has the seat: it is the leader, and sleeps until the next moment that matters to the lane, or
//! until somebody rings. The others follow: they sleep until the seat is vacant and somebody rings.
//!
//! Nobody is woken who is not needed, for a wake-up is most of what a hop from thread to thread costs.
//! So a worker that makes a call does not pass the seat on if nothing waits; and who brings a call
//! wakes nobody while some worker is awake and will look before it sleeps: a *looker*.
//!
//! And nothing is slept through. Each side first says what it does, and then looks at what the other
//! says, with a fence between: a looker that stops being one looks at the arrivals once more, who
//! takes the seat looks before it sleeps, who leaves it looks whether a leader is needed; and who
//! brings a call asks for lookers and for the seat only after having brought it. Of two that meet at
//! least one sees the other. A ring is kept for a sleeper that is not there yet.
//! (`tests/loom_crew.rs` tries it in every order.)

use crate::clock::Parker;
use crate::lane::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, fence, wait};
use crate::quota::Moment;

/// What the workers look at.
pub(crate) trait WorkSource {
    /// A call to make.
    type Call;
    /// Looks for one.
    fn poll(&self, role: Role) -> NextWork<Self::Call>;
    /// Whether something has arrived at which no worker has looked.
    fn has_unseen_calls(&self) -> bool;
    /// Whether a look has left something to be done that runs code which is not ours.
    fn has_deferred(&self) -> bool;
    /// Does it. Neither a looker does, nor who has the seat: the lane would stand still meanwhile.
    fn run_deferred(&self);
    /// Whether somebody is to look while the one who asks makes a call.
    fn needs_leader(&self) -> bool;
}

/// What a look came to.
#[derive(Debug)]
pub(crate) enum NextWork<C> {
    /// This call goes now.
    Run(C),
    /// Nothing goes before this moment, or before something changes.
    Sleep(Option<Moment>),
    /// The lane is closed.
    Closed,
}

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The one who has the seat.
    Leader,
    /// Any other.
    Other,
}

/// What wakes the leader.
pub(crate) trait Park {
    /// Wakes the sleeper, or the next one to sleep. Rings do not add up.
    fn unpark(&self);
    /// Forgets a ring that nobody slept through.
    fn clear(&self);
    /// Sleeps until then, or until a ring. May wake early.
    fn park_until(&self, until: Option<Moment>);
    /// A follower goes to sleep.
    fn mark_idle(&self) {}
    /// A follower is woken, and counts as awake before it runs.
    fn mark_active(&self) {}
}

/// The workers of one lane.
#[derive(Debug)]
pub(crate) struct LeaderFollowers<B> {
    /// Workers that will look before they sleep.
    searching: AtomicUsize,
    /// Whether the seat is taken.
    has_leader: AtomicBool,
    parker: B,
    followers: Mutex<Followers>,
    leader_gone: Condvar,
}

#[derive(Debug, Default)]
struct Followers {
    /// The lane is shut, and nobody is to sit down any more.
    closed: bool,
    asleep: usize,
    /// How many of those are to wake.
    wakeups: usize,
}

impl<B: Park> LeaderFollowers<B> {
    pub(crate) fn new(bell: B) -> Self {
        Self {
            searching: AtomicUsize::new(0),
            has_leader: AtomicBool::new(false),
            parker: bell,
            followers: Mutex::new(Followers::default()),
            leader_gone: Condvar::new(),
        }
    }

    /// A worker says that it will call [`next`](Self::next) soon. Once before each time.
    pub(crate) fn begin_search(&self) {
        self.searching.fetch_add(1, Ordering::SeqCst);
    }

    /// A worker takes its word back: it runs code that is not ours, for who knows how long.
    pub(crate) fn cancel_search<L: WorkSource>(&self, lane: &L) {
        self.searching.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if lane.needs_leader() {
            self.wake_one();
        }
    }

    /// Waits for a call to make. `None`: the lane is closed.
    pub(crate) fn next_call<L: WorkSource>(&self, lane: &L) -> Option<L::Call> {
        loop {
            let work = lane.poll(Role::Other);
            self.searching.fetch_sub(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            // What came in the meantime may have relied on this worker.
            let missed = lane.has_unseen_calls();
            let has_chores = lane.has_deferred();
            match work {
                NextWork::Run(chosen) => {
                    if missed || has_chores {
                        self.wake_one();
                    }
                    return Some(chosen);
                }
                NextWork::Sleep(_) | NextWork::Closed if has_chores => lane.run_deferred(),
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

    /// A call was brought. A worker that is awake looks at it, or else one is woken for it, if
    /// `needs_one` says that it cannot wait until some worker is done.
    pub(crate) fn notify_arrival(&self, needs_one: impl FnOnce() -> bool) {
        fence(Ordering::SeqCst);
        if self.searching.load(Ordering::SeqCst) == 0 && needs_one() {
            self.wake_one();
        }
    }

    /// Something changed: the leader is to look, or whoever becomes it.
    pub(crate) fn wake_one(&self) {
        fence(Ordering::SeqCst);
        match self.has_leader.load(Ordering::SeqCst) {
            true => self.parker.unpark(),
            false => {
                // Through the lock, so that who found the seat taken a moment ago sleeps already.
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

    /// Sends everybody away.
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

    /// Waits until the seat is vacant, and takes it. False: the lane is shut.
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

    /// Keeps the seat until there is a call to make, or a chore, or the lane is closed.
    fn lead<L: WorkSource>(&self, lane: &L) -> Option<L::Call> {
        let chosen = loop {
            // A ring up to here is about something that is seen now.
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
