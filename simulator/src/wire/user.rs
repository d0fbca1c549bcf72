//! The account's holder, its margins, and sessions.

use serde_json::{Value, json};

use lanekeeper::broker::{Broker, Margin, Profile};
use lanekeeper::brokers::PaperBroker;

use super::{json_number, json_number_or_zero, naive_time};
use crate::http::form::FormFields;
use crate::http::response::{ApiData, ApiError, ApiResult};
use crate::sessions::Sessions;

pub(crate) fn profile(broker: &PaperBroker) -> ApiResult {
    let profile = broker.profile().map_err(|_| ApiError::internal())?;
    Ok(ApiData::Json(profile_json(&profile)))
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
    let checksum = form.require("checksum")?;
    // The API secret is not known here, so only the form of a SHA-256 is checked.
    if checksum.len() != 64 || !checksum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ApiError::token("Invalid `checksum`."));
    }
    let profile = broker.profile().map_err(|_| ApiError::internal())?;
    let mut json = profile_json(&profile);
    json["api_key"] = api_key.into();
    json["access_token"] = sessions.begin().into();
    json["public_token"] = "".into();
    json["refresh_token"] = "".into();
    json["enctoken"] = "".into();
    json["silo"] = "".into();
    json["login_time"] = naive_time(&broker.now()).into();
    Ok(ApiData::Json(json))
}

pub(crate) fn end_session(sessions: &Sessions, query: &FormFields) -> ApiResult {
    query.require("api_key")?;
    sessions.end(query.require("access_token")?);
    Ok(ApiData::Json(true.into()))
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
