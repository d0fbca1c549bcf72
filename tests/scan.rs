//! A scan: what it sends and when, what its readers get, and what it leaves to others.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use lanekeeper::scan::{Scan, ScanEventKind, ScanState};
use lanekeeper::{Clock, LaneCall};
use support::lanes::{one, unlimited, within_reason};
use support::stepped::Failure;

#[test]
fn every_item_has_its_result() {
    let lanes = one(unlimited(4), Clock::system());
    let scan = Scan::builder(&lanes, 0..500u32)
        .start(|_| LaneCall::read("test"), |item| Ok::<_, Failure>(item * 2))
        .unwrap();
    let seen = within_reason(move || {
        let mut results = vec![None; 500];
        for event in scan.events() {
            if let ScanEventKind::Result { index, result } = event.kind {
                assert_eq!(results[index].replace(*result.as_ref().as_ref().unwrap()), None);
            }
        }
        assert_eq!(scan.state(), ScanState::Done);
        results
    });
    assert!(seen.iter().zip(0..).all(|(result, item)| *result == Some(item * 2)));
}
