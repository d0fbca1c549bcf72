//! Which rules a request has, and what they count.

use lanekeeper::limiter::Request;

use crate::{NOW, allowed, decider, found, limiter};

#[test]
fn of_the_rules_with_a_path_the_most_precise_one_applies() {
    let limiter = limiter(
        "
        rules = [
            { path = '/**', name = 'everything', unlimited = true },
            { path = '/orders/**', name = 'orders and below', unlimited = true },
            { path = '/orders/*', name = 'below', unlimited = true },
            { path = '/orders/{id}', name = 'pattern', unlimited = true },
            { path = '/orders/{id}/trades', name = 'trades', unlimited = true },
            { path = '/orders/regular', name = 'exact', unlimited = true },
        ]",
    );
    for (path, name) in [
        ("/orders/regular", "exact"),
        ("/orders/1", "pattern"),
        ("/orders/1/trades", "trades"),
        ("/orders/regular/trades", "trades"),
        ("/orders/1/2", "below"),
        ("/orders", "orders and below"),
        ("/ordersx", "everything"),
        ("/", "everything"),
        // The same path in other words.
        ("//orders/./x/../%72egular?a=b", "exact"),
    ] {
        assert_eq!(found(&limiter, &Request::new(path)), [name], "{path}");
    }
}

#[test]
fn rules_without_a_path_come_in_addition() {
    let limiter = limiter(
        "
        rules = [
            { path = '/a', name = 'path', unit = 'second', requests_per_unit = 2 },
            { name = 'all', unit = 'second', requests_per_unit = 4 },
            { descriptors = [{ key = 'ip', name = 'of ip', unit = 'second', requests_per_unit = 3 }] },
        ]
        descriptors = [{ key = 'user', name = 'of user', unlimited = true }]",
    );
    let request = Request::new("/a").entry("user", "u").entry("ip", "i");
    assert_eq!(found(&limiter, &request), ["all", "of ip", "of user", "path"]);
    assert_eq!(found(&limiter, &Request::new("/b").entry("user", "u")), ["all", "of user"]);
    // One of `all` is used by each, so one is left for `/a`, though it would allow one more itself.
    assert_eq!(allowed(&limiter, &Request::new("/a"), 9), 1);
    let refused = limiter.check_at(&Request::new("/a"), NOW);
    assert_eq!(allowed(&limiter, &Request::new("/b"), 9), 1);
    assert_eq!(decider(&refused), Some("path"));
}

#[test]
fn a_nested_descriptor_applies_in_addition_to_the_one_around_it() {
    let limiter = limiter(
        "
        descriptors = [{ key = 'team', name = 'team', unit = 'hour', requests_per_unit = 3, descriptors = [
            { key = 'user', name = 'user', unit = 'hour', requests_per_unit = 2 },
        ]}]",
    );
    let of = |user| Request::new("/").entry("user", user).entry("team", "t");
    assert_eq!(allowed(&limiter, &of("a"), 9), 2);
    // The refusals of the inner limit are not counted by the outer one.
    assert_eq!(allowed(&limiter, &of("b"), 9), 1);
    assert_eq!(allowed(&limiter, &Request::new("/").entry("team", "t"), 9), 0);
    // The limit of a user is one for each team.
    assert_eq!(allowed(&limiter, &Request::new("/").entry("team", "s").entry("user", "a"), 9), 2);
    // Without the outer key the inner one does not apply.
    assert_eq!(found(&limiter, &Request::new("/").entry("user", "a")), [""; 0]);
}

#[test]
fn of_the_rules_for_one_key_the_one_with_the_most_specific_value_applies() {
    let limiter = limiter(
        "
        descriptors = [
            { key = 'file', name = 'any', unlimited = true },
            { key = 'file', value = 'a*', name = 'a*', unlimited = true },
            { key = 'file', value = 'a*z', name = 'a*z', unlimited = true },
            { key = 'file', value = 'a/*', name = 'a/*', unlimited = true },
            { key = 'file', value = 'a/b', name = 'exact', unlimited = true },
            { key = 'user', name = 'user', unlimited = true },
        ]",
    );
    for (value, name) in
        [("a/b", "exact"), ("a/c", "a/*"), ("abz", "a*z"), ("abc", "a*"), ("x", "any"), ("", "any")]
    {
        assert_eq!(found(&limiter, &Request::new("/").entry("file", value)), [name], "{value}");
    }
    // Keys of one level are looked for on their own.
    let request = Request::new("/").entry("user", "u").entry("file", "a/b");
    assert_eq!(found(&limiter, &request), ["exact", "user"]);
}

