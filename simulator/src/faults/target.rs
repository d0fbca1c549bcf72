//! The routes that a fault rule applies to.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::route::{AlertRoute, ApiRoute, FundRoute, GttRoute};

/// A route of the exchange, or a group of routes. Each variant ends with its name in files and flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub enum Target {
    /// Every route. `all`
    All,
    /// Requests that change nothing. `reads`
    Reads,
    /// Requests that change something: placements, changes and cancellations of orders, GTTs and alerts, of orders and
    /// SIPs of mutual funds, conversions of positions, and authorisations of holdings. `writes`
    Writes,
    /// `POST /orders/..`. `place`
    Place,
    /// `PUT /orders/../..`. `modify`
    Modify,
    /// `DELETE /orders/../..`. `cancel`
    Cancel,
    /// `GET /orders`: the order book. `orders`
    Orders,
    /// `GET /orders/..`: the history of one order. `history`
    History,
    /// `GET /trades` and `GET /orders/../trades`. `trades`
    Trades,
    /// `GET /portfolio/positions`. `positions`
    Positions,
    /// `PUT /portfolio/positions`: the conversion of a position. `convert`
    Convert,
    /// `GET /portfolio/holdings`, and `/summary` and `/compact` below it. `holdings`
    Holdings,
    /// `GET /portfolio/holdings/auctions`. `auctions`
    Auctions,
    /// `POST /portfolio/holdings/authorise`. `authorise`
    Authorise,
    /// `GET /user/margins`, and the margins of one segment. `margins`
    Margins,
    /// `GET /user/profile` and `/user/profile/full`. `profile`
    Profile,
    /// `POST /margins/orders` and `/margins/basket`: the margins that orders would need. `order-margins`
    OrderMargins,
    /// `POST /charges/orders`. `charges`
    Charges,
    /// `POST /gtt/triggers`. `place-gtt`
    PlaceGtt,
    /// `PUT /gtt/triggers/..`. `modify-gtt`
    ModifyGtt,
    /// `DELETE /gtt/triggers/..`. `delete-gtt`
    DeleteGtt,
    /// `GET /gtt/triggers`, and one of them. `gtts`
    Gtts,
    /// `POST /alerts`. `create-alert`
    CreateAlert,
    /// `PUT /alerts/..`. `modify-alert`
    ModifyAlert,
    /// `DELETE /alerts`. `delete-alerts`
    DeleteAlerts,
    /// `GET /alerts`, one of them, and its history. `alerts`
    Alerts,
    /// `POST /mf/orders`. `place-mf-order`
    PlaceFundOrder,
    /// `DELETE /mf/orders/..`. `cancel-mf-order`
    CancelFundOrder,
    /// `GET /mf/orders`, and one of them. `mf-orders`
    FundOrders,
    /// `POST /mf/sips`. `place-sip`
    PlaceSip,
    /// `PUT /mf/sips/..`. `modify-sip`
    ModifySip,
    /// `DELETE /mf/sips/..`. `cancel-sip`
    CancelSip,
    /// `GET /mf/sips`, and one of them. `sips`
    Sips,
    /// `GET /mf/holdings`. `mf-holdings`
    FundHoldings,
    /// `GET /mf/instruments`: the listing of mutual funds, as CSV. `mf-instruments`
    FundInstruments,
    /// `GET /quote`, `/quote/ohlc` and `/quote/ltp`. `quotes`
    Quotes,
    /// `GET /instruments`: the listing, as CSV. `instruments`
    Instruments,
    /// `GET /instruments/historical/..`. `candles`
    Candles,
    /// `GET /instruments/trigger_range/..`. `trigger-range`
    TriggerRange,
    /// `POST` and `DELETE /session/token`, and `POST /session/refresh_token`. `session`
    Session,
}

/// The text names no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no route; write {list}", list = NAMES.map(|(_, word)| word).join(", "))]
pub struct TargetError(String);

