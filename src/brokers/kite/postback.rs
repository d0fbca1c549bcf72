//! Postbacks: order updates that Kite posts to the address of an app.
//!
//! A postback is a JSON object with the fields of an order and a checksum. Anybody can post to the address, so an
//! update counts only if its checksum is right: it proves that the sender knows the secret of the app. Kite posts the
//! updates of all users of the app, each with its user id.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::de::Text;
use super::orders::{self, WireOrder};
use crate::broker::Order;

/// The longest body that is read, in bytes. Kite's have about one thousand.
const MAX_LENGTH: usize = 64 * 1024;

/// An order update whose checksum is right.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Postback {
    /// The user whose order it is. An app of several users gets the updates of all of them: pass each to the guard of
    /// its user.
    pub user_id: String,
    /// The order in its present state.
    pub order: Order,
}

/// Why a postback is not an order update. Nothing may be concluded from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostbackError {
    /// It is longer than any postback.
    #[error("it is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// It is no JSON object with an id, a time and a checksum.
    #[error("it is no postback: {reason}")]
    Malformed {
        /// The reason.
        reason: String,
    },
    /// Its checksum is not the one of this order, time and secret. Kite did not send it, or the secret is that of another
    /// app.
    #[error("its checksum is wrong")]
    Checksum,
    /// Its checksum is right, and its order cannot be read.
    #[error("its order cannot be read: {reason}")]
    Unreadable {
        /// The reason.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Signed {
    #[serde(default)]
    user_id: Text,
    order_id: String,
    order_timestamp: String,
    checksum: String,
}

/// Checks a postback and returns its order update. `body` is the body of the request as it came.
///
/// The checksum is the SHA-256 of the order id, the time and the secret of the app, as in
/// <https://kite.trade/docs/connect/v3/postbacks/>. It does not cover the other fields, so an attacker who has seen a
/// postback can change those. Let Kite post over HTTPS.
///
/// ```no_run
/// use lanekeeper::brokers::kite::{SecretString, postback};
/// use lanekeeper::{Kite, Stack};
///
/// // Call this from the handler of any web server.
/// fn on_postback(broker: &Stack<Kite>, api_secret: &SecretString, body: &[u8]) -> u16 {
///     match postback::verify(body, api_secret) {
///         Ok(update) => {
///             broker.order_update(&update.order);
///             200
///         }
///         Err(error) => {
///             eprintln!("a postback was ignored: {error}");
///             400
///         }
///     }
/// }
/// ```
///
/// # Errors
/// A [`PostbackError`]; no error shows the secret, or a part of a body whose checksum is wrong.
pub fn verify(body: &[u8], api_secret: &SecretString) -> Result<Postback, PostbackError> {
    if body.len() > MAX_LENGTH {
        return Err(PostbackError::TooLong { limit: MAX_LENGTH });
    }
    let signed: Signed = serde_json::from_slice(body).map_err(|error| {
        // The message of a syntax error shows no part of the body, and that of a wrong type might.
        let reason = match error.classify() {
            serde_json::error::Category::Data => {
                "it lacks an order_id, an order_timestamp or a checksum".to_owned()
            }
            _ => error.to_string(),
        };
        PostbackError::Malformed { reason }
    })?;
    let Signed { user_id, order_id, order_timestamp, checksum } = signed;
    let given = decode_hex(&checksum).ok_or(PostbackError::Checksum)?;
    let mut hash = hmac_sha256::Hash::new();
    for part in [order_id.as_str(), &order_timestamp, api_secret.expose_secret()] {
        hash.update(part);
    }
    // In a time that does not depend on where the first difference is.
    if !hash.verify_with_ref(&given) {
        return Err(PostbackError::Checksum);
    }
    let unreadable = |reason| PostbackError::Unreadable { reason };
    let wire: WireOrder =
        serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))?;
    let order = orders::order(wire).map_err(unreadable)?;
    // The hash does not say where the id ends and the time begins, and only a whole time begins in one place.
    if order.placed_at.is_none() {
        return Err(unreadable("its order_timestamp is no time".to_owned()));
    }
    Ok(Postback { user_id: user_id.0.unwrap_or_default(), order })
}

