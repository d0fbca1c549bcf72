//! Which calls come in at all.
//!
//! A call that could never go, or not in time, is refused at the door: its caller learns it while
//! there is still something else to do.

use std::time::Duration;

use super::config::ExpiredSessionPolicy;
use super::error::LaneErrorKind;
use super::job::Info;
use super::places::{OverflowPolicy, Place};
use super::routes::Down;
use super::shared::Shared;
use super::within;
use crate::quota::{Moment, NotYet};

/// A place for a call, if it may come in; and how long it will wait for its turn, if that was asked.
pub(super) fn admit(
    lane: &Shared,
    info: &Info,
    when_full: OverflowPolicy,
) -> Result<(Place, Option<Duration>), LaneErrorKind> {
    if !lane.state().is_open() {
        return Err(LaneErrorKind::Closed);
    }
    is_up(lane, info)?;
    if lane.when_expired == ExpiredSessionPolicy::Refuse
        && !info.is_urgent()
        && lane.session.is_expired()
    {
        return Err(LaneErrorKind::SessionExpired);
    }
    know_weight(lane, info);
    let turn = match info.deadline {
        // An estimate may be wrong, and an exit that could have gone is worse than one that was kept in vain.
        Some(deadline) if !info.is_urgent() => Some(could_be_in_time(lane, info, deadline)?),
        _ => {
            could_ever_go(lane, info)?;
            lane.watch.wants_estimates().then(|| turn_of(lane, info).0).flatten()
        }
    };
    let place = match lane.places.take() {
        Some(place) => place,
        None => when_full_does(lane, info, when_full)?,
    };
    Ok((place, turn.map(|turn| turn.since(info.entered))))
}

fn when_full_does(
    lane: &Shared,
    info: &Info,
    when_full: OverflowPolicy,
) -> Result<Place, LaneErrorKind> {
    let full = LaneErrorKind::QueueFull { capacity: lane.places.capacity() };
    match when_full {
        // Callers that wait for their place are not to lose it, so one more waits than should.
        OverflowPolicy::Block if info.is_urgent() => Ok(lane.places.overdraw()),
        // It holds a worker, so the place that it waits for may never come free.
        OverflowPolicy::Block if within::is_within(lane) => Ok(lane.places.overdraw()),
        // A lesser call gives up its place, if there is one.
        _ if info.is_urgent() => {
            let place = lane.shed(info.priority).or_else(|| lane.places.take());
            Ok(place.unwrap_or_else(|| lane.places.overdraw()))
        }
        OverflowPolicy::Refuse => Err(full),
        OverflowPolicy::Block => {
            let is_shut = || !lane.state().is_open();
            let place = lane.places.wait(&lane.clock, info.deadline, is_shut);
            place.ok_or_else(|| match is_shut() {
                true => LaneErrorKind::Closed,
                false => {
                    LaneErrorKind::DeadlinePassed { waited: lane.clock.now().since(info.entered) }
                }
            })
        }
        OverflowPolicy::Shed => lane.shed(info.priority).or_else(|| lane.places.take()).ok_or(full),
    }
}

/// Calls of a route that is down are refused, unless they are held.
fn is_up(lane: &Shared, info: &Info) -> Result<(), LaneErrorKind> {
    let now = info.entered;
    let (refusal, change) = {
        let mut care = lane.care();
        (care.refusal(info, now), care.breaker_news(info.route, now))
    };
    lane.tell_of_breakers(change);
    // Half of the queue is for calls that can go, as far as the door can tell.
    let has_room = lane.places.taken() * 2 < lane.places.capacity().max(2);
    let is_held = |down: &Down| has_room && lane.when_down.holds(info, down);
    match refusal.filter(|down| !is_held(down)) {
        Some(down) => {
            Err(LaneErrorKind::BrokerDown { retry_in: down.until.map(|until| until.since(now)) })
        }
        None => Ok(()),
    }
}

/// A rate that was cut makes heavy calls rare, and does not refuse them for ever.
fn know_weight(lane: &Shared, info: &Info) {
    if info.charge.weight > 1 {
        let (mut allowance, now) = lane.pace.allowance();
        let mut care = lane.care();
        care.weighs(info.charge.weight);
        lane.apply(&mut care, &mut allowance, now);
    }
}

/// A call that weighs more than some window ever has would wait for ever.
fn could_ever_go(lane: &Shared, info: &Info) -> Result<(), LaneErrorKind> {
    // Only a weight can be too much: every window has room for one.
    if info.charge.weight <= 1 {
        return Ok(());
    }
    let (mut allowance, now) = lane.pace.allowance();
    match allowance.available_at(info.charge, now) {
        Err(NotYet::Never) => Err(LaneErrorKind::TooHeavy),
        Ok(()) | Err(NotYet::Until(_) | NotYet::InFlight) => Ok(()),
    }
}

/// When a call would have its turn, and what time it is.
fn turn_of(lane: &Shared, info: &Info) -> (Option<Moment>, Moment) {
    let queue = lane.take_stock();
    let ahead = queue.schedule.ahead_of_next(info.priority, &info.user);
    lane.estimate(&queue, info.charge, &ahead)
}

/// Refuses a call that would have its turn after its deadline. Gives when it will have it.
fn could_be_in_time(lane: &Shared, info: &Info, deadline: Moment) -> Result<Moment, LaneErrorKind> {
    match turn_of(lane, info) {
        (None, _) => Err(LaneErrorKind::TooHeavy),
        (Some(turn), now) if turn >= deadline => {
            Err(LaneErrorKind::TooLate { retry_in: turn.since(now) })
        }
        (Some(turn), _) => Ok(turn),
    }
}
