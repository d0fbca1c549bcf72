//! Admission control: which calls are queued at all.
//!
//! A call that could never be sent, or not in time, is refused at admission, so that its caller learns it early.

use std::time::Duration;

use super::LaneCore;
use super::reentrancy;
use crate::lane::attachment::AttachmentStage;
use crate::lane::call::CallMeta;
use crate::lane::capacity::{OverflowPolicy, QueueSlot};
use crate::lane::config::ExpiredSessionPolicy;
use crate::lane::error::LaneErrorKind;
use crate::lane::workers::route_breakers::BlockedRoute;
use crate::quota::{Moment, NotYet};

/// Admits a call. Returns its queue slot, and its estimated wait if that is wanted. Without an overflow policy, a call
/// that finds the queue full is queued beyond the limit.
pub(in crate::lane) fn admit(
    lane: &LaneCore,
    meta: &CallMeta,
    overflow_policy: Option<OverflowPolicy>,
) -> Result<(QueueSlot, Option<Duration>), LaneErrorKind> {
    if !is_open(lane, meta) {
        return Err(LaneErrorKind::Closed);
    }
    check_breaker(lane, meta)?;
    if lane.expired_session_policy == ExpiredSessionPolicy::Refuse
        && !meta.is_urgent()
        && lane.session.is_expired()
    {
        return Err(LaneErrorKind::SessionExpired);
    }
    note_weight(lane, meta);
    let turn = match meta.deadline {
        // An estimate may be wrong, and to refuse an exit that could have been sent is worse than to queue it in
        // vain.
        Some(deadline) if !meta.is_urgent() => Some(check_deadline(lane, meta, deadline)?),
        _ => {
            check_fits_quota(lane, meta)?;
            lane.observer.wants_estimates().then(|| estimate_turn(lane, meta).0).flatten()
        }
    };
    let slot = acquire_slot(lane, meta, overflow_policy)?;
    Ok((slot, turn.map(|turn| turn.since(meta.submitted_at))))
}

/// Returns whether the lane and the proxy of the call admit calls.
fn is_open(lane: &LaneCore, meta: &CallMeta) -> bool {
    lane.state().is_open() && meta.attachment.stage(lane.index) == AttachmentStage::Open
}

fn acquire_slot(
    lane: &LaneCore,
    meta: &CallMeta,
    overflow_policy: Option<OverflowPolicy>,
) -> Result<QueueSlot, LaneErrorKind> {
    if !meta.is_counted {
        return Ok(lane.queue_capacity.uncounted());
    }
    match (lane.queue_capacity.try_acquire(), overflow_policy) {
        (Some(slot), _) => Ok(slot),
        (None, Some(overflow_policy)) => handle_full(lane, meta, overflow_policy),
        (None, None) => Ok(lane.queue_capacity.acquire_over_limit()),
    }
}

fn handle_full(
    lane: &LaneCore,
    meta: &CallMeta,
    overflow_policy: OverflowPolicy,
) -> Result<QueueSlot, LaneErrorKind> {
    let full = LaneErrorKind::QueueFull { capacity: lane.queue_capacity.limit() };
    match overflow_policy {
        // Callers that block for a slot must not lose it, so one call more than the limit waits.
        OverflowPolicy::Block if meta.is_urgent() => Ok(lane.queue_capacity.acquire_over_limit()),
        // It holds a worker, so the slot that it waits for may never be freed.
        OverflowPolicy::Block if reentrancy::is_reentrant(lane) => {
            Ok(lane.queue_capacity.acquire_over_limit())
        }
        // A call of lower priority loses its slot, if there is one.
        _ if meta.is_urgent() => {
            let slot = lane.shed(meta.priority).or_else(|| lane.queue_capacity.try_acquire());
            Ok(slot.unwrap_or_else(|| lane.queue_capacity.acquire_over_limit()))
        }
        OverflowPolicy::Refuse => Err(full),
        OverflowPolicy::Block => {
            let is_shut = || !is_open(lane, meta);
            let slot = lane.queue_capacity.acquire(&lane.clock, meta.deadline, is_shut);
            slot.ok_or_else(|| match is_shut() {
                true => LaneErrorKind::Closed,
                false => LaneErrorKind::DeadlinePassed {
                    waited: lane.clock.now().since(meta.submitted_at),
                },
            })
        }
        OverflowPolicy::Shed => {
            lane.shed(meta.priority).or_else(|| lane.queue_capacity.try_acquire()).ok_or(full)
        }
    }
}

/// Refuses a call whose breaker is open, unless it is to be held.
fn check_breaker(lane: &LaneCore, meta: &CallMeta) -> Result<(), LaneErrorKind> {
    let now = meta.submitted_at;
    let (refusal, change) = {
        let mut health = lane.health();
        (health.blocked_route(meta, now), health.take_breaker_change(meta.route, now))
    };
    lane.report_breakers(change);
    // Held calls may take half of the queue; the other half is for calls that can be sent.
    let has_room = lane.queue_capacity.in_use() * 2 < lane.queue_capacity.limit().max(2);
    let is_held =
        |down: &BlockedRoute| has_room && lane.open_breaker_policy.should_hold(meta, down);
    match refusal.filter(|down| !is_held(down)) {
        Some(down) => {
            Err(LaneErrorKind::BrokerDown { retry_in: down.until.map(|until| until.since(now)) })
        }
        None => Ok(()),
    }
}

/// Records the weight of a call, so that a rate cut leaves room for it and does not refuse it for ever.
fn note_weight(lane: &LaneCore, meta: &CallMeta) {
    if meta.cost.weight > 1 {
        let (mut pacing_state, now) = lane.pacing.lock();
        let mut health = lane.health();
        health.ensure_room_for(meta.cost.weight);
        lane.apply_rate_change(&mut health, &mut pacing_state, now);
    }
}

/// Refuses a call that weighs more than some window ever has: it would wait for ever.
fn check_fits_quota(lane: &LaneCore, meta: &CallMeta) -> Result<(), LaneErrorKind> {
    // Every window has room for a weight of one.
    if meta.cost.weight <= 1 {
        return Ok(());
    }
    let (mut pacing_state, now) = lane.pacing.lock();
    match pacing_state.available_at(meta.cost, now) {
        Err(NotYet::Never) => Err(LaneErrorKind::TooHeavy),
        Ok(()) | Err(NotYet::Until(_) | NotYet::InFlight) => Ok(()),
    }
}

/// Estimates when a call would have its turn. Returns the time too.
fn estimate_turn(lane: &LaneCore, meta: &CallMeta) -> (Option<Moment>, Moment) {
    let queue = lane.lock_queue();
    let ahead = queue.scheduler.load_ahead_of_next(meta.priority, &meta.user);
    lane.estimate(&queue, meta.cost, &ahead)
}

/// Refuses a call that would have its turn after its deadline. Returns the estimate.
fn check_deadline(
    lane: &LaneCore,
    meta: &CallMeta,
    deadline: Moment,
) -> Result<Moment, LaneErrorKind> {
    match estimate_turn(lane, meta) {
        (None, _) => Err(LaneErrorKind::TooHeavy),
        (Some(turn), now) if turn >= deadline => {
            Err(LaneErrorKind::TooLate { retry_in: turn.since(now) })
        }
        (Some(turn), _) => Ok(turn),
    }
}
