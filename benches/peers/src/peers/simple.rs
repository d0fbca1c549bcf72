//! Two designs that are often written by hand.

use std::collections::VecDeque;

use super::{Peer, before};
use crate::broker::{LIMIT, WINDOW};

/// One worker that executes a call and then sleeps for a tenth of a second.
#[derive(Default)]
pub struct Naive {
    busy: bool,
    free: u64,
}

impl Peer for Naive {
    fn grant(&mut self, _call: usize, now: u64, until: u64) -> Option<u64> {
        if self.busy {
            return None;
        }
        let at = before(now.max(self.free), until)?;
        self.busy = true;
        Some(at)
    }

    fn answered(&mut self, _call: usize, now: u64) {
        (self.busy, self.free) = (false, now + WINDOW / u64::from(LIMIT));
    }
}

/// The times at which the last ten calls were sent. A call goes when the oldest is a second old.
#[derive(Default)]
pub struct SendLog {
    sent: VecDeque<u64>,
}

impl Peer for SendLog {
    fn grant(&mut self, _call: usize, now: u64, until: u64) -> Option<u64> {
        let full = self.sent.len() == LIMIT as usize;
        let oldest = self.sent.front().filter(|_| full).map_or(0, |&at| at + WINDOW);
        let at = before(now.max(oldest), until)?;
        if full {
            self.sent.pop_front();
        }
        self.sent.push_back(at);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::MS;

    #[test]
    fn a_sending_makes_room_for_one_when_it_is_a_second_old() {
        let mut log = SendLog::default();
        assert_eq!(log.grant(0, 0, 0), Some(0));
        for call in 1..10 {
            assert_eq!(log.grant(call, 500 * MS, 500 * MS), Some(500 * MS));
        }
        assert_eq!(log.grant(10, 500 * MS, 5_000 * MS), Some(1_000 * MS));
        assert_eq!(log.grant(11, 1_000 * MS, 5_000 * MS), Some(1_500 * MS));
    }
}
