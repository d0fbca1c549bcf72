//! Price alerts: the forms that clients send, and the alerts as the wire shows them.

use serde_json::{Value, json};

use lanekeeper::broker::{Exchange, Instrument};
use lanekeeper::brokers::PaperBroker;

use super::{USER_ID, json_number, naive_time, uuid};
use crate::accounts::Account;
use crate::alerts::{Alert, AlertOperand, AlertRequest, AlertStatus};
use crate::http::form::FormFields;
use crate::http::response::{ApiData, ApiError, ApiResult};
use crate::route::AlertRoute;

const OPERATORS: [&str; 5] = ["<=", ">=", "<", ">", "=="];
/// The exchange by which alerts name the indices.
const INDICES: &str = "INDICES";
/// Bounds a name and an attribute.
const MAX_TEXT_LENGTH: usize = 100;

/// Executes a request to `route`. The ids of alerts to delete are in the query.
pub(crate) fn answer(
    broker: &PaperBroker,
    account: Account<'_>,
    route: AlertRoute<'_>,
    query: &FormFields,
    form: &FormFields,
) -> ApiResult {
    let now = broker.now();
    let json = match route {
        AlertRoute::All => {
            let status = query.get("status");
            account.read(|state| {
                let alerts = state.alerts.listed().into_iter();
                let wanted = alerts.filter(|(_, alert)| {
                    status.is_none_or(|status| status == alert.status.as_str())
                });
                wanted.map(|(number, alert)| alert_json(number, alert)).collect::<Vec<_>>().into()
            })
        }
        AlertRoute::One { id } => {
            let number = parse_id(id)?;
            account.read(|state| state.alerts.get(number).map(|alert| alert_json(number, alert)))?
        }
        AlertRoute::History { id } => {
            let number = parse_id(id)?;
            account.read(|state| state.alerts.get(number).map(drop))?;
            json!([])
        }
        AlertRoute::Create => {
            let request = parse_request(broker, form)?;
            let number = account.next_number();
            account.change(|state| {
                state.alerts.create(number, request, &now).map(|alert| alert_json(number, alert))
            })?
        }
        AlertRoute::Modify { id } => {
            let number = parse_id(id)?;
            let request = parse_request(broker, form)?;
            let status = match form.get("status") {
                None => None,
                Some("enabled") => Some(AlertStatus::Enabled),
                Some("disabled") => Some(AlertStatus::Disabled),
                Some(_) => return Err(FormFields::invalid("status")),
            };
            account.change(|state| {
                let alert = state.alerts.modify(number, request, status, &now);
                alert.map(|alert| alert_json(number, alert))
            })?
        }
        AlertRoute::Delete => {
            query.require("uuid")?;
            let numbers: Result<Vec<u64>, _> = query.all("uuid").map(parse_id).collect();
            let numbers = numbers?;
            account.change(|state| state.alerts.delete(&numbers, &now))?;
            Value::Null
        }
    };
    Ok(ApiData::Json(json))
}

fn parse_id(id: &str) -> Result<u64, ApiError> {
    uuid::parse(id).ok_or_else(|| ApiError::not_found("Alert not found."))
}

fn parse_request(broker: &PaperBroker, form: &FormFields) -> Result<AlertRequest, ApiError> {
    form.reject_unknown(&[
        "name",
        "type",
        "status",
        "lhs_exchange",
        "lhs_tradingsymbol",
        "lhs_attribute",
        "operator",
        "rhs_type",
        "rhs_constant",
        "rhs_exchange",
        "rhs_tradingsymbol",
        "rhs_attribute",
        "basket",
    ])?;
    let name = text(form, "name")?;
    match form.require("type")? {
        "simple" => {}
        "ato" => {
            return Err(ApiError::input(
                "Alerts that trigger orders are not simulated. Place a GTT, or an alert of the type simple.",
            ));
        }
        _ => return Err(FormFields::invalid("type")),
    }
    let (exchange, symbol) = instrument(broker, form, ["lhs_exchange", "lhs_tradingsymbol"])?;
    let attribute = text(form, "lhs_attribute")?;
    let operator = form.require("operator")?;
    if !OPERATORS.contains(&operator) {
        return Err(FormFields::invalid("operator"));
    }
    let operand = match form.require("rhs_type")? {
        "constant" => {
            form.require("rhs_constant")?;
            AlertOperand::Constant(form.price("rhs_constant")?.unwrap_or_default())
        }
        "instrument" => {
            let (exchange, symbol) =
                instrument(broker, form, ["rhs_exchange", "rhs_tradingsymbol"])?;
            AlertOperand::Instrument { exchange, symbol, attribute: text(form, "rhs_attribute")? }
        }
        _ => return Err(FormFields::invalid("rhs_type")),
    };
    Ok(AlertRequest { name, exchange, symbol, attribute, operator: operator.to_owned(), operand })
}

fn text(form: &FormFields, name: &str) -> Result<String, ApiError> {
    match form.require(name)? {
        text if text.len() <= MAX_TEXT_LENGTH => Ok(text.to_owned()),
        _ => Err(FormFields::invalid(name)),
    }
}

/// Returns the exchange and the symbol of a listed instrument.
fn instrument(
    broker: &PaperBroker,
    form: &FormFields,
    [exchange, symbol]: [&str; 2],
) -> Result<(String, String), ApiError> {
    let (at, name) = (form.require(exchange)?, form.require(symbol)?);
    let listed_at = if at == INDICES { Exchange::Nse.as_str() } else { at };
    match broker.backend().token(&Instrument::new(listed_at, name)) {
        Some(_) => Ok((at.to_owned(), name.to_owned())),
        None => Err(FormFields::invalid(symbol)),
    }
}

fn alert_json(number: u64, alert: &Alert) -> Value {
    let request = &alert.request;
    let (kind, constant, [exchange, symbol, attribute]) = match &request.operand {
        AlertOperand::Constant(constant) => ("constant", *constant, ["", "", ""]),
        AlertOperand::Instrument { exchange, symbol, attribute } => {
            ("instrument", 0.into(), [exchange.as_str(), symbol.as_str(), attribute.as_str()])
        }
    };
    json!({
        "type": "simple",
        "user_id": USER_ID,
        "uuid": uuid::of(number),
        "name": request.name,
        "status": alert.status.as_str(),
        "disabled_reason": "",
        "lhs_attribute": request.attribute,
        "lhs_exchange": request.exchange,
        "lhs_tradingsymbol": request.symbol,
        "operator": request.operator,
        "rhs_type": kind,
        "rhs_attribute": attribute,
        "rhs_exchange": exchange,
        "rhs_tradingsymbol": symbol,
        "rhs_constant": json_number(constant),
        "alert_count": 0,
        "created_at": naive_time(&alert.created_at),
        "updated_at": naive_time(&alert.updated_at),
    })
}
