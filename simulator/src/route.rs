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
    Holdings,
    Margins,
    SegmentMargins { segment: &'a str },
    Profile,
    Quote,
    Ohlc,
    Ltp,
    Instruments { exchange: Option<&'a str> },
    Historical { token: &'a str, interval: &'a str },
    BeginSession,
    EndSession,
}

/// Returns the lane that counts requests to `path`, whether or not the path is a known route.
pub(crate) fn lane_of_path(path: &str) -> Option<&'static str> {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some("session"), Some("token")) => None,
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
            ["portfolio", "positions"] => only("GET", Self::Positions),
            ["portfolio", "holdings"] => only("GET", Self::Holdings),
            ["user", "margins"] => only("GET", Self::Margins),
            ["user", "margins", segment] => only("GET", Self::SegmentMargins { segment }),
            ["user", "profile"] => only("GET", Self::Profile),
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
            ["session", "token"] => match method {
                "POST" => Ok(Self::BeginSession),
                _ => only("DELETE", Self::EndSession),
            },
            _ => Err(ApiError::not_found("Route not found")),
        }
    }
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
            ("/session/token", None),
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
        ] {
            assert_eq!(ApiRoute::parse(method, path), Ok(expected));
        }
        assert_eq!(ApiRoute::parse("PATCH", "/orders"), Err(ApiError::no_method()));
        assert_eq!(ApiRoute::parse("POST", "/quote/ltp"), Err(ApiError::no_method()));
        assert!(ApiRoute::parse("GET", "/gtt/triggers").is_err());
        assert!(ApiRoute::parse("GET", "").is_err());
    }
}
