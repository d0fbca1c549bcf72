//! Token renewal, invalidation, and the profile.

use serde_json::json;

use crate::client::{form, get, roomy, send, send_as, still};

/// Has the form of a SHA-256.
const CHECKSUM: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn a_refresh_token_renews_the_session_until_it_is_invalidated() {
    let exchange = roomy(still()).start().unwrap();
    let login = form(&[("api_key", "key"), ("request_token", "r"), ("checksum", CHECKSUM)]);
    let session = send(&exchange, "POST", "/session/token", &login).data();
    let refresh = session["refresh_token"].as_str().unwrap();
    // Of two values of a field the last one counts.
    let renewal = |more: &[(&str, &str)]| {
        let fields = [("api_key", "key"), ("refresh_token", refresh), ("checksum", CHECKSUM)];
        form(&[&fields, more].concat())
    };
    let renew = |form: &str| send(&exchange, "POST", "/session/refresh_token", form);
    let renewed = renew(&renewal(&[])).data();
    assert_eq!((&renewed["user_id"], &renewed["api_key"]), (&json!("PAPER1"), &json!("key")));
    assert_eq!(renewed["refresh_token"], refresh);
    assert_ne!(renewed["access_token"], session["access_token"]);

    for (wrong, status, error_type) in [
        (form(&[("api_key", "key"), ("checksum", CHECKSUM)]), 400, "InputException"),
        (form(&[("refresh_token", refresh), ("checksum", CHECKSUM)]), 400, "InputException"),
        (form(&[("api_key", "key"), ("refresh_token", refresh)]), 400, "InputException"),
        (renewal(&[("refresh_token", "never")]), 403, "TokenException"),
        (renewal(&[("checksum", "short")]), 403, "TokenException"),
    ] {
        let (got, kind, _) = renew(&wrong).error();
        assert_eq!((got, kind.as_str()), (status, error_type), "{wrong}");
    }

    let path = format!("/session/token?api_key=key&refresh_token={refresh}");
    assert_eq!(send(&exchange, "DELETE", &path, "").data(), json!(true));
    assert_eq!(renew(&renewal(&[])).status, 403);
    // The sessions that it began go on, each until its own end.
    assert_eq!(get(&exchange, "/user/profile").status, 200);
    assert_eq!(send(&exchange, "DELETE", "/session/token?api_key=key", "").status, 400);
    send(&exchange, "DELETE", "/session/token?api_key=key&access_token=token", "").data();
    assert_eq!(get(&exchange, "/user/profile").status, 403);
}

#[test]
fn a_renewal_needs_no_session_and_is_not_counted() {
    let exchange = roomy(still()).start().unwrap();
    send(&exchange, "DELETE", "/session/token?api_key=key&access_token=token", "").data();
    let reply = send(&exchange, "POST", "/session/refresh_token", "api_key=key");
    assert_eq!(reply.error().1, "InputException");
    assert!(exchange.arrivals().iter().all(|arrival| arrival.lane.is_none()));
}

#[test]
fn the_full_profile_has_what_the_short_one_has_and_more() {
    let exchange = roomy(still()).start().unwrap();
    let (short, full) =
        (get(&exchange, "/user/profile").data(), get(&exchange, "/user/profile/full").data());
    for (name, value) in short.as_object().unwrap().iter().filter(|(name, _)| *name != "meta") {
        assert_eq!(&full[name], value, "{name}");
    }
    for name in ["phone", "pan", "bank_accounts", "dp_ids", "twofa_type", "tags"] {
        assert!(!full[name].is_null(), "{name}");
    }
    assert_eq!(send_as("other", &exchange, "POST", "/user/profile/full", b"").status, 405);
}
