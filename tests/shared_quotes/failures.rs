//! Redis that is away, slow, empty, or has something else under a key: no lookup fails, and no old value is returned.

use std::sync::Arc;
use std::time::Instant;

use lanekeeper::clock::{Clock, ManualClock};

use super::process::{Cache, Source, millis, processes, secs, value, wait_until_kept};
use super::redis::RedisServer;

fn start() -> Option<(RedisServer, ManualClock, Arc<Source>, [Cache; 2])> {
    let server = RedisServer::start()?;
    let (clock, source) = (ManualClock::new(), Arc::new(Source::default()));
    clock.advance(secs(100));
    let caches = processes(&server.url(), &clock, &source);
    Some((server, clock, source, caches))
}

#[test]
fn without_redis_each_process_fetches_for_itself() {
    let (clock, source) = (ManualClock::new(), Arc::new(Source::default()));
    let [first, second] = processes("unix:///nowhere/socket", &clock, &source);
    assert_eq!([value(&first, 1), value(&second, 1)], [1, 2]);
}

#[test]
fn a_redis_that_comes_back_is_used_again() {
    let Some((mut server, clock, source, [first, second])) = start() else { return };
    assert_eq!([value(&first, 1), value(&second, 1)], [1, 1]);
    server.crash();
    clock.advance(secs(5));
    assert_eq!([value(&first, 1), value(&second, 1)], [2, 3]);
    server.start_again();
    // The pause after a failure is of this clock and of the machine's.
    clock.advance(secs(5));
    std::thread::sleep(millis(300));
    assert_eq!([value(&first, 1), value(&second, 1)], [4, 4]);
    assert_eq!(source.asked().len(), 4);
}

#[test]
fn a_redis_that_gives_no_answer_delays_one_lookup_in_a_second() {
    let Some((server, clock, _source, [first, second])) = start() else { return };
    assert_eq!(value(&first, 1), 1);
    server.signal("-STOP");
    let began = Instant::now();
    assert_eq!(value(&second, 1), 2);
    // Its pause lasts for a second of its clock, which does not advance.
    for key in 2..100 {
        value(&second, key);
    }
    assert!(began.elapsed() < secs(30), "{:?}", began.elapsed());
    server.signal("-CONT");
    clock.advance(secs(1));
    assert_eq!(value(&first, 50), 101, "what was not kept is fetched");
}

#[test]
fn an_emptied_redis_has_nothing_and_then_what_is_new() {
    let Some((server, clock, source, [first, second])) = start() else { return };
    assert_eq!(value(&first, 1), 1);
    wait_until_kept(&server, "test:1");
    server.send("FLUSHALL");
    assert_eq!(value(&second, 1), 2);
    clock.advance(secs(5));
    assert_eq!([value(&first, 1), value(&second, 1)], [3, 3]);
    assert_eq!(source.asked().len(), 3);
}

#[test]
fn a_key_of_another_type_is_no_value_and_is_replaced() {
    let Some((server, _clock, source, [first, second])) = start() else { return };
    assert_eq!(value(&first, 7), 1);
    server.send("SADD lanekeeper:{a}:test:1 x");
    assert_eq!([value(&first, 1), value(&second, 1)], [2, 2]);
    assert_eq!(source.asked().len(), 2);
}

#[test]
fn what_is_known_of_another_type_shares_nothing() {
    let Some((server, _clock, _source, [first, second])) = start() else { return };
    server.send("SADD lanekeeper:{a}:test-state x");
    assert_eq!([value(&first, 1), value(&second, 1)], [1, 2]);
}

#[test]
fn a_value_that_cannot_be_read_is_none() {
    let Some((server, _clock, source, [first, second])) = start() else { return };
    assert_eq!(value(&first, 1), 1);
    assert_eq!(value(&second, 1), 1);
    let stored = server.send("GET lanekeeper:{a}:test:1");
    let mut words = stored.lines().nth(1).unwrap().split(' ');
    let (epoch, stamp) = (words.next().unwrap(), words.next().unwrap());
    let later = stamp.parse::<u64>().unwrap() + 1_000_000;
    let garbage = [
        String::new(),
        "x".to_owned(),
        "x x x".to_owned(),
        format!("{epoch} x 777"),
        format!("{epoch} {stamp}"),
        format!("{epoch} {stamp} x"),
        format!("{epoch} -1 777"),
        format!("{epoch} {later} 777"),
        format!("other {stamp} 777"),
        format!("{epoch} 1 777"),
    ];
    for (index, text) in garbage.iter().enumerate() {
        let key = 100 + index as u32;
        server.send(&format!("SET lanekeeper:{{a}}:test:{key} \"{text}\""));
        assert_ne!(value(&second, key), 777, "{text}");
    }
    assert_eq!(source.asked().len(), 1 + garbage.len());
}

#[test]
fn a_clock_of_redis_that_is_set_back_makes_no_value_younger() {
    for back in [millis(10), secs(1), secs(3600)] {
        let Some((_server, clock, source, [first, second])) = start() else { return };
        let wall = || Clock::from(clock.clone()).wall_clock().timestamp;
        // Both processes have an answer, and so know what to expect. The last call of each returns after that.
        assert_eq!([value(&first, 9), value(&second, 9)], [1, 1]);
        assert_eq!([value(&first, 1), value(&first, 10), value(&second, 8)], [2, 3, 4]);
        assert_eq!([value(&second, 10), value(&first, 8)], [3, 4]);
        clock.advance(secs(4));
        clock.set_wall_clock(wall() - back);
        let read = second.get(&1).unwrap().unwrap();
        assert_eq!(*read.value, 5, "{back:?}: the value of before is of another epoch");
        // The first process notices it by itself. What is fetched from then on is shared.
        clock.advance(secs(1));
        assert_eq!(value(&first, 1), 6);
        clock.advance(secs(5));
        assert_eq!([value(&second, 1), value(&first, 1)], [7, 7]);
        assert_eq!(source.asked().len(), 7);
    }
}

#[test]
fn a_clock_of_redis_that_is_set_forward_makes_values_older() {
    let Some((server, clock, _source, [first, second])) = start() else { return };
    assert_eq!(value(&first, 1), 1);
    wait_until_kept(&server, "test:1");
    let wall = Clock::from(clock.clone()).wall_clock().timestamp;
    clock.set_wall_clock(wall + secs(3));
    let read = second.get(&1).unwrap().unwrap();
    assert_eq!((*read.value, read.age), (1, millis(3005)));
    let wall = Clock::from(clock.clone()).wall_clock().timestamp;
    clock.set_wall_clock(wall + secs(3600));
    clock.advance(secs(5));
    assert_eq!([value(&first, 1), value(&second, 1)], [2, 2]);
}
