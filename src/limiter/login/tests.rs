use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::clock::ManualClock;
use crate::limiter::MemoryStorage;
use crate::limiter::storage::Taken;

const ADDRESS_IN_REDIS: u128 = 0x2158365f_15a3e793_7a23f942_859cff6b;
const USER_IN_REDIS: u128 = 0xbceb2512_b3a928cc_6637acd0_52de1d1c;
const MICROSECOND: Duration = Duration::from_micros(1);

fn guard() -> (LoginGuard, ManualClock) {
    let clock = ManualClock::new();
    let storage = MemoryStorage::with_clock(clock.clone());
    (LoginGuard::builder(storage).build().unwrap(), clock)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The wait that an attempt is told, or zero if it may be made. It fails then.
fn fail(guard: &LoginGuard, address: &str, user: &str) -> Duration {
    match guard.attempt(ip(address), Some(user)) {
        Ok(attempt) => {
            drop(attempt);
            Duration::ZERO
        }
        Err(refused) => refused.retry_after().unwrap(),
    }
}

/// Fails as often as is free, each time from another address.
fn use_up_user(guard: &LoginGuard, user: &str) {
    for host in 0..5 {
        assert_eq!(fail(guard, &format!("198.51.100.{host}"), user), Duration::ZERO);
    }
}

#[test]
fn after_the_free_attempts_each_failure_doubles_the_delay_up_to_15_minutes() {
    let (guard, clock) = guard();
    use_up_user(&guard, "anna");
    for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900] {
        let delay = Duration::from_secs(seconds);
        assert_eq!(fail(&guard, "192.0.2.1", "anna"), delay);
        clock.advance(delay - MICROSECOND);
        assert_eq!(fail(&guard, "192.0.2.2", "anna"), MICROSECOND, "{seconds} s");
        clock.advance(MICROSECOND);
        // To the microsecond, and from any address.
        assert_eq!(fail(&guard, "192.0.2.3", "anna"), Duration::ZERO, "{seconds} s");
    }
}

#[test]
fn attempts_during_a_delay_do_not_make_it_longer() {
    let (guard, clock) = guard();
    use_up_user(&guard, "anna");
    for left in (1..=1000).rev() {
        assert_eq!(fail(&guard, "192.0.2.1", "anna"), Duration::from_millis(left));
        clock.advance(Duration::from_millis(1));
    }
    let attempt = guard.attempt(ip("192.0.2.1"), Some("anna")).unwrap();
    attempt.succeeded().unwrap();
}

