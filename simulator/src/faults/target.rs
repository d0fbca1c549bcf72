//! The routes that a fault rule applies to.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::route::ApiRoute;

/// A route of the exchange, or a group of routes. Each variant ends with its name in files and flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub enum Target {
    /// Every route. `all`
    All,
    /// Requests that change nothing. `reads`
    Reads,
    /// Placements, changes and cancellations of orders. `writes`
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
    /// `GET /portfolio/holdings`. `holdings`
    Holdings,
    /// `GET /user/margins`, and the margins of one segment. `margins`
    Margins,
    /// `GET /user/profile`. `profile`
    Profile,
    /// `GET /quote`, `/quote/ohlc` and `/quote/ltp`. `quotes`
    Quotes,
    /// `GET /instruments`: the listing, as CSV. `instruments`
    Instruments,
    /// `GET /instruments/historical/..`. `candles`
    Candles,
    /// `POST` and `DELETE /session/token`. `session`
    Session,
}

/// The text names no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no route; write {list}", list = NAMES.map(|(_, word)| word).join(", "))]
pub struct TargetError(String);

const NAMES: [(Target, &str); 17] = [
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
    (Target::Holdings, "holdings"),
    (Target::Margins, "margins"),
    (Target::Profile, "profile"),
    (Target::Quotes, "quotes"),
    (Target::Instruments, "instruments"),
    (Target::Candles, "candles"),
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
            ApiRoute::Holdings => Self::Holdings,
            ApiRoute::Margins | ApiRoute::SegmentMargins { .. } => Self::Margins,
            ApiRoute::Profile => Self::Profile,
            ApiRoute::Quote | ApiRoute::Ohlc | ApiRoute::Ltp => Self::Quotes,
            ApiRoute::Instruments { .. } => Self::Instruments,
            ApiRoute::Historical { .. } => Self::Candles,
            ApiRoute::BeginSession | ApiRoute::EndSession => Self::Session,
        }
    }

    /// Returns whether this target includes `route`.
    pub(crate) fn matches(self, route: ApiRoute<'_>) -> bool {
        let own = Self::of_route(route);
        let writes = matches!(own, Self::Place | Self::Modify | Self::Cancel);
        match self {
            Self::All => true,
            Self::Writes => writes,
            Self::Reads => !writes && own != Self::Session,
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
    }
}