#[test]
fn a_more_specific_value_is_an_exception() {
    let limiter = limiter(
        "
        descriptors = [
            { key = 'user', unit = 'hour', requests_per_unit = 2 },
            { key = 'user', value = 'admin', unlimited = true },
            { key = 'user', value = 'bot*', unit = 'hour', requests_per_unit = 1 },
            { key = 'user', value = 'all*', share_threshold = true, unit = 'hour', requests_per_unit = 3 },
        ]",
    );
    let of = |user| Request::new("/").entry("user", user);
    assert_eq!(allowed(&limiter, &of("a"), 9), 2);
    assert_eq!(allowed(&limiter, &of("admin"), 9), 9);
    // Each value of a pattern has its own count, unless they share one.
    assert_eq!([allowed(&limiter, &of("bot1"), 9), allowed(&limiter, &of("bot2"), 9)], [1, 1]);
    assert_eq!([allowed(&limiter, &of("all1"), 2), allowed(&limiter, &of("all2"), 9)], [2, 1]);
}

/// Which is how a limit for all requests with some key is written.
#[test]
fn a_shared_star_counts_all_values_together() {
    let limiter = limiter(
        "descriptors = [{ key = 'user', value = '*', share_threshold = true, unit = 'day', requests_per_unit = 3 }]",
    );
    let of = |user| Request::new("/").entry("user", user);
    assert_eq!([allowed(&limiter, &of("a"), 2), allowed(&limiter, &of("b"), 9)], [2, 1]);
    assert_eq!(allowed(&limiter, &Request::new("/"), 9), 9);
}

#[test]
fn weights_of_rule_and_request_are_multiplied() {
    let limiter = limiter(
        "
        rules = [
            { path = '/report', name = 'cost', unit = 'hour', requests_per_unit = 10, weight = 3 },
            { name = 'calls', unit = 'hour', requests_per_unit = 9 },
        ]",
    );
    let verdict = limiter.check_at(&Request::new("/report").weight(2), NOW);
    assert_eq!((decider(&verdict), verdict.remaining()), (Some("cost"), Some(4)));
    let verdict = limiter.check_at(&Request::new("/report").weight(2), NOW);
    assert!(!verdict.is_allowed());
    let verdict = limiter.check_at(&Request::new("/report"), NOW);
    assert_eq!((verdict.is_allowed(), verdict.remaining()), (true, Some(1)));
    // 3 of 9 are counted: the refused request in none.
    assert_eq!(allowed(&limiter, &Request::new("/"), 9), 6);
    // Never, however long one waits.
    let verdict = limiter.check_at(&Request::new("/report").weight(4), NOW);
    assert_eq!((verdict.is_allowed(), verdict.retry_after()), (false, None));
}

#[test]
fn shadow_mode_reports_and_refuses_nothing() {
    let limiter = limiter(
        "
        descriptors = [{ key = 'user', name = 'team', shadow_mode = true, unit = 'hour', requests_per_unit = 1, descriptors = [
            { key = 'ip', name = 'ip', unit = 'hour', requests_per_unit = 3 },
        ]}]",
    );
    let request = Request::new("/").entry("user", "a").entry("ip", "i");
    let over: Vec<(bool, Vec<bool>)> = (0..4)
        .map(|_| limiter.check_at(&request, NOW))
        .map(|it| (it.is_allowed(), it.rules().map(|rule| rule.is_over()).collect()))
        .collect();
    // The outer rule is the first one.
    let expected = [
        (true, vec![false, false]),
        (true, vec![true, false]),
        (true, vec![true, false]),
        (false, vec![true, true]),
    ];
    assert_eq!(over, expected);
    let refused = limiter.check_at(&request, NOW);
    assert_eq!(decider(&refused), Some("ip"));
}

#[test]
fn each_algorithm_counts_as_its_name_says() {
    use lanekeeper::quota::request_limit::UnixMicros;

    // In a window of 10 s: two requests late in it, and two early in the next.
    let at = |seconds: u64| UnixMicros::new(NOW.get() + seconds * 1_000_000);
    for (algorithm, expected) in [
        ("fixed_window", [true, true, true, true]),
        ("sliding_window_log", [true, true, false, false]),
        ("sliding_window_counter", [true, true, false, false]),
        ("token_bucket", [true, true, false, false]),
    ] {
        let limiter = limiter(&format!(
            "rules = [{{ algorithm = '{algorithm}', unit = '10s', requests_per_unit = 2 }}]"
        ));
        let requests =
            [9, 9, 10, 10].map(|second| limiter.check_at(&Request::new("/"), at(second)));
        assert_eq!(requests.map(|it| it.is_allowed()), expected, "{algorithm}");
    }
}
