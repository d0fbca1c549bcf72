//! The account's holder, its margins, and sessions.

use serde_json::{Value, json};

use lanekeeper::broker::{Broker, Margin, Profile};
use lanekeeper::brokers::PaperBroker;

use super::{json_number, json_number_or_zero, naive_time};
use crate::http::form::FormFields;
use crate::http::response::{ApiData, ApiError, ApiResult};
use crate::sessions::{Sessions, Tokens};

pub(crate) fn profile(broker: &PaperBroker) -> ApiResult {
    let profile = broker.profile().map_err(|_| ApiError::internal())?;
    Ok(ApiData::Json(profile_json(&profile)))
}

/// The profile with what the account's holder alone may see, masked as Kite masks it.
pub(crate) fn full_profile(broker: &PaperBroker) -> ApiResult {
    let profile = broker.profile().map_err(|_| ApiError::internal())?;
    let mut json = profile_json(&profile);
    json["twofa_type"] = "totp".into();
    json["phone"] = "*0000".into();
    json["pan"] = "*000A".into();
    json["bank_accounts"] = json!([{"name": "PAPER BANK", "branch": "", "account": "*0000"}]);
    json["dp_ids"] = json!([]);
    json["tags"] = json!([]);
    json["password_timestamp"] = "1970-01-01 00:00:00".into();
    json["twofa_timestamp"] = "1970-01-01 00:00:00".into();
    json["meta"] = json!({"poa": "", "silo": "", "account_blocks": []});
    Ok(ApiData::Json(json))
}

pub(crate) fn margins(broker: &PaperBroker) -> ApiResult {
    let margins = broker.margins().map_err(|_| ApiError::internal())?;
    let segment = |name| margin_json(margins.segment(name));
    Ok(ApiData::Json(json!({"equity": segment("equity"), "commodity": segment("commodity")})))
}

pub(crate) fn segment_margins(broker: &PaperBroker, segment: &str) -> ApiResult {
    if !["equity", "commodity"].contains(&segment) {
        return Err(FormFields::invalid("segment"));
    }
    let margins = broker.margins().map_err(|_| ApiError::internal())?;
    Ok(ApiData::Json(margin_json(margins.segment(segment))))
}

pub(crate) fn begin_session(
    broker: &PaperBroker,
    sessions: &Sessions,
    form: &FormFields,
) -> ApiResult {
    let api_key = form.require("api_key")?;
    form.require("request_token")?;
    check_checksum(form)?;
    let profile = broker.profile().map_err(|_| ApiError::internal())?;
    let mut json = profile_json(&profile);
    let tokens = sessions.begin();
    json["api_key"] = api_key.into();
    json["access_token"] = tokens.access_token.into();
    json["public_token"] = "".into();
    json["refresh_token"] = tokens.refresh_token.into();
    json["enctoken"] = "".into();
    json["silo"] = "".into();
    json["login_time"] = naive_time(&broker.now()).into();
    Ok(ApiData::Json(json))
}

/// Begins a session with a refresh token.
pub(crate) fn renew_session(
    broker: &PaperBroker,
    sessions: &Sessions,
    form: &FormFields,
) -> ApiResult {
    let api_key = form.require("api_key")?;
    let refresh_token = form.require("refresh_token")?;
    check_checksum(form)?;
    let renewed = sessions.renew(refresh_token);
    let Some(Tokens { access_token, refresh_token }) = renewed else {
        return Err(ApiError::token("Token is invalid or has expired."));
    };
    let profile = broker.profile().map_err(|_| ApiError::internal())?;
    Ok(ApiData::Json(json!({
        "user_id": profile.user_id,
        "api_key": api_key,
        "access_token": access_token,
        "refresh_token": refresh_token,
    })))
}

/// Ends a session by its access token, or invalidates a refresh token.
pub(crate) fn end_session(sessions: &Sessions, query: &FormFields) -> ApiResult {
    query.require("api_key")?;
    match query.get("refresh_token") {
        Some(refresh_token) => sessions.end(refresh_token),
        None => sessions.end(query.require("access_token")?),
    }
    Ok(ApiData::Json(true.into()))
}

/// The API secret is not known here, so only the form of a SHA-256 is checked.
fn check_checksum(form: &FormFields) -> Result<(), ApiError> {
    let checksum = form.require("checksum")?;
    match checksum.len() == 64 && checksum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(()),
        false => Err(ApiError::token("Invalid `checksum`.")),
    }
}

fn profile_json(profile: &Profile) -> Value {
    let short = profile.user_name.split(' ').next().unwrap_or_default();
    json!({
        "user_id": profile.user_id,
        "user_type": "individual",
        "user_name": profile.user_name,
        "user_shortname": short,
        "email": profile.email,
        "broker": profile.broker,
        "exchanges": profile.exchanges,
        "products": profile.products,
        "order_types": ["MARKET", "LIMIT", "SL", "SL-M"],
        "avatar_url": null,
        "meta": {"demat_consent": "consent"},
    })
}

/// Returns the margins of a segment. A segment that the account lacks is present and not enabled.
fn margin_json(margin: Option<&Margin>) -> Value {
    let available =
        |name: &str| json_number_or_zero(margin.and_then(|m| m.available.get(name).copied()));
    let used = |name: &str| json_number_or_zero(margin.and_then(|m| m.used.get(name).copied()));
    json!({
        "enabled": margin.is_some_and(|margin| margin.enabled),
        "net": margin.map_or(0.into(), |margin| json_number(margin.net)),
        "available": {
            "adhoc_margin": 0,
            "cash": available("cash"),
            "opening_balance": available("opening_balance"),
            "live_balance": available("live_balance"),
            "collateral": 0,
            "intraday_payin": 0,
        },
        "utilised": {
            "debits": used("debits"),
            "exposure": used("exposure"),
            "m2m_realised": used("m2m_realised"),
            "m2m_unrealised": 0,
            "option_premium": 0,
            "payout": 0,
            "span": 0,
            "holding_sales": 0,
            "turnover": 0,
            "liquid_collateral": 0,
            "stock_collateral": 0,
            "delivery": 0,
        },
    })
}
