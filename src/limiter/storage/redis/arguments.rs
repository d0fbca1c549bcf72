//! What `take.lua` needs to know of a limit: its kind, the weight, whether it is in shadow mode, and
//! eight numbers.

use ::redis::Cmd;

use crate::quota::request_limit::{Algorithm, RequestLimit};

/// Adds the eleven arguments of a limit.
pub(super) fn add(command: &mut Cmd, limit: &RequestLimit, weight: u32, is_shadow: bool) {
    let requests = u64::from(limit.requests());
    let period = micros(limit.period());
    let mut numbers = [0_i128; 8];
    let kind = match limit.algorithm() {
        Algorithm::Backoff => {
            let delays = limit.delays();
            let times = [delays.base_delay, delays.max_delay, delays.forget_after].map(micros);
            numbers[0] = requests.into();
            for (number, time) in numbers[1..].iter_mut().zip(times) {
                *number = time.into();
            }
            "B"
        }
        _ if requests == 0 => "Z",
        Algorithm::TokenBucket => {
            let spare = limit.burst().checked_sub(weight).map(|spare| limit.token_time(spare));
            let (spare, spare_part) = spare.map_or((-1, 0), |(a, b)| (i128::from(a), b));
            let (time, part) = limit.token_time(weight);
            let (full, full_part) = limit.token_time(limit.burst());
            numbers = [
                requests.into(),
                spare,
                spare_part.into(),
                time.into(),
                part.into(),
                limit.max_debt().into(),
                full.into(),
                full_part.into(),
            ];
            "T"
        }
        Algorithm::FixedWindow | Algorithm::SlidingWindowLog | Algorithm::SlidingWindowCounter => {
            (numbers[0], numbers[1]) = (requests.into(), period.into());
            match limit.algorithm() {
                Algorithm::FixedWindow => "F",
                Algorithm::SlidingWindowLog => "L",
                _ => "C",
            }
        }
    };
    command.arg(kind).arg(weight).arg(u8::from(is_shadow));
    for number in numbers {
        // Below 2^63: a limit has bounds.
        command.arg(i64::try_from(number).unwrap_or(i64::MAX));
    }
}

/// Adds what `forgive.lua` needs to know of a backoff.
pub(super) fn add_delays(command: &mut Cmd, limit: &RequestLimit) {
    let delays = limit.delays();
    command.arg(micros(delays.max_delay)).arg(micros(delays.forget_after));
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
