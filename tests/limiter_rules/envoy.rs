//! Files of envoy's rate limit service: the decisions that its documentation describes, and what it refuses.
//!
//! The limits are those of the examples in the README of <https://github.com/envoyproxy/ratelimit> (commit f2fb157) and of
//! the files in its `examples/ratelimit/config`, written down anew.

use lanekeeper::limiter::{MemoryStorage, RateLimiter, Request, Rules};

use crate::{NOW, allowed, decider, names};

fn limiter(yaml: &str) -> RateLimiter {
    RateLimiter::new(Rules::from_yaml(yaml).unwrap(), MemoryStorage::new())
}

/// Returns a request with these descriptors.
fn request<'a>(descriptors: &[&[(&'a str, &'a str)]]) -> Request<'a> {
    descriptors
        .iter()
        .fold(Request::new("/"), |request, entries| request.descriptor(entries.iter().copied()))
}

/// Returns how many of `of` requests with one descriptor are allowed.
fn allows(limiter: &RateLimiter, entries: &[(&str, &str)], of: usize) -> usize {
    allowed(limiter, &request(&[entries]), of)
}

/// Example 1, and `config.yaml`.
#[test]
fn a_limit_is_of_a_key_and_a_value() {
    let limiter = limiter(
        "{ domain: mongo_cps, descriptors: [
            { key: database, value: users, rate_limit: { requests_per_unit: 500, unit: second } },
            { key: database, value: default, rate_limit: { requests_per_unit: 500, unit: second } }] }",
    );
    assert_eq!(allows(&limiter, &[("database", "users")], 600), 500);
    assert_eq!(allows(&limiter, &[("database", "default")], 600), 500);
    assert_eq!(allows(&limiter, &[("database", "other")], 600), 600);
}

/// Example 2.
#[test]
fn a_request_with_several_descriptors_needs_the_limits_of_all() {
    let yaml = "{ domain: messaging, descriptors: [
        { key: to_number, rate_limit: { requests_per_unit: 100, unit: day } },
        { key: message_type, value: marketing, descriptors: [
            { key: to_number, rate_limit: { requests_per_unit: 5, unit: day } }] }] }";
    let limiter = limiter(yaml);
    let (kind, first, second) =
        (("message_type", "marketing"), ("to_number", "2061111111"), ("to_number", "2062222222"));
    // The outer descriptor is a placeholder.
    assert_eq!(allows(&limiter, &[kind], 200), 200);
    assert_eq!(allows(&limiter, &[kind, first], 200), 5);
    assert_eq!(allows(&limiter, &[first], 200), 100);

    let both = request(&[&[kind, second], &[second]]);
    assert_eq!(allowed(&limiter, &both, 200), 5);
    let verdict = limiter.check_at(&both, NOW);
    let inner = "messaging message_type=marketing to_number";
    assert_eq!(names(&verdict), [inner, "messaging to_number"]);
    assert_eq!(decider(&verdict), Some(inner));
    // The other limit counted what was allowed.
    assert_eq!(allows(&limiter, &[second], 200), 95);
}

/// Example 3.
#[test]
fn the_most_specific_value_is_taken_and_a_limit_of_0_refuses_all() {
    let limiter = limiter(
        "{ domain: edge_proxy_per_ip, descriptors: [
            { key: remote_address, value: 50.0.0.5, rate_limit: { unit: second, requests_per_unit: 0 } },
            { key: remote_address, rate_limit: { unit: second, requests_per_unit: 10 } }] }",
    );
    assert_eq!(allows(&limiter, &[("remote_address", "50.0.0.1")], 20), 10);
    assert_eq!(allows(&limiter, &[("remote_address", "50.0.0.2")], 20), 10);
    assert_eq!(allows(&limiter, &[("remote_address", "50.0.0.5")], 20), 0);
}

