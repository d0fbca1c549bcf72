//! Price alerts: conditions of which Kite tells the account's holder.
//!
//! They are kept and shown. None is ever met here, because a notification would reach no person: the count of an alert
//! stays zero and its history empty. Alerts that trigger orders are refused. `wire::alerts` parses and renders them.

use jiff::Zoned;
use rust_decimal::Decimal;

use crate::accounts::register::{Entry, Register};
use crate::http::response::ApiError;

/// The right side of a condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AlertOperand {
    Constant(Decimal),
    Instrument { exchange: String, symbol: String, attribute: String },
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AlertRequest {
    pub(crate) name: String,
    pub(crate) exchange: String,
    pub(crate) symbol: String,
    pub(crate) attribute: String,
    pub(crate) operator: String,
    pub(crate) operand: AlertOperand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AlertStatus {
    Enabled,
    Disabled,
    Deleted,
}

/// An alert of an account.
#[derive(Debug, Clone)]
pub(crate) struct Alert {
    pub(crate) request: AlertRequest,
    pub(crate) status: AlertStatus,
    pub(crate) created_at: Zoned,
    pub(crate) updated_at: Zoned,
}

/// The alerts of one account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alerts(Register<Alert>);

impl AlertStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
        }
    }
}

impl Entry for Alert {
    fn is_open(&self) -> bool {
        self.status != AlertStatus::Deleted
    }
}

impl Alerts {
    pub(crate) fn create(
        &mut self,
        number: u64,
        request: AlertRequest,
        now: &Zoned,
    ) -> Result<&Alert, ApiError> {
        let (created_at, updated_at) = (now.clone(), now.clone());
        let alert = Alert { request, status: AlertStatus::Enabled, created_at, updated_at };
        self.0.insert(number, alert, "alerts")?;
        self.get(number)
    }

    /// Replaces the condition of an alert, and its status if `status` is given.
    pub(crate) fn modify(
        &mut self,
        number: u64,
        request: AlertRequest,
        status: Option<AlertStatus>,
        now: &Zoned,
    ) -> Result<&Alert, ApiError> {
        let alert = self.0.get_mut(number).filter(|alert| alert.is_open()).ok_or_else(unknown)?;
        alert.request = request;
        alert.status = status.unwrap_or(alert.status);
        alert.updated_at = now.clone();
        Ok(alert)
    }

    /// Deletes all of these alerts, or none if one is unknown.
    pub(crate) fn delete(&mut self, numbers: &[u64], now: &Zoned) -> Result<(), ApiError> {
        for number in numbers {
            self.get(*number)?;
        }
        for number in numbers {
            if let Some(alert) = self.0.get_mut(*number) {
                alert.status = AlertStatus::Deleted;
                alert.updated_at = now.clone();
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, number: u64) -> Result<&Alert, ApiError> {
        self.0.get(number).filter(|alert| alert.is_open()).ok_or_else(unknown)
    }

    /// Returns the alerts and their numbers, the latest first.
    pub(crate) fn listed(&self) -> Vec<(u64, &Alert)> {
        let mut listed: Vec<_> = self.0.iter().filter(|(_, alert)| alert.is_open()).collect();
        listed.reverse();
        listed
    }
}

fn unknown() -> ApiError {
    ApiError::not_found("Alert not found.")
}
