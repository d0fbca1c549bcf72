//! What an operator does: lanes are paused and resumed, and the gateway gets a new token.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Response, StatusCode};
use lanekeeper::brokers::Kite;
use lanekeeper::brokers::kite::SecretString;
use lanekeeper::lane::{CallOptions, Priority};
use lanekeeper::{BrokerError, LaneCall};
use serde::{Deserialize, Serialize};

use super::json;
use crate::account::Account;
use crate::body::ReplyBody;
use crate::door::ClientRequest;
use crate::notices::{Notice, Severity};
use crate::refusal::Refusal;
use crate::shared::Shared;

/// Pauses or resumes a lane.
pub(super) fn set_lane(
    shared: &Shared,
    account: &str,
    lane: &str,
    pause: bool,
) -> Result<Response<ReplyBody>, Refusal> {
    #[derive(Serialize)]
    struct State {
        state: &'static str,
    }
    let not_found = || Refusal::new(StatusCode::NOT_FOUND, "there is no such account or lane");
    let account = shared.accounts.get(account).ok_or_else(not_found)?;
    let lane = account.lanes.lane(lane).ok_or_else(not_found)?;
    match pause {
        true => lane.pause(),
        false => lane.resume(),
    };
    Ok(json::json(StatusCode::OK, &State { state: lane.status().state.as_str() }))
}

/// Exchanges a request token for an access token, and uses that from now on.
pub(super) async fn login(
    shared: &Arc<Shared>,
    request: &ClientRequest,
) -> Result<Response<ReplyBody>, Refusal> {
    #[derive(Deserialize)]
    struct Login {
        account: Option<String>,
        request_token: String,
    }
    #[derive(Serialize)]
    struct LoggedIn {
        status: &'static str,
    }
    let login: Login = json::read(request)?;
    let account = shared
        .account(login.account.as_deref())
        .cloned()
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "there is no such account"))?;
    let limit = shared.door.client_timeout;
    let token = exchange(&account, login.request_token.into(), limit).await?;
    renew(shared, &account, &token)?;
    if let Some(path) = &account.token_file {
        if let Err(error) = crate::token_file::write(path, &token) {
            let text = format!("the new token is in use, but its file cannot be written: {error}");
            let (kind, severity) = ("session", Severity::Warning);
            let account = Some(Arc::clone(&account.name));
            shared.notices.push(Notice { kind, severity, account, lane: None, text });
        }
    }
    Ok(json::json(StatusCode::OK, &LoggedIn { status: "success" }))
}

/// Uses a new token, from the next call on.
pub(crate) fn renew(
    shared: &Shared,
    account: &Account,
    token: &SecretString,
) -> Result<(), Refusal> {
    let Some(kite) = &account.kite else {
        return Err(Refusal::bad_request("this account has no session that can be renewed"));
    };
    let replaced = account.credentials.replace_token(token, &kite.kite);
    replaced.map_err(|error| Refusal::bad_request(error.to_string()))?;
    let (kind, severity, text) = ("session", Severity::Info, "a new token is in use".to_owned());
    let account = Some(Arc::clone(&account.name));
    shared.notices.push(Notice { kind, severity, account, lane: None, text });
    Ok(())
}

/// Exchanges a request token through the lanes, before all other calls.
async fn exchange(
    account: &Arc<Account>,
    token: SecretString,
    limit: Duration,
) -> Result<SecretString, Refusal> {
    let no_login = |why: &str| Refusal::bad_request(why);
    let kite = account.kite.as_ref().ok_or_else(|| no_login("this account has no login"))?;
    let secret = kite.api_secret.clone().ok_or_else(|| {
        no_login("set KITE_API_SECRET in the environment of the gateway: a login needs it")
    })?;
    let builder =
        Kite::builder().api_key(&kite.api_key).base_url(account.upstream.address().as_str());
    let call = LaneCall::write(lanekeeper::broker::lanes::TRANSACTIONAL)
        .name("login")
        .priority(Priority::URGENT);
    // A paused lane must not hold the request for ever.
    let options = CallOptions::new().deadline(limit);
    let ticket = account.lanes.submit_once(&call, &options, move || {
        builder.login(token, secret).map(|session| session.access_token)
    });
    ticket.await.map_err(|error: BrokerError| {
        Refusal::new(StatusCode::BAD_GATEWAY, format!("the login failed: {error}"))
    })
}
