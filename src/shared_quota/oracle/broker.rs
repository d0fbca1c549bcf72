//! A broker that notes when it counted each call, and finds the first window with too many.

use std::time::Duration;

use crate::quota::{Window, WindowKind};

/// A call that the broker counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    /// In microseconds.
    pub(super) at: u64,
    pub(super) weight: u64,
}

/// Returns by how much the calls exceed a window at most.
pub(super) fn excess(window: &Window, calls: &[Counted]) -> u64 {
    let mut calls = calls.to_vec();
    calls.sort_by_key(|call| call.at);
    let length = u64::try_from(window.length.as_micros()).unwrap();
    let limit = u64::from(window.limit);
    match &window.kind {
        WindowKind::SlidingLog => {
            let (mut first, mut sum, mut most) = (0, 0, 0);
            for call in &calls {
                sum += call.weight;
                while call.at - calls[first].at >= length {
                    sum -= calls[first].weight;
                    first += 1;
                }
                most = most.max(sum);
            }
            most.saturating_sub(limit)
        }
        WindowKind::TokenBucket { burst } => {
            // In tokens times the length.
            let full = i128::from(*burst) * i128::from(length);
            let (mut level, mut before, mut least) = (full, 0, full);
            for call in &calls {
                level = full.min(level + i128::from(call.at - before) * i128::from(limit));
                level -= i128::from(call.weight) * i128::from(length);
                (before, least) = (call.at, least.min(level));
            }
            u64::try_from((-least).max(0)).unwrap().div_ceil(length)
        }
        WindowKind::Calendar { zone, .. } => {
            let mut days = std::collections::BTreeMap::<_, u64>::new();
            for call in &calls {
                let at = jiff::Timestamp::from_microsecond(i64::try_from(call.at).unwrap());
                *days.entry(at.unwrap().to_zoned(zone.clone()).date()).or_default() += call.weight;
            }
            days.values().copied().max().unwrap_or(0).saturating_sub(limit)
        }
        WindowKind::SlidingCounter => 0,
    }
}

#[test]
fn the_broker_finds_one_call_too_many() {
    let call = |at| Counted { at, weight: 1 };
    let window = |quota: crate::Quota| quota.windows()[0].clone();
    let second = window(crate::Quota::per_second(2));
    assert_eq!(excess(&second, &[call(0), call(1), call(1_000_000)]), 0);
    assert_eq!(excess(&second, &[call(0), call(1), call(999_999)]), 1);
    let bucket = window(crate::Quota::token_bucket(2, Duration::from_secs(1), 1));
    assert_eq!(excess(&bucket, &[call(5), call(500_005)]), 0);
    assert_eq!(excess(&bucket, &[call(5), call(6)]), 1);
}
