//! Which lane an HTTP request belongs to: a route table, as data.
//!
//! A trait declares the lane of each of its methods. A raw request has no method, so a [`RouteTable`] says the same of
//! its HTTP method and path: the lane and the budgets that it is charged to, whether it reads or writes, its weight
//! and its priority. The route that describes a request most precisely decides, whatever the order of the table.
//!
//! # A request must not be taken for another
//!
//! A write that is taken for a read may be repeated, which sends an order twice. So only a path in its one canonical
//! form is looked up (`path.rs`): a server may resolve `/quote/../orders` to another route than the table. And a
//! request that no route describes is a read only if its method is `GET` or `HEAD`.

mod path;
mod pattern;

use std::borrow::Cow;

use self::path::check_path;
use self::pattern::Pattern;
use crate::proxy::LaneCall;

/// Which lane, budgets, effect and priority the requests of an HTTP API have, by method and path.
///
/// A pattern is a method and a path. In the path, `*` stands for one segment, and `**` at the end for any number of
/// them. The method `*` stands for any method. A route of `GET` describes `HEAD` too. If several routes describe a
/// request, the most precise one decides: compared from the left, a segment as it is goes before `*`, and `*` before
/// `**`. Of the same path, a method goes before `*`.
///
/// ```
/// use lanekeeper::{LaneCall, RouteTable};
///
/// let routes = RouteTable::new(LaneCall::read("data"), LaneCall::write("data"))
///     .route("GET /stock/**", LaneCall::read("data"))?
///     .route("GET /stock/*/history", LaneCall::read("history").weight(5))?;
/// let history = routes.find("GET", "/stock/INFY/history")?;
/// assert_eq!(history.lane_name(), "history");
/// assert_eq!(routes.find("GET", "/stock/INFY")?.lane_name(), "data");
/// // A path that a server may read as another one is not looked up.
/// assert!(routes.find("GET", "/stock/../orders").is_err());
/// # Ok::<(), lanekeeper::RouteError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTable {
    routes: Vec<Route>,
    other_reads: LaneCall,
    other_writes: LaneCall,
}

/// One row of a [`RouteTable`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    text: Cow<'static, str>,
    pattern: Pattern,
    call: LaneCall,
}

impl Route {
    /// Returns the pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.text
    }

    /// Returns what the lanes have to know of the requests.
    pub fn call(&self) -> &LaneCall {
        &self.call
    }
}

/// An error in a route table, or in a request that is looked up in one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The pattern cannot be read.
    #[error("the route `{pattern}`: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The reason.
        why: String,
    },
    /// Two routes describe the same requests.
    #[error("the routes `{first}` and `{second}` describe the same requests")]
    Duplicate {
        /// The route that is in the table.
        first: String,
        /// The route that was to be added.
        second: String,
    },
    /// The method of a request is not in capital letters, or not a method at all.
    #[error("no HTTP method, which is written in capital letters: {method:?}")]
    Method {
        /// The method.
        method: String,
    },
    /// The path of a request is not in its canonical form.
    #[error("the path {path:?} cannot be sent: {why}")]
    Path {
        /// The path, without a query, which may hold secrets.
        path: String,
        /// The reason.
        why: &'static str,
    },
}

impl RouteTable {
    /// Returns a table without routes. Requests that no route describes are sent like `other_reads` if their method is
    /// `GET` or `HEAD`, and like `other_writes` otherwise.
    pub fn new(other_reads: LaneCall, other_writes: LaneCall) -> Self {
        Self { routes: Vec::new(), other_reads, other_writes }
    }

    /// Adds a route. A pattern that is a literal is also the name of its calls, unless they have one. The pattern of a
    /// file is not, because a [name](LaneCall::name) lives as long as the program.
    ///
    /// # Errors
    /// [`RouteError::Pattern`] and [`RouteError::Duplicate`].
    pub fn route(
        mut self,
        pattern: impl Into<Cow<'static, str>>,
        call: LaneCall,
    ) -> Result<Self, RouteError> {
        self.insert(pattern, call)?;
        Ok(self)
    }

    /// Adds a route to a table that is kept if the route cannot be added. Otherwise like [`route`](Self::route).
    ///
    /// # Errors
    /// [`RouteError::Pattern`] and [`RouteError::Duplicate`].
    pub fn insert(
        &mut self,
        pattern: impl Into<Cow<'static, str>>,
        call: LaneCall,
    ) -> Result<(), RouteError> {
        let text = pattern.into();
        let pattern = match Pattern::parse(&text) {
            Ok(pattern) => pattern,
            Err(why) => return Err(RouteError::Pattern { pattern: text.into_owned(), why }),
        };
        if let Some(known) = self.routes.iter().find(|route| route.pattern == pattern) {
            let (first, second) = (known.text.to_string(), text.into_owned());
            return Err(RouteError::Duplicate { first, second });
        }
        let call = match text {
            Cow::Borrowed(name) => call.name_unless_set(name),
            Cow::Owned(_) => call,
        };
        self.routes.push(Route { text, pattern, call });
        Ok(())
    }