/// Decodes 64 hexadecimal digits.
fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let mut digits = pair.iter().map(|digit| char::from(*digit).to_digit(16));
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;
    use crate::broker::OrderStatus;

    fn secret() -> SecretString {
        "hush-hush".to_owned().into()
    }

    /// Returns a postback in Kite's shape, signed with the secret.
    fn signed(order_id: &str, timestamp: &str) -> String {
        let mut hash = hmac_sha256::Hash::new();
        [order_id, timestamp, "hush-hush"].iter().for_each(|part| hash.update(part));
        let checksum: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            r#"{{"user_id":"XY1234","unfilled_quantity":0,"app_id":77,"checksum":"{checksum}",
            "placed_by":"XY1234","order_id":"{order_id}","exchange_order_id":"1300000017",
            "parent_order_id":null,"status":"COMPLETE","status_message":null,
            "order_timestamp":"{timestamp}","exchange_update_timestamp":"2026-11-27 10:14:58",
            "exchange_timestamp":"2026-11-27 10:14:58","variety":"regular","exchange":"NSE",
            "tradingsymbol":"SBIN","instrument_token":779521,"order_type":"LIMIT",
            "transaction_type":"SELL","validity":"DAY","product":"CNC","quantity":7,
            "disclosed_quantity":0,"price":801.25,"trigger_price":0,"average_price":801.3,
            "filled_quantity":7,"pending_quantity":0,"cancelled_quantity":0,
            "market_protection":0,"meta":{{}},"tag":"lk7","guid":"1abcXd"}}"#
        )
    }

    #[test]
    fn a_signed_update_is_an_order() {
        let body = signed("151220000000000", "2026-11-27 10:14:58");
        let Postback { user_id, order } = verify(body.as_bytes(), &secret()).unwrap();
        assert_eq!((user_id.as_str(), order.id.as_str()), ("XY1234", "151220000000000"));
        assert_eq!(order.status, OrderStatus::Filled);
        assert_eq!((order.filled_quantity, order.quantity), (Decimal::from(7), Decimal::from(7)));
        assert_eq!(order.tag.as_deref(), Some("lk7"));
        assert_eq!(order.placed_at.unwrap().to_string(), "2026-11-27T10:14:58+05:30[+05:30]");
    }

    #[test]
    fn the_checksum_is_that_of_the_id_the_time_and_the_secret() {
        // printf 12hush-hush | sha256sum
        let body = r#"{"order_id":"1","order_timestamp":"2","checksum":
            "1d9c8f9b7df973031d3dd2652e95571cc0aaf74ef9ee2f47f5c0f179982ad9ff"}"#;
        let error = verify(body.as_bytes(), &secret()).unwrap_err();
        assert!(matches!(error, PostbackError::Unreadable { .. }), "past the checksum: {error}");
        let good = signed("1", "2");
        for (what, bad) in [
            ("id", good.replace(r#""order_id":"1""#, r#""order_id":"3""#)),
            ("time", good.replace(r#""order_timestamp":"2""#, r#""order_timestamp":"3""#)),
            ("checksum", good.replacen(r#""checksum":""#, r#""checksum":"0"#, 1)),
            ("none", good.replacen(r#""checksum":""#, r#""checksum":"","was":""#, 1)),
            ("no hex", good.replacen(r#""checksum":""#, r#""checksum":"zz","was":""#, 1)),
        ] {
            assert_ne!(good, bad);
            assert_eq!(verify(bad.as_bytes(), &secret()), Err(PostbackError::Checksum), "{what}");
        }
        let other = "hush".to_owned().into();
        assert_eq!(verify(good.as_bytes(), &other), Err(PostbackError::Checksum));
        // Capital digits are the same number.
        let at = good.find(r#""checksum":""#).unwrap() + 12;
        let upper =
            format!("{}{}{}", &good[..at], good[at..at + 64].to_uppercase(), &good[at + 64..]);
        assert_ne!(verify(upper.as_bytes(), &secret()), Err(PostbackError::Checksum));
    }

    /// Digits that move from the id to the time, or back, leave the hash as it is.
    #[test]
    fn the_hash_of_one_order_is_not_that_of_another() {
        let (id, time) = ("151220000000000", "2026-11-27 10:14:58");
        let body = signed(id, time);
        assert!(verify(body.as_bytes(), &secret()).is_ok());
        let text = format!("{id}{time}");
        for at in (1..text.len()).filter(|at| *at != id.len()) {
            let (other_id, other_time) = text.split_at(at);
            let forged = body
                .replace(&format!(r#""order_id":"{id}""#), &format!(r#""order_id":"{other_id}""#))
                .replace(
                    &format!(r#""order_timestamp":"{time}""#),
                    &format!(r#""order_timestamp":"{other_time}""#),
                );
            let refused = verify(forged.as_bytes(), &secret());
            assert!(matches!(refused, Err(PostbackError::Unreadable { .. })), "{forged}");
        }
    }

    #[test]
    fn what_is_no_postback_is_an_error_that_shows_nothing_of_it() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            "hunter2",
            r#"{"order_id":"hunter2"}"#,
            r#"{"checksum":7,"x":"hunter2"}"#,
        ] {
            let error = verify(body.as_bytes(), &secret()).unwrap_err();
            assert!(matches!(error, PostbackError::Malformed { .. }), "{body}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let long = vec![b' '; MAX_LENGTH + 1];
        assert_eq!(verify(&long, &secret()), Err(PostbackError::TooLong { limit: MAX_LENGTH }));
        let body = signed("151220000000000", "2026-11-27 10:14:58");
        let no_side = body.replace(r#""transaction_type":"SELL""#, r#""transaction_type":null"#);
        let error = verify(no_side.as_bytes(), &secret()).unwrap_err();
        assert!(matches!(error, PostbackError::Unreadable { .. }), "{error}");
    }
}
