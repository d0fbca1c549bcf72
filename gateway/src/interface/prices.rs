//! Quotes for the page: from the cache of all clients, or fetched anew by hand, with a cool-down for each user.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};
use lanekeeper::broker::lanes::QUOTE;
use lanekeeper::jiff::{SignedDuration, Timestamp};
use lanekeeper::quota::Moment;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Reader, json};
use crate::account::Account;
use crate::body::ReplyBody;
use crate::door::ClientRequest;
use crate::quotes::{self, Quotes};
use crate::refusal::Refusal;
use crate::shared::Shared;

/// How many instruments the page may ask for at once.
const MAX_INSTRUMENTS: usize = 200;

/// How many users' cool-downs are remembered.
const MAX_USERS: usize = 1000;

/// When each user may refresh again.
#[derive(Default)]
pub(crate) struct CoolDowns(Mutex<HashMap<Arc<str>, Moment>>);

impl CoolDowns {
    /// Begins a cool-down, unless one is under way. Then it returns how long that still takes.
    fn begin(&self, user: Arc<str>, now: Moment, cool_down: Duration) -> Result<(), Duration> {
        let mut until = self.0.lock();
        if let Some(until) = until.get(&user).filter(|until| **until > now) {
            return Err(until.since(now));
        }
        if until.len() >= MAX_USERS {
            until.retain(|_, until| *until > now);
        }
        until.insert(user, now + cool_down);
        Ok(())
    }
}

#[derive(Serialize)]
struct Prices {
    prices: Vec<Price>,
    absent: Vec<String>,
}

#[derive(Serialize)]
struct Price {
    instrument: String,
    last_price: String,
    age: f64,
    origin: &'static str,
    fetched_at: Timestamp,
}

/// `GET /prices`.
pub(super) async fn read(
    shared: &Shared,
    reader: &Reader,
    request: &ClientRequest,
) -> Result<Response<ReplyBody>, Refusal> {
    let pairs: Vec<(String, String)> =
        form_urlencoded::parse(request.query().as_bytes()).into_owned().collect();
    let account = pairs.iter().find(|(name, _)| name == "account").map(|(_, value)| value.as_str());
    let keys = pairs.iter().filter(|(name, _)| name == "i").map(|(_, key)| key.clone()).collect();
    let asked = asked(shared, reader, account, keys)?;
    reader.admit(QUOTE)?;
    answer(shared, asked, None).await
}

/// `POST /refresh`.
pub(super) async fn refresh(
    shared: &Shared,
    reader: &Reader,
    request: &ClientRequest,
) -> Result<Response<ReplyBody>, Refusal> {
    #[derive(Deserialize)]
    struct Refresh {
        account: Option<String>,
        instruments: Vec<String>,
    }
    let refresh: Refresh = json::read(request)?;
    let asked = asked(shared, reader, refresh.account.as_deref(), refresh.instruments)?;
    reader.admit(QUOTE)?;
    // After the checks, so that a mistake costs no time.
    let begun = shared.cool_downs.begin(reader.name(), shared.clock.now(), shared.door.cool_down);
    if let Err(wait) = begun {
        return Ok(cooling_down(wait));
    }
    answer(shared, asked, Some(Duration::ZERO)).await
}

fn cooling_down(wait: Duration) -> Response<ReplyBody> {
    #[derive(Serialize)]
    struct CoolDown {
        status: &'static str,
        message: &'static str,
        error_type: &'static str,
        retry_after: f64,
    }
    let body = CoolDown {
        status: "error",
        message: "refreshed a moment ago, again later",
        error_type: "NetworkException",
        retry_after: wait.as_secs_f64(),
    };
    let mut response = json::json(StatusCode::TOO_MANY_REQUESTS, &body);
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(hyper::header::RETRY_AFTER, crate::refusal::whole_seconds(wait).into());
    response
}

/// What a reader asks for, checked.
struct AskedPrices<'a> {
    account: &'a Account,
    quotes: &'a Quotes,
    keys: Vec<String>,
}

fn asked<'a>(
    shared: &'a Shared,
    reader: &Reader,
    account: Option<&str>,
    keys: Vec<String>,
) -> Result<AskedPrices<'a>, Refusal> {
    let account = shared
        .account(account)
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "there is no such account"))?;
    reader.check_account(&account.name)?;
    if keys.is_empty() || keys.len() > MAX_INSTRUMENTS || keys.iter().any(String::is_empty) {
        let message = format!("ask for 1 to {MAX_INSTRUMENTS} instruments, such as i=NSE:INFY");
        return Err(Refusal::bad_request(message));
    }
    let quotes = account.kite.as_ref().and_then(|kite| kite.quotes.as_ref());
    let quotes = quotes.ok_or_else(|| Refusal::bad_request("this account has no quotes"))?;
    Ok(AskedPrices { account, quotes, keys })
}

async fn answer(
    shared: &Shared,
    asked: AskedPrices<'_>,
    max_age: Option<Duration>,
) -> Result<Response<ReplyBody>, Refusal> {
    let prices = fetch(asked, max_age, shared.door.client_timeout).await?;
    Ok(json::json(StatusCode::OK, &prices))
}

async fn fetch(
    asked: AskedPrices<'_>,
    max_age: Option<Duration>,
    time: Duration,
) -> Result<Prices, Refusal> {
    let AskedPrices { account, quotes, keys } = asked;
    let found = quotes
        .get(keys.clone(), max_age, time)
        .await
        .map_err(|_| Refusal::later("the broker gave no quotes", account.wait(QUOTE)))?;
    let now = Timestamp::now();
    let (mut prices, mut absent) = (Vec::new(), Vec::new());
    for key in keys {
        let row = found.rows.get(&key);
        match row.and_then(|row| Some((row, quotes::last_price(&row.value)?))) {
            Some((row, last_price)) => {
                let age = SignedDuration::try_from(row.age).unwrap_or_default();
                prices.push(Price {
                    instrument: key,
                    last_price,
                    age: row.age.as_secs_f64(),
                    origin: if quotes::is_from_memory(row) { "cache" } else { "fresh" },
                    fetched_at: now.checked_sub(age).unwrap_or(now),
                });
            }
            None => absent.push(key),
        }
    }
    Ok(Prices { prices, absent })
}

#[cfg(test)]
mod tests {
    use lanekeeper::{Clock, ManualClock};

    use super::*;

    #[test]
    fn each_user_has_a_cool_down_of_its_own() {
        let manual = ManualClock::new();
        let clock = Clock::from(manual.clone());
        let cool_downs = CoolDowns::default();
        let five = Duration::from_secs(5);
        let begin = |user: &str| cool_downs.begin(user.into(), clock.now(), five);
        assert_eq!(begin("alpha"), Ok(()));
        assert_eq!(begin("beta"), Ok(()));
        manual.advance(Duration::from_secs(2));
        assert_eq!(begin("alpha"), Err(Duration::from_secs(3)));
        manual.advance(Duration::from_secs(3));
        assert_eq!(begin("alpha"), Ok(()));
    }
}
