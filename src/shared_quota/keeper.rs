//! The thread that keeps a process in its account.
//!
//! Each second it says that the process is alive, renews the leases of calls in flight, and hears what is used. What ended is
//! told as soon as it has, if no ask takes it along. While Redis is away it tries to return.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::permits::SharedPermits;
use crate::lane::SharedMode;
use crate::panic::catch_panic;

/// How often a process says that it is alive.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// How often it tries to return.
const RETURN_EVERY: Duration = Duration::from_millis(300);

/// How long what ended waits for an ask that takes it along.
const TELL_AFTER: Duration = Duration::from_millis(2);

/// The thread. Dropped, it tells what is left, and that the process leaves.
pub(super) struct Keeper {
    permits: Arc<SharedPermits>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(permits: Arc<SharedPermits>) -> std::io::Result<Self> {
        let thread = {
            let permits = Arc::clone(&permits);
            thread::Builder::new().name("shared-quota".to_owned()).spawn(move || {
                while !permits.is_closing() {
                    // The account must be kept, whatever fails.
                    let _ = catch_panic(|| keep(&permits));
                }
                let _ = catch_panic(|| leave(&permits));
            })?
        };
        Ok(Self { permits, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.permits.close();
        // The keeper may be the last that holds the lanes, while it reads their rates. This thread ends once it returns.
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| !is_own(thread)) {
            // Its panics are caught. A trip takes a limited time.
            let _ = thread.join();
        }
    }
}

fn keep(permits: &SharedPermits) {
    let mut next_beat = permits.clock.now();
    let mut tell_at = None;
    while !permits.is_closing() {
        let now = permits.clock.now();
        if now >= next_beat {
            permits.deliver_waiting_events();
        }
        if permits.mode() != SharedMode::Shared {
            if now >= next_beat {
                let has_joined = permits.come_back().is_ok();
                let pause = if has_joined { BEAT_EVERY } else { RETURN_EVERY };
                next_beat = permits.clock.now() + pause;
            }
        } else if now >= next_beat || permits.has_pause() {
            next_beat = now + BEAT_EVERY;
            if permits.say_alive(false) {
                permits.look();
            }
        } else if permits.has_untold() {
            // An ask may take it along meanwhile.
            let at = *tell_at.get_or_insert(now + TELL_AFTER);
            if now >= at {
                permits.tell();
                tell_at = None;
            }
        } else {
            tell_at = None;
        }
        permits.keeper.park_until(tell_at.into_iter().chain([next_beat]).min());
    }
}

fn leave(permits: &SharedPermits) {
    if permits.mode() == SharedMode::Shared && permits.tell() {
        permits.say_alive(true);
    }
}
