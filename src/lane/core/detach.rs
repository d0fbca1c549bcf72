//! Shuts one proxy down in a lane, while the lane goes on for the other proxies.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{LaneCore, cut_off};
use crate::lane::attachment::{Attachment, AttachmentStage};
use crate::lane::call::CallMeta;
use crate::lane::error::LaneErrorKind;
use crate::lane::state::LaneState;
use crate::quota::Moment;

impl LaneCore {
    /// Advances the shutdown of a proxy in this lane, and wakes its callers that wait for a queue slot.
    pub(in crate::lane) fn advance_attachment(
        &self,
        attachment: &Attachment,
        stage: AttachmentStage,
    ) {
        attachment.advance(self.index, stage);
        self.queue_capacity.wake_waiters();
    }

    /// Advances to a stage in which no call is queued, and rejects the queued calls of the proxy. Returns how many.
    pub(in crate::lane) fn close_attachment(
        &self,
        attachment: &Arc<Attachment>,
        stage: AttachmentStage,
    ) -> usize {
        self.advance_attachment(attachment, stage);
        self.reject_all_of(attachment)
    }

    /// Rejects the queued calls of a proxy that was shut down meanwhile: its shutdown may not have seen them.
    pub(in crate::lane) fn reject_if_detached(&self, attachment: &Arc<Attachment>) {
        if attachment.stage(self.index) >= AttachmentStage::Closed {
            self.reject_all_of(attachment);
        }
    }

    /// Rejects a call that was queued, offered or parked while its lane or its proxy was shut down: the shutdown may not have
    /// seen it.
    pub(super) fn reject_if_shut(&self, attachment: &Arc<Attachment>) {
        if self.state() == LaneState::Closed {
            self.reject_all();
        }
        self.reject_if_detached(attachment);
    }

    /// Returns whether the lane or the proxy was shut down, so that no call of it is queued.
    pub(super) fn is_shut(&self, attachment: &Attachment) -> bool {
        self.state() == LaneState::Closed || attachment.stage(self.index) >= AttachmentStage::Closed
    }

    fn reject_all_of(&self, attachment: &Arc<Attachment>) -> usize {
        let is_meant = |meta: &CallMeta| meta.is_of(attachment);
        let mut queued = self.lock_queue().scheduler.drain_matching(is_meant);
        queued.extend(self.offers.take_parked(is_meant));
        queued.extend(self.take_back_offers(is_meant));
        let rejected = self.reject(queued.into_iter().map(|job| (job, LaneErrorKind::Closed)));
        self.ring_all();
        // Calls of other proxies may have waited behind them.
        self.wake_one();
        self.idle.notify();
        rejected
    }

    /// Answers the callers of the proxy's calls in flight, except the call of the worker `own`. Calls that were
    /// dispatched, but are not in a worker's hand yet, are answered there. Returns how many had not begun, and so were
    /// not sent.
    pub(in crate::lane) fn cut_off_attachment(
        &self,
        attachment: &Arc<Attachment>,
        own: Option<usize>,
    ) -> usize {
        // Before the calls are read: a worker stores its call before it reads the stage.
        attachment.advance(self.index, AttachmentStage::CutOff);
        let calls = self.in_flight_calls.matching(own, |job| job.meta().is_of(attachment));
        let unsent = self.report_all_rejected(calls.into_iter().map(cut_off).collect());
        self.idle.notify();
        unsent
    }

    /// Blocks until no call of the proxy is queued and at most `in_flight_left` are in flight or to be reported, until
    /// the lane is paused, or until `deadline`. Calls in a paused lane were stopped on purpose.
    pub(in crate::lane) fn wait_until_sent(
        &self,
        attachment: &Arc<Attachment>,
        in_flight_left: usize,
        deadline: Moment,
    ) {
        let is_over =
            || self.state() == LaneState::Paused || self.is_finished(attachment, in_flight_left);
        self.idle.wait(&self.clock, deadline, is_over);
    }

    /// Blocks until at most `in_flight_left` calls of the proxy are in flight or to be reported, or until `deadline`.
    /// Returns whether that came to be, or all were cut off before.
    pub(in crate::lane) fn wait_until_answered(
        &self,
        attachment: &Arc<Attachment>,
        in_flight_left: usize,
        deadline: Moment,
    ) -> bool {
        self.idle.wait(&self.clock, deadline, || self.is_finished(attachment, in_flight_left))
    }

    fn is_finished(&self, attachment: &Arc<Attachment>, in_flight_left: usize) -> bool {
        // A call is dispatched under this lock, and counts until it is answered and reported, or queued again.
        let queue = self.lock_queue();
        let is_cut_off = attachment.stage(self.index) == AttachmentStage::CutOff;
        !self.has_deferred.load(Ordering::SeqCst)
            && (is_cut_off || attachment.unfinished(self.index) <= in_flight_left)
            && !queue.scheduler.has_any(|meta| meta.is_of(attachment))
            && !self.offers.has_parked(|meta| meta.is_of(attachment))
    }
}
