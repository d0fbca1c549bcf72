//! What happens to a request, by its method and path: the route table of an account.

use std::collections::HashMap;
use std::time::Duration;

use lanekeeper::broker::lanes::TRANSACTIONAL;
use lanekeeper::brokers::kite;
use lanekeeper::{Effect, LaneCall, RouteError, RouteTable};

use crate::config::{AccountConfig, Preset, RouteAction, SendRoute, Unmatched};
use crate::names::intern;

/// The words for a login through a client. The answer would give the broker's token to the client.
const NO_LOGIN: &str =
    "not sent: the gateway holds the session; log in at POST /_lanekeeper/login with the admin key";

/// How long the listing of instruments is kept. Kite makes a new one each morning.
const LISTING_TTL: Duration = Duration::from_secs(600);

/// The route table of an account.
pub(crate) struct Routes {
    table: RouteTable,
    extras: HashMap<&'static str, Extra>,
    refuses_unmatched: bool,
}

/// What a route says beside its lane.
#[derive(Default, Clone)]
struct Extra {
    cache: Option<Duration>,
    refusal: Option<String>,
}

/// What happens to one request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Matched<'a> {
    /// It is refused, with this message.
    Refused(&'a str),
    /// No route describes it, and such requests are refused.
    NoRoute,
    /// It is sent through a lane. Its answer may be kept.
    Sent { call: &'a LaneCall, cache: Option<Duration> },
}

impl Routes {
    /// Makes the table of an account.
    pub(crate) fn new(config: &AccountConfig) -> Result<Self, RouteError> {
        let (reads, writes) = unmatched_calls(config);
        let mut table = RouteTable::new(reads, writes);
        let mut extras = HashMap::new();
        let mut own = Vec::new();
        for route in &config.routes {
            let pattern = intern(&route.pattern);
            let (call, extra) = match &route.action {
                RouteAction::Refuse(message) => {
                    let extra = Extra { refusal: Some(message.clone()), cache: None };
                    (LaneCall::write(""), extra)
                }
                RouteAction::Send(send) => {
                    let extra = Extra { refusal: None, cache: send.cache };
                    (lane_call(pattern, send), extra)
                }
            };
            table = table.route(pattern, call)?;
            extras.insert(pattern, extra);
            own.push(pattern);
        }
        if config.preset == Some(Preset::Kite) {
            let kite = kite::routes();
            for route in kite.routes().filter(|route| !own.contains(&route.pattern())) {
                let pattern = intern(route.pattern());
                table = table.route(pattern, route.call().clone())?;
                extras.insert(pattern, kite_extra(pattern));
            }
        }
        let refuses_unmatched = config.unmatched == Unmatched::Refuse && config.preset.is_none();
        Ok(Self { table, extras, refuses_unmatched })
    }

    /// Returns what happens to a request. `path` is without the query.
    ///
    /// # Errors
    /// The method or the path cannot be read in one way only, so nothing is sent.
    pub(crate) fn find(&self, method: &str, path: &str) -> Result<Matched<'_>, RouteError> {
        let call = self.table.find(method, path)?;
        let Some(extra) = self.extras.get(call.call_name()) else {
            return Ok(match self.refuses_unmatched {
                true => Matched::NoRoute,
                false => Matched::Sent { call, cache: None },
            });
        };
        Ok(match &extra.refusal {
            Some(message) => Matched::Refused(message),
            None => Matched::Sent { call, cache: extra.cache },
        })
    }

    /// Returns the calls of the routes that are sent, for a check of their lanes.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &LaneCall> {
        self.table.calls().filter(|call| {
            let extra = self.extras.get(call.call_name());
            match extra {
                Some(extra) => extra.refusal.is_none(),
                None => !self.refuses_unmatched,
            }
        })
    }
}

