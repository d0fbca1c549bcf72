//! The account's holder, its money, and sessions.

use serde_json::{Value, json};

use crate::broker::{Broker, Margin, Profile};
use crate::brokers::PaperBroker;

use super::super::answer::{Answer, ApiError, Body};
use super::super::form::Fields;
use super::super::sessions::Sessions;
use super::{naive, num, num_or_zero};

pub(in super::super) fn profile(broker: &PaperBroker) -> Answer {
    let profile = broker.profile().map_err(|_| ApiError::internal())?;
    Ok(Body::Json(profile_json(&profile)))
}

pub(in super::super) fn margins(broker: &PaperBroker) -> Answer {
    let margins = broker.margins().map_err(|_| ApiError::internal())?;
    let segment = |name| margin_json(margins.segment(name));
    Ok(Body::Json(json!({"equity": segment("equity"), "commodity": segment("commodity")})))
}

pub(in super::super) fn segment_margins(broker: &PaperBroker, segment: &str) -> Answer {
    if !["equity", "commodity"].contains(&segment) {
        return Err(Fields::invalid("segment"));
    }
    let margins = broker.margins().map_err(|_| ApiError::internal())?;
    Ok(Body::Json(margin_json(margins.segment(segment))))
}

pub(in super::super) fn begin_session(
    broker: &PaperBroker,
    sessions: &Sessions,
    form: &Fields,
) -> Answer {
    let api_key = form.need("api_key")?;
    form.need("request_token")?;
    let checksum = form.need("checksum")?;
    // The secret is the client's own; what can be seen is whether this is a SHA-256 at all.
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
    json["login_time"] = naive(&broker.now()).into();
    Ok(Body::Json(json))
}

pub(in super::super) fn end_session(sessions: &Sessions, query: &Fields) -> Answer {
    query.need("api_key")?;
    sessions.end(query.need("access_token")?);
    Ok(Body::Json(true.into()))
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

/// A segment's money. One that the account does not have is there, and not enabled.
fn margin_json(margin: Option<&Margin>) -> Value {
    let available = |name: &str| num_or_zero(margin.and_then(|m| m.available.get(name).copied()));
    let used = |name: &str| num_or_zero(margin.and_then(|m| m.used.get(name).copied()));
    json!({
        "enabled": margin.is_some_and(|margin| margin.enabled),
        "net": margin.map_or(0.into(), |margin| num(margin.net)),
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
