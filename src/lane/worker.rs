//! What the threads of a lane do.
//!
//! A worker looks for a call that may go now (`look.rs`), makes it, and looks again. One that finds
//! nothing becomes the leader, who sleeps until the next permit, deadline or arrival and then looks
//! again, or a follower, who does nothing until it is needed (`crew.rs`). There is one worker more than
//! calls may be in flight, so that somebody keeps the deadlines when all of those hang.

use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use super::band::Job;
use super::care::{After, Pass};
use super::job::{Attempt, Info, Next, Ran};
use super::look::Turn;
use super::observer::FinishedCall;
use super::pace::Noted;
use super::shared::Shared;
use super::state::LaneState;
use super::within::Working;
use crate::contain::contain;
use crate::quota::{Moment, Permit};
use crate::{ErrorClass, Failure, Sent};

impl Shared {
    /// The life of a worker, until the lane is closed.
    pub(super) fn work(&self, worker: usize) {
        self.crew.will_look();
        while let Some((job, turn)) = self.crew.next(self) {
            if self.hands.take_up(worker, &job) {
                self.cut_off_one(&job);
            }
            self.make(job, turn, worker);
        }
    }

    /// Makes the call that was chosen. The worker counts as a looker from then on.
    fn make(&self, job: Job, turn: Turn, worker: usize) {
        let mut is_looker = false;
        let (ran, noted) = contain(|| self.run(&job, turn, &mut is_looker)).unwrap_or_default();
        if !is_looker {
            self.is_done();
        }
        self.hands.lay_down(worker);
        let Ran { waker, late, last, .. } = ran;
        if waker.is_some() || late.is_some() || last.is_some() || noted.is_some() {
            // A task that is woken or an observer may take its time, and may call the lane again.
            self.crew.will_not_look(self);
            let _ = contain(|| waker.map(Waker::wake));
            if let Some(attempt) = last {
                self.tell_of_the_last(job.info(), attempt);
            }
            self.tell_of_the_late(job.info(), late);
            if let Some(noted) = noted {
                self.pace.note_over(&noted, &self.watch);
            }
            self.crew.will_look();
        }
        let _ = contain(|| drop(job));
        self.telling.fetch_sub(1, Ordering::SeqCst);
        self.settled.tell();
    }

    /// The call runs no more: its worker will look for another, and has only to tell of this one.
    fn is_done(&self) {
        self.telling.fetch_add(1, Ordering::SeqCst);
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.crew.will_look();
    }

    fn run(&self, job: &Job, turn: Turn, is_looker: &mut bool) -> (Ran, Option<Noted>) {
        let Turn { permit, pass } = turn;
        let info = job.info();
        let _working = Working::on(self, info);
        let begun = permit.taken_at();
        let charge = permit.charge();
        let queued = begun.since(info.entered);
        self.tell_of_breakers(pass.breaker);
        let mut held = Some((permit, pass));
        let mut again_at = begun;
        #[cfg(feature = "tracing")]
        let mut span = crate::telemetry::AttemptSpan::enter(info, queued);
        self.watch.tell(|observer| observer.dispatched(&info.seen(), queued));
        let mut noted = self.pace.note(charge, &self.watch);
        let mut finished = |attempt: Attempt| {
            let Some((permit, pass)) = held.take() else { return Next::Answer };
            // The slot first: its time runs from here.
            let (now, after) = self.finish(permit, pass, attempt, info);
            if let Some(noted) = &mut noted {
                let is_lost = attempt.was_sent() == Sent::Unknown;
                let lost = if is_lost { now.since(begun) } else { Duration::ZERO };
                noted.over = self.pace.over(lost);
            }
            again_at = after.again_at;
            // This lane's own workers look by themselves.
            self.pace.ring_others(self, charge);
            self.tell_of(attempt, &after, (info, queued), (begun, now));
            #[cfg(feature = "tracing")]
            span.finish(attempt.failure.map(|failure| failure.class));
            after.next
        };
        let mut answering = || {
            // Before the caller is told, who may call again at once.
            self.is_done();
            *is_looker = true;
        };
        let ran = job.run(&mut finished, &mut answering);
        if let Some((permit, pass)) = held {
            self.was_not_begun(permit, pass, info);
            self.pace.ring_others(self, charge);
        }
        if ran.next == Next::Again {
            self.put_again(job.clone(), again_at);
            // Whoever closed the lane meanwhile has not seen it.
            if self.state() == LaneState::Closed {
                self.refuse_all();
            }
        }
        (ran, noted)
    }

    /// Its caller left, or it was cut off, before the work began.
    fn was_not_begun(&self, permit: Permit, pass: Pass, info: &Info) {
        let (mut allowance, now) = self.pace.allowance();
        allowance.give_back(permit);
        self.care.lock().was_not_begun(pass, now, info);
    }

    fn finish(&self, permit: Permit, pass: Pass, attempt: Attempt, info: &Info) -> (Moment, After) {
        self.note_session(pass.made_with, attempt);
        let begun = permit.taken_at();
        let (mut allowance, now) = self.pace.allowance();
        match attempt.was_sent() {
            Sent::Yes => allowance.finish(permit, now),
            Sent::No => allowance.finish_unsent(permit, now),
            Sent::Unknown => allowance.finish_unanswered(permit, now),
        }
        let mut care = self.care.lock();
        let times = (now, now.since(begun));
        let after = care.over(pass, times, attempt, info, &self.session);
        self.apply(&mut care, &mut allowance, now);
        (now, after)
    }

    /// What an attempt shows of the credentials that it was made with.
    fn note_session(&self, made_with: u64, attempt: Attempt) {
        let Some(Failure { class, .. }) = attempt.failure else {
            if self.session.is_expired() {
                self.session.works(made_with);
            }
            return;
        };
        if class == ErrorClass::Unauthorized && self.session.expire(made_with) {
            self.watch.tell(|observer| observer.session_expired(self.name));
            // A lane that refuses its calls does so now.
            self.pace.ring_all();
        }
    }

    /// Tells the observer how an attempt ended.
    fn tell_of(
        &self,
        attempt: Attempt,
        after: &After,
        (info, queued): (&Info, Duration),
        (begun, now): (Moment, Moment),
    ) {
        self.tell_of_breakers(after.breaker);
        if let Some(until) = after.pause {
            self.watch.tell(|observer| observer.throttled(self.name, until.since(now)));
        }
        let call = FinishedCall::new(info, attempt, (queued, now.since(begun)));
        match after.next {
            Next::Answer => self.watch.tell(|observer| observer.finished(&call)),
            Next::Again => {
                let delay = after.again_at.since(now);
                self.watch.tell(|observer| observer.attempt_failed(&call, delay));
            }
        }
    }
}
