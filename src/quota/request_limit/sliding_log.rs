//! The moment of each request of the last period, counted on arrival.
//!
//! A request counts from the moment of its arrival until, and without, a period later. So any time of one period, of
//! which one end is open, has at most `requests`.

use super::{LimitState, Log, Reading, RequestLimit, UnixMicros, Used};

pub(super) fn read(
    limit: &RequestLimit,
    state: &LimitState,
    weight: u32,
    now: UnixMicros,
) -> Reading {
    let empty = Log::default();
    let log = match &state.0 {
        Used::Log(log) => log,
        _ => &empty,
    };
    let ends = |at: u64| UnixMicros::new(at).plus(limit.period);
    let ended = log.requests.iter().take_while(|&&(at, _)| ends(at) <= now);
    let (ended, ended_weight) =
        ended.fold((0, 0), |(count, sum), &(_, weight)| (count + 1, weight + sum));
    let used = log.total.saturating_sub(ended_weight);
    let reset_at = log.requests.back().map_or(now, |&(at, _)| ends(at));
    reading(limit, used, reset_at, weight, now, || {
        // The first request after whose end there is room.
        let mut excess = used.saturating_add(weight) - limit.requests;
        let last = log.requests.iter().skip(ended).find(|&&(_, weight)| {
            excess = excess.saturating_sub(weight);
            excess == 0
        });
        last.map(|&(at, _)| ends(at))
    })
}

/// Returns what a log says with this weight in it. `retry_at` is asked if the request will be admitted later.
pub(super) fn reading(
    limit: &RequestLimit,
    used: u32,
    reset_at: UnixMicros,
    weight: u32,
    now: UnixMicros,
    retry_at: impl FnOnce() -> Option<UnixMicros>,
) -> Reading {
    let reset_at = reset_at.max(now);
    let remaining = limit.requests.saturating_sub(used);
    if weight <= remaining {
        return Reading::admitted(remaining, reset_at, now);
    }
    let retry_at = if weight <= limit.requests { retry_at() } else { None };
    Reading::refused(remaining, reset_at, retry_at)
}

pub(super) fn charge(limit: &RequestLimit, state: &mut LimitState, weight: u32, now: UnixMicros) {
    if !matches!(state.0, Used::Log(_)) {
        state.0 = Used::Log(Box::default());
    }
    let Used::Log(log) = &mut state.0 else { return };
    log.forget(now.get(), limit.period);
    // More than this is not counted, so that the sums of weights cannot overflow.
    let weight = weight.min(u32::MAX - log.total);
    log.total += weight;
    match log.requests.back_mut() {
        Some((at, of)) if *at == now.get() => *of += weight,
        _ => log.requests.push_back((now.get(), weight)),
    }
}

impl Log {
    /// Forgets what does not count any more.
    fn forget(&mut self, now: u64, period: u64) {
        while let Some(&(at, weight)) = self.requests.front() {
            if at.saturating_add(period) > now {
                break;
            }
            self.requests.pop_front();
            self.total -= weight;
        }
    }
}

pub(super) fn set_back(state: &mut LimitState, now: UnixMicros) {
    let Used::Log(log) = &mut state.0 else { return };
    if log.requests.back().is_some_and(|&(at, _)| at > now.get()) {
        for (at, _) in &mut log.requests {
            *at = (*at).min(now.get());
        }
    }
}

pub(super) fn fresh_at(limit: &RequestLimit, state: &LimitState) -> UnixMicros {
    match &state.0 {
        Used::Log(log) => log
            .requests
            .back()
            .map_or_else(UnixMicros::default, |&(at, _)| UnixMicros::new(at).plus(limit.period)),
        _ => UnixMicros::default(),
    }
}
