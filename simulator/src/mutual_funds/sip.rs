//! SIPs: plans by which an amount is invested in a fund at intervals.

use jiff::{Span, Zoned};
use rust_decimal::Decimal;

use super::listing::Fund;
use super::{FundAccount, FundOrder};
use crate::accounts::register::Entry;
use crate::http::form::FormFields;
use crate::http::response::ApiError;

use lanekeeper::broker::Side;

/// The days of a month on which a SIP may invest. Not every month has more.
const DAYS: std::ops::RangeInclusive<i64> = 1..=28;
/// Bounds the instalments of a SIP.
const MAX_INSTALMENTS: i64 = 9999;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frequency {
    Weekly,
    Monthly,
    Quarterly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SipStatus {
    Active,
    Paused,
    Cancelled,
}

/// A plan of an account.
#[derive(Debug, Clone)]
pub(crate) struct Sip {
    pub(crate) fund: &'static Fund,
    pub(crate) amount: Decimal,
    /// -1 is until it is cancelled.
    pub(crate) instalments: i64,
    pub(crate) frequency: Frequency,
    /// Zero unless it invests once a month.
    pub(crate) instalment_day: i64,
    pub(crate) tag: Option<String>,
    pub(crate) status: SipStatus,
    pub(crate) created_at: Zoned,
}

/// What a client changes of a SIP.
#[derive(Debug, Clone, Default)]
pub(crate) struct SipChange {
    pub(crate) amount: Option<Decimal>,
    pub(crate) instalments: Option<i64>,
    pub(crate) frequency: Option<Frequency>,
    pub(crate) instalment_day: Option<i64>,
    pub(crate) status: Option<SipStatus>,
}

impl Frequency {
    pub(crate) const ALL: [Self; 3] = [Self::Weekly, Self::Monthly, Self::Quarterly];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Quarterly => "quarterly",
        }
    }

    /// Returns the time between two instalments.
    fn interval(self) -> Span {
        match self {
            Self::Weekly => Span::new().weeks(1),
            Self::Monthly => Span::new().months(1),
            Self::Quarterly => Span::new().months(3),
        }
    }
}

impl SipStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Paused => "PAUSED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl Sip {
    /// Returns the date of the next instalment: one interval after the plan was made.
    pub(crate) fn next_instalment(&self) -> String {
        let next = self.created_at.date().checked_add(self.frequency.interval());
        next.map(|date| date.to_string()).unwrap_or_default()
    }

    /// Checks the terms. An instalment has the amount of an additional purchase.
    fn check(&self) -> Result<(), ApiError> {
        self.fund.check_purchase("amount", self.amount, true)?;
        if self.instalments != -1 && !(1..=MAX_INSTALMENTS).contains(&self.instalments) {
            return Err(FormFields::invalid("instalments"));
        }
        let day_fits = match self.frequency {
            Frequency::Monthly => self.instalment_day == 0 || DAYS.contains(&self.instalment_day),
            Frequency::Weekly | Frequency::Quarterly => self.instalment_day == 0,
        };
        if day_fits { Ok(()) } else { Err(FormFields::invalid("instalment_day")) }
    }
}

impl Entry for Sip {
    fn is_open(&self) -> bool {
        self.status != SipStatus::Cancelled
    }
}

impl FundAccount {
    /// Adds a SIP, and the order of its first amount if it has one. Both or neither are added. Returns whether there is
    /// an order.
    pub(crate) fn place_sip(
        &mut self,
        [sip_number, order_number]: [u64; 2],
        sip: Sip,
        initial_amount: Option<Decimal>,
    ) -> Result<bool, ApiError> {
        sip.check()?;
        if let Some(amount) = initial_amount {
            sip.fund.check_purchase("initial_amount", amount, self.holds(sip.fund))?;
        }
        let first_order = initial_amount.map(|amount| FundOrder {
            fund: sip.fund,
            side: Side::Buy,
            amount,
            quantity: Decimal::ZERO,
            tag: sip.tag.clone(),
            of_sip: true,
            placed_at: sip.created_at.clone(),
            cancelled: false,
        });
        let Some(order) = first_order else {
            self.sips.insert(sip_number, sip, "SIPs")?;
            return Ok(false);
        };
        self.place(order_number, order)?;
        if let Err(error) = self.sips.insert(sip_number, sip, "SIPs") {
            self.cancel(order_number)?;
            return Err(error);
        }
        Ok(true)
    }