    /// Adds a route of a table in this crate. One that cannot be added is left out: the tests of the table count them.
    #[cfg(feature = "kite")]
    pub(crate) fn with_literal(mut self, pattern: &'static str, call: LaneCall) -> Self {
        let _ = self.insert(pattern, call);
        self
    }

    /// Returns how a request is sent. `path` is without the query string.
    ///
    /// # Errors
    /// [`RouteError::Method`] and [`RouteError::Path`]: such a request must not be sent, since a server might read it
    /// as another one.
    pub fn find(&self, method: &str, path: &str) -> Result<&LaneCall, RouteError> {
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(RouteError::Method { method: method.to_owned() });
        }
        check_path(path).map_err(|why| {
            // A query in it may hold a secret, such as a token.
            let path = path.split(['?', '#']).next().unwrap_or_default().to_owned();
            RouteError::Path { path, why }
        })?;
        let is_read = matches!(method, "GET" | "HEAD");
        let described_as = if is_read { "GET" } else { method };
        let matching = self.routes.iter().filter(|route| route.pattern.matches(described_as, path));
        // Among patterns that match one path, this order is total: equal patterns are duplicates.
        let best = matching.max_by(|a, b| a.pattern.precision().cmp(&b.pattern.precision()));
        Ok(match best {
            Some(route) => &route.call,
            None if is_read => &self.other_reads,
            None => &self.other_writes,
        })
    }

    /// Iterates over the routes, in the order in which they were added.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// Iterates over what the lanes have to know of all requests that can occur.
    pub fn calls(&self) -> impl Iterator<Item = &LaneCall> {
        self.routes.iter().map(|route| &route.call).chain([&self.other_reads, &self.other_writes])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(name: &'static str) -> LaneCall {
        LaneCall::read(name)
    }

    fn table(patterns: &[&'static str]) -> RouteTable {
        let table = RouteTable::new(lane("other reads"), lane("other writes"));
        patterns.iter().fold(table, |table, pattern| table.route(*pattern, lane(pattern)).unwrap())
    }

    #[test]
    fn the_most_precise_route_decides_whatever_the_order() {
        let mut patterns = [
            "* /orders/**",
            "GET /orders",
            "POST /orders/**",
            "POST /orders/*",
            "POST /orders/regular",
            "GET /orders/*/trades",
            "GET /orders/*/*",
        ];
        for _ in 0..patterns.len() {
            patterns.rotate_left(1);
            let table = table(&patterns);
            let found = |method, path| table.find(method, path).unwrap().lane_name().to_owned();
            assert_eq!(found("POST", "/orders/regular"), "POST /orders/regular");
            assert_eq!(found("POST", "/orders/amo"), "POST /orders/*");
            assert_eq!(found("POST", "/orders/amo/1"), "POST /orders/**");
            assert_eq!(found("DELETE", "/orders/amo/1"), "* /orders/**");
            assert_eq!(found("GET", "/orders/1/trades"), "GET /orders/*/trades");
            assert_eq!(found("GET", "/orders/1/fills"), "GET /orders/*/*");
            assert_eq!(found("GET", "/orders"), "GET /orders");
            assert_eq!(found("PUT", "/orders"), "* /orders/**");
        }
    }

    #[test]
    fn a_request_without_a_route_is_a_read_only_by_its_method() {
        let table = table(&["GET /a"]);
        for (method, expected) in [
            ("GET", "other reads"),
            ("HEAD", "other reads"),
            ("POST", "other writes"),
            ("OPTIONS", "other writes"),
            ("PURGE", "other writes"),
        ] {
            assert_eq!(table.find(method, "/b").unwrap().lane_name(), expected, "{method}");
        }
        assert_eq!(table.find("HEAD", "/a").unwrap().lane_name(), "GET /a");
        assert_eq!(table.find("POST", "/a").unwrap().lane_name(), "other writes");
        for method in ["", "get", "Get", "GET ", "G3T", "ПОСТ"] {
            assert!(matches!(table.find(method, "/a"), Err(RouteError::Method { .. })), "{method}");
        }
    }

    #[test]
    fn two_routes_for_the_same_requests_are_an_error() {
        let table = table(&["GET /a/*"]);
        let twice = table.clone().route("GET /a/*", lane("x")).unwrap_err();
        assert!(matches!(twice, RouteError::Duplicate { .. }), "{twice}");
        assert!(table.clone().route("POST /a/*", lane("x")).is_ok());
        // The table is kept.
        let mut kept = table.clone();
        assert!(kept.insert("GET /a/*", lane("x")).is_err());
        assert!(kept.insert("GET a", lane("x")).is_err());
        assert_eq!(kept, table);
    }

    #[test]
    fn a_route_is_the_name_of_its_calls_unless_they_have_one() {
        let named = lane("a").name("quotes");
        let table = table(&["GET /a"]).route("GET /b", named).unwrap();
        let names: Vec<_> = table.routes().map(|route| route.call().call_name()).collect();
        assert_eq!(names, ["GET /a", "quotes"]);
        let from_a_file =
            RouteTable::new(lane("a"), lane("a")).route("GET /a".to_owned(), lane("a"));
        let names: Vec<_> = from_a_file.iter().flat_map(RouteTable::calls).collect();
        assert_eq!(names[0].call_name(), "call");
    }
}
