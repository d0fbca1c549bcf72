//! Reports calls that are queued for long, so that a program that seems to hang says what it waits for.
//!
//! The waiting caller does it: its first sleep ends after [`LONG_WAIT`], and it reports on its own thread. So no timer
//! is needed, no worker wakes for it, and a call that is answered sooner takes no lock for it. The caller then takes
//! the locks of the queue, the pacing state and the lane's health once, as
//! [`Ticket::estimated_wait`](crate::lane::Ticket::estimated_wait) does.
//!
//! A sleep with a timeout reads the clock and arms a timer of the operating system, which takes a tenth of the time of a
//! call to an idle lane. So it is done only if an observer asks for it, or a subscriber of `tracing` receives level info.
//! Otherwise a wait is one sleep, as it would be without this.

use std::time::Duration;

use super::LaneCore;
use crate::lane::call::CallMeta;
use crate::lane::observer::LongWait;

/// How long a caller blocks before its call is reported.
pub(in crate::lane) const LONG_WAIT: Duration = Duration::from_secs(1);

impl LaneCore {
    /// Reports a queued call whose caller has blocked for [`LONG_WAIT`].
    pub(in crate::lane) fn report_long_wait(&self, meta: &CallMeta) {
        let (position, estimated_wait) = {
            let queue = self.lock_queue();
            match queue.scheduler.load_ahead_of(meta) {
                Some(ahead) => {
                    let (turn_at, now) = self.estimate(&queue, meta.cost, &ahead);
                    (Some(ahead.calls()), turn_at.map(|turn_at| turn_at.since(now)))
                }
                None => (None, None),
            }
        };
        let wait = LongWait {
            call: meta.to_call_info(),
            waited: self.clock.now().since(meta.submitted_at),
            position,
            estimated_wait,
            state: self.state(),
            session_expired: self.session.is_expired(),
        };
        self.observer.notify(|observer| observer.long_wait(&wait));
    }
}
