//! Systematic investment plans (SIP) of mutual funds.

use std::collections::BTreeMap;

use jiff::Zoned;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::ids::{FundOrderId, SipId};
use crate::broker::open_enum;

open_enum! {
    /// How often a plan invests.
    pub enum SipFrequency {
        /// Every week.
        Weekly = "weekly",
        /// Every month.
        Monthly = "monthly",
        /// Every three months.
        Quarterly = "quarterly",
    }
}

open_enum! {
    /// The state of a plan.
    pub enum SipStatus {
        /// It invests.
        Active = "ACTIVE",
        /// It is paused until it is active again.
        Paused = "PAUSED",
        /// It has ended.
        Cancelled = "CANCELLED",
    }
}

/// A plan to be placed.
///
/// ```
/// use lanekeeper::brokers::kite::{SipFrequency, SipRequest};
///
/// // 5000 rupees on the tenth of each month, twelve times.
/// let plan = SipRequest::new("INF209K01VD7", 5000, SipFrequency::Monthly)
///     .instalments(12)
///     .instalment_day(10);
/// assert_eq!(plan.instalments, Some(12));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SipRequest {
    /// The fund, by its International Securities Identification Number.
    pub fund: String,
    /// The amount of an instalment, in rupees.
    pub amount: Decimal,
    /// How often an instalment is invested.
    pub frequency: SipFrequency,
    /// The number of instalments. `None` goes on until the plan is cancelled.
    pub instalments: Option<u32>,
    /// The day of the month, from 1 to 31, for a monthly plan. Kite takes some of them only.
    pub instalment_day: Option<u8>,
    /// The amount to invest at once, in rupees. A fund that is not held yet may need it.
    pub initial_amount: Option<Decimal>,
    /// The caller's own mark on the plan, of up to 20 letters and digits.
    pub tag: Option<String>,
}

impl SipRequest {
    /// Creates a plan that goes on until it is cancelled.
    pub fn new(
        fund: impl Into<String>,
        amount: impl Into<Decimal>,
        frequency: SipFrequency,
    ) -> Self {
        Self {
            fund: fund.into(),
            amount: amount.into(),
            frequency,
            instalments: None,
            instalment_day: None,
            initial_amount: None,
            tag: None,
        }
    }

    /// Sets the number of instalments.
    #[must_use]
    pub fn instalments(mut self, count: u32) -> Self {
        self.instalments = Some(count);
        self
    }

    /// Sets the day of the month.
    #[must_use]
    pub fn instalment_day(mut self, day: u8) -> Self {
        self.instalment_day = Some(day);
        self
    }

    /// Sets the amount to invest at once.
    #[must_use]
    pub fn initial_amount(mut self, amount: impl Into<Decimal>) -> Self {
        self.initial_amount = Some(amount.into());
        self
    }

    /// Marks the plan.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }
}

/// A change of a plan. What is `None` stays.
///
/// ```
/// use lanekeeper::brokers::kite::{SipChange, SipStatus};
///
/// let pause = SipChange::new().status(SipStatus::Paused);
/// assert_eq!(pause.amount, None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SipChange {
    /// The amount of an instalment, in rupees.
    pub amount: Option<Decimal>,
    /// Whether the plan is paused.
    pub status: Option<SipStatus>,
    /// The number of instalments.
    pub instalments: Option<u32>,
    /// How often an instalment is invested.
    pub frequency: Option<SipFrequency>,
    /// The day of the month, from 1 to 31.
    pub instalment_day: Option<u8>,
}

impl SipChange {
    /// Creates a change that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes the amount of an instalment.
    #[must_use]
    pub fn amount(mut self, amount: impl Into<Decimal>) -> Self {
        self.amount = Some(amount.into());
        self
    }

    /// Pauses the plan, or continues it.
    #[must_use]
    pub fn status(mut self, status: SipStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Changes the number of instalments.
    #[must_use]
    pub fn instalments(mut self, count: u32) -> Self {
        self.instalments = Some(count);
        self
    }

    /// Changes how often an instalment is invested.
    #[must_use]
    pub fn frequency(mut self, frequency: SipFrequency) -> Self {
        self.frequency = Some(frequency);
        self
    }

    /// Changes the day of the month.
    #[must_use]
    pub fn instalment_day(mut self, day: u8) -> Self {
        self.instalment_day = Some(day);
        self
    }
}

/// A plan that was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlacedSip {
    /// Kite's id of the plan.
    pub id: SipId,
    /// The order of the initial amount, if there was one.
    pub order_id: Option<FundOrderId>,
}

/// A plan as Kite shows it at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sip {
    /// Kite's id of the plan.
    pub id: SipId,
    /// The fund, by its International Securities Identification Number.
    pub fund: String,
    /// The name of the fund.
    pub fund_name: Option<String>,
    /// The state of the plan.
    pub status: SipStatus,
    /// The amount of an instalment, in rupees.
    pub amount: Decimal,
    /// How often an instalment is invested.
    pub frequency: Option<SipFrequency>,
    /// The number of instalments. `None` if the plan goes on until it is cancelled, or Kite does not say.
    pub instalments: Option<u32>,
    /// The number of instalments that were invested.
    pub completed_instalments: Option<u32>,
    /// The number of instalments that are left. `None` if the plan goes on until it is cancelled, or Kite does not say.
    pub pending_instalments: Option<u32>,
    /// The day of the month.
    pub instalment_day: Option<u8>,
    /// The day of the next instalment.
    pub next_instalment: Option<Date>,
    /// When the last instalment was invested.
    pub last_instalment: Option<Zoned>,
    /// Kite's word for the kind of the plan: `sip`, `amc_sip`.
    pub sip_type: Option<String>,
    /// How dividends are used, in Kite's word.
    pub dividend_type: Option<String>,
    /// By how many percent the instalment grows, by the day (`15-02` is the 15th of February).
    pub step_up: BTreeMap<String, Decimal>,
    /// The caller's tag.
    pub tag: Option<String>,
    /// When the plan was placed.
    pub created_at: Option<Zoned>,
}