#[test]
fn failures_are_forgotten_an_hour_after_the_last_delay() {
    let (guard, clock) = guard();
    use_up_user(&guard, "anna");
    let (delay, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
    clock.advance(delay + hour - MICROSECOND);
    assert_eq!(fail(&guard, "192.0.2.1", "anna"), Duration::ZERO);
    // It was the sixth.
    assert_eq!(fail(&guard, "192.0.2.1", "anna"), 2 * delay);
    clock.advance(2 * delay + hour);
    use_up_user(&guard, "anna");
    assert_eq!(fail(&guard, "192.0.2.1", "anna"), delay);
}

#[test]
fn of_attempts_that_are_made_at_the_same_time_no_more_than_the_free_ones_may_look_at_the_secret() {
    let (guard, _) = guard();
    let (begin, admitted) = (Barrier::new(64), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for host in 0..64 {
            let (guard, begin, admitted) = (&guard, &begin, &admitted);
            scope.spawn(move || {
                begin.wait();
                let attempt = guard.attempt(ip(&format!("192.0.2.{host}")), Some("anna"));
                admitted.fetch_add(usize::from(attempt.is_ok()), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(admitted.into_inner(), 5);
}

#[test]
fn a_success_takes_back_its_own_attempt_and_no_other() {
    let (guard, _) = guard();
    let succeed = || guard.attempt(ip("192.0.2.1"), Some("anna")).unwrap().succeeded().unwrap();
    (0..100).for_each(|_| succeed());
    for _ in 0..4 {
        assert_eq!(fail(&guard, "192.0.2.1", "anna"), Duration::ZERO);
        succeed();
    }
    // The four are still there.
    assert_eq!(fail(&guard, "192.0.2.1", "anna"), Duration::ZERO);
    assert_eq!(fail(&guard, "192.0.2.1", "anna"), Duration::from_secs(1));
}

#[test]
fn an_attacker_with_an_account_of_his_own_does_not_reset_the_count_of_his_address() {
    let (guard, _) = guard();
    let mut guesses = 0;
    for user in 0.. {
        let Ok(guess) = guard.attempt(ip("192.0.2.1"), Some(&format!("user{user}"))) else { break };
        drop(guess);
        guesses += 1;
        if let Ok(own) = guard.attempt(ip("192.0.2.1"), Some("attacker")) {
            own.succeeded().unwrap();
        }
    }
    assert_eq!(guesses, 20);
}

/// Also while a delay runs: the success of an attempt that began before may end it, but not the count.
#[test]
fn own_logins_beside_the_guesses_win_one_guess_at_most() {
    let (guard, _) = guard();
    let mut guesses = 0;
    for round in 0..30 {
        // As many own logins as may be under way, then guesses, then all of the own logins succeed.
        let own: Vec<_> = (0..round % 4)
            .map_while(|_| guard.attempt(ip("192.0.2.1"), Some(&format!("own{round}"))).ok())
            .collect();
        while let Ok(guess) = guard.attempt(ip("192.0.2.1"), Some(&format!("user{guesses}"))) {
            drop(guess);
            guesses += 1;
        }
        own.into_iter().for_each(|attempt| attempt.succeeded().unwrap());
    }
    assert!((20..=21).contains(&guesses), "{guesses}");
}

#[test]
fn an_address_is_held_up_for_every_user_and_a_user_at_every_address() {
    let (guard, clock) = guard();
    for user in 0..20 {
        assert_eq!(fail(&guard, "192.0.2.1", &format!("user{user}")), Duration::ZERO);
    }
    let second = Duration::from_secs(1);
    assert_eq!(fail(&guard, "192.0.2.1", "anna"), second);
    // What the address refused is not counted for the user.
    for _ in 0..10 {
        assert_eq!(fail(&guard, "192.0.2.1", "anna"), second);
    }
    use_up_user(&guard, "anna");
    // Many addresses: the user is held up too, though never for longer than the longest delay.
    assert_eq!(fail(&guard, "203.0.113.9", "anna"), second);
    assert_eq!(fail(&guard, "203.0.113.9", "ben"), Duration::ZERO);
    clock.advance(second);
    guard.attempt(ip("203.0.113.9"), Some("anna")).unwrap().succeeded().unwrap();
}

#[test]
fn what_is_not_known_is_not_counted() {
    let (guard, _) = guard();
    for _ in 0..20 {
        assert!(guard.attempt(ip("192.0.2.1"), None).is_ok());
    }
    assert!(guard.attempt(ip("192.0.2.1"), None).is_err());
    for _ in 0..5 {
        assert!(guard.attempt(None, Some("anna")).is_ok());
    }
    assert!(guard.attempt(None, Some("anna")).is_err());
    for _ in 0..100 {
        guard.attempt(None, None).unwrap().succeeded().unwrap();
    }
}

#[test]
fn an_address_counts_as_its_network() {
    for (address, network) in [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
    ] {
        assert_eq!(client_network(ip(address), 64), network);
    }
    // A provider that gives a customer more: one network of 48 bits has one count.
    let builder = LoginGuard::builder(MemoryStorage::new()).free_per_address(2).ipv6_prefix(48);
    let guard = builder.build().unwrap();
    let attempt = |address| guard.attempt(ip(address), None).is_ok();
    let addresses = ["2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:1:4::1", "2001:db8:2::1"];
    assert_eq!(addresses.map(attempt), [true, true, false, true]);
}

#[test]
fn a_user_is_not_an_address_and_the_counts_stay_the_same_in_every_version() {
    // A storage that processes of different versions share has them under these.
    assert_eq!(fingerprint(OF_ADDRESS), ADDRESS_IN_REDIS);
    assert_eq!(fingerprint(OF_USER), USER_IN_REDIS);
    let (guard, _) = guard();
    for _ in 0..5 {
        assert!(guard.attempt(None, Some("192.0.2.1")).is_ok());
    }
    assert!(guard.attempt(ip("192.0.2.1"), None).is_ok());
}

#[test]
fn nothing_is_admitted_if_the_storage_gives_no_verdict() {
    #[derive(Default)]
    struct Failing(AtomicBool);
    impl Storage for Failing {
        fn take(&self, _: &Take<'_, '_>) -> Result<Taken, StorageError> {
            match self.0.load(Ordering::Relaxed) {
                true => Err(StorageError::new("down")),
                false => Ok(Taken { at: Default::default(), readings: Default::default() }),
            }
        }
        fn forgive(&self, _: &Take<'_, '_>) -> Result<(), StorageError> {
            Err(StorageError::new("down"))
        }
        fn may_block(&self) -> bool {
            true
        }
    }
    let storage = Arc::new(Failing::default());
    let guard = LoginGuard::builder(Arc::clone(&storage)).build().unwrap();
    let refused = || guard.attempt(ip("192.0.2.1"), Some("anna")).unwrap_err();
    // An answer about other limits is none.
    assert!(matches!(refused(), LoginRefused::StorageUnavailable(_)));
    storage.0.store(true, Ordering::Relaxed);
    assert_eq!(refused(), LoginRefused::StorageUnavailable(StorageError::new("down")));
    assert_eq!(refused().retry_after(), None);
    assert!(guard.may_block());
    assert!(guard.attempt(None, None).is_err());
}

#[test]
fn settings_that_cannot_be_kept_are_refused_and_others_hold() {
    let builder = || LoginGuard::builder(MemoryStorage::new());
    let backwards = Backoff { max_delay: Duration::from_millis(10), ..Backoff::default() };
    assert!(builder().delays(backwards).build().is_err());
    assert!(builder().free_per_user(u32::MAX).build().is_err());
    for (free, admitted) in [(0, 1), (1, 1), (3, 3)] {
        let guard = builder().free_per_user(free).free_per_address(100).build().unwrap();
        let count = (0..10).filter(|_| guard.attempt(ip("::1"), Some("anna")).is_ok()).count();
        assert_eq!(count, admitted);
        let guard = builder().free_per_address(free).build().unwrap();
        let count = (0..10).filter(|_| guard.attempt(ip("::1"), None).is_ok()).count();
        assert_eq!(count, admitted);
    }
}

#[test]
fn no_name_and_no_address_is_shown() {
    let (guard, _) = guard();
    let attempt = guard.attempt(ip("192.0.2.1"), Some("hunter2")).unwrap();
    let shown = format!("{guard:?} {attempt:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("192"), "{shown}");
}