    /// Changes a SIP that is not cancelled.
    pub(crate) fn modify_sip(&mut self, number: u64, change: SipChange) -> Result<(), ApiError> {
        let sip = self.open_sip(number)?;
        let mut changed = sip.clone();
        changed.amount = change.amount.unwrap_or(sip.amount);
        changed.instalments = change.instalments.unwrap_or(sip.instalments);
        changed.status = change.status.unwrap_or(sip.status);
        if let Some(frequency) = change.frequency {
            changed.frequency = frequency;
            // A day of the month has no meaning for the other frequencies.
            changed.instalment_day = 0;
        }
        changed.instalment_day = change.instalment_day.unwrap_or(changed.instalment_day);
        changed.check()?;
        *sip = changed;
        Ok(())
    }

    pub(crate) fn cancel_sip(&mut self, number: u64) -> Result<(), ApiError> {
        self.open_sip(number)?.status = SipStatus::Cancelled;
        Ok(())
    }

    pub(crate) fn sip(&self, number: u64) -> Result<&Sip, ApiError> {
        self.sips.get(number).ok_or_else(unknown_sip)
    }

    fn open_sip(&mut self, number: u64) -> Result<&mut Sip, ApiError> {
        let sip = self.sips.get_mut(number).ok_or_else(unknown_sip)?;
        match sip.is_open() {
            true => Ok(sip),
            false => Err(ApiError::input("The SIP is cancelled already.")),
        }
    }
}

fn unknown_sip() -> ApiError {
    ApiError::not_found("Couldn't find that `sip_id`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sip(frequency: Frequency, instalment_day: i64) -> Sip {
        Sip {
            fund: Fund::with_isin("INF000P01011").unwrap(),
            amount: 1000.into(),
            instalments: -1,
            frequency,
            instalment_day,
            tag: None,
            status: SipStatus::Active,
            created_at: "2024-01-31T10:00:00+05:30[+05:30]".parse().unwrap(),
        }
    }

    #[test]
    fn the_next_instalment_is_one_interval_later() {
        let next = |frequency| sip(frequency, 0).next_instalment();
        let dates = ["2024-02-07", "2024-02-29", "2024-04-30"].map(str::to_owned);
        assert_eq!(Frequency::ALL.map(next), dates);
    }

    #[test]
    fn terms_are_checked_when_placed_and_when_changed() {
        let mut account = FundAccount::default();
        for (frequency, day, ok) in [
            (Frequency::Monthly, 28, true),
            (Frequency::Monthly, 29, false),
            (Frequency::Weekly, 1, false),
        ] {
            let placed = account.place_sip([1, 2], sip(frequency, day), None);
            assert_eq!(placed.is_ok(), ok, "{day}");
        }
        let change = |change| account.clone().modify_sip(1, change).is_ok();
        assert!(change(SipChange { amount: Some(2000.into()), ..SipChange::default() }));
        assert!(!change(SipChange { amount: Some(10.into()), ..SipChange::default() }));
        assert!(!change(SipChange { instalments: Some(0), ..SipChange::default() }));
        assert!(!change(SipChange { instalment_day: Some(31), ..SipChange::default() }));
        assert!(change(SipChange { frequency: Some(Frequency::Weekly), ..SipChange::default() }));
    }

    #[test]
    fn a_first_amount_that_is_refused_leaves_no_plan() {
        let mut account = FundAccount::default();
        let plan = || sip(Frequency::Monthly, 0);
        assert!(account.place_sip([1, 2], plan(), Some(4999.into())).is_err());
        assert_eq!((account.sips.iter().count(), account.orders.iter().count()), (0, 0));
        assert_eq!(account.place_sip([1, 2], plan(), Some(5000.into())), Ok(true));
        assert_eq!((account.sips.iter().count(), account.orders.iter().count()), (1, 1));
    }
}
