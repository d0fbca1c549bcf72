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

use super::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, fence, wait};
use crate::clock::Alarm;
use crate::quota::Moment;

/// What the workers look at.
pub(crate) trait Lookout {
    /// A call to make.
    type Chosen;
    /// Looks for one.
    fn look(&self, role: Role) -> Look<Self::Chosen>;
    /// Whether something has arrived at which no worker has looked.
    fn has_news(&self) -> bool;
    /// Whether a look has left something to be done that runs code which is not ours.
    fn has_chores(&self) -> bool;
    /// Does it. Neither a looker does, nor who has the seat: the lane would stand still meanwhile.
    fn do_chores(&self);
    /// Whether somebody is to look while the one who asks makes a call.
    fn wants_leader(&self) -> bool;
}

/// What a look came to.
#[derive(Debug)]
pub(crate) enum Look<C> {
    /// This call goes now.
    Go(C),
    /// Nothing goes before this moment, or before something changes.
    Wait(Option<Moment>),
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
pub(crate) trait Bell {
    /// Wakes the sleeper, or the next one to sleep. Rings do not add up.
    fn ring(&self);
    /// Forgets a ring that nobody slept through.
    fn quiet(&self);
    /// Sleeps until then, or until a ring. May wake early.
    fn sleep_until(&self, until: Option<Moment>);
    /// A follower goes to sleep.
    fn rest(&self) {}
    /// A follower is woken, and counts as awake before it runs.
    fn rise(&self) {}
}

/// The workers of one lane.
#[derive(Debug)]
pub(crate) struct Crew<B> {
    /// Workers that will look before they sleep.
    lookers: AtomicUsize,
    /// Whether the seat is taken.
    seated: AtomicBool,
    bell: B,
    followers: Mutex<Followers>,
    vacancy: Condvar,
}

#[derive(Debug, Default)]
struct Followers {
    /// The lane is shut, and nobody is to sit down any more.
    shut: bool,
    asleep: usize,
    /// How many of those are to wake.
    called: usize,
}

impl<B: Bell> Crew<B> {
    pub(crate) fn new(bell: B) -> Self {
        Self {
            lookers: AtomicUsize::new(0),
            seated: AtomicBool::new(false),
            bell,
            followers: Mutex::new(Followers::default()),
            vacancy: Condvar::new(),
        }
    }

    /// A worker says that it will call [`next`](Self::next) soon. Once before each time.
    pub(crate) fn will_look(&self) {
        self.lookers.fetch_add(1, Ordering::SeqCst);
    }

    /// A worker takes its word back: it runs code that is not ours, for who knows how long.
    pub(crate) fn will_not_look<L: Lookout>(&self, lane: &L) {
        self.lookers.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if lane.wants_leader() {
            self.ring();
        }
    }

    /// Waits for a call to make. `None`: the lane is closed.
    pub(crate) fn next<L: Lookout>(&self, lane: &L) -> Option<L::Chosen> {
        loop {
            let look = lane.look(Role::Other);
            self.lookers.fetch_sub(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            // What came in the meantime may have relied on this worker.
            let missed = lane.has_news();
            let has_chores = lane.has_chores();
            match look {
                Look::Go(chosen) => {
                    if missed || has_chores {
                        self.ring();
                    }
                    return Some(chosen);
                }
                Look::Wait(_) | Look::Closed if has_chores => lane.do_chores(),
                Look::Closed => return None,
                Look::Wait(_) if missed => {}
                Look::Wait(_) => {
                    let chosen = self.sit().then(|| self.lead(lane)).flatten();
                    if chosen.is_some() {
                        return chosen;
                    }
                }
            }
            self.will_look();
        }
    }

    /// A call was brought. A worker that is awake looks at it, or else one is woken for it, if
    /// `needs_one` says that it cannot wait until some worker is done.
    pub(crate) fn arrived(&self, needs_one: impl FnOnce() -> bool) {
        fence(Ordering::SeqCst);
        if self.lookers.load(Ordering::SeqCst) == 0 && needs_one() {
            self.ring();
        }
    }

    /// Something changed: the leader is to look, or whoever becomes it.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        match self.seated.load(Ordering::SeqCst) {
            true => self.bell.ring(),
            false => {
                // Through the lock, so that who found the seat taken a moment ago sleeps already.
                let mut followers = self.followers.lock();
                if followers.called < followers.asleep {
                    followers.called += 1;
                    self.bell.rise();
                }
                drop(followers);
                self.vacancy.notify_one();
            }
        }
    }

    /// Sends everybody away.
    pub(crate) fn shut(&self) {
        {
            let mut followers = self.followers.lock();
            followers.shut = true;
            (followers.called..followers.asleep).for_each(|_| self.bell.rise());
            followers.called = followers.asleep;
        }
        self.vacancy.notify_all();
        self.bell.ring();
    }

    /// Waits until the seat is vacant, and takes it. False: the lane is shut.
    fn sit(&self) -> bool {
        let mut followers = self.followers.lock();
        loop {
            if followers.shut {
                return false;
            }
            let take = (Ordering::SeqCst, Ordering::SeqCst);
            if self.seated.compare_exchange(false, true, take.0, take.1).is_ok() {
                return true;
            }
            followers.asleep += 1;
            self.bell.rest();
            while followers.called == 0 {
                followers = wait(&self.vacancy, followers);
            }
            followers.called -= 1;
            followers.asleep -= 1;
        }
    }

    /// Keeps the seat until there is a call to make, or a chore, or the lane is closed.
    fn lead<L: Lookout>(&self, lane: &L) -> Option<L::Chosen> {
        let chosen = loop {
            // A ring up to here is about something that is seen now.
            self.bell.quiet();
            fence(Ordering::SeqCst);
            match lane.look(Role::Leader) {
                Look::Wait(_) if lane.has_chores() => break None,
                Look::Wait(until) => self.bell.sleep_until(until),
                Look::Go(chosen) => break Some(chosen),
                Look::Closed => break None,
            }
        };
        self.seated.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if lane.wants_leader() || (chosen.is_some() && lane.has_chores()) {
            self.ring();
        }
        chosen
    }
}

impl Bell for Alarm {
    fn ring(&self) {
        Alarm::ring(self);
    }

    fn quiet(&self) {
        Alarm::quiet(self);
    }

    fn sleep_until(&self, until: Option<Moment>) {
        Alarm::sleep_until(self, until);
    }

    fn rest(&self) {
        Alarm::rest(self);
    }

    fn rise(&self) {
        Alarm::rise(self);
    }
}
