//! lanekeeper's own pacing, as its lanes use it.

use std::collections::HashMap;

use lanekeeper::quota::{Moment, NotYet, Pacer, Permit, Quota, RttCredit};

use super::{Peer, before};

pub struct Lanekeeper {
    pacer: Pacer,
    permits: HashMap<usize, Permit>,
}

impl Lanekeeper {
    #[allow(clippy::expect_used)] // The quotas of the table can be kept.
    pub fn new(quota: &Quota, credit: RttCredit) -> Self {
        let pacer = Pacer::new(quota, credit).expect("a quota");
        Self { pacer, permits: HashMap::new() }
    }
}

impl Peer for Lanekeeper {
    fn grant(&mut self, call: usize, now: u64, until: u64) -> Option<u64> {
        let mut at = now;
        loop {
            match self.pacer.take(Moment::from_nanos(at)) {
                Ok(permit) => {
                    self.permits.insert(call, permit);
                    return Some(at);
                }
                Err(NotYet::Until(moment)) => at = before(moment.as_nanos(), until)?,
                Err(NotYet::InFlight | NotYet::Never) => return None,
            }
        }
    }

    fn answered(&mut self, call: usize, now: u64) {
        if let Some(permit) = self.permits.remove(&call) {
            self.pacer.finish(permit, Moment::from_nanos(now));
        }
    }
}
