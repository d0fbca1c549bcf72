//! The settings of a route: which requests it describes, and how they are sent.

use std::time::Duration;

use lanekeeper::Effect;
use lanekeeper::lane::Priority;

/// One row of a route table.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfig {
    /// A method and a path with wildcards, as in `GET /stock/*`: see [`lanekeeper::RouteTable`].
    pub pattern: String,
    /// What happens to its requests.
    pub action: RouteAction,
}

impl RouteConfig {
    /// Returns the method of its pattern, which is `*` for any.
    pub fn method(&self) -> &str {
        self.pattern.split(' ').next().unwrap_or_default()
    }

    /// Returns whether its requests read or write: as its action says, or else by the method.
    pub fn effect(&self) -> Effect {
        let by_method = if self.method() == "GET" { Effect::Read } else { Effect::Write };
        match &self.action {
            RouteAction::Send(send) => send.effect.unwrap_or(by_method),
            RouteAction::Refuse(_) => by_method,
        }
    }
}

/// What happens to the requests of a route.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteAction {
    /// They are answered with 403 and this message, and not sent.
    Refuse(String),
    /// They are sent through a lane.
    Send(SendRoute),
}

/// How the requests of a route are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct SendRoute {
    /// The lane.
    pub lane: String,
    /// The budgets that it is charged to as well.
    pub budgets: Vec<String>,
    /// Whether it reads or writes. By default `GET` and `HEAD` read, and everything else writes.
    pub effect: Option<Effect>,
    /// How many calls it counts as. The default is 1.
    pub weight: u32,
    /// Its priority, from 1 to 10. The default is 5.
    pub priority: Priority,
    /// Whether it is an exit, which is urgent and never held up.
    pub is_exit: bool,
    /// How long its answers are kept. Only of reads.
    pub cache: Option<Duration>,
}

impl SendRoute {
    /// Returns a route through this lane, without budgets, and with the defaults.
    pub fn new(lane: impl Into<String>) -> Self {
        Self {
            lane: lane.into(),
            budgets: Vec::new(),
            effect: None,
            weight: 1,
            priority: Priority::default(),
            is_exit: false,
            cache: None,
        }
    }
}

/// What happens to requests that no route describes.
#[derive(Debug, Clone, PartialEq)]
pub enum Unmatched {
    /// They are sent through this lane. By `GET` and `HEAD` they read, otherwise they write.
    Lane(String),
    /// They are answered with 404, and not sent.
    Refuse,
}