/// Example 4.
#[test]
fn a_descriptor_matches_at_its_own_depth_only() {
    let limit = "rate_limit: { unit: second, requests_per_unit: 300 }";
    let flat = format!("{{ domain: e, descriptors: [{{ key: key, value: value, {limit} }}] }}");
    let deep = format!(
        "{{ domain: e, descriptors: [{{ key: key, value: value, descriptors: [{{ key: subkey, {limit} }}] }}] }}"
    );
    let (first, second) = (("key", "value"), ("subkey", "subvalue"));
    assert_eq!(allows(&limiter(&flat), &[first, second], 400), 400);
    assert_eq!(allows(&limiter(&flat), &[first], 400), 300);
    assert_eq!(allows(&limiter(&deep), &[first, second], 400), 300);
    assert_eq!(allows(&limiter(&deep), &[first], 400), 400);
    // In another order they are another descriptor.
    assert_eq!(allows(&limiter(&deep), &[second, first], 400), 400);
}

/// Example 5.
#[test]
fn an_unlimited_descriptor_is_found_and_allows_all() {
    let limiter = limiter(
        "{ domain: internal, descriptors: [
            { key: azure, rate_limit: { requests_per_unit: 100, unit: minute } },
            { key: ldap, rate_limit: { unlimited: true } }] }",
    );
    assert_eq!(allows(&limiter, &[("ldap", "x")], 500), 500);
    assert_eq!(allows(&limiter, &[("azure", "x")], 500), 100);
    let rule = |key| {
        let verdict = limiter.check_at(&request(&[&[(key, "x")]]), NOW);
        (decider(&verdict).map(str::to_owned), verdict.limit())
    };
    assert_eq!(rule("ldap"), (Some("internal ldap".to_owned()), None));
    assert_eq!(rule("other"), (None, None));
}

/// Example 6.
#[test]
fn shadow_mode_is_of_one_descriptor() {
    let limiter = limiter(
        "{ domain: example6, descriptors: [{ key: service, descriptors: [
            { key: user, value: user-a, shadow_mode: true, rate_limit: { unit: second, requests_per_unit: 10 } },
            { key: user, value: user-b, rate_limit: { unit: second, requests_per_unit: 20 } }] }] }",
    );
    let service = ("service", "auth-service");
    assert_eq!(allows(&limiter, &[service, ("user", "user-a")], 40), 40);
    let verdict = limiter.check_at(&request(&[&[service, ("user", "user-a")]]), NOW);
    assert!(verdict.is_allowed() && verdict.rules().all(|rule| rule.is_over()));
    assert_eq!(allows(&limiter, &[service, ("user", "user-b")], 40), 20);
    // Each service has its own.
    assert_eq!(allows(&limiter, &[("service", "other"), ("user", "user-b")], 40), 20);
}

/// Example 7.
#[test]
fn a_limit_that_is_replaced_is_neither_asked_nor_counted() {
    let yaml = "{ domain: example7, descriptors: [
        { key: key_1, value: value_1, descriptors: [{ key: user, value: bkthomps,
            rate_limit: { name: specific_limit, requests_per_unit: 5, unit: second } }] },
        { key: key_2, value: value_2, descriptors: [{ key: user, value: bkthomps,
            rate_limit: { replaces: [{ name: specific_limit }], requests_per_unit: 10, unit: second } }] }] }";
    let (one, two, user) = (("key_1", "value_1"), ("key_2", "value_2"), ("user", "bkthomps"));
    assert_eq!(allows(&limiter(yaml), &[one, user], 20), 5);
    assert_eq!(allows(&limiter(yaml), &[two, user], 20), 10);
    let limiter = limiter(yaml);
    let both = request(&[&[one, user], &[two, user]]);
    assert_eq!(allowed(&limiter, &both, 20), 10);
    assert_eq!(allows(&limiter, &[one, user], 20), 5);
}