fn unmatched_calls(config: &AccountConfig) -> (LaneCall, LaneCall) {
    let lane = match (&config.unmatched, config.preset) {
        (Unmatched::Lane(lane), _) => intern(lane),
        (Unmatched::Refuse, Some(Preset::Kite)) => TRANSACTIONAL,
        (Unmatched::Refuse, None) => "",
    };
    (LaneCall::read(lane).name("other reads"), LaneCall::write(lane).name("other writes"))
}

fn lane_call(pattern: &'static str, send: &SendRoute) -> LaneCall {
    let lane = intern(&send.lane);
    let is_read = pattern.starts_with("GET ");
    let effect = send.effect.unwrap_or(if is_read { Effect::Read } else { Effect::Write });
    let call = match effect {
        Effect::Read => LaneCall::read(lane),
        Effect::Write => LaneCall::write(lane),
    };
    let call = send.budgets.iter().fold(call, |call, budget| call.budget(intern(budget)));
    let call = call.weight(send.weight).priority(send.priority);
    if send.is_exit { call.exit() } else { call }
}

/// What the gateway adds to a route of the adapter.
fn kite_extra(pattern: &str) -> Extra {
    match pattern {
        "POST /session/**" | "DELETE /session/**" => {
            Extra { refusal: Some(NO_LOGIN.to_owned()), cache: None }
        }
        "GET /instruments/**" | "GET /mf/instruments" => {
            Extra { cache: Some(LISTING_TTL), refusal: None }
        }
        _ => Extra::default(),
    }
}

#[cfg(test)]
mod tests {
    use lanekeeper::lane::Priority;

    use super::*;
    use crate::config::RouteConfig;

    fn sent(routes: &Routes, method: &str, path: &str) -> (String, Effect, Option<Duration>) {
        match routes.find(method, path).unwrap() {
            Matched::Sent { call, cache } => (call.lane_name().to_owned(), call.effect(), cache),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn kites_routes_are_those_of_the_adapter_and_no_login_passes() {
        let routes = Routes::new(&AccountConfig::kite("http://127.0.0.1:1")).unwrap();
        assert_eq!(sent(&routes, "POST", "/orders/regular").1, Effect::Write);
        assert_eq!(sent(&routes, "GET", "/quote/ltp").0, "quote");
        assert_eq!(sent(&routes, "GET", "/instruments/NSE").2, Some(LISTING_TTL));
        assert_eq!(sent(&routes, "GET", "/instruments/historical/1/day").2, None);
        // Next year's routes.
        assert_eq!(sent(&routes, "GET", "/next/year").0, "transactional");
        assert_eq!(sent(&routes, "POST", "/next/year").1, Effect::Write);
        for (method, path) in [("POST", "/session/token"), ("DELETE", "/session/token")] {
            assert!(
                matches!(routes.find(method, path), Ok(Matched::Refused(_))),
                "{method} {path}"
            );
        }
        assert!(routes.find("GET", "//orders").is_err());
    }

    #[test]
    fn a_file_adds_routes_and_replaces_those_of_the_preset() {
        let send = SendRoute {
            lane: "historical".to_owned(),
            budgets: Vec::new(),
            effect: None,
            weight: 1,
            priority: Priority::default(),
            is_exit: false,
            cache: Some(Duration::from_secs(30)),
        };
        let route = |pattern: &str| RouteConfig {
            pattern: pattern.to_owned(),
            action: RouteAction::Send(send.clone()),
        };
        let mut config = AccountConfig::kite("http://127.0.0.1:1");
        config.routes = vec![route("GET /trades"), route("GET /mine/*")];
        let routes = Routes::new(&config).unwrap();
        for path in ["/trades", "/mine/1"] {
            assert_eq!(sent(&routes, "GET", path).0, "historical");
        }
        assert_eq!(sent(&routes, "POST", "/trades").0, "transactional");

        let mut config = AccountConfig::new("http://127.0.0.1:1");
        config.routes = vec![route("GET /mine/*")];
        let routes = Routes::new(&config).unwrap();
        assert!(matches!(routes.find("GET", "/other"), Ok(Matched::NoRoute)));
        assert_eq!(routes.calls().count(), 1);
    }
}
