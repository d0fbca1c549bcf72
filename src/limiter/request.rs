//! What a verdict is asked about.

use std::fmt;

use smallvec::SmallVec;

/// A request: its path, its entries (who it is from, and what it is about), and how much it counts for.
///
/// ```
/// use lanekeeper::limiter::Request;
///
/// let request = Request::new("/orders").entry("user", "a").entry("ip", "192.0.2.7").weight(2);
/// assert_eq!(request.value("user"), Some("a"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Request<'a> {
    path: &'a str,
    entries: Entries<'a>,
    /// Only rules of envoy tell these from the entries.
    descriptors: Vec<Entries<'a>>,
    weight: u32,
}

pub(super) type Entries<'a> = SmallVec<[(&'a str, &'a str); 4]>;

impl<'a> Request<'a> {
    /// Returns a request for this path, without entries, of weight 1.
    #[inline]
    pub fn new(path: &'a str) -> Self {
        Self { path, entries: SmallVec::new(), descriptors: Vec::new(), weight: 1 }
    }

    /// Adds an entry: a key that rules name, and the value that the request has. Of two entries with one key, the first
    /// counts.
    #[inline]
    #[must_use]
    pub fn entry(mut self, key: &'a str, value: &'a str) -> Self {
        self.entries.push((key, value));
        self
    }

    /// Adds a descriptor: entries in their order, as a request to envoy's rate limit service has them. Only rules that
    /// are read from envoy's files look at descriptors. For these, the entries that were added by [`entry`](Self::entry)
    /// are one descriptor more.
    #[must_use]
    pub fn descriptor(mut self, entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.descriptors.push(entries.into_iter().collect());
        self
    }

    /// Sets how much the request counts for. The default is 1. A request of weight 0 counts for nothing, and is refused
    /// only by a limit of 0.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Returns the path.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// Returns the value of an entry.
    pub fn value(&self, key: &str) -> Option<&'a str> {
        self.find(key).map(|(_, value)| value)
    }

    /// Returns the place and the value of an entry.
    #[inline]
    pub(super) fn find(&self, key: &str) -> Option<(usize, &'a str)> {
        let mut entries = self.entries.iter().enumerate();
        entries.find(|(_, (known, _))| *known == key).map(|(place, (_, value))| (place, *value))
    }

    pub(super) fn get_weight(&self) -> u32 {
        self.weight
    }

    /// Returns the entries of a descriptor. `None` are those of the request itself.
    #[inline]
    pub(super) fn entries_of(&self, descriptor: Option<u32>) -> &[(&'a str, &'a str)] {
        match descriptor {
            None => &self.entries,
            Some(index) => self.descriptors.get(index as usize).map_or(&[], |entries| entries),
        }
    }

    /// Returns the descriptors, each a list of entries in their order.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (Option<u32>, &Entries<'a>)> {
        let own = (!self.entries.is_empty()).then_some((None, &self.entries));
        own.into_iter().chain((0..).zip(&self.descriptors).map(|(index, it)| (Some(index), it)))
    }
}

/// Without the values of entries: a key of an API is one.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys =
            |entries: &Entries<'_>| entries.iter().map(|(key, _)| (*key).to_owned()).collect();
        let descriptors: Vec<Vec<String>> = self.descriptors.iter().map(keys).collect();
        f.debug_struct("Request")
            .field("path", &self.path)
            .field("keys", &self.entries.iter().map(|(key, _)| *key).collect::<Vec<_>>())
            .field("descriptors", &descriptors)
            .field("weight", &self.weight)
            .finish()
    }
}