/// Example 8. Metrics have the names of rules here, so that a caller cannot make new ones.
#[test]
fn detailed_metrics_change_no_decision() {
    let limiter = limiter(
        "{ domain: example8, descriptors: [
            { key: key1, value: value1, rate_limit: { unit: minute, requests_per_unit: 20 } },
            { key: key1, detailed_metric: true, rate_limit: { unit: minute, requests_per_unit: 10 } }] }",
    );
    for (value, limit) in [("unspecified_value", 10), ("unspecified_value2", 10), ("value1", 20)] {
        assert_eq!(allows(&limiter, &[("key1", value)], 50), limit, "{value}");
    }
}

/// Example 9.
#[test]
fn a_star_is_any_number_of_characters_anywhere() {
    let limiter = limiter(
        "{ domain: example9, descriptors: [
            { key: key1, value: value*, rate_limit: { unit: minute, requests_per_unit: 20 } },
            { key: path, value: /api/*/action, rate_limit: { unit: minute, requests_per_unit: 20 } },
            { key: route, value: /api/*/resource/*/action, rate_limit: { unit: minute, requests_per_unit: 20 } }] }",
    );
    for (key, value) in [
        ("key1", "value1"),
        ("key1", "value2"),
        ("key1", "valueXYZ"),
        ("path", "/api/123/action"),
        ("path", "/api/user-id/action"),
        ("route", "/api/v1/resource/123/action"),
        ("route", "/api/v2/resource/456/action"),
    ] {
        assert_eq!(allows(&limiter, &[(key, value)], 50), 20, "{value}");
    }
    assert_eq!(allows(&limiter, &[("path", "/api/123/other")], 50), 50);
    assert_eq!(allows(&limiter, &[("key1", "other")], 50), 50);
}

/// Example 10.
#[test]
fn values_in_metrics_change_no_decision() {
    let limiter = limiter(
        "{ domain: example10, descriptors: [{ key: route, value_to_metric: true, descriptors: [
            { key: http_method, value_to_metric: true, descriptors: [
                { key: subject_id, rate_limit: { unit: minute, requests_per_unit: 60 } }] }] },
          { key: user, value_to_metric: true, descriptors: [
            { key: action, value: read*, value_to_metric: true, descriptors: [
                { key: resource, rate_limit: { unit: minute, requests_per_unit: 100 } }] }] }] }",
    );
    let call = [("route", "api"), ("http_method", "GET"), ("subject_id", "123")];
    assert_eq!(allows(&limiter, &call, 200), 60);
    let call = [("route", "web"), ("http_method", "POST"), ("subject_id", "456")];
    assert_eq!(allows(&limiter, &call, 200), 60);
    let call = [("user", "alice"), ("action", "readfile"), ("resource", "documents")];
    assert_eq!(allows(&limiter, &call, 200), 100);
    let call = [("user", "alice"), ("action", "write"), ("resource", "documents")];
    assert_eq!(allows(&limiter, &call, 200), 200);
}

/// Example 11.
#[test]
fn values_of_a_shared_threshold_have_one_count() {
    let limiter = limiter(
        "{ domain: example11, descriptors: [
            { key: files, value: files/*, share_threshold: true, rate_limit: { unit: hour, requests_per_unit: 10 } },
            { key: files_no_share, value: files_no_share/*, share_threshold: false, rate_limit: { unit: hour, requests_per_unit: 10 } },
            { key: route, value: api/*, share_threshold: true, value_to_metric: true, descriptors: [
                { key: method, rate_limit: { unit: minute, requests_per_unit: 60 } }] },
            { key: any, value: '*', share_threshold: true, rate_limit: { unit: hour, requests_per_unit: 3 } }] }",
    );
    assert_eq!(allows(&limiter, &[("files", "files/a.pdf")], 5), 5);
    assert_eq!(allows(&limiter, &[("files", "files/b.csv")], 5), 5);
    assert_eq!(allows(&limiter, &[("files", "files/c.txt")], 5), 0);
    assert_eq!(allows(&limiter, &[("files_no_share", "files_no_share/a.pdf")], 20), 10);
    assert_eq!(allows(&limiter, &[("files_no_share", "files_no_share/b.csv")], 20), 10);
    // All routes share; each method has a count of its own.
    assert_eq!(allows(&limiter, &[("route", "api/v1"), ("method", "GET")], 40), 40);
    assert_eq!(allows(&limiter, &[("route", "api/v2"), ("method", "GET")], 40), 20);
    assert_eq!(allows(&limiter, &[("route", "api/v2"), ("method", "PUT")], 99), 60);
    assert_eq!(allows(&limiter, &[("any", "a")], 2) + allows(&limiter, &[("any", "b")], 9), 3);
}

/// `example.yaml`.
#[test]
fn the_example_of_the_service_decides_as_there() {
    let limiter = limiter(
        "{ domain: rl, descriptors: [
            { key: category, value: account, rate_limit: { unit: minute, requests_per_unit: 4, replaces: [{ name: bkthomps }, { name: fake_name }] } },
            { key: source_cluster, value: proxy, descriptors: [
                { key: destination_cluster, value: bkthomps, rate_limit: { unit: minute, requests_per_unit: 2, replaces: [{ name: bkthomps }] } },
                { key: destination_cluster, value: mock, rate_limit: { unit: minute, requests_per_unit: 1 } },
                { key: destination_cluster, value: override, rate_limit: { unit: minute, requests_per_unit: 2, replaces: [{ name: banned_limit }] } },
                { key: destination_cluster, value: fake, rate_limit: { unit: minute, requests_per_unit: 2, name: fake_name } }] },
            { key: foo, rate_limit: { unit: minute, requests_per_unit: 2 }, descriptors: [
                { key: bar, rate_limit: { unit: minute, requests_per_unit: 3 } },
                { key: bar, value: bkthomps, rate_limit: { unit: minute, requests_per_unit: 1, name: bkthomps } },
                { key: bar, value: banned, rate_limit: { unit: minute, requests_per_unit: 0, name: banned_limit } },
                { key: baz, rate_limit: { unit: second, requests_per_unit: 1 } },
                { key: baz, value: not-so-shady, rate_limit: { unit: minute, requests_per_unit: 3 } },
                { key: baz, value: shady, shadow_mode: true, rate_limit: { unit: minute, requests_per_unit: 3 } },
                { key: bay, rate_limit: { unlimited: true } }] },
            { key: unspec, detailed_metric: true, rate_limit: { unit: minute, requests_per_unit: 2 } },
            { key: qux, rate_limit: { unlimited: true } },
            { key: service, value: service_1, quota_mode: true, rate_limit: { unit: minute, requests_per_unit: 1 }, metadata: { service_with_quota: { name: service_1 } } },
            { key: service, value: service_2, quota_mode: true, rate_limit: { unit: minute, requests_per_unit: 2 }, metadata: { service_with_quota: { name: service_2 } } }] }",
    );
    let cluster = |to| [("source_cluster", "proxy"), ("destination_cluster", to)];
    let foo = |key, value| [("foo", "x"), (key, value)];
    for (entries, limit) in [
        (cluster("mock"), 1),
        (cluster("fake"), 2),
        (foo("bar", "other"), 3),
        (foo("baz", "other"), 1),
        (foo("baz", "not-so-shady"), 3),
        (foo("baz", "shady"), 9),
        (foo("bay", "x"), 9),
        (foo("bar", "banned"), 0),
    ] {
        assert_eq!(allows(&limiter, &entries, 9), limit, "{entries:?}");
    }
    for (key, value, limit) in [
        // Its own limit, which the nested ones do not count in.
        ("foo", "x", 2),
        ("unspec", "a", 2),
        ("unspec", "b", 2),
        ("qux", "x", 9),
        ("service", "service_1", 9),
        ("service", "service_2", 9),
        ("service", "service_3", 9),
        ("source_cluster", "proxy", 9),
    ] {
        assert_eq!(allows(&limiter, &[(key, value)], 9), limit, "{key}={value}");
    }
    // A banned value is let through by the limit that replaces it, and only together with it.
    let overridden = request(&[&cluster("override"), &foo("bar", "banned")]);
    assert_eq!(allowed(&limiter, &overridden, 9), 2);
    let replaced = request(&[&cluster("bkthomps"), &foo("bar", "bkthomps")]);
    assert_eq!(allowed(&limiter, &replaced, 9), 2);
    assert_eq!(allows(&limiter, &foo("bar", "bkthomps"), 9), 1);
    // One limit replaces several.
    let account = [("category", "account")];
    let all = request(&[&account, &cluster("fake"), &foo("bar", "bkthomps")]);
    assert_eq!(allowed(&limiter, &all, 9), 4);
}

/// A value without a limit and without descriptors is an exception.
#[test]
fn a_descriptor_without_a_limit_is_let_through() {
    let limiter = limiter(
        "{ domain: d, descriptors: [
            { key: a, rate_limit: { unit: hour, requests_per_unit: 1 } }, { key: a, value: free }] }",
    );
    assert_eq!(allows(&limiter, &[("a", "free")], 9), 9);
    assert_eq!(allows(&limiter, &[("a", "b")], 9), 1);
}

/// The service tries patterns in the order of its file, and not by how specific they are.
#[test]
fn the_first_pattern_that_matches_is_taken() {
    let limiter = limiter(
        "{ domain: d, descriptors: [
            { key: a, value: x*, rate_limit: { unit: hour, requests_per_unit: 1 } },
            { key: a, value: xyz*, rate_limit: { unit: hour, requests_per_unit: 2 } },
            { key: a, value: xyz, rate_limit: { unit: hour, requests_per_unit: 3 } }] }",
    );
    assert_eq!(allows(&limiter, &[("a", "xyzz")], 9), 1);
    assert_eq!(allows(&limiter, &[("a", "xyz")], 9), 3);
}

/// A descriptor may have one key at each level.
#[test]
fn a_key_may_be_there_twice() {
    let limiter = limiter(
        "{ domain: d, descriptors: [{ key: a, value: x, descriptors: [
            { key: a, rate_limit: { unit: hour, requests_per_unit: 1 } }] }] }",
    );
    assert_eq!(allows(&limiter, &[("a", "x"), ("a", "y")], 9), 1);
}

#[test]
fn every_unit_is_read() {
    for (unit, seconds) in [
        ("second", 1),
        ("MINUTE", 60),
        ("Hour", 3600),
        ("day", 86_400),
        ("week", 604_800),
        ("month", 2_592_000),
        ("year", 31_536_000),
    ] {
        let rate = format!("rate_limit: {{ unit: {unit}, requests_per_unit: 7 }}");
        let yaml = format!("{{ domain: d, descriptors: [{{ key: a, {rate} }}] }}");
        let rules = Rules::from_yaml(&yaml).unwrap();
        let limit = *rules.iter().next().unwrap().limit().unwrap();
        assert_eq!((limit.requests(), limit.period().as_secs()), (7, seconds));
    }
}

#[test]
fn what_the_service_refuses_is_refused() {
    let rate = "rate_limit: { unit: day, requests_per_unit: 5 }";
    for (descriptors, problem) in [
        ("[{ value: x }]", "[0]: a descriptor has a `key`"),
        ("[{ key: '' }]", "[0].key: the key is empty"),
        (
            "[{ key: a, value: x }, { key: a, value: x }]",
            "[1]: there is a descriptor with this key and value in line 2",
        ),
        (
            "[{ key: a, rate_limit: { unit: foo, requests_per_unit: 5 } }]",
            "[0].rate_limit.unit: write one of second, minute, hour, day, week, month, year",
        ),
        (
            "[{ key: a, rate_limit: { requests_per_unit: 5 } }]",
            "[0].rate_limit: write a `unit`, or `unlimited: true`",
        ),
        (
            "[{ key: a, rate_limit: { unlimited: true, unit: day } }]",
            "[0].rate_limit.unit: this limit is unlimited, so it has no unit",
        ),
        (
            "[{ key: a, rate_limit: { unit: day, requests_per_unit: 5, name: self, replaces: [{ name: self }] } }]",
            "[0].rate_limit.replaces[0].name: a limit cannot replace itself",
        ),
        (
            "[{ key: a, rate_limit: { unit: day, requests_per_unit: 5, replaces: [{ name: '' }] } }]",
            "[0].rate_limit.replaces[0].name: the name is empty",
        ),
        (
            "[{ key: a, rate_limit: { unit: day, requests_per_unit: 5, replaces: [{ name: }] } }]",
            "[0].rate_limit.replaces[0].name: write the name of a limit, not nothing",
        ),
        (
            "[{ key: a, rate_limit: { unit: day, requests_per_unit: 5, replaces: [{}] } }]",
            "[0].rate_limit.replaces[0]: an entry of `replaces` has a `name`",
        ),
        (
            "[{ key: a, ratelimit: { unit: day, requests_per_unit: 5 } }]",
            "[0].ratelimit: there is no such key; there are: key, value, share_threshold, shadow_mode, quota_mode",
        ),
        (
            "[{ key: a, rate_limit: { unit: day, requests_per_unit: 5, requestsperunit: 5 } }]",
            "[0].rate_limit.requestsperunit: there is no such key; there are: unlimited, unit, requests_per_unit, name, replaces",
        ),
        (
            "[{ key: a, value: x, share_threshold: true }]",
            "[0].share_threshold: only values with a `*` can share a limit",
        ),
        ("[{ key: a, share_threshold: true }]", "[0].share_threshold: only values with a `*`"),
        ("[a]", "[0]: write a table of settings, not a text"),
        // Which the service takes for a limit of 0.
        (
            "[{ key: a, rate_limit: { unit: day } }]",
            "[0].rate_limit: a limit has `requests_per_unit`",
        ),
        // Which the service takes for an exception.
        ("[{ key: a, rate_limit: }]", "[0].rate_limit: write a table of settings, not nothing"),
        (
            "[{ key: a, rate_limit: { unit: day, requests_per_unit: '5' } }]",
            "[0].rate_limit.requests_per_unit: this is a text: write a whole number",
        ),
        (
            "[{ key: a, rate_limit: { key: b, unit: day, requests_per_unit: 5 } }]",
            "[0].rate_limit.key: this belongs in a table of the list `descriptors`",
        ),
    ] {
        let yaml = format!("domain: test-domain\ndescriptors: {descriptors}\n");
        let error = Rules::from_yaml(&yaml).expect_err(&yaml).to_string();
        assert!(error.starts_with(&format!("line 2: descriptors{problem}")), "{yaml}{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let refused = |yaml: &str| Rules::from_yaml(yaml).unwrap_err().to_string();
    assert_eq!(
        refused(&format!("domain: ''\ndescriptors: [{{ key: a, {rate} }}]")),
        "line 1: domain: the domain is empty"
    );
    assert_eq!(
        refused("domain: d"),
        "line 1: there are no limits in it: write `descriptors`, a list of tables"
    );
    // Without a domain it is a file of ours.
    assert!(
        refused(&format!("descriptors: [{{ key: a, {rate} }}]"))
            .contains("rate_limit: only files of envoy's rate limit service have this")
    );
    assert!(
        refused(&format!("0.25: d\ndescriptors: [{{ key: a, {rate} }}]"))
            .contains("\"0.25\": there is no such key")
    );
    assert!(refused("'''").starts_with("line 1: "));
}