const NAMES: [(Target, &str); 40] = [
    (Target::All, "all"),
    (Target::Reads, "reads"),
    (Target::Writes, "writes"),
    (Target::Place, "place"),
    (Target::Modify, "modify"),
    (Target::Cancel, "cancel"),
    (Target::Orders, "orders"),
    (Target::History, "history"),
    (Target::Trades, "trades"),
    (Target::Positions, "positions"),
    (Target::Convert, "convert"),
    (Target::Holdings, "holdings"),
    (Target::Auctions, "auctions"),
    (Target::Authorise, "authorise"),
    (Target::Margins, "margins"),
    (Target::Profile, "profile"),
    (Target::OrderMargins, "order-margins"),
    (Target::Charges, "charges"),
    (Target::PlaceGtt, "place-gtt"),
    (Target::ModifyGtt, "modify-gtt"),
    (Target::DeleteGtt, "delete-gtt"),
    (Target::Gtts, "gtts"),
    (Target::CreateAlert, "create-alert"),
    (Target::ModifyAlert, "modify-alert"),
    (Target::DeleteAlerts, "delete-alerts"),
    (Target::Alerts, "alerts"),
    (Target::PlaceFundOrder, "place-mf-order"),
    (Target::CancelFundOrder, "cancel-mf-order"),
    (Target::FundOrders, "mf-orders"),
    (Target::PlaceSip, "place-sip"),
    (Target::ModifySip, "modify-sip"),
    (Target::CancelSip, "cancel-sip"),
    (Target::Sips, "sips"),
    (Target::FundHoldings, "mf-holdings"),
    (Target::FundInstruments, "mf-instruments"),
    (Target::Quotes, "quotes"),
    (Target::Instruments, "instruments"),
    (Target::Candles, "candles"),
    (Target::TriggerRange, "trigger-range"),
    (Target::Session, "session"),
];

impl Target {
    /// Returns the target that is `route` alone, not a group.
    pub(crate) fn of_route(route: ApiRoute<'_>) -> Self {
        match route {
            ApiRoute::Place { .. } => Self::Place,
            ApiRoute::Modify { .. } => Self::Modify,
            ApiRoute::Cancel { .. } => Self::Cancel,
            ApiRoute::Orders => Self::Orders,
            ApiRoute::History { .. } => Self::History,
            ApiRoute::OrderTrades { .. } | ApiRoute::Trades => Self::Trades,
            ApiRoute::Positions => Self::Positions,
            ApiRoute::ConvertPosition => Self::Convert,
            ApiRoute::Holdings | ApiRoute::HoldingsSummary | ApiRoute::CompactHoldings => {
                Self::Holdings
            }
            ApiRoute::Auctions => Self::Auctions,
            ApiRoute::AuthoriseHoldings => Self::Authorise,
            ApiRoute::Margins | ApiRoute::SegmentMargins { .. } => Self::Margins,
            ApiRoute::Profile | ApiRoute::FullProfile => Self::Profile,
            ApiRoute::OrderMargins | ApiRoute::BasketMargins => Self::OrderMargins,
            ApiRoute::OrderCharges => Self::Charges,
            ApiRoute::Gtt(route) => Self::of_gtt_route(route),
            ApiRoute::Alert(route) => Self::of_alert_route(route),
            ApiRoute::Fund(route) => Self::of_fund_route(route),
            ApiRoute::Quote | ApiRoute::Ohlc | ApiRoute::Ltp => Self::Quotes,
            ApiRoute::Instruments { .. } => Self::Instruments,
            ApiRoute::Historical { .. } => Self::Candles,
            ApiRoute::TriggerRange { .. } => Self::TriggerRange,
            ApiRoute::BeginSession | ApiRoute::RenewSession | ApiRoute::EndSession => Self::Session,
        }
    }

    fn of_gtt_route(route: GttRoute<'_>) -> Self {
        match route {
            GttRoute::All | GttRoute::One { .. } => Self::Gtts,
            GttRoute::Place => Self::PlaceGtt,
            GttRoute::Modify { .. } => Self::ModifyGtt,
            GttRoute::Delete { .. } => Self::DeleteGtt,
        }
    }

    fn of_alert_route(route: AlertRoute<'_>) -> Self {
        match route {
            AlertRoute::All | AlertRoute::One { .. } | AlertRoute::History { .. } => Self::Alerts,
            AlertRoute::Create => Self::CreateAlert,
            AlertRoute::Modify { .. } => Self::ModifyAlert,
            AlertRoute::Delete => Self::DeleteAlerts,
        }
    }

    fn of_fund_route(route: FundRoute<'_>) -> Self {
        match route {
            FundRoute::Orders | FundRoute::Order { .. } => Self::FundOrders,
            FundRoute::PlaceOrder => Self::PlaceFundOrder,
            FundRoute::CancelOrder { .. } => Self::CancelFundOrder,
            FundRoute::Sips | FundRoute::Sip { .. } => Self::Sips,
            FundRoute::PlaceSip => Self::PlaceSip,
            FundRoute::ModifySip { .. } => Self::ModifySip,
            FundRoute::CancelSip { .. } => Self::CancelSip,
            FundRoute::Holdings => Self::FundHoldings,
            FundRoute::Instruments => Self::FundInstruments,
        }
    }

