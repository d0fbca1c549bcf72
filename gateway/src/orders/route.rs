//! Which requests are about an order.

use hyper::Method;

/// A request about an order, by the segments of its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OrderRoute {
    Place { variety: String },
    Change { variety: String, number: String },
    Cancel { variety: String, number: String },
}

impl OrderRoute {
    /// Returns what a request is about, if it is about an order. `path` is in its canonical form.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match (method.as_str(), segments.as_slice()) {
            ("POST", ["orders", variety]) => Some(Self::Place { variety: (*variety).to_owned() }),
            (method @ ("PUT" | "DELETE"), ["orders", variety, number]) => {
                let (variety, number) = ((*variety).to_owned(), (*number).to_owned());
                Some(match method {
                    "PUT" => Self::Change { variety, number },
                    _ => Self::Cancel { variety, number },
                })
            }
            _ => None,
        }
    }

    pub(crate) fn is_placement(&self) -> bool {
        matches!(self, Self::Place { .. })
    }
}
