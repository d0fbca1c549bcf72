//! The routes of Kite Connect: what a method and a path request, and which lane counts them.

use lanekeeper::broker::lanes::{HISTORICAL, QUOTE, TRANSACTIONAL};

use crate::http::response::ApiError;

/// A route of Kite Connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ApiRoute<'a> {
    Place { variety: &'a str },
    Modify { variety: &'a str, id: &'a str },
    Cancel { variety: &'a str, id: &'a str },
    Orders,
    History { id: &'a str },
    OrderTrades { id: &'a str },
    Trades,
    Positions,
    ConvertPosition,
    Holdings,
    HoldingsSummary,
    CompactHoldings,
    Auctions,
    AuthoriseHoldings,
    Margins,
    SegmentMargins { segment: &'a str },
    Profile,
    FullProfile,
    OrderMargins,
    BasketMargins,
    OrderCharges,
    Gtt(GttRoute<'a>),
    Alert(AlertRoute<'a>),
    Fund(FundRoute<'a>),
    Quote,
    Ohlc,
    Ltp,
    Instruments { exchange: Option<&'a str> },
    Historical { token: &'a str, interval: &'a str },
    TriggerRange { side: &'a str },
    BeginSession,
    RenewSession,
    EndSession,
}

/// A route of the GTTs (orders that are good till triggered).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GttRoute<'a> {
    All,
    Place,
    One { id: &'a str },
    Modify { id: &'a str },
    Delete { id: &'a str },
}

/// A route of the price alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AlertRoute<'a> {
    All,
    Create,
    /// The ids are in the query.
    Delete,
    One {
        id: &'a str,
    },
    Modify {
        id: &'a str,
    },
    History {
        id: &'a str,
    },
}

/// A route of the mutual funds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FundRoute<'a> {
    Orders,
    PlaceOrder,
    Order { id: &'a str },
    CancelOrder { id: &'a str },
    Sips,
    PlaceSip,
    Sip { id: &'a str },
    ModifySip { id: &'a str },
    CancelSip { id: &'a str },
    Holdings,
    Instruments,
}

/// Returns the lane that counts requests to `path`, whether or not the path is a known route.
pub(crate) fn lane_of_path(path: &str) -> Option<&'static str> {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some("session"), Some("token" | "refresh_token")) => None,
        (Some("quote"), _) => Some(QUOTE),
        (Some("instruments"), Some("historical")) => Some(HISTORICAL),
        _ => Some(TRANSACTIONAL),
    }
}

impl<'a> ApiRoute<'a> {
    pub(crate) fn parse(method: &str, path: &'a str) -> Result<Self, ApiError> {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let only = |wanted: &str, route: Self| {
            if method == wanted { Ok(route) } else { Err(ApiError::no_method()) }
        };
        match *parts.as_slice() {
            ["orders"] => only("GET", Self::Orders),
            ["orders", part] => match method {
                "GET" => Ok(Self::History { id: part }),
                _ => only("POST", Self::Place { variety: part }),
            },
            ["orders", id, "trades"] => only("GET", Self::OrderTrades { id }),
            ["orders", variety, id] => match method {
                "PUT" => Ok(Self::Modify { variety, id }),
                _ => only("DELETE", Self::Cancel { variety, id }),
            },
            ["trades"] => only("GET", Self::Trades),
            ["portfolio", "positions"] => match method {
                "PUT" => Ok(Self::ConvertPosition),
                _ => only("GET", Self::Positions),
            },
            ["portfolio", "holdings"] => only("GET", Self::Holdings),
            ["portfolio", "holdings", "summary"] => only("GET", Self::HoldingsSummary),
            ["portfolio", "holdings", "compact"] => only("GET", Self::CompactHoldings),
            ["portfolio", "holdings", "auctions"] => only("GET", Self::Auctions),
            ["portfolio", "holdings", "authorise"] => only("POST", Self::AuthoriseHoldings),
            ["user", "margins"] => only("GET", Self::Margins),
            ["user", "margins", segment] => only("GET", Self::SegmentMargins { segment }),
            ["user", "profile"] => only("GET", Self::Profile),
            ["user", "profile", "full"] => only("GET", Self::FullProfile),
            ["margins", "orders"] => only("POST", Self::OrderMargins),
            ["margins", "basket"] => only("POST", Self::BasketMargins),
            ["charges", "orders"] => only("POST", Self::OrderCharges),
            ["gtt", ref rest @ ..] => GttRoute::parse(method, rest).map(Self::Gtt),
            ["alerts", ref rest @ ..] => AlertRoute::parse(method, rest).map(Self::Alert),
            ["mf", ref rest @ ..] => FundRoute::parse(method, rest).map(Self::Fund),
            ["quote"] => only("GET", Self::Quote),
            ["quote", "ohlc"] => only("GET", Self::Ohlc),
            ["quote", "ltp"] => only("GET", Self::Ltp),
            ["instruments"] => only("GET", Self::Instruments { exchange: None }),
            ["instruments", exchange] => {
                only("GET", Self::Instruments { exchange: Some(exchange) })
            }
            ["instruments", "historical", token, interval] => {
                only("GET", Self::Historical { token, interval })
            }
            ["instruments", "trigger_range", side] => only("GET", Self::TriggerRange { side }),
            ["session", "token"] => match method {
                "POST" => Ok(Self::BeginSession),
                _ => only("DELETE", Self::EndSession),
            },
            ["session", "refresh_token"] => only("POST", Self::RenewSession),
            _ => Err(no_route()),
        }
    }
}

impl<'a> GttRoute<'a> {
    /// Parses the path below `/gtt`.
    fn parse(method: &str, path: &[&'a str]) -> Result<Self, ApiError> {
        match (path, method) {
            (["triggers"], "GET") => Ok(Self::All),
            (["triggers"], "POST") => Ok(Self::Place),
            (["triggers", id], "GET") => Ok(Self::One { id }),
            (["triggers", id], "PUT") => Ok(Self::Modify { id }),
            (["triggers", id], "DELETE") => Ok(Self::Delete { id }),
            (["triggers"] | ["triggers", _], _) => Err(ApiError::no_method()),
            _ => Err(no_route()),
        }
    }
}

impl<'a> AlertRoute<'a> {
    /// Parses the path below `/alerts`.
    fn parse(method: &str, path: &[&'a str]) -> Result<Self, ApiError> {
        match (path, method) {
            ([], "GET") => Ok(Self::All),
            ([], "POST") => Ok(Self::Create),
            ([], "DELETE") => Ok(Self::Delete),
            ([id], "GET") => Ok(Self::One { id }),
            ([id], "PUT") => Ok(Self::Modify { id }),
            ([id, "history"], "GET") => Ok(Self::History { id }),
            ([] | [_] | [_, "history"], _) => Err(ApiError::no_method()),
            _ => Err(no_route()),
        }
    }
}

impl<'a> FundRoute<'a> {
    /// Parses the path below `/mf`.
    fn parse(method: &str, path: &[&'a str]) -> Result<Self, ApiError> {
        match (path, method) {
            (["orders"], "GET") => Ok(Self::Orders),
            (["orders"], "POST") => Ok(Self::PlaceOrder),
            (["orders", id], "GET") => Ok(Self::Order { id }),
            (["orders", id], "DELETE") => Ok(Self::CancelOrder { id }),
            (["sips"], "GET") => Ok(Self::Sips),
            (["sips"], "POST") => Ok(Self::PlaceSip),
            (["sips", id], "GET") => Ok(Self::Sip { id }),
            (["sips", id], "PUT") => Ok(Self::ModifySip { id }),
            (["sips", id], "DELETE") => Ok(Self::CancelSip { id }),
            (["holdings"], "GET") => Ok(Self::Holdings),
            (["instruments"], "GET") => Ok(Self::Instruments),
            (["orders" | "sips"] | ["orders" | "sips", _] | ["holdings" | "instruments"], _) => {
                Err(ApiError::no_method())
            }
            _ => Err(no_route()),
        }
    }
}

fn no_route() -> ApiError {
    ApiError::not_found("Route not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_counted_in_its_lane() {
        for (path, expected) in [
            ("/quote", Some(QUOTE)),
            ("/quote/ltp", Some(QUOTE)),
            ("/quote/nonsense", Some(QUOTE)),
            ("/quotes", Some(TRANSACTIONAL)),
            ("/instruments/historical/1/minute", Some(HISTORICAL)),
            ("/instruments/NSE", Some(TRANSACTIONAL)),
            ("/orders/regular", Some(TRANSACTIONAL)),
            ("/", Some(TRANSACTIONAL)),
            ("/instruments/trigger_range/buy", Some(TRANSACTIONAL)),
            ("/gtt/triggers", Some(TRANSACTIONAL)),
            ("/margins/basket", Some(TRANSACTIONAL)),
            ("/mf/instruments", Some(TRANSACTIONAL)),
            ("/session/token", None),
            ("/session/refresh_token", None),
        ] {
            assert_eq!(lane_of_path(path), expected, "{path}");
        }
    }

    #[test]
    fn method_and_path_make_a_route() {
        let id = "220524001859672";
        for (method, path, expected) in [
            ("POST", "/orders/regular", ApiRoute::Place { variety: "regular" }),
            ("GET", "/orders/220524001859672", ApiRoute::History { id }),
            ("PUT", "/orders/amo/220524001859672", ApiRoute::Modify { variety: "amo", id }),
            ("DELETE", "/orders/amo/220524001859672", ApiRoute::Cancel { variety: "amo", id }),
            ("GET", "/orders/220524001859672/trades", ApiRoute::OrderTrades { id }),
            ("GET", "/instruments", ApiRoute::Instruments { exchange: None }),
            ("PUT", "/portfolio/positions", ApiRoute::ConvertPosition),
            ("PUT", "/gtt/triggers/7", ApiRoute::Gtt(GttRoute::Modify { id: "7" })),
            ("DELETE", "/mf/sips/7", ApiRoute::Fund(FundRoute::CancelSip { id: "7" })),
        ] {
            assert_eq!(ApiRoute::parse(method, path), Ok(expected));
        }
        assert_eq!(ApiRoute::parse("PATCH", "/orders"), Err(ApiError::no_method()));
        assert_eq!(ApiRoute::parse("POST", "/quote/ltp"), Err(ApiError::no_method()));
        for (method, path) in [
            ("GET", "/margins/orders"),
            ("DELETE", "/gtt/triggers"),
            ("POST", "/gtt/triggers/7"),
            ("PUT", "/mf/orders/7"),
            ("PUT", "/alerts"),
            ("DELETE", "/alerts/7"),
            ("POST", "/mf/holdings"),
            ("GET", "/session/refresh_token"),
        ] {
            assert_eq!(ApiRoute::parse(method, path), Err(ApiError::no_method()), "{path}");
        }
        for path in [
            "/gtt",
            "/gtt/orders",
            "/gtt/triggers/7/8",
            "/alerts/7/8",
            "/mf",
            "/mf/sips/7/8",
            "/margins",
        ] {
            assert_eq!(ApiRoute::parse("GET", path), Err(no_route()), "{path}");
        }
        assert!(ApiRoute::parse("GET", "").is_err());
    }
}