    /// Returns whether requests to this route change something.
    fn is_write(self) -> bool {
        let writes = [
            Self::Place,
            Self::Modify,
            Self::Cancel,
            Self::Convert,
            Self::Authorise,
            Self::PlaceGtt,
            Self::ModifyGtt,
            Self::DeleteGtt,
            Self::CreateAlert,
            Self::ModifyAlert,
            Self::DeleteAlerts,
            Self::PlaceFundOrder,
            Self::CancelFundOrder,
            Self::PlaceSip,
            Self::ModifySip,
            Self::CancelSip,
        ];
        writes.contains(&self)
    }

    /// Returns whether this target includes `route`.
    pub(crate) fn matches(self, route: ApiRoute<'_>) -> bool {
        let own = Self::of_route(route);
        match self {
            Self::All => true,
            Self::Writes => own.is_write(),
            Self::Reads => !own.is_write() && own != Self::Session,
            one => one == own,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = NAMES.iter().find(|(target, _)| target == self).map(|(_, word)| *word);
        f.write_str(word.unwrap_or_default())
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let target = NAMES.iter().find(|(_, word)| *word == text).map(|(target, _)| *target);
        target.ok_or_else(|| TargetError(text.to_owned()))
    }
}

impl TryFrom<String> for Target {
    type Error = TargetError;

    fn try_from(text: String) -> Result<Self, TargetError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_written_as_it_is_read() {
        for (target, word) in NAMES {
            assert_eq!((word.parse(), target.to_string()), (Ok(target), word.to_owned()));
        }
        let error = "quote".parse::<Target>().unwrap_err().to_string();
        assert!(
            error.starts_with("`quote` is no route; write all, reads, writes, place,"),
            "{error}"
        );
    }

    #[test]
    fn a_route_is_of_its_own_target_and_of_those_around_it() {
        let of = |method, path| {
            let route = ApiRoute::parse(method, path).unwrap();
            let all = NAMES.iter().filter(|(target, _)| target.matches(route));
            all.map(|(_, word)| *word).collect::<Vec<_>>()
        };
        assert_eq!(of("POST", "/orders/regular"), ["all", "writes", "place"]);
        assert_eq!(of("PUT", "/orders/regular/1"), ["all", "writes", "modify"]);
        assert_eq!(of("GET", "/orders"), ["all", "reads", "orders"]);
        assert_eq!(of("GET", "/quote/ltp"), ["all", "reads", "quotes"]);
        assert_eq!(of("POST", "/session/token"), ["all", "session"]);
        assert_eq!(of("POST", "/session/refresh_token"), ["all", "session"]);
        assert_eq!(of("PUT", "/portfolio/positions"), ["all", "writes", "convert"]);
        assert_eq!(of("POST", "/portfolio/holdings/authorise"), ["all", "writes", "authorise"]);
        assert_eq!(of("POST", "/margins/basket"), ["all", "reads", "order-margins"]);
        assert_eq!(of("POST", "/charges/orders"), ["all", "reads", "charges"]);
        assert_eq!(of("POST", "/gtt/triggers"), ["all", "writes", "place-gtt"]);
        assert_eq!(of("PUT", "/gtt/triggers/7"), ["all", "writes", "modify-gtt"]);
        assert_eq!(of("DELETE", "/gtt/triggers/7"), ["all", "writes", "delete-gtt"]);
        assert_eq!(of("GET", "/gtt/triggers/7"), ["all", "reads", "gtts"]);
        assert_eq!(of("POST", "/alerts"), ["all", "writes", "create-alert"]);
        assert_eq!(of("PUT", "/alerts/7"), ["all", "writes", "modify-alert"]);
        assert_eq!(of("DELETE", "/alerts"), ["all", "writes", "delete-alerts"]);
        assert_eq!(of("GET", "/alerts/7/history"), ["all", "reads", "alerts"]);
        assert_eq!(of("POST", "/mf/orders"), ["all", "writes", "place-mf-order"]);
        assert_eq!(of("DELETE", "/mf/orders/7"), ["all", "writes", "cancel-mf-order"]);
        assert_eq!(of("POST", "/mf/sips"), ["all", "writes", "place-sip"]);
        assert_eq!(of("PUT", "/mf/sips/7"), ["all", "writes", "modify-sip"]);
        assert_eq!(of("DELETE", "/mf/sips/7"), ["all", "writes", "cancel-sip"]);
        assert_eq!(of("GET", "/mf/instruments"), ["all", "reads", "mf-instruments"]);
    }
}
