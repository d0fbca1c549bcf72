//! The state of one proxy over lanes that several proxies may share: how far its shutdown has come, and its calls in
//! flight.
//!
//! Each proxy over a set of lanes has an [`Attachment`]. Every call carries the attachment of the proxy that it was
//! made through. So one proxy can be shut down while the lanes go on for the others: its new calls are refused, and
//! its queued calls and its calls in flight can be told from those of the others.
//!
//! Everything is kept for each lane, because a shutdown goes from lane to lane.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// The state of one proxy in its lanes. A lane is given by its index.
#[derive(Debug)]
pub(crate) struct Attachment {
    lanes: Box<[LaneAttachment]>,
}

#[derive(Debug, Default)]
struct LaneAttachment {
    stage: AtomicU8,
    /// How many calls are in flight. A call counts from its dispatch, under the lock of the lane's queue, until just
    /// before its answer is visible, or until it is queued again.
    in_flight: AtomicUsize,
    /// How many calls have ended, and are still to be answered or reported.
    reporting: AtomicUsize,
}

/// How far the shutdown of one proxy has come in one lane. It never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AttachmentStage {
    /// Calls are admitted.
    Open,
    /// No call is admitted. Queued calls are still sent.
    Draining,
    /// No call is admitted or queued.
    Closed,
    /// The callers of calls in flight are answered in place of the broker, too.
    CutOff,
}

impl Attachment {
    pub(crate) fn new(lanes: usize) -> Self {
        Self { lanes: (0..lanes).map(|_| LaneAttachment::default()).collect() }
    }

    /// Advances to this stage, unless that or a later one is reached already.
    pub(super) fn advance(&self, lane: usize, stage: AttachmentStage) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.stage.fetch_max(stage as u8, Ordering::SeqCst);
        }
    }

    pub(super) fn stage(&self, lane: usize) -> AttachmentStage {
        let stage = self.lanes.get(lane).map(|lane| lane.stage.load(Ordering::SeqCst));
        match stage {
            Some(0) => AttachmentStage::Open,
            Some(1) => AttachmentStage::Draining,
            Some(2) => AttachmentStage::Closed,
            Some(_) => AttachmentStage::CutOff,
            // No call can be made in a lane that does not exist.
            None => AttachmentStage::Closed,
        }
    }

    /// Returns how many calls are in flight.
    pub(super) fn in_flight(&self, lane: usize) -> usize {
        self.lanes.get(lane).map_or(0, |lane| lane.in_flight.load(Ordering::SeqCst))
    }

    pub(super) fn begin_call(&self, lane: usize) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.in_flight.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Ends a call, which is still to be answered or reported.
    pub(super) fn end_call(&self, lane: usize) {
        if let Some(lane) = self.lanes.get(lane) {
            // In this order: `unfinished` reads the other way round.
            lane.reporting.fetch_add(1, Ordering::SeqCst);
            lane.in_flight.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Ends the report of a call.
    pub(super) fn end_report(&self, lane: usize) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.reporting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Returns how many calls are in flight, or still to be answered or reported.
    pub(super) fn unfinished(&self, lane: usize) -> usize {
        let count = |lane: &LaneAttachment| {
            lane.in_flight.load(Ordering::SeqCst) + lane.reporting.load(Ordering::SeqCst)
        };
        self.lanes.get(lane).map_or(0, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_never_goes_back_and_is_kept_for_each_lane() {
        let attachment = Attachment::new(2);
        attachment.advance(1, AttachmentStage::CutOff);
        attachment.advance(1, AttachmentStage::Draining);
        let stages = [0, 1, 2].map(|lane| attachment.stage(lane));
        let (open, cut_off) = (AttachmentStage::Open, AttachmentStage::CutOff);
        assert_eq!(stages, [open, cut_off, AttachmentStage::Closed]);
    }

    #[test]
    fn calls_are_counted_by_lane_and_a_lane_that_does_not_exist_has_none() {
        let attachment = Attachment::new(2);
        attachment.begin_call(1);
        attachment.begin_call(9);
        assert_eq!([0, 1, 9].map(|lane| attachment.in_flight(lane)), [0, 1, 0]);
        attachment.end_call(1);
        assert_eq!((attachment.in_flight(1), attachment.unfinished(1)), (0, 1));
        attachment.end_report(1);
        assert_eq!(attachment.unfinished(1), 0);
    }
}
